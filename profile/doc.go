// Package profile owns what a workload is known to do: which programs it runs and
// who starts them, where it listens and connects, what it writes, which rights and
// system calls it uses. It learns from events, says how complete the knowledge is,
// reports what deviates, and turns a profile into restrictions (seccomp,
// capabilities, an agent policy). It does not see the kernel, decide about rules,
// or enforce anything: events come in, detections and restrictions go out.
//
// Three decisions shape it.
//
// Knowledge is a set of entries that only grows, and merging is a join (least upper
// bound): commutative, associative, idempotent. So replicas and nodes can exchange
// profiles in any order and any number of times. What a person removes stays as an
// entry marked removed, or the next merge would bring it back.
//
// The sampling unit of every estimate is one replica in one window of ten minutes,
// never one event: a loop that does one thing a million times teaches nothing new,
// and counting its events would call any profile complete within a second.
//
// Everything an attacker can vary is generalised, counted and capped. A category
// that meets its cap is saturated: it learns nothing more, it judges nothing, and
// both are said.
package profile

//go:generate go run gen_syscalls.go

// Package detect owns what it takes to notice, over time, that something is happening: the
// promise a detector keeps, the stream that runs many of them, the folder that makes
// one detection of many repeats, and the few words they share (scopes, bounded tables,
// what a program is good for).
//
// It does not own conditions on a single event (those are policies), learned behaviour
// (profile), where events come from (sensor) or what is done about a detection (agent).
//
// Detectors live in sub-folders, one each, with events of attacks and of normal work
// beside them (testdata/attack-*.jsonl, testdata/benign-*.jsonl).
package detect

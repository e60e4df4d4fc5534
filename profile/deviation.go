package profile

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/internal/terminal"
)

// The rules of deviations.
const (
	RuleExecutable  = "profile-new-executable"
	RuleDestination = "profile-new-destination"
	RulePort        = "profile-new-port"
	RuleClient      = "profile-new-client"
	RuleWrite       = "profile-new-write"
	RuleRead        = "profile-new-read"
	RuleCapability  = "profile-new-capability"
	RuleUser        = "profile-new-user"
	RuleSyscall     = "profile-new-syscall"
	RuleBehaviour   = "profile-new-behaviour"
	// RuleFlood stands for the deviations beyond maxDeviations an hour.
	RuleFlood = "profile-left"
)

// rule is what a category's deviations say.
type rule struct {
	id     string
	title  string
	advice string
	attack []string // MITRE ATT&CK techniques the deviation may be part of
}

// Rules returns the ids of all deviations, for the list of what the agent can say.
func Rules() []string {
	return []string{RuleExecutable, RuleDestination, RulePort, RuleClient, RuleWrite, RuleRead, RuleCapability, RuleUser, RuleSyscall, RuleBehaviour, RuleFlood}
}

func ruleOf(c Category) rule {
	const allow = " If it is meant to happen, add it to the profile with a reason."
	switch c {
	case Executable:
		return rule{RuleExecutable, "a program this workload never ran", "Find out who started it (the parent chain) and where its file comes from." + allow, []string{"T1059"}}
	case Start:
		return rule{RuleExecutable, "a known program started by an unusual parent", "Look at why the parent starts programs now: a server that starts shells has often been broken into." + allow, []string{"T1059"}}
	case Port:
		return rule{RulePort, "listens on a new port", "Find the process that listens; a port that was not declared may be a back door." + allow, []string{"T1571"}}
	case Destination:
		return rule{RuleDestination, "connects to a new destination", "Check who owns the destination and which process connects." + allow, []string{"T1071"}}
	case Name:
		return rule{RuleDestination, "asks for a new name", "Check who owns the name." + allow, []string{"T1071.004"}}
	case Client:
		return rule{RuleClient, "is connected to from a new place", "Check whether the client is meant to reach this workload." + allow, []string{"T1021"}}
	case Write:
		return rule{RuleWrite, "writes where it never wrote", "Look at the file and at who wrote it." + allow, []string{"T1565.001"}}
	case Read:
		return rule{RuleRead, "reads a sensitive file it never read", "Treat what the file holds as known to the process; rotate it if the read was not meant." + allow, []string{"T1552.001"}}
	case Capability:
		return rule{RuleCapability, "uses a new capability", "Drop the capability from the workload if it does not need it." + allow, []string{"T1548"}}
	case User:
		return rule{RuleUser, "runs as a new user", "Find out how the process changed its user: a set-uid program, or a runtime told to." + allow, []string{"T1548", "T1078"}}
	case Syscall:
		return rule{RuleSyscall, "uses a new system call", "Harmless after an update; together with other deviations a sign of foreign code." + allow, []string{"T1106"}}
	}
	return rule{RuleBehaviour, "does what it never did", "Look at the process and its parents." + allow, []string{"T1036"}}
}

// repeat folds one deviation.
type repeat struct {
	count uint64 // since it was last reported
	said  uint32 // when
	since uint32 // first time of what is counted
}

// maxDeviations different ones a workload reports in an hour. A workload beyond it no
// longer does what its profile describes, and one more sentence would not say more.
const maxDeviations = 128

// deviate reports that k is not known. known is the entry for things about it that
// changed (origin) or that a person forbade, else nil.
func (b *Book) deviate(m *moment, k key, known *mark, origin bollwerk.Origin) {
	r := m.rep.r
	p := r.p
	if p.saturated[k.cat] {
		return
	}
	b.stats.Deviations++
	n := max(m.e.Count, 1)
	ru := ruleOf(k.cat)
	text := describe(k)
	id := hash(ru.id + "\x00" + text + "\x00" + string(origin))
	if o := m.e.Outcome; o == bollwerk.Denied || o == bollwerk.Killed {
		id ^= hash(string(o)) // what was refused and what happened are not told as one
	}
	if r.repeats == nil {
		r.repeats = map[uint64]*repeat{}
	}
	at := m.sight.at
	seen := r.repeats[id]
	if seen == nil && len(r.repeats) >= maxDeviations {
		for h, s := range r.repeats {
			if at > s.said+3600 || at+3600 < s.said {
				delete(r.repeats, h)
			}
		}
	}
	if seen == nil && len(r.repeats) >= maxDeviations {
		ru = rule{RuleFlood, "no longer does what its profile describes", "Look at the first deviations of this workload; if it was changed on purpose, move its profile back to learn.", []string{"T1036"}}
		text = fmt.Sprintf("more than %d different deviations within an hour; further ones are counted, not listed", maxDeviations)
		id = hash(ru.id)
		seen = r.repeats[id]
		k, known, origin = key{}, nil, ""
	}
	if seen == nil {
		seen = &repeat{}
		r.repeats[id] = seen
	}
	if seen.count == 0 {
		seen.since = at
	}
	seen.count += n
	if seen.said != 0 && at >= seen.said && at-seen.said < uint32(b.c.Repeat/time.Second) {
		return
	}
	count := seen.count
	first := seen.since
	seen.said, seen.count = at, 0
	b.out = append(b.out, b.detection(m, k, known, origin, ru, text, id, first, count))
}

func (b *Book) detection(m *moment, k key, known *mark, origin bollwerk.Origin, ru rule, text string, id uint64, first uint32, count uint64) *bollwerk.Detection {
	r, e := m.rep.r, m.e
	p := r.p
	forbidden := p.edited(k, &b.scratch)
	if r.sum == nil || m.sight.at > r.summed+60 || m.sight.at+60 < r.summed {
		r.sum, r.summed = p.Completeness(), m.sight.at
	}
	d := &bollwerk.Detection{
		Schema: bollwerk.DetectionSchema, Rule: ru.id, Title: ru.title, Attack: ru.attack, Advice: ru.advice,
		ID:   ru.id + "/" + strconv.FormatUint(hash(p.key)^id, 16),
		Time: timeOf(first), Last: e.Time, Count: count, Mode: r.mode.String(), Outcome: e.Outcome,
		Process: e.Process, Workload: e.Workload, Verdict: bollwerk.Fail,
	}
	if count <= 1 || d.Time.After(e.Time) {
		d.Time = e.Time
	}
	if e.Kind != bollwerk.EventUnknown {
		d.Events = []*bollwerk.Event{e}
	}
	switch {
	case e.Outcome == bollwerk.Denied || e.Outcome == bollwerk.Killed:
		d.How = strings.TrimSpace(e.Source + " " + e.Rule)
	case r.mode == Restrict:
		d.Outcome, d.How = bollwerk.Seen, "the profile is in mode restrict, but the kernel let this pass"
	default:
		d.Outcome, d.How = bollwerk.Seen, "the profile is in mode "+r.mode.String()
	}
	if k.cat != 0 {
		d.Nearest = p.nearest(k, known)
		d.Severity = calm(severity(k, origin), b.c.Gates.Complete(r.sum))
	} else {
		d.Severity = bollwerk.SeverityMedium
	}
	who := ""
	if e.Process != nil {
		who = e.Process.Path
		if who == "" {
			who = e.Process.Name
		}
		who = "; by " + terminal.Clean(who, 120)
	}
	d.Message = terminal.Clean(text, 300)
	if k.cat != 0 {
		d.Message += " " + deed(k.cat, e)
	}
	switch {
	case k.cat == 0:
	case forbidden != nil && forbidden.Remove:
		d.Severity = max(d.Severity, bollwerk.SeverityMedium)
		d.Message += ": it was forbidden by " + terminal.Clean(forbidden.By, 60) + " (" + terminal.Clean(forbidden.Reason, 120) + ")"
	case origin != "" && known != nil:
		d.Message += fmt.Sprintf(": it comes from elsewhere now: origin %s, known is %s", origin, originWords(known.origins))
	default:
		d.Message += fmt.Sprintf(": it is not in the profile learned in %s from %s", hours(r.sum.Observed), plural(uint64(r.sum.Replicas), "replica"))
	}
	d.Message += who
	if p.own.lost > 0 {
		d.Verdict = bollwerk.Degraded
		d.Causes = append(d.Causes, fmt.Sprintf("%s of this workload were lost: the profile may lack what they showed", plural(p.own.lost, "event")))
	}
	return d
}

// deed says what came of a behaviour: whether it happened, and what stopped it.
func deed(c Category, e *bollwerk.Event) string {
	did, tried := "happened", "was tried"
	switch c {
	case Executable:
		did, tried = "ran", "was to run"
	case Port:
		did, tried = "was opened", "was to be opened"
	case Destination:
		did, tried = "was connected to", "was to be connected to"
	case Client:
		did, tried = "was connected", "tried to connect"
	case Name:
		did, tried = "was asked for", "was to be asked for"
	case Capability, Syscall:
		did, tried = "was used", "was to be used"
	case User:
		did, tried = "was taken", "was to be taken"
	}
	switch {
	case e.Outcome == bollwerk.Denied:
		return tried + " and was denied"
	case e.Outcome == bollwerk.Killed && !e.Happened():
		return tried + ", and the process was killed before"
	case e.Outcome == bollwerk.Killed:
		return did + ", and the process was killed"
	case e.Result != 0 && e.Result != inProgress:
		return tried // the system did not let it
	}
	return did
}

// inProgress is EINPROGRESS: a connection that is being made.
const inProgress = 115

func originWords(bits uint8) string {
	var out []string
	for i, o := range origins {
		if bits&(1<<i) != 0 {
			out = append(out, string(o))
		}
	}
	if len(out) == 0 {
		return "unknown"
	}
	return strings.Join(out, ", ")
}

// describe is a behaviour in words.
func describe(k key) string {
	switch k.cat {
	case Executable:
		return "program " + k.value
	case Start:
		parent, child, _ := strings.Cut(k.value, "\x00")
		return "start of " + child + " by " + parent
	case Port:
		return "port " + k.proto.String() + "/" + portWord(k.n)
	case Destination:
		return "destination " + k.proto.String() + " " + k.value + portSuffix(k.n)
	case Client:
		return "client " + k.value + " of port " + k.proto.String() + "/" + portWord(k.n)
	case Name:
		return "name " + k.value
	case Write:
		return "write to " + k.value
	case Read:
		return "read of " + k.value
	case Capability:
		return "capability " + k.value
	case Syscall:
		return "system call " + k.value
	case User:
		return "user id " + strconv.FormatUint(uint64(k.n), 10)
	}
	return "behaviour " + k.value
}

func portWord(n uint32) string {
	if n >= highPort {
		return "32768-65535"
	}
	return strconv.FormatUint(uint64(n), 10)
}

func portSuffix(n uint32) string {
	if n == 0 {
		return ""
	}
	return " port " + portWord(n)
}

// severity of a deviation from a complete profile.
func severity(k key, origin bollwerk.Origin) bollwerk.Severity {
	switch k.cat {
	case Executable:
		switch origin {
		case bollwerk.OriginCreated, bollwerk.OriginMemory:
			return bollwerk.SeverityHigh
		}
		if k.value == memoryProgram || temporary(k.value) {
			return bollwerk.SeverityHigh
		}
		return bollwerk.SeverityMedium
	case Port, Destination, Read:
		return bollwerk.SeverityMedium
	case Write:
		if protected(k.value) && !strings.HasPrefix(k.value, "/proc/") && !strings.HasPrefix(k.value, "/dev/") {
			return bollwerk.SeverityMedium
		}
	case Capability:
		switch k.value {
		case "CAP_SYS_ADMIN", "CAP_SYS_MODULE", "CAP_SYS_PTRACE", "CAP_BPF", "CAP_SYS_RAWIO", "CAP_DAC_READ_SEARCH", "CAP_SYS_BOOT", "CAP_MAC_ADMIN":
			return bollwerk.SeverityHigh
		}
		return bollwerk.SeverityMedium
	case User:
		if k.n == 0 {
			return bollwerk.SeverityHigh
		}
		return bollwerk.SeverityMedium
	case Syscall:
		switch k.value {
		case "ptrace", "bpf", "init_module", "finit_module", "kexec_load", "kexec_file_load", "mount", "move_mount", "setns", "unshare",
			"pivot_root", "userfaultfd", "process_vm_writev", "perf_event_open", "add_key", "keyctl", "memfd_create", "open_by_handle_at":
			return bollwerk.SeverityMedium
		}
	case Behaviour:
		switch k.value {
		case RunsCreated, RunsMemory, LoadsModules, LoadsBPF, SetsKernel, MakesSetID, Traces, Mounts, MapsCreated:
			return bollwerk.SeverityHigh
		}
		return bollwerk.SeverityMedium
	}
	return bollwerk.SeverityLow
}

// calm lowers a severity by how little the profile knows: a deviation from little
// knowledge says little.
func calm(s bollwerk.Severity, complete Mode) bollwerk.Severity {
	switch complete {
	case Learn:
		return min(s, bollwerk.SeverityLow)
	case Observe:
		return min(s, bollwerk.SeverityMedium)
	}
	return s
}

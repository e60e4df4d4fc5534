package bollwerk

import "time"

// DetectionSchema is the version of the JSON form of a detection.
const DetectionSchema = "1.0"

// Detection is something happening: a rule, a detector, an in-kernel guard or a
// profile that spoke about events of one workload. Repeats are folded into one with
// a count.
type Detection struct {
	Schema string `json:"schema"`
	// ID is the same for repeats that are folded: rule, workload and subject.
	ID string `json:"id"`
	// Rule is the id of the policy or detector: "reverse-shell".
	Rule string `json:"rule"`
	// Title says what is happening in one line.
	Title    string   `json:"title"`
	Severity Severity `json:"severity"`
	// Attack are MITRE ATT&CK technique ids: "T1059.004".
	Attack []string `json:"attack"`
	// Message is the sentence about this case; Advice what a stranger can do now.
	Message string `json:"message"`
	Advice  string `json:"advice,omitempty"`

	Time  time.Time `json:"time"` // of the first event
	Last  time.Time `json:"last"` // of the latest one
	Count uint64    `json:"count"`

	// Outcome is the truth about what was done; How says by which means
	// ("bpf-lsm", "sigkill at exec", "fanotify", "cgroup/connect4", "sigkill by the agent"),
	// or, for "seen", why nothing was ("mode warn", "this kernel refuses LSM programs").
	Outcome Outcome `json:"outcome"`
	How     string  `json:"how,omitempty"`
	// Mode that was in force: observe, warn, enforce.
	Mode string `json:"mode,omitempty"`

	Process *Process `json:"process,omitempty"`
	// Behind is an ancestor of Process that holds the connection its commands come by. It is
	// ended with it: it would start the next one.
	Behind *Process `json:"behind,omitempty"`
	// Others are further processes that did the same, of repeats that were folded: at most one for
	// each program that started them, each user and each program, and 8 in all.
	Others   []string  `json:"others,omitempty"`
	Workload *Workload `json:"workload,omitempty"`
	// Events are the ones that led to it, oldest first, at most 32.
	Events []*Event `json:"events,omitempty"`
	// Nearest is the nearest known behaviour, for deviations from a profile.
	Nearest string `json:"nearest,omitempty"`
	// Verdict is fail; degraded says that events of the workload were lost and this
	// may not be all. Causes say why.
	Verdict Verdict  `json:"verdict"`
	Causes  []string `json:"causes,omitempty"`
	// Snapshot names what was captured beside it.
	Snapshot string `json:"snapshot,omitempty"`
}

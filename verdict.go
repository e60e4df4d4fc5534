package bollwerk

import "fmt"

// Verdict says how a check ended. There are four, on every surface: a check
// that could not be made is never a pass.
type Verdict string

const (
	// Pass: the check was made and found nothing wrong.
	Pass Verdict = "pass"
	// Fail: the check was made and found something wrong.
	Fail Verdict = "fail"
	// NotEvaluated: the check was not made. The cause must be given.
	NotEvaluated Verdict = "not_evaluated"
	// Degraded: the check was made with less than it needs (an old database, an
	// unreadable file). The cause must be given.
	Degraded Verdict = "degraded"
)

// ParseVerdict reads one of the four words.
func ParseVerdict(s string) (Verdict, error) {
	switch v := Verdict(s); v {
	case Pass, Fail, NotEvaluated, Degraded:
		return v, nil
	}
	return "", fmt.Errorf("verdict %q: want pass, fail, not_evaluated or degraded", s)
}

// NeedsCause reports whether the verdict must carry a cause.
func (v Verdict) NeedsCause() bool { return v == NotEvaluated || v == Degraded }

// Worse returns the graver of two verdicts: fail, degraded, not evaluated, pass.
func (v Verdict) Worse(o Verdict) Verdict {
	if o.rank() > v.rank() {
		return o
	}
	return v
}

func (v Verdict) rank() int {
	switch v {
	case Fail:
		return 4
	case Degraded:
		return 3
	case NotEvaluated:
		return 2
	case Pass:
		return 1
	}
	return 0
}

package sensor

import "github.com/bollwerk/bollwerk"

const (
	// mostTexts is how many bytes of texts the table keeps whole. Arguments, environment and
	// paths of one process may have 14 KiB: a container that starts processes by the
	// thousand would choose how much memory the agent has.
	mostTexts = 8 << 20
	// shortText is what is kept of each list and path beyond that.
	shortText = 256
)

// set puts a value into an entry; wants the lock held. Beyond the limit the table keeps
// a copy with short texts, marked so; the event that brings the value has them whole.
func (t *Processes) set(e *entry, p *bollwerk.Process) {
	t.texts -= e.texts
	e.texts = weight(p)
	if t.texts+e.texts > mostTexts && e.texts > 2*shortText {
		p = lighter(p)
		e.texts = weight(p)
	}
	t.texts += e.texts
	e.p = p
}

func weight(p *bollwerk.Process) int {
	n := len(p.Path) + len(p.Cwd) + len(p.Script)
	for _, a := range p.Args {
		n += len(a) + 16
	}
	for _, v := range p.Env {
		n += len(v) + 16
	}
	return n
}

func lighter(p *bollwerk.Process) *bollwerk.Process {
	c := *p
	c.Truncated = true
	c.Args, c.Env = shortList(p.Args), shortList(p.Env)
	c.Path, c.Cwd, c.Script = shortPath(p.Path), shortPath(p.Cwd), shortPath(p.Script)
	return &c
}

func shortList(l []string) []string {
	room := shortText
	for i, s := range l {
		if room -= len(s) + 16; room < 0 {
			if i == 0 {
				return []string{string([]byte(s[:shortText/2]))}
			}
			return append([]string(nil), l[:i]...)
		}
	}
	return l
}

// shortPath keeps the end, as everywhere.
func shortPath(s string) string {
	if len(s) <= shortText {
		return s
	}
	return "…" + string([]byte(s[len(s)-shortText:]))
}

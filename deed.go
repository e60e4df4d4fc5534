package bollwerk

import "strings"

// Happened reports whether what the event tells of came to pass: not when the kernel
// refused it, nor when a program was ended before its first instruction.
func (e *Event) Happened() bool {
	return e.Outcome != Denied && (e.Outcome != Killed || e.Kind != EventExec)
}

// Attempted words a deed as one that did not happen: "wrote /etc/shadow" becomes "tried to
// write /etc/shadow". The first verb that is known is changed; a text without one stays
// as it is, and so does what comes after a colon (a command line). This is the one place
// where rules, detectors and people's own rules get it from; text that strangers chose is
// not to be given to it.
func Attempted(text string) string {
	best, at := -1, len(text)
	if i := strings.Index(text, ": "); i >= 0 {
		at = i
	}
	for i := range deeds {
		if j := word(text, deeds[i].did); j >= 0 && (j < at || j == at && best >= 0 && len(deeds[i].did) > len(deeds[best].did)) {
			best, at = i, j
		}
	}
	if best < 0 {
		return text
	}
	return text[:at] + deeds[best].tried + text[at+len(deeds[best].did):]
}

// word finds a phrase that stands alone.
func word(text, phrase string) int {
	for from := 0; ; {
		i := strings.Index(text[from:], phrase)
		if i < 0 {
			return -1
		}
		i += from
		end := i + len(phrase)
		if (i == 0 || !letter(text[i-1])) && (end == len(text) || !letter(text[end])) {
			return i
		}
		from = end
	}
}

func letter(c byte) bool { return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '-' || c == '_' }

// deeds are the verbs of our sentences. Those that stay hide the verb in them.
var deeds = [...]struct{ did, tried string }{
	{"attached to", "tried to attach to"}, {"became", "tried to become"}, {"connected to", "tried to connect to"},
	{"decodes and runs", "was to decode and run"}, {"deleted", "tried to delete"}, {"emptied", "tried to empty"}, {"entered", "tried to enter"},
	{"is run", "was to be run"}, {"linked", "tried to link"}, {"loaded", "tried to load"}, {"loads", "tried to load"}, {"made", "tried to make"},
	{"mines", "was to mine"}, {"mounted", "tried to mount"}, {"mounts", "tried to mount"}, {"moved", "tried to move"}, {"opened", "tried to open"},
	{"put", "tried to put"}, {"read", "tried to read"}, {"reads", "was to read"}, {"removed", "tried to remove"}, {"replaced", "tried to replace"},
	{"runs", "was to run"}, {"sent", "tried to send"}, {"set", "tried to set"}, {"speaks", "tried to speak"}, {"started", "tried to start"},
	{"takes", "was to take"}, {"used", "tried to use"}, {"was attached to", "was to be attached to"}, {"was opened", "was to be opened"},
	{"was run", "was to be run"}, {"was started", "was to be started"}, {"wrote", "tried to write"},
	{"started by", "started by"}, {"was made", "was made"}, {"was told to", "was told to"}, {"is connected", "is connected"},
}

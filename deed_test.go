package bollwerk

import "testing"

func TestAttempted(t *testing.T) {
	for did, want := range map[string]string{
		" wrote ":                              " tried to write ",
		") in ":                                ") in ",
		" was started with a library ":         " was to be started with a library ",
		" is not in the image and was run by ": " is not in the image and was to be run by ",
		", started by ":                        ", started by ",
		" mines, started by ":                  " was to mine, started by ",
		" set the set-uid or set-gid bit of ":  " tried to set the set-uid or set-gid bit of ",
		" read the private key ":               " tried to read the private key ",
		" loads the kernel module ":            " tried to load the kernel module ",
		"takes commands from 1.2.3.4: its input is that connection": "was to take commands from 1.2.3.4: its input is that connection",
		"was told to join a shell: sh -c read wrote":                "was told to join a shell: sh -c read wrote",
		": bash -c wrote": ": bash -c wrote",
		" overwrote ":     " overwrote ",
	} {
		if got := Attempted(did); got != want {
			t.Errorf("%q: %q, want %q", did, got, want)
		}
	}
	for _, tt := range []struct {
		e    Event
		want bool
	}{
		{Event{Kind: EventOpen, Outcome: Denied}, false}, {Event{Kind: EventExec, Outcome: Killed}, false}, {Event{Kind: EventModule, Outcome: Killed}, true},
		{Event{Kind: EventExec, Outcome: Seen}, true}, {Event{Kind: EventOpen}, true},
	} {
		if got := tt.e.Happened(); got != tt.want {
			t.Errorf("%s %s: %v", tt.e.Kind, tt.e.Outcome, got)
		}
	}
}

package lsm

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/sensor"
)

// inForce reports whether this kernel asks BPF LSM programs, by what it says itself.
func inForce() bool {
	b, _ := os.ReadFile("/sys/kernel/security/lsm")
	return strings.Contains(","+strings.TrimSpace(string(b))+",", ",bpf,")
}

// old reports whether an area lacks what kernels before 6.1 do not have, by the kernel's
// own words: a hook (userns_create came with 6.1, inode_init_security_anon with 5.12), or
// hooks with structs among their arguments (path_chown).
func old(r sensor.Capability) bool {
	var u unix.Utsname
	var major, minor int
	if unix.Uname(&u) != nil {
		return false
	}
	if n, _ := fmt.Sscanf(unix.ByteSliceToString(u.Release[:]), "%d.%d", &major, &minor); n != 2 || major > 6 || major == 6 && minor >= 1 {
		return false
	}
	for _, words := range []string{"userns_create LSM hook not supported", "inode_init_security_anon LSM hook not supported", "bpf_lsm_path_chown arg1 type STRUCT is unsupported", detachedUnseen} {
		if strings.Contains(r.Cause, words) {
			return true
		}
	}
	return false
}

func TestRowsSayWhatIs(t *testing.T) {
	s := New(Options{})
	log := slog.New(slog.DiscardHandler)
	if testing.Verbose() {
		log = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	all, err := sensor.Open(context.Background(), sensor.Options{Log: log}, s)
	if err != nil {
		t.Fatal(err)
	}
	defer all.Close()
	rows := all.Capabilities()
	if len(rows) != len(areas) {
		t.Fatalf("%d rows for %d areas", len(rows), len(areas))
	}
	for _, r := range rows {
		t.Logf("%+v", r)
		switch {
		case inForce() && r.Verdict != bollwerk.Pass && !old(r):
			t.Errorf("%s: %s (%s) on a kernel with BPF LSM", r.Area, r.Verdict, r.Cause)
		case r.Verdict != bollwerk.Pass && (r.Cause == "" || r.Remedy == ""):
			t.Errorf("%s: %s without cause or remedy", r.Area, r.Verdict)
		case r.Verdict == bollwerk.NotEvaluated && r.Outcome != bollwerk.Seen:
			t.Errorf("%s: promises %s and cannot be evaluated", r.Area, r.Outcome)
		case s.Covered(r.Area) != (r.Verdict != bollwerk.NotEvaluated):
			t.Errorf("%s: covered %v, verdict %s", r.Area, s.Covered(r.Area), r.Verdict)
		}
	}
}

package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"golang.org/x/sys/unix"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/agent"
	"github.com/bollwerk/bollwerk/internal/prerequisite"
	"github.com/bollwerk/bollwerk/internal/terminal"
	"github.com/bollwerk/bollwerk/profile"
	"github.com/bollwerk/bollwerk/recorder"
)

// hostile are names as an attacker gives them to files, programs and containers.
var hostile = map[string]string{
	"colour":         "\x1b[2J\x1b[1;31mHIGH\x1b[0m",
	"title":          "\x1b]0;pwned\x07\x1bP+q\x1b\\",
	"one-byte CSI":   "\x9b31m",
	"CSI in UTF-8":   "\u009b31m\u0085x",
	"forged line":    "x\r\n12:00:00 HIGH forged [rule] denied\n\v\f\u2028y\u2029z",
	"backspaces":     "x\b\b\b\x7f\x00\x0e",
	"reversed":       "\u202egpj.exe\u2066\u2069\u200f",
	"invisible":      "a\u200b\u2060\ufeff\U000e0041\u00adb",
	"no UTF-8":       "\xff\xfe\xc0\x80\xed\xa0\x80",
	"very long":      strings.Repeat("A", 4096),
	"long and wide":  strings.Repeat("字", 4096),
	"long and wild":  strings.Repeat("\x1b[31m\xff", 1024),
	"piled up marks": "e" + strings.Repeat("\u0301", 500),
	"tabs":           "a\tb\tc",
}

// fill puts a text into everything that can hold one.
func fill(v reflect.Value, text string, depth int) {
	switch v.Kind() {
	case reflect.String:
		v.SetString(text)
	case reflect.Pointer:
		if depth < 5 {
			v.Set(reflect.New(v.Type().Elem()))
			fill(v.Elem(), text, depth+1)
		}
	case reflect.Slice:
		if v.Type().Elem().Kind() != reflect.Uint8 {
			v.Set(reflect.MakeSlice(v.Type(), 2, 2))
			for i := range 2 {
				fill(v.Index(i), text, depth+1)
			}
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if f := v.Field(i); f.CanSet() {
				fill(f, text, depth+1)
			}
		}
	}
}

func filled[T any](text string) *T {
	v := new(T)
	fill(reflect.ValueOf(v).Elem(), text, 0)
	return v
}

// fit says what of an output is not fit for a terminal, against the same with a harmless name.
func fit(out, harmless string) string {
	if !utf8.ValidString(out) {
		return "bytes that are no text"
	}
	if a, b := strings.Count(out, "\n"), strings.Count(harmless, "\n"); a != b {
		return fmt.Sprintf("%d lines, and %d with a harmless name", a, b)
	}
	if a, b := strings.Count(out, "\x1b"), strings.Count(harmless, "\x1b"); a != b {
		return fmt.Sprintf("%d escape sequences, and %d with a harmless name", a, b)
	}
	for _, own := range []string{"\x1b[1;31m", "\x1b[33m", "\x1b[1m", "\x1b[0m"} {
		out = strings.ReplaceAll(out, own, "")
	}
	marks := 0
	for _, r := range out {
		switch {
		case r == '\n':
		case r < ' ', r >= 0x7f && r < 0xa0, r == 0x2028, r == 0x2029, unicode.In(r, unicode.Cf, unicode.Co, unicode.Cs):
			return fmt.Sprintf("the character %U", r)
		case unicode.In(r, unicode.Mn, unicode.Me):
			if marks++; marks > 2 {
				return "marks upon marks"
			}
			continue
		}
		marks = 0
	}
	for line := range strings.Lines(out) {
		if n := terminal.Width(line); n > 800 {
			return fmt.Sprintf("a line of %d columns", n)
		}
	}
	return ""
}

// terminalOf runs f with a terminal for its standard output and returns what came there.
func terminalOf(t *testing.T, f func(stdout *os.File)) string {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		prerequisite.Missing(t, "a terminal: %v", err)
	}
	defer master.Close()
	if err := unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	slave, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		prerequisite.Missing(t, "a terminal: %v", err)
	}
	var out bytes.Buffer
	done := make(chan struct{})
	go func() { defer close(done); _, _ = io.Copy(&out, master) }() // until the other end is closed
	f(slave)
	_ = slave.Close()
	<-done
	return strings.ReplaceAll(out.String(), "\r\n", "\n")
}

// TestHostileNames: whatever a process, a file, a container or an image is called, the text
// for people stays what the agent wrote: no control characters, no lines or colours of
// strangers, no order of reading turned round, nothing without end.
func TestHostileNames(t *testing.T) {
	for _, show := range []struct {
		name string
		out  func(t *testing.T, text string) string
	}{
		{"run", func(t *testing.T, text string) string {
			var b bytes.Buffer
			printDetection(&b, detection(text), false)
			return b.String()
		}},
		{"run on a terminal", func(t *testing.T, text string) string {
			var b bytes.Buffer
			printDetection(&b, detection(text), true)
			return b.String()
		}},
		{"recall on a terminal", recallHostile},
		{"status", func(t *testing.T, text string) string {
			s := filled[agent.Status](text)
			s.Missed.Forged = 1
			return shown(t, control(t, map[string]any{"GET /status": s}), exitDegraded, "status")
		}},
		{"profile list", func(t *testing.T, text string) string {
			_, list := learned(t, text)
			return shown(t, control(t, map[string]any{"GET /profiles": list}), 0, "profile", "list")
		}},
		{"profile show", func(t *testing.T, text string) string {
			document, _ := learned(t, text)
			held := filled[agent.Held](text)
			return shown(t, control(t, map[string]any{"GET /profile": document, "GET /profile/held": held}), 0, "profile", "show", "w")
		}},
		{"profile diff", func(t *testing.T, text string) string {
			document, _ := learned(t, text)
			other, _ := learned(t, "another")
			files := put(t, map[string]string{"a": string(document), "b": string(other)})
			return shown(t, nil, exitFindings, "profile", "diff", filepath.Join(files, "a"), filepath.Join(files, "b"))
		}},
		{"profile mode", func(t *testing.T, text string) string {
			_, list := learned(t, text)
			return shown(t, control(t, map[string]any{"POST /profile/mode": list[0]}), 0, "profile", "mode", "w", "learn")
		}},
		{"refused", func(t *testing.T, text string) string {
			code, _, errs := command(t, append([]string{"profile", "show", "w"}, control(t, map[string]any{"GET /profile": fmt.Errorf("workload %q: %s", text, strings.ReplaceAll(text, "\n", " "))})...)...)
			if code != exitFailed {
				t.Errorf("exit code %d", code)
			}
			return errs
		}},
		{"doctor", func(t *testing.T, text string) string {
			var b bytes.Buffer
			a := filled[agent.Area](text)
			a.Verdict = bollwerk.Verdict(text)
			printAreas(&b, []agent.Area{*a, *a})
			return b.String()
		}},
	} {
		t.Run(show.name, func(t *testing.T) {
			harmless := show.out(t, "harmless")
			if !strings.Contains(harmless, "harmless") {
				t.Fatalf("the name is not shown at all:\n%s", harmless)
			}
			for name, text := range hostile {
				if out := show.out(t, text); fit(out, harmless) != "" {
					t.Errorf("%s: %s:\n%q", name, fit(out, harmless), out)
				}
			}
		})
	}
}

// TestHostileJSON: what is JSON stays the same JSON on a terminal, and acts on it no more.
func TestHostileJSON(t *testing.T) {
	for name, text := range hostile {
		document, list := learned(t, text)
		flags := control(t, map[string]any{"GET /profile": document, "GET /profiles": list, "GET /status": filled[agent.Status](text)})
		for _, args := range [][]string{{"profile", "export", "w"}, {"profile", "list", "--json"}, {"profile", "render", "w", "restriction"}, {"status", "--json"}} {
			_, plain, _ := command(t, append(args, flags...)...)
			out := terminalOf(t, func(stdout *os.File) {
				e := &env{stdout: stdout, stderr: io.Discard, getenv: func(string) string { return "" }, version: "test"}
				run(t.Context(), e, append(args, flags...))
			})
			var a, b any
			if err := errors.Join(json.Unmarshal([]byte(plain), &a), json.Unmarshal([]byte(out), &b)); err != nil || !reflect.DeepEqual(a, b) || !utf8.ValidString(out) {
				t.Errorf("%s: %q: another document on a terminal: %v\n%q", name, args, err, out)
			}
			for _, r := range out {
				if r != '\n' && (r < ' ' || r >= 0x7f && r < 0xa0 || unicode.In(r, unicode.Cf, unicode.Co, unicode.Cs)) {
					t.Errorf("%s: %q: the character %U on a terminal", name, args, r)
					break
				}
			}
		}
	}
}

func detection(text string) *bollwerk.Detection {
	d := filled[bollwerk.Detection](text)
	d.Severity, d.Count = bollwerk.SeverityHigh, 2
	return d
}

func shown(t *testing.T, flags []string, want int, args ...string) string {
	t.Helper()
	code, out, errs := command(t, append(args, flags...)...)
	if code != want || errs != "" {
		t.Fatalf("exit code %d: %s", code, errs)
	}
	return out
}

// recallHostile records events of every kind and a detection, and reads them on a terminal.
func recallHostile(t *testing.T, text string) string {
	dir := t.TempDir()
	at := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	// Its clock, too: on a slow machine what is months old is deleted while it is written.
	r, err := recorder.Open(recorder.Config{Dir: filepath.Join(dir, "recorder"), Now: func() time.Time { return at }})
	if err != nil {
		t.Fatal(err)
	}
	for k := bollwerk.EventUnknown + 1; int(k) < bollwerk.EventKinds; k++ {
		e := filled[bollwerk.Event](text)
		e.Kind, e.Time, e.Outcome = k, at, bollwerk.Seen
		r.Event(e)
	}
	d := detection(text)
	d.Time, d.Last, d.Outcome, d.Verdict, d.Events = at, at, bollwerk.Denied, bollwerk.Fail, nil
	r.Detection(d)
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	if n := r.Status().Lost; n != 0 {
		t.Fatalf("%d are not recorded", n)
	}
	code := 0
	var errs bytes.Buffer
	out := terminalOf(t, func(stdout *os.File) {
		e := &env{stdout: stdout, stderr: &errs, getenv: func(string) string { return "" }, version: "test"}
		code = run(t.Context(), e, []string{"recall", "--state", dir})
	})
	if !strings.Contains(out, "\x1b[") {
		t.Error("this was no terminal: there is no colour")
	}
	// Losses are told besides, and make it degraded.
	if code != exitDegraded || !strings.Contains(errs.String(), "lost: ") {
		t.Errorf("exit code %d: %s", code, &errs)
	}
	return out + errs.String()
}

// learned is the profile of a workload that did everything under a name.
func learned(t *testing.T, text string) (document []byte, list []*profile.Status) {
	t.Helper()
	b, err := profile.NewBook(profile.Config{Node: "node"})
	if err != nil {
		t.Fatal(err)
	}
	at := time.Now()
	for k := bollwerk.EventUnknown + 1; int(k) < bollwerk.EventKinds; k++ {
		e := filled[bollwerk.Event](text)
		e.Kind, e.Time, e.Outcome = k, at, bollwerk.Seen
		e.Workload.Unresolved, e.Workload.Cgroup = "", 7
		if e.Workload.Pod != nil {
			e.Workload.Pod.Sandbox = false
		}
		for _, p := range []*bollwerk.Process{e.Process, e.Process.Parent} {
			p.Path, p.Cgroup, p.Contained = "/bin/"+text, 7, true
		}
		e.File.Path, e.File.Access = "/srv/"+text, bollwerk.AccessWrite
		b.Observe(e, false)
	}
	for _, key := range b.Keys() {
		s, err := b.Status(key)
		if err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		if err := b.Export(key, &out); err != nil {
			t.Fatal(err)
		}
		list, document = append(list, s), out.Bytes()
	}
	if len(list) != 1 {
		t.Fatalf("%d profiles", len(list))
	}
	return document, list
}

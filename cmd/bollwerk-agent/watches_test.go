package main

import (
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/agent"
	"github.com/bollwerk/bollwerk/policies"
	"github.com/bollwerk/bollwerk/policy"
	"github.com/bollwerk/bollwerk/sensor"
	"github.com/bollwerk/bollwerk/sensor/lsm"
	"github.com/bollwerk/bollwerk/sensor/tracing"
)

func rule(t *testing.T, id, condition string) *policy.Policy {
	t.Helper()
	p, err := policy.Parse(id+".yaml", []byte("id: "+id+"\ntitle: t\ndescription: d\nwhy: w\nfix: f\nseverity: low\nmode: warn\nsubject: event\nmatch: >-\n  "+condition+"\nmessage: m\n"))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// What a rule of one's own names reaches the sources.
func TestRulesAreWatchedFor(t *testing.T) {
	got := watchesFor([]*policy.Policy{
		rule(t, "a", `event.kind == "open" && event.file.read && event.file.path == "/etc/foo"`),
		rule(t, "b", `event.kind == "open" && event.file.name == ".foorc"`),
		rule(t, "c", `event.file.written.under(["/srv/app"])`),
		rule(t, "d", `event.kind == "open" && event.file.path.glob("/proc/*/maps")`),
	})
	for _, w := range []tracing.Watch{{Path: "/etc/foo", Read: true}, {Path: "/root/.foorc", Read: true}, {Path: "/home/*/.foorc", Read: true}, {Path: "/srv/app"}} {
		if !slices.Contains(got.files, w) {
			t.Errorf("%+v is missing in %+v", w, got.files)
		}
	}
	if !slices.Contains(got.proc, "/proc/*/maps") {
		t.Errorf("%q", got.proc)
	}
	for _, w := range []lsm.Watch{{Name: "foo", Folder: "etc", Access: lsm.Read | lsm.Write | lsm.Delete | lsm.Point},
		{Name: ".foorc", Access: lsm.Read | lsm.Write | lsm.Delete | lsm.Point}, {Folder: "app", Access: lsm.Write | lsm.Delete}} {
		if !slices.Contains(got.names, w) {
			t.Errorf("%+v is missing in %+v", w, got.names)
		}
	}
}

func TestRulesThatNeverFire(t *testing.T) {
	for _, c := range []struct {
		condition, why string
		never          bool
	}{
		{`event.kind == "open" && event.file.path == "/etc/foo"`, "", false},
		{`event.kind == "open" && event.file.path == "/proc/1/root/etc/shadow"`, "a link of /proc", true},
		{`event.kind == "open" && event.file.path.endsWith(".php")`, "a name in any folder", false},
		{`event.kind == "open" && event.file.path.under(["/tmp"])`, "everybody makes files", false},
		{`event.kind == "open" && event.file.path.under(["/proc/sys"])`, "below a folder of /proc", true},
		{`event.kind == "open" && event.file.path in ["/etc/foo", "/tmp/x"] || event.kind == "open" && event.file.name == "x"`, "/root and /home/*", false},
		{`event.kind == "exec" && event.process.path.startsWith("/tmp/")`, "", false},
	} {
		p := rule(t, "r", c.condition)
		causes, _, never := unseen(p)
		if never != c.never || c.why == "" && len(causes) > 0 || !strings.Contains(strings.Join(causes, "; "), c.why) {
			t.Errorf("%s: never %v, %q", c.condition, never, causes)
		}
		reasons, _ := unseenSentences(p)
		if c.never != (len(reasons) == 1 && strings.Contains(reasons[0], "never fires")) {
			t.Errorf("%s: %q", c.condition, reasons)
		}
	}
}

// Where rules that ship ask about what is written to a place, the list of the source has it.
func TestShippedRulesAreWatchedFor(t *testing.T) {
	all, err := policy.Load(policies.Files())
	if err != nil {
		t.Fatal(err)
	}
	have := tracing.Watches()
	for _, p := range all {
		if p.Subject != policy.EventKind {
			continue
		}
		m, _ := policy.NewMatcher([]*policy.Policy{p}, policy.MatcherOptions{})
		for _, place := range placesOf(m) {
			if !place.Written || place.Glob {
				continue // places by name are looked for in homes, and those that are read are chosen
			}
			files, _, _, _ := tracing.WatchesFor(tracing.Place(place))
			for _, w := range files {
				if place.Below && w.Path != place.Path {
					continue // folders in such folders are of interest to nobody who ships
				}
				if !tracing.Covers(have, w) {
					t.Errorf("%s: %+v is not watched", p.ID, w)
				}
			}
		}
	}
}

// readElsewhere are places that shipped rules read and that BPF LSM knows by other means
// than the name that the rule gives.
var readElsewhere = map[string]string{
	"/dev/mem": "by its number", "/dev/kmem": "by its number", "/dev/port": "by its number", "/host/dev/mem": "by its number",
	"/host/proc/kcore": "kcore of any /proc", "/proc/kcore": "kcore of any /proc",
	"/root/*": "the rule gives the names, too", "/home/*": "the rule gives the names, too",
	"*/secrets/azure/tokens/*": "azure-identity-token",
}

// What rules that ship read is watched for by BPF LSM, by its name. Of names with a star at
// least one is (docs/detections.md says which are not).
func TestShippedRulesAreReadByName(t *testing.T) {
	all, err := policy.Load(policies.Files())
	if err != nil {
		t.Fatal(err)
	}
	have := lsm.Watches()
	watched := func(name, folder string) bool {
		return slices.ContainsFunc(have, func(w lsm.Watch) bool {
			fits, _ := path.Match(name, w.Name)
			return fits && w.Name != "" && w.Access&lsm.Read != 0 && (folder == "" || w.Folder == folder || w.Folder == "" && name != "*")
		})
	}
	n := 0
	for _, p := range all {
		if p.Subject != policy.EventKind || !strings.Contains(p.Match.Text, "event.file.read") && !strings.HasPrefix(p.Match.Text, `event.kind == "open"`) {
			continue
		}
		m, _ := policy.NewMatcher([]*policy.Policy{p}, policy.MatcherOptions{})
		for _, place := range m.Watches(bollwerk.EventOpen) {
			if place.Written || place.Below || readElsewhere[place.Path] != "" || place.Path == "*.pub" {
				continue // of folders the rules say which names in them
			}
			n++
			dir, name := path.Split(place.Path)
			folder := path.Base(dir)
			if strings.Contains(folder, "*") {
				folder = ""
			}
			if !watched(name, folder) {
				t.Errorf("%s: BPF LSM does not watch for reads of %q (in %q)", p.ID, name, folder)
			}
		}
	}
	if n < 60 || !watched("azure-identity-token", "") || !watched("kcore", "") {
		t.Errorf("%d places", n)
	}
	if watched("surely-nothing", "") || watched("shadow", "tmp") || watched("core_pattern", "") {
		t.Error("everything counts as watched")
	}
}

// What is on the list of secrets is looked at by both sources, and a tool that reads it makes a
// rule fire; and so with the histories of shells that somebody removes.
func TestSecretsAreInStep(t *testing.T) {
	all, err := policy.Load(policies.Files())
	if err != nil {
		t.Fatal(err)
	}
	m, problems := policy.NewMatcher(all, policy.MatcherOptions{})
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	marked, names := tracing.Watches(), lsm.Watches()
	cat := &bollwerk.Process{PID: 7, Name: "cat", Path: "/usr/bin/cat", Args: []string{"cat", "x"}}
	rm := &bollwerk.Process{PID: 7, Name: "rm", Path: "/usr/bin/rm", Args: []string{"rm", "x"}}
	var s policy.Scratch
	fires := func(e *bollwerk.Event) bool { return len(m.Match(&s, e)) > 0 }
	byName := func(name, folder string, access uint8) bool {
		return slices.ContainsFunc(names, func(w lsm.Watch) bool {
			return w.Name == name && (w.Folder == "" || w.Folder == folder) && w.Access&access != 0
		})
	}
	for _, secret := range sensor.Secrets() {
		if name, folder := secret.Name(); !byName(name, folder, lsm.Read) {
			t.Errorf("%s: BPF LSM does not watch for it", secret.Path)
		}
		for _, p := range secret.Paths() {
			if !tracing.Covers(marked, tracing.Watch{Path: p, Read: true}) {
				t.Errorf("%s: not marked for fanotify", p)
			}
			p = strings.ReplaceAll(p, "*", "1000")
			if p != "/etc/sudoers" && !fires(&bollwerk.Event{Kind: bollwerk.EventOpen, Process: cat, File: &bollwerk.FileEvent{Path: p, Access: bollwerk.AccessRead}}) {
				t.Errorf("%s: cat reads it, and no rule says anything", p)
			}
		}
	}
	for _, name := range sensor.Histories() {
		if !byName(name, "root", lsm.Delete) {
			t.Errorf("%s: BPF LSM does not watch for its end", name)
		}
		if !fires(&bollwerk.Event{Kind: bollwerk.EventUnlink, Process: rm, File: &bollwerk.FileEvent{Path: "/root/" + name}}) {
			t.Errorf("%s: it is removed, and no rule says anything", name)
		}
	}
	// The other way round: what rules name to be read or removed is on a list. See
	// TestShippedRulesAreReadByName for what is read.
	for _, p := range all {
		if p.ID != "history-removed" {
			continue
		}
		one, _ := policy.NewMatcher([]*policy.Policy{p}, policy.MatcherOptions{})
		places := one.Watches(bollwerk.EventUnlink)
		if len(places) < len(sensor.Histories()) {
			t.Errorf("%s asks about %d places", p.ID, len(places))
		}
		for _, place := range places {
			if !slices.Contains(sensor.Histories(), path.Base(place.Path)) {
				t.Errorf("%s: %s is on no list", p.ID, place.Path)
			}
		}
	}
	if fires(&bollwerk.Event{Kind: bollwerk.EventOpen, Process: cat, File: &bollwerk.FileEvent{Path: "/etc/hosts", Access: bollwerk.AccessRead}}) || byName("hosts", "etc", lsm.Read) {
		t.Error("everything counts as a secret")
	}
}

// Where a rule reads a credential in a place that it names whole, fanotify looks there, too.
func TestShippedRulesAreMarked(t *testing.T) {
	all, err := policy.Load(policies.Files())
	if err != nil {
		t.Fatal(err)
	}
	marked, n := tracing.Watches(), 0
	for _, p := range all {
		if p.ID != "cloud-credential-read" && p.ID != "password-file-read" && p.ID != "private-key-read" && p.ID != "service-account-token-read" {
			continue
		}
		m, _ := policy.NewMatcher([]*policy.Policy{p}, policy.MatcherOptions{})
		for _, place := range m.Watches(bollwerk.EventOpen) {
			at := place.Path
			if rest, ok := strings.CutPrefix(at, "*/"); ok && strings.HasPrefix(rest, ".") {
				at = "/root/" + rest
			}
			if place.Written || place.Below || !strings.HasPrefix(at, "/") || strings.HasPrefix(at, "/proc/") || strings.HasSuffix(at, "/*") {
				continue
			}
			n++
			fits := func(w tracing.Watch) bool {
				a, _ := path.Match(at, w.Path)
				b, _ := path.Match(w.Path, at)
				return w.Read && (a || b)
			}
			if !slices.ContainsFunc(marked, fits) {
				t.Errorf("%s: %s is not marked", p.ID, at)
			}
		}
	}
	if n < 25 {
		t.Errorf("%d places", n)
	}
}

func TestOwnRulesComeAfterShipped(t *testing.T) {
	e := &env{}
	all, shipped, err := e.eventPolicies(&agent.Config{})
	if err != nil || shipped != len(all) || shipped == 0 {
		t.Errorf("%d of %d shipped: %v", shipped, len(all), err)
	}
}

package agent

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/profile"
	"github.com/bollwerk/bollwerk/sensor"
)

// TestDecided: what a person decides about a profile is in force and on disk when the command
// returns, and a decision that cannot be written is not called done.
func TestDecided(t *testing.T) {
	f := &fullTable{holds: map[uint64]sensor.Guard{}, applied: make(chan uint64, 1000)}
	mux := http.NewServeMux()
	a, _ := judgingWith(t, func(a *Agent) {
		var err error
		if a.profiles, err = openProfiles(a); err != nil {
			t.Fatal(err)
		}
		a.profiles.serve(mux)
	}, f)
	path, id, _ := containerGroup(t, a.hierarchy, 6)
	pid, _ := inside(t, a.hierarchy, path)
	exec := &bollwerk.Event{Time: time.Now(), Kind: bollwerk.EventExec, Outcome: bollwerk.Seen,
		Process: &bollwerk.Process{PID: pid, Cgroup: id, CgroupPath: path, Contained: true}}
	a.queue.put(exec)
	if f.await(t) != id {
		t.Fatal("the container has no policy")
	}
	a.mu.Lock()
	key := ""
	for _, k := range a.workloads {
		if k.w.Cgroup == id {
			key = profile.Key(k.w)
		}
	}
	a.mu.Unlock()
	post := func(path string, q url.Values, body []byte) (*profile.Status, string) {
		t.Helper()
		w := httptest.NewRecorder()
		mux.ServeHTTP(w, httptest.NewRequest("POST", path+"?"+q.Encode(), bytes.NewReader(body)))
		var out struct {
			profile.Status
			Error string `json:"error"`
		}
		if err := json.Unmarshal(w.Body.Bytes(), &out); err != nil || (w.Code == http.StatusOK) != (out.Error == "") {
			t.Fatalf("%s: %d %s", path, w.Code, w.Body)
		}
		return &out.Status, out.Error
	}
	drift := func() bool {
		t.Helper()
		f.mu.Lock()
		defer f.mu.Unlock()
		return f.holds[id]&sensor.GuardDrift != 0
	}
	// saved are the entries that an agent finds which begins now.
	saved := func() int {
		t.Helper()
		s, err := profile.OpenStore(filepath.Join(a.c.State, "profiles"), 0)
		if err != nil {
			t.Fatal(err)
		}
		d, err := s.Load(key)
		if err != nil || d == nil {
			t.Fatalf("nothing was saved: %v", err)
		}
		return len(d.Entries)
	}
	if !drift() {
		t.Fatal("drift is not enforced")
	}
	doc, err := json.Marshal(&profile.Document{Schema: profile.Schema, Workload: key, Window: 600,
		Entries: []profile.EntryRecord{
			{Entry: profile.Entry{Category: profile.Behaviour, Value: profile.RunsCreated}, Sources: []string{"learned"}},
			{Entry: profile.Entry{Category: profile.Executable, Value: "/bin/a"}, Sources: []string{"learned"}},
		}})
	if err != nil {
		t.Fatal(err)
	}
	if s, e := post("/profile/import", nil, doc); e != "" || s.Entries != 2 {
		t.Fatalf("%+v %s", s, e)
	}
	if drift() {
		t.Error("the imported profile runs what it made, and drift is enforced still")
	}
	if n := saved(); n != 2 {
		t.Errorf("%d entries on disk, want 2", n)
	}
	who := func(categories ...string) url.Values {
		return url.Values{"workload": {key}, "by": {"ann"}, "why": {"flooded"}, "category": categories}
	}
	for _, tt := range []struct {
		q    url.Values
		want string
	}{
		{url.Values{"workload": {key}, "by": {"ann"}}, "why"},
		{who("behaviours"), "want executable"},
		{url.Values{"workload": {"nobody"}, "by": {"ann"}, "why": {"x"}}, profile.ErrUnknown.Error()},
	} {
		if _, e := post("/profile/reset", tt.q, nil); !strings.Contains(e, tt.want) {
			t.Errorf("%v: %q, want %q", tt.q, e, tt.want)
		}
	}
	if drift() || saved() != 2 {
		t.Error("a refused reset did something")
	}
	s, e := post("/profile/reset", who("behaviour"), nil)
	if e != "" || s.Entries != 1 || s.Mode != profile.Learn || len(s.Moves) == 0 || s.Moves[len(s.Moves)-1].Why != "flooded" {
		t.Errorf("%+v %s", s, e)
	}
	if !drift() {
		t.Error("nothing it does needs it any more, and drift is not enforced")
	}
	if n := saved(); n != 1 {
		t.Errorf("%d entries on disk, want 1", n)
	}
	// A disk that takes nothing.
	dir := filepath.Join(a.c.State, "profiles")
	if err := os.Rename(dir, dir+".away"); err != nil {
		t.Fatal(err)
	}
	edit := url.Values{"workload": {key}, "by": {"ann"}, "why": {"the build"}, "category": {"behaviour"}, "value": {profile.RunsCreated}}
	if _, e := post("/profile/edit", edit, nil); !strings.HasPrefix(e, "in force, but not saved: ") {
		t.Errorf("an edit that cannot be written: %q", e)
	}
	if drift() {
		t.Error("the edit is not in force")
	}
	if _, causes := a.verdict(); !strings.Contains(strings.Join(causes, "\n"), "profiles are not saved") {
		t.Errorf("causes %q", causes)
	}
	if err := os.Rename(dir+".away", dir); err != nil {
		t.Fatal(err)
	}
	if s, e := post("/profile/reset", who(), nil); e != "" || s.Entries != 0 {
		t.Errorf("%+v %s", s, e)
	}
	if n := saved(); n != 0 {
		t.Errorf("%d entries on disk, want none", n)
	}
	if _, causes := a.verdict(); strings.Contains(strings.Join(causes, "\n"), "profiles are not saved") {
		t.Errorf("causes %q", causes)
	}
}

// TestHostProfile: plain processes of the host are learned where the configuration says so,
// and nobody is told that a profile of theirs would hold them.
func TestHostProfile(t *testing.T) {
	for _, on := range []bool{false, true} {
		a := stopper(t)
		a.c.Learn.Host, a.trouble = on, map[string]string{}
		a.guarding = capable()
		a.guarding.a = a
		var err error
		if a.profiles, err = openProfiles(a); err != nil {
			t.Fatal(err)
		}
		for _, w := range []*bollwerk.Workload{{Kind: bollwerk.WorkloadHost, Node: "n", Cgroup: 1}, {Kind: bollwerk.WorkloadUnit, Unit: "x.service", Cgroup: 2}} {
			a.profiles.Observe(&bollwerk.Event{Time: time.Now(), Kind: bollwerk.EventExec, Outcome: bollwerk.Seen, Workload: w,
				Process: &bollwerk.Process{PID: 7, Path: "/bin/ls", Cgroup: w.Cgroup}}, false)
		}
		h, err := a.profiles.held("host")
		if (err == nil) != on {
			t.Fatalf("host: %v: %v", on, err)
		}
		if on && (h.Enforced != "" || len(h.ReportedOnly) != 1 || h.ReportedOnly[0] != onlyContainers) {
			t.Errorf("%+v", h)
		}
		if h, err = a.profiles.held("unit x.service"); err != nil || h.Enforced != "" || len(h.ReportedOnly) != 1 {
			t.Errorf("%+v %v", h, err)
		}
	}
}

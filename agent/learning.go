package agent

import (
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/profile"
)

// learning joins the profiles to the rest: what they saw decides which guards a
// workload can bear, and a profile in restrict mode becomes a policy.
type learning struct {
	a     *Agent
	book  *profile.Book // nil when switched off
	saved time.Time
	// One writing at a time, beside the judgement.
	saving atomic.Bool
	writes sync.WaitGroup
	disk   sync.Mutex // held while profiles are written
}

func openProfiles(a *Agent) (*learning, error) {
	l := &learning{a: a}
	if a.c.Learn.Off {
		a.trouble["profiles"] = "profiles are switched off: what a workload never did before is not noticed"
		return l, nil
	}
	store, err := profile.OpenStore(filepath.Join(a.c.State, "profiles"), 0)
	if err != nil {
		return nil, err
	}
	gates := profile.DefaultGates()
	a.c.Learn.Observe.apply(&gates.Observe)
	a.c.Learn.Restrict.apply(&gates.Restrict)
	l.book, err = profile.NewBook(profile.Config{Node: a.c.Node, Gates: gates, Store: store, Host: a.c.Learn.Host})
	return l, err
}

// Observe learns from an event, or tells how it deviates.
func (l *learning) Observe(e *bollwerk.Event, suspicious bool) []*bollwerk.Detection {
	if l.book == nil {
		return nil
	}
	return l.book.Observe(e, suspicious)
}

// Tick moves profiles forward that are complete, and saves them.
func (l *learning) Tick(now time.Time) {
	if l.book == nil || now.Sub(l.saved) < time.Minute {
		return
	}
	l.saved = now
	for w, m := range l.book.Tick() {
		l.a.log.Info("profile", "workload", w, "from", m.From, "to", m.To, "why", m.Why)
	}
	for _, n := range l.book.Notices() {
		l.a.log.Warn("profile", "notice", n)
	}
	// Writing waits for the disk; the judgement must not.
	if !l.saving.CompareAndSwap(false, true) {
		return
	}
	l.writes.Go(func() {
		defer l.saving.Store(false)
		_ = l.save() // said by its trouble
	})
}

// save writes what is new. Who waits for it waits for a writing that has begun, too: that
// one may have taken what was just decided, and may fail.
func (l *learning) save() error {
	l.disk.Lock()
	defer l.disk.Unlock()
	err := l.book.Save()
	if err != nil {
		l.a.setTrouble("profiles", fmt.Sprintf("profiles are not saved: %v", err))
	} else {
		l.a.setTrouble("profiles", "")
	}
	return err
}

// decided puts in force what a person decided about a profile, and writes it at once: a
// decision that an agent forgets when it is killed is none.
func (l *learning) decided(key string) (*profile.Status, error) {
	l.a.guarding.renew(key)
	if err := l.save(); err != nil {
		return nil, fmt.Errorf("in force, but not saved: %w", err)
	}
	return l.book.Status(key)
}

// did reports whether the workload is known for a behaviour, so that a guard would hurt it.
func (l *learning) did(w *bollwerk.Workload, behaviour string) bool {
	if l.book == nil {
		return false
	}
	did, _ := l.book.Did(w, behaviour)
	return did
}

// mode of a profile, as a word; "" when there is none.
func (l *learning) mode(key string) string {
	if l.book == nil {
		return ""
	}
	s, err := l.book.Status(key)
	if err != nil {
		return ""
	}
	return s.Mode.String()
}

// Close saves what was learned.
func (l *learning) Close() error {
	if l.book == nil {
		return nil
	}
	l.writes.Wait()
	l.disk.Lock()
	defer l.disk.Unlock()
	return l.book.SaveAll()
}

// serve answers `bollwerk-agent profile …`.
func (l *learning) serve(mux *http.ServeMux) {
	need := func(f func(*http.Request) (any, error)) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			if l.book == nil {
				answer(w, nil, errors.New("profiles are switched off in the configuration (learn: off)"))
				return
			}
			v, err := f(r)
			answer(w, v, err)
		}
	}
	mux.HandleFunc("GET /profiles", need(func(*http.Request) (any, error) {
		out := []*profile.Status{}
		for _, k := range l.book.Keys() {
			if s, err := l.book.Status(k); err == nil {
				out = append(out, s)
			}
		}
		return out, nil
	}))
	mux.HandleFunc("GET /profile", func(w http.ResponseWriter, r *http.Request) {
		key, err := l.find(r.FormValue("workload"))
		if err != nil {
			answer(w, nil, err)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		if err := l.book.Export(key, w); err != nil {
			answer(w, nil, err)
		}
	})
	mux.HandleFunc("GET /profile/held", need(func(r *http.Request) (any, error) {
		key, err := l.find(r.FormValue("workload"))
		if err != nil {
			return nil, err
		}
		return l.held(key)
	}))
	mux.HandleFunc("POST /profile/mode", need(func(r *http.Request) (any, error) {
		key, err := l.find(r.FormValue("workload"))
		if err != nil {
			return nil, err
		}
		to, err := profile.ParseMode(r.FormValue("to"))
		if err != nil {
			return nil, err
		}
		s, err := l.book.Status(key)
		if err != nil {
			return nil, err
		}
		why, by := r.FormValue("why"), r.FormValue("by")
		if to > s.Mode {
			err = l.book.Advance(key, to, by, why)
		} else {
			err = l.book.Back(key, to, by, why)
		}
		if err != nil {
			return nil, err
		}
		return l.decided(key)
	}))
	mux.HandleFunc("POST /profile/reset", need(func(r *http.Request) (any, error) {
		key, err := l.find(r.FormValue("workload"))
		if err != nil {
			return nil, err
		}
		why, by := r.FormValue("why"), r.FormValue("by")
		if why == "" || by == "" {
			return nil, errors.New("a reset needs who asked for it and why")
		}
		var cs []profile.Category
		for _, word := range r.Form["category"] {
			c, err := profile.ParseCategory(word)
			if err != nil {
				return nil, err
			}
			cs = append(cs, c)
		}
		if err := l.book.Reset(key, by, why, cs...); err != nil {
			return nil, err
		}
		return l.decided(key)
	}))
	mux.HandleFunc("POST /profile/edit", need(func(r *http.Request) (any, error) {
		key, err := l.find(r.FormValue("workload"))
		if err != nil {
			return nil, err
		}
		c, err := profile.ParseCategory(r.FormValue("category"))
		if err != nil {
			return nil, err
		}
		entry, err := profile.ParseEntry(c, r.FormValue("value"))
		if err != nil {
			return nil, err
		}
		err = l.book.Edit(key, entry, profile.Edit{
			Remove: r.FormValue("forbid") == "true", By: r.FormValue("by"), Reason: r.FormValue("why"),
		})
		if err != nil {
			return nil, err
		}
		return l.decided(key)
	}))
	mux.HandleFunc("POST /profile/import", need(func(r *http.Request) (any, error) {
		d, err := profile.ReadDocument(http.MaxBytesReader(nil, r.Body, profile.MaxDocument))
		if err != nil {
			return nil, err
		}
		if err := l.book.Import(d); err != nil {
			return nil, err
		}
		return l.decided(d.Workload)
	}))
}

// find takes a key, or a part of one that is unmistakable.
func (l *learning) find(name string) (string, error) {
	if l.book == nil {
		return "", errors.New("profiles are switched off in the configuration (learn: off)")
	}
	var near []string
	for _, k := range l.book.Keys() {
		if k == name {
			return k, nil
		}
		if name != "" && strings.Contains(k, name) {
			near = append(near, k)
		}
	}
	switch len(near) {
	case 1:
		return near[0], nil
	case 0:
		return "", fmt.Errorf("workload %q: %w; `bollwerk-agent profile list` names them", name, profile.ErrUnknown)
	}
	return "", fmt.Errorf("workload %q: %d profiles fit (%s, …); name one of them in full", name, len(near), near[0])
}

// Package raredomain notices names a workload never asked for before, once it is known what
// it asks for. It owns that small memory of names and programs; the full picture of a
// workload is the profile's.
package raredomain

import (
	"strings"
	"time"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/detect"
)

// Config tunes the detector. The zero value is usable.
type Config struct {
	// Learn is how long a workload is watched before anything about it is rare. Default 24 hours.
	Learn time.Duration `yaml:"learn"`
	// Allowed are domains that are never rare.
	Allowed []string `yaml:"allowed"`
}

// Detector notices first-seen domains.
type Detector struct {
	cfg       Config
	allowed   map[string]bool
	keys      *detect.Table[detect.Scope, uint64] // hash of Workload.Key, which is dear to make
	workloads *detect.Table[uint64, memory]
	clock     detect.Clock
}

// memory is what is known of all replicas of a workload.
type memory struct {
	since    time.Time     // as the clock said
	from     time.Duration // by the detector's own
	known    bool
	domains  detect.Set
	programs detect.Set
	fresh    [4]program // programs that came after learning
	next     int
	day      detect.Window // new domains in a day
}

type program struct {
	path uint64
	at   time.Time
	from time.Duration
}

const (
	maxDomains  = 256
	maxPrograms = 64
	// steady is how many new domains a day a workload may have for one more to be news.
	steady = 5
)

// New makes the detector.
func New(cfg Config) *Detector {
	if cfg.Learn <= 0 {
		cfg.Learn = 24 * time.Hour
	}
	d := &Detector{cfg: cfg, allowed: map[string]bool{}, keys: detect.NewTable[detect.Scope, uint64](512, 0), workloads: detect.NewTable[uint64, memory](256, 14*24*time.Hour)}
	for _, a := range cfg.Allowed {
		d.allowed[strings.ToLower(strings.Trim(a, "."))] = true
	}
	return d
}

var info = detect.Info{
	ID: "rare-domain", Title: "A workload asks for a domain it never asked for",
	Severity: bollwerk.SeverityLow, Mode: detect.Observe,
	Attack: []string{"T1071.001", "T1583.001"},
	Description: "After a day of watching, a workload (all its replicas together) that asks for few domains asks for a new one. It is low, and medium " +
		"when the program that asks is new in this workload too. Workloads with more than five new domains a day, or more than 256 in all, are never told of: for a browser everything is new.",
	Advice: "Usually a new version or a new feature. When the program is new too, find out where it came from. Allow domains of your own (raredomain.allowed).",
	Needs: []detect.Need{
		{Kind: bollwerk.EventDNS, Essential: true, Lost: "nothing is seen"},
		{Kind: bollwerk.EventExec, Lost: "that the program is new is known from its questions only"},
	},
	Bound: "256 workloads (14 days), 256 domains and 64 programs each; forgotten at a restart",
}

// Info tells what the detector sees and needs.
func (*Detector) Info() *detect.Info { return &info }

// Observe takes one event.
func (d *Detector) Observe(e *bollwerk.Event, report func(*bollwerk.Detection)) {
	now := d.clock.At(e.Time)
	if e.Kind == bollwerk.EventExec {
		if e.Process != nil && e.Process.Path != "" {
			d.ran(e, now, d.memory(e, now), e.Process.Path)
		}
		return
	}
	q := e.DNS
	if q == nil || q.Answer || len(q.Name) < 4 || len(q.Name) > 300 || detect.Inward(q.Name) {
		return
	}
	domain, _ := detect.Registered(q.Name)
	if !strings.Contains(domain, ".") || d.allowed[domain] {
		return
	}
	m := d.memory(e, now)
	path := ""
	if e.Process != nil {
		path = e.Process.Path
		if path != "" {
			d.ran(e, now, m, path)
		}
	}
	learning := now-m.from < d.cfg.Learn
	full := m.domains.Len() >= maxDomains
	if !m.domains.Add(detect.Hash(domain), maxDomains) || learning || full {
		return
	}
	if m.day.Add(e.Time, 24*time.Hour, 1) > steady {
		return
	}
	text := detect.Who(e.Process) + " in " + detect.Where(e.Workload) + " asked for " + detect.Text(q.Name) + "; nobody in this workload asked for " + detect.Text(domain) +
		" since " + m.since.UTC().Format("2006-01-02 15:04")
	det := detect.New(&info, e, domain, text)
	h := detect.Hash(path)
	for _, p := range m.fresh {
		if path != "" && p.path == h && now-p.from <= time.Hour && !p.at.IsZero() && detect.Job(e.Process) == nil {
			det.Severity, det.Mode = bollwerk.SeverityMedium, string(detect.Observe)
			det.Message += ", and " + detect.Text(path) + " itself ran here for the first time at " + p.at.UTC().Format("15:04")
			break
		}
	}
	report(det)
}

// ran books a program, and remembers for a while that it is new.
func (d *Detector) ran(e *bollwerk.Event, now time.Duration, m *memory, path string) {
	h := detect.Hash(path)
	if m.programs.Has(h) {
		return
	}
	if m.programs.Len() >= maxPrograms {
		return // everything runs here; nothing is new
	}
	m.programs.Add(h, maxPrograms)
	if now-m.from >= d.cfg.Learn {
		m.fresh[m.next%len(m.fresh)] = program{h, e.Time, now}
		m.next++
	}
}

func (d *Detector) memory(e *bollwerk.Event, now time.Duration) *memory {
	scope := detect.ScopeOf(e)
	k := d.keys.Get(scope, e.Time)
	if k == nil {
		k = d.keys.Put(scope, e.Time)
		*k = detect.Hash(e.Workload.Key())
	}
	m := d.workloads.Put(*k, e.Time)
	if !m.known {
		m.known, m.since, m.from = true, e.Time, now
	}
	if e.Time.Before(m.since) {
		m.since = e.Time // turned back: said only, it is not learned anew
	}
	return m
}

// Package dga notices a program that guesses domain names: many that do not exist, made
// of letters nobody would choose. It owns the model of letters; data within names is
// dnstunnel's.
package dga

import (
	"fmt"
	"strings"
	"time"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/detect"
)

// Config tunes the detector. The zero value is usable.
type Config struct {
	// Allowed are paths of programs that ask for names others made up: a mail server, a resolver.
	Allowed []string `yaml:"allowed"`
}

// Detector notices generated domains.
type Detector struct {
	cfg    Config
	model  *model
	places *detect.Table[detect.Scope, guesses]
}

// guesses are the names of one workload that do not exist, in a window.
type guesses struct {
	began   time.Time
	names   detect.Set // registered domains that do not exist
	drawn   int        // of them with letters drawn at random
	samples []string
	told    bollwerk.Severity
	found   string // a drawn name that does exist, after many that do not
}

const (
	window   = 10 * time.Minute
	maxNames = 256
)

// New makes the detector.
func New(cfg Config) *Detector {
	return &Detector{cfg: cfg, model: newModel(), places: detect.NewTable[detect.Scope, guesses](256, window)}
}

var info = detect.Info{
	ID: "generated-domains", Title: "A program guesses domain names",
	Severity: bollwerk.SeverityHigh, Mode: detect.Warn,
	Attack: []string{"T1568.002"},
	Description: "A workload asks for many domains that do not exist and whose letters look drawn at random, as malware does that looks for its " +
		"operator under a new name every day. Names made of whole words are not told from others that way.",
	Advice: "Look at the process: if it is not a mail server, a resolver or a crawler, it is probably malware waiting for orders. Isolate the workload. " +
		"If one of the names was answered (the message says so), block it at the resolver for everybody and look who else asked for it.",
	Needs: []detect.Need{{Kind: bollwerk.EventDNS, Essential: true, Lost: "no guessing is seen"}},
	Bound: "256 workloads (10 min), 256 domains each",
}

// Info tells what the detector sees and needs.
func (*Detector) Info() *detect.Info { return &info }

// Observe takes one event.
func (d *Detector) Observe(e *bollwerk.Event, report func(*bollwerk.Detection)) {
	q := e.DNS
	if q == nil || !q.Answer || len(q.Name) < 4 || len(q.Name) > 300 || q.Code != "NXDOMAIN" && q.Code != "NOERROR" || detect.Inward(q.Name) {
		return
	}
	domain, _ := detect.Registered(q.Name)
	scope := detect.ScopeOf(e)
	if q.Code == "NOERROR" {
		// Only of interest where guessing goes on already: a look-up for all others.
		x := d.places.Peek(scope, e.Time)
		if x == nil || x.told == 0 || x.found != "" || q.Records == 0 || !d.model.drawn(first(domain)) {
			return
		}
		x.found = strings.Clone(domain)
		x.told = bollwerk.SeverityCritical
		d.tell(e, x, report)
		return
	}
	if e.Process != nil {
		for _, a := range d.cfg.Allowed {
			if e.Process.Path == a {
				return
			}
		}
	}
	x := d.places.Put(scope, e.Time)
	if x.began.IsZero() || e.Time.Sub(x.began) > window || e.Time.Before(x.began) {
		names := x.names
		names.Reset()
		*x = guesses{began: e.Time, names: names}
	}
	if !x.names.Add(detect.Hash(domain), maxNames) || !d.model.drawn(first(domain)) {
		return
	}
	x.drawn++
	if len(x.samples) < 5 {
		x.samples = append(x.samples, detect.Text(domain))
	}
	var severity bollwerk.Severity
	switch share := float64(x.drawn) / float64(x.names.Len()); {
	case x.drawn >= 20 && share >= 0.6:
		severity = bollwerk.SeverityHigh
	case x.drawn >= 10 && share >= 0.6:
		severity = bollwerk.SeverityMedium
	}
	if severity > x.told {
		x.told = severity
		d.tell(e, x, report)
	}
}

func first(domain string) string {
	if i := strings.IndexByte(domain, '.'); i >= 0 {
		return domain[:i]
	}
	return domain
}

func (d *Detector) tell(e *bollwerk.Event, x *guesses, report func(*bollwerk.Detection)) {
	text := fmt.Sprintf("%s in %s asked for %d domains that do not exist within %s, %d of them with letters as if drawn at random (%s)",
		detect.Who(e.Process), detect.Where(e.Workload), x.names.Len(), max(e.Time.Sub(x.began), time.Second).Round(time.Second), x.drawn, strings.Join(x.samples, ", "))
	if x.found != "" {
		text += "; " + detect.Text(x.found) + " was answered"
	}
	det := detect.New(&info, e, "", text)
	det.Severity = x.told
	report(det)
}

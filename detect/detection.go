package detect

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/netip"
	"strings"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/internal/terminal"
)

// MaxEvents is how many events a detection carries at most.
const MaxEvents = 32

// ID names a detection: the same rule about the same subject in the same place has the
// same one. The place is the workload's key and, below it, the pod or container:
// replicas are attacked one by one and must be contained one by one, but a container that
// restarts in its pod does not begin anew.
func ID(rule string, w *bollwerk.Workload, subject string) string {
	place := ""
	switch {
	case w == nil:
	case w.Pod != nil && w.Pod.UID != "":
		place = w.Pod.UID
	case w.Container != nil:
		place = w.Container.ID
	}
	h := sha256.New()
	for _, s := range []string{rule, w.Key(), place, subject} {
		// Lengths keep ("a","bc") and ("ab","c") apart: the parts are chosen by strangers.
		fmt.Fprintf(h, "%d:%s", len(s), s)
	}
	return rule + "-" + hex.EncodeToString(h.Sum(nil)[:8])
}

// New makes the detection of info about e. subject is what tells this case from others of
// the same rule and workload (a peer, a domain, a program); message is the sentence
// about it. Outcome is what the event says, and seen where it says nothing.
func New(info *Info, e *bollwerk.Event, subject, message string) *bollwerk.Detection {
	d := &bollwerk.Detection{
		ID: ID(info.ID, e.Workload, subject), Rule: info.ID, Message: message,
		Time: e.Time, Last: e.Time, Count: max(1, e.Count),
		Outcome: e.Outcome, Process: e.Process, Workload: e.Workload, Events: []*bollwerk.Event{e},
	}
	if !e.Happened() {
		// "bash (pid 7) in docker web wrote …": what stands before was chosen by strangers.
		if who, deed, ok := strings.Cut(message, " in "+Where(e.Workload)+" "); ok {
			d.Message = who + " in " + Where(e.Workload) + " " + bollwerk.Attempted(deed)
		}
	}
	fill(d, info)
	return d
}

// fill puts in what every detection says, where the detector left it out.
func fill(d *bollwerk.Detection, info *Info) {
	d.Schema = bollwerk.DetectionSchema
	if d.Rule == "" {
		d.Rule = info.ID
	}
	if d.Title == "" {
		d.Title = info.Title
	}
	if d.Severity == bollwerk.SeverityUnknown {
		d.Severity = info.Severity
	}
	if d.Attack == nil {
		d.Attack = info.Attack
	}
	if d.Advice == "" {
		d.Advice = info.Advice
	}
	if d.Outcome == "" {
		d.Outcome = bollwerk.Seen
	}
	if d.Verdict == "" {
		d.Verdict = bollwerk.Fail
	}
	if d.Count == 0 {
		d.Count = 1
	}
	if len(d.Events) > MaxEvents {
		d.Events = d.Events[len(d.Events)-MaxEvents:]
	}
}

// Text makes a string from outside fit to stand in a sentence.
func Text(s string) string { return terminal.Clean(s, 80) }

// Who names a process in a sentence: "bash (pid 4711)".
func Who(p *bollwerk.Process) string {
	if p == nil {
		return "a process the kernel did not name"
	}
	name := Name(p)
	if name == "" {
		name = "a process"
	}
	return fmt.Sprintf("%s (pid %d)", Text(name), p.PID)
}

// Command is the command line of a process in a sentence, cut to what people read.
func Command(p *bollwerk.Process) string {
	if p == nil {
		return ""
	}
	var b strings.Builder
	for i, a := range p.Args {
		if i > 0 {
			b.WriteByte(' ')
		}
		if b.Len()+len(a) > 400 {
			b.WriteString(a[:max(0, min(len(a), 400-b.Len()))])
			break
		}
		b.WriteString(a)
	}
	return terminal.Clean(b.String(), 120)
}

// Where names the place in a sentence: "pod shop/cart-5d9/app", "container web (nginx:1.27)",
// "the host".
func Where(w *bollwerk.Workload) string {
	if w == nil {
		return "the host"
	}
	name := Text(w.String())
	switch {
	case w.Pod != nil:
		return "pod " + name
	case w.Container != nil:
		return "container " + name
	case w.Unit != "":
		return "unit " + name
	}
	return "the host"
}

// Peer names the other end of a connection: the DNS name it was asked by and the
// address, as far as known.
func Peer(c *bollwerk.Connection) string {
	if c == nil {
		return "an unknown peer"
	}
	s := c.Remote.String()
	if !c.Remote.IsValid() {
		s = "an unknown address"
	}
	switch {
	case c.Name != "" && c.Borrowed:
		s += ", which another workload of the same network asked for as " + Text(c.Name)
	case c.Name != "":
		s = Text(c.Name) + " (" + s + ")"
	case c.Peer != "":
		s = Text(c.Peer) + " (" + s + ")"
	}
	return s
}

// Public reports whether an address lies outside of what a site owns itself: neither
// loopback nor private, shared (RFC 6598), link-local, multicast or unspecified.
func Public(a netip.Addr) bool {
	a = a.Unmap()
	if !a.IsValid() || a.IsLoopback() || a.IsPrivate() || a.IsLinkLocalUnicast() || a.IsMulticast() || a.IsUnspecified() {
		return false
	}
	if a.Is4() {
		b := a.As4()
		return !(b[0] == 100 && b[1]&0xc0 == 64) && b[0] != 0 && b[0] < 240
	}
	return true
}

// Distant reports whether an address leaves this machine.
func Distant(a netip.Addr) bool {
	return a.IsValid() && !a.Unmap().IsLoopback() && !a.IsUnspecified()
}

// Brief is a copy of a process to be kept: what a person needs to recognise it, with its
// ancestors, at most a kilobyte each. A process as the sensor hands it out can be held
// alive with sixteen ancestors of many kilobytes, all chosen by a stranger.
func Brief(p *bollwerk.Process) *bollwerk.Process {
	return brief(p, bollwerk.ProcessDepth)
}

func brief(p *bollwerk.Process, depth int) *bollwerk.Process {
	if p == nil {
		return nil
	}
	c := *p
	c.Env = nil
	c.Path, c.Cwd, c.Script, c.CgroupPath = clip(p.Path, 200), clip(p.Cwd, 80), clip(p.Script, 120), clip(p.CgroupPath, 120)
	c.Args = nil
	room := 400
	for i, a := range p.Args {
		if i == 12 || room <= 0 {
			c.Truncated = true
			break
		}
		a = clip(a, min(room, 160))
		room -= len(a)
		c.Args = append(c.Args, a)
	}
	if len(c.Stdio) > 3 {
		c.Stdio = c.Stdio[:3]
	}
	c.Parent = nil
	if depth > 0 {
		c.Parent = brief(p.Parent, depth-1)
	}
	return &c
}

func clip(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return strings.Clone(s[:n])
}

// BriefEvent is a copy of an event to be kept, with a brief process and its four nearest
// ancestors.
func BriefEvent(e *bollwerk.Event) *bollwerk.Event {
	c := *e
	c.Process, c.Target = brief(e.Process, 4), brief(e.Target, 1)
	return &c
}

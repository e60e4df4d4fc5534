package main

import (
	"fmt"
	"strings"
	"syscall"

	"github.com/bollwerk/bollwerk"
)

// eventSummary says in a few words what an event is about. The text is not cleaned.
func eventSummary(e *bollwerk.Event) string {
	var b strings.Builder
	add := func(format string, args ...any) {
		if b.Len() > 0 {
			b.WriteByte(' ')
		}
		fmt.Fprintf(&b, format, args...)
	}
	switch {
	case e.Kind == bollwerk.EventExec && e.Process != nil:
		add("%s", strings.Join(e.Process.Args, " "))
		if o := e.Process.Origin; o != "" && o != bollwerk.OriginImage && o != bollwerk.OriginHost {
			add("(%s)", o)
		}
	case e.Kind == bollwerk.EventExit && e.Process != nil:
		switch w := syscall.WaitStatus(e.Process.ExitCode); { // as the kernel keeps it
		case w.Signaled():
			add("ended by signal %d", w.Signal())
		default:
			add("status %d", w.ExitStatus())
		}
	}
	if f := e.File; f != nil {
		add("%s", f.Path)
		if f.Target != "" {
			add("→ %s", f.Target)
		}
		if e.Kind == bollwerk.EventOpen {
			switch {
			case f.Access&(bollwerk.AccessWrite|bollwerk.AccessCreate|bollwerk.AccessTruncate) != 0:
				add("(write)")
			case f.Access&bollwerk.AccessRead != 0:
				add("(read)")
			}
		}
		if e.Kind == bollwerk.EventChmod {
			if f.OldMode != 0 {
				add("%04o", f.OldMode&0o7777)
			}
			add("→ %04o", f.Mode&0o7777)
		}
	}
	if c := e.Connection; c != nil {
		add("%s", c.Protocol)
		if c.Local.IsValid() && (e.Kind == bollwerk.EventListen || e.Kind == bollwerk.EventBind || e.Kind == bollwerk.EventAccept) {
			add("%s", c.Local)
		}
		if c.Remote.IsValid() {
			add("%s", c.Remote)
		}
		if c.Name != "" {
			add("%s", c.Name)
		}
		if c.Path != "" {
			add("%s", c.Path)
		}
	}
	if d := e.DNS; d != nil {
		add("%s %s", d.Type, d.Name)
		if d.Answer {
			add("%s", d.Code)
			for _, a := range d.Addresses {
				add("%s", a)
			}
		}
	}
	if f := e.Flow; f != nil {
		add("%d connections, %d failed, sent %d B, received %d B", f.Connections, f.Failed, f.SentBytes, f.ReceivedBytes)
	}
	if t := e.Target; t != nil {
		add("→ %s(%d)", t.Name, t.PID)
	}
	if e.Signal != 0 {
		add("signal %d", e.Signal)
	}
	if c := e.Change; c != nil {
		switch {
		case c.Used != "":
			add("%s", c.Used)
		default:
			add("uid %d → %d, capabilities %x → %x", c.OldUID, c.UID, c.OldCapabilities, c.Capabilities)
		}
	}
	if n := e.Namespace; n != nil {
		add("%s", strings.Join(n.Kinds, ","))
		if n.ToHost {
			add("of the host")
		}
	}
	if m := e.Mount; m != nil {
		add("%s %s on %s", m.Type, m.Source, m.Target)
	}
	if o := e.Object; o != nil {
		add("%s", o.Name)
		if o.Value != "" {
			add("= %s", o.Value)
		}
	}
	if u := e.Usage; u != nil {
		add("%d %% of a core over %s", int64(100*u.CPU/max(1, u.Window)), u.Window)
	}
	if l := e.Loss; l != nil {
		add("%s", l.Sentence())
	}
	if e.Result != 0 {
		add("errno %d", e.Result)
	}
	return b.String()
}

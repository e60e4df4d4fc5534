package bollwerk

import (
	"encoding/json"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"time"
	"unicode/utf8"
)

// AppendJSON appends exactly what json.Marshal makes of e. Events come by the thousand
// a second, and encoding/json spends more on each than everything else that is done
// with it; whoever adds a field to the words of an event adds it here, too (a test
// finds the one that was forgotten).
func (e *Event) AppendJSON(b []byte) ([]byte, error) {
	w := jsonFields{b: b}
	w.event(e)
	return w.b, w.err
}

// AppendJSON appends exactly what json.Marshal makes of p, with its parents.
func (p *Process) AppendJSON(b []byte) ([]byte, error) {
	w := jsonFields{b: b}
	w.process(p, &noProcess, false)
	return w.b, w.err
}

// AppendJSONSince appends an object of what differs between p and base, but for Parent,
// which it leaves out. ProcessSince reads it.
func (p *Process) AppendJSONSince(b []byte, base *Process) ([]byte, error) {
	w := jsonFields{b: b}
	w.process(p, base, true)
	return w.b, w.err
}

// ProcessSince returns the process, without its parent, of which AppendJSONSince said in
// b what differs from base.
func ProcessSince(base *Process, b []byte) (*Process, error) {
	p := *base
	// json.Unmarshal writes into lists that it finds. One that it does not set did not change.
	p.Args, p.Env, p.Stdio, p.Parent = nil, nil, nil, nil
	if err := json.Unmarshal(b, &p); err != nil {
		return nil, err
	}
	if p.Args == nil {
		p.Args = base.Args
	}
	if p.Env == nil {
		p.Env = base.Env
	}
	if p.Stdio == nil {
		p.Stdio = base.Stdio
	}
	return &p, nil
}

var noProcess Process

// jsonFields writes an object's fields, each with a comma before it; end puts the
// bracket in the place of the first comma.
type jsonFields struct {
	b   []byte
	err error
}

func (w *jsonFields) end(start int) {
	if len(w.b) == start {
		w.b = append(w.b, '{')
	} else {
		w.b[start] = '{'
	}
	w.b = append(w.b, '}')
}

// The names are given as they stand in the object: `,"pid":`.

func (w *jsonFields) text(name, v string) {
	w.b = appendJSONText(append(w.b, name...), v)
}

func (w *jsonFields) someText(name, v string) {
	if v != "" {
		w.text(name, v)
	}
}

func (w *jsonFields) number(name string, v uint64) {
	w.b = strconv.AppendUint(append(w.b, name...), v, 10)
}

func (w *jsonFields) someNumber(name string, v uint64) {
	if v != 0 {
		w.number(name, v)
	}
}

func (w *jsonFields) signed(name string, v int64) {
	w.b = strconv.AppendInt(append(w.b, name...), v, 10)
}

func (w *jsonFields) someSigned(name string, v int64) {
	if v != 0 {
		w.signed(name, v)
	}
}

func (w *jsonFields) flag(name string, v bool) {
	if v {
		w.b = append(append(w.b, name...), "true"...)
	}
}

func (w *jsonFields) time(name string, t time.Time) {
	b, err := t.AppendText(append(append(w.b, name...), '"'))
	if err != nil {
		if w.err == nil {
			w.err = err
		}
		return // and what was appended is the caller's to throw away
	}
	w.b = append(b, '"')
}

func (w *jsonFields) someTime(name string, t time.Time) {
	if !t.IsZero() {
		w.time(name, t)
	}
}

func (w *jsonFields) somePeer(name string, a netip.AddrPort) {
	if a == (netip.AddrPort{}) {
		return
	}
	var room [64]byte
	w.b = appendJSONText(append(w.b, name...), a.AppendTo(room[:0]))
}

func (w *jsonFields) someTexts(name string, l []string) {
	if len(l) > 0 {
		w.texts(name, l)
	}
}

// texts are null when there is no list, as in encoding/json.
func (w *jsonFields) texts(name string, l []string) {
	w.b = append(w.b, name...)
	if l == nil {
		w.b = append(w.b, "null"...)
		return
	}
	w.b = append(w.b, '[')
	for i, s := range l {
		if i > 0 {
			w.b = append(w.b, ',')
		}
		w.b = appendJSONText(w.b, s)
	}
	w.b = append(w.b, ']')
}

func (w *jsonFields) someLabels(name string, m map[string]string) {
	if len(m) == 0 {
		return
	}
	w.b = append(w.b, name...)
	start := len(w.b)
	for _, k := range slices.Sorted(maps.Keys(m)) {
		w.b = append(appendJSONText(append(w.b, ','), k), ':')
		w.b = appendJSONText(w.b, m[k])
	}
	w.end(start)
}

func (w *jsonFields) event(e *Event) {
	start := len(w.b)
	w.time(`,"time":`, e.Time)
	w.text(`,"kind":`, e.Kind.String())
	if e.Process != nil {
		w.b = append(w.b, `,"process":`...)
		w.process(e.Process, &noProcess, false)
	}
	if e.Workload != nil {
		w.b = append(w.b, `,"workload":`...)
		w.workload(e.Workload)
	}
	w.someText(`,"outcome":`, string(e.Outcome))
	w.someSigned(`,"result":`, int64(e.Result))
	w.someNumber(`,"count":`, e.Count)
	w.someText(`,"source":`, e.Source)
	w.someText(`,"rule":`, e.Rule)
	if f := e.File; f != nil {
		w.b = append(w.b, `,"file":`...)
		w.file(f)
	}
	if c := e.Connection; c != nil {
		w.b = append(w.b, `,"connection":`...)
		w.connection(c)
	}
	if d := e.DNS; d != nil {
		w.b = append(w.b, `,"dns":`...)
		w.dns(d)
	}
	if f := e.Flow; f != nil {
		w.b = append(w.b, `,"flow":`...)
		w.flow(f)
	}
	if e.Target != nil {
		w.b = append(w.b, `,"target":`...)
		w.process(e.Target, &noProcess, false)
	}
	w.someSigned(`,"signal":`, int64(e.Signal))
	if c := e.Change; c != nil {
		w.b = append(w.b, `,"change":`...)
		w.change(c)
	}
	if n := e.Namespace; n != nil {
		w.b = append(w.b, `,"namespace":`...)
		start := len(w.b)
		w.texts(`,"kinds":`, n.Kinds)
		w.flag(`,"entered":`, n.Entered)
		w.flag(`,"to_host":`, n.ToHost)
		w.end(start)
	}
	if m := e.Mount; m != nil {
		w.b = append(w.b, `,"mount":`...)
		w.mount(m)
	}
	if o := e.Object; o != nil {
		w.b = append(w.b, `,"object":`...)
		start := len(w.b)
		w.text(`,"name":`, o.Name)
		w.someText(`,"type":`, o.Type)
		w.someText(`,"value":`, o.Value)
		w.someText(`,"old":`, o.Old)
		w.someNumber(`,"id":`, o.ID)
		w.end(start)
	}
	if l := e.Loss; l != nil {
		w.b = append(w.b, `,"loss":`...)
		w.loss(l)
	}
	if u := e.Usage; u != nil {
		w.b = append(w.b, `,"usage":`...)
		start := len(w.b)
		w.signed(`,"window":`, int64(u.Window))
		w.signed(`,"cpu":`, int64(u.CPU))
		w.end(start)
	}
	w.end(start)
}

// process writes what differs from base: for the whole of a process that is noProcess,
// and what JSON never leaves out is written, too.
func (w *jsonFields) process(p, base *Process, since bool) {
	start := len(w.b)
	all := !since
	if all || p.PID != base.PID {
		w.number(`,"pid":`, uint64(p.PID))
	}
	if p.NSID != base.NSID {
		w.number(`,"ns_pid":`, uint64(p.NSID))
	}
	if all || p.Start != base.Start {
		w.number(`,"start":`, p.Start)
	}
	if p.Began != base.Began && (since || !p.Began.IsZero()) {
		w.time(`,"began":`, p.Began)
	}
	if all || p.Name != base.Name {
		w.text(`,"name":`, p.Name)
	}
	if p.Path != base.Path {
		w.text(`,"path":`, p.Path)
	}
	if p.Script != base.Script {
		w.text(`,"script":`, p.Script)
	}
	w.changedTexts(`,"args":`, p.Args, base.Args)
	w.changedFlag(`,"truncated":`, p.Truncated, base.Truncated)
	if p.Cwd != base.Cwd {
		w.text(`,"cwd":`, p.Cwd)
	}
	w.changedTexts(`,"env":`, p.Env, base.Env)
	if all || p.UID != base.UID {
		w.number(`,"uid":`, uint64(p.UID))
	}
	if all || p.EUID != base.EUID {
		w.number(`,"euid":`, uint64(p.EUID))
	}
	if all || p.GID != base.GID {
		w.number(`,"gid":`, uint64(p.GID))
	}
	if p.LoginUID != base.LoginUID {
		w.number(`,"login_uid":`, uint64(p.LoginUID))
	}
	if p.Session != base.Session {
		w.number(`,"session":`, uint64(p.Session))
	}
	if p.TTY != base.TTY {
		w.text(`,"tty":`, p.TTY)
	}
	if p.Capabilities != base.Capabilities {
		w.number(`,"capabilities":`, p.Capabilities)
	}
	if p.Permitted != base.Permitted {
		w.number(`,"permitted":`, p.Permitted)
	}
	if p.Seccomp != base.Seccomp {
		w.number(`,"seccomp":`, uint64(p.Seccomp))
	}
	w.changedFlag(`,"no_new_privs":`, p.NoNewPrivs, base.NoNewPrivs)
	if p.Inode != base.Inode {
		w.number(`,"inode":`, p.Inode)
	}
	if p.Device != base.Device {
		w.number(`,"device":`, p.Device)
	}
	if p.Mode != base.Mode {
		w.number(`,"mode":`, uint64(p.Mode))
	}
	if p.Origin != base.Origin {
		w.text(`,"origin":`, string(p.Origin))
	}
	if p.Layer != base.Layer {
		w.text(`,"layer":`, string(p.Layer))
	}
	w.changedFlag(`,"fileless":`, p.Fileless, base.Fileless)
	if !sameList(p.Stdio, base.Stdio) {
		w.stdio(p.Stdio)
	}
	if p.Cgroup != base.Cgroup {
		w.number(`,"cgroup":`, p.Cgroup)
	}
	if p.CgroupPath != base.CgroupPath {
		w.text(`,"cgroup_path":`, p.CgroupPath)
	}
	if p.PIDNS != base.PIDNS {
		w.number(`,"pid_ns":`, uint64(p.PIDNS))
	}
	if p.MountNS != base.MountNS {
		w.number(`,"mount_ns":`, uint64(p.MountNS))
	}
	if p.NetNS != base.NetNS {
		w.number(`,"net_ns":`, uint64(p.NetNS))
	}
	if p.UserNS != base.UserNS {
		w.number(`,"user_ns":`, uint64(p.UserNS))
	}
	w.changedFlag(`,"contained":`, p.Contained, base.Contained)
	w.changedFlag(`,"kernel":`, p.Kernel, base.Kernel)
	w.changedFlag(`,"existing":`, p.Existing, base.Existing)
	if p.ExitCode != base.ExitCode {
		w.signed(`,"exit_code":`, int64(p.ExitCode))
	}
	if all && p.Parent != nil {
		w.b = append(w.b, `,"parent":`...)
		w.process(p.Parent, &noProcess, false)
	}
	w.end(start)
}

func (w *jsonFields) changedFlag(name string, v, base bool) {
	if v != base {
		w.b = strconv.AppendBool(append(w.b, name...), v)
	}
}

// sameList takes lists without elements for the same: JSON leaves both out. Most often
// the lists of two images are one.
func sameList[T comparable](a, b []T) bool {
	return len(a) == len(b) && (len(a) == 0 || &a[0] == &b[0] || slices.Equal(a, b))
}

func (w *jsonFields) changedTexts(name string, l, base []string) {
	switch {
	case sameList(l, base):
	case len(l) == 0: // null would be what is not told
		w.b = append(append(w.b, name...), "[]"...)
	default:
		w.texts(name, l)
	}
}

func (w *jsonFields) stdio(l []OpenFile) {
	w.b = append(w.b, `,"stdio":[`...)
	for i := range l {
		if i > 0 {
			w.b = append(w.b, ',')
		}
		f := &l[i]
		start := len(w.b)
		w.signed(`,"fd":`, int64(f.FD))
		w.text(`,"kind":`, f.Kind)
		w.someText(`,"protocol":`, f.Protocol)
		w.somePeer(`,"local":`, f.Local)
		w.somePeer(`,"remote":`, f.Remote)
		w.someNumber(`,"inode":`, f.Inode)
		w.end(start)
	}
	w.b = append(w.b, ']')
}

func (w *jsonFields) file(f *FileEvent) {
	start := len(w.b)
	w.text(`,"path":`, f.Path)
	w.someText(`,"target":`, f.Target)
	w.flag(`,"truncated":`, f.Truncated)
	w.someNumber(`,"access":`, uint64(f.Access))
	w.someNumber(`,"mode":`, uint64(f.Mode))
	w.someNumber(`,"old_mode":`, uint64(f.OldMode))
	w.someNumber(`,"uid":`, uint64(f.UID))
	w.someNumber(`,"gid":`, uint64(f.GID))
	w.someNumber(`,"inode":`, f.Inode)
	w.someNumber(`,"device":`, f.Device)
	w.someText(`,"origin":`, string(f.Origin))
	w.someSigned(`,"size":`, f.Size)
	w.end(start)
}

func (w *jsonFields) connection(c *Connection) {
	start := len(w.b)
	w.text(`,"protocol":`, c.Protocol)
	w.somePeer(`,"local":`, c.Local)
	w.somePeer(`,"remote":`, c.Remote)
	w.someText(`,"name":`, c.Name)
	w.flag(`,"name_borrowed":`, c.Borrowed)
	w.someText(`,"path":`, c.Path)
	w.someText(`,"peer":`, c.Peer)
	w.flag(`,"outgoing":`, c.Outgoing)
	w.someNumber(`,"cookie":`, c.Cookie)
	w.someNumber(`,"net_ns":`, uint64(c.NetNS))
	w.end(start)
}

func (w *jsonFields) dns(d *DNS) {
	start := len(w.b)
	w.flag(`,"answer":`, d.Answer)
	w.number(`,"id":`, uint64(d.ID))
	w.text(`,"name":`, d.Name)
	w.text(`,"type":`, d.Type)
	w.someText(`,"code":`, d.Code)
	if len(d.Addresses) > 0 {
		w.b = append(w.b, `,"addresses":`...)
		for i, a := range d.Addresses {
			comma := byte(',')
			if i == 0 {
				comma = '['
			}
			var room [64]byte
			text := room[:0]
			if a.IsValid() { // else it is an empty text
				text = a.AppendTo(text)
			}
			w.b = appendJSONText(append(w.b, comma), text)
		}
		w.b = append(w.b, ']')
	}
	w.someTexts(`,"aliases":`, d.Aliases)
	w.someNumber(`,"ttl":`, uint64(d.TTL))
	w.someSigned(`,"records":`, int64(d.Records))
	w.someSigned(`,"size":`, int64(d.Size))
	w.somePeer(`,"server":`, d.Server)
	w.flag(`,"truncated":`, d.Truncated)
	w.end(start)
}

func (w *jsonFields) flow(f *Flow) {
	start := len(w.b)
	w.time(`,"from":`, f.From)
	w.time(`,"to":`, f.To)
	w.number(`,"connections":`, f.Connections)
	w.someNumber(`,"failed":`, f.Failed)
	w.number(`,"sent_bytes":`, f.SentBytes)
	w.number(`,"received_bytes":`, f.ReceivedBytes)
	w.number(`,"sent_packets":`, f.SentPackets)
	w.number(`,"received_packets":`, f.ReceivedPackets)
	w.end(start)
}

func (w *jsonFields) change(c *Change) {
	start := len(w.b)
	w.number(`,"old_uid":`, uint64(c.OldUID))
	w.number(`,"old_euid":`, uint64(c.OldEUID))
	w.number(`,"old_gid":`, uint64(c.OldGID))
	w.number(`,"uid":`, uint64(c.UID))
	w.number(`,"euid":`, uint64(c.EUID))
	w.number(`,"gid":`, uint64(c.GID))
	w.someNumber(`,"old_capabilities":`, c.OldCapabilities)
	w.someNumber(`,"capabilities":`, c.Capabilities)
	w.someText(`,"used":`, c.Used)
	w.end(start)
}

func (w *jsonFields) mount(m *Mount) {
	start := len(w.b)
	w.someText(`,"source":`, m.Source)
	w.text(`,"target":`, m.Target)
	w.someText(`,"type":`, m.Type)
	w.someNumber(`,"flags":`, m.Flags)
	w.someText(`,"root":`, m.Root)
	w.end(start)
}

func (w *jsonFields) loss(l *Loss) {
	start := len(w.b)
	w.someTime(`,"from":`, l.From)
	w.time(`,"to":`, l.To)
	w.number(`,"count":`, l.Count)
	w.text(`,"area":`, l.Area)
	if l.Kind != 0 {
		w.text(`,"kind":`, l.Kind.String())
	}
	w.someNumber(`,"cgroup":`, l.Cgroup)
	w.end(start)
}

func (w *jsonFields) workload(l *Workload) {
	start := len(w.b)
	w.text(`,"kind":`, string(l.Kind))
	w.someNumber(`,"cgroup":`, l.Cgroup)
	if c := l.Container; c != nil {
		w.b = append(w.b, `,"container":`...)
		w.container(c)
	}
	if p := l.Pod; p != nil {
		w.b = append(w.b, `,"pod":`...)
		w.pod(p)
	}
	w.someText(`,"unit":`, l.Unit)
	w.someText(`,"node":`, l.Node)
	w.someText(`,"unresolved":`, l.Unresolved)
	w.end(start)
}

func (w *jsonFields) container(c *Container) {
	start := len(w.b)
	w.text(`,"id":`, c.ID)
	w.someText(`,"name":`, c.Name)
	w.someText(`,"runtime":`, c.Runtime)
	w.someText(`,"owner":`, c.Owner)
	w.someText(`,"image":`, c.Image)
	w.someText(`,"digest":`, string(c.Digest))
	w.someLabels(`,"labels":`, c.Labels)
	w.someTime(`,"started":`, c.Started)
	w.someNumber(`,"pid":`, uint64(c.PID))
	w.flag(`,"privileged":`, c.Privileged)
	w.flag(`,"host_pid":`, c.HostPID)
	w.flag(`,"host_network":`, c.HostNetwork)
	w.someTexts(`,"entrypoint":`, c.Entrypoint)
	for i, p := range c.Ports {
		name := ","
		if i == 0 {
			name = `,"ports":[`
		}
		w.number(name, uint64(p))
		if i == len(c.Ports)-1 {
			w.b = append(w.b, ']')
		}
	}
	for i := range c.Mounts {
		name := ","
		if i == 0 {
			name = `,"mounts":[`
		}
		w.b = append(w.b, name...)
		w.mount(&c.Mounts[i])
		if i == len(c.Mounts)-1 {
			w.b = append(w.b, ']')
		}
	}
	w.end(start)
}

func (w *jsonFields) pod(p *Pod) {
	start := len(w.b)
	w.text(`,"namespace":`, p.Namespace)
	w.text(`,"name":`, p.Name)
	w.someText(`,"uid":`, p.UID)
	w.someText(`,"container":`, p.Container)
	w.someText(`,"owner_kind":`, p.OwnerKind)
	w.someText(`,"owner_name":`, p.OwnerName)
	w.someText(`,"service_account":`, p.ServiceAccount)
	w.someLabels(`,"labels":`, p.Labels)
	w.flag(`,"sandbox":`, p.Sandbox)
	w.end(start)
}

// plainJSON are the bytes that stand for themselves in a text.
var plainJSON = func() (plain [256]bool) {
	for c := byte(' '); c < utf8.RuneSelf; c++ {
		plain[c] = c != '"' && c != '\\' && c != '<' && c != '>' && c != '&'
	}
	return plain
}()

// appendJSONText appends a text in quotation marks. What encoding/json would write as it
// stands is copied; a text with anything else in it is left to encoding/json.
func appendJSONText[T string | []byte](b []byte, s T) []byte {
	for i := range len(s) {
		if !plainJSON[s[i]] {
			escaped, _ := json.Marshal(string(s)) // a string always has a form
			return append(b, escaped...)
		}
	}
	return append(append(append(b, '"'), s...), '"')
}

// Package pipeline notices text that is fetched or decoded and run at once, across the
// processes of a pipeline: curl | sh, base64 -d | bash, and longer ones, also when the text
// rests in a file or in a variable of the shell in between. It owns what flows between
// processes; code on a single command line is a policy's, files that were fetched are dropper's.
package pipeline

import (
	"strings"
	"time"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/detect"
)

// Detector notices decode-and-run pipelines.
type Detector struct {
	pipes   *detect.Table[key, link]
	parents *detect.Table[detect.Actor, recent]
	// made is the file that a shell opened last: "base64 -d > f" is a forked shell that makes f
	// and then becomes base64.
	made  *detect.Table[detect.Actor, string]
	files *detect.Table[file, text] // into which something was decoded
}

type file struct {
	scope detect.Scope
	path  uint64 // hash
}

type key struct {
	scope detect.Scope
	inode uint64
}

// link is what is known of one pipe.
type link struct {
	text   text
	next   uint64          // the pipe its reader writes to
	runner *bollwerk.Event // the reader runs what it reads
	told   bool
	// A program reads it, a program writes it: not a shell by itself.
	read, written bool
}

// text says where what flows through a pipe comes from.
type text struct {
	fetched, decoded bool
	stages           string // "curl, base64"
}

// recent is what a shell's children fetched or decoded a moment ago.
type recent struct {
	text   text
	at     time.Time
	pipe   uint64          // into which it went
	runner *bollwerk.Event // runs /dev/fd/N and came first
	stored text            // decoded into a file nobody named
	when   time.Time
}

// New makes the detector.
func New() *Detector {
	return &Detector{
		pipes:   detect.NewTable[key, link](512, 10*time.Minute),
		parents: detect.NewTable[detect.Actor, recent](256, 10*time.Second),
		made:    detect.NewTable[detect.Actor, string](256, 10*time.Second),
		files:   detect.NewTable[file, text](512, 10*time.Minute),
	}
}

var info = detect.Info{
	ID: "decode-and-run", Title: "Text is fetched or decoded and run at once",
	Severity: bollwerk.SeverityHigh, Mode: detect.Warn,
	Attack: []string{"T1140", "T1059.004", "T1105"},
	Description: "A pipeline in which a program fetches (curl, wget, …) or decodes (base64 -d, xxd -r, openssl, …) and a shell or interpreter runs " +
		"what comes out. The processes are joined by their pipes, in whatever order they start; by the file into which one decodes and which the other runs; or, as medium, by the shell " +
		"that started both within seconds (text in a variable, or in a file in /tmp that nobody named). Builds, package managers, CI jobs and people at a terminal of the host do this too: there it is low.",
	Advice: "Find out what was run: fetch the address again from a safe machine, or decode the text. If it is how this image installs something at start, " +
		"put it into the image instead; what is fetched at run time can change.",
	Needs: []detect.Need{
		{Kind: bollwerk.EventExec, Essential: true, Lost: "no pipeline is seen"},
		{Kind: bollwerk.EventCreate, Lost: "files into which something is decoded are known by command lines only, and in /tmp by the shell"},
		{Kind: bollwerk.EventOpen, Lost: "files that existed before and are decoded into are not known"},
	},
	Bound: "512 pipes and 512 files (10 min), 256 shells (10 s)",
}

// Info tells what the detector sees and needs.
func (*Detector) Info() *detect.Info { return &info }

// Observe takes one event.
func (d *Detector) Observe(e *bollwerk.Event, report func(*bollwerk.Detection)) {
	p := e.Process
	if p == nil {
		return
	}
	if e.Kind != bollwerk.EventExec {
		d.opened(e, p)
		return
	}
	var in, out uint64
	if f := detect.Stdio(p, 0); f != nil && f.Kind == "pipe" {
		in = f.Inode
	}
	if f := detect.Stdio(p, 1); f != nil && f.Kind == "pipe" {
		out = f.Inode
	}
	class := detect.ClassOf(p)
	if class.Is(detect.Shell|detect.Interpreter) || p.Script != "" {
		d.runs(e, p, report)
	}
	if in == 0 && out == 0 {
		if class.Is(detect.Shell | detect.Interpreter) {
			d.substituted(e, p, report)
		}
		if class.Is(detect.Decoder) {
			d.store(e, p, stage(p, class))
		}
		return
	}
	scope := detect.ScopeOf(e)
	runs := in != 0 && runner(p, class)
	own := stage(p, class)
	if in != 0 {
		x := d.pipes.Put(key{scope, in}, e.Time)
		x.read = true
		if runs {
			if x.text.fetched || x.text.decoded {
				if !x.told {
					x.told = true
					d.tell(e, e, x.text, report)
				}
			} else {
				x.runner, x.told = detect.BriefEvent(e), false
				d.variable(e, p, in, x, report)
			}
		}
		if out == 0 && !runs {
			d.store(e, p, join(x.text, own))
		}
		if out != 0 && out != in {
			x.next = out
			own = join(x.text, own)
		}
	}
	if out != 0 && own.stages != "" {
		d.pipes.Put(key{scope, out}, e.Time).written = true
		d.flow(e, scope, out, own, report)
		if own.fetched || own.decoded {
			d.remember(e, p, own, out, report)
		}
	} else if out != 0 {
		d.pipes.Put(key{scope, out}, e.Time).written = true
	}
	if class.Is(detect.Shell|detect.Interpreter) && !runs {
		d.substituted(e, p, report)
	}
}

// opened notes the file that a shell makes: its child's output, perhaps.
func (d *Detector) opened(e *bollwerk.Event, p *bollwerk.Process) {
	f := e.File
	if f == nil || f.Path == "" || len(f.Path) > 512 || e.Kind == bollwerk.EventOpen && f.Access&(bollwerk.AccessWrite|bollwerk.AccessCreate) == 0 || !detect.ClassOf(p).Is(detect.Shell) {
		return
	}
	if a, ok := detect.ActorOf(p); ok {
		*d.made.Put(a, e.Time) = strings.Clone(f.Path)
	}
}

// store notes that something is decoded and that it does not go into a pipe.
func (d *Detector) store(e *bollwerk.Event, p *bollwerk.Process, t text) {
	if !t.decoded || detect.Stdio(p, 1) != nil {
		return
	}
	path := output(p)
	a, ok := detect.ActorOf(p)
	if path == "" && ok {
		if m := d.made.Peek(a, e.Time); m != nil {
			path = *m
		}
	}
	if path != "" {
		*d.files.Put(file{detect.ScopeOf(e), detect.Hash(path)}, e.Time) = t
		return
	}
	for q, n := detect.Above(p), 0; q != nil && n < 2 && detect.ClassOf(q).Is(detect.Shell); q, n = detect.Above(q), n+1 {
		if a, ok := detect.ActorOf(q); ok {
			x := d.parents.Put(a, e.Time)
			x.stored, x.when = t, e.Time
		}
	}
}

// output is the file that a decoder was told to write, "" when it writes to its output.
func output(p *bollwerk.Process) string {
	path := ""
	switch detect.Name(p) {
	case "openssl", "uudecode":
		for i := 1; i+1 < len(p.Args) && i < 64; i++ {
			if p.Args[i] == "-out" || p.Args[i] == "-o" {
				path = p.Args[i+1]
			}
		}
	case "xxd": // [options] infile outfile
		if n := len(p.Args); n > 3 && p.Args[n-2] != "" && p.Args[n-2][0] != '-' {
			path = p.Args[n-1]
		}
	}
	if path == "-" {
		return ""
	}
	return absolute(p, path)
}

func absolute(p *bollwerk.Process, path string) string {
	if path == "" || path[0] == '/' {
		return path
	}
	return strings.TrimSuffix(p.Cwd, "/") + "/" + strings.TrimPrefix(path, "./")
}

// runs notices that a file is run into which something was decoded.
func (d *Detector) runs(e *bollwerk.Event, p *bollwerk.Process, report func(*bollwerk.Detection)) {
	told := p.Script
	if told == "" {
		if len(p.Args) > 2 && p.Args[1] == "-m" {
			return
		}
		told = detect.Told(p)
	}
	if told == "" || strings.HasPrefix(told, "/dev/fd/") || strings.HasPrefix(told, "/proc/") || strings.HasPrefix(told, "/dev/std") {
		return
	}
	told = absolute(p, told)
	if t := d.files.Peek(file{detect.ScopeOf(e), detect.Hash(told)}, e.Time); t != nil {
		d.say(e, e, *t, "runs "+detect.Text(told)+", into which "+detect.Text(t.stages)+" decoded something a moment before", 0, report)
		return
	}
	if !detect.Scratch(told) {
		return
	}
	for q, n := p, -1; q != nil && n < 2; q, n = detect.Above(q), n+1 {
		a, ok := detect.ActorOf(q)
		if !ok {
			return
		}
		if x := d.parents.Peek(a, e.Time); x != nil && x.stored.decoded && detect.Near(e.Time, x.when, 10*time.Second) {
			d.say(e, e, x.stored, "runs "+detect.Text(told)+" seconds after the same shell let "+detect.Text(x.stored.stages)+" decode something into a file", bollwerk.SeverityMedium, report)
			return
		}
	}
}

// variable notices a shell that reads its commands from the shell above it, which decoded
// something a moment before: echo "$x" | sh. The text itself shows nowhere.
func (d *Detector) variable(e *bollwerk.Event, p *bollwerk.Process, in uint64, x *link, report func(*bollwerk.Detection)) {
	if x.written {
		return
	}
	for q, n := detect.Above(p), 0; q != nil && n < 2 && detect.ClassOf(q).Is(detect.Shell); q, n = detect.Above(q), n+1 {
		if f := detect.Stdio(q, 0); f != nil && f.Inode == in {
			return // what the shell itself was given: nothing it has made
		}
		a, ok := detect.ActorOf(q)
		if !ok {
			return
		}
		r := d.parents.Peek(a, e.Time)
		if r != nil && r.text.decoded && detect.Near(e.Time, r.at, 5*time.Second) {
			if y := d.pipes.Peek(key{detect.ScopeOf(e), r.pipe}, e.Time); y != nil && y.read {
				return // another program had it
			}
			x.told = true
			d.say(e, e, r.text, "takes its commands from the shell above it seconds after "+detect.Text(r.text.stages)+" decoded something for that one", bollwerk.SeverityMedium, report)
			return
		}
	}
}

// flow books what flows into a pipe and follows it to its end. A pipeline is at most 16
// long here: a circle of pipes ends.
func (d *Detector) flow(e *bollwerk.Event, scope detect.Scope, inode uint64, t text, report func(*bollwerk.Detection)) {
	for n := 0; inode != 0 && n < 16; n++ {
		x := d.pipes.Put(key{scope, inode}, e.Time)
		x.text = join(t, x.text)
		if x.runner != nil && (x.text.fetched || x.text.decoded) && !x.told {
			x.told = true
			d.tell(e, x.runner, x.text, report)
		}
		inode, t = x.next, x.text
	}
}

func join(a, b text) text {
	t := text{fetched: a.fetched || b.fetched, decoded: a.decoded || b.decoded, stages: a.stages}
	if b.stages != "" && b.stages != a.stages && !strings.HasSuffix(a.stages, b.stages) && len(t.stages) < 120 {
		if t.stages != "" {
			t.stages += ", "
		}
		t.stages += b.stages
	}
	return t
}

// stage says what a program does to the text it writes.
func stage(p *bollwerk.Process, class detect.Class) text {
	name := detect.Name(p)
	t := text{stages: name[:min(len(name), 24)]}
	switch {
	case class.Is(detect.Fetcher):
		t.fetched = true
	case class.Is(detect.Decoder):
		t.decoded = decodes(p, name)
	case class.Is(detect.Interpreter):
		if code := detect.Code(p); code != "" {
			code = code[:min(len(code), 4096)]
			t.decoded = strings.Contains(code, "b64decode") || strings.Contains(code, "decode_base64") || strings.Contains(code, "unhexlify") ||
				strings.Contains(code, "fromhex") || strings.Contains(code, "unpack") || strings.Contains(code, "base64_decode") || strings.Contains(code, "'base64'")
			t.fetched = strings.Contains(code, "urllib") || strings.Contains(code, "requests.get") || strings.Contains(code, "http.get") || strings.Contains(code, "file_get_contents(\"http") || strings.Contains(code, "LWP::")
		}
	}
	if !t.fetched && !t.decoded && !class.Is(detect.Decoder) {
		return text{}
	}
	t.stages = strings.Clone(t.stages)
	return t
}

// decodes reports whether a decoder was told to decode; what only unpacks (gunzip) or
// shuffles (tr) says nothing by itself.
func decodes(p *bollwerk.Process, name string) bool {
	switch name {
	case "uudecode":
		return true
	case "base64", "base32", "basenc":
		for _, a := range p.Args[min(1, len(p.Args)):] {
			if strings.HasPrefix(a, "--d") || len(a) > 1 && a[0] == '-' && a[1] != '-' && strings.ContainsAny(a, "dD") {
				return true
			}
		}
	case "xxd":
		for _, a := range p.Args[min(1, len(p.Args)):] {
			if len(a) > 1 && a[0] == '-' && strings.Contains(a, "r") {
				return true
			}
		}
	case "openssl":
		decoding, text := false, false
		for _, a := range p.Args[min(1, len(p.Args)):] {
			decoding = decoding || a == "-d"
			text = text || a == "enc" || a == "base64" || strings.HasPrefix(a, "aes") || strings.HasPrefix(a, "-aes") || a == "-base64" || a == "-a"
		}
		return decoding && text
	}
	return false
}

// runner reports whether a program runs what it reads.
func runner(p *bollwerk.Process, class detect.Class) bool {
	switch {
	case class.Is(detect.Shell):
		return detect.Commanded(p)
	case class.Is(detect.Interpreter):
		switch name := detect.Name(p); {
		case strings.HasSuffix(name, "awk") || name == "java" || name == "gdb" || name == "expect":
			return false
		}
		for _, a := range p.Args[min(1, len(p.Args)):] {
			if a == "--version" || a == "--help" || a == "-V" || a == "-v" || a == "-h" {
				return false
			}
		}
		return p.Script == "" && detect.FromInput(p)
	}
	return false
}

// substituted notices "bash <(curl …)" and `sh -c "$(curl …)"`: the pipe lies between
// descriptors nobody sees, but both are children of one shell within seconds.
func (d *Detector) substituted(e *bollwerk.Event, p *bollwerk.Process, report func(*bollwerk.Detection)) {
	told := detect.Told(p)
	file := strings.HasPrefix(told, "/dev/fd/") || strings.HasPrefix(told, "/proc/self/fd/")
	code := ""
	if !file {
		if code = detect.Code(p); len(code) < 100 && !strings.Contains(code, "\n") {
			return
		}
	}
	// The shell that asked for it often becomes the one that runs it: its own number comes first.
	for q, n := p, -1; q != nil && n < 2; q, n = detect.Above(q), n+1 {
		a, ok := detect.ActorOf(q)
		if !ok {
			continue
		}
		x := d.parents.Peek(a, e.Time)
		if x != nil && (x.text.fetched || x.text.decoded) && detect.Near(e.Time, x.at, 5*time.Second) {
			if file {
				d.tell(e, e, x.text, report)
			} else {
				d.low(e, x.text, report)
			}
			return
		}
		if file && n <= 0 {
			d.parents.Put(a, e.Time).runner = detect.BriefEvent(e)
		}
	}
}

// remember notes for the shells above p what p produced.
func (d *Detector) remember(e *bollwerk.Event, p *bollwerk.Process, t text, pipe uint64, report func(*bollwerk.Detection)) {
	for q, n := detect.Above(p), 0; q != nil && n < 2; q, n = detect.Above(q), n+1 {
		a, ok := detect.ActorOf(q)
		if !ok || !detect.ClassOf(q).Is(detect.Shell) {
			return
		}
		x := d.parents.Put(a, e.Time)
		x.text, x.at, x.pipe = join(x.text, t), e.Time, pipe
		if x.runner != nil {
			d.tell(e, x.runner, x.text, report)
			x.runner = nil
		}
	}
}

func (t text) how() string {
	switch {
	case t.fetched && t.decoded:
		return "fetched and decoded"
	case t.fetched:
		return "fetched"
	}
	return "decoded"
}

func (d *Detector) tell(e, run *bollwerk.Event, t text, report func(*bollwerk.Detection)) {
	d.say(e, run, t, "runs what was "+t.how()+" a moment before by "+detect.Text(t.stages), 0, report)
}

// say tells of what run does, at most as grave as most, where that is not 0.
func (d *Detector) say(e, run *bollwerk.Event, t text, deed string, most bollwerk.Severity, report func(*bollwerk.Detection)) {
	p := run.Process
	det := detect.New(&info, e, t.stages+">"+detect.Name(p), detect.Who(p)+" in "+detect.Where(e.Workload)+" "+deed)
	det.Process = p
	if run != e {
		det.Events = []*bollwerk.Event{run, e}
	}
	switch {
	case detect.Job(p) != nil:
		det.Severity, det.Mode = bollwerk.SeverityLow, string(detect.Observe)
		det.Message += "; " + detect.Who(detect.Job(p)) + " above it does such things for its work"
	case person(p):
		det.Severity = bollwerk.SeverityLow
		if t.decoded {
			det.Severity = bollwerk.SeverityMedium
		}
	case !t.decoded:
		det.Severity = bollwerk.SeverityMedium
	default:
		det.Severity = most
	}
	report(det)
}

func (d *Detector) low(e *bollwerk.Event, t text, report func(*bollwerk.Detection)) {
	det := detect.New(&info, e, "text>"+detect.Name(e.Process), detect.Who(e.Process)+" in "+detect.Where(e.Workload)+" runs a long text seconds after its shell "+t.how()+" something by "+detect.Text(t.stages))
	det.Severity, det.Mode = bollwerk.SeverityLow, string(detect.Observe)
	report(det)
}

// person reports whether somebody logged in at a terminal of the host is behind a process.
func person(p *bollwerk.Process) bool {
	return p.TTY != "" && p.LoginUID != 4294967295 && p.LoginUID != 0 && !p.Contained
}

// Package pipeline notices text that is fetched or decoded and run at once, across the
// processes of a pipeline: curl | sh, base64 -d | bash, and longer ones. It owns what
// flows between processes; code on a single command line is a policy's.
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
	runner *bollwerk.Event // runs /dev/fd/N and came first
}

// New makes the detector.
func New() *Detector {
	return &Detector{
		pipes:   detect.NewTable[key, link](512, 10*time.Minute),
		parents: detect.NewTable[detect.Actor, recent](256, 10*time.Second),
	}
}

var info = detect.Info{
	ID: "decode-and-run", Title: "Text is fetched or decoded and run at once",
	Severity: bollwerk.SeverityHigh, Mode: detect.Warn,
	Attack: []string{"T1140", "T1059.004", "T1105"},
	Description: "A pipeline in which a program fetches (curl, wget, …) or decodes (base64 -d, xxd -r, openssl, …) and a shell or interpreter runs " +
		"what comes out, without a file in between. The processes are joined by their pipes, in whatever order they start. Builds, package managers, CI jobs and " +
		"people at a terminal of the host do this too: there it is low.",
	Advice: "Find out what was run: fetch the address again from a safe machine, or decode the text. If it is how this image installs something at start, " +
		"put it into the image instead; what is fetched at run time can change.",
	Needs: []detect.Need{{Kind: bollwerk.EventExec, Essential: true, Lost: "no pipeline is seen"}},
	Bound: "512 pipes (10 min), 256 shells (10 s)",
}

// Info tells what the detector sees and needs.
func (*Detector) Info() *detect.Info { return &info }

// Observe takes one event.
func (d *Detector) Observe(e *bollwerk.Event, report func(*bollwerk.Detection)) {
	p := e.Process
	if p == nil {
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
	if in == 0 && out == 0 {
		if class.Is(detect.Shell | detect.Interpreter) {
			d.substituted(e, p, report)
		}
		return
	}
	scope := detect.ScopeOf(e)
	runs := in != 0 && runner(p, class)
	own := stage(p, class)
	if in != 0 {
		x := d.pipes.Put(key{scope, in}, e.Time)
		if runs {
			if x.text.fetched || x.text.decoded {
				if !x.told {
					x.told = true
					d.tell(e, e, x.text, report)
				}
			} else {
				x.runner, x.told = detect.BriefEvent(e), false
			}
		}
		if out != 0 && out != in {
			x.next = out
			own = join(x.text, own)
		}
	}
	if out != 0 && own.stages != "" {
		d.flow(e, scope, out, own, report)
		if own.fetched || own.decoded {
			d.remember(e, p, own, report)
		}
	} else if out != 0 && in != 0 {
		d.pipes.Put(key{scope, out}, e.Time)
	}
	if class.Is(detect.Shell|detect.Interpreter) && !runs {
		d.substituted(e, p, report)
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
			if a != "-" && a != "/dev/stdin" && a != "-u" {
				return false
			}
		}
		return p.Script == ""
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
	for q, n := p, -1; q != nil && n < 2; q, n = q.Parent, n+1 {
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
func (d *Detector) remember(e *bollwerk.Event, p *bollwerk.Process, t text, report func(*bollwerk.Detection)) {
	for q, n := p.Parent, 0; q != nil && n < 2; q, n = q.Parent, n+1 {
		a, ok := detect.ActorOf(q)
		if !ok || !detect.ClassOf(q).Is(detect.Shell) {
			return
		}
		x := d.parents.Put(a, e.Time)
		x.text, x.at = join(x.text, t), e.Time
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
	p := run.Process
	det := detect.New(&info, e, t.stages+">"+detect.Name(p), detect.Who(p)+" in "+detect.Where(e.Workload)+" runs what was "+t.how()+" a moment before by "+detect.Text(t.stages))
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

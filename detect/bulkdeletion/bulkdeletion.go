// Package bulkdeletion notices data that is destroyed: many files removed in a short time, or
// renamed to endings of their own as extortionists do. It owns counting; the deletion of
// single logs and histories is a policy's.
package bulkdeletion

import (
	"fmt"
	"strings"
	"time"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/detect"
)

// Config tunes the detector. The zero value is usable.
type Config struct {
	// Files is how many files of value within a minute are too many. Default 200.
	Files int `yaml:"files"`
	// Allowed are path prefixes where files come and go.
	Allowed []string `yaml:"allowed"`
	// Programs are paths of programs that remove files in bulk as their work.
	Programs []string `yaml:"programs"`
}

// Detector notices bulk deletion and encryption.
type Detector struct {
	cfg    Config
	groups *detect.Table[group, tally]
	// fresh are folders that were unpacked or copied a moment ago: what is in them is elsewhere, too.
	// They are forgotten by time that passed, not by what the clock says: see detect.Clock.
	fresh *detect.Table[place, time.Duration]
	clock detect.Clock
}

type place struct {
	scope detect.Scope
	path  uint64 // hash
}

// group is who removes: a session, so that "find -exec rm" counts as one.
type group struct {
	scope   detect.Scope
	session uint32
	pid     uint32
}

type tally struct {
	began   time.Time
	files   uint64     // of value, removed
	folders detect.Set // distinct, at most 64
	valued  uint64     // backups, databases, documents among them
	system  uint8      // bit of each top folder of the system
	endings [4]ending  // endings that were put behind names
	created [4]ending  // endings of files made beside
	sample  string
	told    bollwerk.Severity
}

type ending struct {
	text  string
	count uint64
}

const window = time.Minute

// freshFor is how long an unpacked folder is nothing but a copy.
const freshFor = 15 * time.Minute

// New makes the detector.
func New(cfg Config) *Detector {
	if cfg.Files <= 0 {
		cfg.Files = 200
	}
	return &Detector{cfg: cfg, groups: detect.NewTable[group, tally](512, window), fresh: detect.NewTable[place, time.Duration](1024, 0)}
}

var info = detect.Info{
	ID: "bulk-deletion", Title: "Files are destroyed in bulk",
	Severity: bollwerk.SeverityCritical, Mode: detect.Warn,
	Attack: []string{"T1485", "T1486", "T1490"},
	Description: "Within a minute, hundreds of files of value are removed, system folders are emptied, or files get one and the same new ending (or are replaced by files with one), " +
		"as an extortionist's program does. What tools produce and remove by themselves (caches, packages, build output, modules, version control, rotated logs) does not count, nor what lies in a folder that an archiver, " +
		"cp or rsync made in the last 15 minutes and into which nothing was moved since.",
	Advice: "Stop the process if it still runs (the message names it), take the volume offline and keep a copy before anything else writes to it. Then restore from a backup that " +
		"the workload could not reach. A clean-up of yours is allowed by its program or folder (bulkdeletion.programs, bulkdeletion.allowed).",
	Needs: []detect.Need{
		{Kind: bollwerk.EventUnlink, Lost: "removed files are not counted"},
		{Kind: bollwerk.EventRename, Lost: "files that get a new ending are not counted"},
		{Kind: bollwerk.EventCreate, Lost: "files that are replaced by encrypted copies are not told from removed ones, nor unpacked folders from others"},
	},
	Bound: "512 sessions (1 min), 64 folders and 8 endings each; 1024 unpacked folders (15 min)",
}

// Info tells what the detector sees and needs.
func (*Detector) Info() *detect.Info { return &info }

// Observe takes one event.
func (d *Detector) Observe(e *bollwerk.Event, report func(*bollwerk.Detection)) {
	f := e.File
	if f != nil && e.Kind == bollwerk.EventRename {
		// What came from elsewhere is no copy; where it came from is not always known.
		for to := d.copied(e, f.Target); to != "" && !strings.HasPrefix(f.Path, to+"/"); to = d.copied(e, f.Target) {
			d.fresh.Delete(place{detect.ScopeOf(e), detect.Hash(to)})
		}
	}
	if f == nil || f.Path == "" || e.Result != 0 && e.Outcome != bollwerk.Denied || worthless(f.Path) {
		return
	}
	p := e.Process
	if e.Kind == bollwerk.EventCreate && f.Mode&0o170000 == 0o040000 {
		if copies(p) {
			*d.fresh.Put(place{detect.ScopeOf(e), detect.Hash(f.Path)}, e.Time) = d.clock.At(e.Time)
		}
		return
	}
	if p != nil && (p.Kernel || d.caretaker(p)) {
		return
	}
	if e.Kind == bollwerk.EventUnlink && d.copied(e, f.Path) != "" {
		return
	}
	for _, a := range d.cfg.Allowed {
		if strings.HasPrefix(f.Path, a) {
			return
		}
	}
	g := group{scope: detect.ScopeOf(e)}
	if p != nil {
		if g.session = p.Session; g.session == 0 {
			g.pid = p.PID
		}
	}
	var x *tally
	if e.Kind == bollwerk.EventCreate {
		// Only of interest beside removals, and for names that carry two endings.
		if added(f.Path, "") == "" {
			return
		}
	}
	x = d.groups.Put(g, e.Time)
	if x.began.IsZero() || e.Time.Sub(x.began) > window || e.Time.Before(x.began) {
		folders := x.folders
		folders.Reset()
		*x = tally{began: e.Time, folders: folders}
	}
	n := max(1, e.Count)
	switch e.Kind {
	case bollwerk.EventUnlink:
		x.remove(f.Path, n)
	case bollwerk.EventRename:
		if a := added(f.Target, f.Path); a != "" {
			bump(&x.endings, a, n)
			x.folders.Add(detect.Hash(folder(f.Path)), 64)
			x.note(f.Target)
		}
	case bollwerk.EventCreate:
		bump(&x.created, added(f.Path, ""), n)
	}
	d.judge(e, x, report)
}

// copies reports whether a program makes folders of what is elsewhere, too.
func copies(p *bollwerk.Process) bool {
	if p == nil || detect.Made(p) || detect.Scratch(p.Path) {
		return false
	}
	if detect.ClassOf(p).Is(detect.Caretaker | detect.Installer) {
		return true
	}
	switch detect.Name(p) {
	case "cp", "bsdtar", "7z", "7za", "7zr", "unrar", "jar", "install":
		return true
	}
	return false
}

// copied returns the fresh folder in which a path lies, "" when it lies in none: one may lie
// in another.
func (d *Detector) copied(e *bollwerk.Event, path string) string {
	if d.fresh.Len() == 0 || len(path) > 4096 {
		return ""
	}
	scope, now := detect.ScopeOf(e), d.clock.At(e.Time)
	for n := 0; n < 16; n++ {
		i := strings.LastIndexByte(path, '/')
		if i <= 0 {
			break
		}
		path = path[:i]
		if at := d.fresh.Peek(place{scope, detect.Hash(path)}, e.Time); at != nil && now-*at <= freshFor {
			return path
		}
	}
	return ""
}

func folder(path string) string { return path[:strings.LastIndexByte(path, '/')+1] }

func (x *tally) note(path string) {
	if x.sample == "" {
		x.sample = strings.Clone(path[:min(len(path), 160)])
	}
}

func (x *tally) remove(path string, n uint64) {
	for i, top := range [...]string{"/etc/", "/usr/", "/bin/", "/lib/", "/boot/", "/sbin/", "/opt/", "/home/"} {
		if strings.HasPrefix(path, top) {
			x.system |= 1 << i
		}
	}
	x.files += min(n, 1<<32)
	x.folders.Add(detect.Hash(folder(path)), 64)
	if precious(path) {
		x.valued += min(n, 1<<32)
	}
	x.note(path)
}

func bump(list *[4]ending, text string, n uint64) {
	low := 0
	for i := range list {
		if list[i].text == text {
			list[i].count += n
			return
		}
		if list[i].count < list[low].count {
			low = i
		}
	}
	list[low] = ending{strings.Clone(text), n}
}

// caretaker reports whether removing files is the work of a program or of one it works for.
func (d *Detector) caretaker(p *bollwerk.Process) bool {
	for _, a := range d.cfg.Programs {
		if p.Path == a || detect.Told(p) == a {
			return true
		}
	}
	const tidy = detect.Caretaker | detect.Installer | detect.Builder | detect.Runtime | detect.Database
	for q, n := p, 0; q != nil && n < 4; q, n = detect.Above(q), n+1 {
		c := detect.ClassOf(q)
		if c.Is(detect.Runtime) && n > 0 {
			// Every container hangs below a runtime, also where nobody knows its namespaces.
			return false
		}
		if c.Is(tidy) && !detect.Made(q) && !detect.Scratch(q.Path) {
			return true
		}
	}
	return false
}

// worthless reports whether files at a path are produced by tools and come and go.
func worthless(path string) bool {
	if len(path) > 4096 {
		path = path[:4096]
	}
	for _, d := range [...]string{"/tmp/", "/var/tmp/", "/dev/", "/run/", "/proc/", "/sys/", "/var/cache/", "/var/lib/apt/", "/var/lib/dpkg/", "/var/lib/docker/", "/var/lib/containerd/", "/var/lib/kubelet/", "/var/lib/containers/", "/var/spool/", "/var/run/", "/var/lib/systemd/", "/var/lib/snapd/", "/var/lib/nginx/"} {
		if strings.HasPrefix(path, d) {
			return true
		}
	}
	for i := 0; i < len(path); {
		j := strings.IndexByte(path[i:], '/')
		if j < 0 {
			break
		}
		switch path[i : i+j] {
		case "node_modules", ".git", "target", "dist", "build", "__pycache__", ".cache", "cache", "Cache", "Caches", ".npm", ".yarn", ".pnpm-store", ".gradle", ".m2", ".cargo", ".rustup", "vendor", ".venv", "venv", "site-packages", "dist-packages",
			".tox", ".pytest_cache", ".mypy_cache", ".next", ".nuxt", "out", "obj", "coverage", "tmp", "temp", ".tmp", "sessions", "session", "pg_wal", "pg_xact", "spool", ".terraform", "go-build", "pkg", ".svn", ".hg", "Trash", ".Trash", "thumbnails", ".thumbnails", "overlay2", "snapshots", "logs", "log", "queue", "wal", "segments":
			return true
		}
		i += j + 1
	}
	name := detect.Base(path)
	return strings.HasSuffix(name, ".tmp") || strings.HasSuffix(name, ".lock") || strings.HasSuffix(name, ".pid") || strings.HasSuffix(name, ".swp") || strings.HasSuffix(name, ".pyc") || strings.HasSuffix(name, ".o") || strings.HasSuffix(name, ".part") || strings.HasPrefix(name, ".nfs") || strings.HasPrefix(name, ".goutputstream")
}

// precious reports whether a file is of a kind that is not made again.
func precious(path string) bool {
	switch ext := path[strings.LastIndexByte(path, '.')+1:]; ext {
	case "sql", "dump", "bak", "db", "sqlite", "mdb", "ibd", "frm", "myd", "qcow2", "vmdk", "vdi", "vhdx", "img", "doc", "docx", "xls", "xlsx", "ppt", "pptx", "odt", "ods", "pdf", "jpg", "jpeg", "png", "raw", "mp4", "mov", "psd", "dwg", "pst", "eml", "kdbx", "pem", "key", "csv", "parquet", "tfstate":
		return true
	}
	return strings.Contains(path, "/backup")
}

// added returns the ending that was put behind a name: all of it with from, "" when the rest of
// the name changed too. Without from, the last ending of a name that has two.
func added(to, from string) string {
	name := detect.Base(to)
	if len(name) > 255 {
		return ""
	}
	i := strings.LastIndexByte(name, '.')
	if i <= 0 || i == len(name)-1 {
		return ""
	}
	end := name[i:]
	if from != "" {
		if old := detect.Base(from); !strings.HasPrefix(name, old) || len(name) == len(old) {
			return ""
		}
		// "a.pdf" to "a.pdf.id-123.locked": the last part is what all share.
	} else if strings.IndexByte(name[:i], '.') <= 0 {
		return ""
	}
	if ordinary(end) {
		return ""
	}
	return end
}

// ordinary reports whether tools put an ending behind names in normal work.
func ordinary(end string) bool {
	if strings.Trim(end, ".0123456789-_") == "" || strings.HasPrefix(end, ".so") || len(end) > 40 {
		return true
	}
	switch end {
	case ".gz", ".xz", ".bz2", ".zst", ".lz4", ".br", ".zip", ".bak", ".old", ".orig", ".new", ".tmp", ".temp", ".part", ".partial", ".crdownload", ".swp", ".save", ".rej", ".dpkg-new", ".dpkg-tmp", ".dpkg-old", ".dpkg-dist", ".rpmnew", ".rpmsave", ".rpmorig",
		".log", ".map", ".d", ".pyc", ".lock", ".sig", ".asc", ".sha256", ".md5", ".json", ".yaml", ".yml", ".js", ".ts", ".css", ".html", ".txt", ".md", ".py", ".go", ".c", ".h", ".o", ".rs", ".java", ".class", ".conf", ".service", ".xml", ".png", ".jpg", ".svg", ".webp", ".csv", ".pem", ".key", ".crt", ".sql", ".db", ".cfg", ".ini", ".sh", ".done", ".processed", ".deleted", ".backup", ".archived", ".tsx", ".jsx", ".mjs", ".cjs", ".snap", ".gradle", ".mo", ".po", ".cmake", ".ready", ".ok", ".error", ".failed", ".in", ".tar", ".tgz", ".deb", ".rpm", ".apk", ".whl", ".jar", ".parquet", ".avro", ".pb":
		return true
	}
	return false
}

func (d *Detector) judge(e *bollwerk.Event, x *tally, report func(*bollwerk.Detection)) {
	folders := x.folders.Len()
	bits := 0
	for s := x.system; s != 0; s &= s - 1 {
		bits++
	}
	var severity bollwerk.Severity
	text := ""
	for _, r := range x.endings {
		if r.count >= 20 && severity < bollwerk.SeverityCritical {
			severity, text = bollwerk.SeverityCritical, fmt.Sprintf("put the ending %s behind the names of %d files in %s", detect.Text(r.text), r.count, count(folders, "folder"))
		}
	}
	for _, c := range x.created {
		if c.count >= 20 && x.files >= 20 && severity < bollwerk.SeverityCritical {
			severity, text = bollwerk.SeverityCritical, fmt.Sprintf("replaced files by copies that end in %s: %d were made and %d removed", detect.Text(c.text), c.count, x.files)
		}
	}
	limit := uint64(d.cfg.Files)
	switch {
	case severity != 0:
	case x.files >= limit/2 && bits >= 3:
		severity, text = bollwerk.SeverityCritical, fmt.Sprintf("removed %d files from %d folders of the system at once", x.files, bits)
	case x.valued >= limit/4 && x.files >= limit/2:
		severity, text = bollwerk.SeverityHigh, fmt.Sprintf("removed %d files in %s, %d of them documents, databases or backups", x.files, count(folders, "folder"), x.valued)
	case x.files >= limit && folders >= 5, x.files >= 5*limit/2:
		severity, text = bollwerk.SeverityMedium, fmt.Sprintf("removed %d files in %s", x.files, count(folders, "folder"))
		if p := e.Process; p != nil && p.TTY != "" && !p.Contained && p.LoginUID != 4294967295 && p.LoginUID != 0 {
			severity = bollwerk.SeverityLow // a person tidies up
		}
	}
	if severity <= x.told {
		return
	}
	x.told = severity
	det := detect.New(&info, e, "", detect.Who(e.Process)+" in "+detect.Where(e.Workload)+" "+text+" within "+max(e.Time.Sub(x.began), time.Second).Round(time.Second).String()+
		", "+detect.Text(x.sample)+" among them; command line: "+detect.Command(e.Process))
	det.Severity = severity
	report(det)
}

func count(n int, what string) string {
	s := fmt.Sprintf("%d %s", n, what)
	if n >= 64 {
		s = "64 or more " + what
	}
	if n != 1 {
		s += "s"
	}
	return s
}

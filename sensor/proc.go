package sensor

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"github.com/bollwerk/bollwerk"
)

const procText = 16 << 10 // bytes read of one file of /proc

// readFile reads at most n bytes.
func readFile(name string, n int64) []byte {
	f, err := os.Open(name)
	if err != nil {
		return nil
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, n))
	if err != nil && len(b) == 0 {
		return nil
	}
	return b
}

func listProcesses(ctx context.Context, t *Processes) ([]*Record, error) {
	d, err := os.Open("/proc")
	if err != nil {
		return nil, err
	}
	defer d.Close()
	names, err := d.Readdirnames(-1)
	if err != nil {
		return nil, err
	}
	var out []*Record
	for _, n := range names {
		pid, err := strconv.ParseUint(n, 10, 32)
		if err != nil {
			continue
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if r := readProcess(t, uint32(pid)); r != nil {
			out = append(out, r)
		}
	}
	return out, nil
}

// readProcess reads one process from /proc, nil when it is gone. What the caller may
// not read stays empty.
func readProcess(t *Processes, pid uint32) *Record {
	dir := "/proc/" + strconv.FormatUint(uint64(pid), 10)
	p := &bollwerk.Process{PID: pid, Existing: true}
	r := &Record{Process: p}
	if !parseStat(readFile(dir+"/stat", 4096), r, t.Strings) {
		return nil
	}
	p.Began = t.k.Time(p.Start)
	parseStatus(readFile(dir+"/status", procText), p)
	t.FromProc(p)
	if p.Kernel {
		return r
	}
	if exe, err := os.Readlink(dir + "/exe"); err == nil {
		p.Path, p.Fileless = cleanExe(exe)
	}
	p.Cwd, _ = os.Readlink(dir + "/cwd")
	var st syscall.Stat_t
	if syscall.Stat(dir+"/exe", &st) == nil {
		p.Inode, p.Device, p.Mode = st.Ino, st.Dev, st.Mode
		if st.Nlink == 0 {
			p.Fileless = true
		}
	}
	ns := namespacesOf(dir + "/ns")
	p.MountNS, p.PIDNS, p.NetNS, p.UserNS = ns.Mount, ns.PID, ns.Net, ns.User
	h := t.k.host
	p.Contained = ns.Mount != 0 && (ns.Mount != h.Mount || ns.PID != h.PID)
	switch {
	case p.Fileless:
		p.Origin = bollwerk.OriginMemory
	case ns.Mount != 0 && !p.Contained:
		p.Origin = bollwerk.OriginHost
	}
	if login, err := strconv.ParseUint(string(bytes.TrimSpace(readFile(dir+"/loginuid", 32))), 10, 32); err == nil {
		p.LoginUID = uint32(login)
	}
	// A process that ends is shown in the root of the version 1 trees, wherever it ran.
	if p.CgroupPath == "/" && ending(readFile(dir+"/stat", 4096)) {
		p.Cgroup, p.CgroupPath = 0, ""
	}
	for fd := range 3 {
		if to, err := os.Readlink(dir + "/fd/" + strconv.Itoa(fd)); err == nil {
			if f, ok := describe(fd, to); ok {
				p.Stdio = append(p.Stdio, f)
			}
		}
	}
	return r
}

// FromProc fills what only /proc tells of a process that already runs: arguments
// and the path of its cgroup.
func (t *Processes) FromProc(p *bollwerk.Process) {
	dir := "/proc/" + strconv.FormatUint(uint64(p.PID), 10)
	if !p.Kernel {
		b := readFile(dir+"/cmdline", 4097)
		if len(b) > 4096 {
			b, p.Truncated = b[:4096], true
		}
		p.Args = t.Strings.List(b)
	}
	if p.Cgroup == 0 || p.CgroupPath == "" {
		path := t.cgroups.pathOf(p.PID)
		if p.Cgroup == 0 {
			p.Cgroup = t.cgroups.id(path)
		}
		if p.Cgroup != 0 {
			t.cgroups.add(p.Cgroup, path)
		}
		p.CgroupPath = path
	}
}

// Environment of a running process, its first 16 KiB.
func (t *Processes) Environment(pid uint32) []string {
	b := readFile("/proc/"+strconv.FormatUint(uint64(pid), 10)+"/environ", procText)
	if len(b) == 0 {
		return nil
	}
	return strings.Split(strings.TrimSuffix(string(b), "\x00"), "\x00")
}

// cleanExe takes the kernel's remark off the link of an executable.
func cleanExe(s string) (path string, fileless bool) {
	if cut, ok := strings.CutSuffix(s, " (deleted)"); ok {
		if strings.HasPrefix(cut, "/memfd:") {
			return cut[1:], true
		}
		return cut, true
	}
	return s, false
}

func describe(fd int, link string) (bollwerk.OpenFile, bool) {
	f := bollwerk.OpenFile{FD: fd}
	switch {
	case strings.HasPrefix(link, "socket:["):
		f.Kind = "socket"
	case strings.HasPrefix(link, "pipe:["):
		f.Kind = "pipe"
	case strings.HasPrefix(link, "/dev/pts/"), strings.HasPrefix(link, "/dev/tty"):
		f.Kind = "tty"
		return f, true
	default:
		return f, false
	}
	n := link[strings.IndexByte(link, '[')+1:]
	f.Inode, _ = strconv.ParseUint(strings.TrimSuffix(n, "]"), 10, 64)
	return f, true
}

// parseStat reads /proc/PID/stat (proc_pid_stat(5)). The name may hold anything, also
// brackets and spaces: the last bracket ends it.
func parseStat(b []byte, r *Record, texts *Strings) bool {
	name, f := statFields(b)
	if len(f) < 20 {
		return false
	}
	p := r.Process
	p.Name = texts.Text(name)
	parent, _ := strconv.ParseUint(f[1], 10, 32)
	r.Parent = uint32(parent)
	session, _ := strconv.ParseInt(f[3], 10, 32)
	p.Session = uint32(max(session, 0))
	if tty, _ := strconv.ParseUint(f[4], 10, 32); tty != 0 {
		p.TTY = ttyName(uint32(tty))
	}
	flags, _ := strconv.ParseUint(f[6], 10, 32)
	p.Kernel = flags&0x00200000 != 0 // PF_KTHREAD
	var err error
	p.Start, err = startOf(f)
	return err == nil
}

// ending reports whether a process is about to end, or gone, by its stat.
func ending(stat []byte) bool {
	_, f := statFields(stat)
	if len(f) < 20 {
		return true
	}
	flags, err := strconv.ParseUint(f[6], 10, 32)
	return err != nil || flags&0x00000004 != 0 // PF_EXITING
}

// statFields are the name and what follows it, state first.
func statFields(b []byte) (name []byte, rest []string) {
	from, to := bytes.IndexByte(b, '('), bytes.LastIndexByte(b, ')')
	if from < 0 || to < from {
		return nil, nil
	}
	return b[from+1 : to], strings.Fields(string(b[to+1:]))
}

func startOf(fields []string) (uint64, error) {
	if len(fields) < 20 {
		return 0, errors.New("stat: too short")
	}
	n, err := strconv.ParseUint(fields[19], 10, 64)
	if err == nil && n > 1<<40 {
		err = fmt.Errorf("stat: a start at tick %d", n)
	}
	return n * tick, err
}

// StartTime of a running process in nanoseconds since boot, rounded down to 10 ms as
// /proc has it.
func StartTime(pid uint32) (uint64, error) {
	b := readFile("/proc/"+strconv.FormatUint(uint64(pid), 10)+"/stat", 4096)
	if b == nil {
		return 0, fmt.Errorf("process %d: %w", pid, os.ErrNotExist)
	}
	_, f := statFields(b)
	return startOf(f)
}

func ttyName(dev uint32) string {
	major, minor := dev>>8&0xfff, dev&0xff|dev>>12&0xfff00
	switch {
	case major >= 136 && major <= 143:
		return "pts/" + strconv.FormatUint(uint64((major-136)<<8+minor), 10)
	case major == 4 && minor >= 64:
		return "ttyS" + strconv.FormatUint(uint64(minor-64), 10)
	case major == 4:
		return "tty" + strconv.FormatUint(uint64(minor), 10)
	}
	return "tty " + strconv.FormatUint(uint64(major), 10) + ":" + strconv.FormatUint(uint64(minor), 10)
}

func parseStatus(b []byte, p *bollwerk.Process) {
	for line := range strings.Lines(string(b)) {
		key, value, ok := strings.Cut(line, ":")
		f := strings.Fields(value)
		if !ok || len(f) == 0 {
			continue
		}
		number := func(i, base int) uint64 {
			if i >= len(f) {
				return 0
			}
			n, _ := strconv.ParseUint(f[i], base, 64)
			return n
		}
		switch key {
		case "Uid":
			p.UID, p.EUID = uint32(number(0, 10)), uint32(number(1, 10))
		case "Gid":
			p.GID = uint32(number(0, 10))
		case "NSpid":
			p.NSID = uint32(number(len(f)-1, 10))
		case "CapPrm":
			p.Permitted = number(0, 16)
		case "CapEff":
			p.Capabilities = number(0, 16)
		case "NoNewPrivs":
			p.NoNewPrivs = number(0, 10) == 1
		case "Seccomp":
			p.Seccomp = uint8(number(0, 10))
		}
	}
}

// cgroupNames knows the folders of cgroups by their ids.
type cgroupNames struct {
	k     *Kernel
	mu    sync.Mutex
	paths map[uint64]string
}

func newCgroupNames(k *Kernel) *cgroupNames {
	return &cgroupNames{k: k, paths: map[uint64]string{}}
}

func (c *cgroupNames) path(id uint64) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.paths[id]
}

func (c *cgroupNames) add(id uint64, path string) {
	if id == 0 || path == "" || len(path) > 1024 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.paths) >= 4096 {
		clear(c.paths) // learned anew from those that still run
	}
	c.paths[id] = path
}

// pathOf is the process's cgroup in the tree that counts, seen from our own.
func (c *cgroupNames) pathOf(pid uint32) string {
	want := c.k.Hierarchy.controller()
	for line := range strings.Lines(string(readFile("/proc/"+strconv.FormatUint(uint64(pid), 10)+"/cgroup", procText))) {
		_, rest, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ":")
		controllers, path, ok := strings.Cut(rest, ":")
		if !ok {
			continue
		}
		if want == "" && controllers == "" {
			return path
		}
		for name := range strings.SplitSeq(controllers, ",") {
			if want != "" && name == want {
				return path
			}
		}
	}
	return ""
}

func (c *cgroupNames) id(path string) uint64 {
	if path == "" || c.k.CgroupRoot == "" {
		return 0
	}
	var st syscall.Stat_t
	if syscall.Stat(filepath.Join(c.k.CgroupRoot, path), &st) != nil {
		return 0
	}
	return st.Ino
}

// CgroupPath is the folder of a cgroup below the mount point of its tree, "" when it
// is not known. pid is a process in it, 0 when there is none.
func (t *Processes) CgroupPath(id uint64, pid uint32) string {
	if id == 0 {
		return ""
	}
	if p := t.cgroups.path(id); p != "" || pid == 0 {
		return p
	}
	p := t.cgroups.pathOf(pid)
	if p == "" || t.cgroups.id(p) != id {
		return "" // moved, or another process by now
	}
	t.cgroups.add(id, p)
	return p
}

// SetCgroupPath tells of a cgroup's folder.
func (t *Processes) SetCgroupPath(id uint64, path string) { t.cgroups.add(id, path) }

// AddrPort of raw bytes as the kernel keeps them; v4-mapped addresses become v4.
func AddrPort(v6 bool, addr [16]byte, port uint16) netip.AddrPort {
	a := netip.AddrFrom16(addr).Unmap()
	if !v6 {
		a = netip.AddrFrom4([4]byte(addr[:4]))
	}
	return netip.AddrPortFrom(a, port)
}

package vm

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// Command is run inside, as root, one after the other.
type Command struct {
	Name    string // one word, unique
	Dir     string // "" is /
	Args    []string
	Env     []string
	Timeout time.Duration // inside; 0: one minute
}

// Result of a command. Code is -1 when it did not end: the machine stopped first.
type Result struct {
	Name   string
	Output string
	Code   int
	Took   time.Duration // as seen from outside
}

// Machine is what to boot and what to do in it.
type Machine struct {
	Kernel   Kernel
	Files    []File
	Modules  []string // inserted before the commands
	Commands []Command
	// Memory in MiB; 0: 1536.
	Memory int
	// Instructions is for what measures: nothing writes behind it, and its figures stay
	// comparable. What a program measures inside as time is repeatable to about 1 %.
	Instructions bool
	// Security is the kernel's list of security modules; "": lockdown, capability,
	// landlock and bpf.
	Security string
	// Cgroups says how control groups are laid out: "" or "v2", "v1" (no tree of
	// version 2 at all), or "hybrid" (version 1 with an empty tree of version 2 beside it).
	Cgroups string
	// Arguments are added to the kernel's command line.
	Arguments string
	// Live, when not nil, gets everything that the commands say while they say it.
	Live io.Writer
}

// maxOutput bounds what one machine may say.
const maxOutput = 64 << 20

// Run boots, runs the commands and powers off. The error speaks of the machine, never of a command.
func (m *Machine) Run(ctx context.Context) ([]Result, error) {
	dir, err := os.MkdirTemp("", "bollwerk-vm-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	mark := make([]byte, 8)
	rand.Read(mark)
	nonce := "@@" + hex.EncodeToString(mark)
	initrd := filepath.Join(dir, "initrd")
	if err := m.writeInitrd(ctx, initrd, nonce); err != nil {
		return nil, err
	}
	disk := ""
	if m.disk() {
		disk = filepath.Join(dir, "disk")
		if err := writeDisk(ctx, disk); err != nil {
			return nil, err
		}
	}
	limit := time.Minute
	for _, c := range m.Commands {
		limit += c.timeout()
	}
	limit *= 3 // its clock runs slower than ours
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	console := filepath.Join(dir, "console")
	cmd := exec.CommandContext(ctx, "qemu-system-x86_64", m.arguments(initrd, disk, console)...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	said := io.LimitReader(out, maxOutput)
	if m.Live != nil {
		said = io.TeeReader(said, m.Live)
	}
	results, done := parse(said, nonce)
	if !done {
		cmd.Process.Kill() // more output than allowed, or a hang that the context ended
	}
	err = cmd.Wait()
	if done && len(results) == len(m.Commands) {
		return results, nil
	}
	if ctx.Err() != nil {
		err = fmt.Errorf("not finished after %s", limit)
	}
	if err == nil {
		err = errors.New("it stopped before all commands had run")
	}
	return results, fmt.Errorf("machine %s: %w\n%s%s", m.Kernel.Release, err, stderr.Bytes(), tail(console, 40))
}

func (c Command) timeout() time.Duration {
	if c.Timeout == 0 {
		return time.Minute
	}
	return c.Timeout
}

// disk: the root lies on ext4, as on real hosts: on a tmpfs older kernels tell less.
// Where instructions are counted nothing may write behind the work that is measured.
func (m *Machine) disk() bool { return !m.Instructions }

// diskSize in bytes; what nobody wrote takes no room.
const diskSize = 4 << 30

func writeDisk(ctx context.Context, to string) error {
	f, err := os.Create(to)
	if err != nil {
		return err
	}
	if err := errors.Join(f.Truncate(diskSize), f.Close()); err != nil {
		return err
	}
	tool, err := mkfs()
	if err != nil {
		return err
	}
	if out, err := exec.CommandContext(ctx, tool, "-q", "-F", "-t", "ext4", "-m", "0", "-N", "65536", to).CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", tool, err, bytes.TrimSpace(out))
	}
	return nil
}

// mkfs makes ext4; it stands where not everybody's path leads.
func mkfs() (string, error) {
	for _, p := range []string{"mke2fs", "/usr/sbin/mke2fs", "/sbin/mke2fs"} {
		if p, err := exec.LookPath(p); err == nil {
			return p, nil
		}
	}
	return "", errors.New("mke2fs is not installed (package e2fsprogs)")
}

func (m *Machine) arguments(initrd, disk, console string) []string {
	memory := m.Memory
	if memory == 0 {
		memory = 1536
	}
	security := m.Security
	if security == "" {
		security = "lockdown,capability,landlock,bpf"
	}
	// What makes an emulated processor slow and changes nothing that is tested stays away:
	// copies byte by byte (erms), page tables of five levels, checks of each access.
	// Instructions were counted with all of it, and are compared with those figures.
	cpu := "max,-cx16"
	if !m.Instructions {
		cpu += ",-erms,-la57,-smap,-smep"
	}
	args := []string{
		"-accel", "tcg", "-cpu", cpu, "-smp", "1",
		// Its clock counts instructions while it works, a nanosecond each, and follows ours
		// while it waits: on a host that has no time for it, nothing inside comes too late.
		"-icount", "shift=0", "-m", strconv.Itoa(memory),
		"-display", "none", "-monitor", "none", "-no-reboot", "-nodefaults", "-nic", "none",
		"-serial", "file:" + console, "-serial", "stdio",
		"-kernel", m.Kernel.Image, "-initrd", initrd,
		"-append", "console=ttyS0 quiet panic=-1 mitigations=off random.trust_cpu=on lsm=" + security + " " + m.Arguments,
	}
	if disk != "" {
		args = append(args, "-drive", "file="+disk+",format=raw,if=virtio,cache=unsafe")
	}
	return args
}

// writeInitrd packs the root: busybox, the modules, the files, and a script that runs
// the commands. The first script moves everything to a file system that containers may
// leave (pivot_root refuses the initramfs itself).
func (m *Machine) writeInitrd(ctx context.Context, to, nonce string) error {
	box, err := staticBusybox()
	if err != nil {
		return err
	}
	mods, err := m.Kernel.modules(ctx, m.Modules...)
	if err != nil {
		return err
	}
	files := append([]File{{Path: "/bin/busybox", From: box}}, m.Files...)
	have := map[string]bool{}
	insert := func(script *strings.Builder, mods []module) {
		for _, mod := range mods {
			if have[mod.name] {
				continue
			}
			have[mod.name] = true
			p := "/modules/" + mod.name + ".ko"
			files = append(files, File{Path: p, Data: mod.data, Mode: 0o644})
			script.WriteString("insmod " + p + " || echo 'module " + mod.name + ": not inserted' >/dev/console\n")
		}
	}
	root := "mount -t tmpfs -o size=90%,mode=755 root /newroot\n"
	if m.disk() {
		drive, err := m.Kernel.modules(ctx, "virtio_pci", "virtio_blk")
		if err != nil {
			return err
		}
		var b strings.Builder
		b.WriteString("mount -t devtmpfs dev /dev\n")
		insert(&b, drive)
		// A disk may appear a moment after its driver.
		b.WriteString("until [ -b /dev/vda ]; do usleep 10000; done\nmount -t ext4 -o noatime /dev/vda /newroot\n")
		root = b.String()
	}
	files = append(files, File{Path: "/init", Data: []byte(bootScript + root + moveScript)})
	var run strings.Builder
	run.WriteString(setupScript)
	if !m.disk() {
		run.WriteString("mount -t tmpfs tmp /tmp\nchmod 1777 /tmp\n")
	}
	switch m.Cgroups {
	case "", "v2":
		run.WriteString(cgroups2)
	case "v1":
		run.WriteString(cgroups1)
	case "hybrid":
		run.WriteString(cgroups1 + "mkdir /sys/fs/cgroup/unified\nmount -t cgroup2 cgroup2 /sys/fs/cgroup/unified\n")
	default:
		return fmt.Errorf("control groups %q: want v2, v1 or hybrid", m.Cgroups)
	}
	insert(&run, mods)
	for _, c := range m.Commands {
		dir := c.Dir
		if dir == "" {
			dir = "/"
		}
		fmt.Fprintf(&run, "printf '%%s\\n' '%s begin %s' >&3\n", nonce, c.Name)
		fmt.Fprintf(&run, "(cd %s && exec timeout -s KILL %d env", quote(dir), int(c.timeout().Seconds()))
		for _, e := range c.Env {
			run.WriteString(" " + quote(e))
		}
		for _, a := range c.Args {
			run.WriteString(" " + quote(a))
		}
		fmt.Fprintf(&run, ") </dev/null >&3 2>&3\nprintf '\\n%%s %%s\\n' '%s end %s' $? >&3\n", nonce, c.Name)
	}
	fmt.Fprintf(&run, "printf '%%s\\n' '%s done' >&3\npoweroff -f\n", nonce)
	files = append(files, File{Path: "/run-commands", Data: []byte(run.String())})
	f, err := os.Create(to)
	if err != nil {
		return err
	}
	if err := archive(f, files); err != nil {
		f.Close()
		return err
	}
	return f.Close()
}

const bootScript = `#!/bin/busybox sh
/bin/busybox mkdir -p /newroot /bin /sbin /usr/bin /usr/sbin
/bin/busybox --install -s
export PATH=/bin:/sbin:/usr/bin:/usr/sbin
`

const moveScript = `for f in /*; do
  case $f in /newroot|/dev|/init) ;; *) cp -a "$f" /newroot/ ;; esac
done
exec switch_root /newroot /run-commands
`

const setupScript = `#!/bin/busybox sh
export PATH=/bin:/sbin:/usr/bin:/usr/sbin HOME=/root TERM=dumb
mkdir -p /proc /sys /dev /tmp /run /var/tmp /root /etc /mnt
mount -t devtmpfs dev /dev
exec </dev/null >/dev/console 2>&1 3>/dev/ttyS1
stty -F /dev/ttyS1 raw
mount -t proc proc /proc
mount -t sysfs sys /sys
mkdir -p /dev/shm /dev/pts
mount -t tmpfs run /run
mount -t tmpfs shm /dev/shm
mount -t devpts -o ptmxmode=666 pts /dev/pts
mount -t bpf bpf /sys/fs/bpf
mount -t securityfs security /sys/kernel/security
mount -t tracefs trace /sys/kernel/tracing
ip link set lo up
chmod 1777 /tmp /var/tmp /dev/shm
`

const cgroups2 = `mount -t cgroup2 cgroup2 /sys/fs/cgroup
for c in $(cat /sys/fs/cgroup/cgroup.controllers); do echo +$c >/sys/fs/cgroup/cgroup.subtree_control; done
`

// cgroups1 is what systemd makes on hosts of version 1.
const cgroups1 = `mount -t tmpfs -o mode=755 cgroup /sys/fs/cgroup
for c in cpuset cpu,cpuacct blkio memory devices freezer net_cls,net_prio perf_event hugetlb pids rdma; do
  mkdir /sys/fs/cgroup/$c && mount -t cgroup -o $c cgroup /sys/fs/cgroup/$c || { rmdir /sys/fs/cgroup/$c; echo "control groups: no $c"; }
done
mkdir /sys/fs/cgroup/systemd && mount -t cgroup -o none,name=systemd cgroup /sys/fs/cgroup/systemd
`

// parse reads commands' output between the markers. done: the last marker came.
func parse(in io.Reader, nonce string) (results []Result, done bool) {
	r := bufio.NewReader(in)
	var open *Result
	var began time.Time
	var text strings.Builder
	flush := func(code int) {
		if open == nil {
			return
		}
		open.Output, open.Code, open.Took = strings.TrimSuffix(text.String(), "\n"), code, time.Since(began)
		results = append(results, *open)
		open = nil
		text.Reset()
	}
	for {
		line, err := r.ReadString('\n')
		if mark, ok := strings.CutPrefix(strings.TrimSuffix(line, "\n"), nonce+" "); ok {
			f := strings.Fields(mark)
			switch {
			case len(f) == 2 && f[0] == "begin":
				flush(-1)
				open, began = &Result{Name: f[1]}, time.Now()
			case len(f) == 3 && f[0] == "end":
				code, _ := strconv.Atoi(f[2])
				flush(code)
			case len(f) == 1 && f[0] == "done":
				flush(-1)
				return results, true
			}
		} else {
			text.WriteString(line)
		}
		if err != nil {
			flush(-1)
			return results, false
		}
	}
}

func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

func tail(path string, lines int) string {
	b, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	all := strings.Split(strings.TrimRight(string(b), "\n"), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}

package sensor

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/sensor/bpf"
)

const (
	policyOutlive = 1    // BW_POLICY_OUTLIVE
	mostBuilders  = 256  // names of one policy
	mostExec      = 4096 // executables of one policy
)

// ErrRefused is that a policy would hold somebody it must not: the host, the container
// runtime, kubelet or the agent.
var ErrRefused = errors.New("refused")

// applied is a policy in force.
type applied struct {
	policy *Policy
	lists  *lists // nil without BPF
}

// lists of a policy as the kernel has them. Policies that say the same share them: most
// containers have the default builders, and writing these down for each of them would
// take a good part of the agent's start.
type lists struct {
	text     string // what they say
	set      uint32
	builders []bpf.SharedBwBuilder
	exec     []bpf.SharedBwExecPath
	users    int
}

// Apply puts a policy in force for one workload, in place of the one before. It is
// refused (ErrRefused) for a cgroup that holds more than a container. Safe for
// concurrent use.
func (s *Sensor) Apply(p *Policy) error {
	if err := s.k.permit(p); err != nil {
		return fmt.Errorf("cgroup %d %q: %w", p.Cgroup, p.CgroupPath, err)
	}
	s.policyMu.Lock()
	defer s.policyMu.Unlock()
	if s.k.noBPF != nil {
		s.policies[p.Cgroup] = &applied{policy: p} // held by sources that need no BPF
	} else if err := s.put(p); err != nil {
		return fmt.Errorf("cgroup %d %q: %w", p.Cgroup, p.CgroupPath, err)
	}
	var errs []error
	for _, src := range s.sources {
		if e, ok := src.(Enforcer); ok {
			if err := e.Apply(p); err != nil {
				errs = append(errs, fmt.Errorf("%s: %w", src.Name(), err))
			}
		}
	}
	if len(errs) > 0 {
		// Half a policy is none: who reads "enforced" must be able to rely on it.
		return errors.Join(append(errs, s.remove(p.Cgroup))...)
	}
	if p.Outlive {
		return s.k.pin()
	}
	return nil
}

// Together calls f, which applies many policies. They are all in force when it returns.
func (s *Sensor) Together(f func()) {
	for _, src := range s.sources {
		if b, ok := src.(Batcher); ok {
			defer b.Together()()
		}
	}
	f()
}

// Remove lifts the policy of a workload. It is no error when there is none.
func (s *Sensor) Remove(cgroup uint64) error {
	s.policyMu.Lock()
	defer s.policyMu.Unlock()
	return s.remove(cgroup)
}

func (s *Sensor) remove(cgroup uint64) error {
	var errs []error
	if a := s.policies[cgroup]; a != nil {
		if s.k.noBPF == nil {
			errs = append(errs, ignoreMissing(s.k.maps["policies"].Delete(cgroup)), s.dropLists(a.lists))
			s.k.forgetRoots()
		}
		delete(s.policies, cgroup)
	}
	for _, src := range s.sources {
		if e, ok := src.(Enforcer); ok {
			if err := e.Remove(cgroup); err != nil {
				errs = append(errs, fmt.Errorf("%s: %w", src.Name(), err))
			}
		}
	}
	for _, a := range s.policies {
		if a.policy.Outlive {
			return errors.Join(errs...)
		}
	}
	return errors.Join(append(errs, s.k.unpin())...)
}

// Release lifts every policy and removes every pin, also those of agents before.
func (s *Sensor) Release() error {
	s.policyMu.Lock()
	defer s.policyMu.Unlock()
	var errs []error
	for id := range s.policies {
		errs = append(errs, s.remove(id))
	}
	return errors.Join(append(errs, Release(s.k.pinRoot))...)
}

// Policies lists the cgroups that have one.
func (s *Sensor) Policies() []uint64 {
	s.policyMu.Lock()
	defer s.policyMu.Unlock()
	out := make([]uint64, 0, len(s.policies))
	for id := range s.policies {
		out = append(out, id)
	}
	return out
}

// put writes the lists, then the policy that names them, then takes the lists before away.
func (s *Sensor) put(p *Policy) error {
	l, err := s.listsOf(p)
	if err != nil {
		return err
	}
	v := bpf.SharedBwPolicy{Enforce: uint64(p.Enforce), Report: uint64(p.Report), Root: p.Cgroup, Set: l.set}
	if p.Outlive {
		v.Flags |= policyOutlive
	}
	if err := s.k.maps["policies"].Put(p.Cgroup, &v); err != nil {
		return errors.Join(fmt.Errorf("policies: %w", explain(err)), s.dropLists(l))
	}
	before := s.policies[p.Cgroup]
	s.policies[p.Cgroup] = &applied{policy: p, lists: l}
	s.k.forgetRoots()
	if before != nil {
		return s.dropLists(before.lists)
	}
	return nil
}

// listsOf are the lists of a policy, written now unless another policy has the same. The
// caller owes a dropLists.
func (s *Sensor) listsOf(p *Policy) (*lists, error) {
	if len(p.Builders) > mostBuilders {
		return nil, fmt.Errorf("%d builders are more than %d", len(p.Builders), mostBuilders)
	}
	if len(p.Exec) > mostExec {
		return nil, fmt.Errorf("%d executables are more than %d", len(p.Exec), mostExec)
	}
	var exec []string
	if p.Enforce&GuardExec != 0 || p.Report&GuardExec != 0 {
		exec = resolve(p.PID, p.Exec)
	}
	l := &lists{set: s.lastSet + 1, users: 1}
	for _, b := range p.Builders {
		key := bpf.SharedBwBuilder{Set: l.set}
		if b == "" || len(b) >= len(key.Name) || strings.ContainsAny(b, "/\x00") {
			return nil, fmt.Errorf("builder %q: want a file name of at most %d letters", b, len(key.Name)-1)
		}
		copyLetters(key.Name[:], b)
		l.builders = append(l.builders, key)
	}
	for _, x := range exec {
		key, err := execKey(l.set, x)
		if err != nil {
			return nil, err
		}
		l.exec = append(l.exec, key)
	}
	// There is no zero in any of the names, and no slash in those of builders.
	l.text = strings.Join(p.Builders, "\x00") + "\x00/\x00" + strings.Join(exec, "\x00")
	if same := s.lists[l.text]; same != nil {
		same.users++
		return same, nil
	}
	s.lastSet++
	s.lists[l.text] = l
	fail := func(what string, err error) (*lists, error) {
		return nil, errors.Join(fmt.Errorf("%s: %w", what, explain(err)), s.dropLists(l))
	}
	for i := range l.builders {
		if err := s.k.maps["builders"].Put(&l.builders[i], uint8(1)); err != nil {
			return fail("builders", err)
		}
	}
	for i := range l.exec {
		if err := s.k.maps["exec_allowed"].Put(&l.exec[i], uint8(1)); err != nil {
			return fail("executables", err)
		}
	}
	return l, nil
}

// dropLists takes lists away with the last policy that has them.
func (s *Sensor) dropLists(l *lists) error {
	if l.users--; l.users > 0 {
		return nil
	}
	delete(s.lists, l.text)
	var errs []error
	for i := range l.builders {
		errs = append(errs, ignoreMissing(s.k.maps["builders"].Delete(&l.builders[i])))
	}
	for i := range l.exec {
		errs = append(errs, ignoreMissing(s.k.maps["exec_allowed"].Delete(&l.exec[i])))
	}
	return errors.Join(errs...)
}

func copyLetters(to []int8, s string) {
	copy(unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(to))), len(to)), s)
}

// execKey writes a path as the kernel programs walk it: the last name first.
func execKey(set uint32, name string) (bpf.SharedBwExecPath, error) {
	key := bpf.SharedBwExecPath{Set: set}
	if !path.IsAbs(name) || strings.Contains(name, "\x00") {
		return key, fmt.Errorf("executable %q: want an absolute path", name)
	}
	var b []byte
	for rest := path.Clean(name); rest != "/"; rest = path.Dir(rest) {
		b = append(append(b, path.Base(rest)...), 0)
	}
	if len(b) == 0 || len(b) > len(key.Names) {
		return key, fmt.Errorf("executable %q: paths of more than %d letters cannot be listed", name, len(key.Names)-1)
	}
	copyLetters(key.Names[:], string(b))
	return key, nil
}

// resolve adds to each path the one it leads to in the workload's own root (/bin/sh is
// /usr/bin/dash there), as the kernel knows files only by their true names.
func resolve(pid uint32, paths []string) []string {
	out := append([]string(nil), paths...)
	if pid == 0 {
		return out
	}
	root, err := unix.Open("/proc/"+strconv.FormatUint(uint64(pid), 10)+"/root", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return out
	}
	defer unix.Close(root)
	// Links of /proc are told from the top of the mount namespace; a root below it (chroot)
	// stands before them.
	top, err := os.Readlink("/proc/self/fd/" + strconv.Itoa(root))
	if err != nil {
		return out
	}
	top = strings.TrimSuffix(top, "/")
	for _, p := range paths {
		fd, err := unix.Openat2(root, p, &unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS})
		if err != nil {
			continue
		}
		to, err := os.Readlink("/proc/self/fd/" + strconv.Itoa(fd))
		unix.Close(fd)
		to, below := strings.CutPrefix(to, top)
		if err == nil && below && path.IsAbs(to) && to != p {
			out = append(out, to)
		}
	}
	return out
}

// forgetRoots empties what the programs remember of cgroups and their policies, now and
// once more a moment later: a program that looked before the change may still be
// writing down what it found.
func (k *Kernel) forgetRoots() {
	m := k.maps["policy_roots"]
	if m == nil {
		return
	}
	clearRoots := func() {
		var id, root uint64
		var ids []uint64
		for it := m.Iterate(); it.Next(&id, &root); {
			ids = append(ids, id)
		}
		for _, id := range ids {
			_ = m.Delete(id) // gone already is as good
		}
	}
	clearRoots()
	k.rootsMu.Lock()
	defer k.rootsMu.Unlock()
	if !k.rootsSoon {
		k.rootsSoon = true
		time.AfterFunc(50*time.Millisecond, func() {
			k.rootsMu.Lock()
			defer k.rootsMu.Unlock()
			k.rootsSoon = false
			if !k.closed {
				clearRoots()
			}
		})
	}
}

// permit says whether a policy may be put on this cgroup.
func (k *Kernel) permit(p *Policy) error {
	refuse := func(format string, a ...any) error {
		return fmt.Errorf("%w: %s", ErrRefused, fmt.Sprintf(format, a...))
	}
	if p.Cgroup <= 1 || path.Clean("/"+p.CgroupPath) == "/" {
		return refuse("the root of all cgroups holds the host")
	}
	dir := path.Clean("/" + p.CgroupPath)
	if k.CgroupRoot != "" {
		if id := k.Processes.cgroups.id(dir); id != p.Cgroup {
			return refuse("the folder %s has the id %d: the cgroup is gone, or another one", dir, id)
		}
	}
	for _, part := range strings.Split(dir[1:], "/") {
		if hostUnits[part] {
			return refuse("%s belongs to the host", part)
		}
	}
	switch base := path.Base(dir); {
	case hostGroups[base], strings.HasSuffix(base, ".slice"):
		return refuse("%s holds more than one workload", base)
	}
	own := k.Processes.cgroups.pathOf(uint32(os.Getpid()))
	if own == dir || strings.HasPrefix(own, dir+"/") {
		return refuse("it holds the agent itself")
	}
	if first := k.Processes.cgroups.pathOf(1); first == dir || strings.HasPrefix(first, dir+"/") {
		return refuse("it holds process 1 of the host")
	}
	if p.PID != 0 {
		ns := namespacesOf("/proc/" + strconv.FormatUint(uint64(p.PID), 10) + "/ns")
		if ns.Mount != 0 && ns.Mount == k.host.Mount && ns.PID == k.host.PID {
			return refuse("process %d shares the mount and PID namespaces of the host: it is not contained", p.PID)
		}
	}
	for _, pid := range k.members(dir) {
		name := string(bytes.TrimSpace(readFile("/proc/"+pid+"/comm", 64)))
		ns := namespacesOf("/proc/" + pid + "/ns")
		if hostPrograms[name] && ns.Mount == k.host.Mount {
			return refuse("%s (%s) of the host runs in it", name, pid)
		}
	}
	return nil
}

// members are the processes of a cgroup itself, at most 256.
func (k *Kernel) members(dir string) []string {
	if k.CgroupRoot == "" {
		return nil
	}
	f := strings.Fields(string(readFile(filepath.Join(k.CgroupRoot, dir, "cgroup.procs"), 4096)))
	return f[:min(len(f), 256)]
}

// Units and programs that run containers or hold the machine together. Programs count
// only in the host's mount namespace: a container may run a containerd of its own.
var (
	hostUnits = words("init.scope containerd.service docker.service crio.service cri-o.service kubelet.service podman.service " +
		"k3s.service rke2-server.service rke2-agent.service bollwerk-agent.service systemd-journald.service systemd-udevd.service " +
		"systemd-logind.service dbus.service sshd.service ssh.service")
	hostGroups = words("kubepods burstable besteffort guaranteed docker libpod machine lxc system user systemd k8s.io default moby crio")
	// The shims and conmon live beside their container, sometimes in its very cgroup; they
	// are of the host's namespaces, which no guard touches, and are no reason to refuse.
	hostPrograms = words("systemd init dockerd containerd crio kubelet bollwerk-agent k3s-server k3s-agent")
)

func words(s string) map[string]bool {
	m := map[string]bool{}
	for _, w := range strings.Fields(s) {
		m[w] = true
	}
	return m
}

// Means is, for each guard, the most that can be done on this host.
func (s *Sensor) Means() []Means {
	rank := map[bollwerk.Outcome]int{bollwerk.Seen: 1, bollwerk.Killed: 2, bollwerk.Denied: 3}
	best := map[Guard]Means{}
	for _, src := range s.sources {
		if t, ok := src.(MeansTeller); ok {
			for _, m := range t.Means() {
				if rank[m.Outcome] > rank[best[m.Guard].Outcome] {
					best[m.Guard] = m
				}
			}
		}
	}
	out := make([]Means, 0, len(guardWords))
	for _, g := range Guards() {
		m, ok := best[g]
		if !ok {
			m = Means{Guard: g, Outcome: bollwerk.Seen, Cause: "nothing on this host can hold it; what detects it reports it"}
		}
		out = append(out, m)
	}
	return out
}

package lsm

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strings"

	"github.com/cilium/ebpf"

	"github.com/bollwerk/bollwerk/sensor"
	"github.com/bollwerk/bollwerk/sensor/bpf"
)

// What is done with a file (LSM_* in bpf/lsm.h).
const (
	Read   = 1 << iota // opened for reading
	Write              // opened for writing, made, replaced, its mode or owner changed
	Delete             // removed, renamed away, cut to nothing
	Point              // a link to it was made
)

// Class of a watched file.
const (
	Secret    = 1 << iota // reading it gives rights
	Setting               // writing it changes the kernel
	Contained             // only told of processes in containers
)

// Watch is a kind of file that is told of wherever it lies: names are compared, not
// places, so that a bind mount or the host's root under another name hides nothing.
type Watch struct {
	// Name of the file; of a longer one the last 31 bytes are compared. "" with a Folder means all files in it
	// (changes only: reads of whole folders are too many).
	Name string
	// Folder in which it must lie, "" any.
	Folder string
	// Access is a set of Read, Write, Delete, Point.
	Access uint8
	// Class is a set of Secret, Setting, Contained.
	Class uint8
	// Magic of the file system (statfs(2) f_type), 0 any.
	Magic uint32
}

const (
	procMagic   = 0x9fa0
	sysfsMagic  = 0x62656572
	cgroupMagic = 0x27e0eb
	binfmtMagic = 0x42494e4d
	tmpfsMagic  = 0x01021994
)

// Watches is the default list.
func Watches() []Watch {
	var out []Watch
	add := func(access, class uint8, magic uint32, names string) {
		for _, n := range strings.Fields(names) {
			folder, name, ok := strings.Cut(n, "/")
			if !ok {
				folder, name = "", n
			}
			out = append(out, Watch{Name: name, Folder: folder, Access: access, Class: class, Magic: magic})
		}
	}
	all := uint8(Read | Write | Delete | Point)
	for _, secret := range sensor.Secrets() {
		name, folder := secret.Name()
		if w := (Watch{Name: name, Folder: folder, Access: all, Class: Secret}); !slices.Contains(out, w) {
			out = append(out, w)
		}
	}
	// In a volume of the kubelet their folder is one of its making (..2026_01_01…).
	add(Read, Secret, tmpfsMagic, `token azure-identity-token`)
	add(Read|Delete, 0, 0, strings.Join(sensor.Histories(), " "))
	add(Read, 0, procMagic, `environ kcore`)
	add(Read|Write, 0, procMagic, `mem`)
	add(Write, Setting, procMagic, `core_pattern modprobe hotplug sysrq-trigger kernel/poweroff_cmd kernel/randomize_va_space
		kernel/unprivileged_bpf_disabled kernel/kptr_restrict kernel/dmesg_restrict yama/ptrace_scope fs/suid_dumpable vm/mmap_min_addr`)
	add(Write, Setting, sysfsMagic, `uevent_helper`)
	add(Write, Setting, cgroupMagic, `release_agent`)
	add(Write, Setting, binfmtMagic, `register`)
	// Where somebody settles in.
	add(Write|Delete, 0, 0, `etc/passwd etc/group etc/crontab etc/ld.so.preload etc/profile etc/bash.bashrc etc/rc.local etc/environment etc/hosts
		etc/ld.so.conf etc/nsswitch.conf sshd_config .bashrc .bash_profile .bash_login .bash_logout .profile .zshrc .zprofile .zshenv .kshrc
		authorized_keys authorized_keys2 .ssh/config .ssh/rc
		cron.d/ cron.hourly/ cron.daily/ cron.weekly/ cron.monthly/ crontabs/ cron/ sudoers.d/ profile.d/ pam.d/ init.d/ ld.so.conf.d/ rules.d/
		modules-load.d/ modprobe.d/ apt.conf.d/ .ssh/ autostart/ manifests/ system/ user/ system-generators/ update-motd.d/ network-scripts/ if-up.d/`)
	add(Write|Delete, 0, 0, `bin/ sbin/ security/`)
	add(Delete, 0, 0, `log/ audit/ journal/ wtmp btmp lastlog utmp auth.log syslog secure messages access.log error.log`)
	return out
}

const maxName = len(bpf.LsmLsmWatchKey{}.Name)

func (w Watch) check() error {
	switch {
	case w.Name == "" && w.Folder == "":
		return fmt.Errorf("watch: neither a name nor a folder")
	case len(w.Name) > 255 || len(w.Folder) >= maxName:
		return fmt.Errorf("watch %q in %q: a folder's name has at most %d bytes, a file's 255", w.Name, w.Folder, maxName-1)
	case strings.ContainsAny(w.Name+w.Folder, "/\x00"):
		return fmt.Errorf("watch %q in %q: names, not paths", w.Name, w.Folder)
	case w.Access == 0:
		return fmt.Errorf("watch %q in %q: nothing to watch for", w.Name, w.Folder)
	}
	return nil
}

// slot is LSM_SLOT of bpf/lsm.h: where a name that is watched for reading stands in the
// filter. A name that is too long for the table stands in another, by its length.
func slot(name string) (int, bool) {
	n := len(name)
	if n == 0 || n >= maxName {
		return 0, false
	}
	var first [8]byte
	copy(first[:], name)
	h := (binary.LittleEndian.Uint64(first[:]) + uint64(n)*0xff51afd7ed558ccd) * 0x9e3779b97f4a7c15
	return int(h >> 50), true
}

func setFilter(spec *ebpf.CollectionSpec, watches []Watch) error {
	var f bpf.LsmLsmFilter
	for _, w := range watches {
		if err := w.check(); err != nil {
			return err
		}
		if at, ok := slot(w.Name); ok && w.Access&Read != 0 {
			f.Names[at/64] |= 1 << (at % 64)
		}
		if n := len(w.Name); n >= maxName {
			f.Longs[n/64] |= 1 << (n % 64)
		}
		if w.Name == "" {
			f.Folders |= 1 << len(w.Folder)
		}
	}
	v := spec.Variables["filter"]
	if v == nil {
		return fmt.Errorf("the object has no variable filter")
	}
	return v.Set(f)
}

// table is what stands in the kernel: an entry without a folder that says how to go on,
// and one for each name in a folder.
func table(watches []Watch) map[bpf.LsmLsmWatchKey]bpf.LsmLsmWatch {
	out := map[bpf.LsmLsmWatchKey]bpf.LsmLsmWatch{}
	put := func(name, folder string, f func(*bpf.LsmLsmWatch)) {
		k := bpf.LsmLsmWatchKey{}
		fill(k.Name[:], name[max(0, len(name)-(maxName-1)):])
		fill(k.Folder[:], folder)
		v := out[k]
		f(&v)
		out[k] = v
	}
	for _, w := range watches {
		put(w.Name, w.Folder, func(v *bpf.LsmLsmWatch) {
			v.Access |= w.Access
			v.Class |= w.Class
			v.Magic = w.Magic
		})
		if w.Name != "" && w.Folder != "" {
			put(w.Name, "", func(v *bpf.LsmLsmWatch) { v.Folder = 1 })
		}
	}
	return out
}

func fill(to []int8, s string) {
	for i := range min(len(s), len(to)-1) {
		to[i] = int8(s[i])
	}
}

func (s *Source) fillWatches() error {
	m := s.loaded.Maps["lsm_watches"]
	for k, v := range table(s.o.Watches) {
		if err := m.Put(&k, &v); err != nil {
			return fmt.Errorf("table of watched files: %w", err)
		}
	}
	return nil
}

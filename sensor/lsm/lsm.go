// Package lsm sees through BPF LSM and refuses before things happen: starts of
// programs, file operations, mounts, kernel settings, modules, BPF, ptrace. It owns the
// list of watched files and the kernel's lists of allowed paths. It does not decide what
// is allowed, and never touches processes outside of workloads with a policy.
package lsm

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/sensor"
	"github.com/bollwerk/bollwerk/sensor/bpf"
)

// Options of the source; the zero value is usable.
type Options struct {
	// Watches are the files told of besides what containers write; nil: Watches().
	Watches []Watch
	// SecurityList is the file with the names of the active security modules;
	// "": /sys/kernel/security/lsm.
	SecurityList string
}

// Source is the BPF LSM backend.
type Source struct {
	o        Options
	k        *sensor.Kernel
	loaded   *sensor.Loaded
	covered  map[string]bool // areas
	attached map[string]bool // programs

	mu    sync.Mutex
	lists map[uint64][]bpf.LsmLsmPrefixKey
	// generation of the policies, counted for the kernel.
	generation uint32
}

// New makes a source that is not open yet.
func New(o Options) *Source {
	if o.Watches == nil {
		o.Watches = Watches()
	}
	if o.SecurityList == "" {
		o.SecurityList = "/sys/kernel/security/lsm"
	}
	return &Source{o: o, covered: map[string]bool{}, attached: map[string]bool{}, lists: map[uint64][]bpf.LsmLsmPrefixKey{}}
}

// Name of the source.
func (s *Source) Name() string { return "lsm" }

// Covered reports whether this source sees an area, so that others need not. It knows
// after Open.
func (s *Source) Covered(area string) bool { return s.covered[area] }

// area is a row of the doctor's table: the programs that make it up, of which the
// first is the one without which there is nothing.
type area struct {
	name     string
	programs []string
	outcome  bollwerk.Outcome
	// loss is what only this source gives; "" for nothing. Whether and when others see
	// something differs by kernel: that is said by their own rows.
	loss string
}

// needs is the type of an area's first program.
func (a area) needs() ebpf.ProgramType {
	if a.name == "namespace" || a.name == "memfd" {
		return ebpf.Tracing
	}
	return ebpf.LSM
}

var areas = []area{
	{"deny exec", []string{"bprm_check"}, bollwerk.Denied, "the kernel itself cannot refuse a program before it starts"},
	{"file", []string{"file_open", "path_rename", "path_unlink", "path_rmdir", "path_link", "path_symlink", "path_chmod", "path_chown", "path_truncate"}, bollwerk.Denied, "operations on files cannot be told wherever they happen"},
	{"deny file", []string{"file_open", "path_mknod", "path_mkdir", "path_rename", "path_unlink", "path_rmdir", "path_link", "path_symlink", "path_chmod", "path_chown", "path_truncate"}, bollwerk.Denied, "files cannot be refused by where they are, and no rename, removal, link or change of a mode before it happens"},
	{"setting", []string{"file_open"}, bollwerk.Denied, "release_agent and uevent_helper cannot be refused before they are written"},
	{"executable mapping", []string{"mmap_file"}, bollwerk.Seen, "not every mapping of a file that can be executed is told"},
	{"credentials", []string{"task_fix_setuid", "capset"}, bollwerk.Seen, "changes of capabilities are not told when they are made"},
	{"capability", []string{"capable"}, bollwerk.Seen, ""},
	{"ptrace", []string{"ptrace_access_check", "ptrace_traceme"}, bollwerk.Denied, "attaching cannot be refused before it happens"},
	{"mount", []string{"sb_mount", "move_mount", "capable"}, bollwerk.Denied, "mounts cannot be refused before they happen"},
	{"bpf load", []string{"bpf_call"}, bollwerk.Denied, "loads cannot be refused before they happen"},
	{"module", []string{"kernel_read_file", "kernel_load_data", "kernel_module_request"}, bollwerk.Denied, "modules cannot be refused before they are loaded"},
	{"raw socket", []string{"socket_create"}, bollwerk.Denied, "packet sockets cannot be refused before they are made"},
	{"connect to sockets", []string{"unix_connect"}, bollwerk.Seen, ""},
	{"namespace", []string{"switch_namespaces", "unshare_begin", "unshare_end", "userns_create", "userns_enter"}, bollwerk.Seen, ""},
	{"page faults", []string{"anon_inode"}, bollwerk.Seen, "programs that answer their own page faults (userfaultfd) are not seen"},
	{"memfd", []string{"memfd_create"}, bollwerk.Seen, "anonymous files are not told when they are made"},
}

// alternatives are loaded only where the first was refused.
var alternatives = map[string]string{"path_chown": "path_chown_plain"}

// refuses are the programs that may say no.
var refuses = map[string]bool{
	"bprm_check": true, "file_open": true, "path_mknod": true, "path_mkdir": true, "path_rename": true, "path_unlink": true, "path_rmdir": true, "path_link": true,
	"path_symlink": true, "path_chmod": true, "path_chown": true, "path_chown_plain": true, "path_truncate": true, "ptrace_access_check": true,
	"sb_mount": true, "move_mount": true, "capable": true, "socket_create": true, "bpf_call": true, "kernel_read_file": true, "kernel_load_data": true,
}

// Open loads and attaches what this kernel allows.
func (s *Source) Open(_ context.Context, k *sensor.Kernel) ([]sensor.Capability, error) {
	s.k = k
	if err := k.BPF(); err != nil {
		return refusedRows(err, "run the agent as root, or with CAP_BPF, CAP_PERFMON and CAP_SYS_RESOURCE"), nil
	}
	for _, w := range s.o.Watches {
		if err := w.check(); err != nil {
			return nil, err
		}
	}
	why := map[ebpf.ProgramType]error{ebpf.LSM: s.active()}
	remedy := ""
	if why[ebpf.LSM] != nil {
		remedy = s.remedy()
	} else {
		why[ebpf.LSM] = try(k, ebpf.LSM)
	}
	if why[ebpf.Tracing] = try(k, ebpf.Tracing); why[ebpf.Tracing] != nil && why[ebpf.LSM] != nil {
		// Reading the object would be a good part of the agent's start, for nothing.
		refused := map[string]error{}
		for _, a := range areas {
			for _, p := range a.programs {
				refused[p] = why[a.needs()]
			}
		}
		return s.rows(refused, remedy), nil
	}
	spec, err := bpf.LoadLsm()
	if err != nil {
		return nil, err
	}
	if err := setFilter(spec, s.o.Watches); err != nil {
		return nil, err
	}
	var skip []string
	for name, p := range spec.Programs {
		if why[p.Type] != nil {
			skip = append(skip, name)
		}
	}
	types := map[string]ebpf.ProgramType{}
	for name, p := range spec.Programs {
		types[name] = p.Type
	}
	refused := map[string]error{}
	for _, name := range skip {
		refused[name] = why[types[name]]
	}
	if len(skip) < len(types) {
		if s.loaded, err = k.Load(spec, 0, skip...); err != nil {
			return nil, err
		}
		if err := s.fillWatches(); err != nil {
			return nil, err
		}
		s.register()
		for _, r := range s.loaded.Refused {
			refused[r.Program] = r.Err
		}
		s.attach(types, refused)
		var covered sensor.Guard
		if s.attached["bprm_check"] {
			covered = sensor.GuardFileless | sensor.GuardDrift | sensor.GuardReverseShell | sensor.GuardExec
		}
		if err := k.Cover(covered); err != nil {
			return nil, fmt.Errorf("covered guards: %w", err)
		}
	}
	return s.rows(refused, remedy), nil
}

// try loads the least program of a type, on what all kernels have: it tells whether the
// others are worth loading.
func try(k *sensor.Kernel, t ebpf.ProgramType) error {
	p := &ebpf.ProgramSpec{Name: "probe", Type: t, AttachType: ebpf.AttachLSMMac, AttachTo: "capset", License: "GPL",
		Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, 0), asm.Return()}}
	if t == ebpf.Tracing {
		p.AttachType, p.AttachTo = ebpf.AttachTraceFExit, "ksys_unshare"
	}
	return k.Try(&ebpf.CollectionSpec{Programs: map[string]*ebpf.ProgramSpec{p.Name: p}, ByteOrder: binary.NativeEndian}, p.Name)
}

func (s *Source) attach(types map[string]ebpf.ProgramType, refused map[string]error) {
	for name, p := range s.loaded.Programs {
		for first, second := range alternatives {
			if name == second && refused[first] == nil {
				p = nil
			}
		}
		if p == nil {
			continue
		}
		var l link.Link
		var err error
		if types[name] == ebpf.LSM {
			l, err = link.AttachLSM(link.LSMOptions{Program: p})
		} else {
			l, err = link.AttachTracing(link.TracingOptions{Program: p})
		}
		// A pinned hook of file operations keeps to a policy that outlives the agent;
		// what only tells goes with it.
		if refuses[name] {
			err = s.k.KeepEnforcing("lsm_"+name, l, err)
		} else {
			err = s.k.Keep(l, err)
		}
		if err != nil {
			refused[name] = fmt.Errorf("attach: %w", err)
			continue
		}
		s.attached[name] = true
	}
}

func (s *Source) rows(refused map[string]error, remedy string) []sensor.Capability {
	var out []sensor.Capability
	for _, a := range areas {
		r := sensor.Capability{Area: a.name, Means: "bpf-lsm " + a.programs[0], Verdict: bollwerk.Pass, Outcome: a.outcome}
		if a.needs() == ebpf.Tracing {
			r.Means = "fentry " + a.programs[0]
		}
		var missing []string
		var cause error
		for _, p := range a.programs {
			second, has := alternatives[p]
			if err := refused[p]; err != nil && (!has || refused[second] != nil || !s.attached[second]) {
				missing = append(missing, p)
				if cause == nil {
					cause = err
				}
			}
		}
		switch {
		case len(missing) == 0:
			s.covered[a.name] = true
			if a.name == "mount" && s.k != nil && s.k.Before(5, 15) {
				r.Verdict, r.Cause, r.Remedy = bollwerk.Degraded, detachedUnseen, "a newer kernel"
			}
		case missing[0] == a.programs[0]:
			r.Verdict, r.Outcome = bollwerk.NotEvaluated, bollwerk.Seen
			if r.Cause = cause.Error() + "; " + a.loss; a.loss == "" {
				r.Cause = r.Means + ": " + cause.Error()
			}
			switch r.Remedy = remedy; {
			case remedy == "" && len(s.attached) > 0: // others work here
				r.Remedy = "a newer kernel"
			case remedy == "":
				r.Remedy = needs
			}
		default:
			s.covered[a.name] = true
			r.Verdict = bollwerk.Degraded
			r.Cause = "without " + strings.Join(missing, ", ") + ": " + cause.Error()
			r.Remedy = "a newer kernel"
		}
		out = append(out, r)
	}
	return out
}

// detachedUnseen is what programs cannot know that may not ask in which system call they are.
const detachedUnseen = "before kernel 5.15 a mount that is made of descriptors (open_tree, fsmount) is only seen when it gets a place"

const needs = "a kernel since 5.7 with CONFIG_BPF_LSM=y and BTF, booted with bpf in its list of security modules (lsm=…,bpf), that allows BPF LSM and fentry programs"

func refusedRows(err error, remedy string) []sensor.Capability {
	all := map[string]error{}
	for _, a := range areas {
		for _, p := range a.programs {
			all[p] = err
		}
	}
	return New(Options{}).rows(all, remedy)
}

// errInactive: programs would load and attach, and never be asked.
var errInactive = errors.New("bpf is not among the active security modules of this kernel")

// active reads the kernel's list. A list that cannot be read says nothing: then the
// trial load decides.
func (s *Source) active() error {
	b, err := os.ReadFile(s.o.SecurityList)
	if err != nil || len(b) == 0 {
		return nil
	}
	for name := range strings.SplitSeq(strings.TrimSpace(string(b)), ",") {
		if name == "bpf" {
			return nil
		}
	}
	return errInactive
}

func (s *Source) remedy() string {
	b, _ := os.ReadFile(s.o.SecurityList)
	if list := strings.TrimSpace(string(b)); list != "" {
		return fmt.Sprintf("add lsm=%s,bpf to the kernel's command line and boot again", list)
	}
	return needs
}

// Run has nothing to do: records come through the shared ring.
func (s *Source) Run(context.Context) error { return nil }

// Close: programs and links are in the kernel's care.
func (s *Source) Close() error { return nil }

package procfs

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/sensor"
)

// Areas of the doctor's table.
const (
	AreaSetting = "setting"
	AreaMount   = "mount"
)

// Settings looks from time to time whether a setting with which a container reaches the
// host has another value. Who wrote it, it cannot know, and so puts nothing back.
type Settings struct {
	// Covered reports whether a better source already tells about an area; it may be nil.
	Covered func(area string) bool
	// Interval between two looks; 0: 1 s.
	Interval time.Duration
	// Files are watched; nil: those of /proc/sys/kernel and of cgroups that start programs.
	Files []string

	k      *sensor.Kernel
	values map[string]string
}

const (
	settingsMost = 128
	valueMost    = 256 // letters of a value that an event carries
)

func settingFiles() []string {
	out := []string{
		"/proc/sys/kernel/core_pattern", "/proc/sys/kernel/modprobe", "/proc/sys/kernel/hotplug", "/proc/sys/kernel/poweroff_cmd",
		"/sys/kernel/uevent_helper", "/proc/sys/fs/suid_dumpable", "/proc/sys/kernel/yama/ptrace_scope", "/proc/sys/kernel/randomize_va_space",
		"/proc/sys/kernel/unprivileged_bpf_disabled", "/proc/sys/kernel/kptr_restrict", "/proc/sys/kernel/modules_disabled", "/proc/sys/vm/mmap_min_addr",
	}
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return out
	}
	defer f.Close()
	for m := range mountsOf(f) {
		if m.kind == "cgroup" && m.root == "/" && len(out) < settingsMost {
			out = append(out, filepath.Join(m.target, "release_agent"))
		}
	}
	return out
}

// Name of the source.
func (s *Settings) Name() string { return "settings" }

// Open reads the values that are taken for right.
func (s *Settings) Open(_ context.Context, k *sensor.Kernel) ([]sensor.Capability, error) {
	if s.Covered != nil && s.Covered(AreaSetting) {
		return nil, nil
	}
	s.k = k
	if s.Interval == 0 {
		s.Interval = time.Second
	}
	if s.Files == nil {
		s.Files = settingFiles()
	}
	s.values = map[string]string{}
	for _, f := range s.Files {
		if v, ok := value(f); ok {
			s.values[f] = v
		}
	}
	return []sensor.Capability{{Area: AreaSetting, Means: "comparing values", Verdict: bollwerk.Degraded, Outcome: bollwerk.Seen,
		Cause:  "a change is seen up to " + s.Interval.String() + " later, not who made it, and not when it was undone meanwhile",
		Remedy: "run the agent with CAP_BPF on a kernel of 5.10 or newer with a cgroup version 2 tree"}}, nil
}

func value(name string) (string, bool) {
	f, err := os.Open(name)
	if err != nil {
		return "", false
	}
	defer f.Close()
	b := make([]byte, 4096)
	n, err := f.Read(b)
	if err != nil && err != io.EOF {
		return "", false
	}
	return strings.TrimRight(string(b[:n]), "\n"), true
}

// Run looks until the context ends.
func (s *Settings) Run(ctx context.Context) error {
	if s.values == nil {
		return nil
	}
	t := time.NewTicker(s.Interval)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case now := <-t.C:
			for f, old := range s.values {
				v, ok := value(f)
				if !ok || v == old {
					continue
				}
				s.values[f] = v
				name := strings.TrimPrefix(f, "/proc/sys/")
				if name == f {
					name = filepath.Base(f)
				}
				s.k.Emit(&bollwerk.Event{Time: now, Kind: bollwerk.EventSetting, Outcome: bollwerk.Seen, Source: "procfs",
					Object: &bollwerk.Object{Name: name, Type: "found changed", Value: v[:min(len(v), valueMost)], Old: old[:min(len(old), valueMost)]}})
			}
		}
	}
}

// Close has nothing to do.
func (s *Settings) Close() error { return nil }

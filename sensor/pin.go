package sensor

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strings"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

// PinRoot is where what outlives the agent is pinned. Each agent has a folder of its
// own in it: the next one puts its own policies in force first and only then takes
// those of the agents before away (Sensor.TakeOver), so that nothing is open in between
// and no agent has to understand the maps of another version.
const PinRoot = "/sys/fs/bpf/bollwerk"

const bpfMagic = 0xcafe4a11

// pinned is a link of a program that enforces.
type pinned struct {
	name string
	link link.Link
}

// KeepEnforcing takes the link of a program that enforces policies into the kernel's
// care: it is pinned as long as a policy wants to outlive the agent. The name is unique
// among all sources.
func (k *Kernel) KeepEnforcing(name string, l link.Link, err error) error {
	if err := k.Keep(l, err); err != nil {
		return err
	}
	k.pinMu.Lock()
	defer k.pinMu.Unlock()
	k.enforcing = append(k.enforcing, pinned{name, l})
	if k.pinned {
		return l.Pin(filepath.Join(k.pinDir(), name))
	}
	return nil
}

func (k *Kernel) pinDir() string {
	return filepath.Join(k.pinRoot, fmt.Sprintf("%020d-%d", k.opened, os.Getpid()))
}

// pin makes all enforcing links outlive the agent.
func (k *Kernel) pin() error {
	k.pinMu.Lock()
	defer k.pinMu.Unlock()
	if k.pinned || k.noBPF != nil {
		return nil
	}
	if err := bpfFS(filepath.Dir(k.pinRoot)); err != nil {
		return fmt.Errorf("policies cannot outlive the agent: %w", err)
	}
	if err := os.MkdirAll(k.pinDir(), 0o700); err != nil {
		return fmt.Errorf("policies cannot outlive the agent: %w", err)
	}
	k.pinned = true
	for _, p := range k.enforcing {
		if err := p.link.Pin(filepath.Join(k.pinDir(), p.name)); err != nil {
			return errors.Join(fmt.Errorf("pin %s: %w", p.name, err), k.unpinLocked())
		}
	}
	return nil
}

func (k *Kernel) unpin() error {
	k.pinMu.Lock()
	defer k.pinMu.Unlock()
	return k.unpinLocked()
}

func (k *Kernel) unpinLocked() error {
	if !k.pinned {
		return nil
	}
	k.pinned = false
	var errs []error
	for _, p := range k.enforcing {
		if err := p.link.Unpin(); err != nil && !errors.Is(err, os.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	_ = os.Remove(k.pinDir())
	return errors.Join(errs...)
}

// bpfFS sees to it that dir is a BPF file system.
func bpfFS(dir string) error {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return err
	}
	if st.Type == bpfMagic {
		return nil
	}
	if err := unix.Mount("bpf", dir, "bpf", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "mode=700"); err != nil {
		return fmt.Errorf("%s is no BPF file system and cannot be made one: %w", dir, err)
	}
	return nil
}

// TakeOver ends what agents before this one left in force. The agent calls it when its
// own policies are applied.
func (s *Sensor) TakeOver() error { return removePins(s.k.pinRoot, filepath.Base(s.k.pinDir())) }

// Release ends everything that any agent left in force below root (PinRoot).
func Release(root string) error {
	err := removePins(root, "")
	_ = os.Remove(root)
	return err
}

// Inherited lists what agents before left pinned, newest last.
func Inherited(root string) []string {
	var out []string
	_ = filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			out = append(out, p)
		}
		return nil
	})
	sort.Strings(out)
	return out
}

func removePins(root, but string) error {
	dirs, err := os.ReadDir(root)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var errs []error
	var ids []ebpf.ProgramID
	for _, d := range dirs {
		// Only what has the form of an agent's folder: nobody else's pins.
		if !d.IsDir() || d.Name() == but || len(d.Name()) < 22 || strings.Trim(d.Name(), "0123456789-") != "" {
			continue
		}
		for _, pin := range Inherited(filepath.Join(root, d.Name())) {
			if l, err := link.LoadPinnedLink(pin, nil); err == nil {
				if info, err := l.Info(); err == nil {
					ids = append(ids, info.Program)
				}
				_ = l.Close()
			}
		}
		if err := os.RemoveAll(filepath.Join(root, d.Name())); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w; remove it with rm -r", filepath.Join(root, d.Name()), err))
		}
	}
	return errors.Join(append(errs, gone(ids))...)
}

// stuck is how long none of the released programs may go before somebody is said to hold them.
const stuck = 30 * time.Second

// gone waits until programs whose pins were removed are detached and freed: the kernel
// does that later, one after the other and each time after a grace period, and a link is
// no longer found before it is off.
func gone(ids []ebpf.ProgramID) error {
	for last := time.Now(); len(ids) > 0; time.Sleep(5 * time.Millisecond) {
		before := len(ids)
		ids = slices.DeleteFunc(ids, func(id ebpf.ProgramID) bool {
			p, err := ebpf.NewProgramFromID(id)
			if err == nil {
				_ = p.Close()
			}
			return err != nil
		})
		if len(ids) < before {
			last = time.Now()
		} else if time.Since(last) > stuck {
			return fmt.Errorf("%d programs are still attached: an agent that runs holds them", len(ids))
		}
	}
	return nil
}

func ignoreMissing(err error) error {
	if errors.Is(err, ebpf.ErrKeyNotExist) {
		return nil
	}
	return err
}

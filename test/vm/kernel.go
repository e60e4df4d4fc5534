package vm

import (
	"bytes"
	"context"
	"crypto/sha256"
	"debug/elf"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"sort"
	"strings"
	"time"
)

// Kernel is an unpacked kernel package.
type Kernel struct {
	Name    string // "6.12"
	Release string // "6.12.117+deb12-cloud-amd64"
	Image   string // path of vmlinuz
	Modules string // path of the folder with kernel/…/*.ko.xz
}

// metaPackages name the newest kernel of a series; what they depend on is the kernel.
var metaPackages = map[string]struct{ name, release string }{
	"5.10": {"linux-image-cloud-amd64", "bullseye"},
	"6.1":  {"linux-image-cloud-amd64", ""},
	"6.12": {"linux-image-6.12-cloud-amd64", ""},
}

// Names of the kernels that Fetch knows, oldest first.
func Names() []string { return []string{"5.10", "6.1", "6.12"} }

// apt asks the package lists of this machine, or those of an older release.
type apt []string

func (a apt) command(ctx context.Context, tool string, args ...string) *exec.Cmd {
	return exec.CommandContext(ctx, tool, append(slices.Clone(a), args...)...)
}

// listsFor is how long the lists of an older release are good: it changes rarely, and
// then its former packages go.
const listsFor = 3 * 24 * time.Hour

// releaseApt has lists of its own for a release of Debian that this machine does not
// use, from the mirrors that it does use.
func releaseApt(ctx context.Context, release, cache string) (apt, error) {
	out, err := exec.CommandContext(ctx, "apt-get", "indextargets", "--format", "$(ORIGIN) $(REPO_URI) $(CODENAME)", "Created-By: Packages").Output()
	if err != nil {
		return nil, fmt.Errorf("apt-get indextargets: %w", err)
	}
	var sources strings.Builder
	seen := map[string]bool{}
	for l := range strings.Lines(string(out)) {
		f := strings.Fields(l)
		if len(f) != 3 || f[0] != "Debian" || seen[f[1]] {
			continue
		}
		seen[f[1]] = true
		suite := release
		if strings.HasSuffix(f[2], "-security") {
			suite += "-security"
		}
		fmt.Fprintf(&sources, "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] %s %s main\n", f[1], suite)
	}
	if sources.Len() == 0 {
		return nil, errors.New("apt has no lists of Debian; run apt-get update")
	}
	dir := filepath.Join(cache, "apt-"+release)
	list := filepath.Join(dir, "sources.list")
	a := apt{"-o", "Dir::Etc::sourcelist=" + list, "-o", "Dir::Etc::sourceparts=/dev/null", "-o", "Dir::State::lists=" + filepath.Join(dir, "lists"), "-o", "Dir::Cache=" + dir, "-o", "APT::Sandbox::User=root"}
	have := false
	if old, err := os.ReadFile(list); err == nil && string(old) == sources.String() {
		lists, _ := filepath.Glob(filepath.Join(dir, "lists", "*_Packages*"))
		have = len(lists) > 0
		if st, err := os.Stat(list); have && err == nil && time.Since(st.ModTime()) < listsFor {
			return a, nil
		}
	}
	if err := os.MkdirAll(filepath.Join(dir, "lists", "partial"), 0o755); err != nil {
		return nil, err
	}
	if err := os.WriteFile(list, []byte(sources.String()), 0o644); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, 3*time.Minute)
	defer cancel()
	if out, err := a.command(ctx, "apt-get", "update", "-qq", "-o", "Acquire::Languages=none").CombinedOutput(); err != nil && !have {
		return nil, fmt.Errorf("apt-get update for %s: %w: %s", release, err, bytes.TrimSpace(out))
	}
	return a, nil
}

// Available says why no machine can be started here, nil when one can.
func Available() error {
	if runtime.GOARCH != "amd64" {
		return fmt.Errorf("kernels are fetched for amd64 only, this is %s", runtime.GOARCH)
	}
	for _, t := range []struct{ tool, pkg string }{{"qemu-system-x86_64", "qemu-system-x86"}, {"xz", "xz-utils"}, {"dpkg-deb", "dpkg"}} {
		if _, err := exec.LookPath(t.tool); err != nil {
			return fmt.Errorf("%s is not installed (package %s)", t.tool, t.pkg)
		}
	}
	if _, err := mkfs(); err != nil {
		return err
	}
	_, err := staticBusybox()
	return err
}

func cacheDir() (string, error) {
	base, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	dir := filepath.Join(base, "bollwerk-test", "vm")
	return dir, os.MkdirAll(dir, 0o755)
}

// Fetch returns a kernel of the series, from the cache when the same package lies
// there, else through apt-get. Without a network the newest cached one serves.
func Fetch(ctx context.Context, name string) (Kernel, error) {
	meta, ok := metaPackages[name]
	if !ok {
		return Kernel{}, fmt.Errorf("kernel %s: not one of %s", name, strings.Join(Names(), ", "))
	}
	cache, err := cacheDir()
	if err != nil {
		return Kernel{}, err
	}
	var a apt
	if meta.release != "" {
		a, err = releaseApt(ctx, meta.release, cache)
	}
	var pkg, sum string
	if err == nil {
		pkg, sum, err = resolve(ctx, a, meta.name)
	}
	if err != nil {
		old, _ := filepath.Glob(filepath.Join(cache, "linux-image-"+name+".*", "done"))
		if len(old) == 0 {
			return Kernel{}, fmt.Errorf("kernel %s: %w; run apt-get update", name, err)
		}
		sort.Strings(old)
		return open(name, filepath.Dir(old[len(old)-1]))
	}
	dir := filepath.Join(cache, pkg+"-"+sum[:16])
	if _, err := os.Stat(filepath.Join(dir, "done")); err == nil {
		return open(name, dir)
	}
	if err := download(ctx, a, pkg, sum, dir); err != nil {
		return Kernel{}, fmt.Errorf("kernel %s: %w", name, err)
	}
	return open(name, dir)
}

// resolve finds the package a meta package stands for, and its SHA-256.
func resolve(ctx context.Context, a apt, meta string) (pkg, sum string, err error) {
	deps, err := a.field(ctx, meta, "Depends")
	if err != nil {
		return "", "", err
	}
	for d := range strings.SplitSeq(deps, ",") {
		if f := strings.Fields(d); len(f) > 0 && strings.HasPrefix(f[0], "linux-image-") {
			pkg = f[0]
		}
	}
	if pkg == "" {
		return "", "", fmt.Errorf("package %s: depends on no kernel", meta)
	}
	if sum, err = a.field(ctx, pkg, "SHA256"); err == nil && len(sum) != 64 {
		err = fmt.Errorf("package %s: apt knows no SHA-256", pkg)
	}
	return pkg, sum, err
}

func (a apt) field(ctx context.Context, pkg, field string) (string, error) {
	out, err := a.command(ctx, "apt-cache", "show", "--no-all-versions", pkg).Output()
	if err != nil {
		return "", fmt.Errorf("package %s: apt-cache knows nothing of it", pkg)
	}
	for l := range strings.SplitSeq(string(out), "\n") {
		if v, ok := strings.CutPrefix(l, field+":"); ok {
			return strings.TrimSpace(v), nil
		}
	}
	return "", fmt.Errorf("package %s: no field %s", pkg, field)
}

func download(ctx context.Context, a apt, pkg, sum, dir string) error {
	tmp, err := os.MkdirTemp(filepath.Dir(dir), ".download-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	get := a.command(ctx, "apt-get", "download", "-qq", pkg)
	get.Dir = tmp
	if out, err := get.CombinedOutput(); err != nil {
		return fmt.Errorf("apt-get download %s: %w: %s", pkg, err, bytes.TrimSpace(out))
	}
	debs, _ := filepath.Glob(filepath.Join(tmp, "*.deb"))
	if len(debs) != 1 {
		return fmt.Errorf("apt-get download %s: %d files came", pkg, len(debs))
	}
	b, err := os.ReadFile(debs[0])
	if err != nil {
		return err
	}
	if got := sha256.Sum256(b); hex.EncodeToString(got[:]) != sum {
		return fmt.Errorf("%s: its SHA-256 is not the one apt told", filepath.Base(debs[0]))
	}
	tree := filepath.Join(tmp, "tree")
	if out, err := exec.CommandContext(ctx, "dpkg-deb", "-x", debs[0], tree).CombinedOutput(); err != nil {
		return fmt.Errorf("dpkg-deb -x %s: %w: %s", filepath.Base(debs[0]), err, bytes.TrimSpace(out))
	}
	if err := os.WriteFile(filepath.Join(tree, "done"), nil, 0o644); err != nil {
		return err
	}
	os.RemoveAll(dir) // half of an older attempt
	err = os.Rename(tree, dir)
	if _, statErr := os.Stat(filepath.Join(dir, "done")); statErr == nil {
		return nil // another process was quicker
	}
	return err
}

func open(name, dir string) (Kernel, error) {
	images, _ := filepath.Glob(filepath.Join(dir, "boot", "vmlinuz-*"))
	if len(images) != 1 {
		return Kernel{}, fmt.Errorf("%s: %d kernels inside; delete the folder", dir, len(images))
	}
	release := strings.TrimPrefix(filepath.Base(images[0]), "vmlinuz-")
	k := Kernel{Name: name, Release: release, Image: images[0]}
	for _, lib := range []string{"lib", "usr/lib"} {
		m := filepath.Join(dir, lib, "modules", release)
		if _, err := os.Stat(m); err == nil {
			k.Modules = m
			return k, nil
		}
	}
	return Kernel{}, fmt.Errorf("%s: no modules inside; delete the folder", dir)
}

// module is an unpacked kernel module.
type module struct {
	name string
	data []byte
}

// modules unpacks the named modules and what they depend on, in the order in which
// they must be inserted. Modules that the kernel has built in, or not at all, are left out.
func (k Kernel) modules(ctx context.Context, names ...string) ([]module, error) {
	paths := map[string]string{}
	err := filepath.WalkDir(k.Modules, func(p string, d fs.DirEntry, err error) error {
		if base, _, ok := strings.Cut(filepath.Base(p), ".ko"); ok && err == nil && !d.IsDir() {
			paths[strings.ReplaceAll(base, "-", "_")] = p
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	var out []module
	done := map[string]bool{}
	var add func(string) error
	add = func(name string) error {
		name = strings.ReplaceAll(name, "-", "_")
		p := paths[name]
		if done[name] || p == "" {
			return nil
		}
		done[name] = true
		data, err := readModule(ctx, p)
		if err != nil {
			return fmt.Errorf("module %s: %w", name, err)
		}
		deps, err := dependencies(data)
		if err != nil {
			return fmt.Errorf("module %s: %w", name, err)
		}
		for _, d := range deps {
			if err := add(d); err != nil {
				return err
			}
		}
		out = append(out, module{name, data})
		return nil
	}
	for _, n := range names {
		if err := add(n); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func readModule(ctx context.Context, path string) ([]byte, error) {
	if strings.HasSuffix(path, ".xz") {
		return exec.CommandContext(ctx, "xz", "-dc", path).Output()
	}
	return os.ReadFile(path)
}

// dependencies of a module, from its .modinfo section ("depends=a,b").
func dependencies(data []byte) ([]string, error) {
	f, err := elf.NewFile(bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	s := f.Section(".modinfo")
	if s == nil {
		return nil, errors.New("no .modinfo section")
	}
	info, err := s.Data()
	if err != nil {
		return nil, err
	}
	for field := range bytes.SplitSeq(info, []byte{0}) {
		if v, ok := bytes.CutPrefix(field, []byte("depends=")); ok && len(v) > 0 {
			return strings.Split(string(v), ","), nil
		}
	}
	return nil, nil
}

// staticBusybox is a busybox that needs no libraries.
func staticBusybox() (string, error) {
	for _, p := range []string{"/bin/busybox", "/usr/bin/busybox"} {
		f, err := elf.Open(p)
		if err != nil {
			continue
		}
		libs, _ := f.ImportedLibraries()
		f.Close()
		if len(libs) == 0 {
			return p, nil
		}
	}
	return "", errors.New("a static busybox is not installed (package busybox-static)")
}

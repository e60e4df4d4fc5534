package workloadtest

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/workload"
)

// LayeredName is the name of the image that LayeredImage makes.
const LayeredName = "bollwerk-layered:1"

// LayeredImage makes an image of three layers for `docker load` and its like, and returns
// the digests of the layers, the lowest first:
//
//	0  /bin/busybox, /bin/sh, /opt/{over,copied,gone}/busybox
//	1  /opt/high/busybox, /opt/over/busybox anew
//	2  /opt/gone is emptied, and made anew without the program
func LayeredImage(t testing.TB) ([]byte, []bollwerk.Digest) {
	t.Helper()
	busybox, err := os.ReadFile(Program(t, "busybox", "busybox-static"))
	if err != nil {
		t.Fatal(err)
	}
	program := func(dirs ...string) []byte {
		var headers []tar.Header
		files := map[string][]byte{}
		for _, d := range dirs {
			headers = append(headers, tar.Header{Name: d + "/", Mode: 0o755, Typeflag: tar.TypeDir}, tar.Header{Name: d + "/busybox", Mode: 0o755})
			files[d+"/busybox"] = busybox
		}
		if dirs[0] == "bin" {
			headers = append(headers, tar.Header{Name: "bin/sh", Linkname: "busybox", Typeflag: tar.TypeSymlink}, tar.Header{Name: "tmp/", Mode: 0o777, Typeflag: tar.TypeDir})
		}
		return archive(t, headers, files)
	}
	layers := [][]byte{
		program("bin", "opt/over", "opt/copied", "opt/gone"),
		program("opt/high", "opt/over"),
		archive(t, []tar.Header{{Name: "opt/gone/", Mode: 0o755, Typeflag: tar.TypeDir}, {Name: "opt/gone/.wh..wh..opq", Mode: 0o644}, {Name: "opt/gone/note", Mode: 0o644}}, nil),
	}
	headers, files := []tar.Header{{Name: "c.json", Mode: 0o644}}, map[string][]byte{}
	var digests []bollwerk.Digest
	var names []string
	for i, l := range layers {
		sum := sha256.Sum256(l)
		digests = append(digests, bollwerk.Digest("sha256:"+hex.EncodeToString(sum[:])))
		names = append(names, fmt.Sprintf("l%d.tar", i))
		headers, files[names[i]] = append(headers, tar.Header{Name: names[i], Mode: 0o644}), l
	}
	marshal := func(v any) []byte {
		b, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	files["c.json"] = marshal(map[string]any{"architecture": runtime.GOARCH, "os": "linux", "config": map[string]any{"Cmd": []string{"/bin/busybox", "sleep", "600"}},
		"rootfs": map[string]any{"type": "layers", "diff_ids": digests}})
	files["manifest.json"] = marshal([]map[string]any{{"Config": "c.json", "RepoTags": []string{LayeredName}, "Layers": names}})
	return archive(t, append(headers, tar.Header{Name: "manifest.json", Mode: 0o644}), files), digests
}

// Layered tries what a source says of the layers of a container of LayeredImage. pid is a
// process in it.
func Layered(t *testing.T, s workload.Source, w *bollwerk.Workload, pid uint32, digests []bollwerk.Digest) {
	t.Helper()
	l := workload.NewLayers(nil, s)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); _ = l.Run(ctx) }()
	defer func() { cancel(); <-done }()
	process := func(path string) *bollwerk.Process {
		var st unix.Stat_t
		if err := unix.Stat(fmt.Sprintf("/proc/%d/root%s", pid, path), &st); err != nil {
			t.Fatal(err)
		}
		// What the kernel's programs say of a file without an upper one.
		return &bollwerk.Process{PID: pid, Path: path, Inode: st.Ino, Device: st.Dev, Origin: bollwerk.OriginImage, Cgroup: w.Cgroup}
	}
	first := process("/bin/busybox")
	if d := l.Of(first); d != "" {
		t.Errorf("layer %s before anybody was asked", d)
	}
	began := time.Now()
	if !l.Awaits(w, first) {
		t.Fatal("not worth to be waited for")
	}
	select {
	case <-l.Told():
	case <-time.After(30 * time.Second):
		t.Fatal("no answer")
	}
	t.Logf("asked for %s", time.Since(began))
	for _, c := range []struct {
		path string
		want bollwerk.Digest
	}{
		{"/bin/busybox", digests[0]}, {"/opt/high/busybox", digests[1]}, {"/opt/over/busybox", digests[1]},
	} {
		for range 2 { // from the folders, and from memory
			if d := l.Of(process(c.path)); d != c.want {
				t.Errorf("%s: layer %q, want %s", c.path, d, c.want)
			}
		}
	}
	if l.Awaits(w, first) {
		t.Error("waited for what is known")
	}
	p := process("/bin/busybox")
	for what, change := range map[string]func(p *bollwerk.Process){
		"a file that was changed":                func(p *bollwerk.Process) { p.Origin = bollwerk.OriginModified },
		"a file made at run time":                func(p *bollwerk.Process) { p.Origin = bollwerk.OriginCreated },
		"another file of that name":              func(p *bollwerk.Process) { p.Inode++ },
		"an overlay of the container's own":      func(p *bollwerk.Process) { p.Device++ },
		"a name that no layer has":               func(p *bollwerk.Process) { p.Path = "/opt/bin/busybox" },
		"a name that climbs":                     func(p *bollwerk.Process) { p.Path = "/../diff/bin/busybox" },
		"a name that goes through a link":        func(p *bollwerk.Process) { p.Path = "/bin/sh" },
		"the name of a file that a layer covers": func(p *bollwerk.Process) { p.Path = "/opt/gone/busybox" },
	} {
		q := *p
		change(&q)
		if d := l.Of(&q); d != "" {
			t.Errorf("%s has layer %s", what, d)
		}
	}
	if n := testing.AllocsPerRun(100, func() { l.Of(p) }); n != 0 {
		t.Errorf("%v allocations for a program that is known", n)
	}
	l.Forget(w)
	if d := l.Of(&bollwerk.Process{PID: pid, Path: "/opt/high/busybox", Inode: 1, Device: p.Device, Origin: bollwerk.OriginImage, Cgroup: w.Cgroup}); d != "" {
		t.Errorf("layer %s after its end", d)
	}
}

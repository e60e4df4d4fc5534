package tracing

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/sensor"
	"github.com/bollwerk/bollwerk/sensor/sensortest"
)

func TestLayers(t *testing.T) {
	got := layers("1 0 0:1 / / rw - rootfs rootfs rw\n" +
		"22 1 0:25 / / rw,relatime shared:1 - overlay overlay rw,lowerdir=/a/l1:/a/l2,upperdir=/a/u,workdir=/a/w\n" +
		"23 22 0:26 / /srv rw - overlay overlay rw,lowerdir=/b,upperdir=/c\n")
	if want := []string{"/a/l1", "/a/l2"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	if got := layers("22 1 0:25 / / rw - overlay overlay rw,lowerdir=35/fs:34/fs\n"); len(got) != 0 {
		t.Errorf("relative folders: %q", got)
	}
	if got := layers("22 1 0:25 / / rw - overlay overlay rw,lowerdir+=/a,lowerdir+=/b\n"); !slices.Equal(got, []string{"/a", "/b"}) {
		t.Errorf("new words: %q", got)
	}
	if got := layers("22 1 0:25 / / rw - overlay overlay rw,lowerdir=/a\n30 22 8:1 / / rw - ext4 /dev/sda rw\n"); len(got) != 0 {
		t.Errorf("another root lies above: %q", got)
	}
}

// TestModeOfTheImage: what a file of the image was before its first change is known, so that a
// change of its times is none of its mode; what a file made at run time was is not, and is
// told as not known.
func TestModeOfTheImage(t *testing.T) {
	image := sensortest.Image(t, map[string]string{"usr/bin/tool": "x", "usr/bin/rights": "x", "usr/bin/other": "x"})
	for _, name := range []string{"rights", "other"} {
		if err := os.Chmod(filepath.Join(image, "usr/bin", name), 0o755|os.ModeSetuid); err != nil {
			t.Fatal(err)
		}
	}
	f := &Files{Root: tree(t)}
	l := sensortest.Watch(t, sensor.Options{}, f)
	mustSee(t, l, AreaFile)
	b := box(t, l, image, nil)
	needNames(t, l.Sensor, int(b.PID))
	await(t, "the container's programs are watched", func() bool {
		f.mu.Lock()
		defer f.mu.Unlock()
		for _, all := range f.places {
			for _, p := range all {
				if p.root.cgroup == b.Cgroup && p.path == "/usr/bin" {
					return true
				}
			}
		}
		return false
	})
	var low, up syscall.Stat_t
	if err := syscall.Stat(image, &low); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Stat(b.Upper, &up); err != nil {
		t.Fatal(err)
	}
	chmod := func(name string) func(*bollwerk.Event) bool { return fileEvent(bollwerk.EventChmod, name) }
	b.Sh(t, "touch /usr/bin/rights; chmod 700 /usr/bin/tool")
	e := l.Find(t, "chmod of a file of the image", chmod("/usr/bin/tool"))
	if low.Dev == up.Dev {
		if e.File.OldMode != 0o100755 {
			t.Errorf("the mode before was %o, want 100755", e.File.OldMode)
		}
	} else if e.File.OldMode != 0 {
		t.Errorf("layers of two file systems: the mode before was %o", e.File.OldMode)
	}
	// Another file under the name of one that had the bit in the image.
	b.Sh(t, "rm /usr/bin/other; cp /bin/busybox /usr/bin/other; chmod 4755 /usr/bin/other; cp /bin/busybox /usr/bin/made; chmod 4755 /usr/bin/made")
	for _, name := range []string{"/usr/bin/other", "/usr/bin/made"} {
		e := l.Find(t, "chmod of "+name, func(e *bollwerk.Event) bool { return chmod(name)(e) && e.File.Mode&0o4000 != 0 })
		if e.File.OldMode&0o4000 != 0 {
			t.Errorf("%s had the bit before: %o", name, e.File.OldMode)
		}
		if text, err := e.AppendJSON(nil); err != nil || e.File.OldMode == 0 && bytes.Contains(text, []byte("old_mode")) {
			t.Errorf("%v: %s", err, text)
		}
	}
	if low.Dev == up.Dev {
		if es := l.Events(chmod("/usr/bin/rights")); len(es) > 0 {
			t.Errorf("a change of times is told as one of the mode: %+v", es[0].File)
		}
	}
}

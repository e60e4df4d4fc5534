package lsm

import (
	"strings"
	"testing"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/sensor"
)

// testVolumes: a secret that is mounted has names in its own file system that say nothing; it is
// known, and held, by where it stands. So is the end of a history.
func testVolumes(t *testing.T, x *inside) {
	b := x.box(t, 0, 0, nil)
	read := func(what, script, at string) {
		t.Helper()
		out, _ := b.Sh(t, script)
		x.Find(t, what+" ("+script+": "+out+")", func(e *bollwerk.Event) bool {
			return e.Kind == bollwerk.EventOpen && e.Process != nil && e.Process.Cgroup == b.Cgroup && e.File.Access == bollwerk.AccessRead && e.File.Path == at
		})
	}
	const kubelet = `mkdir -p %; mount -t tmpfs v %; mkdir %/..2026_01_02_03_04_05.678; echo secret >%/..2026_01_02_03_04_05.678/@
		ln -s ..2026_01_02_03_04_05.678 %/..data; ln -s ..data/@ %/@; cat %/@`
	volume := func(dir, key string) string { return strings.NewReplacer("%", dir, "@", key).Replace(kubelet) }
	read("a volume of the kubelet", volume("/root/.aws", "credentials"), "/root/.aws/credentials")
	read("another", volume("/etc/openstack", "clouds.yaml"), "/etc/openstack/clouds.yaml")
	read("a token", volume("/run/secrets/kubernetes.io/serviceaccount", "token"), "/run/secrets/kubernetes.io/serviceaccount/token")
	// One key of it alone (subPath), and one under another name (a secret of Docker).
	read("a subPath", `mkdir -p /root/.docker; : >/root/.docker/config.json; `+volume("/vol", "config.json")+`;
		mount -o bind /vol/..data/config.json /root/.docker/config.json; cat /root/.docker/config.json`, "/root/.docker/config.json")
	read("a file mounted alone", `echo k >/srv-key; : >/root/.netrc; mount -o bind /srv-key /root/.netrc; cat /root/.netrc`, "/root/.netrc")
	// The same names where nothing of that kind is mounted are none.
	b.Sh(t, volume("/srv/app", "credentials")+"; echo x >/plain; : >/other; mount -o bind /plain /other; cat /other")
	b.Sh(t, "ln -s /dev/null /root/.ksh_history; : >/root/.history; rm /root/.history")
	for name, kind := range map[string]bollwerk.EventKind{"/root/.ksh_history": bollwerk.EventSymlink, "/root/.history": bollwerk.EventUnlink} {
		x.Find(t, name, func(e *bollwerk.Event) bool {
			return e.Kind == kind && e.File.Path == name && e.Process.Cgroup == b.Cgroup
		})
	}
	for _, e := range x.Events(func(e *bollwerk.Event) bool { return e.Kind == bollwerk.EventOpen && e.Process.Cgroup == b.Cgroup }) {
		if e.File.Access == bollwerk.AccessRead && (strings.HasPrefix(e.File.Path, "/srv/app") || e.File.Path == "/other") {
			t.Errorf("%s is told as a secret", e.File.Path)
		}
	}
	b = x.box(t, sensor.GuardRead, 0, nil)
	works(t, b, strings.ReplaceAll(volume("/root/.aws", "credentials"), "; cat ", "; ls "))
	x.refused(t, b, "cat /root/.aws/credentials", bollwerk.EventOpen, "read", path("/root/.aws/credentials"))
}

// testDetached: a mount that stands nowhere is told, and refused, like one at a place.
func testDetached(t *testing.T, x *inside) {
	without := false
	for _, r := range x.Sensor.Capabilities() {
		without = without || r.Area == "mount" && strings.Contains(r.Cause, detachedUnseen)
	}
	b := x.box(t, 0, 0, nil)
	for _, c := range []struct{ helper, source, kind string }{{"open-tree:/etc", "/etc", ""}, {"fsmount:evil", "evil", "tmpfs"}} {
		out, _ := b.Sh(t, "LSM_HELPER="+c.helper+" helper")
		if !strings.Contains(out, "<nil>") {
			t.Fatalf("%s: %s", c.helper, out)
		}
		if !without {
			x.Find(t, c.helper, func(e *bollwerk.Event) bool {
				return e.Kind == bollwerk.EventMount && e.Process.Cgroup == b.Cgroup && e.Mount.Source == c.source && e.Mount.Type == c.kind && e.Mount.Target == ""
			})
		}
	}
	if without {
		t.Log("this kernel cannot, and the product says so: " + detachedUnseen)
		return
	}
	b = x.box(t, sensor.GuardMount, 0, nil)
	for _, c := range []string{"open-tree:/etc", "fsmount:evil"} {
		x.refused(t, b, "LSM_HELPER="+c+" helper | grep -q nil", bollwerk.EventMount, "mount", nil)
	}
}

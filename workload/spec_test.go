package workload

import (
	"strings"
	"testing"
)

func TestParseSpec(t *testing.T) {
	s, err := ParseSpec([]byte(`{"process":{"args":["nginx"],"capabilities":{"bounding":["CAP_SYS_ADMIN"]}},
"mounts":[{"destination":"/proc","type":"proc","source":"proc"},{"destination":"/data","type":"bind","source":"/srv","options":["rbind","ro","nosuid"]},{"destination":"/run","type":"tmpfs","source":"tmpfs"},{"destination":"/sock","source":"/run/docker.sock","options":["bind"]}],
"linux":{"cgroupsPath":"/docker/x","namespaces":[{"type":"pid"},{"type":"network","path":"/proc/1/ns/net"}],"resources":{"devices":[{"allow":false,"access":"rwm"},{"allow":true,"access":"rwm"}]}}}`))
	c := s.Container
	if err != nil || !c.Privileged || c.HostPID || !c.HostNetwork || s.CgroupPath != "/docker/x" || len(c.Mounts) != 2 || c.Mounts[0].Target != "/data" ||
		c.Mounts[0].Flags != 1|2|4096|16384 || c.Mounts[1].Type != "bind" {
		t.Errorf("%+v, %v", s, err)
	}
	for _, changed := range []string{
		`{"process":{"capabilities":{"bounding":["CAP_CHOWN"]}},"linux":{"resources":{"devices":[{"allow":true}]}}}`,
		`{"process":{"capabilities":{"bounding":["CAP_SYS_ADMIN"]}},"linux":{"maskedPaths":["/proc/kcore"],"resources":{"devices":[{"allow":true}]}}}`,
		`{"process":{"capabilities":{"bounding":["CAP_SYS_ADMIN"]}},"linux":{"resources":{"devices":[{"allow":true},{"allow":false}]}}}`,
		`{"process":{"capabilities":{"bounding":["CAP_SYS_ADMIN"]}},"linux":{"resources":{"devices":[{"allow":true,"type":"c","major":1}]}}}`,
		`{"process":{"capabilities":{"bounding":["CAP_SYS_ADMIN"]}}}`,
	} {
		if s, err := ParseSpec([]byte(changed)); err != nil || s.Container.Privileged {
			t.Errorf("%s: %+v, %v", changed, s.Container, err)
		}
	}
	for _, bad := range []string{"", "{", "[]", `{"linux":7}`, strings.Repeat(`{"a":`, 20000)} {
		if _, err := ParseSpec([]byte(bad)); err == nil {
			t.Errorf("%.20q is a specification", bad)
		}
	}
}

func TestExpandCgroup(t *testing.T) {
	for in, want := range map[string]string{
		"/docker/x": "/docker/x", "": "", "x": "", "a:b": "",
		"kubepods-burstable-podx.slice:cri-containerd:id": "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-podx.slice/cri-containerd-id.scope",
		":runc:x":                       "/system.slice/runc-x.scope",
		"system.slice::x":               "/system.slice/x.scope",
		"machine.slice:libpod:a":        "/machine.slice/libpod-a.scope",
		"-.slice:docker:x":              "/docker-x.scope",
		"a/../b.slice:docker:x":         "",
		"/docker/../../etc":             "/etc",
		"user.slice:libpod_pod:z.slice": "/user.slice/z.slice",
	} {
		if got := expandCgroup(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

func TestBound(t *testing.T) {
	var f Found
	f.Container.Labels = map[string]string{}
	for i := range 1000 {
		f.Container.Labels[strings.Repeat("k", i%600)+string(rune('a'+i%26))+strings.Repeat("x", i/26)] = strings.Repeat("v", 10000)
	}
	f.Container.Name = strings.Repeat("n", 1<<20)
	f.Container.Entrypoint = make([]string, 10000)
	f.Container.Entrypoint[0] = strings.Repeat("a", 1<<20)
	f.Bound()
	size := 0
	for k, v := range f.Container.Labels {
		size += len(k) + len(v)
	}
	if len(f.Container.Labels) != maxLabels || size > maxLabels*maxLabelBytes || len(f.Container.Name) != maxName || len(f.Container.Entrypoint) != maxArgs || len(f.Container.Entrypoint[0]) != maxArgBytes {
		t.Errorf("%d labels of %d bytes, name %d, args %d", len(f.Container.Labels), size, len(f.Container.Name), len(f.Container.Entrypoint))
	}
}

func FuzzSpec(f *testing.F) {
	f.Add([]byte(`{"process":{"args":["a"]},"mounts":[{"destination":"/d","source":"/s","options":["ro"]}],"annotations":{"io.kubernetes.cri.container-type":"sandbox"},"linux":{"cgroupsPath":"a-b.slice:c:d","namespaces":[{"type":"pid","path":"/proc/1/ns/pid"}]}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := ParseSpec(b)
		if err != nil {
			return
		}
		if len(s.Container.Mounts) > maxMounts || len(s.Container.Entrypoint) > maxArgs || len(s.CgroupPath) > maxPath {
			t.Error("not bounded")
		}
		if s.CgroupPath != "" && (s.CgroupPath[0] != '/' || strings.Contains(s.CgroupPath, "/../")) {
			t.Errorf("cgroup %q", s.CgroupPath)
		}
	})
}

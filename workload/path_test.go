package workload

import (
	"strings"
	"testing"
)

const (
	hexA = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
	hexB = "fedcba9876543210fedcba9876543210fedcba9876543210fedcba9876543210"
	uidA = "8a3bcdef-0123-4567-89ab-0123456789ab"
)

func TestParsePath(t *testing.T) {
	under := strings.ReplaceAll(uidA, "-", "_")
	for _, c := range []struct {
		path string
		want string // "runtime id pod" per container, then "unit x"
		at   string // cgroup of the outermost container or of the unit
	}{
		{"/", "", ""},
		{"", "", ""},
		{"/docker/" + hexA, "docker " + hexA, "/docker/" + hexA},
		{"/docker/" + hexA + "/init/deeper", "docker " + hexA, "/docker/" + hexA},
		{"/system.slice/docker-" + hexA + ".scope", "docker " + hexA, "/system.slice/docker-" + hexA + ".scope"},
		{"/kubepods/burstable/pod" + uidA + "/" + hexA, " " + hexA + " " + uidA, "/kubepods/burstable/pod" + uidA + "/" + hexA},
		{"/kubepods/pod0123456789abcdef0123456789abcdef/" + hexA, " " + hexA + " 0123456789abcdef0123456789abcdef", ""},
		{"/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod" + under + ".slice/cri-containerd-" + hexA + ".scope", "containerd " + hexA + " " + uidA, ""},
		{"/kubepods.slice/kubepods-pod" + under + ".slice/crio-" + hexA + ".scope/container", "cri-o " + hexA + " " + uidA, ""},
		{"/kubepods.slice/kubepods-pod" + under + ".slice/crio-conmon-" + hexA + ".scope", "unit crio-conmon.scope", ""},
		{"/kubepods/besteffort/pod" + uidA + "/crio-" + hexA, "cri-o " + hexA + " " + uidA, ""},
		{"/kubepods-burstable-pod" + under + ".slice:cri-containerd:" + hexA, "containerd " + hexA + " " + uidA, ""},
		{"/system.slice/containerd.service/kubepods-burstable-pod" + under + ".slice:cri-containerd:" + hexA, "containerd " + hexA + " " + uidA + " unit containerd.service", ""},
		{"/../../kubepods/pod" + uidA + "/" + hexA, " " + hexA + " " + uidA, ""},
		{"/machine.slice/libpod-" + hexA + ".scope/container", "podman " + hexA, "/machine.slice/libpod-" + hexA + ".scope"},
		{"/machine.slice/libpod-conmon-" + hexA + ".scope", "unit libpod-conmon.scope", ""},
		{"/machine.slice/machine-libpod_pod_" + hexB + ".slice/libpod-" + hexA + ".scope", "podman " + hexA, ""},
		{"/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-" + hexA + ".scope/container", "podman " + hexA + " unit user@1000.service", ""},
		{"/libpod_parent/libpod-" + hexA, "podman " + hexA, ""},
		{"/libpod_parent/" + hexB + "/libpod-" + hexA, "podman " + hexA, ""},
		{"/lxc/web/system.slice/nginx.service", "lxc web", "/lxc/web"},
		{"/lxc.payload.web/init.scope", "lxc web", "/lxc.payload.web"},
		{"/lxc.payload/web", "lxc web", ""},
		{"/lxc.monitor.web", "", ""},
		{"/machine.slice/systemd-nspawn@build\\x2d1.service/payload/system.slice/cron.service", "systemd-nspawn build-1", ""},
		{"/machine.slice/machine-deb\\x2d12.scope", "systemd-nspawn deb-12", ""},
		{"/machine.slice/machine-qemu\\x2d1\\x2dvm.scope", "unit machine-qemu\\x2d1\\x2dvm.scope", ""},
		{"/docker/buildkit/abcdefghijklmnopqrstuvwxy", "buildkit abcdefghijklmnopqrstuvwxy", ""},
		{"/docker/" + hexA + "/docker/" + hexB, "docker " + hexA + " docker " + hexB, "/docker/" + hexA},
		{"/docker/" + hexA + "/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-pod" + under + ".slice/cri-containerd-" + hexB + ".scope",
			"docker " + hexA + " containerd " + hexB + " " + uidA, ""},
		{"/ecs/task/" + hexA, " " + hexA, ""},
		{"/system.slice/runc-web.scope", "runc web", ""},
		{"/default/nerdctl-" + hexA + ".scope", "containerd " + hexA, ""},
		{"/system.slice/nginx.service", "unit nginx.service", "/system.slice/nginx.service"},
		{"/system.slice/nginx.service/worker/sshd.service", "unit nginx.service", "/system.slice/nginx.service"},
		{"/system.slice/system-getty.slice/getty@tty1.service", "unit getty@tty1.service", ""},
		{"/init.scope", "unit init.scope", ""},
		{"/user.slice/user-1000.slice/session-3.scope", "unit user-1000.slice", ""},
		{"/user.slice/user-1000.slice/user@1000.service/app.slice/sshd.service", "unit user@1000.service/sshd.service", ""},
		{"/user.slice/user-1000.slice/user@1000.service/app.slice/app-gnome-firefox-7.scope", "unit user@1000.service", "/user.slice/user-1000.slice/user@1000.service"},
		{"/system.slice/run-r0123456789abcdef0123456789abcdef.scope", "unit system.slice", ""},
		{"/system.slice/run-u77.service", "unit system.slice", ""},
		{"/system.slice/run-parts.service", "unit run-parts.service", ""},
		{"/kubepods/podnot-a-uid/x", "", ""},
		{"/docker/" + hexA[:63], "", ""},
		{"/docker/" + strings.ToUpper(hexA), "", ""},
		{"/runc-../x", "", ""},
	} {
		p := ParsePath(c.path)
		var got []string
		at := ""
		if p.Unit != "" {
			at = c.path[:p.UnitEnd]
		}
		for i, n := range p.Containers {
			s := n.Runtime + " " + n.ID
			if n.PodUID != "" {
				s += " " + n.PodUID
			}
			got = append(got, s)
			if i == 0 {
				at = c.path[:n.End]
			}
		}
		if p.Unit != "" {
			got = append(got, "unit "+p.Unit)
		}
		if s := strings.Join(got, " "); s != c.want {
			t.Errorf("%s\n got %q\nwant %q", c.path, s, c.want)
		}
		if c.at != "" && at != c.at {
			t.Errorf("%s begins at %s, want %s", c.path, at, c.at)
		}
	}
}

func FuzzParsePath(f *testing.F) {
	f.Add("/docker/" + hexA + "/docker/" + hexB)
	f.Add("/kubepods.slice/kubepods-pod" + strings.ReplaceAll(uidA, "-", "_") + ".slice/cri-containerd-" + hexA + ".scope")
	f.Add("/../..//user.slice/user-1000.slice/user@1000.service/app.slice/app-x\\x2d.scope")
	f.Add("/machine.slice/machine-a\\x2d\\x2.scope")
	f.Add("/a.slice:cri-containerd:" + hexA)
	f.Fuzz(func(t *testing.T, path string) {
		p := ParsePath(path)
		end := 0
		if len(p.Containers) > maxNested {
			t.Fatalf("%d containers", len(p.Containers))
		}
		for _, c := range p.Containers {
			if c.ID == "" || strings.Contains(c.ID, "/") && !c.Final {
				t.Fatalf("id %q", c.ID)
			}
			if !c.Final && !ValidID(c.ID) {
				t.Fatalf("id %q would be used as the name of a file", c.ID)
			}
			if c.End <= end || c.End > len(path) {
				t.Fatalf("end %d after %d of %d", c.End, end, len(path))
			}
			end = c.End
		}
		if p.UnitEnd > len(path) || (p.Unit == "") != (p.UnitEnd == 0) {
			t.Fatalf("unit %q ends at %d", p.Unit, p.UnitEnd)
		}
	})
}

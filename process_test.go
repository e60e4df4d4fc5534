package bollwerk

import (
	"strings"
	"testing"
)

func TestOfRuntime(t *testing.T) {
	const box = 7
	shim := &Process{PID: 1, Cgroup: 1, Origin: OriginHost, Path: "/usr/bin/runc"}
	sealed := &Process{PID: 2, Cgroup: box, Origin: OriginMemory, Path: "memfd:runc_cloned:/proc/self/exe", Inode: 3, Device: 1, Parent: shim}
	first := &Process{PID: 4, Cgroup: box, Origin: OriginImage, Path: "/bin/sh", Contained: true, Parent: shim}
	// crun seals itself before it enters the cgroup.
	outside := &Process{PID: 5, Cgroup: 1, Origin: OriginMemory, Inode: 9, Device: 1, Parent: shim}
	for _, c := range []struct {
		what string
		p    *Process
		want bool
	}{
		{"nobody", nil, false},
		{"runc init", &Process{Cgroup: box, Origin: OriginHost, Parent: shim}, true},
		{"runc init in its namespaces", &Process{Cgroup: box, Origin: OriginHost, Contained: true, Parent: shim}, true},
		{"its sealed copy", sealed, true},
		{"forked from the sealed copy, in its namespaces", &Process{Cgroup: box, Origin: OriginMemory, Inode: 3, Device: 1, Contained: true, Parent: sealed}, true},
		{"forked from a sealed copy outside", &Process{Cgroup: box, Origin: OriginMemory, Inode: 9, Device: 1, Contained: true, Parent: outside}, true},
		{"the container's program", first, false},
		{"a program without a file, by the container's program", &Process{Cgroup: box, Origin: OriginMemory, Inode: 11, Device: 1, Contained: true, Parent: first}, false},
		{"the same on the host's side", &Process{Cgroup: box, Origin: OriginMemory, Inode: 11, Device: 1, Parent: first}, false},
		{"the container's program became one without a file", &Process{Cgroup: box, Origin: OriginMemory, Inode: 11, Device: 1, Contained: true, Parent: shim}, false},
		{"another one by the sealed copy's child", &Process{Cgroup: box, Origin: OriginMemory, Inode: 11, Device: 1, Contained: true, Parent: sealed}, false},
		{"a host's program by the container's", &Process{Cgroup: box, Origin: OriginHost, Parent: first}, false},
		{"without a parent", &Process{Cgroup: box, Origin: OriginMemory, Inode: 3, Device: 1}, false},
		{"by a container in which containers are made", &Process{Cgroup: box, Origin: OriginMemory, Inode: 11, Parent: &Process{Cgroup: 8, Origin: OriginImage, Contained: true}}, false},
	} {
		if got := c.p.OfRuntime(); got != c.want {
			t.Errorf("%s: %v", c.what, got)
		}
	}
}

func TestTold(t *testing.T) {
	for args, want := range map[string]string{
		"python3 -u /srv/app.py --port 80": "/srv/app.py", "sh": "", "sh -c ls": "", "perl -e print x.pl": "", "php -r x y.php": "",
		"python3 -m http.server 80": "module http", "python3 -m": "", "sh - x": "x", "sh  x": "", "bash -x -e run.sh": "", "bash -x run.sh": "run.sh",
		"": "", "awk -1 -2 -3 -4 -5 -6 -7 late": "",
	} {
		file, module := (&Process{Args: strings.Split(args, " ")}).Told()
		got := file
		if module != "" {
			got = "module " + module
		}
		if got != want || file != "" && module != "" {
			t.Errorf("%q: %q, %q, want %q", args, file, module, want)
		}
	}
	if file, _ := (&Process{Script: "/s", Args: []string{"sh", "x"}}).Told(); file != "/s" {
		t.Errorf("%q", file)
	}
	if file, module := (*Process)(nil).Told(); file+module != "" {
		t.Errorf("%q, %q", file, module)
	}
}

package binary

import (
	"bufio"
	"bytes"
	"context"
	"strings"

	"golang.org/x/mod/semver"
)

// The container stack is written in Go, and is built with -trimpath and stripped:
// the build information then has neither the main module's version nor the linker
// flags that set it. But a string set with -X is laid out by the linker as a
// NUL-terminated constant of its own, while ordinary Go strings stand back to back
// without terminators; so a constant that is a version and nothing else is, in
// these programs, the version. (Go: cmd/link/internal/ld/data.go, addstrdata.)

// stack are the main modules whose version matters even if they do not tell it.
var stack = map[string]bool{
	"k8s.io/kubernetes": true, "github.com/containerd/containerd": true, "github.com/containerd/containerd/v2": true,
	"github.com/opencontainers/runc": true, "github.com/cri-o/cri-o": true, "github.com/docker/docker": true,
	"github.com/moby/moby": true, "github.com/moby/moby/v2": true, "github.com/docker/cli": true,
	"go.etcd.io/etcd/server/v3": true, "go.etcd.io/etcd/v3": true, "go.etcd.io/etcd/etcdctl/v3": true,
	"github.com/containers/podman/v5": true, "github.com/containers/podman/v4": true, "github.com/containers/buildah": true,
	"github.com/coredns/coredns": true, "github.com/moby/buildkit": true, "github.com/rancher/k3s": true,
	"github.com/k3s-io/k3s": true, "github.com/kubernetes-sigs/cri-tools": true, "sigs.k8s.io/cri-tools": true,
}

// stackNames are programs of the stack by base name, with the module they are
// built from when the program does not say (dockerd up to 28 is built without
// modules).
var stackNames = map[string]string{
	"kubelet": "k8s.io/kubernetes", "kubeadm": "k8s.io/kubernetes", "kubectl": "k8s.io/kubernetes",
	"hyperkube": "k8s.io/kubernetes", "kube-apiserver": "k8s.io/kubernetes", "kube-scheduler": "k8s.io/kubernetes",
	"kube-controller-manager": "k8s.io/kubernetes", "kube-proxy": "k8s.io/kubernetes",
	"containerd": "github.com/containerd/containerd", "ctr": "github.com/containerd/containerd",
	"containerd-shim-runc-v2": "github.com/containerd/containerd",
	"runc":                    "github.com/opencontainers/runc", "crio": "github.com/cri-o/cri-o",
	"dockerd": "github.com/docker/docker", "docker": "github.com/docker/cli", "docker-proxy": "github.com/docker/docker",
	"etcd": "go.etcd.io/etcd/server/v3", "etcdctl": "go.etcd.io/etcd/etcdctl/v3",
	"podman": "", "buildah": "", "coredns": "github.com/coredns/coredns", "buildkitd": "github.com/moby/buildkit",
	"k3s": "github.com/k3s-io/k3s", "crictl": "sigs.k8s.io/cri-tools",
}

// stackModule returns the module that a program of that name is built from.
func stackModule(base string) (module string, ok bool) {
	if m, ok := stackNames[base]; ok {
		return m, true
	}
	if strings.HasPrefix(base, "kubectl.") || strings.HasPrefix(base, "kubectl-1.") {
		return "k8s.io/kubernetes", true
	}
	return "", false
}

// constants collects versions that stand as constants of their own.
type constants struct {
	count map[string]int
	order []string
}

// look takes a window of the file; windows may overlap.
func (c *constants) look(w []byte) {
	for from := 0; ; {
		// Every version has a dot; look around each dot between two NULs.
		i := bytes.IndexByte(w[from:], '.')
		if i < 0 {
			return
		}
		i += from
		from = i + 1
		if i == 0 || w[i-1] < '0' || w[i-1] > '9' {
			continue
		}
		b := i
		for b > 0 && i-b < 8 && w[b-1] != 0 {
			b--
		}
		if b == 0 || w[b-1] != 0 {
			continue
		}
		e := i
		for e < len(w) && e-b < 48 && w[e] != 0 {
			e++
		}
		if e >= len(w) || w[e] != 0 {
			continue
		}
		v := canonical(string(w[b:e]))
		if v == "" {
			continue
		}
		if c.count == nil {
			c.count = map[string]int{}
		}
		if c.count[v] == 0 {
			if len(c.order) >= 64 {
				continue
			}
			c.order = append(c.order, v)
		}
		c.count[v]++
		from = e
	}
}

// best is the version seen most often, the first of several.
func (c *constants) best() string {
	best := ""
	for _, v := range c.order {
		if best == "" || c.count[v] > c.count[best] {
			best = v
		}
	}
	return best
}

// canonical accepts "v1.27.16", "24.0.7", "1.6.20~ds1" and gives the form of a Go
// module version. What a distribution adds behind ~ or + is cut: advisories for
// the module do not know it.
func canonical(s string) string {
	s = strings.TrimPrefix(s, "v")
	if i := strings.IndexAny(s, "~+"); i > 0 {
		s = s[:i]
	}
	v := "v" + s
	if strings.Count(s, ".") < 2 || !semver.IsValid(v) || v == "v0.0.0" || strings.HasPrefix(v, "v0.0.0-") {
		return ""
	}
	return v
}

func findConstant(br *bufio.Reader) string {
	var c constants
	// The only errors are those of the reader, for which its owner cares.
	_ = scan(context.Background(), br, func(w []byte) (int, bool) {
		c.look(w)
		return 0, false
	})
	return c.best()
}

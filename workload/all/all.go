// Package all lists the sources of workloads that this module has, in order of trust:
// where two know a container, the engine's word goes before that of the runtime below.
package all

import (
	"github.com/bollwerk/bollwerk/workload"
	"github.com/bollwerk/bollwerk/workload/containerd"
	"github.com/bollwerk/bollwerk/workload/crio"
	"github.com/bollwerk/bollwerk/workload/docker"
	"github.com/bollwerk/bollwerk/workload/kubernetes"
	"github.com/bollwerk/bollwerk/workload/podman"
	"github.com/bollwerk/bollwerk/workload/runc"
)

// Config of all sources. The zero value looks in the usual places of the host, and asks
// no Kubernetes.
type Config struct {
	Docker     docker.Config
	CRIO       crio.Config
	Podman     podman.Config
	Containerd containerd.Config
	Runc       runc.Config
	Kubernetes kubernetes.Config
}

// Host is the Config that looks below root ("/host") instead of "/": the agent runs in
// a container and the host's file system is mounted there.
func Host(root string) Config {
	return Config{
		Docker: docker.Config{Root: root}, CRIO: crio.Config{Root: root}, Podman: podman.Config{Root: root},
		Containerd: containerd.Config{Root: root}, Runc: runc.Config{Root: root},
	}
}

// Sources makes them all. What is not on this machine says so when it is asked.
func Sources(c Config) ([]workload.Source, error) {
	out := []workload.Source{docker.New(c.Docker), crio.New(c.CRIO), podman.New(c.Podman), containerd.New(c.Containerd), runc.New(c.Runc)}
	if c.Kubernetes.Kubelet != "" || c.Kubernetes.API != "" {
		k, err := kubernetes.New(c.Kubernetes)
		if err != nil {
			return nil, err
		}
		out = append(out, k)
	}
	return out, nil
}

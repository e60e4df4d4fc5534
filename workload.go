package bollwerk

import (
	"strings"
	"time"
)

// WorkloadKind says what a process belongs to.
type WorkloadKind string

const (
	WorkloadContainer WorkloadKind = "container"
	WorkloadUnit      WorkloadKind = "unit" // a systemd service or scope of the host
	WorkloadHost      WorkloadKind = "host" // a plain process of the host
)

// Workload is what protects, learns and reports as one: a container (of a pod), a
// unit, or the host itself.
type Workload struct {
	Kind WorkloadKind `json:"kind"`
	// Cgroup is the id of the cgroup at which the workload begins.
	Cgroup    uint64     `json:"cgroup,omitempty"`
	Container *Container `json:"container,omitempty"`
	Pod       *Pod       `json:"pod,omitempty"`
	Unit      string     `json:"unit,omitempty"` // "nginx.service"
	Node      string     `json:"node,omitempty"`
	// Unresolved says why the identity is less than it should be ("the container
	// was gone before its runtime could be asked"); "" when it is complete.
	Unresolved string `json:"unresolved,omitempty"`
}

// UnknownRuntime is the runtime of a container that nothing on the node names.
const UnknownRuntime = "unknown"

// Container is what the runtime tells.
type Container struct {
	ID      string `json:"id"`
	Name    string `json:"name,omitempty"`
	Runtime string `json:"runtime,omitempty"` // containerd, cri-o, docker, podman, runc, unknown
	// Owner is what replicas of it have in common, as who runs them says: "shop/web" of
	// Compose, "shop_web" of Swarm, "shop/web/app" of Nomad; "" when it stands alone.
	Owner   string            `json:"owner,omitempty"`
	Image   string            `json:"image,omitempty"`
	Digest  Digest            `json:"digest,omitempty"` // of the image, as the runtime knows it
	Labels  map[string]string `json:"labels,omitempty"`
	Started time.Time         `json:"started,omitzero"`
	// PID of the container's first process, host view.
	PID uint32 `json:"pid,omitempty"`
	// Privileged, HostPID, HostNetwork: how little it is contained.
	Privileged  bool     `json:"privileged,omitempty"`
	HostPID     bool     `json:"host_pid,omitempty"`
	HostNetwork bool     `json:"host_network,omitempty"`
	Entrypoint  []string `json:"entrypoint,omitempty"` // what it was told to run
	Ports       []uint16 `json:"ports,omitempty"`      // declared
	Mounts      []Mount  `json:"mounts,omitempty"`     // declared
}

// Pod is what Kubernetes tells.
type Pod struct {
	Namespace      string            `json:"namespace"`
	Name           string            `json:"name"`
	UID            string            `json:"uid,omitempty"`
	Container      string            `json:"container,omitempty"`  // name in the pod
	OwnerKind      string            `json:"owner_kind,omitempty"` // Deployment, StatefulSet, …
	OwnerName      string            `json:"owner_name,omitempty"`
	ServiceAccount string            `json:"service_account,omitempty"`
	Labels         map[string]string `json:"labels,omitempty"`
	// Sandbox is the pause container.
	Sandbox bool `json:"sandbox,omitempty"`
}

// Key names what one profile is learned for: owner, container and image. Replicas
// share it; a new image has a new one.
//
//	pod shop/Deployment/cart/app@sha256:ab…   container docker/web@sha256:ab…   unit nginx.service   host
//	container docker/shop/web@sha256:ab… (service web of the Compose project shop)
func (w *Workload) Key() string {
	if w == nil {
		return "host"
	}
	image := ""
	if c := w.Container; c != nil {
		switch {
		case c.Digest != "":
			image = "@" + string(c.Digest)
		case c.Image != "":
			image = "@" + c.Image
		}
	}
	switch {
	case w.Pod != nil:
		return "pod " + w.Pod.owner() + "/" + w.Pod.Container + image
	case w.Container != nil:
		name := w.Container.Owner
		if name == "" {
			name = w.Container.Name
		}
		if name == "" {
			name = w.Container.ID
		}
		return "container " + w.Container.Runtime + "/" + name + image
	case w.Unit != "":
		return "unit " + w.Unit
	}
	return "host"
}

func (p *Pod) owner() string {
	if p.OwnerName == "" {
		return strings.Join([]string{p.Namespace, "Pod", p.Name}, "/")
	}
	return strings.Join([]string{p.Namespace, p.OwnerKind, p.OwnerName}, "/")
}

// String names the workload for people: "shop/cart-5d9/app", "docker web (nginx:1.27)", "nginx.service", "host".
func (w *Workload) String() string {
	if w == nil {
		return "host"
	}
	switch {
	case w.Pod != nil:
		return w.Pod.Namespace + "/" + w.Pod.Name + "/" + w.Pod.Container
	case w.Container != nil:
		c := w.Container
		name := c.Name
		if name == "" {
			name = c.ID
			if len(name) > 12 {
				name = name[:12]
			}
		}
		if c.Image != "" {
			name += " (" + c.Image + ")"
		}
		return name
	case w.Unit != "":
		return w.Unit
	}
	return "host"
}

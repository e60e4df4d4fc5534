package workload

import (
	"time"

	"github.com/bollwerk/bollwerk"
)

// record is what all sources said of one container.
type record struct {
	found []*Found // by index of the source, nil: nothing
	seen  time.Time
	gone  time.Time
	asked bool // prefetch was begun
}

func (rec *record) id() string {
	for _, f := range rec.found {
		if f != nil && f.Container.ID != "" {
			return f.Container.ID
		}
	}
	return ""
}

func (rec *record) runtime() string {
	for _, f := range rec.found {
		if f != nil && f.Container.Runtime != "" {
			return f.Container.Runtime
		}
	}
	return ""
}

func (rec *record) pod() *bollwerk.Pod {
	var p *bollwerk.Pod
	if rec != nil {
		for _, f := range rec.found {
			if f != nil {
				p = fillPod(p, f.Pod)
			}
		}
	}
	return p
}

// has reports whether a source of this part spoke.
func (rec *record) has(p Part, sources []*sourceState) bool {
	if rec == nil {
		return false
	}
	for i, f := range rec.found {
		if f != nil && sources[i].Part() == p {
			return true
		}
	}
	return false
}

// fillContainer adds to c what it does not have yet.
func fillContainer(c, f *bollwerk.Container) {
	if c.Name == "" {
		c.Name = f.Name
	}
	if c.Image == "" {
		c.Image = f.Image
	}
	if c.Digest == "" {
		c.Digest = f.Digest
	}
	if len(c.Labels) == 0 {
		c.Labels = f.Labels
	}
	if c.Started.IsZero() {
		c.Started = f.Started
	}
	if c.PID == 0 {
		c.PID = f.PID
	}
	c.Privileged = c.Privileged || f.Privileged
	c.HostPID = c.HostPID || f.HostPID
	c.HostNetwork = c.HostNetwork || f.HostNetwork
	if len(c.Entrypoint) == 0 {
		c.Entrypoint = f.Entrypoint
	}
	if len(c.Ports) == 0 {
		c.Ports = f.Ports
	}
	if len(c.Mounts) == 0 {
		c.Mounts = f.Mounts
	}
}

func fillPod(p, f *bollwerk.Pod) *bollwerk.Pod {
	if f == nil {
		return p
	}
	var q bollwerk.Pod
	if p != nil {
		q = *p
	}
	for _, s := range [...]struct{ to, from *string }{
		{&q.Namespace, &f.Namespace}, {&q.Name, &f.Name}, {&q.UID, &f.UID}, {&q.Container, &f.Container},
		{&q.ServiceAccount, &f.ServiceAccount},
	} {
		if *s.to == "" {
			*s.to = *s.from
		}
	}
	if q.OwnerName == "" {
		q.OwnerKind, q.OwnerName = f.OwnerKind, f.OwnerName
	}
	if len(q.Labels) == 0 {
		q.Labels = f.Labels
	}
	q.Sandbox = q.Sandbox || f.Sandbox
	return &q
}

package sensor

import (
	"context"

	"github.com/bollwerk/bollwerk"
)

// ContainerWatcher is a Source that looks into containers from outside (marks on their
// files) and so must be told when one comes and goes.
type ContainerWatcher interface {
	// Container tells that a container began (its Container.PID runs) or ended. It
	// returns soon and may be called from several goroutines.
	Container(w *bollwerk.Workload, began bool)
}

// Follower is a ContainerWatcher that looks into a container after Container has returned.
type Follower interface {
	// Followed returns when it has looked into all that it was told of before, or the
	// context ends. Wants Run to run.
	Followed(ctx context.Context)
}

// Followed returns when all sources look into the containers that were passed on before,
// or the context ends.
func (s *Sensor) Followed(ctx context.Context) {
	for _, src := range s.sources {
		if f, ok := src.(Follower); ok {
			f.Followed(ctx)
		}
	}
}

// Container passes the word on to the sources that want it.
func (s *Sensor) Container(w *bollwerk.Workload, began bool) {
	for _, src := range s.sources {
		if c, ok := src.(ContainerWatcher); ok {
			c.Container(w, began)
		}
	}
}

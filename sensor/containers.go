package sensor

import "github.com/bollwerk/bollwerk"

// ContainerWatcher is a Source that looks into containers from outside (marks on their
// files) and so must be told when one comes and goes.
type ContainerWatcher interface {
	// Container tells that a container began (its Container.PID runs) or ended. It
	// returns soon and may be called from several goroutines.
	Container(w *bollwerk.Workload, began bool)
}

// Container passes the word on to the sources that want it.
func (s *Sensor) Container(w *bollwerk.Workload, began bool) {
	for _, src := range s.sources {
		if c, ok := src.(ContainerWatcher); ok {
			c.Container(w, began)
		}
	}
}

package agent

import (
	"context"
	"sync"
)

// following are containers that sources were told of and have not looked into yet.
type following struct {
	mu   sync.Mutex
	list []*known
	wake chan struct{}
}

func newFollowing() *following { return &following{wake: make(chan struct{}, 1)} }

func (f *following) add(k *known) {
	f.mu.Lock()
	f.list = append(f.list, k)
	f.mu.Unlock()
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

// follow notes of which containers the files are watched, so that nobody is told that they
// are while they are about to be.
func (a *Agent) follow(ctx context.Context) error {
	f := a.following
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-f.wake:
		}
		f.mu.Lock()
		list := f.list
		f.list = nil
		f.mu.Unlock()
		for looked := false; !looked && ctx.Err() == nil; {
			looking, enough := context.WithTimeout(ctx, lookTime)
			a.sensor.Followed(looking)
			looked = looking.Err() == nil
			enough()
		}
		a.mu.Lock()
		for _, k := range list {
			k.watched = true
			a.log.Debug("watched", "workload", k.w.String())
		}
		a.mu.Unlock()
	}
}

package tracing

import (
	"strings"
	"time"
)

// Tokens of pods in the kubelet's volumes: who is on the host, or has its files, reads them there
// without entering any container.
var podTokens = []string{
	"/var/lib/kubelet/pods/*/volumes/kubernetes.io~projected/*/token",
	"/var/lib/kubelet/pods/*/volumes/kubernetes.io~projected/*/azure-identity-token",
}

const podFolder = "/var/lib/kubelet/pods/"

// The kubelet makes the folder of a volume, and then mounts a file system over it, which no
// notice tells: a mark would stand on the folder below. It has mounted and filled all volumes of
// a pod before the first container of it begins; so they are looked for a little after
// containers begin, and no more often than this.
const podsEvery = time.Second

// pods looks for tokens that came, and forgets those that went: the kernel drops the mark on a file
// whose file system is unmounted, and tells nobody.
func (f *Files) pods() {
	f.mu.Lock()
	defer f.mu.Unlock()
	r := f.roots[0]
	for id, all := range f.places {
		kept := all[:0]
		for _, p := range all {
			if p.root != r || !strings.HasPrefix(p.path, podFolder) || r.exists(p.path) {
				kept = append(kept, p)
			}
		}
		if clear(all[len(kept):]); len(kept) == 0 {
			delete(f.places, id)
			f.marked--
		} else {
			f.places[id] = kept
		}
	}
	for i := range r.watches {
		if w := &r.watches[i]; strings.HasPrefix(w.Path, podFolder) {
			f.armWatch(r, w, nil, false)
		}
	}
}

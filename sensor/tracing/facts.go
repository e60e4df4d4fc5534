package tracing

import (
	"golang.org/x/sys/unix"
)

// factsMost is how many files are remembered.
const factsMost = 8192

// fact is what a file was when its attributes changed the last time.
type fact struct{ mode, uid, gid uint32 }

type factKey struct{ dev, ino uint64 }

// facts remembers files whose attributes changed, so that a notice of changed attributes can
// be told from one that means something. The zero value is usable; not safe for
// concurrent use.
type facts struct{ all map[factKey]fact }

// put remembers what a file is now and returns what it was.
func (f *facts) put(st *unix.Stat_t) (before fact, known bool) {
	k := factKey{uint64(st.Dev), st.Ino}
	before, known = f.all[k]
	if !known && len(f.all) >= factsMost {
		n := 0
		for old := range f.all { // whichever: what is forgotten is told as it was before it was known
			delete(f.all, old)
			if n++; n == factsMost/8 {
				break
			}
		}
	}
	if f.all == nil {
		f.all = map[factKey]fact{}
	}
	f.all[k] = fact{st.Mode, st.Uid, st.Gid}
	return before, known
}

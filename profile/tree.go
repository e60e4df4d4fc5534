package profile

import (
	"net/netip"
	"strings"
)

// Paths, names and addresses are leaves of trees, and a profile must not know every
// leaf of a folder with a million files. When more different things than a fan-out
// are known below a node, the node itself takes their place: "/data/**",
// "*.cdn.example.com", "10.3.0.0/16". This is a closure (it only adds, more in gives
// more out, twice is once), which is what keeps merging associative.

// wider returns the next wider form of s, or "" when there is none, built in buf.
//
//	/var/log/a.log → /var/log/** → /var/** (→ nothing: the root is never one thing)
//	name:a.b.example.com → name:*.b.example.com → name:*.example.com
//	10.3.4.5 → 10.3.4.0/24 → 10.3.0.0/16 → 10.0.0.0/8 → 0.0.0.0/0
func wider(buf []byte, c Category, s string) []byte {
	switch c {
	case Write:
		return widerPath(buf, s)
	case Name:
		return widerName(buf, s, 0)
	case Destination, Client:
		if strings.HasPrefix(s, "name:") {
			return widerName(buf, s, len("name:"))
		}
		if len(s) > 0 && (digit(s[0]) || strings.IndexByte(s, ':') >= 0) && !strings.HasPrefix(s, "workload:") && !strings.HasPrefix(s, "unix:") {
			return widerNet(buf, s)
		}
	}
	return nil
}

func widerPath(buf []byte, s string) []byte {
	s = strings.TrimSuffix(s, "/**")
	i := strings.LastIndexByte(s, '/')
	if i <= 0 {
		return nil
	}
	return append(append(buf, s[:i]...), "/**"...)
}

func widerName(buf []byte, s string, prefix int) []byte {
	rest := strings.TrimPrefix(s[prefix:], "*.")
	i := strings.IndexByte(rest, '.')
	if i < 0 {
		return nil
	}
	rest = rest[i:] // ".b.example.com"
	// What is registered stays: two labels, three where the second is as short as
	// that of "co.uk". Wrong in the safe direction: a little less is generalised.
	labels := strings.Count(rest, ".")
	if labels < 2 {
		return nil
	}
	if labels == 2 {
		second := rest[1:]
		if len(second[:strings.IndexByte(second, '.')]) <= 3 {
			return nil
		}
	}
	buf = append(append(buf, s[:prefix]...), '*')
	return append(buf, rest...)
}

// Levels of networks, narrow to wide.
var levels4 = [...]int{24, 16, 8, 0}
var levels6 = [...]int{64, 48, 32, 0}

func widerNet(buf []byte, s string) []byte {
	p, ok := parseNet(s)
	if !ok {
		return nil
	}
	levels := levels4[:]
	if p.Addr().Is6() {
		levels = levels6[:]
	}
	for _, l := range levels {
		if l < p.Bits() {
			w, err := p.Addr().Prefix(l)
			if err != nil {
				return nil
			}
			return w.AppendTo(buf)
		}
	}
	return nil
}

func parseNet(s string) (netip.Prefix, bool) {
	if strings.IndexByte(s, '/') >= 0 {
		p, err := netip.ParsePrefix(s)
		return p, err == nil
	}
	a, err := netip.ParseAddr(s)
	if err != nil || a.Zone() != "" {
		return netip.Prefix{}, false
	}
	return netip.PrefixFrom(a, a.BitLen()), true
}

// wild reports whether s stands for more than one thing of a tree.
func wild(c Category, s string) bool {
	switch c {
	case Write:
		return strings.HasSuffix(s, "/**")
	case Name:
		return strings.HasPrefix(s, "*.")
	case Destination, Client:
		if strings.HasPrefix(s, "name:*.") {
			return true
		}
		if strings.IndexByte(s, '/') >= 0 {
			_, ok := parseNet(s)
			return ok
		}
	}
	return false
}

// fan is how many children of w may be known one by one; 0 means any number.
//
// Folders of the system are never taken as a whole: seventeen files written to /etc
// while learning must not allow the eighteenth. There a category meets its cap
// instead, and says so.
func fan(c Category, w string) int {
	switch c {
	case Write:
		if protected(strings.TrimSuffix(w, "/**")) {
			return 0
		}
		return 16
	case Name:
		return 32
	}
	if strings.HasPrefix(w, "name:") {
		return 32
	}
	if strings.HasSuffix(w, "/0") {
		return 16
	}
	return 8
}

// protected folders: by themselves, or with everything below.
func protected(dir string) bool {
	switch dir {
	case "", "/", "/var", "/var/lib", "/var/run", "/var/spool", "/run", "/home", "/root", "/opt", "/mnt", "/media", "/srv":
		return true
	}
	for _, p := range [...]string{"/etc", "/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/boot", "/proc", "/sys", "/dev", "/root/.ssh", "/var/spool/cron"} {
		if dir == p && p != "/dev/shm" || strings.HasPrefix(dir, p) && len(dir) > len(p) && dir[len(p)] == '/' && dir != "/dev/shm" {
			return true
		}
	}
	return strings.HasSuffix(dir, "/.ssh") || strings.HasSuffix(dir, "/.aws") || strings.HasSuffix(dir, "/.kube")
}

// child names (as a hash) the child of w that holds s; ok is false when s is not
// strictly below w.
func child(c Category, w, s string) (uint64, bool) {
	switch c {
	case Write:
		dir := strings.TrimSuffix(w, "**")
		rest, ok := strings.CutPrefix(s, dir)
		if !ok || rest == "**" {
			return 0, false
		}
		if i := strings.IndexByte(rest, '/'); i >= 0 {
			rest = rest[:i]
		}
		return hash(rest), true
	case Name:
		return childName(w, s)
	}
	if strings.HasPrefix(w, "name:") {
		if !strings.HasPrefix(s, "name:") {
			return 0, false
		}
		return childName(w[len("name:"):], s[len("name:"):])
	}
	wp, ok := parseNet(w)
	if !ok {
		return 0, false
	}
	sp, ok := parseNet(s)
	if !ok || sp.Addr().Is4() != wp.Addr().Is4() || sp.Bits() <= wp.Bits() || !wp.Contains(sp.Addr()) {
		return 0, false
	}
	levels := levels4[:]
	if wp.Addr().Is6() {
		levels = levels6[:]
	}
	next := wp.Addr().BitLen()
	for _, l := range levels {
		if l > wp.Bits() {
			next = min(next, l)
		}
	}
	p, err := sp.Addr().Prefix(min(next, sp.Bits()))
	if err != nil {
		return 0, false
	}
	a := p.Addr().As16()
	return hash(string(a[:])), true
}

func childName(w, s string) (uint64, bool) {
	suffix := w[1:] // ".example.com"
	front, ok := strings.CutSuffix(s, suffix)
	if !ok || front == "*" || front == "" {
		return 0, false
	}
	return hash(front[strings.LastIndexByte(front, '.')+1:]), true
}

// hash is FNV-1a with a final mix (murmur3's), the same on every node and release:
// replicas and writers are known by it in documents.
func hash(s string) uint64 {
	h := uint64(14695981039346656037)
	for i := 0; i < len(s); i++ {
		h = (h ^ uint64(s[i])) * 1099511628211
	}
	h = (h ^ h>>33) * 0xff51afd7ed558ccd
	h = (h ^ h>>33) * 0xc4ceb9fe1a85ec53
	return h ^ h>>33
}

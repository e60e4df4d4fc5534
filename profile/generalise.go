package profile

import (
	"net/netip"
	"strings"
	"unicode/utf8"
)

// Bounds of one text in a profile. They are applied to every element before it is
// looked up, so that what is learned and what is judged have the same form.
const (
	maxDepth     = 12  // components of a path
	maxComponent = 64  // bytes of a component; longer ones become *
	maxText      = 512 // bytes of any text
	maxLabels    = MaxLabels
)

// MaxLabels are the labels of a DNS name that a profile keeps; those in front are left out.
const MaxLabels = 8

// appendPath appends the general form of a path as it stands in profiles.
//
// "." and ".." are resolved by the text alone, which is what is left when the sensor
// could not ask the kernel. Control characters, bytes that are no UTF-8 and the
// asterisk become "?": a file that is really named "**" must not open a folder.
// With loose set, the parts of names that machines make up (numbers, hexadecimal
// digits, UUIDs, the tails of temporary names) become "*": "/var/log/app-2024-05-01.log"
// is "/var/log/app-*.log". Without it that happens in temporary folders only, as
// "/usr/bin/python3.11" has to stay what it is.
func appendPath(dst []byte, p string, loose bool) []byte {
	if len(p) > 4*maxText {
		p = p[:4*maxText]
	}
	loose = loose || temporary(p)
	start := len(dst)
	valid := utf8.ValidString(p)
	depth := 0
	for len(p) > 0 {
		var c string
		if i := strings.IndexByte(p, '/'); i >= 0 {
			c, p = p[:i], p[i+1:]
		} else {
			c, p = p, ""
		}
		switch c {
		case "", ".":
			continue
		case "..":
			for len(dst) > start {
				end := dst[len(dst)-1]
				dst = dst[:len(dst)-1]
				if end == '/' {
					depth--
					break
				}
			}
			continue
		}
		if depth == maxDepth || len(dst)-start+min(len(c), 4*maxComponent) > maxText-4 {
			return append(dst, "/**"...)
		}
		depth++
		dst = append(dst, '/')
		dst = appendComponent(dst, c, loose, valid)
	}
	if len(dst) == start {
		dst = append(dst, '/')
	}
	return dst
}

// temporary reports whether names below it are made up by machines.
func temporary(p string) bool {
	for _, t := range [...]string{"/tmp/", "/var/tmp/", "/dev/shm/", "/proc/", "/dev/fd/"} {
		if strings.HasPrefix(p, t) {
			return true
		}
	}
	return false
}

func appendComponent(dst []byte, c string, loose, valid bool) []byte {
	if !loose {
		if len(c) > 4*maxComponent {
			return append(dst, '*')
		}
		for i := 0; i < len(c); i++ {
			dst = append(dst, plainByte(c[i], valid))
		}
		return dst
	}
	if len(c) > maxComponent {
		return append(dst, '*')
	}
	start := len(dst)
	for i := 0; i < len(c); {
		if !alnum(c[i]) {
			dst = append(dst, plainByte(c[i], valid))
			i++
			continue
		}
		before := byte(0)
		if i > 0 {
			before = c[i-1]
		}
		if isUUID(c[i:]) {
			dst = appendStar(dst, start)
			i += uuidLen
			continue
		}
		j, lower := i, true
		for j < len(c) && alnum(c[j]) {
			lower = lower && c[j] >= 'a'
			j++
		}
		// Most words are plain ones; only digits, capitals and "tmp" make them suspect.
		if lower && !strings.HasPrefix(c[i:j], "tmp") || version(dst[start:], c[i:j]) {
			dst = append(dst, c[i:j]...)
		} else {
			dst = appendToken(dst, start, c[i:j], before)
		}
		i = j
	}
	return dst
}

// version reports whether t is the second number of a version, "11" of "python3.11": such a
// folder has one name for years, and as "python3.*" would allow all that is in it.
func version(before []byte, t string) bool {
	n := len(before)
	if len(t) > 2 || n < 2 || before[n-1] != '.' || !digit(before[n-2]) {
		return false
	}
	for i := range len(t) {
		if !digit(t[i]) {
			return false
		}
	}
	return true
}

const uuidLen = 36

// isUUID reports whether s begins with the text form of RFC 9562, section 4.
func isUUID(s string) bool {
	if len(s) < uuidLen || len(s) > uuidLen && alnum(s[uuidLen]) {
		return false
	}
	for i := 0; i < uuidLen; i++ {
		switch c := s[i]; {
		case i == 8 || i == 13 || i == 18 || i == 23:
			if c != '-' {
				return false
			}
		case !digit(c) && (c|0x20 < 'a' || c|0x20 > 'f'):
			return false
		}
	}
	return true
}

// appendToken appends one run of letters and digits, made general when it looks made
// up. before is the byte in front of it.
func appendToken(dst []byte, start int, t string, before byte) []byte {
	digits, hex, changes, upper, lower := 0, true, 0, false, false
	for i := 0; i < len(t); i++ {
		c := t[i]
		d := digit(c)
		if d {
			digits++
		}
		hex = hex && (d || c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F')
		if i > 0 {
			if d != digit(t[i-1]) {
				changes++
			}
			upper = upper || c >= 'A' && c <= 'Z'
			lower = lower || c >= 'a' && c <= 'z'
		}
	}
	switch {
	case len(t) >= 7 && strings.HasPrefix(t, "tmp"):
		return append(dst, "tmp*"...)
	case digits == len(t),
		hex && digits > 0 && len(t) >= 8,
		len(t) >= 16 && digits >= 2,
		len(t) >= 5 && changes >= 3,
		upper && lower && len(t) >= 6 && len(t) <= 12 && (before == '.' || before == '-' || before == '_'):
		return appendStar(dst, start)
	}
	if digits < 3 {
		return append(dst, t...)
	}
	for i := 0; i < len(t); {
		j := i
		for j < len(t) && digit(t[j]) {
			j++
		}
		if j-i >= 3 {
			dst = appendStar(dst, start)
			i = j
			continue
		}
		if j == i {
			j++
		}
		dst = append(dst, t[i:j]...)
		i = j
	}
	return dst
}

// appendStar appends "*", and makes one of "*-*": a UUID or a date is one thing.
func appendStar(dst []byte, start int) []byte {
	n := len(dst)
	if n > start && dst[n-1] == '*' {
		return dst
	}
	if n-2 >= start && dst[n-2] == '*' {
		switch dst[n-1] {
		case '-', '_', '.', ':', '+':
			return dst[:n-1]
		}
	}
	return append(dst, '*')
}

func alnum(c byte) bool { return digit(c) || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' }
func digit(c byte) bool { return c >= '0' && c <= '9' }

func plainByte(c byte, valid bool) byte {
	if c < 0x20 || c == 0x7f || c == '*' || c >= 0x80 && !valid {
		return '?'
	}
	return c
}

// appendName appends the general form of a DNS name: lower case, the last labels
// only, labels that machines make up with "*".
func appendName(dst []byte, name string) []byte {
	if len(name) > 255 {
		name = name[len(name)-255:]
	}
	name = strings.TrimSuffix(name, ".")
	if name == "" {
		return append(dst, '.')
	}
	valid := utf8.ValidString(name)
	labels := strings.Count(name, ".") + 1
	for ; labels > maxLabels; labels-- {
		name = name[strings.IndexByte(name, '.')+1:]
	}
	// What is registered is never made general: "163.com" must not become "*.com".
	registered := 2
	if i := strings.LastIndexByte(name, '.'); i > 0 && i-1-strings.LastIndexByte(name[:i], '.') <= 3 {
		registered = 3
	}
	for first := true; ; first = false {
		c := name
		i := strings.IndexByte(name, '.')
		if i >= 0 {
			c = name[:i]
		}
		if !first {
			dst = append(dst, '.')
		}
		at := len(dst)
		dst = appendComponent(dst, c, labels > registered, valid)
		labels--
		for k := at; k < len(dst); k++ {
			if dst[k] >= 'A' && dst[k] <= 'Z' {
				dst[k] += 'a' - 'A'
			}
		}
		if i < 0 {
			return dst
		}
		name = name[i+1:]
	}
}

// appendText appends a text of the sensor that has no structure: a capability, a
// workload's name, a socket's path.
func appendText(dst []byte, s string) []byte {
	if len(s) > maxText/2 {
		s = s[:maxText/2]
		for len(s) > 0 && !utf8.ValidString(s[max(0, len(s)-utf8.UTFMax):]) && !utf8.RuneStart(s[len(s)-1]) {
			s = s[:len(s)-1]
		}
	}
	valid := utf8.ValidString(s)
	for i := 0; i < len(s); i++ {
		dst = append(dst, plainByte(s[i], valid))
	}
	return dst
}

// appendPeer appends who is at the other end: the workload if it is known, else the
// name that was asked for, else the address. The prefixes keep the three apart, as a
// DNS server that an attacker runs can answer to any name.
func appendPeer(dst []byte, peer, name string, addr netip.Addr) []byte {
	switch {
	case peer != "":
		return appendText(append(dst, "workload:"...), peer)
	case name != "":
		return appendName(append(dst, "name:"...), name)
	}
	addr = addr.Unmap().WithZone("")
	switch {
	case !addr.IsValid():
		return append(dst, "unknown"...)
	case addr.IsLoopback():
		return append(dst, "loopback"...)
	case addr.IsMulticast(), addr == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
		return append(dst, "multicast"...)
	case addr.IsUnspecified():
		return append(dst, "loopback"...) // connecting to 0.0.0.0 reaches the host itself
	}
	return addr.AppendTo(dst)
}

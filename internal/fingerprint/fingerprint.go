// Package fingerprint owns how findings get names that stay the same from one
// scan to the next.
package fingerprint

import (
	"crypto/sha256"
	"encoding/base32"
	"encoding/binary"

	"github.com/bollwerk/bollwerk"
)

// Length is the number of characters of a fingerprint: 60 bits. Among the 10,000
// findings of a very bad image two share a fingerprint with a probability of
// about 1 in 20 billion.
const Length = 12

// encoding is RFC 4648 base32 in lower case: no digit looks like a letter (0 and
// 1 do not occur), so that a fingerprint can be read aloud and typed.
var encoding = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

// Of names the thing that the parts describe: the first 12 base32 characters of
// the SHA-256 over every part, each preceded by its length as eight bytes, big
// endian. Without the lengths ("ab", "c") and ("a", "bc") would share a name, and
// whoever controls a package's name could aim one finding at the exception of
// another.
//
// The parts are the caller's contract: what may change between two scans of the
// same thing (a rank, a score, the age of the database) must not be among them.
func Of(parts ...string) bollwerk.FindingID {
	h := sha256.New()
	var n [8]byte
	for _, p := range parts {
		binary.BigEndian.PutUint64(n[:], uint64(len(p)))
		h.Write(n[:])
		h.Write([]byte(p))
	}
	return bollwerk.FindingID(encoding.EncodeToString(h.Sum(nil))[:Length])
}

package vuln

import (
	"strings"

	"github.com/bollwerk/bollwerk"
)

// Key is a package of a database with the versions its advisories mention.
type Key struct {
	Ecosystem bollwerk.Ecosystem
	Name      string
	Versions  []string
	Record    []byte // as stored
}

// Keys lists the packages of a database, for benchmarks.
func (db *DB) Keys() ([]Key, error) {
	db.mu.RLock()
	defer db.mu.RUnlock()
	var out []Key
	var en entry
	for i := uint64(0); i < db.count(sectionPkgTab); i++ {
		b, err := db.record(sectionPackage, sectionPkgTab, i)
		if err != nil {
			return nil, err
		}
		d := decoder{b: b}
		k := Key{Record: append([]byte{}, b...)}
		k.Ecosystem, k.Name = bollwerk.Ecosystem(strings.Clone(d.string())), strings.Clone(d.string())
		issues := d.count()
		for j := 0; j < issues && d.err == nil; j++ {
			d.uint()
		}
		n := d.count()
		for j := 0; j < n && d.err == nil && len(k.Versions) < 4096; j++ {
			if err := en.decode(d.bytes(), issues); err != nil {
				return nil, err
			}
			for _, rg := range en.ranges {
				for _, e := range rg {
					if e.Version != "0" {
						k.Versions = append(k.Versions, strings.Clone(e.Version))
					}
				}
			}
		}
		if len(k.Versions) == 0 {
			k.Versions = []string{"1.0.0"}
		}
		out = append(out, k)
	}
	return out, nil
}

package vuln

import (
	"fmt"
	"slices"
	"strings"

	"github.com/bollwerk/bollwerk"
)

// importsApply reports whether a Go record speaks of the platform the binary was
// built for. A record without platforms, and a package whose platform is unknown,
// always match.
func importsApply(p *bollwerk.Package, imports []ImportPath) bool {
	for i := range imports {
		if importApplies(p, &imports[i]) {
			return true
		}
	}
	return false
}

func importApplies(p *bollwerk.Package, i *ImportPath) bool {
	return (p.GoOS == "" || len(i.GOOS) == 0 || slices.Contains(i.GOOS, p.GoOS)) &&
		(p.GoArch == "" || len(i.GOARCH) == 0 || slices.Contains(i.GOARCH, p.GoArch))
}

// reach says whether the affected code is part of the program, where the program's
// packages or functions are known:
//
//   - a named function (or any function of a package that is affected as a whole) is
//     linked: true;
//   - nothing of any affected package is linked: false;
//   - the package is there but none of the named functions: not known. The linker
//     drops what nothing calls, but it also inlines.
func reach(linked []string, imports []ImportPath) *bool {
	if len(linked) == 0 || len(imports) == 0 {
		return nil
	}
	yes, no := true, false
	present := false
	for _, i := range imports {
		for _, l := range linked {
			fn, ok := strings.CutPrefix(l, i.Path)
			if !ok || fn != "" && fn[0] != '.' {
				continue
			}
			present = true
			if len(i.Symbols) == 0 {
				return &yes
			}
			if fn != "" && slices.Contains(i.Symbols, plainSymbol(fn[1:])) {
				return &yes
			}
		}
	}
	if !present {
		return &no
	}
	return nil
}

// plainSymbol turns the linker's "(*Echo).Static" into the database's "Echo.Static".
func plainSymbol(s string) string {
	if strings.HasPrefix(s, "(*") {
		if typ, rest, ok := strings.Cut(s[2:], ")"); ok {
			return typ + rest
		}
	}
	return s
}

// customComparable says whether a Go version can be compared with custom ranges.
// Those use the project's own release numbers for modules whose tags Go cannot use.
// Such a module is installed as a pseudo-version
// (https://go.dev/ref/mod#pseudo-versions), v0.0.0-<time>-<commit> or one that counts
// from the last tag Go could use, and neither has a place among those numbers.
func customComparable(v string) error {
	if pseudoVersion(v) {
		return fmt.Errorf("%s is a commit that cannot be compared with the project's release numbers, which are all the record gives", v)
	}
	return nil
}

// pseudoVersion reports whether v ends in a time of 14 digits, behind "-" or ".", and
// a commit of 12 hexadecimal digits.
func pseudoVersion(v string) bool {
	v, _, _ = strings.Cut(v, "+")
	const tail = len("-20060102150405-0123456789ab")
	if len(v) <= tail {
		return false
	}
	t := v[len(v)-tail:]
	if t[0] != '-' && t[0] != '.' || t[15] != '-' {
		return false
	}
	return strings.Trim(t[1:15], "0123456789") == "" && strings.Trim(t[16:], "0123456789abcdef") == ""
}

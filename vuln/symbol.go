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
// Those use the project's own release numbers for modules whose tags Go cannot use;
// such a module is installed as v0.0.0-<time>-<commit>, which has no place among them.
func customComparable(v string) error {
	if strings.HasPrefix(strings.TrimPrefix(v, "v"), "0.0.0-") {
		return fmt.Errorf("%s is a commit that cannot be compared with the project's release numbers, which are all the record gives", v)
	}
	return nil
}

package policy

import (
	"fmt"
	"net/netip"
	"strings"
	"time"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"
	"golang.org/x/mod/semver"

	"github.com/bollwerk/bollwerk/internal/glob"
)

// Function describes one function that the language adds to CEL.
type Function struct {
	Name      string `json:"name"`
	Signature string `json:"signature"`
	Doc       string `json:"doc"`
}

// Functions lists what the language adds to CEL's standard library and to its
// strings, lists, sets and math extensions.
func Functions() []Function {
	return []Function{
		{"glob", "string.glob(pattern string) bool", "the whole text matches; * is any run of characters, ? is one"},
		{"globAny", "string.globAny(patterns list(string)) bool", "one of the patterns matches"},
		{"containsAny", "string.containsAny(parts list(string)) bool", "one of the parts is in the text"},
		{"startsWithAny", "string.startsWithAny(parts list(string)) bool", "the text begins with one of the parts"},
		{"endsWithAny", "string.endsWithAny(parts list(string)) bool", "the text ends with one of the parts"},
		{"icontains", "string.icontains(part string) bool", "contains, capital and small ASCII letters being the same"},
		{"under", "string.under(folders list(string)) bool", "the path is one of the folders, or lies below one; whole names are compared, so that /etcetera is not under /etc"},
		{"inNetwork", "string.inNetwork(networks list(string)) bool", "the text is an IP address in one of the networks, written 10.0.0.0/8 or as one address; what is no address is in none"},
		{"days", "days(int) duration", "so many times 24 hours"},
		{"date", "date(string) timestamp", "2026-01-31 as midnight UTC, or RFC 3339; anything else is an error"},
		{"semver", "semver(a string, b string) int", "-1, 0 or 1: a is older than, equal to, newer than b (semver.org 2.0.0; a leading v and missing minor or patch are allowed); anything else is an error"},
		{"enumerate", "list(string).enumerate(max int) string", "\"a, b, c and 4 more\""},
		{"unknown", "unknown(cause string) dyn", "no value: the policy is not evaluated, for this cause"},
		{"plural", "plural(n int, one string, many string) string", "\"1 file\", \"2 files\""},
	}
}

// functions declares them. All are pure, total up to an error value, and linear
// in their input. An error makes the policy not evaluated, never a pass.
func functions() []cel.EnvOption {
	text, texts := cel.StringType, cel.ListType(cel.StringType)
	return []cel.EnvOption{
		cel.Function("glob", cel.MemberOverload("string_glob", []*cel.Type{text, text}, cel.BoolType,
			cel.BinaryBinding(func(s, pattern ref.Val) ref.Val {
				return types.Bool(glob.Match(string(pattern.(types.String)), string(s.(types.String))))
			}))),
		cel.Function("globAny", cel.MemberOverload("string_glob_any", []*cel.Type{text, texts}, cel.BoolType,
			cel.BinaryBinding(func(s, patterns ref.Val) ref.Val {
				if native, ok := patterns.Value().([]any); ok {
					// A list out of a parameter or subject: no need to wrap every entry.
					for _, p := range native {
						text, ok := p.(string)
						if !ok {
							return types.NewErr("want a list of texts, got %T", p)
						}
						if glob.Match(text, string(s.(types.String))) {
							return types.True
						}
					}
					return types.False
				}
				ps, err := textList(patterns)
				if err != nil {
					return types.WrapErr(err)
				}
				return types.Bool(glob.MatchAny(ps, string(s.(types.String))))
			}))),
		textAndTexts("containsAny", "string_contains_any", func(s string, parts []string) (bool, error) { return containsAny(s, parts), nil }),
		textAndTexts("startsWithAny", "string_starts_with_any", func(s string, parts []string) (bool, error) { return startsWithAny(s, parts), nil }),
		textAndTexts("endsWithAny", "string_ends_with_any", func(s string, parts []string) (bool, error) { return endsWithAny(s, parts), nil }),
		textAndTexts("under", "string_under", func(s string, folders []string) (bool, error) { return under(s, folders), nil }),
		textAndTexts("inNetwork", "string_in_network", func(s string, networks []string) (bool, error) {
			ps, err := parseNetworks(networks)
			if err != nil || s == "" {
				return false, err
			}
			a, err := netip.ParseAddr(s)
			return err == nil && inNetworks(a.Unmap(), ps), nil
		}),
		cel.Function("icontains", cel.MemberOverload("string_icontains", []*cel.Type{text, text}, cel.BoolType,
			cel.BinaryBinding(func(s, part ref.Val) ref.Val {
				return types.Bool(containsFold(string(s.(types.String)), string(part.(types.String))))
			}))),
		cel.Function("days", cel.Overload("days_int", []*cel.Type{cel.IntType}, cel.DurationType,
			cel.UnaryBinding(func(n ref.Val) ref.Val {
				d := int64(n.(types.Int))
				if d < -100_000 || d > 100_000 {
					return types.NewErr("days(%d): want at most 100000", d)
				}
				return types.Duration{Duration: time.Duration(d) * 24 * time.Hour}
			}))),
		cel.Function("date", cel.Overload("date_string", []*cel.Type{text}, cel.TimestampType,
			cel.UnaryBinding(func(s ref.Val) ref.Val {
				t, err := parseTime(string(s.(types.String)))
				if err != nil {
					return types.WrapErr(err)
				}
				return types.Timestamp{Time: t}
			}))),
		cel.Function("semver", cel.Overload("semver_string_string", []*cel.Type{text, text}, cel.IntType,
			cel.BinaryBinding(func(a, b ref.Val) ref.Val {
				x, err := canonicalVersion(string(a.(types.String)))
				if err != nil {
					return types.WrapErr(err)
				}
				y, err := canonicalVersion(string(b.(types.String)))
				if err != nil {
					return types.WrapErr(err)
				}
				return types.Int(semver.Compare(x, y))
			}))),
		cel.Function("enumerate", cel.MemberOverload("list_enumerate", []*cel.Type{texts, cel.IntType}, text,
			cel.BinaryBinding(func(list, most ref.Val) ref.Val {
				ss, err := textList(list)
				if err != nil {
					return types.WrapErr(err)
				}
				return types.String(enumerate(ss, int(most.(types.Int))))
			}))),
		cel.Function("unknown", cel.Overload("unknown_string", []*cel.Type{text}, cel.DynType,
			cel.UnaryBinding(func(cause ref.Val) ref.Val {
				return types.WrapErr(&unknownError{cause: string(cause.(types.String))})
			}))),
		cel.Function("plural", cel.Overload("plural_int", []*cel.Type{cel.IntType, text, text}, text,
			cel.FunctionBinding(func(args ...ref.Val) ref.Val {
				n := args[0].(types.Int)
				word := args[2].(types.String)
				if n == 1 {
					word = args[1].(types.String)
				}
				return types.String(fmt.Sprintf("%d %s", n, word))
			}))),
	}
}

// textAndTexts declares a question about a text and a list of texts.
func textAndTexts(name, overload string, ask func(s string, list []string) (bool, error)) cel.EnvOption {
	return cel.Function(name, cel.MemberOverload(overload, []*cel.Type{cel.StringType, cel.ListType(cel.StringType)}, cel.BoolType,
		cel.BinaryBinding(func(s, list ref.Val) ref.Val {
			texts, err := textList(list)
			if err != nil {
				return types.WrapErr(err)
			}
			ok, err := ask(string(s.(types.String)), texts)
			if err != nil {
				return types.WrapErr(err)
			}
			return types.Bool(ok)
		})))
}

func containsAny(s string, parts []string) bool {
	for _, p := range parts {
		if strings.Contains(s, p) {
			return true
		}
	}
	return false
}

func startsWithAny(s string, parts []string) bool {
	for _, p := range parts {
		if strings.HasPrefix(s, p) {
			return true
		}
	}
	return false
}

func endsWithAny(s string, parts []string) bool {
	for _, p := range parts {
		if strings.HasSuffix(s, p) {
			return true
		}
	}
	return false
}

// containsFold compares ASCII letters without regard to case.
func containsFold(s, part string) bool {
	if part == "" {
		return true
	}
	small, capital := asciiLower(part[0]), asciiUpper(part[0])
	for i := 0; i+len(part) <= len(s); i++ {
		if s[i] != small && s[i] != capital {
			continue
		}
		j := 1
		for j < len(part) && asciiLower(s[i+j]) == asciiLower(part[j]) {
			j++
		}
		if j == len(part) {
			return true
		}
	}
	return false
}

func asciiLower(c byte) byte {
	if c >= 'A' && c <= 'Z' {
		return c + 'a' - 'A'
	}
	return c
}

func asciiUpper(c byte) byte {
	if c >= 'a' && c <= 'z' {
		return c - ('a' - 'A')
	}
	return c
}

func parseNetworks(networks []string) ([]netip.Prefix, error) {
	out := make([]netip.Prefix, 0, len(networks))
	for _, n := range networks {
		p, err := netip.ParsePrefix(n)
		if err != nil {
			a, aerr := netip.ParseAddr(n)
			if aerr != nil {
				return nil, fmt.Errorf("network %q: want 10.0.0.0/8, fd00::/8 or one address", clip(n, 64))
			}
			a = a.Unmap()
			p = netip.PrefixFrom(a, a.BitLen())
		}
		out = append(out, p.Masked())
	}
	return out, nil
}

func inNetworks(a netip.Addr, networks []netip.Prefix) bool {
	if !a.IsValid() {
		return false
	}
	for _, n := range networks {
		if n.Contains(a) {
			return true
		}
	}
	return false
}

// functionCosts charges our functions by the size of what they read, so that the
// cost limit bounds time and not only the number of calls. Units are CEL's: a
// string costs a tenth of its bytes to pass over.
type functionCosts struct{}

func (functionCosts) CallCost(_, overload string, args []ref.Val, _ ref.Val) *uint64 {
	size := func(v ref.Val) uint64 {
		switch x := v.(type) {
		case types.String:
			return uint64(len(x))
		case traits.Lister:
			if native, ok := x.Value().([]any); ok {
				n := uint64(len(native))
				for _, e := range native {
					if s, ok := e.(string); ok {
						n += uint64(len(s))
					}
				}
				return n
			}
			if n, ok := x.Size().(types.Int); ok {
				return uint64(n) * 16
			}
		}
		return 1
	}
	var n uint64
	switch overload {
	case "string_glob":
		// A pattern with ? may be tried at every place of the text.
		n = 1 + size(args[0])*(1+size(args[1])/64)/10
	case "string_glob_any", "string_contains_any", "string_starts_with_any", "string_ends_with_any", "string_under", "string_in_network":
		n = 1 + size(args[1])/10 + size(args[0])/10
	case "list_enumerate":
		n = 1 + size(args[0])/10
	case "string_icontains":
		n = 1 + size(args[0])*(1+size(args[1])/16)/10
	case "semver_string_string", "date_string", "unknown_string":
		n = 1 + size(args[0])/10
	default:
		return nil
	}
	return &n
}

// unknownError is what unknown() gives.
type unknownError struct{ cause string }

func (e *unknownError) Error() string { return e.cause }

func textList(v ref.Val) ([]string, error) {
	list, ok := v.(traits.Lister)
	if !ok {
		return nil, fmt.Errorf("want a list of texts, got %s", v.Type().TypeName())
	}
	n, ok := list.Size().(types.Int)
	if !ok {
		return nil, fmt.Errorf("want a list of texts")
	}
	out := make([]string, 0, int(n))
	for i := types.Int(0); i < n; i++ {
		s, ok := list.Get(i).(types.String)
		if !ok {
			return nil, fmt.Errorf("want a list of texts, entry %d is %s", i, list.Get(i).Type().TypeName())
		}
		out = append(out, string(s))
	}
	return out, nil
}

func canonicalVersion(s string) (string, error) {
	v := s
	if !strings.HasPrefix(v, "v") {
		v = "v" + v
	}
	if len(v) > 256 || !semver.IsValid(v) {
		return "", fmt.Errorf("version %q is not a semantic version", clip(s, 64))
	}
	return v, nil
}

func enumerate(ss []string, most int) string {
	if most < 1 {
		most = 1
	}
	if len(ss) > most {
		return fmt.Sprintf("%s and %d more", strings.Join(ss[:most], ", "), len(ss)-most)
	}
	switch len(ss) {
	case 0:
		return ""
	case 1:
		return ss[0]
	}
	return strings.Join(ss[:len(ss)-1], ", ") + " and " + ss[len(ss)-1]
}

// clip shortens text for a message to n bytes at most, on a character border.
func clip(s string, n int) string {
	if len(s) <= n {
		return s
	}
	cut := strings.ToValidUTF8(s[:n], "")
	return cut + "…"
}

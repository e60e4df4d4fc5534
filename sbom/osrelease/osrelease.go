// Package osrelease owns telling which distribution an artifact is made from:
// os-release(5), and the older files of systems that have none.
package osrelease

import (
	"bufio"
	"context"
	"errors"
	"io"
	"strings"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/sbom"
)

// Extractor reads etc/os-release and its kin.
type Extractor struct{}

func (Extractor) Name() string                  { return "os/release" }
func (Extractor) Ecosystem() bollwerk.Ecosystem { return "" }

func (Extractor) Hints() sbom.Hints {
	return sbom.Hints{Bases: []string{"os-release", "alpine-release", "redhat-release", "centos-release", "system-release", "debian_version"}}
}

func (Extractor) Wants(f *bollwerk.File) bool {
	switch f.Path {
	case "etc/os-release", "usr/lib/os-release", "etc/alpine-release", "etc/redhat-release",
		"etc/centos-release", "etc/system-release", "etc/debian_version":
		return f.Size < 64<<10
	}
	return false
}

// codenames are releases that Debian names before it numbers them: os-release of
// testing has a code name and no VERSION_ID.
var codenames = map[string]string{
	"buster": "10", "bullseye": "11", "bookworm": "12", "trixie": "13", "forky": "14", "duke": "15",
}

// Extract returns the distribution, or nothing if the file does not tell.
func (Extractor) Extract(ctx context.Context, in *sbom.Input) (bollwerk.Inventory, error) {
	data, err := in.Bytes(64 << 10)
	if err != nil {
		return bollwerk.Inventory{}, err
	}
	text := string(data)
	var d *bollwerk.Distribution
	switch base := in.File.Path[strings.LastIndexByte(in.File.Path, '/')+1:]; base {
	case "os-release":
		d = parse(strings.NewReader(text))
		if d == nil {
			return bollwerk.Inventory{}, errors.New("no ID in it")
		}
	case "alpine-release":
		d = &bollwerk.Distribution{ID: "alpine", VersionID: strings.TrimSpace(text)}
	case "debian_version":
		v := strings.TrimSpace(text)
		if strings.Contains(v, "/") { // "trixie/sid"
			code, _, _ := strings.Cut(v, "/")
			v = codenames[code]
		}
		d = &bollwerk.Distribution{ID: "debian", VersionID: v}
	default:
		d = redhat(text)
	}
	if d == nil {
		return bollwerk.Inventory{}, nil
	}
	return bollwerk.Inventory{OS: d}, nil
}

func parse(r io.Reader) *bollwerk.Distribution {
	d := &bollwerk.Distribution{}
	sc := bufio.NewScanner(r)
	for sc.Scan() {
		k, v, ok := strings.Cut(strings.TrimSpace(sc.Text()), "=")
		if !ok {
			continue
		}
		v = unquote(v)
		switch k {
		case "ID":
			d.ID = strings.ToLower(v)
		case "ID_LIKE":
			d.IDLike = strings.Fields(v)
		case "VERSION_ID":
			d.VersionID = v
		case "VERSION_CODENAME":
			d.Codename = v
		case "PRETTY_NAME":
			d.PrettyName = v
		case "VARIANT_ID":
			d.Variant = v
		}
	}
	if d.ID == "" {
		return nil
	}
	if d.ID == "debian" && d.VersionID == "" {
		d.VersionID = codenames[d.Codename]
	}
	return d
}

// unquote undoes the shell quoting that os-release(5) allows.
func unquote(v string) string {
	if len(v) < 2 || v[0] != '"' && v[0] != '\'' || v[len(v)-1] != v[0] {
		return v
	}
	q := v[0]
	v = v[1 : len(v)-1]
	if q == '\'' || !strings.Contains(v, `\`) {
		return v
	}
	var b strings.Builder
	for i := 0; i < len(v); i++ {
		if v[i] == '\\' && i+1 < len(v) {
			i++
		}
		b.WriteByte(v[i])
	}
	return b.String()
}

// redhat reads "CentOS release 6.10 (Final)".
func redhat(text string) *bollwerk.Distribution {
	line, _, _ := strings.Cut(strings.TrimSpace(text), "\n")
	for _, n := range []struct{ prefix, id string }{
		{"CentOS", "centos"}, {"Red Hat", "rhel"}, {"AlmaLinux", "almalinux"}, {"Rocky", "rocky"},
		{"Fedora", "fedora"}, {"Amazon Linux", "amzn"}, {"Oracle Linux", "ol"},
	} {
		if !strings.HasPrefix(line, n.prefix) {
			continue
		}
		_, v, ok := strings.Cut(line, " release ")
		if !ok {
			return nil
		}
		v, _, _ = strings.Cut(v, " ")
		return &bollwerk.Distribution{ID: n.id, VersionID: v, PrettyName: line}
	}
	return nil
}

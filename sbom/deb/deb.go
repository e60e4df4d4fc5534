// Package deb owns reading the databases of dpkg: var/lib/dpkg/status, the
// one-file-per-package form of distroless images (var/lib/dpkg/status.d), the file
// lists beside them, and the machine-readable copyright files.
//
// Formats: deb-control(5) and dpkg-query(1) of dpkg 1.21;
// https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/.
package deb

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/sbom"
)

const (
	statusFile = "var/lib/dpkg/status"
	statusDir  = "var/lib/dpkg/status.d/"
	infoDir    = "var/lib/dpkg/info/"
	docDir     = "usr/share/doc/"

	// maxPackages is ten times what a full Debian archive installs.
	maxPackages = 600_000
	// maxStatus ends a status file that never ends. A desktop has 8 MB.
	maxStatus = 512 << 20
	// maxLine bounds one line; a longer one (Depends of a meta package) is cut.
	maxLine = 64 << 10
)

// Status reads the package database.
type Status struct{}

func (Status) Name() string                  { return "deb/dpkg" }
func (Status) Ecosystem() bollwerk.Ecosystem { return sbom.FormatDeb }
func (Status) Hints() sbom.Hints {
	return sbom.Hints{Bases: []string{"status"}, Dirs: []string{"status.d"}}
}

func (Status) Wants(f *bollwerk.File) bool {
	p := f.Path
	if p == statusFile || strings.HasSuffix(p, "/"+statusFile) {
		return true
	}
	return inDir(p, statusDir) && !strings.HasSuffix(p, ".md5sums")
}

// inDir reports whether p lies directly in dir ("…/"), at any depth of the artifact:
// a root file system may be inside a scanned directory.
func inDir(p, dir string) bool {
	i := strings.LastIndex(p, "/")
	if i < 0 {
		return false
	}
	d := p[:i+1]
	return d == dir || len(d) > len(dir) && strings.HasSuffix(d, dir) && d[len(d)-len(dir)-1] == '/'
}

// Extract streams the stanzas.
func (Status) Extract(ctx context.Context, in *sbom.Input) (bollwerk.Inventory, error) {
	inD := inDir(in.File.Path, statusDir)
	var inv bollwerk.Inventory
	err := stanzas(ctx, in.Reader, func(s *stanza) error {
		if s.name == "" || s.version == "" {
			if s.name != "" && !inD && s.installed() {
				in.Problem("package %q has no version", s.name)
			}
			return nil
		}
		// status.d has no Status line: what is listed is there.
		if s.status != "" && !s.installed() {
			return nil
		}
		if len(inv.Packages) >= maxPackages {
			return fmt.Errorf("more than %d packages, the rest is ignored", maxPackages)
		}
		inv.Packages = append(inv.Packages, s.pkg())
		return nil
	})
	return inv, err
}

type stanza struct {
	name, version, arch, source, status, maintainer string
}

// installed: anything unpacked on disk counts, also when its configuration failed.
func (s *stanza) installed() bool {
	f := s.status
	if i := strings.LastIndexByte(f, ' '); i >= 0 {
		f = f[i+1:]
	}
	switch f {
	case "installed", "unpacked", "half-configured", "half-installed", "triggers-awaited", "triggers-pending":
		return true
	}
	return false
}

func (s *stanza) pkg() bollwerk.Package {
	p := bollwerk.Package{
		Name: s.name, Version: s.version, Arch: s.arch, Ecosystem: sbom.FormatDeb,
		Source: &bollwerk.SourcePackage{Name: s.name, Version: s.version},
		Vendor: vendor(s.maintainer),
	}
	if s.source != "" {
		// "Source: gcc-12 (12.2.0-14)"; the version is left out when it is the same.
		name, v, ok := strings.Cut(s.source, " (")
		p.Source.Name = strings.TrimSpace(name)
		if ok {
			if v = strings.TrimSuffix(strings.TrimSpace(v), ")"); v != "" {
				p.Source.Version = v
			}
		}
	}
	return p
}

// vendors are publishers of packages in Debian's format that are not Debian, by the
// domain of their Maintainer field. The list cannot be complete; a vendor that is
// missing is treated as the distribution, whose advisories then decide.
var vendors = map[string]string{
	"nodesource.com": "NodeSource", "docker.com": "Docker", "containerd.io": "Docker", "google.com": "Google",
	"microsoft.com": "Microsoft", "hashicorp.com": "HashiCorp", "elastic.co": "Elastic",
	"grafana.com": "Grafana", "gitlab.com": "GitLab", "nginx.com": "NGINX", "nginx.org": "NGINX",
	"mongodb.com": "MongoDB", "oracle.com": "Oracle", "redis.com": "Redis", "redis.io": "Redis",
	"datadoghq.com": "Datadog", "confluent.io": "Confluent", "kubernetes.io": "Kubernetes",
	"cloudflare.com": "Cloudflare", "nvidia.com": "NVIDIA", "azul.com": "Azul", "amazon.com": "Amazon",
	"yarnpkg.com": "Yarn", "mariadb.com": "MariaDB", "mariadb.org": "MariaDB", "percona.com": "Percona",
	"rabbitmq.com": "RabbitMQ", "influxdata.com": "InfluxData", "jenkins.io": "Jenkins",
	"aquasec.com": "Aqua Security", "anydesk.com": "AnyDesk", "slack-corp.com": "Slack",
	"teleport.com": "Teleport", "goteleport.com": "Teleport",
}

func vendor(maintainer string) string {
	at := strings.LastIndexByte(maintainer, '@')
	if at < 0 {
		return ""
	}
	dom := strings.ToLower(strings.TrimRight(maintainer[at+1:], "> \t"))
	for {
		if v, ok := vendors[dom]; ok {
			return v
		}
		_, rest, ok := strings.Cut(dom, ".")
		if !ok || !strings.Contains(rest, ".") {
			return ""
		}
		dom = rest
	}
}

// stanzas calls fn for each paragraph. Fields that are not needed are not copied.
func stanzas(ctx context.Context, r io.Reader, fn func(*stanza) error) error {
	lr := &io.LimitedReader{R: r, N: maxStatus}
	br := bufio.NewReaderSize(lr, maxLine)
	var s stanza
	n, skip := 0, false
	for {
		line, err := br.ReadSlice('\n')
		if skip { // the tail of a line that was too long
			skip = err == bufio.ErrBufferFull
			if err == nil || skip {
				continue
			}
		}
		if err == bufio.ErrBufferFull {
			skip, err = true, nil
		}
		if len(line) > 0 {
			s.line(line)
		}
		if blank(line) || err != nil {
			if s.name != "" || s.version != "" {
				if e := fn(&s); e != nil {
					return e
				}
			}
			s = stanza{}
			if n++; n%1024 == 0 && ctx.Err() != nil {
				return ctx.Err()
			}
		}
		if err == io.EOF {
			if lr.N <= 0 {
				return fmt.Errorf("longer than %d bytes, the rest is ignored", int64(maxStatus))
			}
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func blank(line []byte) bool { return len(bytes.TrimRight(line, " \t\r\n")) == 0 }

func (s *stanza) line(l []byte) {
	var to *string
	key := ""
	switch l[0] {
	case 'P':
		key, to = "Package:", &s.name
	case 'V':
		key, to = "Version:", &s.version
	case 'A':
		key, to = "Architecture:", &s.arch
	case 'M':
		key, to = "Maintainer:", &s.maintainer
	case 'S':
		key, to = "Status:", &s.status
		if len(l) > 1 && l[1] == 'o' {
			key, to = "Source:", &s.source
		}
	default:
		return
	}
	if len(l) < len(key) || string(l[:len(key)]) != key {
		return
	}
	*to = string(bytes.TrimSpace(l[len(key):]))
}

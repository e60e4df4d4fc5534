package binary

import (
	"bufio"
	"bytes"
	"context"
	"strings"

	"github.com/bollwerk/bollwerk"
)

// program is a known program and where its file says which version it is. Names are
// those of Bitnami's advisories, which speak of upstream versions: a matcher may
// look packages of the ecosystem "binary" up there.
type program struct {
	name string
	// anchors are the words right in front of the version.
	anchors []string
	// suffix: the version stands in front of this word instead.
	suffix string
	// own: the version is a C string that begins with what the file name says, as
	// "3.12." for python3.12.
	own bool
}

var (
	python    = &program{name: "python", own: true}
	node      = &program{name: "node", anchors: []string{"node.js/v", "node-v"}}
	ruby      = &program{name: "ruby", anchors: []string{"\x00ruby "}}
	php       = &program{name: "php", anchors: []string{"X-Powered-By: PHP/"}}
	perl      = &program{name: "perl", anchors: []string{"/lib/perl5/", "/perl5/site_perl/", "/share/perl/"}}
	nginx     = &program{name: "nginx", anchors: []string{"nginx version: nginx/", "Server: nginx/", "\x00nginx/"}}
	openresty = &program{name: "openresty", anchors: []string{"nginx version: openresty/"}}
	postgres  = &program{name: "postgresql", anchors: []string{"postgres (PostgreSQL) "}}
	mariadb   = &program{name: "mariadb", suffix: "-MariaDB"}
	mysql     = &program{name: "mysql", anchors: []string{"mysql-"}}
	apache    = &program{name: "apache", anchors: []string{"Apache/"}}
	memcached = &program{name: "memcached", anchors: []string{"memcached "}}
	haproxy   = &program{name: "haproxy", anchors: []string{"HAProxy version ", "HA-Proxy version "}}
	busybox   = &program{name: "busybox", anchors: []string{"BusyBox v"}}
	openssl   = &program{name: "openssl", anchors: []string{"OpenSSL "}}
	bash      = &program{name: "bash", anchors: []string{"Bash version "}}
	curl      = &program{name: "libcurl", anchors: []string{"libcurl/"}}
	redis     = &program{name: "redis", anchors: []string{"Redis server v=", "redis_version:", "\x00redis-"}}
	valkey    = &program{name: "valkey", anchors: []string{"Valkey server v=", "valkey_version:", "\x00valkey-"}}
	mongod    = &program{name: "mongodb", anchors: []string{"mongodb/mongo/r", "mongo-r"}}
	erlang    = &program{name: "erlang", anchors: []string{"Erlang/OTP "}}
)

// programs are known by the whole base name.
var programs = map[string]*program{
	"node": node, "nodejs": node, "ruby": ruby, "php": php, "php-fpm": php, "php-cgi": php, "perl": perl,
	"nginx": nginx, "openresty": openresty, "postgres": postgres, "mariadbd": mariadb, "mysqld": mysql,
	"httpd": apache, "apache2": apache, "memcached": memcached, "haproxy": haproxy, "busybox": busybox,
	"openssl": openssl, "bash": bash, "redis-server": redis, "valkey-server": valkey, "mongod": mongod, "beam.smp": erlang,
	"libphp.so": php,
}

// classify returns what a base name stands for, or nil. It does not allocate.
func classify(base string) *program {
	if p := programs[base]; p != nil {
		return p
	}
	switch {
	case strings.HasPrefix(base, "python3.") || strings.HasPrefix(base, "python2."):
		if digits(base[8:]) {
			return python
		}
	case strings.HasPrefix(base, "libpython"):
		return python
	case strings.HasPrefix(base, "libruby"):
		return ruby
	case strings.HasPrefix(base, "libcrypto.so."):
		return openssl
	case strings.HasPrefix(base, "libcurl.so."):
		return curl
	case strings.HasPrefix(base, "libperl.so"):
		return perl
	}
	return nil
}

func digits(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return s != ""
}

func (p *program) pkg(version string) bollwerk.Package {
	return bollwerk.Package{Name: p.name, Version: version, Ecosystem: bollwerk.EcosystemBinary}
}

// find searches a whole file.
func (p *program) find(br *bufio.Reader, base string) string {
	v := ""
	// The only errors are those of the reader, for which its owner cares.
	_ = scan(context.Background(), br, func(w []byte) (int, bool) {
		v = p.match(w, base)
		return 0, v != ""
	})
	return v
}

// match searches one window.
func (p *program) match(w []byte, base string) string {
	if p.own {
		minor := strings.TrimPrefix(base, "lib")
		minor = strings.TrimPrefix(minor, "python")
		// python3.12, libpython3.12.so.1.0, libpython3.7m.so.1.0
		i := strings.IndexByte(minor, '.')
		if i < 0 {
			return ""
		}
		j := i + 1
		for j < len(minor) && minor[j] >= '0' && minor[j] <= '9' {
			j++
		}
		return after(w, "\x00"+minor[:j]+".", minor[:j]+".", true)
	}
	if p.suffix != "" {
		for i := bytes.Index(w, []byte(p.suffix)); i >= 0; {
			b := i
			for b > 0 && (w[b-1] >= '0' && w[b-1] <= '9' || w[b-1] == '.') {
				b--
			}
			if v := string(w[b:i]); plausible(v) {
				return v
			}
			next := bytes.Index(w[i+1:], []byte(p.suffix))
			if next < 0 {
				break
			}
			i += 1 + next
		}
		return ""
	}
	for _, a := range p.anchors {
		if v := after(w, a, "", false); v != "" {
			return v
		}
	}
	return ""
}

// after returns the version behind an anchor, with prefix put in front; ended: it
// must end with a NUL (a C string of its own) or with "+", which Python adds to
// builds from a changed tree.
func after(w []byte, anchor, prefix string, ended bool) string {
	for from := 0; ; {
		i := bytes.Index(w[from:], []byte(anchor))
		if i < 0 {
			return ""
		}
		b := from + i + len(anchor)
		e := b
		for e < len(w) && e-b < 24 && versionByte(w[e]) {
			e++
		}
		if b >= len(w) || w[b] < '0' || w[b] > '9' {
			from = b
			continue
		}
		v := prefix + strings.TrimRight(string(w[b:e]), ".-+~")
		if e < len(w) && plausible(v) && (!ended || w[e] == 0 || w[e] == '+') {
			return v
		}
		from = b
	}
}

func versionByte(c byte) bool {
	return c >= '0' && c <= '9' || c == '.' || c >= 'a' && c <= 'z'
}

// plausible: digits, a dot, digits; nothing longer than a version.
func plausible(v string) bool {
	if len(v) < 3 || len(v) > 24 || v[0] < '0' || v[0] > '9' {
		return false
	}
	dot := strings.IndexByte(v, '.')
	return dot > 0 && dot+1 < len(v) && v[dot+1] >= '0' && v[dot+1] <= '9' && digits(v[:dot])
}

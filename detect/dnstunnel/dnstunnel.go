// Package dnstunnel notices data that is carried in DNS names and answers. It owns the
// shape of such traffic per registered domain; names that a program guesses are dga's.
package dnstunnel

import (
	"fmt"
	"strings"
	"time"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/detect"
)

// Config tunes the detector. The zero value is usable.
type Config struct {
	// Allowed are domains below which anything may be asked: a security product's own.
	Allowed []string `yaml:"allowed"`
}

// Detector notices DNS tunnels.
type Detector struct {
	allowed map[string]bool
	domains *detect.Table[key, traffic]
}

type key struct {
	scope  detect.Scope
	domain uint64
}

// traffic is what one workload asked below one domain, in a window of ten minutes.
type traffic struct {
	began     time.Time
	names     detect.Set // distinct, at most maxNames
	questions uint32
	bytes     uint32 // of what changes in the names
	entropy   float64
	text      uint32 // questions of types that carry data
	odd       uint32 // of types nobody asks
	ids       uint32 // names whose changing part is one identifier: a tenant, a session
	answered  uint64 // bytes of answers of such types
	last      string // the name before, to see what changes
	told      bollwerk.Severity
	rate      detect.Window // questions in a minute
}

const (
	window   = 10 * time.Minute
	maxNames = 256
)

// New makes the detector.
func New(cfg Config) *Detector {
	d := &Detector{allowed: map[string]bool{}, domains: detect.NewTable[key, traffic](512, window)}
	for _, a := range cfg.Allowed {
		d.allowed[strings.ToLower(strings.Trim(a, "."))] = true
	}
	return d
}

var info = detect.Info{
	ID: "dns-tunnel", Title: "Data is carried in DNS names",
	Severity: bollwerk.SeverityHigh, Mode: detect.Warn,
	Attack: []string{"T1071.004", "T1048.003", "T1572"},
	Description: "A workload asks one domain for many different long names, or for record types that carry data (TXT, NULL, private types). Only what changes from name to " +
		"name counts, by length, entropy, number and record type. Block lists of mail servers, reverse zones, content networks, service discovery and the look-ups of security products have that shape too and are left out.",
	Advice: "Ask who owns the domain. If nobody in your house knows it, block it at the resolver and isolate the workload: what was in the names " +
		"has left already. If it is a product of yours, allow its domain (dnstunnel.allowed).",
	Needs: []detect.Need{{Kind: bollwerk.EventDNS, Essential: true, Lost: "no tunnel is seen; DNS over TLS and HTTPS is not seen in any case"}},
	Bound: "512 pairs of workload and domain (10 min), 256 names each",
}

// Info tells what the detector sees and needs.
func (*Detector) Info() *detect.Info { return &info }

// carries classes record types: 0 common, 1 carries data, 2 nobody asks for it.
func carries(typ string) int {
	switch typ {
	case "A", "AAAA", "HTTPS", "SVCB", "PTR", "NS", "SOA", "DS", "DNSKEY", "CAA", "NAPTR", "TLSA", "SRV":
		return 0
	case "TXT", "CNAME", "MX", "ANY", "SPF":
		return 1
	case "NULL", "KEY", "SIG", "TYPE10", "TYPE25", "TYPE24", "A6", "WKS", "HINFO", "GPOS", "ISDN", "X25", "DNAME", "RP", "LOC":
		return 2
	}
	if strings.HasPrefix(typ, "TYPE65") && len(typ) == 9 { // TYPE65280 and up: private use (RFC 6895)
		return 2
	}
	return 0
}

// elsewhere are domains below which strangers cannot answer questions themselves, or
// whose questions are shaped like a tunnel by their nature. An attacker needs the name server of
// a domain, not a name below one of these.
var elsewhere = func() map[string]bool {
	m := map[string]bool{}
	for _, d := range strings.Fields(`
		amazonaws.com cloudfront.net awsdns.com azure.com azurewebsites.net windows.net azureedge.net azurefd.net trafficmanager.net microsoft.com office.com office365.com
		office.net live.com msedge.net windowsupdate.com googleapis.com googleusercontent.com google.com gvt1.com gvt2.com gstatic.com youtube.com ytimg.com googlevideo.com doubleclick.net 1e100.net
		akamai.net akamaiedge.net akamaized.net akamaihd.net edgekey.net edgesuite.net fastly.net fastlylb.net cloudflare.com cloudflare.net cloudflare-dns.com workers.dev pages.dev
		apple.com icloud.com facebook.com fbcdn.net netflix.com nflxvideo.net otc.t-systems.com t-systems.com digitaloceanspaces.com backblazeb2.com bunnycdn.com b-cdn.net cdn77.org
		spamhaus.org spamhaus.net surbl.org uribl.com barracudacentral.org spamcop.net sorbs.net abusix.zone dnswl.org mailspike.net senderscore.com invaluement.com spameatingmonkey.net
		hostkarma.com njabl.org rfc-clueless.org backscatterer.org uceprotect.net 0spam.org s5h.net sophosxl.net mcafee.com e5.sk trendmicro.com kaspersky.com ksn.kaspersky-labs.com esetdns.com cymru.com`) {
		m[d] = true
	}
	return m
}()

// Observe takes one event.
func (d *Detector) Observe(e *bollwerk.Event, report func(*bollwerk.Detection)) {
	q := e.DNS
	if q == nil || len(q.Name) < 6 || len(q.Name) > 300 || detect.Inward(q.Name) {
		return
	}
	domain, sub := detect.Registered(q.Name)
	if sub == "" {
		return
	}
	class := carries(q.Type)
	if q.Answer && class == 0 {
		return
	}
	if elsewhere[domain] || d.excepted(domain, q.Name) || ordinary(sub) {
		return
	}
	x := d.domains.Put(key{detect.ScopeOf(e), detect.Hash(domain)}, e.Time)
	if x.began.IsZero() || e.Time.Sub(x.began) > window || e.Time.Before(x.began) {
		*x = traffic{began: e.Time, names: x.names}
		x.names.Reset()
	}
	if q.Answer {
		x.answered += uint64(min(max(q.Size, 0), 65535))
		d.judge(e, x, domain, report)
		return
	}
	if !x.names.Add(detect.Hash(sub), maxNames) && x.names.Len() < maxNames {
		return // asked before: data does not repeat
	}
	changed := changes(sub, x.last)
	if identifier(changed) {
		x.ids++
	}
	x.last = sub
	x.questions++
	x.rate.Add(e.Time, time.Minute, 1)
	x.bytes += uint32(len(changed))
	// The mean over names, each by itself: entropy of short texts is biased alike.
	x.entropy += (detect.Entropy(changed) - x.entropy) / float64(x.questions)
	switch class {
	case 1:
		x.text++
	case 2:
		x.odd++
	}
	d.judge(e, x, domain, report)
}

func (d *Detector) excepted(domain, name string) bool {
	if len(d.allowed) == 0 {
		return false
	}
	if d.allowed[domain] {
		return true
	}
	for n := 0; n < 8; n++ {
		if d.allowed[name] {
			return true
		}
		i := strings.IndexByte(name, '.')
		if i < 0 {
			return false
		}
		name = name[i+1:]
	}
	return false
}

// ordinary reports whether the labels are of a kind that is looked up in bulk in normal
// work: reversed addresses (block lists), keys of mail, service records.
func ordinary(sub string) bool {
	if strings.HasSuffix(sub, "_domainkey") || strings.HasPrefix(sub, "_dmarc") || strings.HasPrefix(sub, "_acme-challenge") || strings.Contains(sub, "._tcp") || strings.Contains(sub, "._udp") || sub == "www" || sub == "mail" {
		return true
	}
	numbers := 0
	rest := sub
	for rest != "" && numbers < 4 {
		label := rest
		if i := strings.IndexByte(rest, '.'); i >= 0 {
			label, rest = rest[:i], rest[i+1:]
		} else {
			rest = ""
		}
		if len(label) > 3 || strings.Trim(label, "0123456789") != "" {
			return false
		}
		numbers++
	}
	return numbers == 4
}

// changes returns what of a name differs from the one before, by whole labels from the
// right: keys and channels that stay the same carry nothing.
func changes(sub, last string) string {
	for {
		i, j := strings.LastIndexByte(sub, '.'), strings.LastIndexByte(last, '.')
		if i < 0 || j < 0 || sub[i:] != last[j:] {
			return sub
		}
		sub, last = sub[:i], last[:j]
	}
}

// identifier reports whether a text is one label with a UUID or a number in hexadecimal of
// at most 160 bits.
func identifier(s string) bool {
	if len(s) < 8 || len(s) > 40 {
		return false
	}
	for i := 0; i < len(s); i++ {
		if c := s[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') && c != '-' {
			return false
		}
	}
	return true
}

// resolver reports whether a process asks on behalf of others.
func resolver(p *bollwerk.Process) bool {
	switch detect.Name(p) {
	case "coredns", "dnsmasq", "unbound", "named", "systemd-resolved", "pdns_recursor", "kresd", "node-cache", "dockerd", "pihole-FTL", "AdGuardHome":
		return true
	}
	return false
}

func (d *Detector) judge(e *bollwerk.Event, x *traffic, domain string, report func(*bollwerk.Detection)) {
	n := float64(x.questions)
	if n < 6 {
		return
	}
	mean := float64(x.bytes) / n
	carrying := float64(x.text+x.odd) / n
	var severity bollwerk.Severity
	// Services give each tenant or session a name, and a resolver asks for those of everybody:
	// only their number tells them from a tunnel.
	many := uint32(60)
	if 5*x.ids >= 4*x.questions || resolver(e.Process) {
		many = 200
	}
	switch {
	case x.odd >= 6 && mean >= 8:
		severity = bollwerk.SeverityHigh
	case x.questions >= 25 && mean >= 40 && x.entropy >= 3:
		severity = bollwerk.SeverityHigh
	case x.questions >= 25 && mean >= 14 && carrying >= 0.5 && x.entropy >= 2.5:
		severity = bollwerk.SeverityHigh
	case x.text >= 12 && x.answered >= 6<<10 && carrying >= 0.5 && mean >= 3:
		// The other direction: names are short, what comes back is long.
		severity = bollwerk.SeverityHigh
	case x.questions >= many && mean >= 24 && x.entropy >= 3.2, x.questions >= 10 && mean >= 70 && x.entropy >= 3.2:
		severity = bollwerk.SeverityMedium
	}
	if severity <= x.told {
		return
	}
	x.told = severity
	who := detect.Who(e.Process)
	det := detect.New(&info, e, domain, fmt.Sprintf("%s in %s asked %s for %d different names in %s, %.0f characters of each changing (%.1f bits per character), %.0f %% of them of types that carry data; about %d bytes went out, %d came in",
		who, detect.Where(e.Workload), detect.Text(domain), x.questions, max(e.Time.Sub(x.began), time.Second).Round(time.Second), mean, x.entropy, 100*carrying, x.bytes*5/8, x.answered))
	det.Severity = severity
	report(det)
}

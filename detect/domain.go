package detect

import (
	"math"
	"strings"
)

// Registered splits a DNS name into the part somebody registered and what stands before
// it: "a.b.example.co.uk" is "example.co.uk" and "a.b". It knows the common forms of
// suffixes with two labels (co.uk, com.br, gov.cn) and no list: a platform that gives
// names away below its own (github.io, cloudfront.net) counts as one domain, which is what
// counting per domain wants. A single label is its own domain.
func Registered(name string) (domain, sub string) {
	name = strings.TrimSuffix(name, ".")
	last := strings.LastIndexByte(name, '.')
	if last <= 0 {
		return name, ""
	}
	second := strings.LastIndexByte(name[:last], '.')
	if second < 0 {
		return name, ""
	}
	start := second + 1
	if len(name)-last-1 == 2 && generic(name[start:last]) {
		third := strings.LastIndexByte(name[:second], '.')
		if third < 0 {
			return name, ""
		}
		start = third + 1
	}
	return name[start:], name[:start-1]
}

// generic reports whether a label is one under which countries let others register.
func generic(label string) bool {
	switch label {
	case "co", "com", "net", "org", "gov", "edu", "ac", "or", "ne", "go", "gob", "gouv", "gv", "mil", "nom", "web", "sch", "ltd", "plc", "me", "info", "id", "res", "in", "govt", "asn", "school", "nhs", "police", "biz", "priv", "lg", "ad", "gr", "ed", "idf", "k12", "muni":
		return true
	}
	return false
}

// Inward reports whether a name does not leave the site: of the cluster, the local
// network, the reverse zones, or without a dot.
func Inward(name string) bool {
	i := strings.LastIndexByte(name, '.')
	if i < 0 {
		return true
	}
	switch name[i+1:] {
	case "local", "internal", "lan", "home", "corp", "intranet", "localdomain", "localhost", "arpa", "svc", "consul", "private", "test", "invalid", "example", "onion", "cluster", "docker", "podman", "k8s":
		return true
	}
	return false
}

// Entropy is Shannon's, in bits for each byte, dots left out. 0 for the empty text.
func Entropy(s string) float64 {
	var counts [256]uint16
	n := 0
	if len(s) > 60_000 {
		s = s[:60_000]
	}
	for i := 0; i < len(s); i++ {
		if s[i] != '.' {
			counts[s[i]]++
			n++
		}
	}
	if n == 0 {
		return 0
	}
	h := 0.0
	for _, c := range counts {
		if c > 0 {
			p := float64(c) / float64(n)
			h -= p * math.Log2(p)
		}
	}
	return h
}

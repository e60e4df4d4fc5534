// Package license owns the grammar of SPDX licence expressions and the list of
// identifiers they may use.
//
// Packages say their licence in every way there is ("GPLv2+", "MIT/Apache-2.0",
// "see LICENSE"); documents must hold valid expressions only, because readers
// refuse or drop a document that does not.
package license

import (
	"strings"
	"sync"
)

// known maps lower-case identifiers to their spelling.
var known = sync.OnceValue(func() map[string]id {
	m := map[string]id{}
	for _, s := range strings.Fields(enumerated) {
		m[strings.ToLower(s)] = id{s, true}
	}
	for _, s := range strings.Fields(newer) {
		m[strings.ToLower(s)] = id{s, false}
	}
	return m
})

var knownExceptions = sync.OnceValue(func() map[string]string {
	m := map[string]string{}
	for _, s := range strings.Fields(exceptions) {
		m[strings.ToLower(s)] = s
	}
	return m
})

type id struct {
	spelling   string
	enumerated bool
}

// ID returns the list's spelling of a licence identifier ("mit" gives "MIT").
// Enumerated says that CycloneDX 1.6's schema has it too.
func ID(s string) (spelling string, enumerated, ok bool) {
	v, ok := known()[strings.ToLower(s)]
	return v.spelling, v.enumerated, ok
}

// Bounds on what Expression looks at; real expressions stay far below.
const (
	maxLength = 4096
	maxDepth  = 32
)

// Expression returns the canonical spelling of an SPDX licence expression (SPDX
// 2.3, annex D) and whether s is one. LicenseRef- identifiers are not accepted:
// what they refer to is in another document.
func Expression(s string) (string, bool) {
	if len(s) > maxLength {
		return "", false
	}
	p := parser{tokens: tokens(s)}
	out, ok := p.or(0)
	if !ok || len(p.tokens) != 0 {
		return "", false
	}
	return out, true
}

// Simple reports whether a valid expression is a single identifier.
func Simple(expression string) bool { return !strings.ContainsAny(expression, " (") }

func tokens(s string) []string {
	s = strings.NewReplacer("(", " ( ", ")", " ) ").Replace(s)
	return strings.Fields(s)
}

type parser struct{ tokens []string }

func (p *parser) next() string {
	if len(p.tokens) == 0 {
		return ""
	}
	return p.tokens[0]
}

func (p *parser) or(depth int) (string, bool)  { return p.chain(depth, "OR", p.and) }
func (p *parser) and(depth int) (string, bool) { return p.chain(depth, "AND", p.with) }

func (p *parser) chain(depth int, word string, operand func(int) (string, bool)) (string, bool) {
	out, ok := operand(depth)
	if !ok {
		return "", false
	}
	for isOperator(p.next(), word) {
		p.tokens = p.tokens[1:]
		right, ok := operand(depth)
		if !ok {
			return "", false
		}
		out += " " + word + " " + right
	}
	return out, true
}

// isOperator: SPDX 2.3 wants operators in upper case; later versions and many
// package authors write lower case as well, and the meaning is not in doubt.
func isOperator(token, word string) bool {
	return token == word || token == strings.ToLower(word)
}

func (p *parser) with(depth int) (string, bool) {
	if p.next() == "(" {
		if depth >= maxDepth {
			return "", false
		}
		p.tokens = p.tokens[1:]
		out, ok := p.or(depth + 1)
		if !ok || p.next() != ")" {
			return "", false
		}
		p.tokens = p.tokens[1:]
		return "(" + out + ")", true
	}
	t := p.next()
	if t == "" {
		return "", false
	}
	out, _, ok := ID(t)
	if !ok {
		base, plus := strings.CutSuffix(t, "+")
		if out, _, ok = ID(base); !ok || !plus {
			return "", false
		}
		out += "+"
	}
	p.tokens = p.tokens[1:]
	if isOperator(p.next(), "WITH") {
		p.tokens = p.tokens[1:]
		e, ok := knownExceptions()[strings.ToLower(p.next())]
		if !ok {
			return "", false
		}
		p.tokens = p.tokens[1:]
		out += " WITH " + e
	}
	return out, true
}

// ListVersion is the version of the SPDX licence list in this package.
const ListVersion = "3.28"

package sigstore

import (
	"errors"
	"fmt"
	"regexp"
)

// Identity says who may have signed with a certificate. One of the two forms of
// identity and one of the two forms of issuer must be given: an identity without
// its issuer is a name that any identity provider can hand out.
type Identity struct {
	Identity       string // exact subject alternative name: mail address, URI
	IdentityRegexp string // must match the whole name: ^ and $ are implied
	Issuer         string // exact OpenID Connect issuer
	IssuerRegexp   string // must match the whole issuer
}

type matcher struct {
	identity, issuer     string
	identityRE, issuerRE *regexp.Regexp
}

const maxRegexp = 4096

func (id Identity) compile() (matcher, error) {
	m := matcher{identity: id.Identity, issuer: id.Issuer}
	if (id.Identity == "") == (id.IdentityRegexp == "") {
		return m, errors.New("identity: give either an exact identity or a regular expression")
	}
	if (id.Issuer == "") == (id.IssuerRegexp == "") {
		return m, errors.New("issuer: give either an exact issuer or a regular expression; an identity means nothing without who vouches for it")
	}
	var err error
	if m.identityRE, err = wholeRegexp("identity", id.IdentityRegexp); err != nil {
		return m, err
	}
	m.issuerRE, err = wholeRegexp("issuer", id.IssuerRegexp)
	return m, err
}

// wholeRegexp anchors an expression at both ends. sigstore-go and cosign do not:
// there "https://github.com/acme/app" also lets
// "https://evil.example/?https://github.com/acme/app" through. Go's expressions
// run in linear time, so a bound on the length is enough.
func wholeRegexp(what, expr string) (*regexp.Regexp, error) {
	if expr == "" {
		return nil, nil
	}
	if len(expr) > maxRegexp {
		return nil, fmt.Errorf("%s: regular expression of %d bytes, more than %d", what, len(expr), maxRegexp)
	}
	// Compiled alone first: "a)|(b" must not become well-formed by our brackets.
	if _, err := regexp.Compile(expr); err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	re, err := regexp.Compile(`\A(?:` + expr + `)\z`)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	return re, nil
}

func (m matcher) matches(identity, issuer string) bool {
	return identity != "" && issuer != "" &&
		matchOne(m.identity, m.identityRE, identity) && matchOne(m.issuer, m.issuerRE, issuer)
}

func matchOne(exact string, re *regexp.Regexp, s string) bool {
	if re != nil {
		return re.MatchString(s)
	}
	return s == exact
}

// demanded reports whether an identity that was vouched for is one that counts.
func (s *Scheme) demanded(identity, issuer string) bool {
	if s.any {
		return true
	}
	for _, m := range s.matchers {
		if m.matches(identity, issuer) {
			return true
		}
	}
	return false
}

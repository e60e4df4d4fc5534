package sigstore

import (
	"bytes"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"github.com/sigstore/sigstore-go/pkg/bundle"
	"github.com/sigstore/sigstore-go/pkg/fulcio/certificate"
	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/sigstore/sigstore-go/pkg/tlog"
	"github.com/sigstore/sigstore-go/pkg/verify"

	"github.com/bollwerk/bollwerk"
)

// Types of signatures, as policies know them.
const (
	typeKey     = "sigstore-key"
	typeKeyless = "sigstore-keyless"
)

// evidence is what a signature must cover: the bytes of a message, or, for a
// statement, a digest that it must name.
type evidence struct {
	message []byte
	digest  bollwerk.Digest
}

func (e evidence) policy() verify.ArtifactPolicyOption {
	if e.message != nil {
		return verify.WithArtifact(bytes.NewReader(e.message))
	}
	raw, err := hex.DecodeString(e.digest.Hex())
	if err != nil {
		raw = nil // a Digest of ours is hex; an empty one matches nothing
	}
	return verify.WithArtifactDigest(e.digest.Algorithm(), raw)
}

// verify decides on one bundle and writes the outcome into f.
func (s *Scheme) verify(f *bollwerk.SignatureFact, b *bundle.Bundle, e evidence) {
	vc, err := b.VerificationContent()
	if err != nil {
		f.Verdict, f.Cause = bollwerk.Fail, short(err)
		return
	}
	if leaf := vc.Certificate(); leaf != nil {
		f.Type = typeKeyless
		s.verifyCertificate(f, b, leaf, e)
		return
	}
	f.Type = typeKey
	s.verifyKey(f, b, e)
}

// verifyKey tries every trusted key. A signature by a key needs no log: the user
// vouches for the key. When a trusted root is given and the bundle has a log
// entry, the entry has to be right, though.
func (s *Scheme) verifyKey(f *bollwerk.SignatureFact, b *bundle.Bundle, e evidence) {
	if len(s.keys) == 0 {
		f.Verdict, f.Cause = bollwerk.NotEvaluated, "made with a key, and no public key was given (--key)"
		return
	}
	entries, err := b.TlogEntries()
	if err != nil {
		f.Verdict, f.Cause = bollwerk.Fail, short(err)
		return
	}
	stamps, err := b.Timestamps()
	if err != nil {
		f.Verdict, f.Cause = bollwerk.Fail, short(err)
		return
	}
	var opts []verify.VerifierOption
	checkLog := s.root != nil && !s.ignoreLog && len(entries) > 0
	if checkLog {
		opts = append(opts, verify.WithTransparencyLog(1))
	}
	if checkLog && b.HasInclusionPromise() || s.root != nil && len(stamps) > 0 && len(s.root.TimestampingAuthorities()) > 0 {
		opts = append(opts, verify.WithObserverTimestamps(1))
	} else {
		opts = append(opts, verify.WithNoObserverTimestamps())
	}
	var last error
	for _, k := range s.keys {
		f.KeyID = k.id
		var res *verify.VerificationResult
		v, err := verify.NewVerifier(k.material(s.root), opts...)
		if err == nil {
			res, err = v.Verify(b, verify.NewPolicy(e.policy(), verify.WithKey()))
		}
		if err != nil {
			last = err
			continue
		}
		f.Authentic, f.Verified, f.Verdict = true, true, bollwerk.Pass
		observed(f, res, entries, checkLog)
		switch {
		case checkLog:
		case len(entries) > 0:
			s.logUnchecked(f)
		default:
			f.Cause = "verified by key; there is no transparency log entry"
		}
		return
	}
	if len(s.keys) > 1 {
		f.KeyID = ""
	}
	f.Verdict, f.Cause = bollwerk.Fail, short(last)
}

// logUnchecked says of a signature that a key verified why its log entry was not looked at.
func (s *Scheme) logUnchecked(f *bollwerk.SignatureFact) {
	if s.ignoreLog {
		f.Verdict, f.Cause = bollwerk.Degraded, "the transparency log entry was ignored, as asked"
		return
	}
	f.Cause = "verified by key; the transparency log entry was not checked, because no trusted root was given"
}

// verifyCertificate verifies a signature whose key is vouched for by a certificate.
func (s *Scheme) verifyCertificate(f *bollwerk.SignatureFact, b *bundle.Bundle, leaf *x509.Certificate, e evidence) {
	// What the certificate claims is shown even when it is not believed.
	if sum, err := certificate.SummarizeCertificate(leaf); err == nil {
		f.Identity, f.Issuer = clip(sum.SubjectAlternativeName), clip(sum.Issuer)
	}
	if k, err := newKey(leaf.PublicKey); err == nil {
		f.KeyID = k.id
	}
	if s.root == nil {
		f.Verdict, f.Cause = bollwerk.NotEvaluated, "made with a certificate, and no trusted root was given (--trusted-root)"
		return
	}
	entries, err := b.TlogEntries()
	if err != nil {
		f.Verdict, f.Cause = bollwerk.Fail, short(err)
		return
	}
	stamps, err := b.Timestamps()
	if err != nil {
		f.Verdict, f.Cause = bollwerk.Fail, short(err)
		return
	}
	var lacks []string
	var opts []verify.VerifierOption
	switch {
	case !s.ignoreLog:
		opts = append(opts, verify.WithTransparencyLog(1), verify.WithObserverTimestamps(1))
	case len(stamps) > 0:
		lacks = append(lacks, "the transparency log was ignored, as asked")
		opts = append(opts, verify.WithSignedTimestamps(1))
	default:
		lacks = append(lacks, "the transparency log was ignored, as asked, and the certificate was checked against the present time")
		opts = append(opts, verify.WithCurrentTime())
	}
	switch {
	case s.ignoreSCT:
		lacks = append(lacks, "proof that the certificate was logged was ignored, as asked")
	case len(s.root.CTLogs()) == 0:
		lacks = append(lacks, "the trusted root names no certificate transparency log, so nobody proves that the certificate was logged")
	default:
		opts = append(opts, verify.WithSignedCertificateTimestamps(1))
	}
	v, err := verify.NewVerifier(s.root, opts...)
	var res *verify.VerificationResult
	if err == nil {
		res, err = v.Verify(b, verify.NewPolicy(e.policy(), verify.WithoutIdentitiesUnsafe()))
	}
	if err != nil {
		f.Verdict, f.Cause = bollwerk.Fail, short(err)
		return
	}
	f.Authentic = true
	observed(f, res, entries, !s.ignoreLog)
	sum := res.Signature.Certificate
	f.Identity, f.Issuer = sum.SubjectAlternativeName, sum.Issuer
	if !s.demanded(f.Identity, f.Issuer) {
		f.Verdict = bollwerk.Fail
		f.Cause = fmt.Sprintf("signed by %s (issuer %s), which is not a demanded identity", clip(f.Identity), clip(f.Issuer))
		if len(s.matchers) == 0 {
			f.Verdict, f.Cause = bollwerk.NotEvaluated, fmt.Sprintf("signed by %s (issuer %s), and no identity was demanded", clip(f.Identity), clip(f.Issuer))
		}
		return
	}
	f.Verified, f.Verdict = true, bollwerk.Pass
	if len(lacks) > 0 {
		f.Verdict, f.Cause = bollwerk.Degraded, strings.Join(lacks, "; ")
	}
}

// observed writes down when, and under which index of which log, a signature was
// seen by a third party. A timestamp authority is preferred: its clock is its trade.
func observed(f *bollwerk.SignatureFact, res *verify.VerificationResult, entries []*tlog.Entry, logChecked bool) {
	for _, ts := range res.VerifiedTimestamps {
		source := map[string]string{"Tlog": "log", "TimestampAuthority": "tsa"}[ts.Type]
		if source == "" || f.Time != nil && source != "tsa" {
			continue
		}
		t := ts.Timestamp.UTC()
		f.Time, f.TimeSource = &t, source
	}
	if logChecked && len(entries) == 1 {
		i := entries[0].LogIndex()
		f.LogIndex = &i
	}
}

// short makes one line of bounded length of an error; the libraries quote what
// they were given, which is an attacker's text.
func short(err error) string {
	if err == nil {
		err = errors.New("unknown error")
	}
	return clip(strings.Join(strings.Fields(err.Error()), " "))
}

func clip(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r == 0x1b {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, "?"))
	const limit = 400
	if len(s) > limit {
		s = strings.ToValidUTF8(s[:limit], "") + "…"
	}
	return s
}

var _ root.TimeConstrainedVerifier = key{}

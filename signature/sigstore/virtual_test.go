package sigstore

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"testing"
	"time"

	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/sigstore/sigstore-go/pkg/testing/ca"
	"github.com/sigstore/sigstore-go/pkg/tlog"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/signature"
	"github.com/bollwerk/bollwerk/signature/signaturetest"
)

// virtualRoot writes the trusted root of sigstore-go's own testing authority to
// JSON, as a user's file would come. Its certificates carry no proof of having
// been logged, so the root names no certificate log.
func virtualRoot(t *testing.T, v *ca.VirtualSigstore) []byte {
	t.Helper()
	logs := v.RekorLogs()
	for id, l := range logs {
		raw, err := hex.DecodeString(id)
		if err != nil {
			t.Fatal(err)
		}
		l.ID = raw // the testing authority keeps the hex digits here
	}
	tr, err := root.NewTrustedRoot(root.TrustedRootMediaType01, v.FulcioCertificateAuthorities(), nil, v.TimestampingAuthorities(), logs)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := tr.MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

type virtualParts struct {
	signature []byte
	envelope  *signaturetest.Envelope
	options   signaturetest.BundleOptions
	entry     signaturetest.LogEntry
}

// parts takes an entity of the testing authority apart.
func parts(t *testing.T, v *ca.VirtualSigstore, e *ca.TestEntity) virtualParts {
	t.Helper()
	sc, err := e.SignatureContent()
	if err != nil {
		t.Fatal(err)
	}
	vc, err := e.VerificationContent()
	if err != nil {
		t.Fatal(err)
	}
	entries, err := e.TlogEntries()
	if err != nil {
		t.Fatal(err)
	}
	stamps, err := e.Timestamps()
	if err != nil {
		t.Fatal(err)
	}
	tle := entries[0].TransparencyLogEntry()
	l := signaturetest.LogEntry{Kind: tle.GetKindVersion().GetKind(), Version: tle.GetKindVersion().GetVersion(), Body: tle.CanonicalizedBody, LogID: tle.LogId.KeyId, Time: tle.IntegratedTime, Index: tle.LogIndex}
	if l.Kind == "" {
		l.Kind, l.Version = "dsse", "0.0.1"
	}
	if p := tle.InclusionProof; p != nil {
		l.TreeSize, l.RootHash, l.Hashes, l.Checkpoint = p.TreeSize, p.RootHash, p.Hashes, p.GetCheckpoint().GetEnvelope()
	}
	if !entries[0].IsRekorV2() {
		// The authority does not give its promise out, but makes the same again.
		l.Promise, err = v.RekorSignPayload(tlog.RekorPayload{
			Body: base64.StdEncoding.EncodeToString(l.Body), IntegratedTime: l.Time, LogIndex: l.Index, LogID: hex.EncodeToString(l.LogID),
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	out := virtualParts{signature: sc.Signature(), entry: l, options: signaturetest.BundleOptions{
		Certificate: vc.Certificate(), Entries: []signaturetest.LogEntry{l}, Timestamps: stamps,
	}}
	if ec := sc.EnvelopeContent(); ec != nil {
		raw, err := ec.RawEnvelope().DecodeB64Payload()
		if err != nil {
			t.Fatal(err)
		}
		out.envelope = &signaturetest.Envelope{PayloadType: ec.RawEnvelope().PayloadType, Payload: raw,
			Signatures: []signaturetest.EnvelopeSignature{{Sig: sc.Signature()}}}
	}
	return out
}

// TestVirtualSigstore verifies what another hand signed: sigstore-go's testing
// authority, with its log (both versions) and its timestamp authority.
func TestVirtualSigstore(t *testing.T) {
	v, err := ca.NewVirtualSigstore()
	if err != nil {
		t.Fatal(err)
	}
	const who = "release@example.com"
	trust := Trust{Root: virtualRoot(t, v), Identities: []Identity{{IdentityRegexp: `.*@example\.com`, IssuerRegexp: "https://.*"}}}

	t.Run("cosign 2 with log and timestamp", func(t *testing.T) {
		w := newWorld(t)
		payload := signaturetest.Payload(w.digest)
		e, err := v.Sign(who, issuer, payload)
		if err != nil {
			t.Fatal(err)
		}
		p := parts(t, v, e)
		stamp, err := json.Marshal(map[string]any{"SignedRFC3161Timestamp": p.options.Timestamps[0]})
		if err != nil {
			t.Fatal(err)
		}
		layer := signaturetest.Layer{MediaType: signaturetest.MediaSimple, Content: payload}.With(
			signaturetest.AnnotationSignature, base64.StdEncoding.EncodeToString(p.signature),
			signaturetest.AnnotationCertificate, string(signaturetest.CertificatePEM(p.options.Certificate)),
			signaturetest.AnnotationBundle, p.entry.CosignBundle(t), signaturetest.AnnotationTimestamp, string(stamp))
		w.Attach(w.digest, ".sig", layer)
		got := w.check(trust)
		wantVerdict(t, got, bollwerk.Degraded, "names no certificate transparency log")
		if f := got.Signatures[0]; f.Identity != who || f.TimeSource != "tsa" || f.LogIndex == nil || *f.LogIndex != 1000 {
			t.Errorf("%+v", f)
		}
		// The timestamp alone dates the signature when the log is to be ignored.
		alone := trust
		alone.IgnoreLog = true
		delete(layer.Annotations, signaturetest.AnnotationBundle)
		w.Attach(w.digest, ".sig", layer)
		got = w.check(alone)
		wantVerdict(t, got, bollwerk.Degraded, "log was ignored")
		if f := got.Signatures[0]; f.TimeSource != "tsa" || f.LogIndex != nil {
			t.Errorf("%+v", f)
		}
		// A timestamp over another signature.
		other, err := v.TimestampResponse([]byte("another signature"))
		if err != nil {
			t.Fatal(err)
		}
		stamp, _ = json.Marshal(map[string]any{"SignedRFC3161Timestamp": other})
		w.Attach(w.digest, ".sig", layer.With(signaturetest.AnnotationTimestamp, string(stamp)))
		wantVerdict(t, w.check(alone), bollwerk.Fail, "timestamp")
	})
	t.Run("bundle with inclusion proof", func(t *testing.T) {
		w := newWorld(t)
		e, err := v.AttestAtTime(who, issuer, signaturetest.Statement(w.digest, signature.PredicateCosignSign, "{}"), time.Now().Add(5*time.Minute), true)
		if err != nil {
			t.Fatal(err)
		}
		p := parts(t, v, e)
		w.referBundle(signaturetest.BundleEnvelope(t, *p.envelope, p.options))
		wantVerdict(t, w.check(trust), bollwerk.Degraded, "names no certificate transparency log")
	})
	t.Run("bundle with the second version of the log", func(t *testing.T) {
		w := newWorld(t)
		e, err := v.AttestHashedRekordV2(who, issuer, signaturetest.Statement(w.digest, signature.PredicateSLSA1, signaturetest.SLSA1))
		if err != nil {
			t.Fatal(err)
		}
		p := parts(t, v, e)
		w.referBundle(signaturetest.BundleEnvelope(t, *p.envelope, p.options))
		got := w.check(trust, signature.PredicateSLSA1)
		wantVerdict(t, got, bollwerk.Degraded, "names no certificate transparency log")
		if f := got.Attestations[0]; f.TimeSource != "tsa" || got.SLSA == nil {
			t.Errorf("%+v", f)
		}
		// Without the timestamp nothing says when it was signed.
		p.options.Timestamps = nil
		w = newWorldWith(t, w)
		w.referBundle(signaturetest.BundleEnvelope(t, *p.envelope, p.options))
		wantVerdict(t, w.check(trust, signature.PredicateSLSA1), bollwerk.Fail, "timestamp")
	})
}

// newWorldWith is the same image with nothing beside it.
func newWorldWith(t *testing.T, old *world) *world {
	w := newWorld(t)
	if w.digest != old.digest {
		t.Fatal("the image changed")
	}
	return w
}

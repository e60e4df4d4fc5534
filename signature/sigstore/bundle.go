package sigstore

import (
	"errors"
	"fmt"

	protobundle "github.com/sigstore/protobuf-specs/gen/pb-go/bundle/v1"
	"github.com/sigstore/sigstore-go/pkg/bundle"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/signature"
)

const formatBundle = "sigstore-bundle"

// judgeBundle verifies a sigstore bundle. A bundle holds either a signature over
// the manifest's bytes, or a statement; cosign 3 signs images with a statement
// whose predicate type says that it is just a signature.
func (s *Scheme) judgeBundle(sub signature.Subject, _ bollwerk.Descriptor, raw []byte) signature.Judgement {
	plain := &bollwerk.SignatureFact{Format: formatBundle}
	j := signature.Judgement{Signature: plain}
	if err := signature.CheckJSON(raw); err != nil {
		return failed(j, fmt.Errorf("bundle: %w", err))
	}
	b := new(bundle.Bundle)
	if err := b.UnmarshalJSON(raw); err != nil {
		if errors.Is(err, bundle.ErrUnsupportedMediaType) {
			return unknown(j, fmt.Sprintf("%v: this version of the bundle format is not known here", err))
		}
		return failed(j, fmt.Errorf("bundle: %w", err))
	}
	switch content := b.Content.(type) {
	case *protobundle.Bundle_MessageSignature:
		s.verify(plain, b, evidence{message: sub.Manifest})
		return j
	case *protobundle.Bundle_DsseEnvelope:
		f := &bollwerk.AttestationFact{SignatureFact: *plain}
		err := describeStatement(f, sub, content.DsseEnvelope.GetPayloadType(), content.DsseEnvelope.GetPayload())
		if f.PredicateType != signature.PredicateCosignSign {
			j = signature.Judgement{Attestation: f}
		}
		if err != nil {
			return failed(j, err)
		}
		if j.Signature != nil {
			s.verify(plain, b, evidence{digest: sub.Digest})
			return j
		}
		s.verify(&f.SignatureFact, b, evidence{digest: sub.Digest})
		if !f.Verified {
			f.SLSA = nil
		}
		return j
	}
	return failed(j, errors.New("bundle: neither a signature nor a statement"))
}

// describeStatement fills in what an unverified statement says about itself, and
// checks that it speaks of the subject: a statement about another image, replayed
// here, is refused before any cryptography.
func describeStatement(f *bollwerk.AttestationFact, sub signature.Subject, payloadType string, payload []byte) error {
	f.Size = len(payload)
	if payloadType != signature.PayloadTypeInToto {
		return fmt.Errorf("envelope: payload type %q: want %s", payloadType, signature.PayloadTypeInToto)
	}
	st, err := signature.ParseStatement(payload)
	if err != nil {
		return err
	}
	f.PredicateType = st.PredicateType
	if !st.About(sub.Digest) {
		return fmt.Errorf("the statement is about %s, not about this artifact", st.SubjectNames())
	}
	f.SLSA, err = st.SLSA()
	return err
}

func failed(j signature.Judgement, err error) signature.Judgement {
	set(j, bollwerk.Fail, short(err))
	return j
}

// unknown is for what is well-formed as far as one can see, and of a form that is
// not known here.
func unknown(j signature.Judgement, cause string) signature.Judgement {
	set(j, bollwerk.NotEvaluated, cause)
	j.Unknown = true
	return j
}

func set(j signature.Judgement, v bollwerk.Verdict, cause string) {
	f := j.Fact()
	if j.Attestation != nil {
		j.Attestation.SLSA = nil
	}
	f.Verdict, f.Cause = v, cause
}

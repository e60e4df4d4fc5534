package signature

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/bollwerk/bollwerk"
)

// PayloadTypeInToto is the only DSSE payload type that carries statements
// (in-toto attestation framework, envelope.md).
const PayloadTypeInToto = "application/vnd.in-toto+json"

// Predicate types with a meaning here.
const (
	PredicateSLSA02     = "https://slsa.dev/provenance/v0.2"
	PredicateSLSA1      = "https://slsa.dev/provenance/v1"
	PredicateSPDX       = "https://spdx.dev/Document"
	PredicateCycloneDX  = "https://cyclonedx.org/bom"
	PredicateVuln       = "https://cosign.sigstore.dev/attestation/vuln/v1"
	PredicateCustom     = "https://cosign.sigstore.dev/attestation/v1"
	PredicateOpenVEX    = "https://openvex.dev/ns"
	PredicateLink       = "https://in-toto.io/Link/v1"
	PredicateCosignSign = "https://sigstore.dev/cosign/sign/v1" // not an attestation: how cosign 3 signs images
)

const (
	maxSubjects  = 1024
	maxMaterials = 1000
)

// PredicateType turns a short name, as cosign has them, or a URI into a predicate type.
func PredicateType(s string) (string, error) {
	switch s {
	case "slsaprovenance02", "slsa-v0.2":
		return PredicateSLSA02, nil
	case "slsaprovenance1", "slsaprovenance", "slsa":
		return PredicateSLSA1, nil
	case "spdx", "spdxjson":
		return PredicateSPDX, nil
	case "cyclonedx":
		return PredicateCycloneDX, nil
	case "vuln":
		return PredicateVuln, nil
	case "custom":
		return PredicateCustom, nil
	case "openvex":
		return PredicateOpenVEX, nil
	case "link":
		return PredicateLink, nil
	}
	if strings.Contains(s, "://") {
		return s, nil
	}
	return "", fmt.Errorf("predicate type %q: want slsaprovenance1, slsaprovenance02, spdx, cyclonedx, vuln, openvex, link, custom or a URI", s)
}

// Statement is an in-toto statement, v0.1 or v1.
type Statement struct {
	PredicateType string
	Subjects      []StatementSubject
	Predicate     json.RawMessage
}

// StatementSubject is one thing a statement is about.
type StatementSubject struct {
	Name        string            `json:"name"`
	Digest      map[string]string `json:"digest"` // algorithm → hex
	Annotations map[string]any    `json:"annotations"`
}

// ParseStatement reads the payload of a DSSE envelope. Ambiguous JSON is refused.
func ParseStatement(raw []byte) (*Statement, error) {
	if err := checkJSON(raw); err != nil {
		return nil, fmt.Errorf("statement: %w", err)
	}
	var s struct {
		Type          string             `json:"_type"`
		PredicateType string             `json:"predicateType"`
		Subject       []StatementSubject `json:"subject"`
		Predicate     json.RawMessage    `json:"predicate"`
	}
	if err := json.Unmarshal(raw, &s); err != nil {
		return nil, fmt.Errorf("statement: %w", err)
	}
	switch s.Type {
	case "https://in-toto.io/Statement/v0.1", "https://in-toto.io/Statement/v1":
	default:
		return nil, fmt.Errorf("statement: type %q: want https://in-toto.io/Statement/v1", s.Type)
	}
	if s.PredicateType == "" {
		return nil, errors.New("statement: no predicate type")
	}
	if len(s.Subject) == 0 || len(s.Subject) > maxSubjects {
		return nil, fmt.Errorf("statement: %d subjects: want 1 to %d", len(s.Subject), maxSubjects)
	}
	return &Statement{PredicateType: s.PredicateType, Subjects: s.Subject, Predicate: s.Predicate}, nil
}

// About reports whether one of the subjects is the given digest.
func (s *Statement) About(d bollwerk.Digest) bool {
	for _, sub := range s.Subjects {
		if sub.Digest[d.Algorithm()] == d.Hex() {
			return true
		}
	}
	return false
}

// SubjectNames is a short list of what the statement is about, for messages.
func (s *Statement) SubjectNames() string {
	var b strings.Builder
	for i, sub := range s.Subjects {
		if i == 3 {
			fmt.Fprintf(&b, " and %d more", len(s.Subjects)-3)
			break
		}
		if i > 0 {
			b.WriteString(", ")
		}
		if h := sub.Digest["sha256"]; h != "" {
			b.WriteString(bollwerk.Digest("sha256:" + h).Short())
		} else {
			fmt.Fprintf(&b, "%.80q", sub.Name)
		}
	}
	return b.String()
}

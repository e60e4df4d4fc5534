package bom

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// Predicate takes the document out of an attestation: an in-toto statement
// (https://github.com/in-toto/attestation), bare or in a DSSE envelope, as
// `cosign download attestation` and BuildKit give them. The predicate may be the
// document itself or, as older cosign wrote it, a string that holds it under
// "Data". At most limit bytes are read.
//
// No signature is checked: what an attestation proves is not this package's to say.
func Predicate(r io.Reader, limit int64) (predicateType string, document []byte, err error) {
	data, err := io.ReadAll(LimitReader(r, limit))
	if err != nil {
		return "", nil, fmt.Errorf("attestation: %w", err)
	}
	for range 3 {
		var s struct {
			Payload       string          `json:"payload"`
			PredicateType string          `json:"predicateType"`
			Predicate     json.RawMessage `json:"predicate"`
		}
		if err := json.Unmarshal(data, &s); err != nil {
			return "", nil, fmt.Errorf("attestation: %w", err)
		}
		switch {
		case s.Payload != "":
			if data, err = base64.StdEncoding.DecodeString(s.Payload); err != nil {
				return "", nil, fmt.Errorf("attestation: payload: %w", err)
			}
		case s.PredicateType != "" && len(s.Predicate) > 0:
			var old struct {
				Data *string `json:"Data"`
			}
			if json.Unmarshal(s.Predicate, &old) == nil && old.Data != nil {
				return s.PredicateType, []byte(*old.Data), nil
			}
			return s.PredicateType, s.Predicate, nil
		default:
			return "", nil, errors.New("attestation: no predicate")
		}
	}
	return "", nil, errors.New("attestation: envelopes lie inside each other")
}

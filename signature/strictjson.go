package signature

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
)

// maxDepth bounds nesting of everything that is signed; real statements need about ten.
const maxDepth = 64

// CheckJSON refuses JSON that two readers may understand differently: a key that
// occurs twice in an object (also when only the case differs, because Go's reader
// ignores case and others do not), anything behind the value, or nesting deeper
// than 64. Signatures are judged by several programs one after the other; an
// attacker's best friend is a document that says one thing to each.
func CheckJSON(raw []byte) error { return checkJSON(raw) }

func checkJSON(raw []byte) error {
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	// One frame per open object or array; keys is nil for arrays.
	type frame struct {
		keys  map[string]bool
		isKey bool
	}
	var stack []frame
	for {
		tok, err := dec.Token()
		if errors.Is(err, io.EOF) && len(stack) == 0 {
			return errors.New("empty JSON document")
		}
		if err != nil {
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return fmt.Errorf("JSON: %w", err)
		}
		value := true
		switch t := tok.(type) {
		case json.Delim:
			switch t {
			case '{', '[':
				if len(stack) == maxDepth {
					return fmt.Errorf("JSON nested deeper than %d", maxDepth)
				}
				f := frame{}
				if t == '{' {
					f.keys, f.isKey = map[string]bool{}, true
				}
				stack = append(stack, f)
				continue
			default:
				stack = stack[:len(stack)-1]
			}
		case string:
			if n := len(stack); n > 0 && stack[n-1].isKey {
				k := strings.ToLower(t)
				if stack[n-1].keys[k] {
					return fmt.Errorf("JSON object with the key %q twice", t)
				}
				stack[n-1].keys[k] = true
				stack[n-1].isKey = false
				value = false
			}
		}
		if !value {
			continue
		}
		if n := len(stack); n > 0 {
			stack[n-1].isKey = stack[n-1].keys != nil
			continue
		}
		if _, err := dec.Token(); !errors.Is(err, io.EOF) {
			return errors.New("JSON document with something behind its end")
		}
		return nil
	}
}

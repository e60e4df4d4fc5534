package bom

import (
	"encoding/json"
	"fmt"
	"io"
)

// Rest reads the members of a JSON object whose opening brace was read, up to the end
// of the document. For each key, member reads the value behind it from dec.
func Rest(dec *json.Decoder, member func(key string) error) error {
	for dec.More() {
		t, err := dec.Token()
		if err != nil {
			return Unexpected(err)
		}
		key, _ := t.(string)
		if err := member(key); err != nil {
			return Unexpected(err)
		}
	}
	if _, err := dec.Token(); err != nil { // the closing brace
		return Unexpected(err)
	}
	if t, err := dec.Token(); err != io.EOF {
		if err != nil {
			return err
		}
		return fmt.Errorf("%v follows the end of the document", t)
	}
	return nil
}

// Unexpected makes the end of a stream inside a document what it is: an error.
func Unexpected(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// Array calls each for every element of the array that follows; null is an empty one.
func Array(dec *json.Decoder, each func() error) error {
	t, err := dec.Token()
	if err != nil {
		return err
	}
	if t == nil {
		return nil
	}
	if t != json.Delim('[') {
		return fmt.Errorf("byte %d: want an array", dec.InputOffset())
	}
	for dec.More() {
		if err := each(); err != nil {
			return err
		}
	}
	_, err = dec.Token()
	return err
}

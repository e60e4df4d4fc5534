package spdx

import (
	"io"
	"testing"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/internal/bom"
	"github.com/bollwerk/bollwerk/internal/bom/bomtest"
)

func TestRoundTrip(t *testing.T) {
	bomtest.RoundTrip(t,
		func(w io.Writer, r *bollwerk.Result) error { return Write(w, r, Options{}) },
		func(r io.Reader) (bom.Document, error) { return Read(r, ReadOptions{}) })
}

// Package erlang owns recognising an installed Erlang/OTP.
package erlang

import (
	"context"
	"io"
	"strings"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/sbom"
)

// Runtime reads releases/RELEASE/OTP_VERSION, the one file that says which version of
// OTP is installed; the emulator itself names the release only.
// https://www.erlang.org/doc/system/versions.html, "OTP Version".
type Runtime struct{}

func (Runtime) Name() string                  { return "erlang/otp" }
func (Runtime) Ecosystem() bollwerk.Ecosystem { return bollwerk.EcosystemBinary }
func (Runtime) Hints() sbom.Hints             { return sbom.Hints{Bases: []string{"OTP_VERSION"}} }

func (Runtime) Wants(f *bollwerk.File) bool {
	return strings.HasSuffix(f.Path, "/OTP_VERSION") && strings.Contains(f.Path, "releases/")
}

// Extract takes the first word. "**" behind it marks an installation that was patched
// by hand.
func (Runtime) Extract(_ context.Context, in *sbom.Input) (bollwerk.Inventory, error) {
	data, err := io.ReadAll(io.LimitReader(in.Reader, 128))
	if err != nil {
		return bollwerk.Inventory{}, err
	}
	v, _, _ := strings.Cut(strings.TrimSpace(string(data)), "\n")
	v = strings.TrimRight(strings.TrimSpace(v), "*")
	if v == "" || v[0] < '0' || v[0] > '9' || strings.ContainsFunc(v, func(r rune) bool {
		return r != '.' && r != '-' && (r < '0' || r > '9') && (r < 'a' || r > 'z')
	}) {
		in.Problem("no version of OTP in it")
		return bollwerk.Inventory{}, nil
	}
	return bollwerk.Inventory{Packages: []bollwerk.Package{{Name: "erlang", Version: v, Ecosystem: bollwerk.EcosystemBinary}}}, nil
}

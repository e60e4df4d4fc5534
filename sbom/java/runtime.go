package java

import (
	"bufio"
	"context"
	"errors"
	"io"
	"strings"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/sbom"
)

// Runtime reads the file "release" at the top of every JDK and JRE since Java 7.
type Runtime struct{}

func (Runtime) Name() string                  { return "java/runtime" }
func (Runtime) Ecosystem() bollwerk.Ecosystem { return bollwerk.EcosystemBinary }
func (Runtime) Hints() sbom.Hints             { return sbom.Hints{Bases: []string{"release"}} }

func (Runtime) Wants(f *bollwerk.File) bool {
	return f.Size < 64<<10 && (f.Path == "release" || strings.HasSuffix(f.Path, "/release"))
}

// Extract names the run-time "java", and the version as its vendor writes it.
func (Runtime) Extract(ctx context.Context, in *sbom.Input) (bollwerk.Inventory, error) {
	version := ""
	sc := bufio.NewScanner(io.LimitReader(in.Reader, 64<<10))
	for sc.Scan() {
		if v, ok := strings.CutPrefix(sc.Text(), "JAVA_VERSION="); ok {
			version = strings.Trim(strings.TrimSpace(v), `"`)
		}
	}
	if err := sc.Err(); err != nil && !errors.Is(err, bufio.ErrTooLong) {
		return bollwerk.Inventory{}, err
	}
	if version == "" {
		return bollwerk.Inventory{}, nil // another program's file of that name
	}
	return bollwerk.Inventory{Packages: []bollwerk.Package{{Name: "java", Version: version, Ecosystem: bollwerk.EcosystemBinary}}}, nil
}

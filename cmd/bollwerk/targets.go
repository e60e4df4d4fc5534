package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/artifact"
	"github.com/bollwerk/bollwerk/artifact/base"
	"github.com/bollwerk/bollwerk/artifact/dir"
	"github.com/bollwerk/bollwerk/artifact/oci"
	"github.com/bollwerk/bollwerk/artifact/single"
	"github.com/bollwerk/bollwerk/internal/bom"
	"github.com/bollwerk/bollwerk/internal/sbomformat"
	"github.com/bollwerk/bollwerk/sbom"
	"github.com/bollwerk/bollwerk/sbom/all"
	"github.com/bollwerk/bollwerk/sbom/cyclonedx"
	"github.com/bollwerk/bollwerk/sbom/secrets"
	"github.com/bollwerk/bollwerk/sbom/spdx"
	"github.com/bollwerk/bollwerk/scan"
)

// openFlags say how targets are reached; several verbs share them.
type openFlags struct {
	platform string
	insecure bool
	caFile   string
	mirrors  []string
	skip     []string
	network  bool
	stall    time.Duration
}

func (f *openFlags) register(fl *pflag.FlagSet) {
	fl.StringVar(&f.platform, "platform", "", "`OS/ARCH[/VARIANT]` of an image for several platforms (default linux and this machine's)")
	fl.BoolVar(&f.insecure, "insecure", false, "allow registries over plain HTTP and certificates nobody vouches for")
	fl.StringVar(&f.caFile, "ca", "", "further certificate authorities for registries, a PEM `FILE`")
	fl.StringArrayVar(&f.mirrors, "registry-mirror", nil, "ask a mirror first: `HOST=MIRROR`; may be repeated")
	fl.DurationVar(&f.stall, "stall", time.Minute, "give up when a registry or daemon sends nothing for `TIME`")
	fl.StringArrayVar(&f.skip, "skip", nil, "leave out what matches `GLOB` in a directory; may be repeated")
	fl.BoolVar(&f.network, "network-mounts", false, "read mounted network file systems in a directory too")
}

func (f *openFlags) ociOptions(e *env) (oci.Options, error) {
	o := oci.Options{Platform: f.platform, Insecure: f.insecure, CAFile: f.caFile, IdleTimeout: f.stall, Getenv: e.getenv}
	if f.stall < 0 {
		return o, usageError(fmt.Errorf("--stall %s: want a time, e.g. 30s", f.stall))
	}
	for _, m := range f.mirrors {
		host, mirror, ok := strings.Cut(m, "=")
		if !ok || host == "" || mirror == "" {
			return o, usageError(fmt.Errorf("--registry-mirror %q: want HOST=MIRROR, e.g. docker.io=mirror.example:5000", m))
		}
		if o.Mirrors == nil {
			o.Mirrors = map[string]string{}
		}
		o.Mirrors[host] = mirror
	}
	if f.platform != "" {
		if _, err := oci.ParsePlatform(f.platform); err != nil {
			return o, usageError(fmt.Errorf("--platform: %w", err))
		}
	}
	return o, nil
}

// openTarget opens anything but an SBOM.
func openTarget(ctx context.Context, e *env, f *openFlags, scheme artifact.Scheme, rest string) (artifact.Source, error) {
	switch scheme {
	case artifact.SchemeDir, artifact.SchemeHost:
		return dir.Open(rest, scheme == artifact.SchemeHost, dir.Options{Skip: f.skip, Network: f.network})
	case artifact.SchemeFile:
		return single.Open(rest, single.Options{})
	}
	o, err := f.ociOptions(e)
	if err != nil {
		return nil, err
	}
	return oci.Open(ctx, scheme, rest, o)
}

// scanTarget opens the target and scans it.
func scanTarget(ctx context.Context, e *env, f *scanFlags, target string, o scan.Options) (*bollwerk.Result, error) {
	scheme, rest, err := artifact.Detect(target)
	if err != nil {
		if errors.Is(err, artifact.ErrTarget) {
			return nil, usageError(err)
		}
		return nil, err
	}
	store, err := baseStore(e)
	if err != nil {
		return nil, err
	}
	if store != nil {
		o.Base = store.Recognise
	}
	if scheme == artifact.SchemeSBOM {
		d, err := readSBOM(rest)
		if err != nil {
			return nil, err
		}
		d.Artifact.Ref = target
		if d.Artifact.Name == "" {
			d.Artifact.Name = filepath.Base(rest)
		}
		return scan.SBOM(ctx, d, o)
	}
	if o.Extractors, err = extractors(&o, f.noSecrets); err != nil {
		return nil, err
	}
	if !f.noCache {
		dir, err := e.cacheDir()
		if err == nil {
			o.Cache, err = scan.OpenCache(filepath.Join(dir, "layers"), setName(e, f), int64(f.cacheMB)<<20)
		}
		if err != nil {
			e.say("bollwerk: layers are not cached: %v", err)
		}
	}
	src, err := openTarget(ctx, e, &f.open, scheme, rest)
	if err != nil {
		return nil, err
	}
	defer src.Close()
	return scan.Artifact(ctx, src, o)
}

// extractors compiles the extractors, without those that look for credentials when
// nobody wants that, and lets the same ones look into the image configuration.
func extractors(o *scan.Options, noSecrets bool) (*sbom.Set, error) {
	var list []sbom.Extractor
	for _, x := range all.Extractors() {
		if s, ok := x.(*secrets.Extractor); ok {
			if noSecrets {
				continue
			}
			o.Secrets = s.SearchText
		}
		list = append(list, x)
	}
	return sbom.NewSet(list...)
}

// setName names what the extractors can do: a new build may find more in the same layer.
func setName(e *env, f *scanFlags) string {
	build := e.version
	if build == "devel" {
		// Builds of a work tree have no version; the file itself tells them apart.
		if exe, err := os.Executable(); err == nil {
			if info, err := os.Stat(exe); err == nil {
				build = fmt.Sprintf("devel-%d-%d", info.Size(), info.ModTime().UnixNano())
			}
		}
	}
	return fmt.Sprintf("%s parts=%v secrets=%t", build, sbom.PartVersion, !f.noSecrets)
}

// maxPredicate bounds the document inside an attestation.
const maxPredicate = 512 << 20

// readSBOM reads a document of any format that is known; out of an attestation it
// takes the document first.
func readSBOM(name string) (bom.Document, error) {
	f, err := os.Open(name)
	if err != nil {
		return bom.Document{}, err
	}
	defer f.Close()
	d, err := readDocument(f, name, true)
	if err != nil {
		return bom.Document{}, fmt.Errorf("%s: %w", name, err)
	}
	return d, nil
}

func readDocument(r io.Reader, name string, attested bool) (bom.Document, error) {
	in := bufio.NewReaderSize(r, sbomformat.HeadSize)
	head, err := in.Peek(sbomformat.HeadSize)
	if err != nil && err != io.EOF {
		return bom.Document{}, err
	}
	format, _ := sbomformat.Detect(head)
	switch {
	case format.Standard() == "cyclonedx":
		return cyclonedx.Read(in, cyclonedx.ReadOptions{Source: name})
	case format.Standard() == "spdx":
		return spdx.Read(in, spdx.ReadOptions{})
	case format == sbomformat.InToto && attested:
		kind, doc, err := bom.Predicate(in, maxPredicate)
		if err != nil {
			return bom.Document{}, err
		}
		d, err := readDocument(bytes.NewReader(doc), name, false)
		if err != nil {
			return bom.Document{}, fmt.Errorf("attestation of %s: %w", kind, err)
		}
		return d, nil
	}
	return bom.Document{}, errors.New("not an SBOM: neither CycloneDX (JSON, XML) nor SPDX (JSON, tag-value)")
}

// baseStore opens the registered base images; nil when there is no place for them.
func baseStore(e *env) (*base.Store, error) {
	d, err := e.cacheDir()
	if err != nil {
		return nil, nil
	}
	return base.Open(filepath.Join(d, "bases.json"))
}

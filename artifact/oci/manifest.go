package oci

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/artifact"
)

// descriptor points to content (image-spec descriptor.md).
type descriptor struct {
	MediaType    string            `json:"mediaType"`
	Digest       bollwerk.Digest   `json:"digest"`
	Size         int64             `json:"size"`
	Annotations  map[string]string `json:"annotations"`
	Platform     *platform         `json:"platform"`
	ArtifactType string            `json:"artifactType"`
	URLs         []string          `json:"urls"`
}

type platform struct {
	Architecture string `json:"architecture"`
	OS           string `json:"os"`
	Variant      string `json:"variant"`
}

func (p platform) String() string {
	s := p.OS + "/" + p.Architecture
	if p.Variant != "" {
		s += "/" + p.Variant
	}
	return s
}

// manifestDoc is an image manifest or an index: the two have no fields in common
// that differ, and a document that claims to be both is refused.
type manifestDoc struct {
	SchemaVersion int             `json:"schemaVersion"`
	MediaType     string          `json:"mediaType"`
	Config        *descriptor     `json:"config"`
	Layers        []descriptor    `json:"layers"`
	Manifests     []descriptor    `json:"manifests"`
	FSLayers      json.RawMessage `json:"fsLayers"` // schema 1
}

type configDoc struct {
	platform
	Created *time.Time `json:"created"`
	Config  struct {
		User         string
		Env          []string
		Entrypoint   stringList
		Cmd          stringList
		Labels       map[string]string
		ExposedPorts map[string]json.RawMessage
		Volumes      map[string]json.RawMessage
		WorkingDir   string
		StopSignal   string
		Healthcheck  *struct{ Test []string }
	} `json:"config"`
	RootFS struct {
		Type    string            `json:"type"`
		DiffIDs []bollwerk.Digest `json:"diff_ids"`
	} `json:"rootfs"`
	History []struct {
		Created    *time.Time `json:"created"`
		CreatedBy  string     `json:"created_by"`
		Comment    string     `json:"comment"`
		EmptyLayer bool       `json:"empty_layer"`
	} `json:"history"`
}

// stringList accepts one string where a list is meant: old builders wrote that.
type stringList []string

func (l *stringList) UnmarshalJSON(b []byte) error {
	if len(b) > 0 && b[0] == '"' {
		var s string
		if err := json.Unmarshal(b, &s); err != nil {
			return err
		}
		*l = stringList{s}
		return nil
	}
	return json.Unmarshal(b, (*[]string)(l))
}

// store is where the blobs of an image are.
type store interface {
	// open begins to read the stored bytes of a blob. The caller verifies them.
	open(ctx context.Context, d descriptor) (io.ReadCloser, error)
}

// readDocument reads a small blob (manifest, index, configuration) and verifies it.
func readDocument(ctx context.Context, s store, d descriptor, what string, limit int64) ([]byte, error) {
	if _, err := bollwerk.ParseDigest(string(d.Digest)); err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	if d.Size > limit {
		return nil, tooLarge(fmt.Sprintf("%s %s", what, d.Digest), d.Size, limit)
	}
	rc, err := s.open(ctx, d)
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", what, d.Digest, err)
	}
	defer rc.Close()
	b, err := io.ReadAll(io.LimitReader(rc, limit+1))
	if err != nil {
		return nil, fmt.Errorf("%s %s: reading: %w", what, d.Digest, err)
	}
	if int64(len(b)) > limit {
		return nil, tooLarge(fmt.Sprintf("%s %s", what, d.Digest), int64(len(b)), limit)
	}
	if d.Size > 0 && int64(len(b)) != d.Size {
		return nil, fmt.Errorf("%s %s: %d bytes, its descriptor says %d", what, d.Digest, len(b), d.Size)
	}
	if got := contentDigest(d.Digest.Algorithm(), b); got != d.Digest {
		return nil, &mismatch{fmt.Sprintf("%s %s: content has the digest %s", what, d.Digest, got)}
	}
	return b, nil
}

type mismatch struct{ msg string }

func (e *mismatch) Error() string        { return e.msg }
func (e *mismatch) Is(target error) bool { return target == artifact.ErrDigest }

type limited struct{ msg string }

func (e *limited) Error() string        { return e.msg }
func (e *limited) Is(target error) bool { return target == artifact.ErrLimit }

func tooLarge(what string, n, limit int64) error {
	return &limited{fmt.Sprintf("%s: %d bytes or more, limit %d", what, n, limit)}
}

func contentDigest(algorithm string, b []byte) bollwerk.Digest {
	if algorithm == "sha512" {
		s := sha512.Sum512(b)
		return bollwerk.Digest("sha512:" + hex.EncodeToString(s[:]))
	}
	s := sha256.Sum256(b)
	return bollwerk.Digest("sha256:" + hex.EncodeToString(s[:]))
}

func parseManifest(b []byte, what string) (*manifestDoc, error) {
	var m manifestDoc
	if err := json.Unmarshal(b, &m); err != nil {
		return nil, fmt.Errorf("%s: not a manifest: %w", what, err)
	}
	if m.Config != nil && m.Manifests != nil {
		return nil, fmt.Errorf("%s: claims to be both a manifest and an index", what)
	}
	if m.FSLayers != nil && m.Config == nil {
		return nil, fmt.Errorf("%s: schema 1 manifests are no longer supported; push the image again with a current client", what)
	}
	if m.Config == nil && m.Manifests == nil {
		return nil, fmt.Errorf("%s: neither a manifest (no config) nor an index (no manifests)", what)
	}
	return &m, nil
}

// ParsePlatform reads os/arch[/variant]; "" is linux on this machine's architecture.
func ParsePlatform(s string) (string, error) {
	p, err := parsePlatform(s)
	return p.String(), err
}

func parsePlatform(s string) (platform, error) {
	if s == "" {
		return platform{OS: "linux", Architecture: runtime.GOARCH}, nil
	}
	parts := strings.Split(s, "/")
	if len(parts) < 2 || len(parts) > 3 || slices.Contains(parts, "") {
		return platform{}, fmt.Errorf("platform %q: want os/arch or os/arch/variant, such as linux/arm64", s)
	}
	p := platform{OS: parts[0], Architecture: parts[1]}
	if len(parts) == 3 {
		p.Variant = parts[2]
	}
	return p.normal(), nil
}

// normal maps the names uname knows to those of Go, and drops arm64's only variant.
func (p platform) normal() platform {
	switch p.Architecture {
	case "x86_64", "x86-64":
		p.Architecture = "amd64"
	case "aarch64":
		p.Architecture = "arm64"
	}
	if p.Architecture == "arm64" && p.Variant == "v8" {
		p.Variant = ""
	}
	return p
}

// matches reports whether an image for p runs where want is asked for. A variant
// counts only when it is asked for.
func (p platform) matches(want platform) bool {
	p = p.normal()
	return p.OS == want.OS && p.Architecture == want.Architecture && (want.Variant == "" || p.Variant == want.Variant)
}

// maxIndexDepth bounds indexes inside indexes.
const maxIndexDepth = 4

// resolver finds the one manifest that is meant below an index.
type resolver struct {
	store store
	limit int64
	want  platform
	seen  int
}

// found is a verified manifest.
type found struct {
	desc descriptor
	doc  *manifestDoc
}

// resolve follows d to an image manifest. raw, if not nil, is d's verified content.
func (r *resolver) resolve(ctx context.Context, d descriptor, raw []byte) (*found, error) {
	var offered []string
	f, err := r.descend(ctx, d, raw, 0, &offered)
	if err != nil || f != nil {
		return f, err
	}
	slices.Sort(offered)
	offered = slices.Compact(offered)
	if len(offered) == 0 {
		return nil, errors.New("the index lists no image")
	}
	return nil, fmt.Errorf("no image for platform %s; choose one with --platform: %s", r.want, strings.Join(offered, ", "))
}

func (r *resolver) descend(ctx context.Context, d descriptor, raw []byte, depth int, offered *[]string) (*found, error) {
	if depth > maxIndexDepth {
		return nil, fmt.Errorf("index %s: nested more than %d deep", d.Digest, maxIndexDepth)
	}
	if r.seen++; r.seen > 200 {
		return nil, errors.New("the index leads to more than 200 manifests")
	}
	if raw == nil {
		var err error
		if raw, err = readDocument(ctx, r.store, d, "manifest", r.limit); err != nil {
			return nil, err
		}
	}
	m, err := parseManifest(raw, "manifest "+string(d.Digest))
	if err != nil {
		return nil, err
	}
	if m.Config != nil {
		return &found{desc: d, doc: m}, nil
	}
	// The best candidates first: the wanted platform as it is, then indexes that do
	// not say, then a manifest that does not say when it is the only one.
	var silent []descriptor
	var best *descriptor
	for i, c := range m.Manifests {
		if isAttachment(c) {
			continue
		}
		switch {
		case c.Platform == nil || c.Platform.OS == "" && c.Platform.Architecture == "":
			silent = append(silent, c)
		case c.Platform.matches(r.want):
			if best == nil || c.Platform.normal().Variant > best.Platform.normal().Variant && r.want.Variant == "" && r.want.Architecture == "arm" {
				best = &m.Manifests[i]
			}
		default:
			*offered = append(*offered, c.Platform.String())
		}
	}
	if best != nil {
		return r.descend(ctx, *best, nil, depth+1, offered)
	}
	for _, c := range silent {
		isIndex := strings.Contains(c.MediaType, "index") || strings.Contains(c.MediaType, "manifest.list")
		if !isIndex && len(silent) > 1 {
			ok, p, err := r.configMatches(ctx, c)
			if err != nil {
				return nil, err
			}
			if !ok {
				*offered = append(*offered, p)
				continue
			}
		}
		f, err := r.descend(ctx, c, nil, depth+1, offered)
		if err != nil || f != nil {
			return f, err
		}
	}
	return nil, nil
}

// configMatches asks the configuration of a manifest whose descriptor has no platform.
func (r *resolver) configMatches(ctx context.Context, d descriptor) (bool, string, error) {
	raw, err := readDocument(ctx, r.store, d, "manifest", r.limit)
	if err != nil {
		return false, "", err
	}
	m, err := parseManifest(raw, "manifest "+string(d.Digest))
	if err != nil {
		return false, "", err
	}
	if m.Config == nil {
		return true, "", nil // an index after all
	}
	craw, err := readDocument(ctx, r.store, *m.Config, "image configuration", 2*r.limit)
	if err != nil {
		return false, "", err
	}
	c, err := parseConfig(craw, m.Config.Digest)
	if err != nil {
		return false, "", err
	}
	return c.platform.matches(r.want), c.platform.String(), nil
}

// isAttachment recognises index entries that are no images: buildkit's attestations
// (platform unknown/unknown) and what carries another artifact type.
func isAttachment(d descriptor) bool {
	if d.Annotations["vnd.docker.reference.type"] != "" || d.ArtifactType != "" {
		return true
	}
	return d.Platform != nil && d.Platform.OS == "unknown"
}

func parseConfig(b []byte, digest bollwerk.Digest) (*configDoc, error) {
	dec := json.NewDecoder(bytes.NewReader(b))
	var c configDoc
	if err := dec.Decode(&c); err != nil {
		return nil, fmt.Errorf("image configuration %s: not valid: %w", digest, err)
	}
	if len(c.RootFS.DiffIDs) > 0 && c.RootFS.Type != "" && c.RootFS.Type != "layers" {
		return nil, fmt.Errorf("image configuration %s: rootfs type %q is not understood", digest, c.RootFS.Type)
	}
	for i, d := range c.RootFS.DiffIDs {
		if _, err := bollwerk.ParseDigest(string(d)); err != nil {
			return nil, fmt.Errorf("image configuration %s: diff ID of layer %d: %w", digest, i, err)
		}
	}
	return &c, nil
}

// imageConfig keeps what policies judge.
func (c *configDoc) imageConfig() *bollwerk.ImageConfig {
	out := &bollwerk.ImageConfig{
		User: c.Config.User, Env: c.Config.Env, Entrypoint: c.Config.Entrypoint, Cmd: c.Config.Cmd,
		Labels: c.Config.Labels, WorkingDir: c.Config.WorkingDir, StopSignal: c.Config.StopSignal,
	}
	for p := range c.Config.ExposedPorts {
		out.ExposedPorts = append(out.ExposedPorts, p)
	}
	for v := range c.Config.Volumes {
		out.Volumes = append(out.Volumes, v)
	}
	slices.Sort(out.ExposedPorts)
	slices.Sort(out.Volumes)
	if c.Config.Healthcheck != nil {
		out.Healthcheck = c.Config.Healthcheck.Test
	}
	for _, h := range c.History {
		out.History = append(out.History, bollwerk.HistoryLine{CreatedBy: h.CreatedBy, Comment: h.Comment, Created: h.Created, EmptyLayer: h.EmptyLayer})
	}
	return out
}

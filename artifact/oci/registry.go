package oci

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/bollwerk/bollwerk"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
)

// OpenRegistry opens registry/repository:tag[@digest]. Manifests and configuration
// are fetched at once, layers when they are read.
//
// A mirror of the registry is asked first. What it cannot give (it is down, or does
// not have the image) is asked of the registry itself; content that is wrong is an
// error wherever it comes from.
func OpenRegistry(ctx context.Context, target string, o Options) (*Image, error) {
	o = o.withDefaults()
	ref, digest, err := parseReference(target, o.Insecure)
	if err != nil {
		return nil, err
	}
	base, err := newTransport(o)
	if err != nil {
		return nil, err
	}
	origins, err := o.origins(ref)
	if err != nil {
		return nil, err
	}
	var failed []string
	for i, repo := range origins {
		img, err := openOrigin(ctx, repo, ref, digest, target, base, o)
		if err == nil {
			return img, nil
		}
		var gone *unavailable
		if ctx.Err() != nil || i == len(origins)-1 || !errors.As(err, &gone) {
			base.CloseIdleConnections()
			for _, f := range failed {
				err = fmt.Errorf("%w (before that, %s)", err, f)
			}
			return nil, fmt.Errorf("image %s: %w", target, err)
		}
		failed = append(failed, fmt.Sprintf("mirror %s: %v", repo.RegistryStr(), err))
	}
	return nil, fmt.Errorf("image %s: no registry to ask", target)
}

// unavailable marks an error after which another registry may be asked.
type unavailable struct{ err error }

func (e *unavailable) Error() string { return e.err.Error() }
func (e *unavailable) Unwrap() error { return e.err }

// parseReference reads an image reference. A digest counts, the tag beside it
// is for people.
func parseReference(s string, insecure bool) (name.Reference, bollwerk.Digest, error) {
	opts := []name.Option{name.WeakValidation}
	if insecure {
		opts = append(opts, name.Insecure)
	}
	if len(s) > 1024 {
		return nil, "", fmt.Errorf("image reference of %d bytes: too long", len(s))
	}
	ref, err := name.ParseReference(s, opts...)
	if err != nil {
		return nil, "", fmt.Errorf("image reference %q: %w; want registry/repository:tag or @sha256:…", s, err)
	}
	d, ok := ref.(name.Digest)
	if !ok {
		return ref, "", nil
	}
	digest, err := bollwerk.ParseDigest(d.DigestStr())
	if err != nil {
		return nil, "", fmt.Errorf("image reference %q: %w", s, err)
	}
	return ref, digest, nil
}

// origins lists the repositories to ask, mirror first.
func (o Options) origins(ref name.Reference) ([]name.Repository, error) {
	repo := ref.Context()
	host := repo.RegistryStr()
	mirror := o.Mirrors[host]
	if mirror == "" && host == name.DefaultRegistry {
		mirror = o.Mirrors["docker.io"]
	}
	if mirror == "" {
		return []name.Repository{repo}, nil
	}
	opts := []name.Option{name.WeakValidation}
	if bare, ok := strings.CutPrefix(mirror, "http://"); ok {
		mirror, opts = bare, append(opts, name.Insecure)
	} else if o.Insecure {
		opts = append(opts, name.Insecure)
	}
	mirror = strings.TrimSuffix(strings.TrimPrefix(mirror, "https://"), "/")
	mhost, prefix, _ := strings.Cut(mirror, "/")
	path := repo.RepositoryStr()
	if prefix != "" {
		path = prefix + "/" + path
	}
	reg, err := name.NewRegistry(mhost, opts...)
	if err != nil {
		return nil, fmt.Errorf("mirror %q of %s: %w", mirror, host, err)
	}
	m, err := name.NewRepository(reg.RegistryStr()+"/"+path, opts...)
	if err != nil {
		return nil, fmt.Errorf("mirror %q of %s: %w", mirror, host, err)
	}
	return []name.Repository{m, repo}, nil
}

// newTransport is a transport of our own: proxies as usual, bounded waits, and the
// authorities and laxness the options ask for.
func newTransport(o Options) (*http.Transport, error) {
	tc := &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: o.Insecure}
	if o.CAFile != "" {
		pem, err := os.ReadFile(o.CAFile)
		if err != nil {
			return nil, fmt.Errorf("CA file: %w", err)
		}
		pool, err := x509.SystemCertPool()
		if err != nil {
			pool = x509.NewCertPool()
		}
		if !pool.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("CA file %s: no certificate in it", o.CAFile)
		}
		tc.RootCAs = pool
	}
	d := &net.Dialer{Timeout: min(30*time.Second, o.IdleTimeout)}
	return &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           d.DialContext,
		TLSClientConfig:       tc,
		TLSHandshakeTimeout:   min(30*time.Second, o.IdleTimeout),
		ResponseHeaderTimeout: o.IdleTimeout,
		ForceAttemptHTTP2:     true,
		MaxIdleConnsPerHost:   8,
		// Layers are compressed already; a transparent second compression would
		// only blur what a digest speaks of.
		DisableCompression: true,
	}, nil
}

// registryStore reads from one repository.
type registryStore struct {
	repo   name.Repository
	client *http.Client
	idle   time.Duration
	limit  int64
}

func openOrigin(ctx context.Context, repo name.Repository, ref name.Reference, digest bollwerk.Digest, target string, base *http.Transport, o Options) (*Image, error) {
	auth, err := o.Keychain.Resolve(repo)
	if err != nil {
		return nil, fmt.Errorf("credentials for %s: %w", repo.RegistryStr(), err)
	}
	rt, err := transport.NewWithContext(ctx, repo.Registry, auth, &boundedTransport{inner: base, limit: o.Limits.MaxManifestBytes, idle: o.IdleTimeout}, []string{repo.Scope(transport.PullScope)})
	if err != nil {
		return nil, explainHTTP(repo, err)
	}
	s := &registryStore{repo: repo, client: &http.Client{Transport: rt, CheckRedirect: checkRedirect}, idle: o.IdleTimeout, limit: o.Limits.MaxManifestBytes}
	id := ref.Identifier()
	raw, mediaType, err := s.manifest(ctx, id)
	if err != nil {
		return nil, err
	}
	got := contentDigest("sha256", raw)
	if digest != "" {
		if got = contentDigest(digest.Algorithm(), raw); got != digest {
			return nil, &mismatch{fmt.Sprintf("manifest %s: the registry's answer has the digest %s", digest, got)}
		}
	}
	p, err := parsePlatform(o.Platform)
	if err != nil {
		return nil, err
	}
	r := &resolver{store: s, limit: o.Limits.MaxManifestBytes, want: p}
	f, err := r.resolve(ctx, descriptor{MediaType: mediaType, Digest: got, Size: int64(len(raw))}, raw)
	if err != nil {
		return nil, err
	}
	about := bollwerk.Artifact{Ref: target, Name: shortName(ref)}
	return openManifest(ctx, s, f, about, o, func() error { base.CloseIdleConnections(); return nil })
}

// shortName is the reference as people write it, without Docker Hub's long form.
func shortName(ref name.Reference) string {
	n := ref.Name()
	if rest, ok := strings.CutPrefix(n, name.DefaultRegistry+"/"); ok {
		return strings.TrimPrefix(rest, "library/")
	}
	return n
}

const manifestAccept = "application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json, " +
	"application/vnd.docker.distribution.manifest.v2+json, application/vnd.docker.distribution.manifest.list.v2+json"

func (s *registryStore) url(kind, id string) string {
	return fmt.Sprintf("%s://%s/v2/%s/%s/%s", s.repo.Scheme(), s.repo.RegistryStr(), s.repo.RepositoryStr(), kind, id)
}

// manifest fetches one manifest, once more when the connection breaks.
func (s *registryStore) manifest(ctx context.Context, id string) (raw []byte, mediaType string, err error) {
	for try := range 2 {
		raw, mediaType, err = s.manifestOnce(ctx, id)
		if err == nil || ctx.Err() != nil || !transient(err) || try == 1 {
			break
		}
	}
	return raw, mediaType, err
}

func (s *registryStore) manifestOnce(ctx context.Context, id string) ([]byte, string, error) {
	resp, err := s.get(ctx, s.url("manifests", id), manifestAccept, 0)
	if err != nil {
		return nil, "", fmt.Errorf("manifest %s: %w", id, err)
	}
	defer resp.Body.Close()
	if resp.ContentLength > s.limit {
		return nil, "", tooLarge("manifest "+id, resp.ContentLength, s.limit)
	}
	raw, err := io.ReadAll(io.LimitReader(resp.Body, s.limit+1))
	if err != nil {
		return nil, "", fmt.Errorf("manifest %s: reading: %w", id, explainHTTP(s.repo, err))
	}
	if int64(len(raw)) > s.limit {
		return nil, "", tooLarge("manifest "+id, int64(len(raw)), s.limit)
	}
	return raw, resp.Header.Get("Content-Type"), nil
}

// get sends a request and makes an error of every answer but the expected one.
func (s *registryStore) get(ctx context.Context, url, accept string, offset int64) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	if accept != "" {
		req.Header.Set("Accept", accept)
	}
	want := http.StatusOK
	if offset > 0 {
		req.Header.Set("Range", fmt.Sprintf("bytes=%d-", offset))
		want = http.StatusPartialContent
	}
	resp, err := s.client.Do(req)
	if err != nil {
		return nil, explainHTTP(s.repo, err)
	}
	if resp.StatusCode != want {
		defer resp.Body.Close()
		if offset > 0 && resp.StatusCode == http.StatusOK {
			return nil, errNoRange
		}
		return nil, explainStatus(s.repo, resp)
	}
	return resp, nil
}

var errNoRange = errors.New("the registry does not continue interrupted downloads")

// open streams a blob. Manifests below an index come through here as well.
func (s *registryStore) open(ctx context.Context, d descriptor) (io.ReadCloser, error) {
	if isManifest(d.MediaType) {
		raw, _, err := s.manifest(ctx, string(d.Digest))
		if err != nil {
			return nil, err
		}
		return io.NopCloser(strings.NewReader(string(raw))), nil
	}
	b := &blobReader{store: s, ctx: ctx, url: s.url("blobs", string(d.Digest)), size: d.Size}
	if err := b.connect(); err != nil {
		if !transient(err) || ctx.Err() != nil {
			return nil, err
		}
		b.retried = true
		if err := b.connect(); err != nil {
			return nil, err
		}
	}
	return b, nil
}

func isManifest(mediaType string) bool {
	return strings.Contains(mediaType, "manifest") || strings.Contains(mediaType, "image.index")
}

package oci

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"github.com/bollwerk/bollwerk"
)

// requestTime bounds one request with its answer: what is read here is small, and
// a registry that drips bytes must not hold a pipeline for ever.
const requestTime = 60 * time.Second

const (
	manifestTypes = manifestAccept + ", application/vnd.oci.artifact.manifest.v1+json"
	indexType     = "application/vnd.oci.image.index.v1+json"
)

// registrySource reads from a registry, mirror first.
type registrySource struct {
	o       Options
	base    *http.Transport
	origins []*origin
}

// origin is one repository that may be asked, logged in to on first use.
type origin struct {
	repo name.Repository

	mu    sync.Mutex
	store *registryStore
	down  error // it could not be reached: not asked again
}

func (s *registrySource) open(ctx context.Context, at *origin) (*registryStore, error) {
	at.mu.Lock()
	defer at.mu.Unlock()
	if at.store != nil || at.down != nil {
		return at.store, at.down
	}
	auth, err := s.o.Keychain.Resolve(at.repo)
	if err != nil {
		return nil, fmt.Errorf("credentials for %s: %w", at.repo.RegistryStr(), err)
	}
	bounded := &boundedTransport{inner: s.base, limit: s.o.Limits.MaxManifestBytes, idle: s.o.IdleTimeout}
	rt, err := transport.NewWithContext(ctx, at.repo.Registry, auth, bounded, []string{at.repo.Scope(transport.PullScope)})
	if err != nil {
		err = explainHTTP(at.repo, err)
		if ctx.Err() == nil { // a caller who gave up says nothing about the registry
			at.down = err
		}
		return nil, err
	}
	at.store = &registryStore{
		repo: at.repo, idle: s.o.IdleTimeout, limit: s.o.Limits.MaxManifestBytes,
		client: &http.Client{Transport: rt, CheckRedirect: checkRedirect, Timeout: requestTime},
	}
	return at.store, nil
}

// each asks one origin after the other until one has an answer. "Not there" is
// only said when every origin said so: a mirror that lacks a signature, with the
// registry out of reach, does not make an image unsigned.
func (s *registrySource) each(ctx context.Context, ask func(*registryStore) error) error {
	var unknown, missing error
	for _, at := range s.origins {
		store, err := s.open(ctx, at)
		if err == nil {
			err = ask(store)
		}
		switch {
		case err == nil:
			return nil
		case ctx.Err() != nil:
			return err
		case errors.Is(err, fs.ErrNotExist):
			missing = err
		default:
			unknown = errors.Join(unknown, err)
		}
	}
	if unknown != nil {
		return unknown
	}
	return missing
}

// notExist turns a 404 into fs.ErrNotExist.
func notExist(err error) error {
	var st *statusError
	if errors.As(err, &st) && st.code == http.StatusNotFound {
		return fmt.Errorf("%w: %w", err, fs.ErrNotExist)
	}
	return err
}

func (s *registrySource) fetch(ctx context.Context, kind, id, accept string, limit int64) (raw []byte, mediaType string, err error) {
	err = s.each(ctx, func(r *registryStore) error {
		resp, err := r.get(ctx, r.url(kind, id), accept, 0)
		if err != nil {
			return notExist(err)
		}
		defer resp.Body.Close()
		mediaType = resp.Header.Get("Content-Type")
		if resp.ContentLength > limit {
			return fmt.Errorf("%d bytes, larger than the bound of %d", resp.ContentLength, limit)
		}
		raw, err = readAtMost(resp.Body, limit)
		return err
	})
	return raw, mediaType, err
}

func (s *registrySource) manifest(ctx context.Context, reference string, limit int64) ([]byte, string, error) {
	return s.fetch(ctx, "manifests", reference, manifestTypes, limit)
}

func (s *registrySource) blob(ctx context.Context, digest bollwerk.Digest, limit int64) ([]byte, error) {
	raw, _, err := s.fetch(ctx, "blobs", string(digest), "", limit)
	return raw, err
}

// referrers asks every origin that can be asked and joins the answers: an empty
// list is an answer too, and a mirror's is often empty.
func (s *registrySource) referrers(ctx context.Context, digest bollwerk.Digest) ([]bollwerk.Descriptor, error) {
	var all []bollwerk.Descriptor
	seen := map[bollwerk.Digest]bool{}
	var unknown error
	for _, at := range s.origins {
		r, err := s.open(ctx, at)
		var list []bollwerk.Descriptor
		if err == nil {
			list, err = referrersOf(ctx, r, digest)
		}
		if err != nil {
			unknown = errors.Join(unknown, err)
			continue
		}
		for _, d := range list {
			if !seen[d.Digest] {
				seen[d.Digest] = true
				all = append(all, d)
			}
		}
	}
	if len(all) > 0 {
		return all, nil
	}
	return nil, unknown
}

func referrersOf(ctx context.Context, r *registryStore, digest bollwerk.Digest) ([]bollwerk.Descriptor, error) {
	list, supported, err := referrersAPI(ctx, r, digest)
	if err != nil || supported {
		return list, err
	}
	resp, err := r.get(ctx, r.url("manifests", fallbackTag(digest)), indexType, 0)
	if err != nil {
		if errors.Is(notExist(err), fs.ErrNotExist) {
			return nil, nil
		}
		return nil, err
	}
	defer resp.Body.Close()
	raw, err := readAtMost(resp.Body, maxReferrerPage)
	if err != nil {
		return nil, err
	}
	return parseIndex(raw)
}

// referrersAPI follows the pages of the API; supported is false when the registry
// has no such API.
func referrersAPI(ctx context.Context, r *registryStore, digest bollwerk.Digest) (list []bollwerk.Descriptor, supported bool, err error) {
	address := r.url("referrers", string(digest))
	for page := 1; ; page++ {
		part, next, ok, err := referrersPage(ctx, r, address)
		if err != nil {
			return nil, false, err
		}
		if !ok {
			if page > 1 {
				return nil, false, fmt.Errorf("page %d of the referrers is missing", page)
			}
			return nil, false, nil
		}
		list = append(list, part...)
		switch {
		case next == "":
			return list, true, nil
		case page == maxReferrerPages || len(list) > maxReferrers:
			return nil, false, fmt.Errorf("more than %d referrers in %d pages", len(list), page)
		}
		address = next
	}
}

func referrersPage(ctx context.Context, r *registryStore, address string) (list []bollwerk.Descriptor, next string, ok bool, err error) {
	resp, err := r.get(ctx, address, indexType, 0)
	if err != nil {
		var st *statusError
		if errors.As(err, &st) {
			switch st.code {
			case http.StatusNotFound, http.StatusBadRequest, http.StatusMethodNotAllowed, http.StatusNotAcceptable, http.StatusNotImplemented:
				return nil, "", false, nil
			}
		}
		return nil, "", false, err
	}
	defer resp.Body.Close()
	// Some registries answer every unknown path with a web page and status 200.
	if ct, _, _ := strings.Cut(resp.Header.Get("Content-Type"), ";"); strings.TrimSpace(ct) != indexType {
		return nil, "", false, nil
	}
	raw, err := readAtMost(resp.Body, maxReferrerPage)
	if err != nil {
		return nil, "", false, err
	}
	if list, err = parseIndex(raw); err != nil {
		return nil, "", false, err
	}
	next, err = nextPage(address, resp.Header.Get("Link"))
	return list, next, true, err
}

// nextPage reads the Link header of RFC 8288 as the distribution specification
// uses it: </v2/…>; rel="next". The next page must be on the same host: the client
// would carry its credentials there.
func nextPage(address, link string) (string, error) {
	if link == "" {
		return "", nil
	}
	target, rest, ok := strings.Cut(strings.TrimPrefix(strings.TrimSpace(link), "<"), ">")
	if !ok || !strings.Contains(rest, "next") {
		return "", nil
	}
	base, err := url.Parse(address)
	if err != nil {
		return "", err
	}
	u, err := base.Parse(target)
	if err != nil {
		return "", fmt.Errorf("link header %.100q: %w", link, err)
	}
	if u.Host != base.Host || u.Scheme != base.Scheme {
		return "", fmt.Errorf("the next page of referrers is somewhere else: %s", u.Redacted())
	}
	return u.String(), nil
}

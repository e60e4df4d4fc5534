package oci

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
)

// maxRedirects: a registry redirects a blob to its storage, once or twice.
const maxRedirects = 5

// checkRedirect bounds redirects and keeps them from weakening the connection.
// Credentials do not follow: net/http drops the Authorization header when the host
// changes, and the token transport adds it for the registry's own host only.
func checkRedirect(req *http.Request, via []*http.Request) error {
	if len(via) > maxRedirects {
		return fmt.Errorf("redirected more than %d times, last to %s", maxRedirects, req.URL.Redacted())
	}
	for _, v := range via {
		if v.URL.String() == req.URL.String() {
			return fmt.Errorf("redirected in a loop to %s", req.URL.Redacted())
		}
	}
	if len(via) > 0 && via[0].URL.Scheme == "https" && req.URL.Scheme != "https" {
		return fmt.Errorf("redirected from https to %s", req.URL.Redacted())
	}
	if req.URL.Scheme != "https" && req.URL.Scheme != "http" {
		return fmt.Errorf("redirected to %s", req.URL.Redacted())
	}
	return nil
}

// boundedTransport bounds what the library itself reads (the ping's answer, which it
// drains, and token answers), and every body's silence.
type boundedTransport struct {
	inner http.RoundTripper
	limit int64
	idle  time.Duration
}

func (t *boundedTransport) RoundTrip(req *http.Request) (*http.Response, error) {
	ctx, cancel := context.WithCancelCause(req.Context())
	resp, err := t.inner.RoundTrip(req.WithContext(ctx))
	if err != nil {
		cancel(nil)
		return nil, err
	}
	body := &idleBody{rc: resp.Body, idle: t.idle, patience: t.idle, ctx: ctx, cancel: cancel}
	body.timer = time.AfterFunc(t.idle, func() { cancel(errStalled) })
	body.timer.Stop()
	if strings.HasSuffix(req.URL.Path, "/v2/") {
		body.left, body.bounded = t.limit, true
	}
	resp.Body = body
	return resp, nil
}

var errStalled = errors.New("the registry stalled")

// idleBody ends with an error when less than idleProgress bytes arrive within the
// idle time: a registry that sends nothing is caught, and one that drips as well.
// Only time spent waiting in Read counts, not that of a busy reader.
type idleBody struct {
	rc       io.ReadCloser
	ctx      context.Context
	cancel   context.CancelCauseFunc
	timer    *time.Timer
	idle     time.Duration
	patience time.Duration // left until idleProgress bytes must have come
	progress int           // bytes since patience was renewed
	bounded  bool
	left     int64
	once     sync.Once
}

const idleProgress = 16 << 10

func (b *idleBody) Read(p []byte) (int, error) {
	if b.bounded {
		if b.left <= 0 {
			return 0, errors.New("answer larger than expected")
		}
		p = p[:min(int64(len(p)), b.left)]
	}
	begin := time.Now()
	b.timer.Reset(max(b.patience, 0))
	n, err := b.rc.Read(p)
	b.timer.Stop()
	b.patience -= time.Since(begin)
	if b.progress += n; b.progress >= idleProgress {
		b.progress, b.patience = 0, b.idle
	}
	b.left -= int64(n)
	if err != nil && err != io.EOF && context.Cause(b.ctx) == errStalled {
		err = fmt.Errorf("%w: next to nothing arrived for %s", errStalled, b.idle)
	}
	return n, err
}

func (b *idleBody) Close() error {
	var err error
	b.once.Do(func() {
		b.timer.Stop()
		err = b.rc.Close()
		b.cancel(nil)
	})
	return err
}

// blobReader streams a blob and, once, continues where a connection broke.
type blobReader struct {
	store   *registryStore
	ctx     context.Context
	url     string
	size    int64
	off     int64
	retried bool

	mu     sync.Mutex // Close may come from another goroutine
	body   io.ReadCloser
	closed bool
}

func (b *blobReader) connect() error {
	resp, err := b.store.get(b.ctx, b.url, "", b.off)
	if err != nil {
		return err
	}
	if b.off == 0 && b.size >= 0 && resp.ContentLength >= 0 && resp.ContentLength != b.size {
		resp.Body.Close()
		return fmt.Errorf("the registry announces %d bytes, the manifest says %d", resp.ContentLength, b.size)
	}
	if b.off > 0 && !strings.HasPrefix(resp.Header.Get("Content-Range"), fmt.Sprintf("bytes %d-", b.off)) {
		resp.Body.Close()
		return errNoRange
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		resp.Body.Close()
		return context.Canceled
	}
	b.body = resp.Body
	return nil
}

func (b *blobReader) Read(p []byte) (int, error) {
	n, err := b.body.Read(p)
	b.off += int64(n)
	if err == nil || b.ctx.Err() != nil {
		return n, err
	}
	if err == io.EOF && (b.size < 0 || b.off >= b.size) {
		return n, err
	}
	// Broken off: a reset, a stall, or an end that came too early.
	if b.retried || b.off == 0 {
		return n, err
	}
	b.retried = true
	b.body.Close()
	if cerr := b.connect(); cerr != nil {
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return n, fmt.Errorf("%w; continuing failed: %v", err, cerr)
	}
	return n, nil
}

func (b *blobReader) Close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = true
	if b.body == nil {
		return nil
	}
	return b.body.Close()
}

// transient reports whether asking again may help.
func transient(err error) bool {
	var s *statusError
	if errors.As(err, &s) {
		return s.code == http.StatusTooManyRequests || s.code >= 500
	}
	var u *unavailable
	return errors.As(err, &u) || errors.Is(err, errStalled) || errors.Is(err, io.ErrUnexpectedEOF)
}

type statusError struct {
	code int
	msg  string
}

func (e *statusError) Error() string { return e.msg }

// explainStatus makes a sentence of an answer that is not the content.
func explainStatus(repo name.Repository, resp *http.Response) error {
	body, _ := io.ReadAll(io.LimitReader(resp.Body, 16<<10))
	var doc struct {
		Errors []struct{ Code, Message string }
	}
	said := ""
	if json.Unmarshal(body, &doc) == nil && len(doc.Errors) > 0 {
		said = strings.TrimSpace(doc.Errors[0].Code + " " + doc.Errors[0].Message)
		if len(said) > 200 {
			said = said[:200]
		}
		said = fmt.Sprintf(" (%q)", said)
	}
	host := repo.RegistryStr()
	e := &statusError{code: resp.StatusCode}
	switch resp.StatusCode {
	case http.StatusUnauthorized, http.StatusForbidden:
		e.msg = fmt.Sprintf("%s refuses access to %s, HTTP %d%s; log in with `docker login %s`, or check the name", host, repo.RepositoryStr(), resp.StatusCode, said, host)
	case http.StatusNotFound:
		e.msg = fmt.Sprintf("%s does not have it, HTTP 404%s", host, said)
	case http.StatusTooManyRequests:
		e.msg = fmt.Sprintf("%s limits the rate of requests, HTTP 429%s; log in or use --registry-mirror", host, said)
	default:
		e.msg = fmt.Sprintf("%s answered HTTP %d%s", host, resp.StatusCode, said)
	}
	return &unavailable{e}
}

// explainHTTP makes a sentence of a failed exchange.
func explainHTTP(repo name.Repository, err error) error {
	// On this machine plain HTTP is tried when HTTPS fails, and its failure would be
	// told instead of the reason.
	var cert *tls.CertificateVerificationError
	if errors.As(err, &cert) {
		return &unavailable{fmt.Errorf("%s: %w; name its authority with --ca FILE", repo.RegistryStr(), cert)}
	}
	var te *transport.Error
	if errors.As(err, &te) {
		e := &statusError{code: te.StatusCode, msg: fmt.Sprintf("%s answered HTTP %d", repo.RegistryStr(), te.StatusCode)}
		if te.StatusCode == http.StatusUnauthorized || te.StatusCode == http.StatusForbidden {
			e.msg += fmt.Sprintf("; log in with `docker login %s`", repo.RegistryStr())
		}
		return &unavailable{e}
	}
	if errors.Is(err, context.Canceled) && !errors.Is(err, errStalled) {
		return err
	}
	return &unavailable{fmt.Errorf("%s: %w", repo.RegistryStr(), err)}
}

// CloseIdleConnections lets http.Client reach the connections below.
func (t *boundedTransport) CloseIdleConnections() {
	if c, ok := t.inner.(interface{ CloseIdleConnections() }); ok {
		c.CloseIdleConnections()
	}
}

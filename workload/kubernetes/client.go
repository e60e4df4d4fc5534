package kubernetes

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"syscall"
	"time"

	"github.com/bollwerk/bollwerk/workload"
)

// client asks one server with the token.
type client struct {
	base   string
	config Config
	http   *http.Client
}

func newClient(base string, c Config, unchecked bool) (*client, error) {
	u, err := url.Parse(base)
	if err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Scheme != "https" && u.Scheme != "http" {
		return nil, fmt.Errorf("%q is not the address of a server; want https://host:port", base)
	}
	loopback := u.Hostname() == "localhost"
	if a, err := netip.ParseAddr(u.Hostname()); err == nil {
		loopback = a.IsLoopback()
	}
	if !loopback && (u.Scheme == "http" || unchecked) {
		return nil, fmt.Errorf("%s: the token would go to whoever answers; use https with a certificate that is checked", base)
	}
	t := &http.Transport{
		DialContext:           (&net.Dialer{Timeout: 5 * time.Second}).DialContext,
		TLSHandshakeTimeout:   5 * time.Second,
		ResponseHeaderTimeout: 10 * time.Second,
		IdleConnTimeout:       30 * time.Second,
		MaxConnsPerHost:       4,
		DisableCompression:    true, // what is small on the way may be large here
		Protocols:             new(http.Protocols),
	}
	t.Protocols.SetHTTP1(true)
	t.Proxy = nil                                                                                // the node's own services are not behind a proxy
	t.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: unchecked} //nolint:gosec // loopback only, see Config
	if c.CAFile != "" && !unchecked {
		b, err := workload.ReadFile(c.CAFile, 4<<20)
		if err != nil {
			return nil, err
		}
		t.TLSClientConfig.RootCAs = x509.NewCertPool()
		if !t.TLSClientConfig.RootCAs.AppendCertsFromPEM(b) {
			return nil, fmt.Errorf("%s: no certificate in it", c.CAFile)
		}
	}
	return &client{base: strings.TrimSuffix(base, "/"), config: c, http: &http.Client{Transport: t,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}}, nil
}

// get asks for a path; the caller closes the body of a 200. 404 is ErrUnknown, nobody
// listening is ErrAbsent.
func (c *client) get(ctx context.Context, path string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.base+path, nil)
	if err != nil {
		return nil, err
	}
	token, err := c.config.token()
	if err != nil {
		return nil, err
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	req.Header.Set("Accept", "application/json")
	resp, err := c.http.Do(req)
	if err != nil {
		if errors.Is(err, syscall.ECONNREFUSED) {
			return nil, workload.ErrAbsent
		}
		return nil, err
	}
	if resp.StatusCode == http.StatusOK {
		return resp, nil
	}
	resp.Body.Close()
	switch resp.StatusCode {
	case http.StatusNotFound:
		return nil, workload.ErrUnknown
	case http.StatusGone:
		return nil, errExpired
	case http.StatusUnauthorized, http.StatusForbidden:
		return nil, fmt.Errorf("%s: HTTP %d for %s; give the agent's service account the right to get, list and watch pods and services, and to get nodes/proxy", c.base, resp.StatusCode, pathOnly(path))
	}
	return nil, fmt.Errorf("%s: HTTP %d for %s", c.base, resp.StatusCode, pathOnly(path))
}

func pathOnly(p string) string { p, _, _ = strings.Cut(p, "?"); return p }

// errExpired: the version to watch from is too old; list again.
var errExpired = errors.New("the watch expired")

// follow watches the pods of the node from a version on and returns the last one seen.
func (s *Source) follow(ctx context.Context, version string) (string, error) {
	q := url.Values{
		"fieldSelector": {"spec.nodeName=" + s.config.Node}, "watch": {"true"}, "allowWatchBookmarks": {"true"},
		"resourceVersion": {version}, "timeoutSeconds": {fmt.Sprint(int(watchTime.Seconds()))},
	}
	// The server ends a watch itself; one that does not is ended here.
	ctx, cancel := context.WithTimeout(ctx, watchTime+30*time.Second)
	defer cancel()
	resp, err := s.api.get(ctx, "/api/v1/pods?"+q.Encode())
	if err != nil {
		return version, err
	}
	defer resp.Body.Close()
	version, err = readWatch(ctx, resp.Body, version, func(kind string, p *podJSON) string {
		switch kind {
		case "ADDED", "MODIFIED":
			s.put(ctx, p)
		case "DELETED":
			s.drop(p.Metadata.UID)
		}
		return p.Metadata.ResourceVersion
	})
	if err != nil && !errors.Is(err, errExpired) {
		err = fmt.Errorf("API server: watch of pods: %w", err)
	}
	return version, err
}

// readWatch reads a watch until it ends; fn takes an object and returns its version.
func readWatch[T any](ctx context.Context, r io.Reader, version string, fn func(kind string, object *T) string) (string, error) {
	body := &metered{r: r}
	dec := json.NewDecoder(body)
	for {
		body.left = maxObject
		var e struct {
			Type   string `json:"type"`
			Object T      `json:"object"`
		}
		if err := dec.Decode(&e); err != nil {
			if errors.Is(err, io.EOF) || ctx.Err() != nil {
				return version, nil // over; go on from where we are
			}
			return version, err
		}
		if e.Type == "ERROR" {
			return version, errExpired
		}
		if v := fn(e.Type, &e.Object); v != "" {
			version = v
		}
	}
}

// metered fails when more than left was read since it was set.
type metered struct {
	r    io.Reader
	left int64
}

func (m *metered) Read(p []byte) (int, error) {
	if m.left <= 0 {
		return 0, fmt.Errorf("an object of more than %d bytes", maxObject)
	}
	if int64(len(p)) > m.left {
		p = p[:m.left]
	}
	n, err := m.r.Read(p)
	m.left -= int64(n)
	return n, err
}

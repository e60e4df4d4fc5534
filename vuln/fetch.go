package vuln

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// Fetcher downloads files of a mirror: conditionally, resumably, bounded in size and
// in silence. The zero value works.
type Fetcher struct {
	// Client does the requests; nil: one with the system's proxies and certificates.
	Client *http.Client
	// Stall is how long a server may send nothing; 0: 30 seconds.
	Stall time.Duration
	// Progress is told how many bytes of how many (-1: unknown) have come; may be nil.
	Progress func(url string, done, total int64)
}

// Download is one file to fetch.
type Download struct {
	URL     string
	To      string // replaced atomically when the new one is complete
	MaxSize int64  // bytes
	// Verify judges the complete file before it replaces the old one; may be nil.
	Verify func(path string) error
}

// ErrNotFound: the server has no such file.
var ErrNotFound = errors.New("not found")

const (
	maxRedirects = 10
	maxAttempts  = 4
)

// fetchState remembers what a file or a partial file is a copy of.
type fetchState struct {
	URL          string `json:"url"`
	ETag         string `json:"etag,omitempty"`
	LastModified string `json:"last_modified,omitempty"`
	Size         int64  `json:"size"`
}

// validator is what If-Range takes: a strong ETag, else a date.
func (s *fetchState) validator() string {
	if s.ETag != "" && !strings.HasPrefix(s.ETag, "W/") {
		return s.ETag
	}
	return s.LastModified
}

// Fetch downloads a file if the server has another one than is there. It reports
// whether the file was replaced. On an error the old file is untouched and what came
// stays beside it, to be gone on with by the next call.
func (f *Fetcher) Fetch(ctx context.Context, d Download) (changed bool, err error) {
	u, err := url.Parse(d.URL)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return false, fmt.Errorf("%q: want an http or https URL", d.URL)
	}
	if err := os.MkdirAll(filepath.Dir(d.To), 0o755); err != nil {
		return false, err
	}
	for attempt := 1; ; attempt++ {
		before := fileSize(d.To + ".part")
		changed, err = f.once(ctx, d)
		var cut *cutError
		if err == nil || ctx.Err() != nil || attempt == maxAttempts || !errors.As(err, &cut) || fileSize(d.To+".part") <= before {
			break // only a connection that broke while it moved is worth another try
		}
	}
	if err != nil {
		if ctx.Err() != nil {
			return false, context.Cause(ctx)
		}
		return false, fmt.Errorf("%s: %w", redact(u), err)
	}
	return changed, nil
}

// cutError is a transfer that ended early.
type cutError struct{ err error }

func (e *cutError) Error() string { return e.err.Error() }
func (e *cutError) Unwrap() error { return e.err }

// redact drops credentials from a URL before it is shown.
func redact(u *url.URL) string {
	c := *u
	c.User = nil
	if c.RawQuery != "" {
		c.RawQuery = "…"
	}
	return c.String()
}

func fileSize(path string) int64 {
	st, err := os.Stat(path)
	if err != nil {
		return 0
	}
	return st.Size()
}

func (f *Fetcher) stall() time.Duration {
	if f.Stall > 0 {
		return f.Stall
	}
	return 30 * time.Second
}

func (f *Fetcher) client() *http.Client {
	var c http.Client
	if f.Client != nil {
		c = *f.Client
	} else {
		t := http.DefaultTransport.(*http.Transport).Clone()
		t.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12}
		// Lengths and ranges speak of the bytes as stored.
		t.DisableCompression = true
		c.Transport = t
	}
	c.CheckRedirect = func(req *http.Request, via []*http.Request) error {
		if len(via) >= maxRedirects {
			return fmt.Errorf("redirected more than %d times", maxRedirects)
		}
		if via[0].URL.Scheme == "https" && req.URL.Scheme != "https" {
			return fmt.Errorf("redirected from https to %s", req.URL.Scheme)
		}
		return nil
	}
	return &c
}

// once makes one request.
func (f *Fetcher) once(ctx context.Context, d Download) (bool, error) {
	part, partState := d.To+".part", d.To+".part.http"
	have, haveOK := readState(d.To+".http", d.URL)
	if haveOK && fileSize(d.To) != have.Size {
		haveOK = false
	}
	resume, resumeOK := readState(partState, d.URL)
	offset := fileSize(part)
	if !resumeOK || resume.validator() == "" {
		offset = 0
	}

	stalled := fmt.Errorf("the server sent nothing for %s; the database in use was not touched, run the command again to go on", f.stall())
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	watch := time.AfterFunc(f.stall(), func() { cancel(stalled) })
	defer watch.Stop()

	req, err := http.NewRequestWithContext(ctx, http.MethodGet, d.URL, nil)
	if err != nil {
		return false, err
	}
	req.Header.Set("User-Agent", "bollwerk")
	req.Header.Set("Accept-Encoding", "identity")
	switch {
	case offset > 0:
		req.Header.Set("Range", "bytes="+strconv.FormatInt(offset, 10)+"-")
		req.Header.Set("If-Range", resume.validator())
	case haveOK && have.ETag != "":
		req.Header.Set("If-None-Match", have.ETag)
	case haveOK && have.LastModified != "":
		req.Header.Set("If-Modified-Since", have.LastModified)
	}
	resp, err := f.client().Do(req)
	if err != nil {
		if cause := context.Cause(ctx); cause != nil && errors.Is(err, context.Canceled) {
			return false, cause
		}
		var ue *url.Error
		if errors.As(err, &ue) {
			err = ue.Err // the URL is in front already
		}
		var ne *net.OpError
		if errors.As(err, &ne) {
			err = fmt.Errorf("%w; without a network `bollwerk db import FILE` takes a database exported elsewhere", err)
		}
		return false, err
	}
	defer resp.Body.Close()
	state := fetchState{URL: d.URL, ETag: limit(resp.Header.Get("ETag"), 256), LastModified: limit(resp.Header.Get("Last-Modified"), 64)}
	total := resp.ContentLength
	switch resp.StatusCode {
	case http.StatusOK:
		offset = 0
	case http.StatusPartialContent:
		start, size, ok := contentRange(resp.Header.Get("Content-Range"))
		if !ok || start != offset || offset == 0 {
			_ = os.Remove(part)
			return false, fmt.Errorf("the server sent the range %q when asked for bytes from %d; run the command again", limit(resp.Header.Get("Content-Range"), 80), offset)
		}
		total = size
	case http.StatusNotModified:
		if !haveOK {
			return false, errors.New("the server says \"not modified\" of a file that is not here")
		}
		return false, nil
	case http.StatusRequestedRangeNotSatisfiable:
		_ = os.Remove(part)
		return false, &cutError{errors.New("the partial file does not fit any more; run the command again")}
	case http.StatusNotFound, http.StatusGone:
		return false, ErrNotFound
	default:
		return false, fmt.Errorf("the server answered %s", limit(resp.Status, 80))
	}
	if total > d.MaxSize {
		return false, fmt.Errorf("the server announces %d bytes, more than the limit of %d", total, d.MaxSize)
	}
	state.Size = total
	if err := writeState(partState, state); err != nil {
		return false, err
	}
	n, err := f.receive(ctx, resp.Body, d, part, offset, total, watch)
	if err != nil {
		if cause := context.Cause(ctx); cause != nil {
			return false, cause
		}
		return false, err
	}
	state.Size = n
	if err := checkGoogHash(resp.Header, part); err != nil {
		_ = os.Remove(part)
		return false, err
	}
	if d.Verify != nil {
		if err := d.Verify(part); err != nil {
			_ = os.Remove(part) // going on with it would not help
			return false, fmt.Errorf("what the server sent is broken: %w", err)
		}
	}
	if err := os.Rename(part, d.To); err != nil {
		return false, err
	}
	_ = os.Remove(partState)
	return true, writeState(d.To+".http", state)
}

// receive appends the body to the partial file and returns its size.
func (f *Fetcher) receive(ctx context.Context, body io.Reader, d Download, part string, offset, total int64, watch *time.Timer) (int64, error) {
	flags := os.O_CREATE | os.O_WRONLY
	if offset == 0 {
		flags |= os.O_TRUNC
	}
	out, err := os.OpenFile(part, flags, 0o644)
	if err != nil {
		return 0, err
	}
	defer out.Close()
	if _, err := out.Seek(offset, io.SeekStart); err != nil {
		return 0, err
	}
	n := offset
	buf := make([]byte, 128<<10)
	for {
		k, err := body.Read(buf)
		if k > 0 {
			watch.Reset(f.stall())
			if n+int64(k) > d.MaxSize {
				_ = os.Remove(part)
				return 0, fmt.Errorf("more than the limit of %d bytes", d.MaxSize)
			}
			if _, err := out.Write(buf[:k]); err != nil {
				return 0, err
			}
			n += int64(k)
			if f.Progress != nil {
				f.Progress(d.URL, n, total)
			}
		}
		if err == io.EOF {
			break
		}
		if err != nil {
			return 0, &cutError{fmt.Errorf("the connection broke after %d of %d bytes (%w); run the command again to go on", n, total, err)}
		}
		if ctx.Err() != nil {
			return 0, ctx.Err()
		}
	}
	if total >= 0 && n != total {
		return 0, &cutError{fmt.Errorf("got %d of %d bytes; run the command again to go on", n, total)}
	}
	if err := out.Sync(); err != nil {
		return 0, err
	}
	return n, out.Close()
}

// contentRange reads "bytes 100-199/200".
func contentRange(s string) (start, size int64, ok bool) {
	rest, ok := strings.CutPrefix(s, "bytes ")
	if !ok {
		return 0, 0, false
	}
	span, all, ok1 := strings.Cut(rest, "/")
	from, _, ok2 := strings.Cut(span, "-")
	start, err1 := strconv.ParseInt(from, 10, 64)
	size, err2 := strconv.ParseInt(all, 10, 64)
	return start, size, ok1 && ok2 && err1 == nil && err2 == nil && start >= 0 && size >= start
}

// checkGoogHash compares with the CRC-32C that Google's storage sends with every
// object, where the public export lives
// (https://cloud.google.com/storage/docs/xml-api/reference-headers#xgooghash).
func checkGoogHash(h http.Header, path string) error {
	want := ""
	for _, line := range h.Values("X-Goog-Hash") {
		for _, v := range strings.Split(line, ",") {
			if s, ok := strings.CutPrefix(strings.TrimSpace(v), "crc32c="); ok {
				want = s
			}
		}
	}
	raw, err := base64.StdEncoding.DecodeString(want)
	if err != nil || len(raw) != 4 {
		return nil // none was sent
	}
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	sum := crc32.New(crc32.MakeTable(crc32.Castagnoli))
	if _, err := io.Copy(sum, f); err != nil {
		return err
	}
	if sum.Sum32() != binary.BigEndian.Uint32(raw) {
		return errors.New("the file does not have the checksum the server announced; run the command again")
	}
	return nil
}

func readState(path, url string) (fetchState, bool) {
	var s fetchState
	f, err := os.Open(path)
	if err != nil {
		return s, false
	}
	defer f.Close()
	if err := json.NewDecoder(io.LimitReader(f, 16<<10)).Decode(&s); err != nil || s.URL != url {
		return fetchState{}, false
	}
	return s, true
}

func writeState(path string, s fetchState) error {
	b, err := json.Marshal(s)
	if err != nil {
		return err
	}
	return os.WriteFile(path, b, 0o644)
}

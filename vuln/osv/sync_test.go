package osv

import (
	"context"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bollwerk/bollwerk/vuln"
)

// server is a mirror with conditional requests, ranges, and faults on demand.
type server struct {
	*httptest.Server
	mu    sync.Mutex
	files map[string][]byte
	log   []string // "GET /npm/all.zip bytes=10- 206"
	fault func(w http.ResponseWriter, r *http.Request) bool
	dates bool // Last-Modified instead of ETag
	round int  // counts publications: the time of the files
}

func newServer(t *testing.T) *server {
	s := &server{files: map[string][]byte{}}
	s.Server = httptest.NewServer(s)
	t.Cleanup(s.Close)
	return s
}

func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	data, ok := s.files[r.URL.Path]
	fault, round := s.fault, s.round
	s.mu.Unlock()
	rec := &recorder{ResponseWriter: w}
	defer func() {
		s.mu.Lock()
		s.log = append(s.log, strings.TrimSpace(fmt.Sprintf("%s %s %d", r.URL.Path, r.Header.Get("Range"), rec.status)))
		s.mu.Unlock()
	}()
	if fault != nil && fault(rec, r) {
		return
	}
	if !ok {
		http.NotFound(rec, r)
		return
	}
	sum := crc32.Checksum(data, crc32.MakeTable(crc32.Castagnoli))
	rec.Header().Set("X-Goog-Hash", "crc32c="+base64.StdEncoding.EncodeToString(binary.BigEndian.AppendUint32(nil, sum)))
	var mod time.Time
	if s.dates {
		mod = time.Unix(1e9+int64(round), 0)
	} else {
		rec.Header().Set("ETag", fmt.Sprintf("%q", strconv.FormatUint(uint64(sum), 16)))
	}
	http.ServeContent(rec, r, "", mod, strings.NewReader(string(data)))
}

type recorder struct {
	http.ResponseWriter
	status int
}

func (r *recorder) WriteHeader(code int) { r.status = code; r.ResponseWriter.WriteHeader(code) }
func (r *recorder) Unwrap() http.ResponseWriter {
	return r.ResponseWriter
}

// publish replaces an ecosystem with records of a given age; single files too.
func (s *server) publish(t *testing.T, eco string, singles bool, recs ...string) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.round++
	s.files["/"+eco+"/"+Archive] = zipOf(t, recs...)
	list := ""
	for _, r := range recs {
		a, err := Parse([]byte(r))
		if err != nil {
			t.Fatal(err)
		}
		list += a.Modified.Format(time.RFC3339) + "," + a.ID + "\n"
		if singles {
			s.files["/"+eco+"/"+a.ID+".json"] = []byte(r)
		}
	}
	s.files["/"+eco+"/modified_id.csv"] = []byte(list)
	all := string(s.files["/ecosystems.txt"])
	if !strings.Contains("\n"+all, "\n"+eco+"\n") {
		s.files["/ecosystems.txt"] = []byte(all + eco + "\n" + eco + ":1\n")
	}
}

// fetched returns the requests since the last call that were answered with a body.
func (s *server) fetched() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []string
	for _, l := range s.log {
		if strings.HasSuffix(l, " 200") || strings.HasSuffix(l, " 206") {
			out = append(out, l)
		}
	}
	s.log = nil
	return out
}

func (s *server) setFault(f func(w http.ResponseWriter, r *http.Request) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fault = f
}

func mirror(s *server, dir string) Mirror {
	return Mirror{URL: s.URL, Dir: dir, Fetcher: &vuln.Fetcher{Client: s.Client(), Stall: 5 * time.Second}}
}

func TestSyncIncremental(t *testing.T) {
	for _, dates := range []bool{false, true} {
		s := newServer(t)
		s.dates = dates
		s.publish(t, "npm", true, rec("A", "npm", "a", "1.0.0", 1), rec("B", "npm", "b", "1.0.0", 1))
		s.publish(t, "Go", true, rec("C", "Go", "c", "1.0.0", 1))
		dir := t.TempDir()
		m := mirror(s, dir)
		ctx := context.Background()
		sum, err := m.Sync(ctx)
		if err != nil || sum.Archives != 2 || sum.Ecosystems != 2 {
			t.Fatalf("first: %+v, %v", sum, err)
		}
		s.fetched()

		sum, err = m.Sync(ctx)
		if err != nil || sum.Unchanged != 2 {
			t.Fatalf("second: %+v, %v", sum, err)
		}
		if got := s.fetched(); len(got) != 0 {
			t.Errorf("nothing changed and this was fetched: %v", got)
		}

		// One record changes and one is new: they are fetched singly.
		s.publish(t, "npm", true, rec("A", "npm", "a", "1.0.1", 2), rec("B", "npm", "b", "1.0.0", 1), rec("D", "npm", "d", "3.0.0", 2))
		sum, err = m.Sync(ctx)
		if err != nil || sum.Records != 2 || sum.Archives != 0 || sum.Unchanged != 1 {
			t.Fatalf("third: %+v, %v", sum, err)
		}
		if got := fmt.Sprint(s.fetched()); strings.Contains(got, Archive) {
			t.Errorf("an archive was fetched for two records: %v", got)
		}
		db := compile(t, dir)
		if fixed(t, db, "npm", "a") != "1.0.1" || fixed(t, db, "npm", "b") != "1.0.0" || fixed(t, db, "npm", "d") != "3.0.0" || fixed(t, db, "Go", "c") != "1.0.0" {
			t.Error("the compiled mirror is not what the server has")
		}

		// A record disappears, or the server has no single files: the whole archive.
		s.publish(t, "npm", true, rec("B", "npm", "b", "1.0.0", 1))
		s.publish(t, "Go", false, rec("C", "Go", "c", "1.0.0", 1), rec("E", "Go", "e", "1.0.0", 1))
		sum, err = m.Sync(ctx)
		if err != nil || sum.Archives != 2 {
			t.Fatalf("fourth: %+v, %v", sum, err)
		}
		if db := compile(t, dir); db.Info().Records != 3 || fixed(t, db, "Go", "e") != "1.0.0" {
			t.Errorf("got %+v", db.Info())
		}
	}
}

func TestSyncWithoutLists(t *testing.T) {
	s := newServer(t)
	s.publish(t, "npm", false, rec("A", "npm", "a", "1.0.0", 1))
	delete(s.files, "/npm/modified_id.csv")
	dir := t.TempDir()
	m := mirror(s, dir)
	for i, want := range []int{1, 0} {
		sum, err := m.Sync(context.Background())
		if err != nil || sum.Archives != want {
			t.Fatalf("round %d: %+v, %v", i, sum, err)
		}
	}
	// Only what was asked for; what the mirror lacks is said.
	m.Ecosystems = []string{"npm", "PyPI"}
	if _, err := m.Sync(context.Background()); err == nil || !strings.Contains(err.Error(), "PyPI") {
		t.Errorf("got %v", err)
	}
}

// big returns records that do not compress, so that the archive has some size.
func big(n int) []string {
	var out []string
	x := uint64(88172645463325252)
	for i := range n {
		var b []byte
		for range 400 {
			x ^= x << 13
			x ^= x >> 7
			x ^= x << 17
			b = strconv.AppendUint(b, x, 36)
		}
		out = append(out, strings.Replace(rec(fmt.Sprintf("R-%d", i), "npm", fmt.Sprintf("p%d", i), "1.0.0", 1), `"summary":"s"`, `"details":"`+string(b)+`"`, 1))
	}
	return out
}

// TestSyncKilled cuts the connection in the middle of an archive, then stops the
// whole update, then goes on: the second run asks for the rest only.
func TestSyncKilled(t *testing.T) {
	s := newServer(t)
	s.publish(t, "npm", false, big(60)...)
	size := len(s.files["/npm/"+Archive])
	dir := t.TempDir()
	m := mirror(s, dir)
	ctx, cancel := context.WithCancelCause(context.Background())
	killed := errors.New("killed by the test")
	half := size / 2
	s.setFault(func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path != "/npm/"+Archive {
			return false
		}
		s.mu.Lock()
		data := s.files[r.URL.Path]
		s.mu.Unlock()
		sum := crc32.Checksum(data, crc32.MakeTable(crc32.Castagnoli))
		w.Header().Set("ETag", fmt.Sprintf("%q", strconv.FormatUint(uint64(sum), 16)))
		w.Header().Set("Content-Length", strconv.Itoa(len(data)))
		_, _ = w.Write(data[:half])
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done() // until the client is gone
		return true
	})
	part := filepath.Join(dir, "osv", "npm", Archive+".part")
	m.Fetcher.Progress = func(_ string, done, _ int64) {
		if done == int64(half) {
			cancel(killed)
		}
	}
	if _, err := m.Sync(ctx); !errors.Is(err, killed) {
		t.Fatalf("got %v", err)
	}
	if st, err := os.Stat(part); err != nil || st.Size() != int64(half) {
		t.Fatalf("the half that came is not there: %v, %v", st, err)
	}
	if _, err := os.Stat(filepath.Join(dir, "osv", "npm", Archive)); err == nil {
		t.Fatal("half an archive has the name of a whole one")
	}

	m.Fetcher.Progress = nil
	s.setFault(nil)
	s.fetched()
	if _, err := m.Sync(context.Background()); err != nil {
		t.Fatal(err)
	}
	want := fmt.Sprintf("/npm/%s bytes=%d- 206", Archive, half)
	if got := s.fetched(); len(got) != 1 || got[0] != want {
		t.Errorf("fetched %v, want only %s", got, want)
	}
	if db := compile(t, dir); db.Info().Records != 60 {
		t.Errorf("got %+v", db.Info())
	}

	// Killed again, and the archive changes before the next run: the old half must
	// not be glued to the new rest.
	s.publish(t, "npm", false, append(big(60), rec("NEW", "npm", "new", "1.0.0", 3))...)
	ctx, cancel = context.WithCancelCause(context.Background())
	s.setFault(func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path != "/npm/"+Archive {
			return false
		}
		w.Header().Set("ETag", `"other"`)
		w.Header().Set("Content-Length", "1000000")
		_, _ = w.Write(make([]byte, 5000))
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
		return true
	})
	m.Fetcher.Progress = func(string, int64, int64) { cancel(killed) }
	if _, err := m.Sync(ctx); !errors.Is(err, killed) {
		t.Fatalf("got %v", err)
	}
	s.setFault(nil)
	m.Fetcher.Progress = nil
	if _, err := m.Sync(context.Background()); err != nil {
		t.Fatal(err)
	}
	if db := compile(t, dir); db.Info().Records != 61 {
		t.Errorf("got %+v", db.Info())
	}
}

// TestSyncFaults: each fault is named, comes to an end, and leaves the copy as it was.
func TestSyncFaults(t *testing.T) {
	only := func(f func(w http.ResponseWriter, r *http.Request)) func(http.ResponseWriter, *http.Request) bool {
		return func(w http.ResponseWriter, r *http.Request) bool {
			if r.URL.Path != "/npm/"+Archive {
				return false
			}
			f(w, r)
			return true
		}
	}
	for _, c := range []struct {
		name, says string
		fault      func(w http.ResponseWriter, r *http.Request)
		stall      time.Duration
	}{
		{"stalls before the answer", "sent nothing for", func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, 100 * time.Millisecond},
		{"stalls in the body", "sent nothing for", func(w http.ResponseWriter, r *http.Request) {
			_, _ = w.Write([]byte("PK"))
			_ = http.NewResponseController(w).Flush()
			<-r.Context().Done()
		}, 100 * time.Millisecond},
		{"sends less than it says", "of 1000 bytes", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "1000")
			_, _ = w.Write([]byte("PK"))
		}, 0},
		{"redirects for ever", "redirected more than", func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, r.URL.Path, http.StatusFound)
		}, 0},
		{"announces too much", "more than the limit", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", "999999999999")
			w.WriteHeader(http.StatusOK)
			_ = http.NewResponseController(w).Flush()
			<-r.Context().Done()
		}, 5 * time.Second},
		{"sends another thing", "broken", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("<html>login</html>")) }, 0},
		{"has a checksum that differs", "checksum", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("X-Goog-Hash", "crc32c=AAAAAA==,md5=x")
			_, _ = w.Write([]byte("PK"))
		}, 0},
		{"is out of order", "503", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) }, 0},
		{"answers another range", "range", func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Range") == "" {
				w.Header().Set("ETag", `"x"`)
				w.Header().Set("Content-Length", "1000")
				_, _ = w.Write([]byte("PK"))
				return
			}
			w.Header().Set("Content-Range", "bytes 700-999/1000")
			w.WriteHeader(http.StatusPartialContent)
		}, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newServer(t)
			s.publish(t, "npm", false, rec("A", "npm", "a", "1.0.0", 1))
			dir := t.TempDir()
			m := mirror(s, dir)
			if _, err := m.Sync(context.Background()); err != nil {
				t.Fatal(err)
			}
			s.publish(t, "npm", false, rec("A", "npm", "a", "1.0.1", 2))
			s.setFault(only(c.fault))
			if c.stall > 0 {
				m.Fetcher.Stall = c.stall
			}
			_, err := m.Sync(context.Background())
			if err == nil || !strings.Contains(err.Error(), c.says) || !strings.Contains(err.Error(), s.URL) {
				t.Fatalf("got %v, want %q and the server in it", err, c.says)
			}
			if got := fixed(t, compile(t, dir), "npm", "a"); got != "1.0.0" {
				t.Errorf("the old copy now says %s", got)
			}
			// And the fault over, the next run gets it.
			s.setFault(nil)
			m.Fetcher.Stall = 5 * time.Second
			if _, err := m.Sync(context.Background()); err != nil {
				t.Fatal(err)
			}
			if got := fixed(t, compile(t, dir), "npm", "a"); got != "1.0.1" {
				t.Errorf("after the fault: %s", got)
			}
		})
	}
}

func TestSyncHostileNames(t *testing.T) {
	for _, list := range []string{"../../etc\n", ".hidden\n", "a\\b\n", strings.Repeat("x", 100) + "\n", "GIT\n", ""} {
		s := newServer(t)
		s.files["/ecosystems.txt"] = []byte(list)
		if _, err := mirror(s, t.TempDir()).Sync(context.Background()); err == nil {
			t.Errorf("%q was taken", list)
		}
	}
	s := newServer(t)
	s.publish(t, "npm", true, rec("A", "npm", "a", "1.0.0", 1))
	dir := t.TempDir()
	if _, err := mirror(s, dir).Sync(context.Background()); err != nil {
		t.Fatal(err)
	}
	s.files["/npm/modified_id.csv"] = []byte(day(1) + ",A\n" + day(2) + ",../../../evil\n")
	if _, err := mirror(s, dir).Sync(context.Background()); err == nil || !strings.Contains(err.Error(), "line 2") {
		t.Errorf("got %v", err)
	}
}

func TestSyncWithoutNetwork(t *testing.T) {
	s := newServer(t)
	m := mirror(s, t.TempDir())
	s.Close()
	if _, err := m.Sync(context.Background()); err == nil || !strings.Contains(err.Error(), "bollwerk db import") || !strings.Contains(err.Error(), s.URL) {
		t.Errorf("got %v", err)
	}
}

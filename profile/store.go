package profile

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Store keeps profiles in a folder of its own, one file each, named by the hashes of
// owner and workload. A file is its checksum in the first line and the document
// behind it, and is replaced as a whole (written beside, synced, renamed): a crash or
// a full disk leaves the old one. A file that is damaged is put aside under
// ".damaged" and said, never guessed at.
type Store struct {
	dir string
	max int
	mu  sync.Mutex
}

// DefaultFiles is how many profiles a store keeps; the ones written longest ago go.
const DefaultFiles = 2000

const magic = "bollwerk-profile 1 sha256:"

// OpenStore opens or makes the folder (mode 0700). files bounds the profiles kept, 0
// is DefaultFiles.
func OpenStore(dir string, files int) (*Store, error) {
	if files <= 0 {
		files = DefaultFiles
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("profiles: %w", err)
	}
	// What a crash left half-written.
	old, err := filepath.Glob(filepath.Join(dir, "*.new"))
	if err != nil {
		return nil, err
	}
	for _, f := range old {
		if err := os.Remove(f); err != nil {
			return nil, fmt.Errorf("profiles: %w", err)
		}
	}
	return &Store{dir: dir, max: files}, nil
}

func fileName(workload string) string {
	return fmt.Sprintf("%016x-%016x.json", hash(Owner(workload)), hash(workload))
}

// Save writes a document. It returns after the bytes are on disk.
func (s *Store) Save(d *Document) (err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var body bytes.Buffer
	if _, err := d.WriteTo(&body); err != nil {
		return err
	}
	sum := sha256.Sum256(body.Bytes())
	name := filepath.Join(s.dir, fileName(d.Workload))
	if _, err := os.Lstat(name); errors.Is(err, fs.ErrNotExist) {
		if err := s.makeRoom(); err != nil {
			return err
		}
	}
	f, err := os.OpenFile(name+".new", os.O_WRONLY|os.O_CREATE|os.O_TRUNC|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return fmt.Errorf("profiles: %w", err)
	}
	defer func() {
		if err != nil {
			f.Close()
			os.Remove(name + ".new")
			err = fmt.Errorf("profiles: %s: the last saved state stays: %w", clean(d.Workload), err)
		}
	}()
	if _, err := fmt.Fprintf(f, "%s%s\n", magic, hex.EncodeToString(sum[:])); err != nil {
		return err
	}
	if _, err := body.WriteTo(f); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	if err := os.Rename(name+".new", name); err != nil {
		return err
	}
	return s.syncDir()
}

func (s *Store) syncDir() error {
	d, err := os.Open(s.dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// makeRoom removes the files written longest ago until one more fits.
func (s *Store) makeRoom() error {
	files, err := s.files("*.json")
	if err != nil {
		return err
	}
	for len(files) >= s.max {
		if err := os.Remove(files[0]); err != nil {
			return fmt.Errorf("profiles: %w", err)
		}
		files = files[1:]
	}
	return nil
}

// files matching a pattern, oldest first.
func (s *Store) files(pattern string) ([]string, error) {
	names, err := filepath.Glob(filepath.Join(s.dir, pattern))
	if err != nil {
		return nil, err
	}
	when := make(map[string]time.Time, len(names))
	for _, n := range names {
		if st, err := os.Lstat(n); err == nil {
			when[n] = st.ModTime()
		}
	}
	slices.SortFunc(names, func(a, b string) int {
		if c := when[a].Compare(when[b]); c != 0 {
			return c
		}
		return strings.Compare(a, b)
	})
	return names, nil
}

// Load reads the profile of a workload; nil without an error when there is none. With
// an error the damaged file was put aside and the workload starts anew.
func (s *Store) Load(workload string) (*Document, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	d, err := s.read(filepath.Join(s.dir, fileName(workload)))
	if err == nil && d != nil && d.Workload != workload {
		return nil, nil // two keys of one hash: the other was first
	}
	return d, err
}

// Previous reads the newest profile of the same owner with another image; nil when
// there is none.
func (s *Store) Previous(workload string) (*Document, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	names, err := s.files(fmt.Sprintf("%016x-*.json", hash(Owner(workload))))
	if err != nil {
		return nil, err
	}
	for _, n := range slices.Backward(names) {
		d, err := s.read(n)
		if err != nil {
			return nil, err
		}
		if d != nil && d.Workload != workload && Owner(d.Workload) == Owner(workload) {
			return d, nil
		}
	}
	return nil, nil
}

// Keys returns the workloads in the store, sorted, and a sentence for each file that
// could not be read and was put aside.
func (s *Store) Keys() (keys, problems []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	names, err := s.files("*.json")
	if err != nil {
		return nil, []string{err.Error()}
	}
	for _, n := range names {
		d, err := s.read(n)
		switch {
		case err != nil:
			problems = append(problems, err.Error())
		case d != nil:
			keys = append(keys, d.Workload)
		}
	}
	slices.Sort(keys)
	return keys, problems
}

// Delete forgets a profile. One that is not there is no error.
func (s *Store) Delete(workload string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := os.Remove(filepath.Join(s.dir, fileName(workload))); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("profiles: %w", err)
	}
	return nil
}

func (s *Store) read(name string) (*Document, error) {
	f, err := os.OpenFile(name, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("profiles: %w", err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, MaxDocument+256))
	if err != nil {
		return nil, fmt.Errorf("profiles: %w", err)
	}
	d, err := decodeFile(data)
	if err != nil {
		aside := name + ".damaged"
		if e := os.Rename(name, aside); e != nil {
			return nil, fmt.Errorf("profiles: %s: %w; it could not be put aside: %w", filepath.Base(name), err, e)
		}
		return nil, fmt.Errorf("profiles: %s: %w; it was put aside as %s and its workload is learned anew", filepath.Base(name), err, filepath.Base(aside))
	}
	return d, nil
}

func decodeFile(data []byte) (*Document, error) {
	line, body, ok := bytes.Cut(data, []byte{'\n'})
	want, isOurs := bytes.CutPrefix(line, []byte(magic))
	if !ok || !isOurs {
		return nil, errors.New("not a profile file")
	}
	sum := sha256.Sum256(body)
	if hex.EncodeToString(sum[:]) != string(want) {
		return nil, errors.New("the checksum does not match what is in the file")
	}
	return ReadDocument(bytes.NewReader(body))
}

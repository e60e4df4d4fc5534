package tracing

import (
	"bufio"
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
)

// restorer knows the values of settings that cannot be refused before they are written
// and puts them back when the writer was ended for it.
type restorer struct {
	mu  sync.Mutex
	old map[string]string // file: value
}

// settingFiles are the files with which a container reaches the host and that no sysctl
// program is asked about: release_agent at the root of every version 1 hierarchy, and
// the helpers for hot plugging and crashes.
func settingFiles(mountinfo string) []string {
	out := []string{"/sys/kernel/uevent_helper"}
	b, err := os.ReadFile(mountinfo)
	if err != nil {
		return out
	}
	for sc := bufio.NewScanner(bytes.NewReader(b)); sc.Scan() && len(out) < 64; {
		left, right, ok := strings.Cut(sc.Text(), " - ")
		l := strings.Fields(left)
		if ok && len(l) >= 5 && strings.HasPrefix(right, "cgroup ") && l[3] == "/" {
			out = append(out, filepath.Join(l[4], "release_agent"))
		}
	}
	return out
}

func newRestorer(files []string) *restorer {
	r := &restorer{old: map[string]string{}}
	for _, f := range files {
		if b, err := readSmall(f); err == nil {
			r.old[f] = b
		}
	}
	return r
}

func readSmall(file string) (string, error) {
	f, err := os.Open(file)
	if err != nil {
		return "", err
	}
	defer f.Close()
	b := make([]byte, 4096)
	n, err := f.Read(b)
	if err != nil && err != io.EOF {
		return "", err
	}
	return string(b[:n]), nil
}

// restore puts back what was changed in files of this name and tells which.
func (r *restorer) restore(name string) (restored []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for f, old := range r.old {
		if filepath.Base(f) != name {
			continue
		}
		if now, err := readSmall(f); err != nil || now == old {
			continue
		}
		value := old
		if value == "" {
			value = "\n"
		}
		if os.WriteFile(f, []byte(value), 0) == nil {
			restored = append(restored, f)
		}
	}
	return restored
}

// accept takes the present value for the right one: somebody wrote it who may.
func (r *restorer) accept(name string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for f := range r.old {
		if filepath.Base(f) == name {
			if now, err := readSmall(f); err == nil {
				r.old[f] = now
			}
		}
	}
}

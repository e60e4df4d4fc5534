// Command bench measures the program on the bench image and prints ratios to
// yardsticks measured in the same run. It fails when a stated bound is broken.
//
//	bench -bin bin/bollwerk -image LAYOUT -db FILE [-mirror DIR]
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sort"
	"strings"
	"syscall"
	"time"
)

// row is one line of the report.
type row struct {
	what, value, bound string
	ok                 bool
}

func main() {
	bin := flag.String("bin", "bin/bollwerk", "the program")
	layout := flag.String("image", "", "OCI layout of the bench image")
	db := flag.String("db", "", "advisory database")
	mirror := flag.String("mirror", "", "OSV mirror to build a database from (optional)")
	yardstickOnly := flag.Bool("yardstick", false, "run the yardstick once and print its seconds")
	rounds := flag.Int("rounds", 3, "how often the image is scanned; the median counts")
	flag.Parse()
	if *yardstickOnly {
		took, err := yardstick(context.Background(), *layout)
		if err != nil {
			fatal(err)
		}
		fmt.Println(took.Seconds())
		return
	}
	rows, err := measure(*bin, *layout, *db, *mirror, *rounds)
	if err != nil {
		fatal(err)
	}
	bad := 0
	fmt.Printf("%-58s %-34s %s\n", "what", "measured", "bound")
	for _, r := range rows {
		mark := "ok"
		if !r.ok {
			mark, bad = "BROKEN", bad+1
		}
		fmt.Printf("%-58s %-34s %s %s\n", r.what, r.value, r.bound, mark)
	}
	if bad > 0 {
		fatal(fmt.Errorf("%d bounds are broken", bad))
	}
}

func fatal(err error) {
	fmt.Fprintln(os.Stderr, "bench:", err)
	os.Exit(1)
}

// usage is what one process cost.
type usage struct {
	wall, cpu time.Duration
	rss       int64 // bytes, peak
}

// spend runs a command to its end. Exit code 1 (findings) is a success.
func spend(name string, env []string, args ...string) (usage, error) {
	cmd := exec.Command(name, args...)
	cmd.Env = append(os.Environ(), env...)
	var errText strings.Builder
	cmd.Stderr = &errText
	start := time.Now()
	err := cmd.Run()
	wall := time.Since(start)
	var exit *exec.ExitError
	if err != nil && (!errors.As(err, &exit) || exit.ExitCode() != 1) {
		return usage{}, fmt.Errorf("%s %s: %w\n%s", name, strings.Join(args, " "), err, errText.String())
	}
	ru, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage)
	if !ok {
		return usage{}, errors.New("no resource usage on this system")
	}
	return usage{wall: wall, cpu: cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime(), rss: ru.Maxrss << 10}, nil
}

func median(us []usage) usage {
	sort.Slice(us, func(i, j int) bool { return us[i].wall < us[j].wall })
	return us[len(us)/2]
}

func measure(bin, layout, db, mirror string, rounds int) ([]row, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	tmp, err := os.MkdirTemp("", "bollwerk-bench-*")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(tmp)
	var rows []row
	scanArgs := func(extra ...string) []string {
		return append([]string{"scan", "--db", db, "--quiet", "--format", "json", "--output", filepath.Join(tmp, "out.json"), "--fail-on", "none"}, extra...)
	}
	// Interleaved, so that both see the same machine.
	var yard, cold, warm []usage
	for range rounds {
		y, err := spend(self, nil, "-yardstick", "-image", layout)
		if err != nil {
			return nil, err
		}
		yard = append(yard, y)
		cache := filepath.Join(tmp, "cache")
		if err := os.RemoveAll(cache); err != nil {
			return nil, err
		}
		env := []string{"BOLLWERK_CACHE_DIR=" + cache}
		c, err := spend(bin, env, scanArgs("oci:"+layout)...)
		if err != nil {
			return nil, err
		}
		cold = append(cold, c)
		w, err := spend(bin, env, scanArgs("oci:"+layout)...)
		if err != nil {
			return nil, err
		}
		warm = append(warm, w)
	}
	y, c, w := median(yard), median(cold), median(warm)
	rows = append(rows,
		row{"yardstick: decompress and hash every layer", fmt.Sprintf("%.2f s, %.2f CPU s, %d cores", y.wall.Seconds(), y.cpu.Seconds(), runtime.NumCPU()), "", true},
		ratio("cold scan with matching / yardstick (wall)", c.wall, y.wall, 1.25, fmt.Sprintf("%.2f s, %.2f CPU s", c.wall.Seconds(), c.cpu.Seconds())),
		atMost("cold scan, peak RSS (MB)", float64(c.rss)/1e6, 250),
		ratio("scan with known layers / yardstick (wall)", w.wall, y.wall, 0.1, fmt.Sprintf("%.3f s", w.wall.Seconds())),
	)
	findings, packages, err := counted(filepath.Join(tmp, "out.json"))
	if err != nil {
		return nil, err
	}
	rows = append(rows, row{"packages and findings of the bench image", fmt.Sprintf("%d and %d", packages, findings), "more than 0", packages > 0 && findings > 0})

	lock := filepath.Join(tmp, "small", "package-lock.json")
	if err := os.MkdirAll(filepath.Dir(lock), 0o755); err != nil {
		return nil, err
	}
	if err := os.WriteFile(lock, []byte(smallLock), 0o644); err != nil {
		return nil, err
	}
	var nothing, small []usage
	for range 5 {
		u, err := spend("/bin/true", nil)
		if err != nil {
			return nil, err
		}
		nothing = append(nothing, u)
		s, err := spend(bin, []string{"BOLLWERK_CACHE_DIR=" + filepath.Join(tmp, "cache")}, scanArgs(lock)...)
		if err != nil {
			return nil, err
		}
		small = append(small, s)
	}
	s, n := median(small), median(nothing)
	r := atMost("scan of a small lock file, as a process (ms)", float64(s.wall.Microseconds())/1000, 150)
	r.value += fmt.Sprintf(" (%.0f x /bin/true)", float64(s.wall)/float64(n.wall))
	rows = append(rows, r)

	if mirror != "" {
		out := filepath.Join(tmp, "built.db")
		b, err := spend(bin, nil, "db", "build", "--quiet", "--from", mirror, "--output", out)
		if err != nil {
			return nil, err
		}
		info, err := os.Stat(out)
		if err != nil {
			return nil, err
		}
		rows = append(rows, atMost("database built from the mirror (s)", b.wall.Seconds(), 90), atMost("database, size (MB)", float64(info.Size())/1e6, 80))
	}
	return rows, nil
}

func ratio(what string, a, b time.Duration, bound float64, detail string) row {
	v := float64(a) / float64(b)
	return row{what, fmt.Sprintf("%.3f (%s)", v, detail), fmt.Sprintf("<= %.2f", bound), v <= bound}
}

func atMost(what string, v, bound float64) row {
	return row{what, fmt.Sprintf("%.1f", v), fmt.Sprintf("<= %.0f", bound), v <= bound}
}

func counted(file string) (findings, packages int, err error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return 0, 0, err
	}
	var r struct {
		Packages []json.RawMessage `json:"packages"`
		Findings []json.RawMessage `json:"findings"`
	}
	if err := json.Unmarshal(b, &r); err != nil {
		return 0, 0, err
	}
	return len(r.Findings), len(r.Packages), nil
}

const smallLock = `{"name":"small","version":"1.0.0","lockfileVersion":3,"requires":true,"packages":{
"":{"name":"small","version":"1.0.0","dependencies":{"lodash":"4.17.4"}},
"node_modules/lodash":{"version":"4.17.4","license":"MIT"}}}
`

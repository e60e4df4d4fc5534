package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/bollwerk/bollwerk/vuln"
	"github.com/bollwerk/bollwerk/vuln/epss"
	"github.com/bollwerk/bollwerk/vuln/kev"
	"github.com/bollwerk/bollwerk/vuln/osv"
)

// syncFlags say where advisories are fetched from.
type syncFlags struct {
	mirror     string
	kev, epss  string
	ecosystems []string
	stall      time.Duration
}

func (f *syncFlags) addTo(c *cobra.Command) {
	fl := c.Flags()
	fl.StringVar(&f.kev, "kev", kev.URL, "`URL` of the known exploited vulnerabilities; none: leave them out")
	fl.StringVar(&f.epss, "epss", epss.URL, "`URL` of the EPSS scores; none: leave them out")
	fl.StringSliceVar(&f.ecosystems, "ecosystems", nil, "fetch only these `NAMES` (npm,PyPI,Debian); others are then not covered")
	fl.DurationVar(&f.stall, "stall", 30*time.Second, "give up when a server sends nothing for `TIME`")
}

// run fetches what is new into the cache folder and returns the folder.
func (f *syncFlags) run(ctx context.Context, e *env, bar *progress) (string, error) {
	cache, err := e.cacheDir()
	if err != nil {
		return "", err
	}
	if f.stall <= 0 {
		return "", usageError(fmt.Errorf("--stall %s: want a time above zero", f.stall))
	}
	dir := filepath.Join(cache, "mirror")
	fetcher := &vuln.Fetcher{Stall: f.stall, Progress: func(url string, done, total int64) {
		name := url[strings.LastIndex(url, "/")+1:]
		if total > 0 {
			bar.show("fetching %s: %.1f of %.1f MB", name, float64(done)/1e6, float64(total)/1e6)
		} else {
			bar.show("fetching %s: %.1f MB", name, float64(done)/1e6)
		}
	}}
	m := osv.Mirror{URL: f.mirror, Dir: dir, Fetcher: fetcher, Ecosystems: f.ecosystems, Progress: func(eco string, done, total int) {
		bar.show("ecosystem %d of %d: %s", done+1, total, eco)
	}}
	sum, err := m.Sync(ctx)
	if err != nil {
		return "", err
	}
	for _, feed := range []struct {
		url, name string
		limit     int64
	}{{f.kev, kev.FileName, kev.MaxSize}, {f.epss, epss.FileName, epss.MaxSize}} {
		if feed.url == "" || feed.url == "none" {
			if err := os.Remove(filepath.Join(dir, feed.name)); err != nil && !errors.Is(err, os.ErrNotExist) {
				return "", err
			}
			continue
		}
		verify := kev.Check
		if feed.name == epss.FileName {
			verify = epss.Check
		}
		if _, err := fetcher.Fetch(ctx, vuln.Download{URL: feed.url, To: filepath.Join(dir, feed.name), MaxSize: feed.limit, Verify: verify}); err != nil {
			if errors.Is(err, vuln.ErrNotFound) {
				err = fmt.Errorf("%w; --kev and --epss say where the feeds are, none leaves one out", err)
			}
			return "", err
		}
	}
	bar.done()
	e.say("%d ecosystems: %d unchanged, %d archives and %d single records fetched", sum.Ecosystems, sum.Unchanged, sum.Archives, sum.Records)
	return dir, nil
}

func newDBUpdateCommand(e *env) *cobra.Command {
	var f syncFlags
	c := &cobra.Command{
		Use:   "update [--mirror URL]",
		Short: "fetch what is new and compile it",
		Long: `Fetches what has changed since the last time into the cache folder, compiles it and
replaces the database in use when the new one is complete. An interrupted download
is gone on with. The mirror has the layout of the OSV bulk export.`,
		Example: `  bollwerk db update
  bollwerk db update --mirror https://mirror.example/osv --kev https://mirror.example/kev.json --epss none`,
		Args: noArguments,
		RunE: func(c *cobra.Command, _ []string) error { return runDBUpdate(c.Context(), e, f) },
	}
	c.Flags().StringVar(&f.mirror, "mirror", osv.URL, "`URL` of a mirror of the OSV bulk export")
	f.addTo(c)
	return c
}

func runDBUpdate(ctx context.Context, e *env, f syncFlags) error {
	path, err := e.dbPath()
	if err != nil {
		return err
	}
	bar := newProgress(e)
	defer bar.done()
	dir, err := f.run(ctx, e, bar)
	if err != nil {
		return err
	}
	return buildDatabase(ctx, e, bar, osv.Folder{Root: dir, Only: f.ecosystems}, vuln.BuildOptions{Output: path})
}

// Package kev reads CISA's catalogue of known exploited vulnerabilities
// (https://www.cisa.gov/known-exploited-vulnerabilities-catalog, JSON feed).
package kev

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/vuln"
)

// FileName is the name of the feed where CISA publishes it.
const FileName = "known_exploited_vulnerabilities.json"

// URL is where CISA publishes the feed.
const URL = "https://www.cisa.gov/sites/default/files/feeds/" + FileName

// MaxSize is the largest feed that is read; today's has 1.6 MB.
const MaxSize = 64 << 20

// Catalogue is the feed, reduced to facts.
type Catalogue struct {
	Released string // date of the release, 2026-08-07
	Entries  map[string]bollwerk.KEV
}

// Parse reads the feed. A feed without entries is refused: an empty catalogue
// would say that nothing is exploited.
func Parse(data []byte) (Catalogue, error) {
	if len(data) > MaxSize {
		return Catalogue{}, fmt.Errorf("%d bytes, more than the limit of %d", len(data), MaxSize)
	}
	var feed struct {
		Count           int    `json:"count"`
		Released        string `json:"dateReleased"`
		Version         string `json:"catalogVersion"`
		Vulnerabilities []struct {
			CVE        string `json:"cveID"`
			Added      string `json:"dateAdded"`
			Due        string `json:"dueDate"`
			Ransomware string `json:"knownRansomwareCampaignUse"`
		} `json:"vulnerabilities"`
	}
	if err := json.Unmarshal(data, &feed); err != nil {
		return Catalogue{}, err
	}
	c := Catalogue{Released: feed.Released, Entries: make(map[string]bollwerk.KEV, len(feed.Vulnerabilities))}
	if len(c.Released) >= 10 {
		c.Released = c.Released[:10]
	} else {
		c.Released = strings.ReplaceAll(feed.Version, ".", "-")
	}
	for _, v := range feed.Vulnerabilities {
		if !strings.HasPrefix(v.CVE, "CVE-") {
			continue
		}
		c.Entries[v.CVE] = bollwerk.KEV{DateAdded: v.Added, DueDate: v.Due, Ransomware: strings.EqualFold(v.Ransomware, "Known")}
	}
	if len(c.Entries) == 0 {
		return Catalogue{}, errors.New("no vulnerabilities in it")
	}
	if feed.Count > len(feed.Vulnerabilities) {
		return Catalogue{}, fmt.Errorf("it says %d vulnerabilities and has %d", feed.Count, len(feed.Vulnerabilities))
	}
	return c, nil
}

// Check reports whether the file at path is a feed that can be read.
func Check(path string) error {
	data, err := readFile(path, MaxSize)
	if err != nil {
		return err
	}
	_, err = Parse(data)
	return err
}

// File is the feed on disk.
type File struct{ Path string }

// Name implements vuln.Source.
func (f File) Name() string { return "CISA KEV" }

// Read implements vuln.Source.
func (f File) Read(_ context.Context, b *vuln.Builder) error {
	data, err := readFile(f.Path, MaxSize)
	if err != nil {
		return err
	}
	c, err := Parse(data)
	if err != nil {
		return fmt.Errorf("%s: %w", f.Path, err)
	}
	b.AddKEV(c.Released, c.Entries)
	return nil
}

func readFile(path string, limit int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(data)) > limit {
		err = fmt.Errorf("%s: more than %d bytes", path, limit)
	}
	return data, err
}

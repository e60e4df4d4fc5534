// Package epss reads FIRST's Exploit Prediction Scoring System, the daily CSV
// (https://www.first.org/epss/data_stats), plain or gzipped.
package epss

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"github.com/klauspost/compress/gzip"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/vuln"
)

// FileName is the name of the newest scores where FIRST publishes them.
const FileName = "epss_scores-current.csv.gz"

// URL is where FIRST publishes the newest scores.
const URL = "https://epss.empiricalsecurity.com/" + FileName

// MaxSize bounds the scores after decompression; today's have 10 MB.
const MaxSize = 256 << 20

// maxLine is the longest line that is read.
const maxLine = 4096

// Read reads the scores and hands each to do. It returns the day they are of,
// 2026-08-16, empty if the file does not say. A row that cannot be read is an
// error, and so is a file without rows.
func Read(r io.Reader, do func(cve string, e bollwerk.EPSS)) (date string, err error) {
	br := bufio.NewReader(r)
	if head, _ := br.Peek(2); len(head) == 2 && head[0] == 0x1f && head[1] == 0x8b {
		z, err := gzip.NewReader(br)
		if err != nil {
			return "", err
		}
		defer z.Close()
		br = bufio.NewReader(z)
	}
	lim := &io.LimitedReader{R: br, N: MaxSize + 1}
	sc := bufio.NewScanner(lim)
	sc.Buffer(make([]byte, 0, maxLine), maxLine)
	rows, line := 0, 0
	columns := [3]int{0, 1, 2}
	for sc.Scan() {
		line++
		s := strings.TrimRight(sc.Text(), "\r")
		switch {
		case s == "":
			continue
		case s[0] == '#':
			// #model_version:v2025.03.14,score_date:2026-08-16T00:00:00Z
			if _, d, ok := strings.Cut(s, "score_date:"); ok && len(d) >= 10 {
				date = d[:10]
			}
			continue
		case strings.HasPrefix(s, "cve,"):
			if columns, err = header(s); err != nil {
				return date, fmt.Errorf("line %d: %w", line, err)
			}
			continue
		}
		f := strings.Split(s, ",")
		if len(f) <= max(columns[0], columns[1], columns[2]) {
			return date, fmt.Errorf("line %d: %d columns", line, len(f))
		}
		score, err1 := strconv.ParseFloat(f[columns[1]], 64)
		perc, err2 := strconv.ParseFloat(f[columns[2]], 64)
		if err := errors.Join(err1, err2); err != nil {
			return date, fmt.Errorf("line %d: %w", line, err)
		}
		if !(score >= 0 && score <= 1 && perc >= 0 && perc <= 1) {
			return date, fmt.Errorf("line %d: score %v and percentile %v, want 0 to 1", line, score, perc)
		}
		do(f[columns[0]], bollwerk.EPSS{Score: score, Percentile: perc})
		rows++
	}
	if err := sc.Err(); err != nil {
		return date, fmt.Errorf("line %d: %w", line+1, err)
	}
	if lim.N <= 0 {
		return date, fmt.Errorf("more than %d bytes", MaxSize)
	}
	if rows == 0 {
		return date, errors.New("no scores in it")
	}
	return date, nil
}

func header(s string) ([3]int, error) {
	c := [3]int{-1, -1, -1}
	for i, name := range strings.Split(s, ",") {
		switch name {
		case "cve":
			c[0] = i
		case "epss":
			c[1] = i
		case "percentile":
			c[2] = i
		}
	}
	if c[0] < 0 || c[1] < 0 || c[2] < 0 {
		return c, errors.New("want the columns cve, epss and percentile")
	}
	return c, nil
}

// Check reports whether the file at path holds scores that can be read.
func Check(path string) error {
	r, err := os.Open(path)
	if err != nil {
		return err
	}
	defer r.Close()
	_, err = Read(r, func(string, bollwerk.EPSS) {})
	return err
}

// File is the scores on disk.
type File struct{ Path string }

// Name implements vuln.Source.
func (f File) Name() string { return "FIRST EPSS" }

// Read implements vuln.Source.
func (f File) Read(_ context.Context, b *vuln.Builder) error {
	r, err := os.Open(f.Path)
	if err != nil {
		return err
	}
	defer r.Close()
	date, err := Read(r, b.AddEPSS)
	if err != nil {
		return fmt.Errorf("%s: %w", f.Path, err)
	}
	b.SetEPSSDate(date)
	return nil
}

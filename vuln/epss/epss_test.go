package epss

import (
	"bytes"
	"strings"
	"testing"

	"github.com/klauspost/compress/gzip"

	"github.com/bollwerk/bollwerk"
)

const scores = "#model_version:v2025.03.14,score_date:2026-08-16T00:00:00Z\ncve,epss,percentile\nCVE-1999-0001,0.03351,0.8765\r\nCVE-2021-44228,0.99999,1.0\n"

func read(t *testing.T, data []byte) (map[string]bollwerk.EPSS, string, error) {
	t.Helper()
	out := map[string]bollwerk.EPSS{}
	date, err := Read(bytes.NewReader(data), func(n string, e bollwerk.EPSS) { out[n] = e })
	return out, date, err
}

func TestRead(t *testing.T) {
	var z bytes.Buffer
	w := gzip.NewWriter(&z)
	if _, err := w.Write([]byte(scores)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	for name, in := range map[string][]byte{"plain": []byte(scores), "gzip": z.Bytes()} {
		got, date, err := read(t, in)
		if err != nil || date != "2026-08-16" || len(got) != 2 || got["CVE-2021-44228"].Score != 0.99999 || got["CVE-1999-0001"].Percentile != 0.8765 {
			t.Errorf("%s: got %v, %q, %v", name, got, date, err)
		}
	}
	swapped, _, err := read(t, []byte("cve,percentile,epss\nCVE-1,0.9,0.1\n"))
	if err != nil || swapped["CVE-1"].Score != 0.1 {
		t.Errorf("the header names the columns: %v, %v", swapped, err)
	}
	if _, _, err := read(t, z.Bytes()[:z.Len()-9]); err == nil {
		t.Error("a cut file was taken")
	}
}

func TestReadRefuses(t *testing.T) {
	for name, in := range map[string]string{
		"empty": "", "html": "<html>\n", "no rows": "cve,epss,percentile\n", "header": "cve,score\nCVE-1,1\n",
		"letters": "CVE-1,much,0.1\n", "range": "CVE-1,1.5,0.1\n", "nan": "CVE-1,NaN,0.1\n", "columns": "CVE-1\n",
		"line": "CVE-1," + strings.Repeat("0", maxLine) + ",0\n",
	} {
		if got, _, err := read(t, []byte(in)); err == nil {
			t.Errorf("%s: got %v", name, got)
		}
	}
}

func FuzzRead(f *testing.F) {
	f.Add([]byte(scores))
	f.Add([]byte("\x1f\x8b\x08"))
	f.Fuzz(func(t *testing.T, data []byte) {
		_, _ = Read(bytes.NewReader(data), func(n string, e bollwerk.EPSS) {
			if !(e.Score >= 0 && e.Score <= 1 && e.Percentile >= 0 && e.Percentile <= 1) {
				t.Errorf("%s: %+v", n, e)
			}
		})
	})
}

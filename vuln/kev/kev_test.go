package kev

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const feed = `{"title":"CISA Catalog","catalogVersion":"2026.08.07","dateReleased":"2026-08-07T16:45:47.0648Z","count":2,"vulnerabilities":[
 {"cveID":"CVE-2021-44228","dateAdded":"2021-12-10","dueDate":"2021-12-24","knownRansomwareCampaignUse":"Known","notes":"x"},
 {"cveID":"CVE-2024-1","dateAdded":"2024-01-01","dueDate":"2024-01-22","knownRansomwareCampaignUse":"Unknown"}]}`

func TestParse(t *testing.T) {
	c, err := Parse([]byte(feed))
	if err != nil {
		t.Fatal(err)
	}
	if c.Released != "2026-08-07" || len(c.Entries) != 2 {
		t.Errorf("got %+v", c)
	}
	if k := c.Entries["CVE-2021-44228"]; !k.Ransomware || k.DateAdded != "2021-12-10" || k.DueDate != "2021-12-24" {
		t.Errorf("got %+v", k)
	}
	if c.Entries["CVE-2024-1"].Ransomware {
		t.Error("unknown use is not known use")
	}
}

func TestParseRefuses(t *testing.T) {
	for name, in := range map[string]string{
		"empty": "", "html": "<html>", "nothing": `{"vulnerabilities":[]}`, "cut": feed[:200],
		"short": strings.Replace(feed, `"count":2`, `"count":1600`, 1),
	} {
		if c, err := Parse([]byte(in)); err == nil {
			t.Errorf("%s: got %+v", name, c)
		}
	}
	if err := Check(filepath.Join(t.TempDir(), "none")); err == nil {
		t.Error("a missing file passed")
	}
	p := filepath.Join(t.TempDir(), FileName)
	if err := os.WriteFile(p, []byte(feed), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Check(p); err != nil {
		t.Error(err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(feed))
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := Parse(data)
		if err == nil && len(c.Entries) == 0 {
			t.Error("an empty catalogue was taken")
		}
	})
}

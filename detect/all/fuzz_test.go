package all_test

import (
	"bytes"
	"encoding/json"
	"os"
	"testing"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/detect/all"
	"github.com/bollwerk/bollwerk/detect/detecttest"
)

// FuzzStream gives events as JSON lines to all detectors: nothing falls over, and whatever is
// told is complete and printable.
func FuzzStream(f *testing.F) {
	for _, file := range files(f, "../*/testdata/attack-*.jsonl") {
		b, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		if len(b) > 5<<10 {
			b = b[:bytes.LastIndexByte(b[:5<<10], '\n')+1]
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, lines []byte) {
		s, err := all.Stream(all.Config{})
		if err != nil {
			t.Fatal(err)
		}
		var last []byte
		for _, line := range bytes.Split(lines, []byte("\n")) {
			var e bollwerk.Event
			if json.Unmarshal(line, &e) != nil {
				continue
			}
			last = line
			s.Observe(&e, func(d *bollwerk.Detection) { detecttest.Sane(t, d) })
		}
		for _, p := range s.Problems() {
			t.Errorf("%s\n%s", p.Sentence(), last)
		}
	})
}

package all_test

import (
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/bollwerk/bollwerk/detect/all"
)

func TestDecode(t *testing.T) {
	// As a configuration holds them: what the reader does not know itself is left for Decode.
	var c struct {
		Detectors struct {
			Off     []string             `yaml:"off"`
			Options map[string]yaml.Node `yaml:",inline"`
		} `yaml:"detectors"`
	}
	text := "detectors:\n  off: [rare-domain]\n  miner: {busy: 5m, pools: [rig.example]}\n  reverseshell: {allowed: [10.0.0.0/8]}\n"
	d := yaml.NewDecoder(strings.NewReader(text))
	d.KnownFields(true)
	if err := d.Decode(&c); err != nil {
		t.Fatal(err)
	}
	cfg, err := all.Decode(c.Detectors.Options)
	if err != nil {
		t.Fatal(err)
	}
	if cfg.Miner.Busy != 5*time.Minute || len(cfg.ReverseShell.Allowed) != 1 || cfg.Miner.Pools[0] != "rig.example" {
		t.Errorf("read %+v", cfg)
	}
	for _, wrong := range []string{"minr: {busy: 5m}", "miner: {bussy: 5m}", "miner: {busy: soon}", "reverseshell: {allowed: [10.0.0.0/99]}"} {
		var o map[string]yaml.Node
		if err := yaml.Unmarshal([]byte(wrong), &o); err != nil {
			t.Fatal(err)
		}
		if _, err := all.Decode(o); err == nil || !strings.Contains(err.Error(), "docs/detections.md") {
			t.Errorf("%s: %v", wrong, err)
		}
	}
	if _, err := all.Decode(nil); err != nil {
		t.Error(err)
	}
}

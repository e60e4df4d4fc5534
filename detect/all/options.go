package all

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"go.yaml.in/yaml/v3"
)

// Decode reads the options of detectors as they stand below "detectors:" in a configuration,
// each under the name of its folder. What does not exist is refused: a misspelt option would
// be missed when it matters.
func Decode(options map[string]yaml.Node) (Config, error) {
	var c Config
	if len(options) == 0 {
		return c, nil
	}
	b, err := yaml.Marshal(options)
	if err != nil {
		return c, fmt.Errorf("options of detectors: %w", err)
	}
	d := yaml.NewDecoder(bytes.NewReader(b))
	d.KnownFields(true)
	if err := d.Decode(&c); err != nil && !errors.Is(err, io.EOF) {
		return c, fmt.Errorf("options of detectors (docs/detections.md names all): %w", err)
	}
	return c, nil
}

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/spf13/cobra"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/finding"
)

// maxResultBytes bounds a result that is read back.
const maxResultBytes = 512 << 20

func newExplainCommand(e *env) *cobra.Command {
	var result string
	var limit int
	c := &cobra.Command{
		Use:   "explain FINDING",
		Short: "say why something is a finding, where it is, and what to do",
		Long: `Explains a finding of the last scan, or of the JSON result given by --result.
FINDING is its short name from the table (or the beginning of it), a CVE or any other
name of the issue, a policy, or a package.

Exit codes: 0 explained, 2 usage, 3 the result could not be read, 4 there is no such finding.`,
		Example: `  bollwerk explain CVE-2021-44228
  bollwerk explain lodash
  bollwerk explain --result shop.json k3v9x2`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usageError(errors.New("explain wants one finding; see `bollwerk explain --help`"))
			}
			return nil
		},
		RunE: func(_ *cobra.Command, args []string) error {
			r, err := loadResult(e, result)
			if err != nil {
				return err
			}
			width, _ := e.size()
			o := finding.ExplainOptions{Width: width, Limit: limit}
			if e.colour() {
				o.Heading = func(s string) string { return "\x1b[1m" + s + "\x1b[0m" }
			}
			err = finding.Explain(e.stdout, r, args[0], o)
			if errors.Is(err, finding.ErrNoFinding) {
				return &exitError{exitNothing, err}
			}
			return err
		},
	}
	c.Flags().StringVar(&result, "result", "", "JSON result to look in (default: that of the last scan)")
	c.Flags().IntVar(&limit, "limit", 0, "how many findings to explain when the name fits several (default 5)")
	return c
}

// loadResult reads a JSON result; name "" means that of the last scan.
func loadResult(e *env, name string) (*bollwerk.Result, error) {
	last := name == ""
	if last {
		var err error
		if name, err = lastResult(e); err != nil {
			return nil, err
		}
	}
	f, err := os.Open(name)
	if last && errors.Is(err, fs.ErrNotExist) {
		return nil, usageError(errors.New("nothing was scanned yet: run `bollwerk scan TARGET`, or name a result by --result FILE"))
	}
	if err != nil {
		return nil, usageError(fmt.Errorf("--result: %w", err))
	}
	defer f.Close()
	b, err := readLimited(f, maxResultBytes)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	r := new(bollwerk.Result)
	if err := json.Unmarshal(b, r); err != nil {
		return nil, fmt.Errorf("%s: not a result of `bollwerk scan --format json`: %w", name, err)
	}
	if r.Schema == "" {
		return nil, fmt.Errorf("%s: not a result of `bollwerk scan --format json`: it has no schema", name)
	}
	return r, nil
}

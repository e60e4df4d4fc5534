package main

import (
	"errors"

	"github.com/spf13/cobra"

	"github.com/bollwerk/bollwerk/finding"
	"github.com/bollwerk/bollwerk/report"
)

func newReportCommand(e *env) *cobra.Command {
	var result string
	var f scanFlags
	c := &cobra.Command{
		Use:   "report",
		Short: "write a result once more, in another format",
		Long: `Writes the result of the last scan, or the JSON result given by --result, in another
format: one scan, as many reports as are wanted. Nothing is scanned or judged again.

Exit codes: 0 written, 2 usage, 3 the result could not be read or written.`,
		Example: `  bollwerk scan --format json --output shop.json registry.example/shop:1.4
  bollwerk report --result shop.json --format sarif --output shop.sarif
  bollwerk report --result shop.json --all`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 0 {
				return usageError(errors.New("report takes no argument; name a result by --result FILE"))
			}
			return nil
		},
		RunE: func(*cobra.Command, []string) error {
			format, err := report.Find(f.format)
			if err != nil {
				return usageError(err)
			}
			r, err := loadResult(e, result)
			if err != nil {
				return err
			}
			var gate *finding.Gate
			if len(f.failOn) > 0 {
				threshold, err := finding.ParseThresholds(f.failOn)
				if err != nil {
					return usageError(err)
				}
				g := threshold.Check(r)
				gate = &g
			}
			return writeResult(e, &f, format, r, gate)
		},
	}
	fl := c.Flags()
	fl.StringVar(&result, "result", "", "JSON result in `FILE` (default: that of the last scan)")
	fl.StringVarP(&f.format, "format", "f", "table", "how to write it, `FORMAT`: "+formatList())
	fl.StringVarP(&f.output, "output", "o", "", "write to `FILE` instead of standard output")
	fl.BoolVar(&f.all, "all", false, "list every finding, not only what fits a screen")
	fl.StringArrayVar(&f.failOn, "fail-on", nil, "mark these `FINDINGS` as failures where the format can (JUnit)")
	return c
}

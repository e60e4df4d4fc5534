// Package all lists every detector that ships. It is the one place that decides which of
// them run; only commands import it.
package all

import (
	"github.com/bollwerk/bollwerk/detect"
	"github.com/bollwerk/bollwerk/detect/bruteforce"
	"github.com/bollwerk/bollwerk/detect/bulkdeletion"
	"github.com/bollwerk/bollwerk/detect/dga"
	"github.com/bollwerk/bollwerk/detect/dnstunnel"
	"github.com/bollwerk/bollwerk/detect/dropper"
	"github.com/bollwerk/bollwerk/detect/escape"
	"github.com/bollwerk/bollwerk/detect/miner"
	"github.com/bollwerk/bollwerk/detect/netscan"
	"github.com/bollwerk/bollwerk/detect/pipeline"
	"github.com/bollwerk/bollwerk/detect/raredomain"
	"github.com/bollwerk/bollwerk/detect/reverseshell"
	"github.com/bollwerk/bollwerk/detect/webshell"
)

// Config tunes the detectors, each under the name of its folder. The zero value is usable.
type Config struct {
	detect.Config `yaml:",inline"`
	BruteForce    bruteforce.Config   `yaml:"bruteforce"`
	BulkDeletion  bulkdeletion.Config `yaml:"bulkdeletion"`
	DGA           dga.Config          `yaml:"dga"`
	DNSTunnel     dnstunnel.Config    `yaml:"dnstunnel"`
	Dropper       dropper.Config      `yaml:"dropper"`
	Escape        escape.Config       `yaml:"escape"`
	Miner         miner.Config        `yaml:"miner"`
	NetScan       netscan.Config      `yaml:"netscan"`
	RareDomain    raredomain.Config   `yaml:"raredomain"`
	ReverseShell  reverseshell.Config `yaml:"reverseshell"`
	WebShell      webshell.Config     `yaml:"webshell"`
}

// Detectors returns every detector, in a fixed order: what may have to be stopped comes first.
func Detectors(cfg Config) []detect.Detector {
	return []detect.Detector{
		reverseshell.New(cfg.ReverseShell),
		miner.New(cfg.Miner),
		escape.New(cfg.Escape),
		dropper.New(cfg.Dropper),
		pipeline.New(),
		webshell.New(cfg.WebShell),
		bulkdeletion.New(cfg.BulkDeletion),
		dnstunnel.New(cfg.DNSTunnel),
		dga.New(cfg.DGA),
		raredomain.New(cfg.RareDomain),
		netscan.New(cfg.NetScan),
		bruteforce.New(cfg.BruteForce),
	}
}

// Stream returns every detector that is not switched off, ready to run.
func Stream(cfg Config) (*detect.Stream, error) {
	return detect.NewStream(cfg.Config, Detectors(cfg)...)
}

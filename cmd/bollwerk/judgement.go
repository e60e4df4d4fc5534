package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/artifact"
	"github.com/bollwerk/bollwerk/policies"
	"github.com/bollwerk/bollwerk/policy"
	"github.com/bollwerk/bollwerk/scan"
	"github.com/bollwerk/bollwerk/vuln"
	"github.com/bollwerk/bollwerk/vuln/starter"
)

// loadConfig reads the configuration: the one named, else the one in the scanned
// directory, else the one in the working directory. None is no error.
func loadConfig(e *env, name, target string) (*policy.Config, error) {
	named := name != ""
	if !named {
		name = policy.ConfigName
		if scheme, rest, err := artifact.Detect(target); err == nil && scheme == artifact.SchemeDir {
			name = filepath.Join(rest, policy.ConfigName)
		}
	}
	f, err := os.Open(name)
	if notThere(err) && !named && name != policy.ConfigName {
		name = policy.ConfigName
		f, err = os.Open(name)
	}
	if notThere(err) && !named {
		return nil, nil
	}
	if err != nil {
		return nil, usageError(fmt.Errorf("--config: %w", err))
	}
	defer f.Close()
	c, err := policy.LoadConfig(f, name)
	if err != nil {
		return nil, usageError(err)
	}
	return c, nil
}

// notThere: there is no such file. ENOTDIR means that the target is no directory,
// which the one who opens it says better.
func notThere(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR)
}

// judgement fills in policies, exceptions, VEX statements and signature facts.
func (f *scanFlags) judgement(e *env, o *scan.Options, config *policy.Config) error {
	o.Config = config
	if !f.noStandards {
		if err := f.standards(o, config); err != nil {
			return err
		}
	}
	for _, name := range f.vex {
		st, problems, err := readVEX(name)
		if err != nil {
			return usageError(fmt.Errorf("--vex %s: %w", name, err))
		}
		o.VEX = append(o.VEX, st...)
		for _, p := range problems {
			o.VEXProblems = append(o.VEXProblems, name+": "+p)
		}
	}
	if f.provenance != "" {
		p, err := readProvenance(f.provenance)
		if err != nil {
			return usageError(fmt.Errorf("--provenance %s: %w", f.provenance, err))
		}
		o.Provenance = p
	}
	return nil
}

func (f *scanFlags) standards(o *scan.Options, config *policy.Config) error {
	ps, err := policy.Load(policies.Files())
	if err != nil {
		return fmt.Errorf("shipped policies: %w", err)
	}
	folders := f.policies
	if config != nil {
		for _, d := range config.PolicyFolders {
			folders = append(folders, filepath.Join(filepath.Dir(config.Name), d))
		}
	}
	known := map[string]bool{}
	for _, p := range ps {
		known[p.ID] = true
	}
	for _, d := range folders {
		if info, err := os.Stat(d); err != nil || !info.IsDir() {
			return usageError(fmt.Errorf("policies in %s: no such folder", d))
		}
		more, err := policy.Load(os.DirFS(d))
		if err != nil {
			return usageError(fmt.Errorf("policies in %s: %w", d, err))
		}
		if len(more) == 0 {
			return usageError(fmt.Errorf("policies in %s: there is no policy.yaml below this folder", d))
		}
		for _, p := range more {
			if known[p.ID] {
				return usageError(fmt.Errorf("policies in %s: the id %s is taken", d, p.ID))
			}
			known[p.ID] = true
		}
		ps = append(ps, more...)
	}
	eo := policy.Options{Now: o.Now}
	if config != nil {
		active, disabled, err := config.Override(ps)
		if err != nil {
			return usageError(err)
		}
		ps, o.Disabled = active, disabled
		eo.Parameters = map[string]map[string]any{}
		for id, ov := range config.Policies {
			if len(ov.Parameters) > 0 {
				eo.Parameters[id] = ov.Parameters
			}
		}
	}
	o.Policies = ps
	o.Engine, err = policy.New(eo)
	return err
}

func readProvenance(name string) (*bollwerk.Provenance, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := readLimited(f, 16<<20)
	if err != nil {
		return nil, err
	}
	p := new(bollwerk.Provenance)
	if err := json.Unmarshal(b, p); err != nil {
		return nil, fmt.Errorf("not the JSON of `bollwerk verify --format json`: %w", err)
	}
	if p.Subject == "" {
		return nil, errors.New("not the JSON of `bollwerk verify --format json`: it has no subject")
	}
	return p, nil
}

// openDatabase opens the advisories. Without any, the snapshot that ships with the
// program is installed; if that fails, the scan goes on and says so.
func openDatabase(e *env) (*vuln.DB, string, error) {
	name, err := e.dbPath()
	if err != nil {
		return nil, err.Error(), nil
	}
	db, err := vuln.Open(name)
	if err == nil {
		return db, "", nil
	}
	chosen := e.dbFile != "" || e.getenv("BOLLWERK_DB") != ""
	if !errors.Is(err, fs.ErrNotExist) || chosen {
		// A database somebody named, or a broken one: going on without it would be a
		// silent "clean".
		return nil, "", err
	}
	name, err = starter.Install(filepath.Dir(name))
	if err != nil {
		return nil, fmt.Sprintf("the advisories that ship with the program could not be installed: %v", err), nil
	}
	db, err = vuln.Open(name)
	if err != nil {
		return nil, "", err
	}
	return db, "", nil
}

package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/bollwerk/bollwerk/test/vm"
)

// A machine whose clock counts instructions says the same whoever else works here. The
// program runs inside of it as "guest" and prints its rows as JSON.

// variants of the agent that are measured there.
var variants = []struct {
	key, name, config string
	openBound         float64
}{
	{"lsm", "lsm", "", 1.10},
	{"file-policy", "lsm, file policy", "workloads:\n  - match: '*'\n    guards: {file: enforce, read: enforce}\n", 1.10},
	{"tracing", "tracing", "backend: tracing\n", 1.03},
}

func variantNames() []string {
	var names []string
	for _, v := range variants {
		names = append(names, v.key)
	}
	return names
}

const rowMark = "row "

// guest measures inside.
func guest(args []string) error {
	f := flag.NewFlagSet("guest", flag.ContinueOnError)
	which := f.Int("variant", 0, "")
	rounds := f.Int("rounds", 1, "")
	ops := f.String("ops", "", "")
	libraries := f.String("libraries", "", "")
	if err := f.Parse(args); err != nil {
		return err
	}
	v := variants[*which]
	dir, err := os.MkdirTemp("", "agentbench-")
	if err != nil {
		return err
	}
	config := filepath.Join(dir, "agent.yaml")
	if err := os.WriteFile(config, []byte(v.config), 0o600); err != nil {
		return err
	}
	c := child{"/child", strings.Split(*libraries, ",")}
	im, err := newImages("/worker", c)
	if err != nil {
		return err
	}
	defer im.close()
	host, err := onHost(dir, "/worker", c)
	if err != nil {
		return err
	}
	defer host.close()
	inside, err := im.byHand()
	if err != nil {
		return err
	}
	defer inside.close()
	ws := works(v.openBound, chosen(*ops))
	if v.name == "tracing" {
		for i := range ws {
			if ws[i].name == "open+close" {
				ws[i].goal = 0
			}
		}
	}
	m := &ratios{program: "/bollwerk-agent", dir: dir, config: config, places: []*workload{host, inside}, works: ws, repeat: 21, scale: 2,
		say: func(s string, a ...any) { fmt.Printf(s+"\n", a...) }}
	all, err := m.run(context.Background(), *rounds, *rounds)
	if err != nil {
		return err
	}
	for _, r := range m.rows("vm, "+v.name+": ", "instructions", all) {
		b, err := json.Marshal([]string{r.what, r.bound, r.measured, r.holds, r.note})
		if err != nil {
			return err
		}
		fmt.Printf("%s%s\n", rowMark, b)
	}
	return nil
}

// machine is Debian's 6.12, where the LSM programs load, with what is measured in it.
func (b *bench) machine() (*vm.Machine, error) {
	if err := vm.Available(); err != nil {
		return nil, err
	}
	k, err := vm.Fetch(b.ctx, "6.12")
	if err != nil {
		return nil, err
	}
	self := filepath.Join(b.dir, "agentbench")
	if _, err := os.Stat(self); err != nil {
		if err := b.build(self, "./test/agentbench"); err != nil {
			return nil, err
		}
	}
	m := &vm.Machine{Kernel: k, Instructions: true, Memory: 2048, Modules: []string{"overlay"},
		Files: []vm.File{{Path: "/agentbench", From: self}, {Path: "/bollwerk-agent", From: b.agent}, {Path: "/worker", From: b.worker}, {Path: "/child", From: b.child.path}}}
	for _, l := range b.child.libraries {
		m.Files = append(m.Files, vm.File{Path: l, From: l})
	}
	return m, nil
}

// inMachine measures instructions in machines, as many at once as there are processors: what
// they count does not depend on who else works here.
func inMachine(b *bench) ([]row, error) {
	m, err := b.machine()
	if err != nil {
		return nil, err
	}
	rows, problems := make([][]row, len(variants)), make([]error, len(variants))
	var wg errgroup.Group
	wg.SetLimit(runtime.NumCPU())
	for i, v := range variants {
		if !b.variants.has(v.key) {
			continue
		}
		wg.Go(func() error {
			m := *m
			m.Commands = []vm.Command{{Name: "measure", Timeout: 5 * time.Minute, Args: []string{"/agentbench", "guest", fmt.Sprintf("-variant=%d", i),
				"-rounds=2", "-ops=" + string(b.ops), "-libraries=" + strings.Join(b.child.libraries, ",")}}}
			results, err := m.Run(b.ctx)
			for _, r := range results {
				for line := range strings.Lines(r.Output) {
					var f []string
					if text, ok := strings.CutPrefix(line, rowMark); ok && json.Unmarshal([]byte(text), &f) == nil && len(f) == 5 {
						rows[i] = append(rows[i], row{f[0], f[1], f[2], f[3], f[4]})
					}
				}
				if len(rows[i]) == 0 {
					err = errors.Join(err, fmt.Errorf("%s: code %d: %s", v.name, r.Code, r.Output))
				}
			}
			problems[i] = err
			b.say("vm, %s: done", v.name)
			return nil
		})
	}
	_ = wg.Wait()
	for _, of := range rows {
		for _, r := range of {
			b.say("%s: %s (%s) %s", r.what, r.measured, r.bound, r.holds)
		}
	}
	return slices.Concat(rows...), errors.Join(problems...)
}

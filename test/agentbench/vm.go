package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

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
	m := &ratios{program: "/bollwerk-agent", dir: dir, config: config, places: []*workload{host, inside}, works: ws, repeat: 7, scale: 2,
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

// inMachine measures instructions on Debian's 6.12, where the LSM programs load.
func inMachine(b *bench) ([]row, error) {
	if err := vm.Available(); err != nil {
		return nil, err
	}
	k, err := vm.Fetch(b.ctx, "6.12")
	if err != nil {
		return nil, err
	}
	self := filepath.Join(b.dir, "agentbench")
	if err := b.build(self, "./test/agentbench"); err != nil {
		return nil, err
	}
	var out []row
	var problems []error
	for i, v := range variants {
		if !b.variants.has(v.key) {
			continue
		}
		m := vm.Machine{Kernel: k, Instructions: true, Memory: 2048, Modules: []string{"overlay"},
			Files:    []vm.File{{Path: "/agentbench", From: self}, {Path: "/bollwerk-agent", From: b.agent}, {Path: "/worker", From: b.worker}, {Path: "/child", From: b.child.path}},
			Commands: []vm.Command{{Name: "measure", Args: []string{"/agentbench", "guest", fmt.Sprintf("-variant=%d", i), "-rounds=2", "-ops=" + string(b.ops), "-libraries=" + strings.Join(b.child.libraries, ",")}, Timeout: 5 * time.Minute}},
		}
		for _, l := range b.child.libraries {
			m.Files = append(m.Files, vm.File{Path: l, From: l})
		}
		results, err := m.Run(b.ctx)
		n := len(out)
		for _, r := range results {
			for line := range strings.Lines(r.Output) {
				var f []string
				if text, ok := strings.CutPrefix(line, rowMark); ok && json.Unmarshal([]byte(text), &f) == nil && len(f) == 5 {
					out = append(out, row{f[0], f[1], f[2], f[3], f[4]})
				}
			}
			if len(out) == n {
				err = errors.Join(err, fmt.Errorf("%s: code %d: %s", v.name, r.Code, r.Output))
			}
		}
		for _, r := range out[n:] {
			b.say("%s: %s (%s) %s", r.what, r.measured, r.bound, r.holds)
		}
		problems = append(problems, err)
		if b.ctx.Err() != nil {
			break
		}
	}
	return out, errors.Join(problems...)
}

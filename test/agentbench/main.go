package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"
)

// row of the table.
type row struct{ what, bound, measured, holds, note string }

const (
	yes, no, missed = "yes", "NO", "goal missed"
	unmeasured      = "not measured"
	noisy           = "too noisy"
)

func word(ok bool) string {
	if ok {
		return yes
	}
	return no
}

// goal is not a bound: it is named and does not break the run.
func goal(ok bool) string {
	if ok {
		return yes
	}
	return missed
}

// bench is one run.
type bench struct {
	ctx           context.Context
	root          string // of the repository
	dir           string
	agent, worker string
	child         child
	config        string // an empty one: the defaults
	rounds        int
	// quick: fewer rounds, BPF LSM's machine alone, one burst.
	quick         bool
	ops, variants chosen
	log           io.Writer
	table         []row
}

func (b *bench) say(format string, args ...any) {
	fmt.Fprintf(b.log, "%s "+format+"\n", append([]any{time.Now().UTC().Format("15:04:05")}, args...)...)
}

func main() {
	if len(os.Args) > 1 && strings.HasPrefix(os.Args[1], "guest") {
		err := error(nil)
		if os.Args[1] == "guest" {
			err = guest(os.Args[2:])
		} else {
			err = refusedInGuest()
		}
		if err != nil {
			fmt.Println("error", err)
			os.Exit(1)
		}
		return
	}
	os.Exit(run())
}

func run() int {
	agent := flag.String("agent", "", "`PROGRAM` to measure; default: built from the source")
	only := flag.String("only", "", "comma-separated `PARTS`: "+strings.Join(partNames(), ","))
	rounds := flag.Int("rounds", 10, "least `NUMBER` of rounds; three times as many are made where a bound is broken, for at most "+ratiosMost.String())
	quick := flag.Bool("quick", false, "a third of the time: few rounds, one machine, one burst")
	ops := flag.String("ops", "", "comma-separated `OPERATIONS` of ratios and vm: "+strings.Join(operations(), ",")+"; exec is fork and vfork")
	machines := flag.String("variants", "", "comma-separated `VARIANTS` of vm: "+strings.Join(variantNames(), ","))
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	dir, err := os.MkdirTemp("", "agentbench-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 3
	}
	defer os.RemoveAll(dir)
	b := &bench{ctx: ctx, dir: dir, agent: *agent, worker: filepath.Join(dir, "worker"), config: filepath.Join(dir, "agent.yaml"), rounds: *rounds,
		ops: chosen(strings.ReplaceAll(*ops, "exec", "fork,vfork")), variants: chosen(*machines), log: os.Stderr}
	for _, l := range []struct {
		list  chosen
		known []string
	}{{chosen(*only), partNames()}, {b.ops, operations()}, {b.variants, variantNames()}} {
		if err := l.list.check(l.known); err != nil {
			fmt.Fprintln(os.Stderr, "agentbench:", err)
			return 2
		}
	}
	if b.quick = *quick; b.quick {
		b.rounds = min(b.rounds, 3)
		if b.variants == "" {
			b.variants = chosen(variants[0].key)
		}
	}
	if err := b.prepare(); err != nil {
		fmt.Fprintln(os.Stderr, "agentbench:", err)
		return 3
	}
	for _, p := range parts {
		if !chosen(*only).has(p.name) {
			continue
		}
		b.say("%s", p.name)
		rows, err := p.run(b)
		b.table = append(b.table, rows...)
		if err != nil {
			b.table = append(b.table, row{what: p.name, holds: unmeasured, note: err.Error()})
		}
		if ctx.Err() != nil {
			break
		}
	}
	return b.print(os.Stdout)
}

func (b *bench) prepare() error {
	if os.Geteuid() != 0 {
		return fmt.Errorf("the agent needs root")
	}
	out, err := exec.CommandContext(b.ctx, "go", "env", "GOMOD").Output()
	if err != nil {
		return fmt.Errorf("go env: %w", err)
	}
	b.root = filepath.Dir(strings.TrimSpace(string(out)))
	if b.agent == "" {
		b.agent = filepath.Join(b.dir, "bollwerk-agent")
		if err := b.build(b.agent, "./cmd/bollwerk-agent"); err != nil {
			return err
		}
	}
	if err := os.WriteFile(b.config, nil, 0o600); err != nil {
		return err
	}
	if b.child, err = compileChild(b.ctx, filepath.Join(b.dir, "child")); err != nil {
		return err
	}
	return compile(b.ctx, b.worker)
}

// build makes a static program as it is shipped.
func (b *bench) build(to, pkg string) error {
	cmd := exec.CommandContext(b.ctx, "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", to, pkg)
	cmd.Dir, cmd.Env = b.root, append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("go build %s: %w: %s", pkg, err, out)
	}
	return nil
}

// print returns 1 when a bound is broken, or something was not measured at all. What the noise
// of the machine hides is named: it breaks no bound, and shows none.
func (b *bench) print(w io.Writer) int {
	code := 0
	var hidden []string
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	fmt.Fprintln(t, "WHAT\tBOUND\tMEASURED\tHOLDS?\tNOTE")
	for _, r := range b.table {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\n", r.what, r.bound, r.measured, r.holds, r.note)
		switch r.holds {
		case no, unmeasured:
			code = 1
		case noisy:
			hidden = append(hidden, r.what)
		}
	}
	t.Flush()
	if len(hidden) > 0 {
		fmt.Fprintf(w, "This machine is too busy to say whether these hold; the machines that count instructions say it of ratios: %s\n", strings.Join(hidden, "; "))
	}
	return code
}

type part struct {
	name string
	run  func(*bench) ([]row, error)
}

var parts = []part{
	{"ratios", hostRatios},
	{"vm", inMachine},
	{"fleet", fleet},
	{"burst", bursts},
	{"deny", denials},
	{"deny-lsm", denialsLSM},
	{"rules", rules},
}

// chosen is a comma-separated list of names; the empty one chooses everything.
type chosen string

func (c chosen) has(name string) bool {
	return c == "" || slices.Contains(strings.Split(string(c), ","), name)
}

// check refuses a name that is not known: it would measure nothing and say that all is well.
func (c chosen) check(known []string) error {
	for name := range strings.SplitSeq(string(c), ",") {
		if c != "" && !slices.Contains(known, name) {
			return fmt.Errorf("%q: not one of %s", name, strings.Join(known, ","))
		}
	}
	return nil
}

func partNames() []string {
	var names []string
	for _, p := range parts {
		names = append(names, p.name)
	}
	return names
}

func hostRatios(b *bench) ([]row, error) {
	im, err := newImages(b.worker, b.child)
	if im != nil {
		defer im.close()
	}
	if err != nil {
		return nil, err
	}
	host, err := onHost(b.dir, b.worker, b.child)
	if err != nil {
		return nil, err
	}
	defer host.close()
	inside, err := im.withRunc()
	if err != nil {
		return nil, err
	}
	defer inside.close()
	m := &ratios{program: b.agent, dir: b.dir, config: b.config, places: []*workload{host, inside}, works: works(1.03, b.ops), repeat: 40, limit: ratiosMost, say: b.say}
	all, err := m.run(b.ctx, b.rounds, 3*b.rounds)
	if len(all) == 0 {
		return nil, err
	}
	return m.rows("", "ns", all), err
}

package agent

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"regexp"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/bollwerk/bollwerk/detect"
	"github.com/bollwerk/bollwerk/internal/glob"
	"github.com/bollwerk/bollwerk/profile"
	"github.com/bollwerk/bollwerk/sensor"
)

// Config of an agent, read from YAML. The zero value protects a host with the safe
// defaults: only what is clearly malicious is blocked, and only in containers.
type Config struct {
	// State is the folder for profiles, the flight recorder and snapshots; default
	// /var/lib/bollwerk-agent.
	State string `yaml:"state"`
	// Socket is where the running agent listens for its own commands; default
	// /run/bollwerk-agent.sock. Only root may connect.
	Socket string `yaml:"socket"`
	Node   string `yaml:"node"` // default: the host's name
	// Metrics is the address of /metrics and /healthz; "" for none, ":PORT" for this machine
	// alone: who wants others to read it names the address, such as 0.0.0.0:9469.
	Metrics string `yaml:"metrics"`
	// Backend: "auto" (the best this kernel allows), "tracing" (no LSM), "none" (no BPF).
	Backend string `yaml:"backend"`
	// Mappings watches executable mappings where LSM is not to be had, which adds about
	// 8 % to each program start.
	Mappings bool `yaml:"mappings"`
	// Ring is the size of the kernel's event ring.
	Ring Size `yaml:"ring"`
	// Memory is where the agent begins to give up work, in the order of Degradation.
	Memory Size `yaml:"memory"`

	Recorder RecorderConfig `yaml:"recorder"`
	// Rules are folders of event policies besides the shipped ones; Falco are rule files
	// of Falco's language, a later one overriding an earlier.
	Rules []string `yaml:"rules"`
	Falco []string `yaml:"falco"`
	// Exceptions is a .bollwerk.yaml file: parameters, modes, exceptions.
	Exceptions string `yaml:"exceptions"`
	// Detectors chooses among the built-in ones.
	Detectors  DetectorConfig   `yaml:"detectors"`
	Kubernetes KubernetesConfig `yaml:"kubernetes"`
	// Host is where the host's file system is mounted when the agent runs in a container: "/host".
	Host string `yaml:"host"`
	// Workloads: the first entry whose match fits decides.
	Workloads []WorkloadConfig `yaml:"workloads"`
	Learn     LearnConfig      `yaml:"learn"`
}

// KubernetesConfig says whom to ask about pods. In a pod with a service account the API
// server is asked without any of it.
type KubernetesConfig struct {
	Kubelet          string `yaml:"kubelet"` // https://127.0.0.1:10250
	API              string `yaml:"api"`
	TokenFile        string `yaml:"token_file"`
	CAFile           string `yaml:"ca_file"`
	UncheckedKubelet bool   `yaml:"unchecked_kubelet"`
}

// RecorderConfig bounds the flight recorder.
type RecorderConfig struct {
	Off       bool          `yaml:"off"`
	Size      Size          `yaml:"size"`
	Age       time.Duration `yaml:"age"`
	Snapshots int           `yaml:"snapshots"` // kept; default 64
}

// DetectorConfig chooses among the built-in detectors; what else stands there is the
// tuning of single ones, read by the command.
type DetectorConfig struct {
	Off     []string               `yaml:"off"`
	Modes   map[string]detect.Mode `yaml:"modes"`
	Options map[string]yaml.Node   `yaml:",inline"`
}

// WorkloadConfig switches rules and guards for some workloads.
type WorkloadConfig struct {
	// Match is a glob over the workload's name ("shop/cart-*/app") or key.
	Match string `yaml:"match"`
	// Unprotected: no guard acts; detections are still made.
	Unprotected bool `yaml:"unprotected"`
	// Modes of rules and detectors here: observe, warn, enforce or off.
	Modes map[string]string `yaml:"modes"`
	// Guards replaces the default: word → enforce, report or off.
	Guards map[string]string `yaml:"guards"`
	// Fail says what becomes of enforcement when the agent ends: "open" (default) or "closed".
	Fail string `yaml:"fail"`
	// Builders are names of image-shipped programs that may make and run programs, besides
	// the usual compilers and package managers.
	Builders []string `yaml:"builders"`
}

// LearnConfig says when a profile may move forward; see profile.DefaultGates.
type LearnConfig struct {
	Off bool `yaml:"off"`
	// Host learns plain processes of the host too, as one workload.
	Host bool `yaml:"host"`
	// Syscalls: "sampled" (the default: in short windows, which costs nothing to speak of)
	// or "always", for a learning phase.
	Syscalls string     `yaml:"syscalls"`
	Observe  GateConfig `yaml:"observe"`
	Restrict GateConfig `yaml:"restrict"`
}

// GateConfig replaces conditions of a gate; what is not given stays as it is.
type GateConfig struct {
	Observed    *time.Duration `yaml:"observed"`
	Span        *time.Duration `yaml:"span"`
	Replicas    *int           `yaml:"replicas"`
	Starts      *int           `yaml:"starts"`
	Unseen      *float64       `yaml:"unseen"`
	StartUnseen *float64       `yaml:"start_unseen"`
}

func (c *GateConfig) apply(g *profile.Gate) {
	replace(&g.Observed, c.Observed)
	replace(&g.Span, c.Span)
	replace(&g.Replicas, c.Replicas)
	replace(&g.Starts, c.Starts)
	replace(&g.Unseen, c.Unseen)
	replace(&g.StartUnseen, c.StartUnseen)
}

func replace[T any](to, from *T) {
	if from != nil {
		*to = *from
	}
}

// Size is a number of bytes, written "64MiB".
type Size int64

// UnmarshalYAML reads a number of bytes with an optional unit (KiB, MiB, GiB).
func (s *Size) UnmarshalYAML(n *yaml.Node) error {
	v, err := ParseSize(n.Value)
	*s = v
	return err
}

// ParseSize reads "262144", "256KiB", "4MiB", "1GiB".
func ParseSize(text string) (Size, error) {
	t, unit := strings.TrimSpace(text), int64(1)
	for _, u := range []struct {
		word string
		n    int64
	}{{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}} {
		if r, ok := strings.CutSuffix(t, u.word); ok {
			t, unit = strings.TrimSpace(r), u.n
			break
		}
	}
	n, err := strconv.ParseInt(t, 10, 64)
	if err != nil || n < 0 || n > (1<<50)/unit {
		return 0, fmt.Errorf("size %q: want a number of bytes such as 64MiB", text)
	}
	return Size(n * unit), nil
}

const maxConfig = 1 << 20

// unknownKey is how the decoder speaks of our types, which nobody who writes YAML knows.
var unknownKey = regexp.MustCompile(`field (\S+) not found in type \S+`)

// LoadConfig reads and validates a configuration; unknown keys are errors.
func LoadConfig(r io.Reader, name string) (*Config, error) {
	b, err := io.ReadAll(io.LimitReader(r, maxConfig+1))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if len(b) > maxConfig {
		return nil, fmt.Errorf("%s: more than 1 MiB", name)
	}
	c := &Config{}
	dec := yaml.NewDecoder(bytes.NewReader(b))
	dec.KnownFields(true)
	if err := dec.Decode(c); err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%s: %s", name, unknownKey.ReplaceAllString(err.Error(), "there is no key $1 (docs/agent.md names all)"))
	}
	if err := c.Validate(); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return c, nil
}

// Validate fills in the defaults and refuses what cannot be meant.
func (c *Config) Validate() error {
	set := func(s *string, v string) {
		if *s == "" {
			*s = v
		}
	}
	set(&c.State, "/var/lib/bollwerk-agent")
	set(&c.Socket, "/run/bollwerk-agent.sock")
	set(&c.Backend, "auto")
	if c.Node == "" {
		c.Node, _ = os.Hostname()
	}
	if c.Ring == 0 {
		c.Ring = 2 << 20
	}
	if c.Ring < 64<<10 || c.Ring > 256<<20 || c.Ring&(c.Ring-1) != 0 {
		return fmt.Errorf("ring: %d bytes: want a power of two from 64KiB to 256MiB", c.Ring)
	}
	if c.Memory == 0 {
		c.Memory = 96 << 20
	}
	if c.Memory < 32<<20 {
		return errors.New("memory: at least 32MiB is needed; the agent takes that much by itself")
	}
	if c.Metrics != "" {
		host, port, err := net.SplitHostPort(c.Metrics)
		if err == nil {
			_, err = strconv.ParseUint(port, 10, 16)
		}
		if err != nil {
			return fmt.Errorf("metrics %q: want an address and a port, such as 127.0.0.1:9469", c.Metrics)
		}
		if host == "" {
			c.Metrics = net.JoinHostPort("127.0.0.1", port)
		}
	}
	if c.Recorder.Snapshots == 0 {
		c.Recorder.Snapshots = 64
	}
	if c.Recorder.Size != 0 && c.Recorder.Size < 1<<20 {
		return fmt.Errorf("recorder: size: at least 1MiB is needed")
	}
	switch c.Backend {
	case "auto", "tracing", "none":
	default:
		return fmt.Errorf("backend %q: want auto, tracing or none", c.Backend)
	}
	switch c.Learn.Syscalls {
	case "", "sampled", "always":
	default:
		return fmt.Errorf("learn: syscalls: %q: want sampled or always", c.Learn.Syscalls)
	}
	for i := range c.Workloads {
		if err := c.Workloads[i].validate(); err != nil {
			return fmt.Errorf("workloads[%d]: %w", i, err)
		}
	}
	return nil
}

func (w *WorkloadConfig) validate() error {
	if w.Match == "" {
		return errors.New("match is missing: a glob over the name of the workload, such as shop/*")
	}
	if _, err := w.guards(DefaultGuards, 0); err != nil {
		return err
	}
	for rule, m := range w.Modes {
		if m == "off" {
			continue
		}
		if _, err := detect.ParseMode(m); err != nil {
			return fmt.Errorf("modes: %s: %w, or off", rule, err)
		}
	}
	if len(w.Builders) > mostBuilders {
		return fmt.Errorf("builders: %d names, at most %d", len(w.Builders), mostBuilders)
	}
	for _, b := range w.Builders {
		if b == "" || len(b) > 15 || strings.Contains(b, "/") {
			return fmt.Errorf("builders: %q: want a file name of at most 15 letters, as the kernel compares no more", b)
		}
	}
	switch w.Fail {
	case "", "open", "closed":
	default:
		return fmt.Errorf("fail %q: want open or closed", w.Fail)
	}
	return nil
}

// mostBuilders of one entry, besides the usual ones.
const mostBuilders = 128

type guardSet struct{ enforce, report sensor.Guard }

// DefaultGuards are enforced in every container that does not need the behaviour:
// what no honest workload does.
const DefaultGuards = sensor.GuardFileless | sensor.GuardDrift | sensor.GuardReverseShell | sensor.GuardMiner | sensor.GuardSetting | sensor.GuardModule

// guards applies the entry's switches to the defaults.
func (w *WorkloadConfig) guards(enforce, report sensor.Guard) (guardSet, error) {
	s := guardSet{enforce, report}
	for word, how := range w.Guards {
		g, ok := sensor.ParseGuard(word)
		if !ok {
			return s, fmt.Errorf("guards: %q: no such guard (there are %s)", word, guardList())
		}
		s.enforce &^= g
		s.report &^= g
		switch how {
		case "enforce":
			s.enforce |= g
		case "report":
			s.report |= g
		case "off":
		default:
			return s, fmt.Errorf("guards: %s: %q: want enforce, report or off", word, how)
		}
	}
	if w.Unprotected {
		s.report |= s.enforce
		s.enforce = 0
	}
	return s, nil
}

func guardList() string {
	var all sensor.Guard
	for _, g := range sensor.Guards() {
		all |= g
	}
	return strings.ReplaceAll(all.String(), ",", ", ")
}

// workload returns the entry that holds for a workload, nil for none.
func (c *Config) workload(name, key string) *WorkloadConfig {
	for i := range c.Workloads {
		w := &c.Workloads[i]
		if glob.Match(w.Match, name) || glob.Match(w.Match, key) {
			return w
		}
	}
	return nil
}

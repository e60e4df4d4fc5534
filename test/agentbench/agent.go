package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/bollwerk/bollwerk"
)

// agent is a running agent.
type agent struct {
	cmd     *exec.Cmd
	state   string // its folder
	socket  string
	metrics string // address
	said    string // when it was ready
	ready   time.Duration
	ended   chan struct{}

	mu      sync.Mutex
	changed *sync.Cond
	// seen are detections by container, with the time their line came.
	seen map[string]arrival
	// count is called for each event, in the reader.
	count func(*bollwerk.Event)
}

type arrival struct {
	rule string
	at   time.Time
}

// startAgent runs the program with its defaults; only what it writes lies elsewhere.
func startAgent(program, dir string, count func(*bollwerk.Event), args ...string) (*agent, error) {
	address, err := freeAddress()
	if err != nil {
		return nil, err
	}
	state, err := os.MkdirTemp(dir, "state-")
	if err != nil {
		return nil, err
	}
	a := &agent{state: state, socket: filepath.Join(state, "socket"), metrics: address, ended: make(chan struct{}), seen: map[string]arrival{}, count: count}
	a.changed = sync.NewCond(&a.mu)
	a.cmd = exec.Command(program, append([]string{"run", "--stdout-json", "--state", state, "--socket", a.socket, "--metrics", address}, args...)...)
	a.cmd.Env = append(os.Environ(), "BOLLWERK_AGENT_CONFIG=")
	out, err := a.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	errs, err := a.cmd.StderrPipe()
	if err != nil {
		return nil, err
	}
	began := time.Now()
	if err := a.cmd.Start(); err != nil {
		return nil, err
	}
	go a.read(bufio.NewReaderSize(out, 1<<20))
	ready := make(chan bool, 1)
	var said bytes.Buffer
	go func() {
		sc := bufio.NewScanner(errs)
		for sc.Scan() {
			if strings.HasPrefix(sc.Text(), "watching after") {
				a.ready, a.said = time.Since(began), sc.Text()
				ready <- true
			} else if said.Len() < 1<<16 {
				fmt.Fprintln(&said, sc.Text())
			}
		}
		ready <- false
	}()
	select {
	case ok := <-ready:
		if !ok {
			_ = a.cmd.Wait()
			return nil, fmt.Errorf("the agent did not start: %s", said.Bytes())
		}
	case <-time.After(2 * time.Minute):
		_ = a.cmd.Process.Kill()
		return nil, errors.New("the agent was not ready after two minutes")
	}
	return a, nil
}

func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	return l.Addr().String(), nil
}

func (a *agent) read(r *bufio.Reader) {
	defer close(a.ended)
	var kind struct {
		Type string `json:"type"`
	}
	for {
		line, err := r.ReadBytes('\n')
		if err != nil {
			return
		}
		at := time.Now()
		// The type comes first, which saves reading each line twice.
		switch {
		case bytes.HasPrefix(line, []byte(`{"type":"event"`)):
			// Only programs are counted; reading the rest would take this
			// process longer than the agent took to write it.
			if a.count == nil || !bytes.Contains(line, []byte(`"kind":"exec"`)) {
				continue
			}
			e := &bollwerk.Event{}
			if json.Unmarshal(line, e) == nil {
				a.count(e)
			}
		case json.Unmarshal(line, &kind) == nil && kind.Type == "detection":
			d := &bollwerk.Detection{}
			if json.Unmarshal(line, d) != nil || d.Workload == nil || d.Workload.Container == nil {
				continue
			}
			a.mu.Lock()
			id := d.Workload.Container.ID
			if _, again := a.seen[id]; !again {
				a.seen[id] = arrival{d.Rule, at}
			}
			a.changed.Broadcast()
			a.mu.Unlock()
		}
	}
}

// await waits until ok, called under the lock, holds.
func (a *agent) await(limit time.Duration, ok func() bool) bool {
	deadline := time.Now().Add(limit)
	t := time.AfterFunc(limit, func() { a.mu.Lock(); a.changed.Broadcast(); a.mu.Unlock() })
	defer t.Stop()
	a.mu.Lock()
	defer a.mu.Unlock()
	for !ok() {
		if !time.Now().Before(deadline) {
			return false
		}
		a.changed.Wait()
	}
	return true
}

// stop ends it as a service manager does, and returns when its last line was read.
func (a *agent) stop() error {
	_ = a.cmd.Process.Signal(os.Interrupt)
	late := time.AfterFunc(30*time.Second, func() { _ = a.cmd.Process.Kill() })
	<-a.ended
	err := a.cmd.Wait()
	if !late.Stop() {
		return errors.New("the agent did not stop within 30 seconds")
	}
	return err
}

// cpu is the processor time the agent has used so far.
func (a *agent) cpu() time.Duration {
	var t unix.Timespec
	// The processor clock of another process (see clock_getcpuclockid).
	if unix.ClockGettime(int32(^a.cmd.Process.Pid)<<3|2, &t) != nil {
		return 0
	}
	return time.Duration(t.Nano())
}

// settle waits until the agent has done what it had to do: it uses less than 3 % of a
// processor, or a few seconds have passed.
func (a *agent) settle() {
	for range 30 {
		before := a.cpu()
		time.Sleep(100 * time.Millisecond)
		if a.cpu()-before < 3*time.Millisecond {
			return
		}
	}
}

// resident memory now and at its most, in bytes, and what it consists of: the heap and
// other private memory, the program's own pages, and the ring.
func (a *agent) resident() (now, peak int64, parts string) {
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", a.cmd.Process.Pid))
	for line := range strings.Lines(string(b)) {
		f := strings.Fields(line)
		if len(f) < 2 {
			continue
		}
		n, _ := strconv.ParseInt(f[1], 10, 64)
		switch f[0] {
		case "VmRSS:":
			now = n << 10
		case "VmHWM:":
			peak = n << 10
		case "RssAnon:", "RssFile:", "RssShmem:":
			parts += fmt.Sprintf(" %s %d", strings.ToLower(f[0][3:len(f[0])-1]), n>>10)
		}
	}
	return now, peak, strings.TrimSpace(parts)
}

// meters are the agent's own figures, by name with labels.
func (a *agent) meters() (map[string]float64, error) {
	r, err := http.Get("http://" + a.metrics + "/metrics")
	if err != nil {
		return nil, err
	}
	defer r.Body.Close()
	m := map[string]float64{}
	sc := bufio.NewScanner(r.Body)
	for sc.Scan() {
		i := strings.LastIndexByte(sc.Text(), ' ')
		if i < 0 || strings.HasPrefix(sc.Text(), "#") {
			continue
		}
		if v, err := strconv.ParseFloat(sc.Text()[i+1:], 64); err == nil {
			m[sc.Text()[:i]] = v
		}
	}
	return m, sc.Err()
}

// lost adds up what the agent says it lost, by area.
func lost(m map[string]float64) (total float64, areas string) {
	var words []string
	for name, v := range m {
		if area, ok := strings.CutPrefix(name, `bollwerk_agent_lost_total{area="`); ok && v > 0 {
			total += v
			words = append(words, fmt.Sprintf("%s %.0f", strings.TrimSuffix(area, `"}`), v))
		}
	}
	return total, strings.Join(words, ", ")
}

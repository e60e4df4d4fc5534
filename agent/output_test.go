package agent

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/bollwerk/bollwerk"
)

// TestReaderStandsStill: nobody who reads lines can stop the agent by not reading them.
func TestReaderStandsStill(t *testing.T) {
	r, w := io.Pipe()
	o := newOutput(w, w, nil)
	o.detections.patience = 50 * time.Millisecond
	e := &bollwerk.Event{Kind: bollwerk.EventExec, Process: &bollwerk.Process{Name: "x", Args: []string{strings.Repeat("a", 4096)}}}
	o.event(e)
	o.events.flush() // the writer is in the pipe by now, and stays there
	began := time.Now()
	const n = 2000 // 8 MiB
	for range n {
		o.event(e)
	}
	o.detection(&bollwerk.Detection{Rule: "still-told"})
	o.flush()
	if took := time.Since(began); took > 20*time.Second { // not once the patience for each line
		t.Errorf("%s for a reader that does not read", took)
	}
	err := o.failed()
	if err == nil || !strings.Contains(err.Error(), "lines lost") {
		t.Errorf("nothing is said of the lost lines: %v", err)
	}
	// It reads again: what was kept is whole, what is new comes.
	got := make(chan string, n+10)
	go func() {
		defer close(got)
		br := bufio.NewReader(r)
		for {
			l, err := br.ReadString('\n')
			if err != nil {
				return
			}
			got <- l
		}
	}()
	o.flush()
	o.detection(&bollwerk.Detection{Rule: "told-again"})
	o.flush()
	_ = w.Close()
	told, lines := "", uint64(0)
	for l := range got {
		lines++
		var d struct{ Type, Rule string }
		if err := json.Unmarshal([]byte(l), &d); err != nil {
			t.Fatalf("%v: %.200q", err, l)
		}
		if d.Type == "detection" {
			told += d.Rule + " "
		}
	}
	if told != "still-told told-again " {
		t.Errorf("told: %q", told)
	}
	if lines+o.detections.lost != n+3 {
		t.Errorf("%d lines came and %d are said to be lost, of %d", lines, o.detections.lost, n+3)
	}
}

// TestSlowReader: one that goes on reading gets every line.
func TestSlowReader(t *testing.T) {
	r, w := io.Pipe()
	o := newOutput(w, w, nil)
	const n = 1000
	lines := make(chan int)
	go func() {
		count := 0
		br := bufio.NewReaderSize(r, 1<<20)
		for {
			l, err := br.ReadString('\n')
			if err != nil {
				lines <- count
				return
			}
			if count++; len(l) > 4096 && count%64 == 0 {
				time.Sleep(time.Millisecond) // what it is: slower than what is written
			}
		}
	}()
	for range n {
		o.event(&bollwerk.Event{Kind: bollwerk.EventExec, Process: &bollwerk.Process{Args: []string{strings.Repeat("a", 4096)}}})
	}
	o.flush()
	_ = w.Close()
	if got := <-lines; got != n || o.failed() != nil {
		t.Errorf("%d of %d lines: %v", got, n, o.failed())
	}
}

// TestReaderGone: a closed pipe is said, and nothing waits for it.
func TestReaderGone(t *testing.T) {
	r, w := io.Pipe()
	_ = r.Close()
	o := newOutput(w, w, nil)
	o.detection(&bollwerk.Detection{Rule: "r"})
	o.flush()
	o.detection(&bollwerk.Detection{Rule: "r"})
	if err := o.failed(); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("%v", err)
	}
}

// TestShapeless: what has no form in JSON is counted, and said in the verdict.
func TestShapeless(t *testing.T) {
	var told, seen bytes.Buffer
	a, _ := judging(t)
	a.out = newOutput(&told, &seen, nil)
	late := time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC)
	a.out.event(&bollwerk.Event{Kind: bollwerk.EventExec, Time: late})
	a.out.event(&bollwerk.Event{Kind: bollwerk.EventExec, Process: &bollwerk.Process{Name: "after"}})
	a.out.detection(&bollwerk.Detection{Rule: "late", Last: late})
	a.out.detection(&bollwerk.Detection{Rule: "after"})
	a.out.flush()
	if strings.Count(told.String(), "\n") != 1 || strings.Count(seen.String(), "\n") != 1 || !strings.Contains(told.String(), "after") || !strings.Contains(seen.String(), "after") {
		t.Errorf("printed:\n%s%s", &told, &seen)
	}
	var numbers bytes.Buffer
	if err := a.metrics.write(&numbers); err != nil || !strings.Contains(numbers.String(), "\nbollwerk_agent_lines_lost_total 2\n") {
		t.Errorf("%v\n%s", err, &numbers)
	}
	v, causes := a.verdict()
	if said := strings.Join(causes, "\n"); v != bollwerk.Degraded || !strings.Contains(said, "2 lines lost that cannot be written as JSON, the last: late: ") {
		t.Errorf("%s: %s", v, said)
	}
}

package process

import (
	"context"
	"log/slog"
	"os"
	"os/exec"
	"slices"
	"testing"
	"time"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/sensor"
)

func TestThin(t *testing.T) {
	src := New(Config{})
	s, err := sensor.Open(t.Context(), sensor.Options{Log: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))}, src)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for _, r := range s.Capabilities() {
		t.Logf("%+v", r)
	}
	t.Log(s.Kernel().Processes.Len())
	for _, p := range s.Kernel().Processes.All()[:5] {
		t.Logf("%+v", p)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	go func() { time.Sleep(500 * time.Millisecond); exec.Command("/bin/echo", "hello", "world").Run() }()
	s.Run(ctx, func(e *bollwerk.Event) {
		if slices.Contains(e.Process.Args, "world") {
			t.Logf("%v %+v %+v", e, e.Process, e.Process.Parent)
		}
	})
}

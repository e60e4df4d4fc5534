package agent

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/bollwerk/bollwerk/sensor"
)

// Running is what an agent says of itself to whoever wants to start another one.
type Running struct {
	PID    int       `json:"pid"`              // in its own PID namespace
	PIDNS  uint64    `json:"pid_ns,omitempty"` // inode number of that namespace
	Since  time.Time `json:"since"`
	State  string    `json:"state"`
	Socket string    `json:"socket"`
}

// ErrRunning: another agent protects this machine.
var ErrRunning = errors.New("another agent protects this machine already")

// Claim makes this agent the only one of the machine, until release is called or the
// process ends, however it ends. Two agents would guard the same containers, each with
// policies of its own, and the one that ends would lift what the other relies on.
//
// Two locks, as each alone can be fooled. A locked file in /run: only root can open it,
// so that no user can keep an agent from starting (as with the name of an abstract
// socket), and the kernel unlocks it when its owner dies; but an agent in a container has
// another /run. And a BPF map with a known name, which all namespaces of the
// kernel share (sensor.Mark); but without BPF there is none. The warning says that neither
// was to be had.
func Claim(c *Config) (release func(), warning string, err error) {
	self := Running{PID: os.Getpid(), PIDNS: pidNamespace(), Since: time.Now().UTC(), State: absolute(c.State), Socket: absolute(c.Socket)}
	text, err := json.Marshal(&self)
	if err != nil {
		return nil, "", err
	}
	file, err := lockFile(lockName(c), text)
	var busy *sensor.MarkBusy
	if errors.As(err, &busy) {
		return nil, "", refusal(busy.Text)
	}
	mark, problem := sensor.Mark(string(text))
	switch {
	case errors.As(problem, &busy):
		if file != nil {
			_ = file.Close()
		}
		return nil, "", refusal(busy.Text)
	case err != nil && problem != nil:
		warning = fmt.Sprintf("it is not certain that no other agent runs: %v; %v", err, problem)
	}
	return func() {
		if mark != nil {
			_ = mark.Close()
		}
		if file != nil {
			// The file stays: whoever deleted it could delete that of the next agent.
			_ = file.Close()
		}
	}, warning, nil
}

// Other tells of the agent that runs on this machine, nil when there is none or who asks
// may not know.
func Other(c *Config) *Running {
	var busy *sensor.MarkBusy
	if f, err := lockFile(lockName(c), nil); err == nil {
		_ = f.Close()
	} else if errors.As(err, &busy) {
		return parseRunning(busy.Text)
	}
	if text := sensor.Marked(); text != "" {
		return parseRunning(text)
	}
	return nil
}

// lockName is in the host's /run also for an agent that has the host's files elsewhere.
func lockName(c *Config) string { return filepath.Join("/", c.Host, "run/bollwerk-agent.lock") }

// lockFile locks the file and writes the text into it; nil text only tries. It is a
// *sensor.MarkBusy when another process has it locked.
func lockFile(name string, text []byte) (*os.File, error) {
	flags := os.O_RDWR | os.O_CREATE
	if text == nil {
		flags = os.O_RDONLY
	}
	f, err := os.OpenFile(name, flags|syscall.O_NOFOLLOW|syscall.O_CLOEXEC, 0o600)
	if err != nil {
		return nil, err
	}
	// A lock of the open file: it can be asked for without being taken, so that who only
	// looks does not keep an agent from starting.
	lock, taken := unix.Flock_t{Type: unix.F_WRLCK}, false
	if text != nil {
		err = unix.FcntlFlock(f.Fd(), unix.F_OFD_SETLK, &lock)
		taken = errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EACCES)
	} else {
		err = unix.FcntlFlock(f.Fd(), unix.F_OFD_GETLK, &lock)
		taken = err == nil && lock.Type != unix.F_UNLCK
	}
	if taken || err != nil {
		defer f.Close()
		if !taken {
			return nil, fmt.Errorf("%s: lock: %w", name, err)
		}
		b, _ := io.ReadAll(io.LimitReader(f, 4096)) // what it says is a help, not a proof
		return nil, &sensor.MarkBusy{Text: string(b)}
	}
	if text != nil {
		err := f.Truncate(0)
		if err == nil {
			_, err = f.WriteAt(text, 0)
		}
		if err != nil {
			_ = f.Close()
			return nil, fmt.Errorf("%s: %w", name, err)
		}
	}
	return f, nil
}

func parseRunning(text string) *Running {
	r := &Running{}
	if json.Unmarshal([]byte(text), r) != nil {
		return &Running{}
	}
	return r
}

// refusal says who runs, and what to do.
func refusal(text string) error {
	r := parseRunning(text)
	if r.PID == 0 {
		return fmt.Errorf("%w; end it first", ErrRunning)
	}
	where, end := "", fmt.Sprintf("`kill %d`", r.PID)
	if ns := pidNamespace(); r.PIDNS != ns && r.PIDNS != 0 && ns != 0 {
		where, end = " of another PID namespace", "its container"
	}
	return fmt.Errorf("%w: process %d%s, since %s, state folder %s; look at it with `bollwerk-agent status --socket %s`, or end it first (%s, or its service)",
		ErrRunning, r.PID, where, r.Since.Local().Format(time.DateTime), r.State, r.Socket, end)
}

func pidNamespace() uint64 {
	var st syscall.Stat_t
	if syscall.Stat("/proc/self/ns/pid", &st) != nil {
		return 0
	}
	return st.Ino
}

func absolute(name string) string {
	if a, err := filepath.Abs(name); err == nil {
		return a
	}
	return name
}

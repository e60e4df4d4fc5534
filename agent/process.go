package agent

import (
	"bytes"
	"errors"
	"os"
	"strconv"

	"github.com/bollwerk/bollwerk"
)

// startTime of a process in nanoseconds since boot, from /proc/PID/stat field 22.
func startTime(pid uint32) (uint64, error) {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(int(pid)) + "/stat")
	if err != nil {
		return 0, err
	}
	// The name in parentheses may hold anything, parentheses too.
	i := bytes.LastIndexByte(b, ')')
	if i < 0 {
		return 0, errors.New("stat: no name")
	}
	f := bytes.Fields(b[i+1:])
	if len(f) < 20 {
		return 0, errors.New("stat: too short")
	}
	ticks, err := strconv.ParseUint(string(f[19]), 10, 64)
	return ticks * 10_000_000, err // USER_HZ is 100 on every architecture of Linux we run on
}

// isMe: what the agent itself does is not judged.
func (a *Agent) isMe(p *bollwerk.Process) bool { return p.PID == a.pid }

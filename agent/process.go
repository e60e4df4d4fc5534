package agent

import "github.com/bollwerk/bollwerk"

// isMe: what the agent itself does is not judged.
func (a *Agent) isMe(p *bollwerk.Process) bool { return p.PID == a.pid }

package sensor

import "github.com/bollwerk/bollwerk"

// moved keeps up with a process that was put into another cgroup after its last start
// or fork, as a container's first process is: records tell where it is now.
func (t *Processes) moved(p *bollwerk.Process, cgroup uint64) *bollwerk.Process {
	if cgroup == 0 || p.Cgroup == cgroup || p.Start == 0 {
		return p
	}
	now := *p
	now.Cgroup, now.CgroupPath = cgroup, t.CgroupPath(cgroup, p.PID)
	t.Replace(&now)
	return &now
}

package sensor

// Read reads a process that runs now from /proc, nil when it is gone. For sources that
// learn only a PID; what /proc cannot tell of a program start (its descriptors at that
// moment, the image's origin) stays empty.
func (t *Processes) Read(pid uint32) *Record {
	r := readProcess(t, pid)
	if r != nil {
		r.Process.Existing = false
	}
	return r
}

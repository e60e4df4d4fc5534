package bpf

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"os"
	"testing"
)

func TestDrop(t *testing.T) {
	resident := func() (n int) {
		b, err := os.ReadFile("/proc/self/statm")
		if err != nil {
			t.Fatal(err)
		}
		var size, all, shared int
		if _, err := fmt.Sscan(string(b), &size, &all, &shared); err != nil {
			t.Fatal(err)
		}
		return shared * os.Getpagesize()
	}
	before, want := sha256.Sum256(_NetworkBytes), bytes.Clone(_LsmBytes)
	read := resident()
	Drop()
	if freed, least := read-resident(), (len(_NetworkBytes)+len(_LsmBytes))*9/10; freed < least {
		t.Errorf("%d bytes were given back, at least %d were read", freed, least)
	}
	if sha256.Sum256(_NetworkBytes) != before || !bytes.Equal(_LsmBytes, want) {
		t.Error("the objects are not what they were")
	}
	for name, load := range map[string]func() error{
		"network": func() error { _, err := LoadNetwork(); return err },
		"lsm":     func() error { _, err := LoadLsm(); return err },
	} {
		if err := load(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

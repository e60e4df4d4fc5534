// Package licences checks that everything the program is built from may be given
// away under Apache-2.0: each module must carry a licence text of a known kind.
package licences

import (
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"sort"
	"strings"
	"testing"
)

// kinds are told by phrases that only their texts have. The order matters: the
// BSD texts share sentences with others.
var kinds = []struct {
	name, phrase string
	allowed      bool
}{
	{"AGPL", "gnu affero general public license", false},
	{"LGPL", "gnu lesser general public license", false},
	{"GPL", "gnu general public license", false},
	{"SSPL", "server side public license", false},
	{"BUSL", "business source license", false},
	{"Apache-2.0", "apache license", true},
	{"MPL-2.0", "mozilla public license", true},
	{"MIT", "permission is hereby granted, free of charge", true},
	{"ISC", "permission to use, copy, modify, and/or distribute", true},
	{"ISC", "permission to use, copy, modify, and distribute", true},
	{"BSD", "redistribution and use in source and binary forms", true},
	{"CC0-1.0", "cc0 1.0 universal", true},
	{"Unlicense", "this is free and unencumbered software", true},
	{"Zlib", "this software is provided 'as-is'", true},
	{"BlueOak-1.0.0", "blue oak model license", true},
}

// classify names the licence whose phrase comes first: the MPL and comments in
// other texts speak of the GPL further down.
func classify(text string) (string, bool) {
	t := strings.ToLower(strings.Join(strings.Fields(text), " "))
	name, allowed, at := "unknown", false, len(t)
	for _, k := range kinds {
		if i := strings.Index(t, k.phrase); i >= 0 && i < at {
			name, allowed, at = k.name, k.allowed, i
		}
	}
	return name, allowed
}

func TestEveryModuleMayBeGivenAway(t *testing.T) {
	cmd := exec.Command("go", "list", "-deps", "-json=Module", "../../cmd/...")
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	dirs := map[string]string{}
	dec := json.NewDecoder(strings.NewReader(string(out)))
	for {
		var p struct {
			Module *struct {
				Path, Dir string
				Main      bool
			}
		}
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		if p.Module != nil && !p.Module.Main {
			dirs[p.Module.Path] = p.Module.Dir
		}
	}
	if len(dirs) < 20 {
		t.Fatalf("only %d modules: the list was not read", len(dirs))
	}
	count := map[string]int{}
	for path, dir := range dirs {
		name, ok := licenceOf(t, dir)
		count[name]++
		if !ok {
			t.Errorf("module %s: licence %s", path, name)
		}
	}
	var names []string
	for n := range count {
		names = append(names, n)
	}
	sort.Strings(names)
	for _, n := range names {
		t.Logf("%-12s %d modules", n, count[n])
	}
}

// licenceOf looks for the licence text in a module's folder.
func licenceOf(t *testing.T, dir string) (string, bool) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		n := strings.ToUpper(e.Name())
		if e.IsDir() || !strings.HasPrefix(n, "LICEN") && !strings.HasPrefix(n, "COPYING") && !strings.HasPrefix(n, "UNLICENSE") {
			continue
		}
		b, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		if name, ok := classify(string(b)); ok {
			return name, true
		} else if name != "unknown" {
			return name, false
		}
	}
	return "unknown", false
}

func TestClassify(t *testing.T) {
	for text, want := range map[string]bool{
		"Apache License\nVersion 2.0":                                     true,
		"Permission is hereby granted, free of charge, to any person":     true,
		"GNU AFFERO GENERAL PUBLIC LICENSE Version 3":                     false,
		"GNU GENERAL PUBLIC LICENSE Version 2":                            false,
		"Mozilla Public License Version 2.0 … GNU General Public License": true,
		"all rights reserved":                                             false,
	} {
		if name, ok := classify(text); ok != want {
			t.Errorf("%.30q: %s, allowed %t", text, name, ok)
		}
	}
}

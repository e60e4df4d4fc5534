package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// baseLayout writes an OCI layout of an image with one empty layer.
func baseLayout(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	put := func(name string, b []byte) {
		p := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	blob := func(b []byte) map[string]any {
		hex := fmt.Sprintf("%x", sha256.Sum256(b))
		put("blobs/sha256/"+hex, b)
		return map[string]any{"digest": "sha256:" + hex, "size": len(b), "mediaType": "application/vnd.oci.image.layer.v1.tar"}
	}
	doc := func(v any) map[string]any {
		b, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return blob(b)
	}
	layer := blob(make([]byte, 1024))
	config := doc(map[string]any{"os": "linux", "architecture": "amd64", "rootfs": map[string]any{"type": "layers", "diff_ids": []any{layer["digest"]}}})
	manifest := doc(map[string]any{"schemaVersion": 2, "config": config, "layers": []any{layer}})
	index, err := json.Marshal(map[string]any{"schemaVersion": 2, "manifests": []any{manifest}})
	if err != nil {
		t.Fatal(err)
	}
	put("oci-layout", []byte(`{"imageLayoutVersion":"1.0.0"}`))
	put("index.json", index)
	return dir
}

func TestBase(t *testing.T) {
	cache := t.TempDir()
	image := baseLayout(t)
	for _, step := range []struct {
		args           []string
		code           int
		stdout, stderr string
	}{
		{[]string{"base", "list"}, exitClean, "", "no base image is registered"},
		{[]string{"base", "add", "--name", "hardened/debian:12", "--platform", "linux/amd64", "oci:" + image}, exitClean, "registered hardened/debian:12 (linux/amd64, 1 layers)", ""},
		{[]string{"base", "add", "--name", "hardened/debian:12", image}, exitClean, "known already", ""},
		{[]string{"base", "list"}, exitClean, "hardened/debian:12  linux/amd64  1", ""},
		{[]string{"base", "add", "dir:" + cache}, exitUsage, "", "only an image can be a base image"},
		{[]string{"base", "add", "--platform", "nonsense", "oci:" + image}, exitUsage, "", "--platform"},
		{[]string{"base", "add"}, exitUsage, "", "want one IMAGE"},
		{[]string{"base", "add", "./missing"}, exitFailed, "", "no such file"},
		{[]string{"base", "list", "x"}, exitUsage, "", "takes no arguments"},
		{[]string{"base", "ad", "x"}, exitUsage, "", "unknown command"},
		{[]string{"base", "remove", "other"}, exitUsage, "", `no base image is registered as "other"`},
		{[]string{"base", "remove", "hardened/debian:12"}, exitClean, "removed", ""},
		{[]string{"base", "list"}, exitClean, "", "no base image is registered"},
	} {
		var out, errOut bytes.Buffer
		e := &env{stdin: strings.NewReader(""), stdout: &out, stderr: &errOut, getenv: func(k string) string {
			if k == "BOLLWERK_CACHE_DIR" {
				return cache
			}
			return ""
		}}
		if code := run(context.Background(), e, step.args); code != step.code {
			t.Errorf("%v: exit code %d, want %d; %s", step.args, code, step.code, errOut.String())
		}
		if !strings.Contains(out.String(), step.stdout) || !strings.Contains(errOut.String(), step.stderr) {
			t.Errorf("%v:\nstdout %q\nstderr %q", step.args, out.String(), errOut.String())
		}
	}
}

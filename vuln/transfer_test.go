package vuln_test

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bollwerk/bollwerk/vuln"
)

// TestImportOfDamagedCompression: the compression notices the damage before any
// checksum does, and the message still says what to do.
func TestImportOfDamagedCompression(t *testing.T) {
	dir := t.TempDir()
	from, to := filepath.Join(dir, "carried.db.zst"), filepath.Join(dir, "in-use.db")
	magic := []byte{0x28, 0xb5, 0x2f, 0xfd}
	if err := os.WriteFile(from, append(magic, bytes.Repeat([]byte{0xff}, 4096)...), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(to, []byte("as it was"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := vuln.Import(context.Background(), from, to)
	if err == nil || !strings.Contains(err.Error(), "nothing was replaced, transfer it again") {
		t.Errorf("%v", err)
	}
	if b, _ := os.ReadFile(to); string(b) != "as it was" {
		t.Errorf("the database in use is now %q", b)
	}
}

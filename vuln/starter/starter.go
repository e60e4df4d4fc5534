// Package starter owns the snapshot of advisories that ships inside the program, so
// that the first scan works without any network. It holds facts only (which
// versions of which package which issue affects, severity, exploitation) and is
// as old as the program; README.md names its sources.
package starter

import (
	"bytes"
	"context"
	_ "embed"
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/bollwerk/bollwerk/vuln"
)

// snapshot is a database made by `bollwerk db build --starter`, see README.md.
//
//go:embed advisories.db.zst
var snapshot []byte

// FileName is the name of the database in the cache folder.
const FileName = "advisories.db"

// Install unpacks the snapshot into dir unless a database is there already, and
// returns the path of the database. It takes about a tenth of a second, once; of
// two programs that do it at the same time either wins, with the same content.
func Install(dir string) (string, error) {
	path := filepath.Join(dir, FileName)
	if _, err := os.Stat(path); err == nil {
		return path, nil
	} else if !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	if _, err := vuln.Install(context.Background(), bytes.NewReader(snapshot), path); err != nil {
		return "", err
	}
	return path, nil
}

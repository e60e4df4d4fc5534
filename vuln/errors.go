package vuln

import (
	"errors"
	"fmt"
)

// Why a database file was refused; the error of Open wraps one of them. Its text
// names the file and the command that repairs it.
var (
	ErrForeign     = errors.New("not an advisory database of Bollwerk")
	ErrTruncated   = errors.New("the file is cut off")
	ErrNewerFormat = errors.New("made by a newer Bollwerk")
	ErrOlderFormat = errors.New("made by an older Bollwerk")
	ErrDamaged     = errDamaged
	ErrClosed      = errors.New("the database is closed")
)

// fileError puts the file in front and the way out behind.
func fileError(path string, err error) error {
	if err == nil {
		return nil
	}
	fix := "run `bollwerk db update`, or `bollwerk db import FILE` where there is no network"
	switch {
	case errors.Is(err, ErrNewerFormat):
		fix = "use a newer bollwerk, or run `bollwerk db update` to replace it"
	case errors.Is(err, ErrDamaged), errors.Is(err, ErrTruncated), errors.Is(err, ErrForeign), errors.Is(err, ErrOlderFormat):
	default:
		return fmt.Errorf("advisory database %s: %w", path, err)
	}
	return fmt.Errorf("advisory database %s: %w; %s", path, err, fix)
}

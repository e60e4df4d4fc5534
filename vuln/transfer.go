package vuln

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/klauspost/compress/zstd"
)

// compressedSuffix marks a database packed for transport.
const compressedSuffix = ".zst"

// checksumSuffix names the file beside an exported one that holds its SHA-256, in
// the format of sha256sum(1).
const checksumSuffix = ".sha256"

// Export copies a database to a file for transport, compressed if the name ends in
// .zst, and writes its checksum beside it. The source is verified first: what
// travels must be whole.
func Export(ctx context.Context, db *DB, to string) error {
	if err := db.Verify(ctx); err != nil {
		return err
	}
	dir := filepath.Dir(to)
	tmp, err := os.MkdirTemp(dir, ".bollwerk-export-")
	if err != nil {
		return fmt.Errorf("export to %s: %w", to, err)
	}
	defer os.RemoveAll(tmp)
	out := filepath.Join(tmp, "out")
	if strings.HasSuffix(to, compressedSuffix) {
		err = compressFile(ctx, db.path, out)
	} else {
		err = copyFile(ctx, db.path, out)
	}
	if err != nil {
		return fmt.Errorf("export to %s: %w", to, err)
	}
	sum, err := sumFile(ctx, out)
	if err != nil {
		return fmt.Errorf("export to %s: %w", to, err)
	}
	line := sum + "  " + filepath.Base(to) + "\n"
	if err := os.WriteFile(out+checksumSuffix, []byte(line), 0o644); err != nil {
		return fmt.Errorf("export to %s: %w", to, err)
	}
	if err := replaceFile(out, to); err != nil {
		return fmt.Errorf("export to %s: %w", to, err)
	}
	return replaceFile(out+checksumSuffix, to+checksumSuffix)
}

// Import verifies a database file completely and then puts it in place. A checksum
// file beside it is honoured; without one the checksums inside still hold. On any
// error the database in place stays as it is.
func Import(ctx context.Context, from, to string) (Status, error) {
	if want, err := readChecksum(from + checksumSuffix); err != nil {
		return Status{}, err
	} else if want != "" {
		got, err := sumFile(ctx, from)
		if err != nil {
			return Status{}, fmt.Errorf("import %s: %w", from, err)
		}
		if got != want {
			return Status{}, fmt.Errorf("import %s: its SHA-256 is %s, %s says %s; transfer it again: %w", from, got, from+checksumSuffix, want, errDamaged)
		}
	}
	f, err := os.Open(from)
	if err != nil {
		return Status{}, fmt.Errorf("import: %w", err)
	}
	defer f.Close()
	return install(ctx, f, from, to, true)
}

// Install unpacks a database from a stream, compressed or not, and puts it in
// place. The stream is trusted to be whole: header and descriptions are checked, as
// Open does, not every record.
func Install(ctx context.Context, r io.Reader, to string) (Status, error) {
	return install(ctx, r, "the database", to, false)
}

func install(ctx context.Context, r io.Reader, from, to string, verify bool) (Status, error) {
	dir := filepath.Dir(to)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return Status{}, err
	}
	tmp, err := os.MkdirTemp(dir, ".bollwerk-import-")
	if err != nil {
		return Status{}, fmt.Errorf("import %s: %w", from, err)
	}
	defer os.RemoveAll(tmp)
	out := filepath.Join(tmp, "new.db")
	if err := unpack(ctx, r, out); err != nil {
		return Status{}, unpackError(ctx, from, err)
	}
	db, err := Open(out)
	if err != nil {
		return Status{}, importError(from, out, err)
	}
	defer db.Close()
	if verify {
		if err := db.Verify(ctx); err != nil {
			return Status{}, importError(from, out, err)
		}
	}
	st := db.Status()
	st.Path = to
	if err := replaceFile(out, to); err != nil {
		return Status{}, fmt.Errorf("import %s: %w", from, err)
	}
	return st, nil
}

// unpackError says what to do about a file that was damaged on its way; that the
// compression notices first says nothing to whoever carried it.
func unpackError(ctx context.Context, from string, err error) error {
	var disk *fs.PathError
	if ctx.Err() != nil || errors.As(err, &disk) {
		return fmt.Errorf("import %s: %w", from, err)
	}
	return fmt.Errorf("import %s: it cannot be unpacked (%w); nothing was replaced, transfer it again", from, err)
}

// importError names the file the user gave, not the temporary one.
func importError(from, tmp string, err error) error {
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	for _, kind := range []error{ErrForeign, ErrTruncated, ErrNewerFormat, ErrOlderFormat, ErrDamaged} {
		if errors.Is(err, kind) {
			return fmt.Errorf("import %s: %w; nothing was replaced, export it again with `bollwerk db export`", from, kind)
		}
	}
	return fmt.Errorf("import %s: %s", from, strings.ReplaceAll(err.Error(), tmp, from))
}

// unpack writes the stream to a file, decompressed if it is compressed.
func unpack(ctx context.Context, r io.Reader, to string) error {
	br := bufio.NewReaderSize(&contextReader{ctx, r}, 256<<10)
	head, _ := br.Peek(4)
	var src io.Reader = br
	if string(head) == "\x28\xb5\x2f\xfd" {
		z, err := zstd.NewReader(br, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(maxWindow))
		if err != nil {
			return err
		}
		defer z.Close()
		src = z
	}
	f, err := os.Create(to)
	if err != nil {
		return err
	}
	defer f.Close()
	n, err := io.Copy(f, io.LimitReader(src, maxFileSize+1))
	if err != nil {
		if errors.Is(err, io.ErrUnexpectedEOF) {
			return fmt.Errorf("%w: %w", ErrTruncated, err)
		}
		return err
	}
	if n > maxFileSize {
		return fmt.Errorf("more than %d bytes when unpacked", int64(maxFileSize))
	}
	return f.Close()
}

// maxWindow bounds the memory that unpacking takes.
const maxWindow = 128 << 20

func compressFile(ctx context.Context, from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.Create(to)
	if err != nil {
		return err
	}
	defer out.Close()
	z, err := zstd.NewWriter(out, zstd.WithEncoderLevel(zstd.SpeedBestCompression), zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(32<<20))
	if err != nil {
		return err
	}
	if _, err := io.Copy(z, &contextReader{ctx, in}); err != nil {
		z.Close()
		return err
	}
	if err := z.Close(); err != nil {
		return err
	}
	if err := out.Sync(); err != nil {
		return err
	}
	return out.Close()
}

func copyFile(ctx context.Context, from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.Create(to)
	if err != nil {
		return err
	}
	defer out.Close()
	if _, err := io.Copy(out, &contextReader{ctx, in}); err != nil {
		return err
	}
	if err := out.Sync(); err != nil {
		return err
	}
	return out.Close()
}

// replaceFile moves a finished file into place; readers of the old one keep it.
func replaceFile(from, to string) error {
	if err := os.Chmod(from, 0o644); err != nil {
		return err
	}
	return os.Rename(from, to)
}

func sumFile(ctx context.Context, path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, &contextReader{ctx, f}); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// readChecksum reads a checksum file; "" if there is none.
func readChecksum(path string) (string, error) {
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, 4096))
	if err != nil {
		return "", err
	}
	sum, _, _ := strings.Cut(strings.TrimSpace(string(b)), " ")
	if raw, err := hex.DecodeString(sum); err != nil || len(raw) != sha256.Size {
		return "", fmt.Errorf("%s: not a SHA-256 checksum file", path)
	}
	return strings.ToLower(sum), nil
}

// contextReader ends a copy when the context does.
type contextReader struct {
	ctx context.Context
	r   io.Reader
}

func (c *contextReader) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.r.Read(p)
}

package notation

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/notaryproject/notation-core-go/revocation"
	"github.com/notaryproject/notation-core-go/revocation/result"
	"github.com/notaryproject/notation-go/verifier/truststore"
)

// ValidateContext implements revocation.Validator without any network: no
// certificate is said to be revoked, and whether one could have been is kept.
func (o *offlineRevocation) ValidateContext(_ context.Context, opts revocation.ValidateContextOptions) ([]*result.CertRevocationResult, error) {
	out := make([]*result.CertRevocationResult, len(opts.CertChain))
	for i, c := range opts.CertChain {
		if len(c.OCSPServer) > 0 || len(c.CRLDistributionPoints) > 0 {
			o.mu.Lock()
			o.any = true
			o.mu.Unlock()
		}
		out[i] = &result.CertRevocationResult{Result: result.ResultNonRevokable}
	}
	return out, nil
}

const (
	maxCertificates = 200
	maxCertFile     = 1 << 20
)

// parseCertificates reads PEM certificates that may serve as trust anchors: CAs
// and self-signed certificates.
func parseCertificates(raw []byte) ([]*x509.Certificate, error) {
	if len(raw) > maxCertFile {
		return nil, fmt.Errorf("certificates: %d bytes, more than %d", len(raw), maxCertFile)
	}
	var certs []*x509.Certificate
	for rest := raw; ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			return nil, fmt.Errorf("certificates: PEM block %q, want CERTIFICATE", block.Type)
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("certificates: %w", err)
		}
		if certs = append(certs, c); len(certs) > maxCertificates {
			return nil, fmt.Errorf("certificates: more than %d", maxCertificates)
		}
	}
	if len(certs) == 0 { // notation writes PEM, but some authorities publish DER
		c, err := x509.ParseCertificate(raw)
		if err != nil {
			return nil, errors.New("certificates: neither PEM nor DER")
		}
		certs = append(certs, c)
	}
	if err := truststore.ValidateCertificates(certs); err != nil {
		return nil, fmt.Errorf("certificates: %w", err)
	}
	return certs, nil
}

// folderStore reads a trust store as notation lays it out. notation-go's own
// reader has no bounds.
type folderStore struct {
	root *os.Root
	base string
}

func openStore(dir string) (*folderStore, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("notation: trust store: %w", err)
	}
	for _, base := range []string{"truststore/x509", "x509"} {
		if st, err := root.Stat(base); err == nil && st.IsDir() {
			return &folderStore{root: root, base: base}, nil
		}
	}
	root.Close()
	return nil, fmt.Errorf("notation: trust store %s: want a folder with truststore/x509/TYPE/NAME/ or x509/TYPE/NAME/", dir)
}

var storeName = regexp.MustCompile(`^[a-zA-Z0-9_.-]+$`)

// GetCertificates implements truststore.X509TrustStore.
func (s *folderStore) GetCertificates(ctx context.Context, kind truststore.Type, name string) ([]*x509.Certificate, error) {
	if !slices.Contains([]truststore.Type{truststore.TypeCA, truststore.TypeSigningAuthority, truststore.TypeTSA}, kind) {
		return nil, fmt.Errorf("trust store type %q is not known", kind)
	}
	if !storeName.MatchString(name) || name == "." || name == ".." {
		return nil, fmt.Errorf("trust store name %q: want letters, digits and _.-", name)
	}
	dir := path.Join(s.base, string(kind), name)
	f, err := s.root.Open(dir)
	if err != nil {
		return nil, fmt.Errorf("trust store: %w", err)
	}
	entries, err := f.ReadDir(maxCertificates + 1)
	f.Close()
	if err != nil {
		return nil, fmt.Errorf("trust store %s: %w", dir, err)
	}
	if len(entries) > maxCertificates {
		return nil, fmt.Errorf("trust store %s: more than %d files", dir, maxCertificates)
	}
	var all []*x509.Certificate
	for _, e := range entries {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		name := path.Join(dir, e.Name())
		if !e.Type().IsRegular() {
			return nil, fmt.Errorf("trust store: %s is not a regular file", name)
		}
		st, err := fs.Stat(s.root.FS(), name)
		if err != nil {
			return nil, fmt.Errorf("trust store: %w", err)
		}
		if st.Size() > maxCertFile {
			return nil, fmt.Errorf("trust store: %s: %d bytes, more than %d", name, st.Size(), maxCertFile)
		}
		raw, err := s.root.ReadFile(name)
		if err != nil {
			return nil, fmt.Errorf("trust store: %w", err)
		}
		certs, err := parseCertificates(raw)
		if err != nil {
			return nil, fmt.Errorf("trust store: %s: %w", name, err)
		}
		if kind == truststore.TypeTSA {
			for _, c := range certs {
				if !c.IsCA || c.CheckSignatureFrom(c) != nil {
					return nil, fmt.Errorf("trust store: %s: a timestamp authority must be trusted by its root certificate", name)
				}
			}
		}
		all = append(all, certs...)
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("trust store %s: no certificate", dir)
	}
	return all, nil
}

func keyID(c *x509.Certificate) string {
	sum := sha256.Sum256(c.RawSubjectPublicKeyInfo)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// oneLine makes a bounded line of an error that may quote an attacker's text.
func oneLine(err error) string { return clip(strings.Join(strings.Fields(err.Error()), " ")) }

func clip(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, "?"))
	const limit = 400
	if len(s) > limit {
		s = strings.ToValidUTF8(s[:limit], "") + "…"
	}
	return s
}

package sigstore

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/sigstore/sigstore-go/pkg/root"
	sig "github.com/sigstore/sigstore/pkg/signature"
)

// key is a public key that the user trusts, with the algorithms it may be used
// with. The key decides on the algorithm, never the signature: a signature that
// could name its own algorithm could name a weak one.
type key struct {
	id  string // "sha256:…" over SubjectPublicKeyInfo
	pub crypto.PublicKey
	// verifiers are tried in order. More than one only for the larger NIST curves,
	// where old cosign hashes with SHA-256 and new cosign with the curve's own size,
	// and for Ed25519, which is used plain and prehashed.
	verifiers []sig.Verifier
}

const (
	maxKeyFile = 64 << 10
	minRSABits = 2048
	maxRSABits = 16384 // larger ones cost minutes to verify
)

func parseKey(raw []byte) (key, error) {
	if len(raw) > maxKeyFile {
		return key{}, fmt.Errorf("public key: %d bytes, more than %d", len(raw), maxKeyFile)
	}
	block, rest := pem.Decode(raw)
	if block == nil {
		return key{}, errors.New("public key: not in PEM form")
	}
	if len(bytes.TrimSpace(rest)) > 0 {
		return key{}, errors.New("public key: something follows the first PEM block; give one file per key")
	}
	var pub crypto.PublicKey
	var err error
	switch block.Type {
	case "PUBLIC KEY":
		pub, err = x509.ParsePKIXPublicKey(block.Bytes)
	case "RSA PUBLIC KEY":
		pub, err = x509.ParsePKCS1PublicKey(block.Bytes)
	case "CERTIFICATE":
		return key{}, errors.New("public key: this is a certificate; certificates are verified with a trusted root and an identity")
	default:
		if bytes.Contains([]byte(block.Type), []byte("PRIVATE KEY")) {
			return key{}, errors.New("public key: this is a private key; give the public one (cosign.pub)")
		}
		return key{}, fmt.Errorf("public key: PEM block %q, want PUBLIC KEY", block.Type)
	}
	if err != nil {
		return key{}, fmt.Errorf("public key: %w", err)
	}
	return newKey(pub)
}

func newKey(pub crypto.PublicKey) (key, error) {
	der, err := x509.MarshalPKIXPublicKey(pub)
	if err != nil {
		return key{}, fmt.Errorf("public key: %w", err)
	}
	sum := sha256.Sum256(der)
	k := key{id: "sha256:" + hex.EncodeToString(sum[:]), pub: pub}
	hashes := []crypto.Hash{crypto.SHA256}
	switch p := pub.(type) {
	case *ecdsa.PublicKey:
		switch p.Curve {
		case elliptic.P256():
		case elliptic.P384():
			hashes = []crypto.Hash{crypto.SHA384, crypto.SHA256}
		case elliptic.P521():
			hashes = []crypto.Hash{crypto.SHA512, crypto.SHA256}
		default:
			return key{}, fmt.Errorf("public key: curve %s is not supported", p.Curve.Params().Name)
		}
	case *rsa.PublicKey:
		if n := p.N.BitLen(); n < minRSABits || n > maxRSABits {
			return key{}, fmt.Errorf("public key: RSA with %d bits, want %d to %d", n, minRSABits, maxRSABits)
		}
	case ed25519.PublicKey:
	default:
		return key{}, fmt.Errorf("public key: %T is not supported, want ECDSA, RSA or Ed25519", pub)
	}
	for _, h := range hashes {
		v, err := sig.LoadVerifier(pub, h)
		if err != nil {
			return key{}, fmt.Errorf("public key: %w", err)
		}
		k.verifiers = append(k.verifiers, v)
	}
	if p, ok := pub.(ed25519.PublicKey); ok {
		// Newer clients sign messages with Ed25519ph (RFC 8032, 5.1); its context
		// string keeps the two from being mistaken for each other.
		v, err := sig.LoadED25519phVerifier(p)
		if err != nil {
			return key{}, fmt.Errorf("public key: %w", err)
		}
		k.verifiers = append(k.verifiers, v)
	}
	return k, nil
}

// PublicKey implements the verifier that sigstore-go asks for.
func (k key) PublicKey(...sig.PublicKeyOption) (crypto.PublicKey, error) { return k.pub, nil }

// VerifySignature tries the algorithms that the key may be used with.
func (k key) VerifySignature(signed, message io.Reader, opts ...sig.VerifyOption) error {
	s, err := io.ReadAll(signed)
	if err != nil {
		return err
	}
	m, err := io.ReadAll(message)
	if err != nil {
		return err
	}
	for _, v := range k.verifiers {
		if err = v.VerifySignature(bytes.NewReader(s), bytes.NewReader(m), opts...); err == nil {
			return nil
		}
	}
	return err
}

// ValidAtTime: a key that the user gives has no validity period.
func (k key) ValidAtTime(time.Time) bool { return true }

// material is the trusted material for one key, with the logs and timestamp
// authorities of the trusted root where there is one.
func (k key) material(tr *root.TrustedRoot) root.TrustedMaterial {
	m := root.NewTrustedPublicKeyMaterial(func(string) (root.TimeConstrainedVerifier, error) { return k, nil })
	if tr == nil {
		return m
	}
	return keyWithRoot{TrustedRoot: tr, keys: m}
}

type keyWithRoot struct {
	*root.TrustedRoot
	keys *root.TrustedPublicKeyMaterial
}

func (m keyWithRoot) PublicKeyVerifier(hint string) (root.TimeConstrainedVerifier, error) {
	return m.keys.PublicKeyVerifier(hint)
}

// Package signaturetest makes real signatures for tests, and holds the contract
// that every signing scheme passes. It writes the formats of cosign, sigstore and
// the transparency log with the standard library alone, so that what verifies them
// is checked against a second reading of the specifications and not against itself.
package signaturetest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"net/url"
	"strings"
	"testing"
	"time"
)

// Authority is a whole sigstore in memory: a certificate authority (Fulcio), a
// certificate transparency log and a transparency log for signatures (Rekor, version 1).
type Authority struct {
	t       testing.TB
	rootKey *ecdsa.PrivateKey
	Root    *x509.Certificate
	ctKey   *ecdsa.PrivateKey
	rekor   *ecdsa.PrivateKey
	leaves  [][]byte // Merkle leaf hashes
	serial  int64
}

// NewAuthority makes keys and a root certificate valid for ten years around now.
func NewAuthority(t testing.TB) *Authority {
	a := &Authority{t: t, rootKey: NewKey(t), ctKey: NewKey(t), rekor: NewKey(t)}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{Organization: []string{"test"}, CommonName: "test authority"},
		NotBefore: time.Now().AddDate(-5, 0, 0), NotAfter: time.Now().AddDate(5, 0, 0),
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign, BasicConstraintsValid: true, IsCA: true,
	}
	a.Root = a.sign(tmpl, tmpl, a.rootKey.Public())
	return a
}

// NewKey makes an ECDSA key on P-256.
func NewKey(t testing.TB) *ecdsa.PrivateKey {
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func (a *Authority) sign(tmpl, parent *x509.Certificate, pub crypto.PublicKey) *x509.Certificate {
	der, err := x509.CreateCertificate(rand.Reader, tmpl, parent, pub, a.rootKey)
	if err != nil {
		a.t.Fatal(err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		a.t.Fatal(err)
	}
	return c
}

// Request asks for a certificate.
type Request struct {
	Identity, Issuer    string
	NotBefore, NotAfter time.Time // zero: around now
	NoSCT               bool      // the certificate transparency log does not see it
}

// Certificate issues a signing certificate as Fulcio does.
func (a *Authority) Certificate(r Request) (*x509.Certificate, *ecdsa.PrivateKey) {
	a.t.Helper()
	key := NewKey(a.t)
	if r.NotBefore.IsZero() {
		r.NotBefore, r.NotAfter = time.Now().Add(-5*time.Minute), time.Now().Add(5*time.Minute)
	}
	a.serial++
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1000 + a.serial), NotBefore: r.NotBefore, NotAfter: r.NotAfter,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning},
		ExtraExtensions: []pkix.Extension{{Id: asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 57264, 1, 1}, Value: []byte(r.Issuer)}},
	}
	if u, err := url.Parse(r.Identity); err == nil && u.Scheme != "" {
		tmpl.URIs = []*url.URL{u}
	} else {
		tmpl.EmailAddresses = []string{r.Identity}
	}
	if !r.NoSCT {
		// The timestamp covers the certificate without the extension that carries it (RFC 6962, 3.2).
		pre := a.sign(tmpl, a.Root, key.Public())
		tmpl.ExtraExtensions = append(tmpl.ExtraExtensions, pkix.Extension{
			Id: asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 11129, 2, 4, 2}, Value: a.sctList(pre.RawTBSCertificate, r.NotBefore),
		})
	}
	return a.sign(tmpl, a.Root, key.Public()), key
}

// sctList makes the list of one signed certificate timestamp, RFC 6962, 3.2 and 3.3.
func (a *Authority) sctList(tbs []byte, at time.Time) []byte {
	ms := uint64(at.UnixMilli())
	issuer := sha256.Sum256(a.Root.RawSubjectPublicKeyInfo)
	in := []byte{0, 0} // v1, certificate_timestamp
	in = binary.BigEndian.AppendUint64(in, ms)
	in = append(in, 0, 1) // precert_entry
	in = append(in, issuer[:]...)
	in = append(in, byte(len(tbs)>>16), byte(len(tbs)>>8), byte(len(tbs)))
	in = append(in, tbs...)
	in = append(in, 0, 0)
	sig := a.ecdsa(a.ctKey, in)
	id := LogID(a.ctKey)
	sct := append([]byte{0}, id...)
	sct = binary.BigEndian.AppendUint64(sct, ms)
	sct = append(sct, 0, 0, 4, 3) // no extensions; sha256, ecdsa
	sct = binary.BigEndian.AppendUint16(sct, uint16(len(sig)))
	sct = append(sct, sig...)
	list := binary.BigEndian.AppendUint16(nil, uint16(len(sct)+2))
	list = binary.BigEndian.AppendUint16(list, uint16(len(sct)))
	der, err := asn1.Marshal(append(list, sct...))
	if err != nil {
		a.t.Fatal(err)
	}
	return der
}

func (a *Authority) ecdsa(key *ecdsa.PrivateKey, msg []byte) []byte { return Sign(a.t, key, msg) }

// Sign signs a message with ECDSA over SHA-256.
func Sign(t testing.TB, key *ecdsa.PrivateKey, msg []byte) []byte {
	sum := sha256.Sum256(msg)
	sig, err := ecdsa.SignASN1(rand.Reader, key, sum[:])
	if err != nil {
		t.Fatal(err)
	}
	return sig
}

// LogID is how logs are named: the hash of their public key.
func LogID(key *ecdsa.PrivateKey) []byte {
	sum := sha256.Sum256(spki(key.Public()))
	return sum[:]
}

func spki(pub crypto.PublicKey) []byte {
	der, err := x509.MarshalPKIXPublicKey(pub)
	if err != nil {
		panic(err) // every key here was made here
	}
	return der
}

// PublicPEM writes a public key as cosign.pub has it.
func PublicPEM(pub crypto.PublicKey) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: spki(pub)})
}

// CertificatePEM writes a certificate.
func CertificatePEM(c *x509.Certificate) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})
}

// TrustedRoot is the authority's trusted_root.json. Further keys are added to the
// top level, and replace what is there.
func (a *Authority) TrustedRoot(more map[string]any) []byte {
	log := func(base string, key *ecdsa.PrivateKey) map[string]any {
		return map[string]any{
			"baseUrl": base, "hashAlgorithm": "SHA2_256", "logId": map[string]any{"keyId": LogID(key)},
			"publicKey": map[string]any{
				"rawBytes": spki(key.Public()), "keyDetails": "PKIX_ECDSA_P256_SHA_256",
				"validFor": map[string]any{"start": time.Now().AddDate(-5, 0, 0).UTC().Format(time.RFC3339)},
			},
		}
	}
	doc := map[string]any{
		"mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1",
		"tlogs":     []any{log("https://rekor.test", a.rekor)},
		"ctlogs":    []any{log("https://ct.test", a.ctKey)},
		"certificateAuthorities": []any{map[string]any{
			"subject": map[string]any{"organization": "test", "commonName": "test authority"}, "uri": "https://fulcio.test",
			"certChain": map[string]any{"certificates": []any{map[string]any{"rawBytes": a.Root.Raw}}},
			"validFor":  map[string]any{"start": time.Now().AddDate(-5, 0, 0).UTC().Format(time.RFC3339)},
		}},
	}
	for k, v := range more {
		doc[k] = v
	}
	return mustJSON(a.t, doc)
}

// LogEntry is an entry of the transparency log with both kinds of proof.
type LogEntry struct {
	Kind, Version string
	Body          []byte
	LogID         []byte
	Time          int64
	Index         int64
	Promise       []byte // the signed entry timestamp
	TreeSize      int64
	RootHash      []byte
	Hashes        [][]byte
	Checkpoint    string
}

// LogMessage records a signature over a message (hashedrekord 0.0.1). verifier is
// the public key or certificate in PEM form.
func (a *Authority) LogMessage(message, sig, verifier []byte, at time.Time) LogEntry {
	sum := sha256.Sum256(message)
	return a.log("hashedrekord", map[string]any{
		"data":      map[string]any{"hash": map[string]any{"algorithm": "sha256", "value": hex.EncodeToString(sum[:])}},
		"signature": map[string]any{"content": sig, "publicKey": map[string]any{"content": verifier}},
	}, at)
}

// LogEnvelope records a DSSE envelope (dsse 0.0.1).
func (a *Authority) LogEnvelope(e Envelope, verifier []byte, at time.Time) LogEntry {
	env, payload := sha256.Sum256(mustJSON(a.t, e)), sha256.Sum256(e.Payload)
	return a.log("dsse", map[string]any{
		"envelopeHash": map[string]any{"algorithm": "sha256", "value": hex.EncodeToString(env[:])},
		"payloadHash":  map[string]any{"algorithm": "sha256", "value": hex.EncodeToString(payload[:])},
		"signatures":   []any{map[string]any{"signature": base64.StdEncoding.EncodeToString(e.Signatures[0].Sig), "verifier": verifier}},
	}, at)
}

func (a *Authority) log(kind string, spec any, at time.Time) LogEntry {
	// Keys in order and no spaces: canonical JSON (RFC 8785) for these values.
	body := mustJSON(a.t, map[string]any{"apiVersion": "0.0.1", "kind": kind, "spec": spec})
	e := LogEntry{Kind: kind, Version: "0.0.1", Body: body, LogID: LogID(a.rekor), Time: at.Unix(), Index: int64(len(a.leaves))}
	e.Promise = a.ecdsa(a.rekor, mustJSON(a.t, map[string]any{
		"body": body, "integratedTime": e.Time, "logID": hex.EncodeToString(e.LogID), "logIndex": e.Index,
	}))
	leaf := sha256.Sum256(append([]byte{0}, body...))
	a.leaves = append(a.leaves, leaf[:])
	e.TreeSize, e.RootHash = int64(len(a.leaves)), merkleRoot(a.leaves)
	e.Hashes = merklePath(a.leaves, int(e.Index))
	// A signed note (C2SP signed-note, as Rekor 1 writes it: the key's name is the host).
	text := fmt.Sprintf("rekor.test - 1\n%d\n%s\n", e.TreeSize, base64.StdEncoding.EncodeToString(e.RootHash))
	sig := append(append([]byte{}, e.LogID[:4]...), a.ecdsa(a.rekor, []byte(text))...)
	e.Checkpoint = text + "\n— rekor.test " + base64.StdEncoding.EncodeToString(sig) + "\n"
	return e
}

// merkleRoot and merklePath follow RFC 6962, 2.1.
func merkleRoot(leaves [][]byte) []byte {
	if len(leaves) == 1 {
		return leaves[0]
	}
	k := split(len(leaves))
	return node(merkleRoot(leaves[:k]), merkleRoot(leaves[k:]))
}

func merklePath(leaves [][]byte, i int) [][]byte {
	if len(leaves) == 1 {
		return nil
	}
	if k := split(len(leaves)); i < k {
		return append(merklePath(leaves[:k], i), merkleRoot(leaves[k:]))
	} else {
		return append(merklePath(leaves[k:], i-k), merkleRoot(leaves[:k]))
	}
}

func split(n int) int {
	k := 1
	for k*2 < n {
		k *= 2
	}
	return k
}

func node(l, r []byte) []byte {
	sum := sha256.Sum256(append(append([]byte{1}, l...), r...))
	return sum[:]
}

// CosignBundle is the annotation dev.sigstore.cosign/bundle.
func (e LogEntry) CosignBundle(t testing.TB) string {
	return string(mustJSON(t, map[string]any{
		"SignedEntryTimestamp": e.Promise,
		"Payload": map[string]any{
			"body": e.Body, "integratedTime": e.Time, "logIndex": e.Index, "logID": hex.EncodeToString(e.LogID),
		},
	}))
}

// bundleEntry is the entry as a sigstore bundle has it (64-bit numbers are strings in protobuf's JSON).
func (e LogEntry) bundleEntry() map[string]any {
	return map[string]any{
		"logIndex": fmt.Sprint(e.Index), "logId": map[string]any{"keyId": e.LogID},
		"kindVersion":    map[string]any{"kind": e.Kind, "version": e.Version},
		"integratedTime": fmt.Sprint(e.Time), "canonicalizedBody": e.Body,
		"inclusionPromise": map[string]any{"signedEntryTimestamp": e.Promise},
		"inclusionProof": map[string]any{
			"logIndex": fmt.Sprint(e.Index), "treeSize": fmt.Sprint(e.TreeSize), "rootHash": e.RootHash,
			"hashes": e.Hashes, "checkpoint": map[string]any{"envelope": e.Checkpoint},
		},
	}
}

func mustJSON(t testing.TB, v any) []byte {
	t.Helper()
	var b strings.Builder
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		t.Fatal(err)
	}
	return []byte(strings.TrimSuffix(b.String(), "\n"))
}

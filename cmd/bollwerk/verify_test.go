package main

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/json"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/notaryproject/notation-core-go/testhelper"
	"github.com/notaryproject/notation-go"
	"github.com/notaryproject/notation-go/signer"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/signature"
	"github.com/bollwerk/bollwerk/signature/signaturetest"
)

// verifyCommand runs `bollwerk verify …`.
func verifyCommand(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	e := &env{stdin: strings.NewReader(""), stdout: &out, stderr: &errs, getenv: func(string) string { return "" }, version: "test"}
	code = run(context.Background(), e, append([]string{"verify"}, args...))
	return code, out.String(), errs.String()
}

// signedImage is an image in a local registry and in a layout, and what signs it.
type signedImage struct {
	t      *testing.T
	host   string
	layout string
	index  []string // entries of the layout's index
	raw    []byte
	digest bollwerk.Digest
	a      *signaturetest.Authority
	dir    string // for keys and the like
}

func newSignedImage(t *testing.T, h func(http.Handler) http.Handler) *signedImage {
	var handler http.Handler = registry.New(registry.Logger(log.New(io.Discard, "", 0)), registry.WithReferrersSupport(true))
	if h != nil {
		handler = h(handler)
	}
	srv := httptest.NewServer(handler)
	t.Cleanup(srv.Close)
	s := &signedImage{t: t, host: strings.TrimPrefix(srv.URL, "http://"), layout: t.TempDir(), dir: t.TempDir(), a: signaturetest.NewAuthority(t)}
	if err := os.MkdirAll(filepath.Join(s.layout, "blobs", "sha256"), 0o755); err != nil {
		t.Fatal(err)
	}
	s.file(filepath.Join(s.layout, "oci-layout"), []byte(`{"imageLayoutVersion":"1.0.0"}`))
	s.blob([]byte("{}"))
	s.raw = signaturetest.Manifest(t, "", nil, nil, s.blob)
	s.digest = signaturetest.Digest(s.raw)
	s.manifest("1.0", s.raw)
	return s
}

func (s *signedImage) file(name string, content []byte) string {
	s.t.Helper()
	if !filepath.IsAbs(name) {
		name = filepath.Join(s.dir, name)
	}
	if err := os.WriteFile(name, content, 0o600); err != nil {
		s.t.Fatal(err)
	}
	return name
}

func (s *signedImage) put(method, path, mediaType string, body []byte) {
	s.t.Helper()
	req, err := http.NewRequest(method, "http://"+s.host+"/v2/team/app/"+path, bytes.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	req.Header.Set("Content-Type", mediaType)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode/100 != 2 {
		s.t.Fatalf("%s %s: %s", method, path, resp.Status)
	}
}

func (s *signedImage) blob(content []byte) {
	s.put(http.MethodPost, "blobs/uploads/?digest="+string(signaturetest.Digest(content)), "application/octet-stream", content)
	s.file(filepath.Join(s.layout, "blobs", "sha256", signaturetest.Digest(content).Hex()), content)
}

func (s *signedImage) manifest(tag string, raw []byte) {
	const media = "application/vnd.oci.image.manifest.v1+json"
	d := signaturetest.Digest(raw)
	name, annotations := tag, `,"annotations":{"org.opencontainers.image.ref.name":"`+tag+`"}`
	if tag == "" {
		name, annotations = string(d), ""
	}
	s.put(http.MethodPut, "manifests/"+name, media, raw)
	s.file(filepath.Join(s.layout, "blobs", "sha256", d.Hex()), raw)
	size, _ := json.Marshal(len(raw))
	s.index = append(s.index, `{"mediaType":"`+media+`","digest":"`+string(d)+`","size":`+string(size)+annotations+`}`)
	s.file(filepath.Join(s.layout, "index.json"), []byte(`{"schemaVersion":2,"manifests":[`+strings.Join(s.index, ",")+`]}`))
}

func (s *signedImage) tag(suffix string, layers ...signaturetest.Layer) {
	s.manifest("sha256-"+s.digest.Hex()+suffix, signaturetest.Manifest(s.t, "", nil, layers, s.blob))
}

func (s *signedImage) refer(artifactType string, layer signaturetest.Layer) {
	sub := bollwerk.Descriptor{MediaType: "application/vnd.oci.image.manifest.v1+json", Digest: s.digest, Size: int64(len(s.raw))}
	s.manifest("", signaturetest.Manifest(s.t, artifactType, &sub, []signaturetest.Layer{layer}, s.blob))
}

func (s *signedImage) bundle(statement []byte, who signaturetest.Request) []byte {
	cert, key := s.a.Certificate(who)
	env := signaturetest.SignEnvelope(s.t, key, signature.PayloadTypeInToto, statement)
	entry := s.a.LogEnvelope(env, signaturetest.CertificatePEM(cert), time.Now())
	return signaturetest.BundleEnvelope(s.t, env, signaturetest.BundleOptions{Certificate: cert, Entries: []signaturetest.LogEntry{entry}})
}

// targets are the two places the image lies in.
func (s *signedImage) targets() []string {
	return []string{s.host + "/team/app:1.0", "oci:" + s.layout}
}

const (
	verifyWho    = "https://github.com/acme/app/.github/workflows/release.yml@refs/heads/main"
	verifyIssuer = "https://token.actions.githubusercontent.com"
)

func TestVerify(t *testing.T) {
	s := newSignedImage(t, nil)
	key := signaturetest.NewKey(t)
	pub := s.file("cosign.pub", signaturetest.PublicPEM(key.Public()))
	other := s.file("other.pub", signaturetest.PublicPEM(signaturetest.NewKey(t).Public()))
	root := s.file("trusted_root.json", s.a.TrustedRoot(nil))

	for _, target := range s.targets() {
		if code, out, errs := verifyCommand(t, "--key", pub, target); code != exitFindings || !strings.Contains(out, "fail: not verified") || !strings.Contains(out, "a signature was not found") {
			t.Errorf("unsigned %s: exit %d\n%s%s", target, code, out, errs)
		}
	}
	s.tag(".sig", signaturetest.SimpleLayer(t, signaturetest.NewKey(t), s.digest), signaturetest.SimpleLayer(t, key, s.digest))
	media := signaturetest.MediaBundle
	who := signaturetest.Request{Identity: verifyWho, Issuer: verifyIssuer}
	s.refer(media, signaturetest.Layer{MediaType: media, Content: s.bundle(signaturetest.Statement(s.digest, signature.PredicateCosignSign, "{}"), who)})
	s.refer(media, signaturetest.Layer{MediaType: media, Content: s.bundle(signaturetest.Statement(s.digest, signature.PredicateSLSA1, signaturetest.SLSA1), who)})
	leaf, ca := testhelper.GetRSALeafCertificate(), testhelper.GetRSARootCertificate()
	notary, err := signer.NewGenericSigner(leaf.PrivateKey, []*x509.Certificate{leaf.Cert, ca.Cert})
	if err != nil {
		t.Fatal(err)
	}
	envelope, _, err := notary.Sign(t.Context(), ocispec.Descriptor{MediaType: "application/vnd.oci.image.manifest.v1+json", Digest: digest.Digest(s.digest), Size: int64(len(s.raw))},
		notation.SignerSignOptions{SignatureMediaType: "application/jose+json"})
	if err != nil {
		t.Fatal(err)
	}
	s.refer("application/vnd.cncf.notary.signature", signaturetest.Layer{MediaType: "application/jose+json", Content: envelope})
	notaryRoot := s.file("notary.pem", signaturetest.CertificatePEM(ca.Cert))
	identity := []string{"--trusted-root", root, "--certificate-identity", verifyWho, "--certificate-oidc-issuer", verifyIssuer}

	for name, c := range map[string]struct {
		args []string
		code int
		want []string
	}{
		"by key":                      {[]string{"--key", pub}, exitClean, []string{"pass: verified", "sigstore-key", "there is no transparency log entry"}},
		"by one of two keys":          {[]string{"--key", other, "--key", pub}, exitClean, []string{"pass"}},
		"another key":                 {[]string{"--key", other}, exitFindings, []string{"fail: not verified"}},
		"by identity":                 {identity, exitClean, []string{"pass: verified", verifyWho, "Built by   https://github.com/actions/runner/github-hosted", "gitCommit:c0ffee", "(log)"}},
		"by regexp":                   {[]string{"--trusted-root", root, "--certificate-identity-regexp", `https://github\.com/acme/.*`, "--certificate-oidc-issuer-regexp", ".*githubusercontent.com"}, exitClean, []string{"pass"}},
		"by a part of the identity":   {[]string{"--trusted-root", root, "--certificate-identity-regexp", "github.com/acme", "--certificate-oidc-issuer", verifyIssuer}, exitFindings, []string{"not a demanded identity"}},
		"another issuer":              {[]string{"--trusted-root", root, "--certificate-identity", verifyWho, "--certificate-oidc-issuer", "https://accounts.example"}, exitFindings, nil},
		"provenance":                  {append([]string{"--require", "slsaprovenance1", "--require", "signature"}, identity...), exitClean, []string{"https://slsa.dev/provenance/v1"}},
		"an SBOM nobody attested":     {append([]string{"--require", "spdx"}, identity...), exitFindings, []string{"https://spdx.dev/Document was not found"}},
		"without log":                 {append([]string{"--insecure-ignore-tlog"}, identity...), exitClean, []string{"degraded: verified"}},
		"without log, strictly":       {append([]string{"--insecure-ignore-tlog", "--strict"}, identity...), exitFindings, []string{"degraded: verified"}},
		"notary":                      {[]string{"--notation-cert", notaryRoot}, exitClean, []string{"pass: verified", "notation"}},
		"notary, another certificate": {[]string{"--notation-cert", s.file("fulcio.pem", signaturetest.CertificatePEM(s.a.Root))}, exitFindings, nil},
	} {
		for _, target := range s.targets() {
			t.Run(name+" "+target[:4], func(t *testing.T) {
				code, out, errs := verifyCommand(t, append(c.args, target)...)
				if code != c.code {
					t.Errorf("exit %d, want %d\n%s%s", code, c.code, out, errs)
				}
				for _, w := range c.want {
					if !strings.Contains(out, w) {
						t.Errorf("no %q in\n%s", w, out)
					}
				}
			})
		}
	}

	t.Run("json", func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "out.json")
		code, _, errs := verifyCommand(t, append([]string{"--format", "json", "--output", file, s.targets()[0]}, identity...)...)
		if code != exitClean {
			t.Fatalf("exit %d %s", code, errs)
		}
		raw, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var p bollwerk.Provenance
		dec := json.NewDecoder(bytes.NewReader(raw))
		dec.DisallowUnknownFields()
		if err := dec.Decode(&p); err != nil {
			t.Fatal(err)
		}
		if p.Subject != s.digest || !p.Signed || p.Verdict != bollwerk.Pass || len(p.Signatures) != 4 || len(p.Attestations) != 1 || p.SLSA.SourceRef != "refs/heads/main" {
			t.Errorf("%s", raw)
		}
		for _, k := range []string{`"key_id"`, `"predicate_type"`, `"source_repo"`, `"builder"`, `"verified"`, `"causes": []`, `"log_index"`} {
			if !bytes.Contains(raw, []byte(k)) {
				t.Errorf("no %s", k)
			}
		}
	})
	t.Run("detached bundle", func(t *testing.T) {
		u := newSignedImage(t, nil)
		root := u.file("root.json", u.a.TrustedRoot(nil))
		file := u.file("image.sigstore.json", u.bundle(signaturetest.Statement(u.digest, signature.PredicateCosignSign, "{}"), who))
		for _, target := range u.targets() {
			code, out, errs := verifyCommand(t, "--bundle", file, "--trusted-root", root, "--certificate-identity", verifyWho, "--certificate-oidc-issuer", verifyIssuer, target)
			if code != exitClean {
				t.Errorf("exit %d\n%s%s", code, out, errs)
			}
		}
	})
}

// TestVerifyCannotTell: what could not be found out is exit 3, never 0 and never 1.
func TestVerifyCannotTell(t *testing.T) {
	refuse := func(part string, code int) func(http.Handler) http.Handler {
		return func(h http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.Method == http.MethodGet && strings.Contains(r.URL.Path, part) {
					w.WriteHeader(code)
					return
				}
				h.ServeHTTP(w, r)
			})
		}
	}
	for name, c := range map[string]struct {
		part string
		code int
		says string
	}{
		"referrers refused":  {"/referrers/", http.StatusForbidden, "refuses access"},
		"signatures refused": {".sig", http.StatusUnauthorized, "refuses access"},
		"blobs lost":         {"/blobs/", http.StatusNotFound, "not everything could be looked at"},
		"image refused":      {"/manifests/1.0", http.StatusInternalServerError, "500"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSignedImage(t, refuse(c.part, c.code))
			key := signaturetest.NewKey(t)
			if name == "blobs lost" {
				s.tag(".sig", signaturetest.SimpleLayer(t, key, s.digest))
			}
			code, out, errs := verifyCommand(t, "--key", s.file("k.pub", signaturetest.PublicPEM(key.Public())), s.targets()[0])
			if code != exitFailed || !strings.Contains(out+errs, c.says) {
				t.Errorf("exit %d\n%s%s", code, out, errs)
			}
		})
	}
	t.Run("no such image", func(t *testing.T) {
		s := newSignedImage(t, nil)
		key := s.file("k.pub", signaturetest.PublicPEM(signaturetest.NewKey(t).Public()))
		for _, target := range []string{s.host + "/team/app:none", s.host + "/team/none:1.0", "oci:" + s.layout + ":none", "oci:" + s.dir} {
			if code, out, errs := verifyCommand(t, "--key", key, target); code != exitFailed || errs == "" {
				t.Errorf("%s: exit %d\n%s%s", target, code, out, errs)
			}
		}
	})
	t.Run("timeout", func(t *testing.T) {
		release := make(chan struct{})
		s := newSignedImage(t, func(h http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.Method == http.MethodGet && strings.Contains(r.URL.Path, "/referrers/") {
					select {
					case <-r.Context().Done():
					case <-release:
					}
					return
				}
				h.ServeHTTP(w, r)
			})
		})
		defer close(release)
		code, _, errs := verifyCommand(t, "--timeout", "300ms", "--key", s.file("k.pub", signaturetest.PublicPEM(signaturetest.NewKey(t).Public())), s.targets()[0])
		if code != exitFailed || errs == "" {
			t.Errorf("exit %d %s", code, errs)
		}
	})
}

func TestVerifyUsage(t *testing.T) {
	s := newSignedImage(t, nil)
	key := s.file("k.pub", signaturetest.PublicPEM(signaturetest.NewKey(t).Public()))
	root := s.file("root.json", s.a.TrustedRoot(nil))
	image := s.targets()[0]
	for name, c := range map[string]struct {
		args []string
		says string
	}{
		"no trust":                {[]string{image}, "nothing says whom to trust"},
		"no image":                {[]string{"--key", key}, "one image"},
		"root alone":              {[]string{"--trusted-root", root, image}, "--certificate-identity"},
		"identity without root":   {[]string{"--certificate-identity", "a", "--certificate-oidc-issuer", "b", image}, "trusted_root.json"},
		"identity without issuer": {[]string{"--trusted-root", root, "--certificate-identity", "a", image}, "issuer"},
		"no such key":             {[]string{"--key", filepath.Join(s.dir, "none"), image}, "--key"},
		"a root as key":           {[]string{"--key", root, image}, "PEM"},
		"format":                  {[]string{"--key", key, "--format", "xml", image}, "table or json"},
		"requirement":             {[]string{"--key", key, "--require", "x", image}, "--require"},
		"archive":                 {[]string{"--key", key, "docker-archive:x.tar", image}, "one image"},
		"docker archive":          {[]string{"--key", key, "docker-archive:x.tar"}, "do not travel"},
		"reference":               {[]string{"--key", key, "registry:UPPER/case"}, "image reference"},
		"half a trust policy":     {[]string{"--notation-trust-store", s.dir, image}, "trust policy"},
		"mirror":                  {[]string{"--key", key, "--registry-mirror", "x", image}, "HOST=MIRROR"},
	} {
		t.Run(name, func(t *testing.T) {
			code, out, errs := verifyCommand(t, c.args...)
			if code != exitUsage || !strings.Contains(errs, c.says) || out != "" {
				t.Errorf("exit %d\n%s%s", code, out, errs)
			}
		})
	}
}

// TestVerifyShowsNoControlCharacters: identities and causes are an attacker's text.
func TestVerifyShowsNoControlCharacters(t *testing.T) {
	s := newSignedImage(t, nil)
	key := signaturetest.NewKey(t)
	statement := signaturetest.Statement(s.digest, "https://evil/\\u001b[2J\\u009b31m", "{}")
	statement = bytes.ReplaceAll(statement, []byte(`\\u`), []byte(`\u`))
	env := signaturetest.SignEnvelope(t, key, signature.PayloadTypeInToto, statement)
	s.tag(".att", signaturetest.Layer{MediaType: signaturetest.MediaDSSE, Content: env.JSON(t)})
	code, out, _ := verifyCommand(t, "--key", s.file("k.pub", signaturetest.PublicPEM(key.Public())), s.targets()[0])
	if code != exitFindings || !strings.Contains(out, "https://evil/") || strings.ContainsAny(out, "\x1b\u009b") {
		t.Errorf("exit %d %q", code, out)
	}
}

package system

import (
	"io"
	"log"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/registry"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/test/image"
)

// TestSameFindingsEverywhere scans one image through every way in, and its own SBOM.
func TestSameFindingsEverywhere(t *testing.T) {
	root := bookworm(t)
	need(t, "skopeo")
	_, raw := debianAdvisories(t)
	db := buildDatabase(t, raw)
	tmp := t.TempDir()

	layout := filepath.Join(tmp, "layout")
	app := filepath.Join(tmp, "app")
	if err := os.MkdirAll(filepath.Join(app, "srv/app"), 0o755); err != nil {
		t.Fatal(err)
	}
	lock := `{"name":"app","lockfileVersion":3,"packages":{"":{"name":"app"},"node_modules/lodash":{"version":"4.17.4"}}}`
	if err := os.WriteFile(filepath.Join(app, "srv/app/package-lock.json"), []byte(lock), 0o644); err != nil {
		t.Fatal(err)
	}
	// Docker's own formats know no zstd: for its archive the same layers come as gzip.
	dockerLayout := filepath.Join(tmp, "docker-layout")
	for dir, compression := range map[string]string{layout: "zstd", dockerLayout: "gzip"} {
		if _, err := image.WriteLayout(dir, image.Spec{Tag: "1", Layers: []image.Layer{
			{Dir: root, CreatedBy: "debootstrap", Compression: "gzip"},
			{Dir: app, CreatedBy: "COPY . /", Compression: compression},
		}}); err != nil {
			t.Fatal(err)
		}
	}
	want := scanJSON(t, db, "oci:"+layout)
	if len(found(t, want)) < 50 || len(want.Packages) < 50 {
		t.Fatalf("only %d findings in %d packages", len(found(t, want)), len(want.Packages))
	}

	dockerArchive, ociArchive := filepath.Join(tmp, "docker.tar"), filepath.Join(tmp, "oci.tar")
	command(t.Context(), t, "skopeo", "copy", "--quiet", "oci:"+dockerLayout+":1", "docker-archive:"+dockerArchive+":bollwerk.test/app:1")
	command(t.Context(), t, "skopeo", "copy", "--quiet", "oci:"+layout+":1", "oci-archive:"+ociArchive+":1")

	server := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	defer server.Close()
	ref := strings.TrimPrefix(server.URL, "http://") + "/team/app:1"
	command(t.Context(), t, "skopeo", "copy", "--quiet", "--dest-tls-verify=false", "oci:"+layout+":1", "docker://"+ref)

	merged := filepath.Join(tmp, "merged")
	command(t.Context(), t, "cp", "-a", root, merged)
	command(t.Context(), t, "cp", "-a", filepath.Join(app, "srv"), merged)

	sboms := map[string]string{}
	for format, name := range map[string]string{"cyclonedx": "app.cdx.json", "cyclonedx-xml": "app.cdx.xml", "spdx": "app.spdx.json"} {
		sboms[format] = filepath.Join(tmp, name)
		if o := bollwerkRun(t, nil, "scan", "--quiet", "--db", db, "--fail-on", "none", "--format", format, "--output", sboms[format], "oci:"+layout); o.code != 0 {
			t.Fatalf("%s: exit %d\n%s", format, o.code, o.stderr)
		}
	}
	for _, c := range []struct {
		target string
		extra  []string
	}{
		{"oci:" + layout + ":1", nil},
		{"docker-archive:" + dockerArchive, nil},
		{ociArchive, nil},
		{ref, []string{"--insecure"}},
		{"dir:" + merged, nil},
		{"sbom:" + sboms["cyclonedx"], nil},
		{"sbom:" + sboms["cyclonedx-xml"], nil},
		{sboms["spdx"], nil},
	} {
		got := scanJSON(t, db, c.target, c.extra...)
		if d := difference(vulnerabilities(got), vulnerabilities(want)); d != "" {
			t.Errorf("%s: findings differ:\n%s", c.target, d)
		}
		if d := difference(packages(got), packages(want)); d != "" {
			t.Errorf("%s: packages differ:\n%s", c.target, d)
		}
	}
}

// vulnerabilities lists those of every ecosystem, whatever their verdict.
func vulnerabilities(r *bollwerk.Result) []pair {
	var out []pair
	for _, f := range r.Findings {
		if f.Package != nil {
			out = append(out, pair{string(f.Kind) + " " + f.ID + " " + string(f.Verdict), string(f.Package.PURL), f.Package.Version})
		}
	}
	return sortedPairs(out)
}

func packages(r *bollwerk.Result) []pair {
	var out []pair
	for _, p := range r.Packages {
		out = append(out, pair{string(p.Ecosystem), p.Name, p.Version})
	}
	return sortedPairs(out)
}

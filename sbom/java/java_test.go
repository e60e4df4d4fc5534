package java

import (
	"archive/zip"
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/sbom"
)

type item struct {
	name   string
	data   []byte
	stored bool
}

func jar(t testing.TB, items ...item) []byte {
	t.Helper()
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for _, i := range items {
		m := zip.Deflate
		if i.stored {
			m = zip.Store
		}
		w, err := z.CreateHeader(&zip.FileHeader{Name: i.name, Method: m})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(i.data); err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func text(name, s string) item { return item{name, []byte(s), false} }

func pom(g, a, v string) item {
	return text("META-INF/maven/"+g+"/"+a+"/pom.properties", "#x\ngroupId="+g+"\nartifactId="+a+"\nversion="+v+"\n")
}

func find(t testing.TB, name string, data []byte) ([]string, []string, error) {
	t.Helper()
	in := sbom.NewInput(bollwerk.File{Path: name, Size: int64(len(data))}, io.MultiReader(bytes.NewReader(data)))
	inv, err := Archive{}.Extract(context.Background(), in)
	var out []string
	for _, p := range inv.Packages {
		out = append(out, p.Name+" "+p.Version+" at "+strings.Join(p.Paths, ","))
	}
	return out, in.Problems(), err
}

func TestIdentity(t *testing.T) {
	for _, c := range []struct {
		file  string
		items []item
		want  string
	}{
		{"guava-31.1-jre.jar", []item{pom("com.google.guava", "guava", "31.1-jre"), text("a/B.class", "x")}, "com.google.guava:guava 31.1-jre"},
		{"spring-core-5.3.20.jar", []item{text("META-INF/MANIFEST.MF", "Manifest-Version: 1.0\r\nImplementation-Title: spring-core\r\nImplementation-Version: 5.3.20\r\n")}, "org.springframework:spring-core 5.3.20"},
		{"spring-security-web-5.7.1.jar", nil, "org.springframework.security:spring-security-web 5.7.1"},
		{"log4j-1.2.17.jar", []item{text("META-INF/MANIFEST.MF", "Manifest-Version: 1.0\n")}, "log4j:log4j 1.2.17"},
		{"renamed.jar", []item{text("META-INF/MANIFEST.MF", "Manifest-Version: 1.0\nBundle-SymbolicName: org.apache.commons.co\n mpress;x=y\nBundle-Version: 1.21.0\n")}, "org.apache.commons.compress:renamed 1.21.0"},
		{"jenkins.war", []item{text("META-INF/MANIFEST.MF", "Jenkins-Version: 2.401.1\n"), {"WEB-INF/lib/jenkins-core-2.401.1.jar", jar(t, pom("org.jenkins-ci.main", "jenkins-core", "2.401.1")), false}},
			"org.jenkins-ci.main:jenkins-core 2.401.1|org.jenkins-ci.main:jenkins-war 2.401.1"},
		{"git.hpi", []item{text("META-INF/MANIFEST.MF", "Group-Id: org.jenkins-ci.plugins\nShort-Name: git\nPlugin-Version: 5.2.0 (private)\n")}, "org.jenkins-ci.plugins:git 5.2.0"},
		{"shaded-1.0.jar", []item{pom("org.a", "shaded", "1.0"), pom("org.b", "inside", "2.0")}, "org.a:shaded 1.0|org.b:inside 2.0"},
		{"app.jar", []item{{"BOOT-INF/lib/snakeyaml-1.30.jar", jar(t, pom("org.yaml", "snakeyaml", "1.30")), true}, {"BOOT-INF/lib/x.war", jar(t, item{"WEB-INF/lib/y-1.jar", jar(t, pom("g", "y", "1")), false}), false}},
			"org.yaml:snakeyaml 1.30|g:y 1"},
	} {
		got, problems, err := find(t, "opt/"+c.file, jar(t, c.items...))
		if c.items == nil {
			got, problems, err = find(t, "opt/"+c.file, jar(t, text("x.txt", "x")))
		}
		for i := range got {
			got[i], _, _ = strings.Cut(got[i], " at ")
		}
		if s := strings.Join(got, "|"); s != c.want || err != nil || len(problems) > 0 {
			t.Errorf("%s: %q, want %q (%v, %v)", c.file, s, c.want, err, problems)
		}
	}
}

func TestPathAndLauncher(t *testing.T) {
	inner := jar(t, pom("org.yaml", "snakeyaml", "1.30"))
	data := jar(t, item{"lib/s.jar", inner, false})
	// A shell script in front, as Spring Boot's executable archives have it.
	script := append([]byte("#!/bin/sh\nexec java -jar \"$0\"\nexit 0\n"), data...)
	for _, d := range [][]byte{data, script} {
		got, _, err := find(t, "srv/app.jar", d)
		if err != nil || len(got) != 1 || got[0] != "org.yaml:snakeyaml 1.30 at srv/app.jar!/lib/s.jar" {
			t.Errorf("%v, %v", got, err)
		}
	}
}

// TestBombs: what unpacks without end is given up, with a word, in little memory.
func TestBombs(t *testing.T) {
	deep := jar(t, pom("g", "a", "1"))
	for range 40 {
		deep = jar(t, item{"n.jar", deep, false})
	}
	zeros := make([]byte, maxNested+1)
	wide := jar(t, item{"a.jar", zeros, false}, pom("g", "wide", "1"))
	many := []item{pom("g", "many", "1")}
	for i := range maxNestedIn + 10 {
		many = append(many, item{fmt.Sprintf("%d.jar", i), []byte("x"), true})
	}
	text := jar(t, item{"META-INF/MANIFEST.MF", zeros[:maxText+1], false})
	for name, c := range map[string]struct {
		data []byte
		want string
	}{
		"deep":     {deep, "deeper than"},
		"wide":     {wide, "limit"},
		"many":     {jar(t, many...), "more than"},
		"manifest": {text, "limit"},
		"short":    {deep[:len(deep)-10], "zip"},
		"not zip":  {[]byte(strings.Repeat("PK\x03\x04", 100)), "not a zip"},
	} {
		_, problems, err := find(t, name+".jar", c.data)
		all := fmt.Sprint(err, problems)
		if !strings.Contains(all, c.want) {
			t.Errorf("%s: %.300s; want it to say %q", name, all, c.want)
		}
	}
}

// TestSelf: an entry whose content is the archive itself.
func TestSelf(t *testing.T) {
	data := jar(t, item{"self.jar", make([]byte, 300), true})
	// Point the entry at the start of the file and give it the file's length.
	i := bytes.LastIndex(data, []byte("PK\x01\x02"))
	body := append([]byte(nil), data...)
	binary.LittleEndian.PutUint32(body[i+20:], uint32(len(data)-40))
	binary.LittleEndian.PutUint32(body[i+24:], uint32(len(data)-40))
	if _, problems, err := find(t, "self.jar", body); err == nil && len(problems) == 0 {
		t.Error("an archive that contains itself got no complaint")
	}
}

// TestAgainstStandardLibrary: the directory walk sees what archive/zip sees.
func TestAgainstStandardLibrary(t *testing.T) {
	var items []item
	for i := range 3000 {
		items = append(items, text(fmt.Sprintf("META-INF/f%d.txt", i), strings.Repeat("x", i%97)))
	}
	data := jar(t, items...)
	d, err := openZip(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	if err := d.each(func(e *entry) error {
		b, err := e.read(1 << 20)
		if err != nil || e.name != items[n].name || !bytes.Equal(b, items[n].data) {
			t.Errorf("entry %d: %s, %d bytes, %v", n, e.name, len(b), err)
		}
		n++
		return nil
	}); err != nil || n != len(items) {
		t.Errorf("%d entries, %v", n, err)
	}
}

func TestRuntime(t *testing.T) {
	s := "IMPLEMENTOR=\"Eclipse Adoptium\"\nJAVA_VERSION=\"17.0.9\"\n"
	in := sbom.NewInput(bollwerk.File{Path: "opt/java/openjdk/release", Size: int64(len(s))}, strings.NewReader(s))
	inv, err := Runtime{}.Extract(context.Background(), in)
	if err != nil || len(inv.Packages) != 1 || inv.Packages[0].Name != "java" || inv.Packages[0].Version != "17.0.9" {
		t.Errorf("%+v, %v", inv.Packages, err)
	}
}

func FuzzArchive(f *testing.F) {
	f.Add(jar(f, pom("g", "a", "1"), item{"b.jar", jar(f, pom("g", "b", "2")), true}))
	f.Add(jar(f, text("META-INF/MANIFEST.MF", "Bundle-SymbolicName: a.b\nBundle-Version: 1\n")))
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, name := range []string{"a-1.jar", "x.war"} {
			find(t, name, data)
		}
	})
}

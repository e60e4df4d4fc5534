package java

import (
	"bytes"
	"strings"
)

// coordinates are those of Maven.
type coordinates struct{ group, artifact, version string }

// pomProperties reads what Maven puts into every jar it builds.
func pomProperties(data []byte) coordinates {
	var c coordinates
	for line := range bytes.SplitSeq(data, []byte("\n")) {
		l := strings.TrimSpace(string(line))
		if l == "" || l[0] == '#' {
			continue
		}
		k, v, ok := strings.Cut(l, "=")
		if !ok {
			continue
		}
		v = strings.TrimSpace(v)
		if strings.Contains(v, "${") {
			continue
		}
		switch strings.TrimSpace(k) {
		case "groupId":
			c.group = v
		case "artifactId":
			c.artifact = v
		case "version":
			c.version = v
		}
	}
	return c
}

// manifest is the main section of META-INF/MANIFEST.MF, keys in lower case.
type manifest map[string]string

func (m manifest) len() int { return len(m) }

// parseManifest joins continuation lines, which begin with one space.
// https://docs.oracle.com/en/java/javase/21/docs/specs/jar/jar.html#jar-manifest.
func parseManifest(data []byte) manifest {
	m := manifest{}
	key, val := "", ""
	flush := func() {
		if key != "" && len(m) < 500 {
			m[strings.ToLower(key)] = strings.TrimSpace(val)
		}
		key, val = "", ""
	}
	for line := range bytes.SplitSeq(data, []byte("\n")) {
		l := strings.TrimRight(string(line), "\r")
		if l == "" {
			break // the sections of single files follow
		}
		if l[0] == ' ' {
			if len(val) < 64<<10 {
				val += l[1:]
			}
			continue
		}
		flush()
		key, val, _ = strings.Cut(l, ":")
	}
	flush()
	return m
}

func (m manifest) first(keys ...string) string {
	for _, k := range keys {
		if v := m[k]; v != "" && !strings.Contains(v, "${") {
			return v
		}
	}
	return ""
}

func (m manifest) named() bool {
	return m.first("bundle-symbolicname", "implementation-title", "automatic-module-name", "short-name", "jenkins-version") != ""
}

func (m manifest) licenses() []string {
	l := m.first("bundle-license")
	if l == "" || len(l) > 300 {
		return nil
	}
	var out []string
	for _, p := range strings.Split(l, ",") {
		p, _, _ = strings.Cut(p, ";")
		if p = strings.Trim(strings.TrimSpace(p), `"`); p != "" {
			out = append(out, p)
		}
	}
	return out
}

// coordinates guesses what an archive without pom.properties is, from the manifest
// and the name of the file.
func (m manifest) coordinates(artifact, version string) coordinates {
	if v := m.first("jenkins-version"); v != "" {
		return coordinates{"org.jenkins-ci.main", "jenkins-war", v}
	}
	if n := m.first("short-name"); n != "" && m.first("plugin-version") != "" { // a plug-in of Jenkins
		return coordinates{m.first("group-id"), n, firstWord(m.first("plugin-version"))}
	}
	c := coordinates{artifact: artifact, version: version}
	if c.version == "" {
		c.version = firstWord(m.first("implementation-version", "bundle-version", "specification-version"))
	}
	if g := m.first("implementation-vendor-id"); strings.Contains(g, ".") && !strings.ContainsAny(g, " /") {
		c.group = g
	}
	if g := knownGroup(artifact); g != "" {
		c.group = g
		return c
	}
	if sym, _, _ := strings.Cut(m.first("bundle-symbolicname"), ";"); c.group == "" && strings.Contains(sym, ".") {
		// "org.apache.commons.lang3" of commons-lang3, "com.google.guava" of guava:
		// the bundle plug-in puts group and artifact together and leaves out what
		// repeats.
		tail := sym[strings.LastIndexByte(sym, '.')+1:]
		switch {
		case strings.HasSuffix(sym, "."+artifact):
			c.group = strings.TrimSuffix(sym, "."+artifact)
			if strings.Count(c.group, ".") == 0 { // com.fasterxml… would be cut too far
				c.group = sym
			}
		case tail != "" && strings.HasPrefix(artifact, tail):
			c.group = sym
		default:
			c.group = sym
		}
	}
	if c.group == "" {
		// The custom of Maven 1: group and artifact are the same word (log4j, junit,
		// commons-io).
		c.group = artifact
	}
	return c
}

func firstWord(s string) string {
	w, _, _ := strings.Cut(s, " ")
	return w
}

// groups are those of families whose archives carry no pom.properties, by the
// beginning of the artifact's name; the longest one counts.
var groups = []struct{ prefix, group string }{
	{"spring-boot", "org.springframework.boot"},
	{"spring-security-", "org.springframework.security"},
	{"spring-data-", "org.springframework.data"},
	{"spring-cloud-", "org.springframework.cloud"},
	{"spring-integration-", "org.springframework.integration"},
	{"spring-kafka", "org.springframework.kafka"},
	{"spring-amqp", "org.springframework.amqp"},
	{"spring-rabbit", "org.springframework.amqp"},
	{"spring-batch-", "org.springframework.batch"},
	{"spring-session-", "org.springframework.session"},
	{"spring-ws-", "org.springframework.ws"},
	{"spring-hateoas", "org.springframework.hateoas"},
	{"spring-ldap-", "org.springframework.ldap"},
	{"spring-retry", "org.springframework.retry"},
	{"spring-", "org.springframework"},
	{"tomcat-embed-", "org.apache.tomcat.embed"},
	{"tomcat-", "org.apache.tomcat"},
	{"catalina", "org.apache.tomcat"},
	{"ant-", "org.apache.ant"},
	{"kotlin-stdlib", "org.jetbrains.kotlin"},
	{"kotlin-reflect", "org.jetbrains.kotlin"},
	{"kotlinx-coroutines-", "org.jetbrains.kotlinx"},
	{"groovy", "org.codehaus.groovy"},
	{"hibernate-validator", "org.hibernate.validator"},
	{"hibernate-", "org.hibernate"},
	{"okhttp", "com.squareup.okhttp3"},
	{"okio", "com.squareup.okio"},
	{"retrofit", "com.squareup.retrofit2"},
	{"micrometer-", "io.micrometer"},
	{"reactor-netty", "io.projectreactor.netty"},
	{"reactor-core", "io.projectreactor"},
	{"kafka-clients", "org.apache.kafka"},
	{"kafka_", "org.apache.kafka"},
	{"kafka-", "org.apache.kafka"},
	{"lucene-", "org.apache.lucene"},
	{"elasticsearch", "org.elasticsearch"},
	{"opensearch", "org.opensearch"},
	{"h2", "com.h2database"},
	{"postgresql", "org.postgresql"},
	{"mysql-connector-j", "com.mysql"},
	{"mysql-connector-java", "mysql"},
	{"bcprov-", "org.bouncycastle"},
	{"bcpkix-", "org.bouncycastle"},
	{"bcutil-", "org.bouncycastle"},
	{"log4j-", "org.apache.logging.log4j"},
	{"snakeyaml", "org.yaml"},
	{"jenkins-core", "org.jenkins-ci.main"},
	{"zookeeper", "org.apache.zookeeper"},
	{"grpc-", "io.grpc"},
	{"rxjava", "io.reactivex.rxjava3"},
}

func knownGroup(artifact string) string {
	best := ""
	group := ""
	for _, g := range groups {
		if len(g.prefix) > len(best) && strings.HasPrefix(artifact, g.prefix) &&
			(strings.HasSuffix(g.prefix, "-") || strings.HasSuffix(g.prefix, "_") || artifact == g.prefix || len(artifact) > len(g.prefix) && artifact[len(g.prefix)] == '-') {
			best, group = g.prefix, g.group
		}
	}
	return group
}

// splitStem cuts "commons-lang3-3.12.0" into artifact and version: the version
// begins at the first dash that a digit follows.
func splitStem(stem string) (artifact, version string) {
	for i := 1; i+1 < len(stem); i++ {
		if stem[i] == '-' && stem[i+1] >= '0' && stem[i+1] <= '9' {
			return stem[:i], stem[i+1:]
		}
	}
	return stem, ""
}

package vuln

import (
	"strings"

	"github.com/bollwerk/bollwerk"
)

// alias is a name under which a program is known in an ecosystem with advisories.
type alias struct {
	ecosystem bollwerk.Ecosystem
	name      string
	version   string
}

// equivalents names the packages whose advisories speak of a program that was
// recognised by its file. The Go ones are the modules the program is built from;
// Bitnami's catalogue follows upstream versions of language run-times and servers.
func equivalents(program, version string) []alias {
	var out []alias
	golang := func(names ...string) {
		for _, n := range names {
			out = append(out, alias{bollwerk.EcosystemGo, n, version})
		}
	}
	bitnami := func(name string) { out = append(out, alias{bollwerk.EcosystemBitnami, name, version}) }
	switch strings.ToLower(program) {
	case "containerd", "containerd-shim-runc-v2", "ctr":
		if strings.HasPrefix(strings.TrimPrefix(version, "v"), "2.") {
			golang("github.com/containerd/containerd/v2")
		} else {
			golang("github.com/containerd/containerd")
		}
	case "runc":
		golang("github.com/opencontainers/runc")
	case "crio", "cri-o":
		golang("github.com/cri-o/cri-o")
	case "dockerd", "docker":
		golang("github.com/docker/docker", "github.com/moby/moby")
	case "kubelet", "kubectl", "kubeadm", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kube-proxy", "kubernetes":
		golang("k8s.io/kubernetes")
	case "etcd", "etcdctl":
		golang("go.etcd.io/etcd", "go.etcd.io/etcd/v3", "go.etcd.io/etcd/server/v3")
		bitnami("etcd")
	case "coredns":
		golang("github.com/coredns/coredns")
	case "helm":
		golang("helm.sh/helm/v3")
	case "go":
		out = append(out, alias{bollwerk.EcosystemGo, "toolchain", version})
	case "jenkins", "jenkins.war":
		out = append(out, alias{bollwerk.EcosystemMaven, "org.jenkins-ci.main:jenkins-core", version})
		bitnami("jenkins")
	case "node", "nodejs", "node.js":
		bitnami("node")
	case "python", "cpython":
		bitnami("python")
	case "java", "openjdk":
		bitnami("java")
	case "php", "ruby", "nginx", "redis", "postgresql", "mariadb", "mysql", "perl", "apache", "tomcat", "haproxy", "envoy", "mongodb", "deno", "dotnet", "erlang":
		bitnami(strings.ToLower(program))
	}
	return out
}

// equivalentEcosystems are the ecosystems that equivalents names.
func equivalentEcosystems() []bollwerk.Ecosystem {
	return []bollwerk.Ecosystem{bollwerk.EcosystemGo, bollwerk.EcosystemBitnami, bollwerk.EcosystemMaven}
}

// mergeMatches joins the matches of one program under several names: one for each
// issue, the one that could be evaluated first.
func mergeMatches(in []Match) []Match {
	index := map[string]int{}
	var out []Match
	for _, m := range in {
		i, ok := index[m.ID]
		if !ok {
			index[m.ID] = len(out)
			out = append(out, m)
			continue
		}
		keep, other := out[i], m
		if keep.Verdict != bollwerk.Fail && other.Verdict == bollwerk.Fail {
			keep, other = other, keep
		}
		keep.Aliases = sortedWithout(append(keep.Aliases, other.Aliases...), keep.ID)
		keep.Advisories = uniqueSorted(append(keep.Advisories, other.Advisories...))
		keep.References = uniqueSorted(append(keep.References, other.References...))
		if len(keep.FixedIn) == 0 {
			keep.FixedIn = other.FixedIn
		}
		if keep.Severity == bollwerk.SeverityUnknown {
			keep.Severity, keep.Score, keep.CVSS, keep.SeverityFrom = other.Severity, other.Score, other.CVSS, other.SeverityFrom
		}
		out[i] = keep
	}
	return out
}

// Knows reports whether the database has advisories for p's ecosystem or, for a
// program recognised by its file, for one of the names it is known by elsewhere.
func (db *DB) Knows(p *bollwerk.Package) bool {
	if p.Ecosystem != bollwerk.EcosystemBinary {
		return p.Ecosystem != "" && db.Covers(p.Ecosystem)
	}
	for _, a := range equivalents(p.Name, p.Version) {
		if db.Covers(a.ecosystem) {
			return true
		}
	}
	return false
}

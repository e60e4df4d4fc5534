package signature

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/bollwerk/bollwerk"
)

// SLSA reads the facts of a provenance predicate: slsa.dev/provenance v0.2 and v1.
// It returns nil and no error for any other predicate type. The build types of
// GitHub, the SLSA GitHub generator, BuildKit and Tekton are known, which put the
// source in different places; for others the facts that have no agreed place stay empty.
func (s *Statement) SLSA() (*bollwerk.SLSAFacts, error) {
	switch {
	case s.PredicateType == PredicateSLSA02 || s.PredicateType == "https://slsa.dev/provenance/v0.1":
		return s.slsa02()
	case s.PredicateType == PredicateSLSA1 || strings.HasPrefix(s.PredicateType, PredicateSLSA1+"."):
		return s.slsa1()
	}
	return nil, nil
}

type resource struct {
	URI    string            `json:"uri"`
	Digest map[string]string `json:"digest"`
	Path   string            `json:"path"`
}

// slsa02 follows https://slsa.dev/spec/v0.2/provenance.
func (s *Statement) slsa02() (*bollwerk.SLSAFacts, error) {
	var p struct {
		Builder struct {
			ID string `json:"id"`
		} `json:"builder"`
		BuildType  string `json:"buildType"`
		Invocation struct {
			ConfigSource struct {
				resource
				EntryPoint string `json:"entryPoint"`
			} `json:"configSource"`
		} `json:"invocation"`
		Metadata struct {
			BuildInvocationID string `json:"buildInvocationId"`
			BuildStartedOn    string `json:"buildStartedOn"`
			BuildFinishedOn   string `json:"buildFinishedOn"`
		} `json:"metadata"`
		Materials []resource `json:"materials"`
	}
	if err := json.Unmarshal(s.Predicate, &p); err != nil {
		return nil, fmt.Errorf("provenance: %w", err)
	}
	f := &bollwerk.SLSAFacts{Version: "0.2", Builder: p.Builder.ID, BuildType: p.BuildType, InvocationID: p.Metadata.BuildInvocationID}
	f.SourceRepo, f.SourceRef = splitRef(p.Invocation.ConfigSource.URI)
	f.SourceDigest = firstDigest(p.Invocation.ConfigSource.Digest)
	f.Workflow = p.Invocation.ConfigSource.EntryPoint
	f.StartedOn, f.FinishedOn = parseTime(p.Metadata.BuildStartedOn), parseTime(p.Metadata.BuildFinishedOn)
	f.Materials = materials(p.Materials)
	return f, nil
}

// slsa1 follows https://slsa.dev/spec/v1.0/provenance.
func (s *Statement) slsa1() (*bollwerk.SLSAFacts, error) {
	var p struct {
		BuildDefinition struct {
			BuildType            string                     `json:"buildType"`
			ExternalParameters   map[string]json.RawMessage `json:"externalParameters"`
			ResolvedDependencies []resource                 `json:"resolvedDependencies"`
		} `json:"buildDefinition"`
		RunDetails struct {
			Builder struct {
				ID string `json:"id"`
			} `json:"builder"`
			Metadata struct {
				InvocationID string `json:"invocationId"`
				StartedOn    string `json:"startedOn"`
				FinishedOn   string `json:"finishedOn"`
			} `json:"metadata"`
		} `json:"runDetails"`
	}
	if err := json.Unmarshal(s.Predicate, &p); err != nil {
		return nil, fmt.Errorf("provenance: %w", err)
	}
	m := p.RunDetails.Metadata
	f := &bollwerk.SLSAFacts{
		Version: "1", Builder: p.RunDetails.Builder.ID, BuildType: p.BuildDefinition.BuildType, InvocationID: m.InvocationID,
		StartedOn: parseTime(m.StartedOn), FinishedOn: parseTime(m.FinishedOn),
		Materials: materials(p.BuildDefinition.ResolvedDependencies),
	}
	source1(f, p.BuildDefinition.ExternalParameters)
	if f.SourceRepo != "" && f.SourceDigest == "" {
		for _, d := range p.BuildDefinition.ResolvedDependencies {
			if u, ref := splitRef(d.URI); sameRepository(u, f.SourceRepo) && (f.SourceRef == "" || ref == "" || ref == f.SourceRef) {
				f.SourceDigest = firstDigest(d.Digest)
				break
			}
		}
	}
	return f, nil
}

// source1 finds the source among the external parameters, whose shape is the
// build type's own business.
func source1(f *bollwerk.SLSAFacts, params map[string]json.RawMessage) {
	// GitHub Actions: https://actions.github.io/buildtypes/workflow/v1
	var workflow struct {
		Ref        string `json:"ref"`
		Repository string `json:"repository"`
		Path       string `json:"path"`
	}
	if raw, ok := params["workflow"]; ok && json.Unmarshal(raw, &workflow) == nil && workflow.Repository != "" {
		f.SourceRepo, f.SourceRef, f.Workflow = workflow.Repository, workflow.Ref, workflow.Path
		return
	}
	// The SLSA GitHub generator and the container-based build type: "source";
	// BuildKit: "configSource"; Tekton Chains: "source" or "repository".
	for _, key := range []string{"source", "configSource", "repository"} {
		raw, ok := params[key]
		if !ok {
			continue
		}
		var r resource
		var text string
		switch {
		case json.Unmarshal(raw, &text) == nil:
			r.URI = text
		case json.Unmarshal(raw, &r) != nil:
			continue
		}
		if r.URI == "" {
			continue
		}
		f.SourceRepo, f.SourceRef = splitRef(r.URI)
		f.SourceDigest = firstDigest(r.Digest)
		f.Workflow = r.Path
		var ref string
		if raw, ok := params["ref"]; ok && f.SourceRef == "" && json.Unmarshal(raw, &ref) == nil {
			f.SourceRef = ref
		}
		return
	}
}

// splitRef cuts the ref off a source: SPDX download locations write it behind an
// @ ("git+https://host/org/repo@refs/heads/main"), BuildKit behind a #.
func splitRef(uri string) (source, ref string) {
	if i := strings.LastIndexByte(uri, '@'); i > strings.LastIndexByte(uri, '/') || i >= 0 && strings.HasPrefix(uri[i:], "@refs/") {
		return uri[:i], uri[i+1:]
	}
	if i := strings.Index(uri, "@refs/"); i >= 0 {
		return uri[:i], uri[i+1:]
	}
	if source, ref, ok := strings.Cut(uri, "#"); ok {
		return source, ref
	}
	return uri, ""
}

func sameRepository(a, b string) bool {
	trim := func(s string) string {
		return strings.TrimSuffix(strings.TrimSuffix(strings.TrimPrefix(s, "git+"), "/"), ".git")
	}
	return trim(a) == trim(b)
}

// firstDigest picks one digest in a fixed order, so that facts do not change
// from run to run.
func firstDigest(m map[string]string) string {
	for _, k := range []string{"gitCommit", "sha256", "sha1", "sha512"} {
		if v := m[k]; v != "" {
			return k + ":" + v
		}
	}
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	if len(keys) > 0 {
		return keys[0] + ":" + m[keys[0]]
	}
	return ""
}

func materials(list []resource) []bollwerk.Material {
	out := make([]bollwerk.Material, 0, min(len(list), maxMaterials))
	for _, r := range list[:min(len(list), maxMaterials)] {
		out = append(out, bollwerk.Material{URI: r.URI, Digest: firstDigest(r.Digest)})
	}
	return out
}

// parseTime reads an RFC 3339 time; nil when there is none or it makes no sense.
func parseTime(s string) *time.Time {
	t, err := time.Parse(time.RFC3339Nano, s)
	if err != nil {
		return nil
	}
	t = t.UTC()
	return &t
}

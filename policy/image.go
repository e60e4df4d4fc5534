package policy

import (
	"strings"

	"github.com/bollwerk/bollwerk"
)

// Subjects returns the kinds this package declares: image, distribution, package,
// file, secret, finding, provenance, event. A caller adds its own to the list.
func Subjects() []*Subject {
	layer := &Object{Name: "Layer", Doc: "the layer something came with", Fields: []Field{
		{Name: "index", Type: Int(), Doc: "0 is the bottom"},
		{Name: "digest", Type: Text(), Doc: "digest of the compressed blob"},
		{Name: "diff_id", Type: Text(), Doc: "digest of the tar stream"},
		{Name: "created_by", Type: Text(), Doc: "the history line that made it"},
		{Name: "from_base", Type: Bool(), Doc: "it belongs to the recognised base image"},
	}}
	distribution := &Object{Name: "Distribution", Doc: "what os-release says", Fields: []Field{
		{Name: "id", Type: Text(), Doc: "debian, alpine, rhel"},
		{Name: "id_like", Type: List(Text()), Doc: "relatives"},
		{Name: "version_id", Type: Text(), Doc: "12, 3.19.1", Absent: "os-release names no version"},
		{Name: "codename", Type: Text(), Doc: "bookworm"},
		{Name: "pretty_name", Type: Text(), Doc: "the full name"},
		{Name: "variant", Type: Text(), Doc: "the variant"},
	}}
	file := &Object{Name: "File", Doc: "something that is true of one file", Fields: []Field{
		{Name: "kind", Type: Text(), Doc: "setuid, setgid, capability, shell, package-manager, debug-tool, world-writable"},
		{Name: "path", Type: Text(), Doc: "usr/bin/su"},
		{Name: "name", Type: Text(), Doc: "the last part of the path"},
		{Name: "detail", Type: Text(), Doc: "mode, tool"},
		{Name: "layer", Type: Of(layer), Doc: "the layer it came with", Absent: "the artifact has no layers"},
	}}
	secret := &Object{Name: "Secret", Doc: "a credential that was found; never its text", Fields: []Field{
		{Name: "detector", Type: Text(), Doc: "gcp-api-key"},
		{Name: "title", Type: Text(), Doc: "Google API key"},
		{Name: "path", Type: Text(), Doc: "the file; \"\" when it is in the configuration"},
		{Name: "env", Type: Text(), Doc: "the environment variable; \"\" when it is in a file"},
		{Name: "line", Type: Int(), Doc: "line, 0 when not known"},
		{Name: "severity", Type: Text(), Doc: "low, medium, high, critical"},
		{Name: "layer", Type: Of(layer), Doc: "the layer it came with", Absent: "the artifact has no layers"},
	}}
	pkg := &Object{Name: "Package", Doc: "an installed or declared package", Fields: []Field{
		{Name: "purl", Type: Text(), Doc: "package URL"},
		{Name: "name", Type: Text(), Doc: "name as the ecosystem spells it"},
		{Name: "version", Type: Text(), Doc: "version"},
		{Name: "ecosystem", Type: Text(), Doc: "Debian:12, npm"},
		{Name: "source", Type: Text(), Doc: "source package, \"\" when there is none"},
		{Name: "arch", Type: Text(), Doc: "architecture"},
		{Name: "licenses", Type: List(Text()), Doc: "SPDX expressions or words found"},
		{Name: "paths", Type: List(Text()), Doc: "where it was found"},
		{Name: "direct", Type: Bool(), Doc: "the manifest names it itself", Absent: "the lock file does not say which packages are direct"},
		{Name: "dev", Type: Bool(), Doc: "only for development"},
		{Name: "layer", Type: Of(layer), Doc: "the layer it came with", Absent: "the artifact has no layers"},
	}}
	return []*Subject{
		imageSubject(layer, distribution, file, secret, pkg),
		{Kind: "distribution", Doc: "the Linux distribution found in an artifact of any kind", Type: distribution, Absent: "no distribution was recognised"},
		{Kind: "package", Doc: "one package", Type: pkg},
		{Kind: "file", Doc: "one fact about a file", Type: file},
		{Kind: "secret", Doc: "one credential that was found", Type: secret},
		findingSubject(),
		provenanceSubject(),
		eventSubject(),
	}
}

func imageSubject(layer, distribution, file, secret, pkg *Object) *Subject {
	history := &Object{Name: "History", Doc: "one line of the image history", Fields: []Field{
		{Name: "created_by", Type: Text(), Doc: "the instruction"},
		{Name: "comment", Type: Text(), Doc: "comment"},
		{Name: "created", Type: Time(), Doc: "when", Absent: "the history has no dates"},
		{Name: "empty_layer", Type: Bool(), Doc: "it made no layer"},
		{Name: "from_base", Type: Bool(), Doc: "it belongs to the recognised base image"},
	}}
	config := &Object{Name: "Config", Doc: "the image configuration", Fields: []Field{
		{Name: "user", Type: Text(), Doc: "USER as written; \"\" when there is none"},
		{Name: "env", Type: Map(Text()), Doc: "environment by name"},
		{Name: "entrypoint", Type: List(Text()), Doc: "ENTRYPOINT"},
		{Name: "cmd", Type: List(Text()), Doc: "CMD"},
		{Name: "labels", Type: Map(Text()), Doc: "labels by name"},
		{Name: "exposed_ports", Type: List(Text()), Doc: "22/tcp"},
		{Name: "volumes", Type: List(Text()), Doc: "VOLUME"},
		{Name: "working_dir", Type: Text(), Doc: "WORKDIR"},
		{Name: "stop_signal", Type: Text(), Doc: "STOPSIGNAL"},
		{Name: "healthcheck", Type: List(Text()), Doc: "HEALTHCHECK; empty: none is set; [\"NONE\"]: switched off"},
		{Name: "history", Type: List(Of(history)), Doc: "history, oldest first"},
	}}
	base := &Object{Name: "Base", Doc: "the recognised base image", Fields: []Field{
		{Name: "name", Type: Text(), Doc: "as registered: debian:12-slim"},
		{Name: "digest", Type: Text(), Doc: "manifest digest"},
	}}
	image := &Object{Name: "Image", Doc: "a container image", Fields: []Field{
		{Name: "ref", Type: Text(), Doc: "the target as given"},
		{Name: "name", Type: Text(), Doc: "short name: repository:tag"},
		{Name: "tag", Type: Text(), Doc: "the tag of the name", Absent: "the image was not named by a tag"},
		{Name: "pinned", Type: Bool(), Doc: "the target was named by digest"},
		{Name: "digest", Type: Text(), Doc: "manifest digest", Absent: "the source has no manifest"},
		{Name: "platform", Type: Text(), Doc: "linux/amd64"},
		{Name: "created", Type: Time(), Doc: "when it was built", Absent: "the configuration has no creation date"},
		{Name: "layers", Type: List(Of(layer)), Doc: "layers, bottom first"},
		{Name: "config", Type: Of(config), Doc: "configuration", Absent: "the image has no readable configuration"},
		{Name: "base", Type: Of(base), Doc: "recognised base image; absent when none is"},
		{Name: "os", Type: Of(distribution), Doc: "distribution; absent when none was found", Absent: "no os-release was found"},
		{Name: "files", Type: List(Of(file)), Doc: "facts about files", Areas: []string{"files", "layers"}},
		{Name: "packages", Type: List(Of(pkg)), Doc: "packages", Areas: []string{"packages", "files", "layers"}},
		{Name: "secrets", Type: List(Of(secret)), Doc: "credentials found", Areas: []string{"secrets", "files", "layers"}, Absent: "secrets were not looked for"},
	}}
	return &Subject{Kind: "image", Doc: "a container image: configuration, layers, base, distribution, facts about files, packages, secrets",
		Type: image, Absent: "the target is not an image"}
}

// ImageSubject makes the subject "image" of a scan's result: what the scan says of
// configuration, layers, packages and facts, with its coverage. Secrets are not
// part of a result and are given separately; nil means that none were looked for,
// an empty list that none were found. For a target that is no image the value is
// nil, and policies are not evaluated; callers who want to be silent then do not ask.
func ImageSubject(r *bollwerk.Result, secrets []bollwerk.Secret) Input {
	a := &r.Target
	if a.Kind != bollwerk.KindImage {
		return Input{conformed: true}
	}
	v := map[string]any{
		"ref": a.Ref, "name": a.Name, "platform": a.Platform,
		"pinned":   strings.Contains(a.Ref, "@sha"),
		"layers":   layerValues(a.Layers),
		"files":    fileValues(r.Facts),
		"packages": packageValues(r.Packages),
	}
	if tag := tagOf(a.Name); tag != "" {
		v["tag"] = tag
	}
	if a.Digest != "" {
		v["digest"] = string(a.Digest)
	}
	if a.Created != nil {
		v["created"] = a.Created.UTC()
	}
	if a.BaseImage != nil {
		v["base"] = map[string]any{"name": a.BaseImage.Name, "digest": string(a.BaseImage.Digest)}
	}
	if a.OS != nil {
		v["os"] = distributionValue(a.OS)
	}
	if a.Config != nil {
		v["config"] = configValue(a.Config, a.Layers)
	}
	if secrets != nil {
		list := make([]any, 0, len(secrets))
		for i := range secrets {
			list = append(list, secretValue(&secrets[i]))
		}
		v["secrets"] = list
	}
	return Input{Value: v, Coverage: r.Coverage, conformed: true}
}

// DistributionSubject makes the subject "distribution" of an artifact of any kind;
// its value is nil when none was recognised.
func DistributionSubject(r *bollwerk.Result) Input {
	if r.Target.OS == nil {
		return Input{conformed: true}
	}
	return Input{Value: distributionValue(r.Target.OS), Coverage: r.Coverage, conformed: true}
}

// tagOf returns the tag of repository:tag, and "" when there is none. A port
// before a slash is no tag.
func tagOf(name string) string {
	name, _, _ = strings.Cut(name, "@")
	last := name[strings.LastIndex(name, "/")+1:]
	_, tag, _ := strings.Cut(last, ":")
	return tag
}

func layerValues(ls []bollwerk.Layer) []any {
	out := make([]any, 0, len(ls))
	for _, l := range ls {
		out = append(out, map[string]any{"index": int64(l.Index), "digest": string(l.Digest), "diff_id": string(l.DiffID),
			"created_by": l.CreatedBy, "from_base": l.FromBase})
	}
	return out
}

func layerValue(m map[string]any, l *bollwerk.LayerRef) {
	if l != nil {
		m["layer"] = map[string]any{"index": int64(l.Index), "digest": string(l.Digest), "diff_id": string(l.DiffID),
			"created_by": l.CreatedBy, "from_base": l.FromBase}
	}
}

func distributionValue(d *bollwerk.Distribution) map[string]any {
	v := map[string]any{"id": d.ID, "id_like": textValues(d.IDLike), "codename": d.Codename, "pretty_name": d.PrettyName, "variant": d.Variant}
	if d.VersionID != "" {
		v["version_id"] = d.VersionID
	}
	return v
}

func fileValues(fs []bollwerk.FileFact) []any {
	out := make([]any, 0, len(fs))
	for _, f := range fs {
		m := map[string]any{"kind": string(f.Kind), "path": f.Path, "name": f.Path[strings.LastIndex(f.Path, "/")+1:], "detail": f.Detail}
		layerValue(m, f.Layer)
		out = append(out, m)
	}
	return out
}

func packageValues(ps []bollwerk.Package) []any {
	out := make([]any, 0, len(ps))
	for i := range ps {
		out = append(out, packageValue(&ps[i]))
	}
	return out
}

func packageValue(p *bollwerk.Package) map[string]any {
	m := map[string]any{"purl": string(p.PURL), "name": p.Name, "version": p.Version, "ecosystem": string(p.Ecosystem), "source": "",
		"arch": p.Arch, "licenses": textValues(p.Licenses), "paths": textValues(p.Paths), "dev": p.Dev}
	if p.Source != nil {
		m["source"] = p.Source.Name
	}
	if p.Direct != nil {
		m["direct"] = *p.Direct
	}
	layerValue(m, p.Layer)
	return m
}

func secretValue(s *bollwerk.Secret) map[string]any {
	m := map[string]any{"detector": s.Detector, "title": s.Title, "path": s.Path, "env": s.Env, "line": int64(s.Line), "severity": s.Severity.String()}
	layerValue(m, s.Layer)
	return m
}

func configValue(c *bollwerk.ImageConfig, layers []bollwerk.Layer) map[string]any {
	env := make(map[string]any, len(c.Env))
	for _, kv := range c.Env {
		k, v, _ := strings.Cut(kv, "=")
		env[k] = v
	}
	labels := make(map[string]any, len(c.Labels))
	for k, v := range c.Labels {
		labels[k] = v
	}
	base := baseLines(c.History, layers)
	history := make([]any, 0, len(c.History))
	for i, h := range c.History {
		m := map[string]any{"created_by": h.CreatedBy, "comment": h.Comment, "empty_layer": h.EmptyLayer, "from_base": i < base}
		if h.Created != nil {
			m["created"] = h.Created.UTC()
		}
		history = append(history, m)
	}
	return map[string]any{
		"user": c.User, "env": env, "entrypoint": textValues(c.Entrypoint), "cmd": textValues(c.Cmd), "labels": labels,
		"exposed_ports": textValues(c.ExposedPorts), "volumes": textValues(c.Volumes), "working_dir": c.WorkingDir,
		"stop_signal": c.StopSignal, "healthcheck": textValues(c.Healthcheck), "history": history,
	}
}

// baseLines counts the history lines that belong to the base image: those up to
// and including the line of its topmost layer. Lines without a layer that follow
// it (a CMD of the base) cannot be told from the image's own and count as its own.
func baseLines(history []bollwerk.HistoryLine, layers []bollwerk.Layer) int {
	n := 0
	for _, l := range layers {
		if l.FromBase {
			n++
		}
	}
	for i, h := range history {
		if n == 0 {
			return i
		}
		if !h.EmptyLayer {
			n--
		}
	}
	if n > 0 {
		return 0 // the history does not describe the layers
	}
	return len(history)
}

func textValues(ss []string) []any {
	out := make([]any, 0, len(ss))
	for _, s := range ss {
		out = append(out, s)
	}
	return out
}

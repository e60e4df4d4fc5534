package policy

import (
	"strings"

	"github.com/bollwerk/bollwerk"
)

func findingSubject() *Subject {
	finding := &Object{Name: "Finding", Doc: "something wrong with an artifact", Fields: []Field{
		{Name: "kind", Type: Text(), Doc: "vulnerability, malware, secret, standard, notice"},
		{Name: "id", Type: Text(), Doc: "CVE-2021-44228"},
		{Name: "aliases", Type: List(Text()), Doc: "every other name"},
		{Name: "title", Type: Text(), Doc: "title"},
		{Name: "severity", Type: Text(), Doc: "unknown, none, low, medium, high, critical"},
		{Name: "score", Type: Real(), Doc: "CVSS base score", Absent: "the advisory has no CVSS score"},
		{Name: "kev", Type: Bool(), Doc: "known to be exploited (CISA)"},
		{Name: "epss", Type: Real(), Doc: "probability of exploitation within 30 days, 0 to 1", Absent: "FIRST publishes no EPSS score for it"},
		{Name: "reachable", Type: Bool(), Doc: "the code is loaded", Absent: "reachability was not determined"},
		{Name: "package", Type: Text(), Doc: "name of the package, \"\" when there is none"},
		{Name: "purl", Type: Text(), Doc: "package URL, \"\" when there is none"},
		{Name: "version", Type: Text(), Doc: "version of the package"},
		{Name: "ecosystem", Type: Text(), Doc: "Debian:12, npm"},
		{Name: "fixed_in", Type: List(Text()), Doc: "versions with the fix, nearest first"},
		{Name: "path", Type: Text(), Doc: "file, for kinds without a package"},
		{Name: "verdict", Type: Text(), Doc: "fail, not_evaluated, degraded"},
		{Name: "priority", Type: Text(), Doc: "now, soon, later, watch"},
		{Name: "suppressed", Type: Bool(), Doc: "an exception or VEX statement covers it"},
		{Name: "new", Type: Bool(), Doc: "not in the baseline"},
	}}
	return &Subject{Kind: "finding", Doc: "one finding of a scan", Type: finding}
}

func provenanceSubject() *Subject {
	signed := func(more ...Field) []Field {
		return append([]Field{
			{Name: "type", Type: Text(), Doc: "sigstore-key, sigstore-keyless, notation; \"\" when it is too broken to tell"},
			{Name: "format", Type: Text(), Doc: "cosign, sigstore-bundle, jws, cose"},
			{Name: "source", Type: Text(), Doc: "where it was found"},
			{Name: "key_id", Type: Text(), Doc: "which key; \"\" when it says none"},
			{Name: "identity", Type: Text(), Doc: "who signed: the certificate's subject; \"\" when it says none"},
			{Name: "issuer", Type: Text(), Doc: "who vouched for the identity; \"\" when it says none"},
			{Name: "authentic", Type: Bool(), Doc: "it holds for this image under the trust that was given, whoever made it"},
			{Name: "verified", Type: Bool(), Doc: "it is authentic and made by a key or identity that was demanded"},
			{Name: "time", Type: Time(), Doc: "when it was signed", Absent: "nobody witnessed the time of the signature"},
			{Name: "time_source", Type: Text(), Doc: "log, tsa, signer; \"\" when there is no time"},
			{Name: "log_index", Type: Int(), Doc: "index in the transparency log", Absent: "no log entry was verified"},
			{Name: "verdict", Type: Text(), Doc: "pass, fail, not_evaluated, degraded"},
			{Name: "cause", Type: Text(), Doc: "why not pass; \"\" for pass"},
			{Name: "annotations", Type: Map(Text()), Doc: "what the signer added"},
		}, more...)
	}
	material := &Object{Name: "Material", Doc: "an input of a build", Fields: []Field{
		{Name: "uri", Type: Text(), Doc: "where it comes from"},
		{Name: "digest", Type: Text(), Doc: "its hash; \"\" when there is none"},
	}}
	slsa := &Object{Name: "SLSA", Doc: "facts of a verified SLSA provenance", Fields: []Field{
		{Name: "version", Type: Text(), Doc: "0.2 or 1"},
		{Name: "builder", Type: Text(), Doc: "builder id"},
		{Name: "build_type", Type: Text(), Doc: "build type"},
		{Name: "source_repo", Type: Text(), Doc: "git+https://…, without the ref"},
		{Name: "source_digest", Type: Text(), Doc: "commit"},
		{Name: "source_ref", Type: Text(), Doc: "refs/heads/main"},
		{Name: "workflow", Type: Text(), Doc: "path of the build definition"},
		{Name: "invocation_id", Type: Text(), Doc: "which run"},
		{Name: "started_on", Type: Time(), Doc: "when the build began", Absent: "the provenance does not say"},
		{Name: "finished_on", Type: Time(), Doc: "when it ended", Absent: "the provenance does not say"},
		{Name: "materials", Type: List(Of(material)), Doc: "inputs of the build"},
	}}
	signature := &Object{Name: "Signature", Doc: "one signature found with the image", Fields: signed()}
	attestation := &Object{Name: "Attestation", Doc: "one signed statement about the image", Fields: signed(
		Field{Name: "predicate_type", Type: Text(), Doc: "https://slsa.dev/provenance/v1"},
		Field{Name: "slsa", Type: Of(slsa), Doc: "for provenance", Absent: "the attestation is no SLSA provenance"},
		Field{Name: "size", Type: Int(), Doc: "bytes of the statement"},
	)}
	areas := []string{"provenance"}
	return &Subject{Kind: "provenance", Doc: "signatures, attestations and build provenance of an image",
		Absent: "signatures were not looked at: run `bollwerk verify --format json` and give its output to the scan with --provenance",
		Type: &Object{Name: "Provenance", Doc: "where an image comes from", Fields: []Field{
			{Name: "subject", Type: Text(), Doc: "the digest that was verified"},
			{Name: "reference", Type: Text(), Doc: "the image as it was named"},
			{Name: "verdict", Type: Text(), Doc: "pass, fail, degraded"},
			{Name: "causes", Type: List(Text()), Doc: "why not pass"},
			{Name: "signed", Type: Bool(), Doc: "at least one signature is verified", Areas: areas},
			{Name: "signatures", Type: List(Of(signature)), Doc: "every signature found", Areas: areas},
			{Name: "attestations", Type: List(Of(attestation)), Doc: "every attestation found", Areas: areas},
			{Name: "slsa", Type: Of(slsa), Doc: "build provenance; absent when there is none", Areas: areas, Absent: "no verified SLSA provenance was found"},
		}}}
}

// ProvenanceSubject makes the subject "provenance". nil means that nobody looked:
// its policies are then not evaluated, and say how to look. A provenance that could
// not be found out has no value either; a degraded one bounds what passes.
func ProvenanceSubject(p *bollwerk.Provenance) Input {
	if p == nil {
		return Input{conformed: true}
	}
	if p.Verdict == bollwerk.NotEvaluated {
		return Input{Cause: strings.Join(p.Causes, "; "), conformed: true}
	}
	v := map[string]any{"subject": string(p.Subject), "reference": p.Reference, "verdict": string(p.Verdict),
		"causes": textValues(p.Causes), "signed": p.Signed}
	signatures := make([]any, 0, len(p.Signatures))
	for i := range p.Signatures {
		signatures = append(signatures, signatureValue(&p.Signatures[i]))
	}
	attestations := make([]any, 0, len(p.Attestations))
	for i := range p.Attestations {
		a := &p.Attestations[i]
		m := signatureValue(&a.SignatureFact)
		m["predicate_type"], m["size"] = a.PredicateType, int64(a.Size)
		if a.SLSA != nil {
			m["slsa"] = slsaValue(a.SLSA)
		}
		attestations = append(attestations, m)
	}
	v["signatures"], v["attestations"] = signatures, attestations
	if p.SLSA != nil {
		v["slsa"] = slsaValue(p.SLSA)
	}
	in := Input{Value: v, conformed: true}
	if p.Verdict == bollwerk.Degraded {
		in.Coverage = []bollwerk.Coverage{{Area: "provenance", Verdict: p.Verdict, Cause: strings.Join(p.Causes, "; ")}}
	}
	return in
}

func signatureValue(s *bollwerk.SignatureFact) map[string]any {
	annotations := make(map[string]any, len(s.Annotations))
	for k, a := range s.Annotations {
		annotations[k] = a
	}
	m := map[string]any{"type": s.Type, "format": s.Format, "source": s.Source, "key_id": s.KeyID, "identity": s.Identity, "issuer": s.Issuer,
		"authentic": s.Authentic, "verified": s.Verified, "time_source": s.TimeSource, "verdict": string(s.Verdict), "cause": s.Cause, "annotations": annotations}
	if s.Time != nil {
		m["time"] = s.Time.UTC()
	}
	if s.LogIndex != nil {
		m["log_index"] = *s.LogIndex
	}
	return m
}

func slsaValue(f *bollwerk.SLSAFacts) map[string]any {
	materials := make([]any, 0, len(f.Materials))
	for _, x := range f.Materials {
		materials = append(materials, map[string]any{"uri": x.URI, "digest": x.Digest})
	}
	m := map[string]any{"version": f.Version, "builder": f.Builder, "build_type": f.BuildType, "source_repo": f.SourceRepo,
		"source_digest": f.SourceDigest, "source_ref": f.SourceRef, "workflow": f.Workflow, "invocation_id": f.InvocationID, "materials": materials}
	if f.StartedOn != nil {
		m["started_on"] = f.StartedOn.UTC()
	}
	if f.FinishedOn != nil {
		m["finished_on"] = f.FinishedOn.UTC()
	}
	return m
}

// FindingSubject makes the subject "finding".
func FindingSubject(f *bollwerk.Finding) Input {
	m := map[string]any{
		"kind": string(f.Kind), "id": f.ID, "aliases": textValues(f.Aliases), "title": f.Title, "severity": f.Severity.String(),
		"kev": f.KEV != nil, "package": "", "purl": "", "version": "", "ecosystem": "", "fixed_in": textValues(f.FixedIn),
		"path": f.Path, "verdict": string(f.Verdict), "priority": string(f.Priority), "suppressed": f.Suppressed != nil, "new": f.New,
	}
	if f.Score > 0 {
		m["score"] = f.Score
	}
	if f.EPSS != nil {
		m["epss"] = f.EPSS.Score
	}
	if f.Reachable != nil {
		m["reachable"] = *f.Reachable
	}
	if p := f.Package; p != nil {
		m["package"], m["purl"], m["version"], m["ecosystem"] = p.Name, string(p.PURL), p.Version, string(p.Ecosystem)
	}
	key := string(f.Fingerprint)
	if key == "" { // not named yet
		key = strings.Join([]string{string(f.Kind), f.ID, m["purl"].(string), f.Path}, "\x00")
	}
	return Input{Value: m, Key: key, Package: f.Package, Path: f.Path, Layer: f.Layer, conformed: true}
}

// PackageSubject makes the subject "package".
func PackageSubject(p *bollwerk.Package) Input {
	return Input{Value: packageValue(p), Key: string(p.PURL), Layer: p.Layer, conformed: true,
		Package: &bollwerk.FindingPackage{PURL: p.PURL, Name: p.Name, Version: p.Version, Ecosystem: p.Ecosystem, Source: p.Source, Paths: p.Paths}}
}

// FileSubject makes the subject "file".
func FileSubject(f *bollwerk.FileFact) Input {
	return Input{Value: fileValues([]bollwerk.FileFact{*f})[0], Key: string(f.Kind) + "\x00" + f.Path, Path: f.Path, Layer: f.Layer, conformed: true}
}

// SecretSubject makes the subject "secret".
func SecretSubject(s *bollwerk.Secret) Input {
	return Input{Value: secretValue(s), Key: s.Detector + "\x00" + s.Path + "\x00" + s.Env + "\x00" + s.Hash, Path: s.Path, Layer: s.Layer, conformed: true}
}

package policy

import (
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
	signature := &Object{Name: "Signature", Doc: "one signature found with the image", Fields: []Field{
		{Name: "type", Type: Text(), Doc: "sigstore-key, sigstore-keyless, notation"},
		{Name: "identity", Type: Text(), Doc: "who signed: the certificate's subject"},
		{Name: "issuer", Type: Text(), Doc: "who vouched for the identity"},
		{Name: "key_id", Type: Text(), Doc: "which key"},
		{Name: "verified", Type: Bool(), Doc: "it is valid for this image and trusted"},
	}}
	attestation := &Object{Name: "Attestation", Doc: "one signed statement about the image", Fields: []Field{
		{Name: "predicate_type", Type: Text(), Doc: "https://slsa.dev/provenance/v1"},
		{Name: "identity", Type: Text(), Doc: "who signed"},
		{Name: "issuer", Type: Text(), Doc: "who vouched for the identity"},
		{Name: "verified", Type: Bool(), Doc: "it is valid for this image and trusted"},
	}}
	slsa := &Object{Name: "SLSA", Doc: "facts of a verified SLSA provenance", Fields: []Field{
		{Name: "builder", Type: Text(), Doc: "builder id"},
		{Name: "build_type", Type: Text(), Doc: "build type"},
		{Name: "source_repo", Type: Text(), Doc: "git+https://…"},
		{Name: "source_ref", Type: Text(), Doc: "refs/heads/main"},
		{Name: "source_digest", Type: Text(), Doc: "commit"},
		{Name: "level", Type: Int(), Doc: "SLSA build level, as far as it can be told", Absent: "the provenance does not say enough"},
	}}
	return &Subject{Kind: "provenance", Doc: "signatures, attestations and build provenance of an image",
		Absent: "signatures were not looked at: scan with --verify, or run `bollwerk verify`",
		Type: &Object{Name: "Provenance", Doc: "where an image comes from", Fields: []Field{
			{Name: "signed", Type: Bool(), Doc: "at least one signature was verified", Absent: "the signatures could not be read"},
			{Name: "signatures", Type: List(Of(signature)), Doc: "every signature found"},
			{Name: "attestations", Type: List(Of(attestation)), Doc: "every attestation found"},
			{Name: "slsa", Type: Of(slsa), Doc: "build provenance; absent when there is none", Absent: "no verified SLSA provenance was found"},
		}}}
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
	return Input{Value: m, conformed: true}
}

// PackageSubject makes the subject "package".
func PackageSubject(p *bollwerk.Package) Input {
	return Input{Value: packageValue(p), conformed: true}
}

// FileSubject makes the subject "file".
func FileSubject(f *bollwerk.FileFact) Input {
	return Input{Value: fileValues([]bollwerk.FileFact{*f})[0], conformed: true}
}

// SecretSubject makes the subject "secret".
func SecretSubject(s *bollwerk.Secret) Input {
	return Input{Value: secretValue(s), conformed: true}
}

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/artifact"
	"github.com/bollwerk/bollwerk/artifact/oci"
	"github.com/bollwerk/bollwerk/internal/terminal"
	"github.com/bollwerk/bollwerk/signature"
	"github.com/bollwerk/bollwerk/signature/notation"
	"github.com/bollwerk/bollwerk/signature/sigstore"
)

func newVerifyCommand(e *env) *cobra.Command {
	o := verifyOptions{format: "table", timeout: 2 * time.Minute}
	c := &cobra.Command{
		Use:   "verify IMAGE",
		Short: "say who signed an image and where it was built",
		Long: `Verify looks for signatures and attestations beside an image and says whether
the key or identity you trust made them. IMAGE is a reference into a registry,
registry/repository:tag or @digest, or oci:DIR[:TAG|@DIGEST] for a layout on disk.
Nothing but the registry is contacted: keys, trusted roots and trust stores are files.

At least one kind of trust must be given:
  --key FILE                          signatures by a key (cosign)
  --trusted-root FILE with identity and issuer   signatures by a certificate (sigstore)
  --notation-cert FILE, or --notation-trust-policy with --notation-trust-store (Notary)

Exit codes: 0 verified (also when degraded, unless --strict), 1 looked at and not
verified, 2 usage, 3 could not be found out (registry or file unreadable, bounds
exceeded): nobody may take that for verified.`,
		Example: `  bollwerk verify --key cosign.pub registry.example/team/app:1.2
  bollwerk verify --trusted-root trusted_root.json \
    --certificate-identity-regexp 'https://github.com/acme/app/\.github/workflows/.*' \
    --certificate-oidc-issuer https://token.actions.githubusercontent.com \
    --require slsaprovenance1 registry.example/team/app@sha256:…
  bollwerk verify --notation-cert acme.pem oci:./app`,
		Args: func(c *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usageError(errors.New("verify wants one image; see `bollwerk verify --help`"))
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error { return runVerify(c.Context(), e, &o, args[0]) },
	}
	o.flags(c)
	return c
}

type verifyOptions struct {
	keys                         []string
	identity, identityRE         string
	issuer, issuerRE             string
	root                         string
	bundles                      []string
	ignoreLog, ignoreSCT         bool
	notationCert, notationPolicy string
	notationStore                string
	notationIdentities           []string
	require                      []string
	strict                       bool
	format, output               string
	timeout                      time.Duration
	open                         openFlags
}

func (o *verifyOptions) flags(c *cobra.Command) {
	f := c.Flags()
	f.StringArrayVar(&o.keys, "key", nil, "public key `FILE` in PEM form; repeat for several, one suffices")
	f.StringVar(&o.identity, "certificate-identity", "", "mail address or URI that must have signed")
	f.StringVar(&o.identityRE, "certificate-identity-regexp", "", "`REGEXP` that the whole identity must match (^ and $ are implied)")
	f.StringVar(&o.issuer, "certificate-oidc-issuer", "", "`URL` of the provider that must have vouched for the identity")
	f.StringVar(&o.issuerRE, "certificate-oidc-issuer-regexp", "", "`REGEXP` that the whole issuer must match (^ and $ are implied)")
	f.StringVar(&o.root, "trusted-root", "", "trusted_root.json `FILE` with the authorities and logs to trust")
	f.StringArrayVar(&o.bundles, "bundle", nil, "detached sigstore bundle `FILE`")
	f.BoolVar(&o.ignoreLog, "insecure-ignore-tlog", false, "do without the transparency log (result: degraded)")
	f.BoolVar(&o.ignoreSCT, "insecure-ignore-sct", false, "do without proof that the certificate was logged (result: degraded)")
	f.StringVar(&o.notationCert, "notation-cert", "", "certificate `FILE` (PEM) that Notary signatures must lead to")
	f.StringArrayVar(&o.notationIdentities, "notation-identity", nil, "subject that may sign, e.g. \"C=DE, ST=Berlin, O=Acme\" (with --notation-cert)")
	f.StringVar(&o.notationPolicy, "notation-trust-policy", "", "Notary trust policy `FILE` (trustpolicy.json)")
	f.StringVar(&o.notationStore, "notation-trust-store", "", "`DIR` with Notary's trust stores")
	f.StringArrayVar(&o.require, "require", nil, "what must be verified: signature, slsaprovenance1, slsaprovenance02, spdx, cyclonedx, vuln, openvex or a predicate `TYPE`; repeat (default: signature)")
	f.BoolVar(&o.strict, "strict", false, "a degraded result counts as not verified")
	f.StringVar(&o.format, "format", o.format, "table or json")
	f.StringVarP(&o.output, "output", "o", "", "write the result to `FILE`")
	f.DurationVar(&o.timeout, "timeout", o.timeout, "give up after this long")
	f.StringVar(&o.open.platform, "platform", "", "verify the image for `OS/ARCH[/VARIANT]` instead of the index for all")
	// The same names as elsewhere, without those that make no sense here.
	f.BoolVar(&o.open.insecure, "insecure", false, "allow registries over plain HTTP and certificates nobody vouches for")
	f.StringVar(&o.open.caFile, "ca", "", "further certificate authorities for registries, a PEM `FILE`")
	f.StringArrayVar(&o.open.mirrors, "registry-mirror", nil, "ask a mirror first: `HOST=MIRROR`; may be repeated")
}

func runVerify(ctx context.Context, e *env, o *verifyOptions, target string) error {
	checker, err := o.checker()
	if err != nil {
		return usageError(err)
	}
	ctx, cancel := context.WithTimeout(ctx, o.timeout)
	defer cancel()
	repo, reference, closeRepo, err := o.repository(e, target)
	if err != nil {
		return err
	}
	defer closeRepo()
	checker.Repository, checker.Platform = repo, o.open.platform
	p, err := checker.Check(ctx, reference)
	if err != nil {
		return &exitError{exitFailed, err}
	}
	if err := o.write(e, p); err != nil {
		return &exitError{exitFailed, err}
	}
	switch {
	case p.Verdict == bollwerk.Fail, p.Verdict == bollwerk.Degraded && o.strict:
		return &exitError{exitFindings, nil}
	case p.Verdict == bollwerk.NotEvaluated:
		return &exitError{exitFailed, nil}
	}
	return nil
}

// checker reads the files that say whom to trust.
func (o *verifyOptions) checker() (*signature.Checker, error) {
	if o.format != "table" && o.format != "json" {
		return nil, fmt.Errorf("--format %q: want table or json", o.format)
	}
	st := sigstore.Trust{IgnoreLog: o.ignoreLog, IgnoreSCT: o.ignoreSCT}
	for _, name := range o.keys {
		raw, err := readSmall("--key", name)
		if err != nil {
			return nil, err
		}
		st.Keys = append(st.Keys, raw)
	}
	var err error
	if st.Root, err = readSmall("--trusted-root", o.root); err != nil {
		return nil, err
	}
	if o.identity+o.identityRE+o.issuer+o.issuerRE != "" {
		st.Identities = []sigstore.Identity{{Identity: o.identity, IdentityRegexp: o.identityRE, Issuer: o.issuer, IssuerRegexp: o.issuerRE}}
	} else if o.root != "" && len(o.keys) == 0 {
		return nil, errors.New("--trusted-root alone trusts everybody with a mail address: say who must have signed, with --certificate-identity and --certificate-oidc-issuer")
	}
	nt := notation.Trust{Store: o.notationStore, Identities: o.notationIdentities}
	if nt.Certificates, err = readSmall("--notation-cert", o.notationCert); err != nil {
		return nil, err
	}
	if nt.Policy, err = readSmall("--notation-trust-policy", o.notationPolicy); err != nil {
		return nil, err
	}
	if len(st.Keys) == 0 && len(st.Identities) == 0 && len(nt.Certificates) == 0 && len(nt.Policy) == 0 && nt.Store == "" {
		return nil, errors.New("nothing says whom to trust: give --key FILE, or --trusted-root FILE with --certificate-identity and --certificate-oidc-issuer " +
			"(for the public sigstore, `cosign trusted-root create` or `gh attestation trusted-root` writes that file once, for use without a network), or --notation-cert FILE")
	}
	ss, err := sigstore.New(st)
	if err != nil {
		return nil, err
	}
	ns, err := notation.New(nt)
	if err != nil {
		return nil, err
	}
	c := &signature.Checker{Schemes: []signature.Scheme{ss, ns}}
	if len(o.require) == 0 {
		c.Demand.Signature = true
	}
	for _, r := range o.require {
		if r == "signature" {
			c.Demand.Signature = true
			continue
		}
		t, err := signature.PredicateType(r)
		if err != nil {
			return nil, fmt.Errorf("--require: %w", err)
		}
		c.Demand.Predicates = append(c.Demand.Predicates, t)
	}
	for _, name := range o.bundles {
		raw, err := readFileAtMost(name, 32<<20)
		if err != nil {
			return nil, fmt.Errorf("--bundle: %w", err)
		}
		c.Files = append(c.Files, sigstore.File(name, raw))
	}
	return c, nil
}

// repository opens the place that the target lies in.
func (o *verifyOptions) repository(e *env, target string) (repo signature.Repository, reference string, closeRepo func(), err error) {
	scheme, rest, err := artifact.Detect(target)
	if err != nil {
		if errors.Is(err, artifact.ErrTarget) {
			err = usageError(err)
		}
		return nil, "", nil, err
	}
	switch scheme {
	case artifact.SchemeRegistry:
		opts, err := o.open.ociOptions(e)
		if err != nil {
			return nil, "", nil, err
		}
		r, reference, err := oci.NewRegistryRepository(rest, opts)
		if err != nil {
			return nil, "", nil, usageError(err)
		}
		return r, reference, func() {}, nil
	case artifact.SchemeOCI:
		if st, serr := os.Stat(rest); serr != nil || st.IsDir() {
			l, reference, err := oci.NewLayoutRepository(rest)
			if err != nil {
				return nil, "", nil, &exitError{exitFailed, err}
			}
			return l, reference, func() { l.Close() }, nil
		}
	}
	return nil, "", nil, usageError(fmt.Errorf("%s: signatures do not travel with this kind of target; verify the image in its registry or in an OCI layout (oci:DIR)", target))
}

func (o *verifyOptions) write(e *env, p *bollwerk.Provenance) (err error) {
	w := e.stdout
	if o.output != "" {
		f, err := os.Create(o.output)
		if err != nil {
			return err
		}
		defer func() {
			if cerr := f.Close(); err == nil {
				err = cerr
			}
		}()
		w = f
	}
	if o.format == "json" {
		enc := json.NewEncoder(w)
		enc.SetIndent("", "  ")
		enc.SetEscapeHTML(false)
		return enc.Encode(p)
	}
	return printProvenance(w, p)
}

func printProvenance(w io.Writer, p *bollwerk.Provenance) error {
	fmt.Fprintf(w, "%s\n%s\n", shown(p.Reference, 0), verifySentence(p))
	for _, c := range p.Causes {
		fmt.Fprintf(w, "  - %s\n", shown(c, 0))
	}
	tw := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	if len(p.Signatures) > 0 {
		fmt.Fprintf(tw, "\nSIGNATURE\tVERDICT\tSIGNER\tTIME\tNOTE\n")
	}
	for _, f := range p.Signatures {
		fmt.Fprintf(tw, "%s\t%s\t%s\t%s\t%s\n", shown(f.Type, 40), f.Verdict, signerText(f.Signer), timeText(f), shown(f.Cause, 0))
	}
	if len(p.Attestations) > 0 {
		fmt.Fprintf(tw, "\nATTESTATION\tVERDICT\tSIGNER\tTIME\tNOTE\n")
	}
	for _, f := range p.Attestations {
		fmt.Fprintf(tw, "%s\t%s\t%s\t%s\t%s\n", shown(f.PredicateType, 80), f.Verdict, signerText(f.Signer), timeText(f.SignatureFact), shown(f.Cause, 0))
	}
	if err := tw.Flush(); err != nil {
		return err
	}
	if s := p.SLSA; s != nil {
		fmt.Fprintf(w, "\nBuilt by   %s\n", shown(s.Builder, 200))
		for _, l := range [][2]string{{"Source", s.SourceRepo}, {"Ref", s.SourceRef}, {"Commit", s.SourceDigest}, {"Workflow", s.Workflow}, {"Run", s.InvocationID}} {
			if l[1] != "" {
				fmt.Fprintf(w, "%-10s %s\n", l[0], shown(l[1], 200))
			}
		}
	}
	return nil
}

func verifySentence(p *bollwerk.Provenance) string {
	switch p.Verdict {
	case bollwerk.Pass:
		return "pass: verified"
	case bollwerk.Degraded:
		return "degraded: verified, with less than it needs"
	case bollwerk.NotEvaluated:
		return "not evaluated: it could not be found out"
	}
	return "fail: not verified"
}

func signerText(s bollwerk.Signer) string {
	switch {
	case s.Identity != "" && s.Issuer != "":
		return shown(s.Identity, 100) + " (" + shown(s.Issuer, 60) + ")"
	case s.Identity != "":
		return shown(s.Identity, 100)
	case s.KeyID != "":
		return "key " + shown(bollwerk.Digest(s.KeyID).Short(), 40)
	}
	return "-"
}

func timeText(f bollwerk.SignatureFact) string {
	if f.Time == nil {
		return "-"
	}
	return f.Time.Format("2006-01-02 15:04") + " (" + f.TimeSource + ")"
}

// shown keeps an attacker's text from moving the cursor or filling the screen.
func shown(s string, limit int) string { return terminal.Clean(s, limit) }

// readSmall reads a file that says whom to trust; no name, no bytes.
func readSmall(flag, name string) ([]byte, error) {
	if name == "" {
		return nil, nil
	}
	raw, err := readFileAtMost(name, 4<<20)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", flag, err)
	}
	if len(raw) == 0 {
		return nil, fmt.Errorf("%s: %s is empty", flag, filepath.Base(name))
	}
	return raw, nil
}

func readFileAtMost(name string, limit int64) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	raw, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(raw)) > limit {
		return nil, fmt.Errorf("%s: larger than %d bytes", name, limit)
	}
	return raw, nil
}

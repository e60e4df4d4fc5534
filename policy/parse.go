package policy

import (
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"sort"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/bollwerk/bollwerk"
)

var policyID = regexp.MustCompile(`^[a-z][a-z0-9]*(-[a-z0-9]+)*$`)

// Bounds of one policy.
const (
	maxExpressionBytes = 16 << 10
	maxVariables       = 32
	maxParameters      = 32

	// Of expressions that did not come out of a file of ours: a translated rule has
	// its lists written into it.
	maxSourceBytes = 256 << 10
	maxSourceNodes = 50_000
	maxSourceDepth = 128
)

// Parse reads a policy. It is strict: an unknown or repeated key, a missing or
// misshapen value is an error that names the file and the line; all of them are
// reported at once (a *ParseError). Expressions are not compiled: that needs the
// declared subjects (Engine.Compile) and costs time.
func Parse(name string, b []byte) (*Policy, error) {
	d := &document{name: name}
	root, err := d.root(b)
	if err != nil {
		return nil, err
	}
	p := &Policy{File: name, Mode: Warn, Report: Once}
	var severity, mode, report, response string
	severityLine, modeLine, reportLine, responseLine := root.Line, root.Line, root.Line, root.Line
	d.fields(root, "policy", map[string]func(*yaml.Node){
		"id":          d.text("id", &p.ID),
		"title":       d.text("title", &p.Title),
		"severity":    func(n *yaml.Node) { severityLine = n.Line; d.text("severity", &severity)(n) },
		"mode":        func(n *yaml.Node) { modeLine = n.Line; d.text("mode", &mode)(n) },
		"subject":     d.text("subject", &p.Subject),
		"description": d.text("description", &p.Description),
		"why":         d.text("why", &p.Why),
		"when":        d.expression("when", &p.When),
		"pass":        d.expression("pass", &p.Pass),
		"match":       d.expression("match", &p.Match),
		"response":    func(n *yaml.Node) { responseLine = n.Line; d.text("response", &response)(n) },
		"violations":  d.expression("violations", &p.Violations),
		"report":      func(n *yaml.Node) { reportLine = n.Line; d.text("report", &report)(n) },
		"variables":   func(n *yaml.Node) { d.variables(n, p) },
		"parameters":  func(n *yaml.Node) { d.parameters(n, p) },
		"message":     d.expression("message", &p.Message),
		"fix":         d.expression("fix", &p.Fix),
		"mappings":    func(n *yaml.Node) { d.mappings(n, p) },
		"references":  d.texts("references", &p.References),
	})
	if !policyID.MatchString(p.ID) || len(p.ID) > 80 {
		d.failf(root.Line, "id %q: want lower-case words with hyphens, like runs-as-root", p.ID)
	}
	for _, f := range []struct{ name, value string }{
		{"title", p.Title}, {"severity", severity}, {"subject", p.Subject}, {"description", p.Description}, {"message", p.Message.Text},
	} {
		if f.value == "" {
			d.failf(root.Line, "%s is missing", f.name)
		}
	}
	if severity != "" {
		if p.Severity, err = bollwerk.ParseSeverity(severity); err != nil {
			d.failf(severityLine, "%v", err)
		} else if p.Severity < bollwerk.SeverityLow {
			d.failf(severityLine, "severity %q: want low, medium, high or critical", severity)
		}
	}
	if mode != "" {
		if p.Mode, err = ParseMode(mode); err != nil {
			d.failf(modeLine, "%v", err)
		}
	}
	switch Report(report) {
	case "":
	case Once, Each:
		p.Report = Report(report)
		if p.Violations.Text == "" {
			d.failf(reportLine, "report is for policies with violations")
		}
	default:
		d.failf(reportLine, "report %q: want once or each", report)
	}
	switch p.Response = Response(response); {
	case response == "":
	case p.Response != Kill:
		d.failf(responseLine, "response %q: want kill", response)
	case p.Subject != EventKind:
		d.failf(responseLine, "response is for policies about events; what others do follows from their mode")
	}
	rules := 0
	for _, e := range []Expression{p.Pass, p.Match, p.Violations} {
		if e.Text != "" {
			rules++
		}
	}
	if rules != 1 {
		d.failf(root.Line, "want exactly one of pass (a condition that must hold), match (a condition that must not hold) and violations (a list that must be empty)")
	}
	for _, e := range []Expression{p.When, p.Pass, p.Match, p.Violations, p.Message, p.Fix} {
		d.boundExpression(e)
	}
	return p, d.err()
}

func (d *document) boundExpression(e Expression) {
	if len(e.Text) > maxExpressionBytes {
		d.failf(e.Line, "an expression longer than %d KiB", maxExpressionBytes>>10)
	}
}

func (d *document) variables(n *yaml.Node, p *Policy) {
	d.entries(n, "variables", func(name string, k, v *yaml.Node) {
		if !identifier.MatchString(name) || name == p.Subject || slices.Contains(reserved[:], name) {
			d.failf(k.Line, "variables: %q is taken or is no lower-case identifier", name)
			return
		}
		x := Variable{Name: name}
		d.expression("variables: "+name, &x.Expression)(v)
		if x.Expression.Text == "" {
			d.failf(k.Line, "variables: %s is empty", name)
		}
		d.boundExpression(x.Expression)
		p.Variables = append(p.Variables, x)
	})
	if len(p.Variables) > maxVariables {
		d.failf(n.Line, "more than %d variables", maxVariables)
	}
}

func (d *document) parameters(n *yaml.Node, p *Policy) {
	d.entries(n, "parameters", func(name string, k, v *yaml.Node) {
		q := Parameter{Name: name, Line: k.Line}
		if !identifier.MatchString(name) {
			d.failf(k.Line, "parameters: %q is no lower-case identifier", name)
			return
		}
		var typ string
		var def *yaml.Node
		d.fields(v, "parameters: "+name, map[string]func(*yaml.Node){
			"type":        d.text("type", &typ),
			"default":     func(n *yaml.Node) { def = n },
			"description": d.text("description", &q.Description),
		})
		var err error
		if q.Type, err = ParseType(typ); err != nil {
			d.failf(v.Line, "parameters: %s: %v", name, err)
			return
		}
		if def == nil {
			d.failf(v.Line, "parameters: %s: default is missing: a policy must work without a configuration", name)
			return
		}
		raw, err := d.value(def)
		if err != nil {
			d.problems = append(d.problems, err)
			return
		}
		if q.Default, err = new(conformer).conform(raw, q.Type, "parameters."+name+".default", 0); err != nil {
			d.failf(def.Line, "%v", err)
			return
		}
		p.Parameters = append(p.Parameters, q)
	})
	if len(p.Parameters) > maxParameters {
		d.failf(n.Line, "more than %d parameters", maxParameters)
	}
}

func (d *document) mappings(n *yaml.Node, p *Policy) {
	d.entries(n, "mappings", func(standard string, _, v *yaml.Node) {
		var reqs []string
		d.texts("mappings: "+standard, &reqs)(v)
		for _, r := range reqs {
			p.Mappings = append(p.Mappings, Mapping{Standard: standard, Requirement: r})
		}
	})
}

// maxPolicies bounds how many policies one folder may hold.
const maxPolicies = 5000

// Load reads every policy.yaml below the root of fsys, sorted by ID. Files that
// cannot be read or parsed are an error: a policy that silently does not run is
// a pass nobody earned. Two policies of one ID are an error, too.
func Load(fsys fs.FS) ([]*Policy, error) {
	var ps []*Policy
	byID := map[string]string{}
	err := fs.WalkDir(fsys, ".", func(name string, e fs.DirEntry, err error) error {
		if err != nil {
			return fmt.Errorf("policies: %w", err)
		}
		if e.IsDir() && strings.HasPrefix(e.Name(), ".") && name != "." {
			return fs.SkipDir
		}
		if e.IsDir() || e.Name() != "policy.yaml" {
			return nil
		}
		p, err := LoadOne(fsys, name)
		if err != nil {
			return err
		}
		if prev, ok := byID[p.ID]; ok {
			return fmt.Errorf("%s: the id %s is taken by %s", name, p.ID, prev)
		}
		if len(ps) == maxPolicies {
			return fmt.Errorf("policies: more than %d", maxPolicies)
		}
		byID[p.ID] = name
		ps = append(ps, p)
		return nil
	})
	sort.Slice(ps, func(i, j int) bool { return ps[i].ID < ps[j].ID })
	return ps, err
}

func readBounded(fsys fs.FS, name string) ([]byte, error) {
	info, err := fs.Stat(fsys, name)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() || info.Size() > maxDocumentBytes {
		return nil, fmt.Errorf("%s: not a regular file of at most %d KiB", name, maxDocumentBytes>>10)
	}
	return fs.ReadFile(fsys, name)
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	return keys
}

// LoadOne reads the policy in the named file of fsys.
func LoadOne(fsys fs.FS, name string) (*Policy, error) {
	b, err := readBounded(fsys, name)
	if err != nil {
		return nil, err
	}
	p, err := Parse(name, b)
	if err != nil {
		return nil, err
	}
	p.Folder = path.Dir(name)
	return p, nil
}

package policy

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"sort"
	"strings"
	"time"

	"cel.dev/cel-go/cel"

	"github.com/bollwerk/bollwerk"
)

// Description is everything `policy explain` says about a policy without a subject.
type Description struct {
	Policy *Policy `json:"-"`
	// Subject's fields that the policy reads, as paths.
	Reads []string `json:"reads"`
	// Areas of the coverage that bound its pass.
	Areas []string `json:"areas"`
	// Parameters with the values in force.
	Parameters []ParameterValue `json:"parameters"`
	// Expressions with their types, in the order of evaluation.
	Expressions []ExpressionType `json:"expressions"`
	// Examples are the first failing and the first passing case of the tests.
	Examples []Example `json:"examples"`
}

// Example is a subject and what the policy says of it.
type Example struct {
	Name    string `json:"name"`
	Subject any    `json:"subject"`
	Verdict string `json:"verdict"`
	Says    string `json:"says,omitempty"` // message or cause
}

// ParameterValue is a parameter as it is in force.
type ParameterValue struct {
	Name        string `json:"name"`
	Type        string `json:"type"`
	Value       string `json:"value"`
	Default     string `json:"default"`
	Description string `json:"description,omitempty"`
}

// ExpressionType is one expression as it was compiled.
type ExpressionType struct {
	Part string `json:"part"`
	Text string `json:"text"`
	Type string `json:"type"`
}

// Describe compiles a policy and says how it was understood. The suite, which may
// be nil, provides the examples.
func (e *Engine) Describe(ctx context.Context, p *Policy, s *Suite) (*Description, error) {
	c, err := e.compile1(p)
	if err != nil {
		return nil, err
	}
	if err := c.texts(); err != nil {
		return nil, err
	}
	d := &Description{Policy: p, Areas: c.areas, Reads: c.reads()}
	for _, q := range p.Parameters {
		d.Parameters = append(d.Parameters, ParameterValue{Name: q.Name, Type: q.Type.String(), Description: q.Description,
			Value: describeParameter(c.params[q.Name]), Default: describeParameter(q.Default)})
	}
	add := func(prog *program) {
		d.Expressions = append(d.Expressions, ExpressionType{Part: prog.what, Text: prog.source.Text, Type: cel.FormatCELType(prog.ast.OutputType())})
	}
	if c.when != nil {
		add(c.when)
	}
	for _, v := range p.Variables {
		add(c.vars[v.Name])
	}
	add(c.rule)
	if s == nil {
		return d, nil
	}
	outcomes, err := s.Run(ctx, e.kinds())
	if err != nil {
		return nil, err
	}
	for _, want := range []bollwerk.Verdict{bollwerk.Fail, bollwerk.Pass} {
		for _, o := range outcomes {
			if o.Case.Want == string(want) && o.Problem == "" && len(o.Case.Parameters) == 0 {
				d.Examples = append(d.Examples, Example{Name: o.Case.Name, Subject: o.Case.Subject, Verdict: o.Case.Want, Says: o.Decisions[0].Message})
				break
			}
		}
	}
	return d, nil
}

// kinds lists the declared subjects.
func (e *Engine) kinds() []*Subject {
	out := make([]*Subject, 0, len(e.subjects))
	for _, k := range sortedKeys(e.subjects) {
		out = append(out, e.subjects[k])
	}
	return out
}

func describeParameter(v any) string {
	switch x := v.(type) {
	case string:
		return fmt.Sprintf("%q", x)
	case []any:
		parts := make([]string, 0, len(x))
		for _, e := range x {
			parts = append(parts, describeParameter(e))
		}
		return "[" + strings.Join(parts, ", ") + "]"
	case map[string]any:
		parts := make([]string, 0, len(x))
		for _, k := range sortedKeys(x) {
			parts = append(parts, k+": "+describeParameter(x[k]))
		}
		return "{" + strings.Join(parts, ", ") + "}"
	case time.Time:
		return x.Format(time.RFC3339)
	case time.Duration:
		if x%(24*time.Hour) == 0 {
			return fmt.Sprintf("%dd", x/(24*time.Hour))
		}
	}
	return fmt.Sprint(v)
}

// Kinds describes the declared subjects, by name.
func (e *Engine) Kinds() []Kind {
	out := make([]Kind, 0, len(e.subjects))
	for _, s := range e.subjects {
		out = append(out, Kind{Name: s.Kind, Doc: s.Doc, Fields: s.describe()})
	}
	sort.Slice(out, func(i, j int) bool { return out[i].Name < out[j].Name })
	return out
}

// Kind is a declared subject, for people.
type Kind struct {
	Name   string      `json:"name"`
	Doc    string      `json:"doc"`
	Fields []KindField `json:"fields"`
}

// KindField is one field of a subject: "image.config.user", "string". A field of the
// entries of a list or map has a path like "image.files[].path".
type KindField struct {
	Path string `json:"path"`
	Type string `json:"type"`
	Doc  string `json:"doc"`
}

// Write prints the description for people.
func (d *Description) Write(w io.Writer) error {
	p := d.Policy
	b := &strings.Builder{}
	fmt.Fprintf(b, "%s: %s\n", p.ID, p.Title)
	fmt.Fprintf(b, "severity %s, mode %s, judges each %s\n", p.Severity, p.Mode, p.Subject)
	section(b, "What", p.Description)
	section(b, "Why", p.Why)
	section(b, "Fix", p.Fix.Text)
	if len(d.Parameters) > 0 {
		fmt.Fprintf(b, "\nParameters (policies: %s: parameters: in %s)\n", p.ID, ConfigName)
		for _, q := range d.Parameters {
			fmt.Fprintf(b, "  %s (%s): %s\n    = %s\n", q.Name, q.Type, q.Description, clip(q.Value, 400))
			if q.Value != q.Default {
				fmt.Fprintf(b, "    as shipped: %s\n", clip(q.Default, 400))
			}
		}
	}
	fmt.Fprintf(b, "\nHow it was understood\n")
	for _, x := range d.Expressions {
		fmt.Fprintf(b, "  %s (%s)\n    %s\n", x.Part, x.Type, strings.ReplaceAll(x.Text, "\n", "\n    "))
	}
	fmt.Fprintf(b, "  reads %s\n", strings.Join(d.Reads, ", "))
	fmt.Fprintf(b, "  a field that is not known makes the policy not evaluated\n")
	if len(d.Areas) > 0 {
		fmt.Fprintf(b, "  a pass is degraded where the coverage of %s is incomplete\n", strings.Join(d.Areas, " or "))
	}
	if len(d.Examples) > 0 {
		fmt.Fprintf(b, "\nExamples\n")
	}
	for _, x := range d.Examples {
		subject, err := json.Marshal(x.Subject)
		if err != nil {
			return err
		}
		fmt.Fprintf(b, "  %s: %s\n    %s\n", x.Verdict, x.Name, clip(string(subject), 500))
		if x.Says != "" {
			fmt.Fprintf(b, "    says: %s\n", x.Says)
		}
	}
	if len(p.Mappings) > 0 {
		fmt.Fprintf(b, "\nServes\n")
		for _, m := range p.Mappings {
			fmt.Fprintf(b, "  %s %s\n", m.Standard, m.Requirement)
		}
	}
	if len(p.References) > 0 {
		fmt.Fprintf(b, "\nRead more\n  %s\n", strings.Join(p.References, "\n  "))
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func section(b *strings.Builder, title, text string) {
	if text != "" {
		fmt.Fprintf(b, "\n%s\n  %s\n", title, strings.ReplaceAll(strings.TrimSpace(text), "\n", "\n  "))
	}
}

// Explanation is a decision as JSON.
type Explanation struct {
	Policy  string           `json:"policy"`
	Verdict bollwerk.Verdict `json:"verdict"`
	Applies bool             `json:"applies"`
	Cause   string           `json:"cause,omitempty"`
	Message string           `json:"message,omitempty"`
	Fix     string           `json:"fix,omitempty"`
	Path    string           `json:"path,omitempty"`
	Trace   []TraceLine      `json:"trace,omitempty"`
}

// Explanations turns decisions into their JSON form.
func Explanations(ds []Decision) []Explanation {
	out := make([]Explanation, 0, len(ds))
	for _, d := range ds {
		out = append(out, Explanation{d.Policy.ID, d.Verdict, d.Applies, d.Cause, d.Message, d.Fix, d.Path, d.Trace})
	}
	return out
}

// WriteExplanation prints decisions and the trace for people.
func WriteExplanation(w io.Writer, ds []Decision) error {
	b := &strings.Builder{}
	for _, d := range ds {
		switch {
		case !d.Applies:
			fmt.Fprintf(b, "%s: does not apply\n", d.Policy.ID)
		case d.Verdict == bollwerk.Fail:
			fmt.Fprintf(b, "%s: fail: %s\n", d.Policy.ID, d.Message)
			if d.Fix != "" {
				fmt.Fprintf(b, "  fix: %s\n", d.Fix)
			}
		case d.Cause != "":
			fmt.Fprintf(b, "%s: %s: %s\n", d.Policy.ID, strings.ReplaceAll(string(d.Verdict), "_", " "), d.Cause)
		default:
			fmt.Fprintf(b, "%s: %s\n", d.Policy.ID, d.Verdict)
		}
	}
	for _, d := range ds {
		part := ""
		for _, l := range d.Trace {
			if l.Part != part || l.Depth == 0 {
				part = l.Part
				fmt.Fprintf(b, "\n%s\n", part)
			}
			fmt.Fprintf(b, "  %s%s = %s", strings.Repeat("  ", l.Depth), l.Expression, l.Value)
			if l.Note != "" {
				fmt.Fprintf(b, "  (%s)", l.Note)
			}
			b.WriteString("\n")
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// ParseSubject reads a subject of the kind from JSON or YAML. The JSON result of a
// scan stands for the image or the distribution it describes, as far as a result
// tells: it holds no credentials, so that policies about them are not evaluated.
func ParseSubject(name string, b []byte, kind string) (any, error) {
	if t := strings.TrimSpace(string(b)); strings.HasPrefix(t, "{") {
		if v, err := parseJSON(b); err == nil {
			m, _ := v.(map[string]any)
			if m["schema"] == nil || m["target"] == nil {
				return v, nil
			}
			r := &bollwerk.Result{}
			if err := json.Unmarshal(b, r); err != nil {
				return nil, fmt.Errorf("%s: scan result: %w", name, err)
			}
			return resultSubject(name, r, kind)
		}
	}
	d := &document{name: name}
	root, err := d.root(b)
	if err != nil {
		return nil, err
	}
	return d.value(root)
}

func resultSubject(name string, r *bollwerk.Result, kind string) (any, error) {
	switch kind {
	case "image":
		return ImageSubject(r, nil), nil
	case "distribution":
		return DistributionSubject(r), nil
	}
	return nil, fmt.Errorf("%s: a scan result describes an image and a distribution; write the %s to judge as a file of its own", name, kind)
}

// UnknownPolicy is the error for an ID that no policy has.
func UnknownPolicy(id string, known []string) error {
	return fmt.Errorf("there is no policy %q%s", id, didYouMean(nearest(id, known)))
}

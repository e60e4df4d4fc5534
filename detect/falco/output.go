package falco

import "strings"

// message turns Falco's output (%proc.name) into a template of ours. A field that is
// not told prints as <NA>, as Falco prints it.
func (t *translator) message(output string, used []*view) string {
	var b strings.Builder
	fields := 0
	s := strings.TrimSpace(output)
	if len(s) > maxOutputSize {
		s = strings.ToValidUTF8(s[:maxOutputSize], "")
	}
	s = strings.NewReplacer("{{", "{ {", "}}", "} }").Replace(s)
	for {
		before, after, found := strings.Cut(s, "%")
		b.WriteString(before)
		if !found {
			return strings.TrimPrefix(b.String(), "*")
		}
		p := &parser{s: after}
		o, macro := p.operand(0)
		if p.err != nil || macro || strings.HasSuffix(o.field, ".") {
			// %container.info and the like have a dot; a per cent sign alone stands for itself.
			b.WriteByte('%')
			s = after
			continue
		}
		s = after[p.pos:]
		if fields++; fields > 100 {
			b.WriteString("…")
			return b.String()
		}
		if cel := t.printed(o, used); cel != "" {
			b.WriteString("{{ " + cel + " }}")
		} else {
			b.WriteString("<NA>")
		}
	}
}

// printed is the text of a field for the views of a rule: the first of them that has one.
func (t *translator) printed(o operand, used []*view) string {
	var texts []string
	for _, v := range used {
		f := t.field(o, v)
		cel := f.out
		switch {
		case f.absent, cel == "" && f.gap != "", len(o.transform) > 0:
			continue
		case cel != "":
		case f.cel == "":
			continue
		case f.typ == isText || f.typ == isAddress:
			cel = f.cel
		case f.typ == isNumber:
			cel = "string(" + f.cel + ")"
		case f.typ == isFlag:
			cel = "(" + f.cel + ` ? "true" : "false")`
		default:
			continue
		}
		if len(texts) == 0 || texts[len(texts)-1] != cel {
			texts = append(texts, cel)
		}
	}
	switch len(texts) {
	case 0:
		return ""
	case 1:
		return texts[0]
	}
	return "(" + texts[0] + ` != "" ? ` + texts[0] + " : " + texts[1] + ")"
}

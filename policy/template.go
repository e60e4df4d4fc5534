package policy

import (
	"fmt"
	"strings"
)

// A template is text with {{ CEL }} in it. A part is one or the other.
type templatePart struct {
	text string
	expr Expression // set: an expression
}

const maxTemplateParts = 64

// splitTemplate cuts a template into parts. An expression ends at the first }}
// that is not inside a CEL string.
func splitTemplate(e Expression) ([]templatePart, error) {
	var parts []templatePart
	rest, line := e.Text, e.Line
	for rest != "" {
		if len(parts) > maxTemplateParts {
			return nil, fmt.Errorf("line %d: more than %d expressions in one text", line, maxTemplateParts/2)
		}
		text, after, found := strings.Cut(rest, "{{")
		if text != "" {
			parts = append(parts, templatePart{text: text})
			line += strings.Count(text, "\n")
		}
		if !found {
			break
		}
		end := endOfExpression(after)
		if end < 0 {
			return nil, fmt.Errorf("line %d: {{ without }}", line)
		}
		src := after[:end]
		trimmed := strings.TrimLeft(src, " \n\t")
		at := line + strings.Count(src[:len(src)-len(trimmed)], "\n")
		if trimmed = strings.TrimSpace(trimmed); trimmed == "" {
			return nil, fmt.Errorf("line %d: {{ }} is empty", line)
		}
		parts = append(parts, templatePart{expr: Expression{Text: trimmed, Line: at}})
		line += strings.Count(src, "\n")
		rest = after[end+2:]
	}
	return parts, nil
}

func endOfExpression(s string) int {
	var quote byte
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case quote != 0 && c == '\\':
			i++
		case quote != 0:
			if c == quote {
				quote = 0
			}
		case c == '"' || c == '\'':
			quote = c
		case c == '}' && i+1 < len(s) && s[i+1] == '}':
			return i
		}
	}
	return -1
}

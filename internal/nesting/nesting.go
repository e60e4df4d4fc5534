// Package nesting bounds how deep a document is nested before a parser that calls
// itself is let loose on it. The parsers of JSON (encoding/json) and YAML (yaml.v3)
// bring such a bound; that of TOML does not: a million brackets keep it busy for a
// quarter of a minute with 600 MB, and ten times as many exceed the stack, which ends a
// Go program without any chance to recover.
package nesting

import "fmt"

// MaxDepth is far beyond what any lock file has (four).
const MaxDepth = 100

// TOML refuses a document (https://toml.io/en/v1.0.0) whose arrays and inline tables
// are nested deeper than MaxDepth, or that has a key or table name of more parts: each
// part is a table in a table. It does not say whether the document is valid. It reads
// every byte once and allocates nothing.
func TOML(data []byte) error {
	depth, parts, line := 0, 0, 1
	for i := 0; i < len(data); i++ {
		switch c := data[i]; c {
		case '\n':
			// Neither a header nor a key goes on in the next line; brackets of a value do.
			parts = 0
			line++
		case '=', ',':
			parts = 0
		case '#':
			for i+1 < len(data) && data[i+1] != '\n' {
				i++
			}
		case '"', '\'':
			end, lines := skipString(data, i)
			i, line = end, line+lines
		case '.':
			if parts++; parts > MaxDepth {
				return fmt.Errorf("line %d: a name of more than %d parts", line, MaxDepth)
			}
		case '[', '{':
			if depth++; depth > MaxDepth {
				return fmt.Errorf("line %d: nested deeper than %d", line, MaxDepth)
			}
		case ']', '}':
			depth = max(depth-1, 0)
		}
	}
	return nil
}

// skipString returns the index of the last byte of the string that begins at i, and how
// many lines it spans. A string on one line that is not closed ends with the line, as
// the document is not valid from there on and the parser stops.
func skipString(data []byte, i int) (end, lines int) {
	quote := data[i]
	long := i+2 < len(data) && data[i+1] == quote && data[i+2] == quote
	if long {
		i += 2
	}
	for i++; i < len(data); i++ {
		switch c := data[i]; {
		case c == '\\' && quote == '"':
			if i++; i < len(data) && data[i] == '\n' {
				lines++
			}
		case c == '\n':
			if !long {
				return i - 1, lines
			}
			lines++
		case c == quote && !long:
			return i, lines
		case c == quote && i+2 < len(data) && data[i+1] == quote && data[i+2] == quote:
			end = i + 2
			// Up to two quotes may stand before the closing three.
			for n := 0; n < 2 && end+1 < len(data) && data[end+1] == quote; n++ {
				end++
			}
			return end, lines
		}
	}
	return len(data) - 1, lines
}

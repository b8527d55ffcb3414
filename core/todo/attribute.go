package todo

import "strings"

// attributes takes the attributes off the end of a line: the longest run of
// `| key:value` that reaches it, where an empty `|` counts as part of the run.
// Anything else behind a bar is text.
func attributes(line string, into Attributes) (string, Attributes) {
	if strings.IndexByte(line, '|') < 0 {
		return line, into
	}
	text, first := line, len(into)
	for {
		bar := strings.LastIndexByte(text, '|')
		if bar < 0 {
			break
		}
		segment := strings.TrimSpace(text[bar+1:])
		if segment != "" {
			attr, ok := attribute(segment)
			if !ok {
				break
			}
			into = append(into, attr)
		}
		text = strings.TrimRight(text[:bar], " \t\r")
	}
	if len(into) == first { // bars only: they are text
		return line, into
	}
	for i, j := first, len(into)-1; i < j; i, j = i+1, j-1 {
		into[i], into[j] = into[j], into[i]
	}
	return text, into
}

func attribute(segment string) (Attribute, bool) {
	colon := strings.IndexByte(segment, ':')
	if colon <= 0 || strings.HasPrefix(segment[colon:], "://") {
		return Attribute{}, false
	}
	for i := range colon {
		c := segment[i]
		letter := c|0x20 >= 'a' && c|0x20 <= 'z'
		if !letter && (i == 0 || c != '_' && c != '-' && (c < '0' || c > '9')) {
			return Attribute{}, false
		}
	}
	value := Normalize(segment[colon+1:])
	return Attribute{Key: strings.ToLower(segment[:colon]), Value: value}, value != ""
}

// identifier finds the id at the start of a text, and where the text goes on
// behind its colon. `**ID**: text` and `**ID:** text` take any one word as id;
// without the stars it has to look like one: letters, then a number, then more
// of both behind dots, dashes and underscores (S1.1.1, M1, TASK-12).
func identifier(text string) (id string, rest int) {
	if inner, ok := strings.CutPrefix(text, "**"); ok {
		end := strings.Index(inner, "**")
		if end <= 0 {
			return "", 0
		}
		name, after := inner[:end], 2+end+2
		switch {
		case strings.HasSuffix(name, ":"):
			name = name[:len(name)-1]
		case after < len(text) && text[after] == ':':
			after++
		default:
			return "", 0
		}
		if name == "" || strings.ContainsAny(name, " *") {
			return "", 0
		}
		return name, skipSpace(text, after)
	}
	letters := 0
	for letters < len(text) && text[letters]|0x20 >= 'a' && text[letters]|0x20 <= 'z' {
		letters++
	}
	if letters == 0 {
		return "", 0
	}
	digits := false
	for i := letters; i < len(text); i++ {
		c := text[i]
		switch {
		case c >= '0' && c <= '9':
			digits = true
		case c == ':' && digits && (i+1 == len(text) || text[i+1] == ' '):
			return text[:i], skipSpace(text, i+1)
		case c == '.' || c == '-' || c == '_' || digits && c|0x20 >= 'a' && c|0x20 <= 'z':
		default:
			return "", 0
		}
	}
	return "", 0
}

func skipSpace(s string, i int) int {
	for i < len(s) && s[i] == ' ' {
		i++
	}
	return i
}

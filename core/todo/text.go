package todo

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// Normalize is how texts are compared and shown: every run of white space is
// one space, none is left at the ends, and what is no text (bytes that are not
// UTF-8, control characters) is U+FFFD.
func Normalize(s string) string {
	if tidy(s) {
		return s
	}
	var b strings.Builder
	b.Grow(len(s))
	gap := false
	for _, r := range s { // an invalid byte ranges as U+FFFD
		switch {
		case unicode.IsSpace(r):
			gap = b.Len() > 0
			continue
		case unicode.IsControl(r):
			r = utf8.RuneError
		}
		if gap {
			b.WriteByte(' ')
			gap = false
		}
		b.WriteRune(r)
	}
	return b.String()
}

// tidy reports quickly that a string is its own normal form. It may answer
// false for one that is.
func tidy(s string) bool {
	space := true
	for i := range len(s) {
		switch c := s[i]; {
		case c == ' ':
			if space {
				return false
			}
			space = true
		case c > ' ' && c < 0x7f:
			space = false
		default:
			return false
		}
	}
	return !space || s == ""
}

// LineText is what a text becomes when it is written into a line of its own:
// normalised, and without a bullet or a box in front, since the line gets its
// own. Two texts with equal LineText are the same item.
func LineText(s string) string {
	s = Normalize(s)
	for {
		rest := s
		if rest != "" && strings.IndexByte("-*+", rest[0]) >= 0 && (len(rest) == 1 || rest[1] == ' ') {
			rest = strings.TrimPrefix(rest[1:], " ")
		}
		if len(rest) >= 3 && rest[0] == '[' && rest[2] == ']' && (len(rest) == 3 || rest[3] == ' ') {
			if _, ok := stateOf(rest[1]); ok {
				rest = strings.TrimPrefix(rest[3:], " ")
			}
		}
		if rest == s {
			return s
		}
		s = rest
	}
}

// fold makes texts that differ only in case equal. It is not the Unicode case
// folding, which no text of a todo list needs.
func fold(s string) string { return strings.ToLower(s) }

// clip shortens a text to so many characters.
func clip(s string, limit int) string {
	if len(s) <= limit || utf8.RuneCountInString(s) <= limit {
		return s
	}
	n := 0
	for i := range s {
		if n++; n == limit {
			return strings.TrimRight(s[:i], " ") + "…"
		}
	}
	return s
}

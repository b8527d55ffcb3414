package job

import (
	"bytes"
	"unicode/utf8"
)

// maxEscape is the longest control sequence that is waited for: what claims to
// be longer is text.
const maxEscape = 4 << 10

const esc = 0x1b

// escape returns the length of the control sequence at the start of p, 0 if there
// is none, and -1 if p ends within one.
func escape(p []byte) int {
	if len(p) == 0 || p[0] != esc {
		return 0
	}
	if len(p) == 1 {
		return -1
	}
	switch c := p[1]; {
	case c == '[': // CSI: parameters, intermediates, a final byte
		for i := 2; i < len(p) && i < maxEscape; i++ {
			switch c := p[i]; {
			case c >= 0x40 && c <= 0x7e:
				return i + 1
			case c < 0x20 || c > 0x7e: // broken off
				return i
			}
		}
	case c == ']' || c == 'P' || c == 'X' || c == '^' || c == '_': // a string up to BEL or ST
		for i := 2; i < len(p) && i < maxEscape; i++ {
			switch {
			case p[i] == 0x07:
				return i + 1
			case p[i] == esc && i+1 == len(p):
				return -1
			case p[i] == esc && p[i+1] == '\\':
				return i + 2
			case p[i] == esc, p[i] == '\n': // broken off
				return i
			}
		}
	case c >= 0x20 && c <= 0x2f: // intermediates and a final byte
		for i := 2; i < len(p) && i < maxEscape; i++ {
			if p[i] > 0x2f || p[i] < 0x20 {
				return i + 1
			}
		}
	default:
		return 2
	}
	if len(p) >= maxEscape {
		return 2 // it has no end: at least its start is no text
	}
	return -1
}

// plain returns p as a terminal would leave it behind, line by line: without
// control sequences, and of what a carriage return or backspaces have overwritten
// only the last. p is not changed.
func plain(p []byte) []byte {
	if bytes.IndexByte(p, esc) < 0 && bytes.IndexByte(p, '\r') < 0 && bytes.IndexByte(p, '\b') < 0 && bytes.IndexByte(p, 0x07) < 0 {
		return p
	}
	out := make([]byte, 0, len(p))
	line := 0 // where the line starts in out
	for i := 0; i < len(p); {
		switch c := p[i]; c {
		case esc:
			n := escape(p[i:])
			if n < 0 {
				return out // the rest of it is still to come, or never will
			}
			i += max(n, 1)
		case '\r':
			for i < len(p) && p[i] == '\r' {
				i++
			}
			if i < len(p) && p[i] != '\n' { // what follows overwrites the line
				out = out[:line]
			}
		case '\b':
			if len(out) > line {
				_, n := utf8.DecodeLastRune(out[line:])
				out = out[:len(out)-n]
			}
			i++
		case 0x07:
			i++
		case '\n':
			out = append(out, c)
			line = len(out)
			i++
		default:
			out = append(out, c)
			i++
		}
	}
	return out
}

// unfinished returns how many bytes at the end of p only mean something together
// with what follows: a part of a character and, for plain text, of a control
// sequence or of a line's end.
func unfinished(p []byte, forPlain bool) int {
	if forPlain {
		from := max(0, len(p)-maxEscape)
		if at := bytes.LastIndexByte(p[from:], esc); at >= 0 && escape(p[from+at:]) < 0 {
			// ESC \ ends a string that began before.
			if open := bytes.LastIndexByte(p[from:from+at], esc); open >= 0 && escape(p[from+open:]) < 0 {
				at = open
			}
			return len(p) - from - at
		}
		if n := len(p); n > 0 && p[n-1] == '\r' {
			return 1
		}
	}
	return partRune(p)
}

// partRune returns the length of the unfinished character at the end of p.
func partRune(p []byte) int {
	for n := 1; n < utf8.UTFMax && n <= len(p); n++ {
		c := p[len(p)-n]
		if utf8.RuneStart(c) {
			if !utf8.FullRune(p[len(p)-n:]) {
				return n
			}
			return 0
		}
	}
	return 0
}

// restRune returns the length of the rest of a character whose start is missing
// at the start of p.
func restRune(p []byte) int {
	n := 0
	for n < len(p) && n < utf8.UTFMax-1 && !utf8.RuneStart(p[n]) {
		n++
	}
	return n
}

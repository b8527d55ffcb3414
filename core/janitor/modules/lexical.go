package modules

import (
	"bytes"
	"iter"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// occurrences yields where a word stands in the text.
func occurrences(text []byte, word string) iter.Seq[int] {
	return func(yield func(int) bool) {
		for at := 0; ; {
			i := bytes.Index(text[at:], []byte(word))
			if i < 0 || !yield(at+i) {
				return
			}
			at += i + len(word)
		}
	}
}

// isWord reports whether the text from start to end is not part of a longer
// word.
func isWord(text []byte, start, end int) bool {
	if start > 0 && asciiWord(text[start-1]) {
		return false
	}
	return identifier(text[end:]) == 0
}

func asciiWord(c byte) bool {
	return c == '_' || c == '$' || '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
}

// identifier is the length of the name that the text starts with. It takes
// more for a name than JavaScript does: any character that is neither ASCII
// nor a space, and the backslash of an escape.
func identifier(text []byte) int {
	for i := 0; i < len(text); {
		c := text[i]
		if c < utf8.RuneSelf {
			if !asciiWord(c) && c != '\\' {
				return i
			}
			i++
			continue
		}
		r, n := utf8.DecodeRune(text[i:])
		if isSpace(r) {
			return i
		}
		i += n
	}
	return len(text)
}

func isSpace(r rune) bool {
	return unicode.IsSpace(r) || unicode.Is(unicode.Zs, r) || r == '\uFEFF' || endsLine(r)
}

func endsLine(r rune) bool { return r == '\n' || r == '\r' || r == '\u2028' || r == '\u2029' }

// skip is the length of the space and the comments that the text starts with.
func skip(text []byte) int {
	for i := 0; i < len(text); {
		if n := comment(text[i:]); n > 0 {
			i += n
			continue
		}
		r, n := utf8.DecodeRune(text[i:])
		if !isSpace(r) {
			return i
		}
		i += n
	}
	return len(text)
}

// comment is the length of the comment that the text starts with.
func comment(text []byte) int {
	switch {
	case bytes.HasPrefix(text, []byte("//")):
		if n := bytes.IndexFunc(text, endsLine); n >= 0 {
			return n
		}
		return len(text)
	case bytes.HasPrefix(text, []byte("/*")):
		if n := bytes.Index(text[2:], []byte("*/")); n >= 0 {
			return n + 4
		}
		return len(text)
	}
	return 0
}

// quoted returns the content of the string literal that the text starts with,
// and its length with the quotes, which is 0 if there is none.
func quoted(text []byte) (content []byte, n int) {
	if len(text) == 0 || text[0] != '"' && text[0] != '\'' {
		return nil, 0
	}
	for i := 1; i < len(text); i++ {
		switch text[i] {
		case text[0]:
			return text[1:i], i + 1
		case '\\':
			i++ // maybe the end of a line: the literal goes on
		case '\n', '\r':
			return nil, 0
		}
	}
	return nil, 0
}

// template is quoted for a template literal without anything to fill in.
func template(text []byte) (content []byte, n int) {
	if len(text) == 0 || text[0] != '`' {
		return nil, 0
	}
	end := bytes.IndexByte(text[1:], '`')
	if end < 0 || bytes.ContainsAny(text[1:end+1], `$\`) {
		return nil, 0
	}
	return text[1 : end+1], end + 2
}

// isOwn reports whether a module comes without any installed package: a file,
// or part of the runtime.
func isOwn(spec string) bool {
	switch {
	case spec == "." || spec == ".." || strings.HasPrefix(spec, "./") || strings.HasPrefix(spec, "../"),
		strings.HasPrefix(spec, "/"), strings.HasPrefix(spec, "file:"):
		return true
	}
	rest, node := strings.CutPrefix(spec, "node:")
	if rest == "module" || rest == "vm" {
		return false // they can load anything
	}
	return node || spec == "bun" || strings.HasPrefix(spec, "bun:") || slices.Contains(builtins, spec)
}

// builtins are the modules of Node that need no prefix.
var builtins = strings.Fields(`
	assert assert/strict async_hooks buffer child_process cluster console constants crypto dgram
	diagnostics_channel dns dns/promises domain events fs fs/promises http http2 https inspector
	inspector/promises net os path path/posix path/win32 perf_hooks process punycode querystring
	readline readline/promises repl stream stream/consumers stream/promises stream/web
	string_decoder sys timers timers/promises tls trace_events tty url util util/types v8 wasi
	worker_threads zlib`)

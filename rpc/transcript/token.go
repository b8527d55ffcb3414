package transcript

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// piece is a stretch of a scalar: text, or a value that varies from run to run.
type piece struct {
	kind  string // "" for text
	value string // the text, or the value itself
	index int    // in a pattern: the number of the token; 0 if its value does not matter
}

// token is how a file shows the piece.
func (p piece) token() string {
	switch {
	case p.kind == "":
		return p.value
	case p.index == 0:
		return "<" + p.kind + ">"
	default:
		return fmt.Sprintf("<%s %d>", p.kind, p.index)
	}
}

// lexer finds what varies. The paths of the run are given to it.
type lexer struct {
	// Paths maps a path to the kind of its token, such as "dir".
	paths   []path
	pattern *regexp.Regexp
}

type path struct{ prefix, kind string }

// varying are the patterns of what varies, each with the kind of its token. A
// group, if there is one, is the part that is replaced.
var varying = []struct{ kind, pattern string }{
	{"session", `ses_[0-9A-Za-z]+`},
	{"message", `msg_[0-9A-Za-z]+`},
	{"part", `prt_[0-9A-Za-z]+`},
	{"permission", `per_[0-9A-Za-z]+`},
	{"call", `\bcall_[0-9A-Za-z_]+`},
	{"task", `task_[0-9a-f]{8}\b`},
	{"job", `job_[0-9a-f]{8}\b`},
	{"hash", `\b[0-9a-f]{40}\b`},
	{"port", `(?:127\.0\.0\.1|localhost):([0-9]+)`},
	{"pid", `\bpid ([0-9]+)`},
	{"duration", `\b(?:ran|for|after) ([0-9][0-9.hmsµ]*s)\b`},
}

// numbered kinds have an identity: the same value is the same token.
func numbered(kind string) bool {
	switch kind {
	case "session", "message", "part", "permission", "call", "task", "job":
		return true
	}
	return false
}

// byKey are fields whose whole value varies, whatever it looks like.
func byKey(key string) (kind string, ok bool) {
	switch key {
	case "pid", "version", "protocol", "project", "slug":
		return key, true
	case "manifestHash":
		return "manifest", true
	case "tookMs":
		return "ms", true
	}
	return "", false
}

// isContent reports whether a version is that of a file, which is a hash of what it
// holds and does not vary.
func isContent(kind string, v any) bool {
	s := text(v)
	return kind == "version" && s != "" && strings.Trim(s, "0123456789abcdef") == ""
}

// newLexer returns a lexer that knows directory, the project folder, and the
// folder above it, which holds everything of a recording. "" is no path.
func newLexer(directory string) *lexer {
	l := &lexer{}
	var alternatives []string
	if directory != "" {
		l.paths = append(l.paths, path{directory, "dir"})
		if i := strings.LastIndexByte(directory, '/'); i > 0 {
			l.paths = append(l.paths, path{directory[:i], "root"})
		}
	}
	for _, p := range l.paths {
		alternatives = append(alternatives, "("+regexp.QuoteMeta(p.prefix)+")")
	}
	for _, v := range varying {
		if !strings.Contains(strings.ReplaceAll(v.pattern, "(?:", ""), "(") {
			v.pattern = "(" + v.pattern + ")"
		}
		alternatives = append(alternatives, v.pattern)
	}
	l.pattern = regexp.MustCompile(strings.Join(alternatives, "|"))
	return l
}

// scalar cuts a live scalar, the value of key, into pieces.
func (l *lexer) scalar(key string, v any) []piece {
	if kind, ok := byKey(key); ok && v != "" && !isContent(kind, v) {
		return []piece{{kind: kind, value: plain(v)}}
	}
	switch v := v.(type) {
	case string:
		return l.text(v)
	case json.Number:
		if ms, err := v.Int64(); err == nil && ms >= 1e12 && ms < 1e13 { // Unix milliseconds
			return []piece{{kind: "time", value: v.String()}}
		}
	}
	return []piece{{value: "\x00" + plain(v)}} // not equal to the string of the same text
}

func (l *lexer) text(s string) []piece {
	var pieces []piece
	end := 0
	for _, m := range l.pattern.FindAllStringSubmatchIndex(s, -1) {
		for group := 1; 2*group < len(m); group++ {
			from, to := m[2*group], m[2*group+1]
			if from < 0 {
				continue
			}
			if from > end {
				pieces = append(pieces, piece{value: s[end:from]})
			}
			kind := ""
			if group <= len(l.paths) {
				kind = l.paths[group-1].kind
			} else {
				kind = varying[group-1-len(l.paths)].kind
			}
			pieces = append(pieces, piece{kind: kind, value: s[from:to]})
			end = to
		}
	}
	if end < len(s) || len(pieces) == 0 {
		pieces = append(pieces, piece{value: s[end:]})
	}
	return pieces
}

func plain(v any) string {
	if s, ok := v.(string); ok {
		return s
	}
	return compact(v)
}

var tokenPattern = regexp.MustCompile(`<(session|message|part|permission|call|task|job|hash|port|duration|dir|root|time|pid|version|protocol|project|slug|manifest|ms)(?: ([1-9][0-9]{0,5}))?>`)

// pattern cuts a scalar of a file into text and tokens.
func pattern(v any) []piece {
	s, ok := v.(string)
	if !ok {
		return []piece{{value: "\x00" + plain(v)}}
	}
	var pieces []piece
	end := 0
	for _, m := range tokenPattern.FindAllStringSubmatchIndex(s, -1) {
		p := piece{kind: s[m[2]:m[3]]}
		if m[4] >= 0 {
			p.index, _ = strconv.Atoi(s[m[4]:m[5]]) // digits
		}
		if numbered(p.kind) != (p.index > 0) {
			continue // only looks like one
		}
		if m[0] > end {
			pieces = append(pieces, piece{value: s[end:m[0]]})
		}
		pieces = append(pieces, p)
		end = m[1]
	}
	if end < len(s) || len(pieces) == 0 {
		pieces = append(pieces, piece{value: s[end:]})
	}
	return pieces
}

// join puts pieces together again, each token as show says.
func join(pieces []piece, show func(piece) string) string {
	var b strings.Builder
	for _, p := range pieces {
		if p.kind == "" {
			b.WriteString(p.value)
		} else {
			b.WriteString(show(p))
		}
	}
	return b.String()
}

// rewrite returns a copy of a JSON value with every scalar, and every key of an
// object, replaced. key is the field that the value belongs to.
func rewrite(v any, key string, change func(key string, v any) any) any {
	switch v := v.(type) {
	case map[string]any:
		out := make(map[string]any, len(v))
		for k, item := range v {
			name, _ := change("", k).(string)
			out[name] = rewrite(item, k, change)
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i, item := range v {
			out[i] = rewrite(item, key, change)
		}
		return out
	default:
		return change(key, v)
	}
}

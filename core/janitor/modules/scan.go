package modules

import (
	"bytes"
	"regexp"
	"slices"
	"strings"
)

// scan finds what a source imports at run time.
//
// It reads no JavaScript, as that would take a parser that agrees with the
// runtime's in every corner; where they disagree an import would be missed.
// Instead it looks at every place where the words import, export and require
// stand, be it in code, a comment or a text, and takes it for what it says if
// it could be code. So what only looks like an import may be reported, but no
// import is left out. Imports inside of text that is run as code, and programs
// that are started, are beyond it; eval counts as unsure.
func scan(name string, text []byte) []Need {
	s := &scanner{text: text, seen: map[Need]bool{}, budget: maxSkipped}
	if bytes.IndexByte(text, 0) >= 0 {
		s.unsure("is not plain text")
		return s.needs
	}
	for _, h := range hazards {
		if h.in(text) {
			s.unsure(h.why)
		}
	}
	// JSX becomes an import of what makes its elements, and the runtime takes
	// every JavaScript file for one that may have some.
	if ext := strings.ToLower(name[strings.LastIndexByte(name, '.')+1:]); strings.HasSuffix(ext, "sx") ||
		strings.HasSuffix(ext, "js") && markup.Match(text) {
		s.unsure("may have JSX, which imports its library")
	}
	s.each("import", s.importing)
	s.each("export", s.clause)
	s.each("require", s.requiring)
	return s.needs
}

// maxNeeds of one file are enough to tell people.
const maxNeeds = 16

// maxClause bounds what is read after each import: a longer one is not read,
// and counts as unsure.
const maxClause = 32 << 10

var markup = regexp.MustCompile(`</|/>|<>`)

// maxSkipped bounds the space and the comments that are read in one file, some
// of them more than once: a hostile file would take minutes.
const maxSkipped = 8 << 20

// hazard is a sign of imports that are not to be seen.
type hazard struct {
	// word, in whichever of its places the pattern matches what starts there.
	word    string
	pattern *regexp.Regexp
	why     string
}

// in searches for the word first, which is a hundred times as fast.
func (h hazard) in(text []byte) bool {
	for i := range occurrences(text, h.word) {
		if h.pattern.Match(text[i:min(len(text), i+maxHazard)]) {
			return true
		}
	}
	return false
}

// maxHazard is more than a pattern of a hazard needs to see.
const maxHazard = 128

var hazards = []hazard{
	{"createRequire", regexp.MustCompile(``), "loads modules in its own way"},
	{"_load", regexp.MustCompile(`^_load\b`), "loads modules in its own way"},
	{"_resolveFilename", regexp.MustCompile(``), "loads modules in its own way"},
	{"eval", regexp.MustCompile(`^eval\s*\)?\s*\(`), "runs code from a text"},
	{"Function", regexp.MustCompile(`^Function\s*\(`), "runs code from a text"},
	{"node_modules", regexp.MustCompile(`^node_modules[\\/]+[@\w.]`), "names a file in node_modules"},
	{`\u`, regexp.MustCompile(`^\\u(00[67][0-9A-Fa-f]|\{0*[67][0-9A-Fa-f]\}|\{0{8})`), "has words in disguise"},
}

// scanner collects the needs of one file.
type scanner struct {
	text  []byte
	needs []Need
	seen  map[Need]bool
	// budget is what is left of maxSkipped.
	budget int
}

// each calls read with the end of each place where the word stands.
func (s *scanner) each(word string, read func(end int)) {
	for i := range occurrences(s.text, word) {
		if len(s.needs) >= maxNeeds || s.budget < 0 {
			return
		}
		if end := i + len(word); isWord(s.text, i, end) {
			read(end)
		}
	}
}

// skip returns the text after the space and the comments that it starts with.
func (s *scanner) skip(text []byte) []byte {
	n := skip(text)
	if s.budget -= n; s.budget < 0 {
		s.unsure("has too many comments to be read")
	}
	return text[n:]
}

func (s *scanner) add(n Need) {
	if !s.seen[n] && len(s.needs) < maxNeeds {
		s.seen[n] = true
		s.needs = append(s.needs, n)
	}
}

func (s *scanner) unsure(why string) { s.add(Need{Unsure: why}) }

const computed = "imports what only running it can tell"

// literal adds the package that a string literal names.
func (s *scanner) literal(spec []byte) {
	switch name := string(spec); {
	case strings.Contains(name, `\`):
		s.unsure(computed)
	case !isOwn(name):
		s.add(Need{Import: name})
	}
}

// after is the text from i on, as much as is read of it.
func (s *scanner) after(i int) []byte { return s.text[i:min(len(s.text), i+maxClause)] }

// importing reads what comes after the word import.
func (s *scanner) importing(i int) {
	rest := s.after(i)
	rest = s.skip(rest)
	switch {
	case len(rest) > 0 && rest[0] == '(':
		s.argument(rest[1:])
	case len(rest) > 0 && rest[0] == '.':
		rest = rest[1:]
		rest = s.skip(rest)
		// import.meta imports nothing; import.defer and import.source do.
		if n := identifier(rest); n > 0 && string(rest[:n]) == "meta" {
			rest = rest[n:]
			if rest = s.skip(rest); len(rest) > 0 && rest[0] == '[' {
				s.unsure(computed)
			} else if len(rest) > 0 && rest[0] == '.' {
				rest = rest[1:]
				if rest = s.skip(rest); bytes.HasPrefix(rest, []byte("resolve")) {
					s.unsure(computed)
				}
			}
			return
		}
		s.unsure(computed)
	default:
		if spec, n := quoted(rest); n > 0 {
			s.literal(spec)
			return
		}
		s.clause(i)
	}
}

// requiring reads what comes after the word require.
func (s *scanner) requiring(i int) {
	rest := s.after(i)
	// A word after it on the same line makes it English.
	plain := bytes.TrimLeft(rest, " \t")
	if n := identifier(plain); n > 0 && len(plain) < len(rest) && !slices.Contains(infix, string(plain[:n])) {
		return
	}
	rest = s.skip(rest)
	if len(rest) > 0 && rest[0] == '(' {
		s.argument(rest[1:])
		return
	}
	s.unsure("uses require in a way that only running it can tell")
}

// infix are the words that may follow an expression.
var infix = []string{"in", "instanceof", "as", "satisfies", "of", "is"}

// argument reads the first argument of a call.
func (s *scanner) argument(rest []byte) {
	rest = s.skip(rest)
	spec, n := quoted(rest)
	if n == 0 {
		spec, n = template(rest)
	}
	if n > 0 {
		rest = rest[n:]
		if rest = s.skip(rest); len(rest) > 0 && (rest[0] == ')' || rest[0] == ',') {
			s.literal(spec)
			return
		}
	}
	s.unsure(computed)
}

// maxLoose is more words than a clause has outside of braces: as in
// `import defer a, * as b from`.
const maxLoose = 10

// clause reads what comes after import or export, up to the word from and a
// string. What does not follow their grammar is neither.
func (s *scanner) clause(i int) {
	rest := s.after(i)
	full := len(rest) == maxClause
	var tokens []string // outside of braces
	braces := 0         // 1 in them, 2 after them
	for {
		rest = s.skip(rest)
		if len(rest) == 0 {
			if full {
				s.unsure("has an import that is too long to be read")
			}
			return
		}
		if spec, n := quoted(rest); n > 0 {
			last := ""
			if len(tokens) > 0 {
				last = tokens[len(tokens)-1]
			}
			if braces == 1 || last == "as" {
				rest = rest[n:]
				continue // import { "a name" as b }, export * as "a name"
			}
			if last == "from" && !typesOnly(tokens) {
				s.literal(spec)
			}
			return
		}
		switch c := rest[0]; {
		case c == '{' && braces == 0:
			braces = 1
			tokens = append(tokens, "{")
			rest = rest[1:]
		case c == '}' && braces == 1:
			braces = 2
			rest = rest[1:]
		case c == ',' || c == '*':
			if braces != 1 {
				tokens = append(tokens, string(c))
			}
			rest = rest[1:]
		default:
			n := identifier(rest)
			if n == 0 {
				return
			}
			if braces != 1 {
				tokens = append(tokens, string(rest[:n]))
			}
			rest = rest[n:]
		}
		if len(tokens) > maxLoose {
			return
		}
	}
}

// typesOnly reports whether a clause, of which the tokens up to the last from
// are given, is erased because it starts with type. In `import type from` and
// `import type, {a} from` type is a name like any other.
func typesOnly(tokens []string) bool {
	if tokens[0] != "type" || len(tokens) < 3 {
		return false
	}
	return tokens[1] != ","
}

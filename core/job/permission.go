package job

import (
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"mvdan.cc/sh/v3/syntax"
)

// Needs is what the user's rules have to allow before a line runs: the questions
// that OpenCode's own bash tool asks of it, first about directories, then about
// commands.
type Needs struct {
	// External are the patterns for the permission external_directory, one for each
	// directory outside of the project that is named; they are also what an
	// "always" allows.
	External []string
	// Commands are the patterns for the permission bash: one for each command in
	// the line, as it is written, whatever it is nested in. Always are the patterns
	// that an "always" allows from then on, such as "git push *".
	Commands, Always []string
}

// Place is where a line is to run.
type Place struct {
	// Dir is the directory that it runs in; relative paths are meant from there.
	Dir string
	// Roots are the directories that belong to the project. The root of the file
	// system stands for a project without a worktree and is ignored.
	Roots []string
	// Home is the user's home directory.
	Home string
	// IsDir tells directories from files; nil takes every path for that of a file.
	IsDir func(path string) bool
}

// NeedsOf splits a shell line into what has to be allowed. It changes nothing and
// runs nothing.
//
// It forms the patterns that OpenCode's bash tool forms, with the same blind
// spots: what another program is told to run (bash -c, xargs, find -exec) is part
// of that program's pattern; variables are not followed; cd, [ and declarations
// need no permission as such. It asks for more in three cases: a redirection to a
// file is always part of a pattern or one of its own, a redirection from or to a
// file outside of the project needs its directory, and a line that is no correct
// shell is asked for as a whole, and for whatever in it may be a command: a shell
// runs what comes before a mistake.
func NeedsOf(line string, at Place) Needs {
	n := needs{line: line, at: at}
	if !n.inside(at.Dir) {
		n.external(at.Dir)
	}
	file, ok := parse(line)
	if !ok {
		whole := strings.TrimSpace(line)
		return Needs{External: n.out.External, Commands: pieces(line), Always: []string{whole}}
	}
	syntax.Walk(file, n.visit)
	if len(n.out.Commands) == 0 {
		n.command(strings.TrimSpace(line), nil)
	}
	return n.out
}

const (
	// maxParsed is the longest line that is understood.
	maxParsed = 64 << 10
	// maxOpened is how many characters it may have that can begin something which
	// the parser calls itself for: its stack cannot be bounded otherwise, and the
	// end of that would be the end of this process.
	maxOpened = 2000
	openers   = "({[`?"
)

// parse understands a line, unless it is no shell or more than people write.
func parse(line string) (*syntax.File, bool) {
	opened := 0
	for i := range len(line) {
		if strings.IndexByte(openers, line[i]) >= 0 {
			opened++
		}
	}
	if len(line) > maxParsed || opened > maxOpened {
		return nil, false
	}
	file, err := syntax.NewParser(syntax.Variant(syntax.LangBash)).Parse(strings.NewReader(line), "")
	if err != nil {
		return nil, false
	}
	hidden := false
	syntax.Walk(file, func(node syntax.Node) bool {
		if glob, ok := node.(*syntax.ExtGlob); ok { // of which the parser looks at nothing
			hidden = hidden || strings.ContainsAny(glob.Pattern.Value, "$`<>")
		}
		return !hidden
	})
	return file, !hidden
}

// pieces is a line, and what there is of it when it is cut wherever a command may
// begin, whatever that does to words; each once.
func pieces(line string) []string {
	out := []string{strings.TrimSpace(line)}
	known := map[string]bool{out[0]: true}
	for piece := range strings.FieldsFuncSeq(line, func(r rune) bool { return strings.ContainsRune("\n\r;&|(){}`", r) }) {
		words := strings.Fields(piece)
		for len(words) > 0 && slices.Contains(keywords, words[0]) {
			words = words[1:]
		}
		if command := strings.Join(words, " "); command != "" && !known[command] {
			known[command] = true
			out = append(out, command)
		}
	}
	return out
}

// keywords may stand before a command.
var keywords = strings.Fields("! if then elif else while until do time coproc exec command builtin eval $")

// needs gathers the Needs of a line.
type needs struct {
	line string
	at   Place
	out  Needs
	// prefixed are statements whose pattern begins before them, with a word that
	// is a keyword to us and a command to OpenCode; right are those that end a list
	// or a pipeline, whose redirections OpenCode counts to the whole of it.
	prefixed map[*syntax.Stmt]syntax.Pos
	right    map[*syntax.Stmt]bool
}

// visit is called for every part of the line, a whole before its parts.
func (n *needs) visit(node syntax.Node) bool {
	stmt, ok := node.(*syntax.Stmt)
	if !ok {
		return true
	}
	for _, r := range stmt.Redirs {
		n.redirection(r)
	}
	switch cmd := stmt.Cmd.(type) {
	case *syntax.CallExpr:
		n.call(stmt, cmd)
		return true
	case *syntax.BinaryCmd:
		n.mark(cmd)
	case *syntax.TimeClause:
		n.prefix(stmt, cmd.Stmt)
	case *syntax.CoprocClause:
		n.prefix(stmt, cmd.Stmt)
	case *syntax.LetClause, *syntax.ArithmCmd, *syntax.TestClause, *syntax.DeclClause:
		n.command(n.text(cmd.Pos(), cmd.End()), nil)
	}
	for _, r := range stmt.Redirs { // those of a simple command are in its pattern
		if n.writes(r) {
			n.command(n.text(r.Pos(), r.End()), nil)
		}
	}
	return true
}

// mark notes the last part of a list or a pipeline.
func (n *needs) mark(cmd *syntax.BinaryCmd) {
	if n.right == nil {
		n.right = map[*syntax.Stmt]bool{}
	}
	n.right[cmd.Y] = true
}

// prefix makes the first command of a statement begin at a word before it, which
// is a command by itself if none follows.
func (n *needs) prefix(outer, inner *syntax.Stmt) {
	from := outer.Cmd.Pos()
	if at, ok := n.prefixed[outer]; ok {
		from = at
	}
	if inner == nil {
		pattern := n.text(from, outer.Cmd.End())
		n.command(pattern, strings.Fields(pattern))
	}
	if n.prefixed == nil {
		n.prefixed = map[*syntax.Stmt]syntax.Pos{}
	}
	for inner != nil {
		n.prefixed[inner] = from
		binary, ok := inner.Cmd.(*syntax.BinaryCmd)
		if !ok {
			return
		}
		inner = binary.X
	}
}

// call takes in a simple command.
func (n *needs) call(stmt *syntax.Stmt, call *syntax.CallExpr) {
	words := make([]string, len(call.Args))
	for i, w := range call.Args {
		words[i] = n.text(w.Pos(), w.End())
	}
	from := call.Pos()
	if at, ok := n.prefixed[stmt]; ok {
		from = at
		words = append(strings.Fields(n.text(from, call.Pos())), words...)
	}
	if len(words) == 0 { // only assignments, or nothing but redirections
		if slices.ContainsFunc(stmt.Redirs, n.writes) || slices.ContainsFunc(call.Assigns, calculates) {
			n.command(n.source(stmt, from), nil)
		}
		return
	}
	if slices.Contains(filePrograms, words[0]) {
		for i, w := range words[1:] {
			if !strings.HasPrefix(w, "-") && !(words[0] == "chmod" && strings.HasPrefix(w, "+")) && literal(call.Args, i+1) {
				n.path(w)
			}
		}
	}
	silent := slices.Contains(directoryPrograms, words[0])
	switch {
	case !silent && n.right[stmt] && !slices.ContainsFunc(stmt.Redirs, n.writes):
		n.command(n.text(from, call.End()), words)
	case !silent:
		n.command(n.source(stmt, from), words)
	default:
		for _, r := range stmt.Redirs {
			if n.writes(r) {
				n.command(n.text(r.Pos(), r.End()), nil)
			}
		}
	}
}

// calculates reports whether an assignment has the shell do arithmetic, in which
// the values of variables are evaluated, too.
func calculates(a *syntax.Assign) bool {
	found := a.Index != nil
	syntax.Walk(a, func(node syntax.Node) bool {
		switch node := node.(type) {
		case *syntax.ArithmExp:
			found = true
		case *syntax.ParamExp:
			found = found || node.Index != nil || node.Slice != nil
		}
		return !found
	})
	return found
}

// literal reports whether an argument is of a kind in which OpenCode sees paths.
func literal(args []*syntax.Word, i int) bool {
	return i < len(args) && !slices.ContainsFunc(args[i].Parts, func(p syntax.WordPart) bool {
		_, substitution := p.(*syntax.ProcSubst)
		return substitution
	})
}

// source is a simple command as it is written, with its redirections and the
// documents in them.
func (n *needs) source(stmt *syntax.Stmt, from syntax.Pos) string {
	start, end := int(from.Offset()), int(from.Offset())
	if stmt.Cmd != nil {
		end = int(stmt.Cmd.End().Offset())
	}
	for _, r := range stmt.Redirs {
		start = min(start, int(r.Pos().Offset()))
		end = max(end, int(r.End().Offset()))
		if r.Hdoc != nil {
			end = max(end, n.lineEnd(int(r.Hdoc.End().Offset())))
		}
	}
	return n.slice(start, end)
}

// lineEnd is where the line ends that holds the end of a here-document, which is
// to follow at an offset.
func (n *needs) lineEnd(at int) int {
	at = min(at, len(n.line))
	if i := strings.IndexByte(n.line[at:], '\n'); i >= 0 {
		return at + i
	}
	return len(n.line)
}

// text is what is written from one place to another.
func (n *needs) text(from, to syntax.Pos) string {
	return n.slice(int(from.Offset()), int(to.Offset()))
}

func (n *needs) slice(from, to int) string {
	to = min(to, len(n.line))
	return strings.TrimSpace(n.line[min(from, to):to])
}

// command takes in a pattern; words are those of the command, if it is one.
func (n *needs) command(pattern string, words []string) {
	if pattern == "" {
		return
	}
	n.out.Commands = appendNew(n.out.Commands, pattern)
	always := pattern
	if len(words) > 0 {
		always = strings.Join(words[:min(nameLength(words), len(words))], " ") + " *"
	}
	n.out.Always = appendNew(n.out.Always, always)
}

func appendNew(list []string, s string) []string {
	if slices.Contains(list, s) {
		return list
	}
	return append(list, s)
}

// writes reports whether a redirection changes a file.
func (n *needs) writes(r *syntax.Redirect) bool {
	switch r.Op {
	case syntax.RdrOut, syntax.AppOut, syntax.RdrInOut, syntax.RdrClob, syntax.AppClob,
		syntax.RdrAll, syntax.AppAll, syntax.RdrAllClob, syntax.AppAllClob:
	case syntax.DplOut: // >&2 and >&- write no file, >&file does
		if descriptor.MatchString(n.text(r.Word.Pos(), r.Word.End())) {
			return false
		}
	default:
		return false
	}
	return !device.MatchString(unquote(n.text(r.Word.Pos(), r.Word.End())))
}

var (
	descriptor = regexp.MustCompile(`^(\d+-?|-|\$\w+|\$\{\w+\})$`)
	// device is a file that nothing is kept in.
	device = regexp.MustCompile(`^/dev/(null|zero|u?random|full|tty|std(in|out|err)|fd/\d+)$`)
)

// redirection takes in the directory of a file that is read or written.
func (n *needs) redirection(r *syntax.Redirect) {
	switch r.Op {
	case syntax.Hdoc, syntax.DashHdoc, syntax.WordHdoc, syntax.DplIn:
		return
	case syntax.DplOut:
		if !n.writes(r) {
			return
		}
	}
	if r.Word == nil {
		return
	}
	word := n.text(r.Word.Pos(), r.Word.End())
	if !device.MatchString(unquote(word)) {
		n.path(word)
	}
}

// path takes in the directory of a path, if that is written out and lies outside
// of the project. Of a pattern, what stands before its first wildcard counts.
func (n *needs) path(word string) {
	path := n.home(unquote(word))
	if i := strings.IndexAny(path, "?*["); i >= 0 {
		path = path[:i]
	}
	if path == "" || strings.HasPrefix(path, "(") || strings.ContainsAny(path, "$`") {
		return
	}
	if !filepath.IsAbs(path) {
		path = filepath.Join(n.at.Dir, path)
	}
	path = filepath.Clean(path)
	if n.inside(path) {
		return
	}
	if n.at.IsDir == nil || !n.at.IsDir(path) {
		path = filepath.Dir(path)
	}
	n.external(path)
}

func (n *needs) external(dir string) {
	n.out.External = appendNew(n.out.External, filepath.Join(dir, "*"))
}

// inside reports whether a path belongs to the project.
func (n *needs) inside(path string) bool {
	return slices.ContainsFunc(n.at.Roots, func(root string) bool {
		rel, err := filepath.Rel(root, path)
		return root != string(filepath.Separator) && err == nil && filepath.IsLocal(rel)
	})
}

// home puts the home directory in the place of ~.
func (n *needs) home(path string) string {
	if path == "~" {
		return n.at.Home
	}
	if rest, ok := strings.CutPrefix(path, "~/"); ok && n.at.Home != "" {
		return filepath.Join(n.at.Home, rest)
	}
	return path
}

// unquote takes off the quotes around a whole word.
func unquote(word string) string {
	if n := len(word); n >= 2 && (word[0] == '"' || word[0] == '\'') && word[n-1] == word[0] {
		return word[1 : n-1]
	}
	return word
}

package todo

import (
	"bytes"
	"iter"
	"runtime"
	"sync"
	"sync/atomic"

	"github.com/yuin/goldmark/ast"
	"github.com/yuin/goldmark/parser"
	"github.com/yuin/goldmark/text"
	"github.com/yuin/goldmark/util"
)

// maxDepth is how deep lists and quotes may nest in one another. Deeper ones are
// read as text. CommonMark knows no limit, but costs of every line grow with the
// depth, and a file of `- - - -` would take hours.
const maxDepth = 100

// newBlockParser returns a CommonMark parser that finds blocks and leaves the
// text in them alone: emphasis, links and the like mean nothing to a todo list
// and are half of the time that parsing takes. Link definitions stay
// paragraphs, too; they cannot hold a box.
func newBlockParser() parser.Parser {
	return parser.NewParser(parser.WithBlockParsers(
		util.Prioritized(parser.NewSetextHeadingParser(), 100),
		util.Prioritized(parser.NewThematicBreakParser(), 200),
		util.Prioritized(list{bounded{parser.NewListParser()}}, 300),
		util.Prioritized(parser.NewListItemParser(), 400),
		util.Prioritized(parser.NewCodeBlockParser(), 500),
		util.Prioritized(parser.NewATXHeadingParser(), 600),
		util.Prioritized(parser.NewFencedCodeBlockParser(), 700),
		util.Prioritized(bounded{parser.NewBlockquoteParser()}, 800),
		util.Prioritized(parser.NewHTMLBlockParser(), 900),
		util.Prioritized(paragraph{parser.NewParagraphParser()}, 1000),
	))
}

// partSize is about how much of a source is parsed at once, in bytes: the parser
// keeps books on the lines of a list that grow with it.
const partSize = 64 << 10

// part is a stretch of a source that was parsed by itself.
type part struct {
	source []byte
	root   ast.Node
}

func (p *part) parse() { p.root = newBlockParser().Parse(newReader(p.source)) }

// parseBlocks parses a source, in parts of a size that begin with headings and
// as many at a time as there are processors.
func parseBlocks(source []byte, size int) []part {
	var parts []part
	for rest := source; len(rest) > 0 || parts == nil; {
		cut := headingBehind(rest, size)
		parts = append(parts, part{source: rest[:cut]})
		rest = rest[cut:]
	}
	var (
		next    atomic.Int64
		parsers sync.WaitGroup
	)
	work := func() {
		for i := int(next.Add(1)) - 1; i < len(parts); i = int(next.Add(1)) - 1 {
			parts[i].parse()
		}
	}
	for range min(runtime.GOMAXPROCS(0), len(parts)) - 1 {
		parsers.Go(func() {
			defer func() { _ = recover() }() // what was not parsed is below, by our caller
			work()
		})
	}
	work()
	parsers.Wait()
	start := 0
	for i, p := range parts {
		if p.root == nil || i < len(parts)-1 && goesOn(p.root.LastChild()) {
			rest := part{source: source[start:]}
			rest.parse()
			return append(parts[:i], rest)
		}
		start += len(p.source)
	}
	return parts
}

// goesOn reports whether the last block of a part may go on over a heading: until
// their end is written, fenced code and HTML do. A heading at the beginning of
// its line ends any other block with all that is in it.
func goesOn(last ast.Node) bool {
	return last != nil && (last.Kind() == ast.KindFencedCodeBlock || last.Kind() == ast.KindHTMLBlock)
}

// headingBehind is where the first line behind a position starts that begins with
// a # and is a heading, or the end.
func headingBehind(source []byte, at int) int {
	for at = lineEnd(source, at); at < len(source); at = lineEnd(source, at) {
		if title := bytes.TrimLeft(source[at:min(at+7, len(source))], "#"); len(title) > 0 && title[0] == ' ' && source[at] == '#' {
			return at
		}
	}
	return len(source)
}

// bounded opens no block below maxDepth.
type bounded struct{ parser.BlockParser }

func (b bounded) Open(parent ast.Node, r text.Reader, pc parser.Context) (ast.Node, parser.State) {
	if len(pc.OpenedBlocks()) >= maxDepth { // which counts blocks about to be closed, too
		depth := 0
		for n := parent; n != nil; n = n.Parent() {
			depth++
		}
		if depth >= maxDepth {
			return nil, parser.NoChildren
		}
	}
	return b.BlockParser.Open(parent, r, pc)
}

// list does not work out whether a list is tight, which only a printer asks.
type list struct{ bounded }

func (list) Close(ast.Node, text.Reader, parser.Context) {}

// paragraph ends paragraphs without trimming them, and hides their text from
// the parser's second phase, which would look into it byte by byte: the last
// line seems to end before it starts. Use linesOf to read what is left.
type paragraph struct{ parser.BlockParser }

func (paragraph) Close(node ast.Node, _ text.Reader, _ parser.Context) {
	if last := node.Lines().Len() - 1; last >= 0 {
		line := node.Lines().At(last)
		line.Stop = 0
		node.Lines().Set(last, line)
	}
}

// linesOf yields where the lines of a paragraph or heading start and end,
// without what is around them in their block, and with the white space.
func linesOf(node ast.Node, source []byte) iter.Seq2[int, int] {
	return func(yield func(int, int) bool) {
		lines := node.Lines()
		for i := range lines.Len() {
			line := lines.At(i)
			if line.Stop < line.Start {
				line.Stop = lineEnd(source, line.Start)
			}
			if !yield(line.Start, line.Stop) {
				return
			}
		}
	}
}

// manyBlanks is how many blank lines in a row a file may have before it is worth
// passing over them.
const manyBlanks = 16

// newReader returns a reader of a source for the parser.
func newReader(source []byte) text.Reader {
	reader := text.NewReader(source)
	run := 0
	for line := range bytes.Lines(source) {
		if !util.IsBlank(line) {
			run = 0
		} else if run++; run > manyBlanks {
			return &lineReader{Reader: reader}
		}
	}
	return reader
}

// lineReader passes over all blank lines of a run but two. More mean nothing
// to the structure, and each costs as much as the blocks around it are deep.
type lineReader struct {
	text.Reader
	blank int // so many lines up to the current one
}

func (r *lineReader) AdvanceLine() {
	for {
		r.Reader.AdvanceLine()
		if line, _ := r.PeekLine(); line == nil || !util.IsBlank(line) {
			r.blank = 0
			return
		}
		if r.blank++; r.blank <= 2 {
			return
		}
	}
}

func (r *lineReader) SkipBlankLines() (text.Segment, int, bool) {
	r.blank = 0
	return r.Reader.SkipBlankLines()
}

package todo

import (
	"bytes"
	"iter"

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

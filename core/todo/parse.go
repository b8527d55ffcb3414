package todo

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"github.com/yuin/goldmark/ast"
)

// MaxSize is how long a todo file may be, in bytes.
const MaxSize = 4 << 20

// ErrBinary is a file that is not text.
var ErrBinary = errors.New("it is not a text file in UTF-8 (it holds NUL bytes)")

// TooLargeError is a file above MaxSize.
type TooLargeError struct {
	// Size and Limit are in bytes.
	Size, Limit int64
}

// Error says how large the file is and what is accepted.
func (e *TooLargeError) Error() string {
	return fmt.Sprintf("it is %s long, and todo files are read up to %s", bytesText(e.Size), bytesText(e.Limit))
}

func bytesText(n int64) string {
	if n < 1<<20 {
		return fmt.Sprintf("%.1f KiB", float64(n)/(1<<10))
	}
	return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
}

// Parse reads a todo file. Any text is one, even without items and with bytes
// that are not UTF-8; the error is a *TooLargeError or ErrBinary.
func Parse(content []byte) (*Document, error) { return parse(content, partSize) }

func parse(content []byte, size int) (*Document, error) {
	if len(content) > MaxSize {
		return nil, &TooLargeError{Size: int64(len(content)), Limit: MaxSize}
	}
	if bytes.IndexByte(content, 0) >= 0 {
		return nil, ErrBinary
	}
	sum := sha256.Sum256(content)
	doc := &Document{Version: Version(hex.EncodeToString(sum[:])), text: string(content)}
	base := markSize(doc.text)
	source := unixLines(content)[base:]
	w := &walker{doc: doc, line: 1}
	for _, part := range parseBlocks(source, size) {
		w.part(part, base)
		base += len(part.source)
	}
	w.settle(len(content))
	if n := len(doc.Sections); n > 0 {
		doc.Sections[n-1].end = len(content)
	}
	return doc, nil
}

// missing is the document of a file that is not there.
func missing() *Document { return &Document{Missing: true} }

// byteOrderMark is what some editors put in front of UTF-8.
const byteOrderMark = "\ufeff"

func markSize(text string) int {
	if strings.HasPrefix(text, byteOrderMark) {
		return len(byteOrderMark)
	}
	return 0
}

// unixLines returns the content with every line ended by \n alone, at the same
// positions: \r\n becomes a space, which means nothing at the end of a line, and
// \n. It returns the content itself when that is so already.
func unixLines(content []byte) []byte {
	at := bytes.IndexByte(content, '\r')
	if at < 0 {
		return content
	}
	content = bytes.Clone(content)
	for ; at < len(content); at++ {
		if content[at] != '\r' {
			continue
		}
		if at+1 < len(content) && content[at+1] == '\n' {
			content[at] = ' '
		} else {
			content[at] = '\n'
		}
	}
	return content
}

// walker makes items and sections of the parser's blocks.
type walker struct {
	doc     *Document
	base    int    // where source starts in the document's text
	source  []byte // of the part, with \n alone at the ends of lines
	line    int    // of counted; lines are asked for in the order of positions
	counted int    // up to here lines of source are counted

	section *Section
	ended   []*Item // items whose blocks are over and that have no limit yet
	slab    []Item  // to take items from

	attributes Attributes // of many items, one behind the other
}

// part walks the blocks of a part that starts at a position of the document's
// text.
func (w *walker) part(p part, base int) {
	w.lineAt(len(w.source))
	w.base, w.source, w.counted = base, p.source, 0
	for n := p.root.FirstChild(); n != nil; n = n.NextSibling() {
		w.block(n, nil, true)
	}
}

// block walks a block and what is in it. It is as deep in calls as blocks are
// nested, which the parser bounds.
func (w *walker) block(n ast.Node, parent *Item, top bool) {
	if n.FirstChild() == nil || n.Kind() == ast.KindHeading {
		w.leaf(n)
	}
	switch n.Kind() {
	case ast.KindHeading:
		if top {
			w.heading(n.(*ast.Heading))
		}
		return
	case ast.KindListItem:
		if item := w.item(n, parent); item != nil {
			w.blocks(n, item)
			w.ended = append(w.ended, item)
			return
		}
	}
	w.blocks(n, parent)
}

func (w *walker) blocks(n ast.Node, parent *Item) {
	for c := n.FirstChild(); c != nil; c = c.NextSibling() {
		w.block(c, parent, false)
	}
}

// leaf notes the start of a block without blocks in it: items that ended before
// reach up to its line.
func (w *walker) leaf(n ast.Node) {
	if len(w.ended) == 0 {
		return
	}
	at := len(w.source)
	if pos := n.Pos(); pos >= 0 {
		at = min(at, pos)
	}
	if lines := n.Lines(); lines != nil && lines.Len() > 0 {
		at = min(at, lines.At(0).Start)
	}
	w.settle(w.base + lineStart(w.source, at))
}

func (w *walker) settle(limit int) {
	for _, item := range w.ended {
		item.limit = limit
	}
	w.ended = w.ended[:0]
}

// item returns the item that a list item is, or nil: it has to have a box right
// behind its bullet, on the same line.
func (w *walker) item(n ast.Node, parent *Item) *Item {
	first := n.FirstChild()
	if first == nil || first.Kind() != ast.KindParagraph && first.Kind() != ast.KindHeading || first.Lines().Len() == 0 {
		return nil
	}
	box := first.Lines().At(0).Start
	for box < len(w.source) && (w.source[box] == ' ' || w.source[box] == '\t') {
		box++
	}
	rest := w.source[box:]
	if len(rest) < 3 || rest[0] != '[' || rest[2] != ']' || len(rest) > 3 && rest[3] != ' ' && rest[3] != '\t' && rest[3] != '\n' {
		return nil
	}
	state, ok := stateOf(rest[1])
	if _, _, bullet := bulletBefore(w.source, box); !ok || !bullet {
		return nil
	}
	item := w.newItem()
	item.State, item.Mark, item.Line = state, rest[1], w.lineAt(box)
	item.Parent, item.Section, item.doc = parent, w.section, w.doc
	item.mark, item.index = w.base+box+1, len(w.doc.all)
	w.read(item, first, box+3)
	item.ID, item.named = identifier(item.label)
	w.doc.all = append(w.doc.all, item)
	switch {
	case parent != nil:
		parent.Children = append(parent.Children, item)
	default:
		w.doc.Items = append(w.doc.Items, item)
		if w.section != nil {
			w.section.Items = append(w.section.Items, item)
		}
	}
	return item
}

// read takes an item's text and attributes from its paragraph.
func (w *walker) read(item *Item, paragraph ast.Node, from int) {
	var texts, labels []string // of all lines, where there are several
	if cap(w.attributes)-len(w.attributes) < 8 {
		w.attributes = make(Attributes, 0, 256)
	}
	before := len(w.attributes)
	for start, stop := range linesOf(paragraph, w.source) {
		item.plain = w.base + lineEnd(w.source, stop-1)
		start = max(start, from)
		line := strings.TrimSpace(w.doc.text[w.base+start : w.base+max(start, stop)])
		label, attrs := attributes(line, w.attributes)
		w.attributes = attrs
		if paragraph.Lines().Len() > 1 {
			texts, labels = append(texts, line), append(labels, label)
			continue
		}
		item.Text, item.label = line, label
	}
	if texts != nil {
		item.Text, item.label = strings.Join(texts, " "), strings.Join(labels, " ")
	}
	if after := len(w.attributes); after > before {
		item.Attributes = w.attributes[before:after:after]
	}
	switch text := Normalize(item.Text); {
	case len(item.label) == len(item.Text):
		item.Text, item.label = text, text
	case text == item.Text && texts == nil: // then so is what it starts with
		item.label = text[:len(item.label)]
	default:
		item.Text, item.label = text, Normalize(item.label)
	}
}

// newItem takes items from slabs: one allocation for many.
func (w *walker) newItem() *Item {
	if len(w.slab) == 0 {
		w.slab = make([]Item, min(256, 8+len(w.doc.all)))
	}
	item := &w.slab[0]
	w.slab = w.slab[1:]
	return item
}

func (w *walker) heading(n *ast.Heading) {
	var written strings.Builder
	start, stop := max(n.Pos(), 0), max(n.Pos(), 0)+1
	for from, to := range linesOf(n, w.source) {
		start, stop = min(start, from), max(stop, to)
		written.WriteString(" ")
		written.WriteString(w.doc.text[w.base+from : w.base+to])
	}
	start = lineStart(w.source, start)
	end := lineEnd(w.source, stop-1)
	if n.Lines().Len() > 0 && n.Pos() == n.Lines().At(0).Start { // no # in front: it is underlined
		end = lineEnd(w.source, end)
	}
	title, attrs := attributes(strings.TrimSpace(written.String()), nil)
	section := &Section{
		Title: Normalize(title), Level: n.Level, Attributes: attrs, Line: w.lineAt(start),
		index: len(w.doc.Sections), start: w.base + start, body: w.base + end,
	}
	section.ID, _ = identifier(section.Title)
	if w.section != nil {
		w.section.end = section.start
	}
	w.section = section
	w.doc.Sections = append(w.doc.Sections, section)
}

// lineAt is the line of a position in the source, which is not before the last
// one that was asked for.
func (w *walker) lineAt(position int) int {
	if position > w.counted {
		w.line += bytes.Count(w.source[w.counted:position], []byte{'\n'})
		w.counted = position
	}
	return w.line
}

// lineStart is where the line of a position starts.
func lineStart(source []byte, at int) int {
	return bytes.LastIndexByte(source[:min(at, len(source))], '\n') + 1
}

// lineEnd is where the line of a position ends, behind its \n.
func lineEnd(source []byte, at int) int {
	if at < len(source) {
		if end := bytes.IndexByte(source[at:], '\n'); end >= 0 {
			return at + end + 1
		}
	}
	return len(source)
}

// bulletBefore finds the bullet of the box at a position: from and to bound
// `-`, `*`, `+`, `1.` or `1)`.
func bulletBefore(source []byte, box int) (from, to int, ok bool) {
	to = box
	for to > 0 && (source[to-1] == ' ' || source[to-1] == '\t') {
		to--
	}
	if to == box || to == 0 {
		return 0, 0, false
	}
	from = to - 1
	switch source[from] {
	case '-', '*', '+':
		return from, to, true
	case '.', ')':
		for from > 0 && source[from-1] >= '0' && source[from-1] <= '9' {
			from--
		}
		return from, to, from < to-1
	}
	return 0, 0, false
}

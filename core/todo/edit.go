package todo

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

var (
	// ErrForeignItem is an edit of an item that is not of the document.
	ErrForeignItem = errors.New("todo: the item belongs to another document")
	// ErrEmptyText is an item to be added of which no text is left once it is
	// normalised.
	ErrEmptyText = errors.New("todo: an item needs a text")
	// ErrNoPlace is an item that cannot be added where it was asked for without
	// changing what other lines mean, for instance behind code that never ends.
	ErrNoPlace = errors.New("todo: a new item there would change what other lines of the file mean")
)

// SetState returns the document's content with the item in that state: with one
// other byte in its box, or none if that says so already.
func SetState(doc *Document, item *Item, state State) ([]byte, error) {
	return setStates(doc, []Change{{Item: item, State: state}})
}

// Change is a new state for an item.
type Change struct {
	Item  *Item
	State State
}

func setStates(doc *Document, changes []Change) ([]byte, error) {
	content := doc.Bytes()
	for _, c := range changes {
		if c.Item == nil || c.Item.doc != doc {
			return nil, ErrForeignItem
		}
		if c.State > Cancelled {
			return nil, fmt.Errorf("todo: no such state: %d", c.State)
		}
		if c.Item.State != c.State {
			content[c.Item.mark] = c.State.Mark()
		}
	}
	return content, nil
}

// Entry is an item to be added.
type Entry struct {
	// Text is written as LineText makes it.
	Text  string
	State State
}

// Place is where items are added: behind what is there already. The zero Place
// is behind the last item of the document.
type Place struct {
	// Under is the item that they are to be nested in.
	Under *Item
	// Heading is the title or the id of the section that they go into, if Under
	// is nil. If there is none, it is made, at the second level, at the document's end.
	Heading string
}

// Add returns the document's content with items added as whole lines. They look
// like their neighbours: their bullet, their indentation, the newline of the
// line above, and no newline at the end of a file that had none. All other bytes
// stay. Every other item stays what it is, which is made sure of by reading the
// result; the error is ErrNoPlace where that cannot be had, ErrEmptyText,
// ErrForeignItem or a *TooLargeError.
func Add(doc *Document, place Place, entries ...Entry) ([]byte, error) {
	if place.Under != nil && place.Under.doc != doc {
		return nil, ErrForeignItem
	}
	written := make([]Entry, len(entries))
	for i, e := range entries {
		written[i] = Entry{Text: LineText(e.Text), State: e.State}
		if written[i].Text == "" {
			return nil, ErrEmptyText
		}
		if e.State > Cancelled {
			return nil, fmt.Errorf("todo: no such state: %d", e.State)
		}
	}
	if len(written) == 0 {
		return doc.Bytes(), nil
	}
	a := &addition{doc: doc, source: unixLines([]byte(doc.text)), base: markSize(doc.text), entries: written}
	var spots []spot
	switch {
	case place.Under != nil:
		a.parent, a.section = place.Under, place.Under.Section
		spots = a.under(place.Under)
	case headingText(place.Heading) != "":
		if a.section = doc.section(headingText(place.Heading)); a.section != nil {
			spots = a.within(a.section)
		} else {
			a.heading = headingText(place.Heading)
			spots = append(spots, a.end())
			if n := len(doc.Items); n > 0 {
				spots = append(spots, spot{at: a.trimmed(doc.Items[n-1]), bullet: "- ", apart: true})
			}
			spots = append(spots, a.start())
		}
	default:
		a.anywhere = true
		if n := len(doc.Items); n > 0 {
			spots = append(spots, a.behind(doc.Items[n-1]))
		}
		spots = append(spots, a.end(), a.start())
	}
	for _, s := range spots {
		content := a.write(s)
		grown, err := Parse([]byte(content))
		if err != nil {
			return nil, fmt.Errorf("todo: the file with what is new in it: %w", err)
		}
		if a.holds(s, grown) {
			doc.grown.Store(grown)
			return []byte(content), nil
		}
	}
	return nil, ErrNoPlace
}

// headingText is what a title becomes in a heading of one line.
func headingText(title string) string {
	title = strings.Trim(Normalize(title), "# ")
	title, _ = attributes(title, nil)
	return title
}

func (d *Document) section(name string) *Section {
	for _, same := range []func(*Section) bool{
		func(s *Section) bool { return s.Title == name },
		func(s *Section) bool { return s.ID == name },
		func(s *Section) bool { return fold(s.Title) == fold(name) },
	} {
		if i := slices.IndexFunc(d.Sections, same); i >= 0 {
			return d.Sections[i]
		}
	}
	return nil
}

// addition is one Add at work.
type addition struct {
	doc     *Document
	source  []byte // the document's text with \n alone at the ends of lines
	base    int    // of the text behind the byte order mark
	entries []Entry
	// What has to hold of the new items.
	parent   *Item
	section  *Section
	heading  string // of a section that has to be new
	anywhere bool   // any section will do
}

// spot is a place to try: lines go in at a position, the start of a line or the
// end of the text.
type spot struct {
	at     int
	prefix string // of each line, up to the bullet
	bullet string // with the white space behind it
	apart  bool   // blank lines set them off from what is around
}

// under lists where children of an item may go: behind the last one, at the end
// of the item, or right below its text.
func (a *addition) under(item *Item) []spot {
	var spots []spot
	if n := len(item.Children); n > 0 {
		spots = append(spots, a.behind(item.Children[n-1]))
	}
	box := item.mark - 1
	from, to, _ := bulletBefore(a.source, box)
	bullet := string(a.source[from:to])
	if len(bullet) > 1 {
		bullet = "-"
	}
	child := spot{at: a.trimmed(item), prefix: blank(a.source[a.lineStart(box):box]), bullet: bullet + " "}
	below := child
	below.at = item.plain
	return append(spots, child, below)
}

// within lists where items of a section may go: behind its last one, at its end,
// or right below the heading.
func (a *addition) within(s *Section) []spot {
	var spots []spot
	if n := len(s.Items); n > 0 {
		spots = append(spots, a.behind(s.Items[n-1]))
	}
	return append(spots,
		spot{at: max(s.body, a.trim(s.end)), bullet: "- ", apart: true},
		spot{at: s.body, bullet: "- ", apart: true})
}

// behind is the spot for a sibling of an item, below all that is nested in it.
func (a *addition) behind(item *Item) spot {
	box := item.mark - 1
	from, to, _ := bulletBefore(a.source, box)
	return spot{
		at:     a.trimmed(item),
		prefix: blank(a.source[a.lineStart(box):from]),
		bullet: next(string(a.source[from:to])) + string(a.source[to:box]),
	}
}

func (a *addition) end() spot {
	return spot{at: len(a.source), bullet: "- ", apart: true}
}

func (a *addition) start() spot {
	return spot{at: a.base, bullet: "- ", apart: true}
}

// trimmed is the end of an item without the blank lines that follow it.
func (a *addition) trimmed(item *Item) int { return max(item.plain, a.trim(item.limit)) }

// trim goes back over blank lines, those of a quote too.
func (a *addition) trim(at int) int {
	for at > a.base {
		start := a.lineStart(at - 1)
		if strings.Trim(string(a.source[start:at]), "> \t\n") != "" {
			break
		}
		at = start
	}
	return at
}

func (a *addition) lineStart(at int) int { return max(a.base, lineStart(a.source, at)) }

// blank makes of the start of a line what continues it on the next: bullets
// become spaces.
func blank(prefix []byte) string {
	return strings.Map(func(r rune) rune {
		if r == '>' || r == '\t' {
			return r
		}
		return ' '
	}, string(prefix))
}

// next is the bullet of the item behind: the same, or the next number.
func next(bullet string) string {
	last := len(bullet) - 1
	number, err := strconv.Atoi(bullet[:last])
	if err != nil || len(strconv.Itoa(number+1)) > 9 {
		return bullet
	}
	return strconv.Itoa(number+1) + bullet[last:]
}

// write returns the text with the lines in it, and notes how long they are.
func (a *addition) write(s spot) string {
	text, newline := a.doc.text, a.newline(s.at)
	var lines []string
	if s.apart && s.at > a.base && a.trim(s.at) == s.at {
		lines = append(lines, "")
	}
	if a.heading != "" {
		lines = append(lines, "## "+a.heading, "")
	}
	bullet := s.bullet
	for i, e := range a.entries {
		if i > 0 {
			mark := strings.TrimRight(bullet, " \t")
			bullet = next(mark) + bullet[len(mark):]
		}
		lines = append(lines, s.prefix+bullet+"["+string(e.State.Mark())+"] "+e.Text)
	}
	if s.apart && s.at < len(text) && a.source[s.at] != '\n' {
		lines = append(lines, "")
	}
	insert := strings.Join(lines, newline)
	if s.at > a.base && a.source[s.at-1] != '\n' { // behind a last line without an end
		insert = newline + insert
	} else {
		insert += newline
	}
	return text[:s.at] + insert + text[s.at:]
}

// newline is how the line above a position ends, or the first line of the file.
func (a *addition) newline(at int) string {
	end := strings.LastIndexAny(a.doc.text[:at], "\r\n")
	if end < 0 {
		end = strings.IndexAny(a.doc.text, "\r\n")
	}
	switch {
	case end < 0:
		return "\n"
	case a.doc.text[end] == '\n' && end > 0 && a.doc.text[end-1] == '\r', strings.HasPrefix(a.doc.text[end:], "\r\n"):
		return "\r\n"
	default:
		return a.doc.text[end : end+1]
	}
}

// holds reports whether a document is this one and the new items where they were
// asked for, and nothing else.
func (a *addition) holds(s spot, grown *Document) bool {
	old, n := a.doc, len(a.entries)
	if len(grown.all) != len(old.all)+n {
		return false
	}
	first, _ := slices.BinarySearchFunc(old.all, s.at, func(i *Item, at int) int { return i.mark - at })
	shift := func(index int) int {
		if index >= first {
			return index + n
		}
		return index
	}
	made := -1 // the index of the new section
	if a.heading != "" {
		made, _ = slices.BinarySearchFunc(old.Sections, s.at, func(s *Section, at int) int { return s.start - at })
	}
	if !sameSections(old, grown, made) {
		return false
	}
	sectionOf := func(i *Item) int {
		if i.Section == nil {
			return -1
		}
		return i.Section.index
	}
	parentOf := func(i *Item) int {
		if i.Parent == nil {
			return -1
		}
		return i.Parent.index
	}
	for _, was := range old.all {
		is := grown.all[shift(was.index)]
		parent, section := parentOf(was), sectionOf(was)
		if parent >= 0 {
			parent = shift(parent)
		}
		if made >= 0 && section >= made {
			section++
		}
		if is.Mark != was.Mark || is.Text != was.Text || is.label != was.label || !slices.Equal(is.Attributes, was.Attributes) ||
			parentOf(is) != parent || sectionOf(is) != section {
			return false
		}
	}
	for i, e := range a.entries {
		item := grown.all[first+i]
		if item.Text != e.Text || item.State != e.State {
			return false
		}
		if a.parent == nil && item.Parent != nil || a.parent != nil && parentOf(item) != a.parent.index {
			return false
		}
		switch {
		case made >= 0:
			if sectionOf(item) != made || item.Section.Title != a.heading {
				return false
			}
		case !a.anywhere && !sameSection(a.section, item.Section):
			return false
		}
	}
	return true
}

// sameSections reports whether the headings are those that were there, but for
// one that was made.
func sameSections(old, grown *Document, made int) bool {
	sections := grown.Sections
	if made >= 0 {
		if made >= len(sections) {
			return false
		}
		sections = slices.Delete(slices.Clone(sections), made, made+1)
	}
	return slices.EqualFunc(old.Sections, sections, func(a, b *Section) bool { return a.Title == b.Title && a.Level == b.Level })
}

func sameSection(a, b *Section) bool {
	if a == nil || b == nil {
		return a == b
	}
	return a.index == b.index
}

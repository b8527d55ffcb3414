package todo

import (
	"iter"
	"strings"
	"sync/atomic"
)

// Document is a todo file as it was read. It does not change after Parse and
// may be shared by goroutines; nobody may write to what hangs below it.
type Document struct {
	// Items are the items that have no other above them, in the file's order.
	Items []*Item
	// Sections are the headings at the top level, in the file's order.
	Sections []*Section
	// Version is the content's.
	Version Version
	// Missing says that there is no file. Such a document is empty, and its
	// Version is too.
	Missing bool

	text string
	all  []*Item
	// grown is what Add last made of the document, which it had to read to be
	// sure of it; Edit takes it instead of reading it once more.
	grown atomic.Pointer[Document]
}

// Version names a content: the SHA-256 in hexadecimal, or nothing where there
// is no file.
type Version string

// Short is the version as people and models see it.
func (v Version) Short() string { return string(v[:min(len(v), 12)]) }

// Is reports whether the version is the one that was asked for, which may be
// shortened to 8 characters.
func (v Version) Is(asked Version) bool {
	return v == asked || len(asked) >= 8 && strings.HasPrefix(string(v), string(asked))
}

// Item is a list item with a box.
type Item struct {
	// ID is what stands before the colon of `S1.1.1: text` or `**S1.1.1**: text`,
	// or nothing.
	ID string
	// Text is all that stands behind the box, up to the end of the paragraph,
	// normalised (see Normalize).
	Text string
	// State is what the mark says.
	State State
	// Mark is the byte in the box.
	Mark byte
	// Attributes are those at the ends of the text's lines.
	Attributes Attributes
	// Line is the line of the box, from 1.
	Line int
	// Parent is the item that this one is nested in, or nil.
	Parent *Item
	// Children are the items right below, in the file's order.
	Children []*Item
	// Section is the last heading above, or nil.
	Section *Section

	doc   *Document
	label string // Text without the attributes
	named int    // where label goes on behind the id
	// Positions in the document's text.
	mark  int // the byte in the box
	plain int // the end of the line that ends the item's own first paragraph
	limit int // the start of the line of the next block that is not the item's
	index int // in all
}

// Label is the item's text without its attributes.
func (i *Item) Label() string { return i.label }

// Title is the item's text without its id and attributes.
func (i *Item) Title() string { return i.label[i.named:] }

// Section is a heading and what follows it up to the next heading.
type Section struct {
	// ID is what stands before the colon of `## M1: text`, or nothing.
	ID string
	// Title is the heading without its attributes, normalised.
	Title string
	// Level is 1 to 6.
	Level int
	// Attributes are those at the end of the heading.
	Attributes Attributes
	// Line is the heading's line, from 1.
	Line int
	// Items are those of the document's Items that stand in this section.
	Items []*Item

	index int // in the document's Sections
	start int // of the heading's first line
	body  int // where the body starts
	end   int // of the body: where the next heading starts
}

// Attribute is one `key:value` of `| key:value | key:value`.
type Attribute struct {
	// Key is in lower case.
	Key string
	// Value is normalised.
	Value string
}

// Attributes are in the file's order.
type Attributes []Attribute

// Get returns the value of the first attribute with that key.
func (a Attributes) Get(key string) (string, bool) {
	for _, attr := range a {
		if attr.Key == key {
			return attr.Value, true
		}
	}
	return "", false
}

// All yields every item in the file's order, an item before those below it.
func (d *Document) All() iter.Seq[*Item] {
	return func(yield func(*Item) bool) {
		for _, item := range d.all {
			if !yield(item) {
				return
			}
		}
	}
}

// Len is the number of items.
func (d *Document) Len() int { return len(d.all) }

// Bytes returns a copy of what was parsed.
func (d *Document) Bytes() []byte { return []byte(d.text) }

// Empty reports a file that is there and has no bytes.
func (d *Document) Empty() bool { return !d.Missing && d.text == "" }

// Progress counts items by their state.
type Progress struct {
	// The numbers of items in each state.
	Pending, InProgress, Completed, Cancelled int
}

// Open is the number of items with work left.
func (p Progress) Open() int { return p.Pending + p.InProgress }

// Done is the number of items with none.
func (p Progress) Done() int { return p.Completed + p.Cancelled }

// Total is the number of items.
func (p Progress) Total() int { return p.Open() + p.Done() }

// Progress counts the document's items, nested ones too.
func (d *Document) Progress() Progress {
	var p Progress
	for _, item := range d.all {
		switch item.State {
		case Pending:
			p.Pending++
		case InProgress:
			p.InProgress++
		case Completed:
			p.Completed++
		case Cancelled:
			p.Cancelled++
		}
	}
	return p
}

// Complete reports whether there are items and none of them is open. A document
// without items is not complete: nothing in it says that work was done.
func (d *Document) Complete() bool {
	p := d.Progress()
	return p.Total() > 0 && p.Open() == 0
}

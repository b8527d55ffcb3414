package todo

// AgentHeading is the title of the section for what an agent planned by itself.
const AgentHeading = "Agent"

// Todo is an entry of OpenCode's own todo list. It has no id.
type Todo struct {
	Content string `json:"content"`
	State   State  `json:"state"`
}

// Base is what a merge saw, for the next one to tell who changed what: one entry
// for each todo. It is plain data, to be kept with the session.
type Base []Seen

// Seen is what a merge saw of one todo.
type Seen struct {
	// Text is the todo's, as LineText makes it.
	Text string `json:"text"`
	// Nth tells todos of equal text apart, from 0.
	Nth int `json:"nth,omitempty"`
	// Todo is its state in OpenCode's list.
	Todo State `json:"todo"`
	// Item is its item's state in the document after the merge.
	Item State `json:"item"`
	// Known says that the document had an item for it, now or before.
	Known bool `json:"known,omitempty"`
}

// MergeOptions say what a merge may do.
type MergeOptions struct {
	// AddNew lets todos that the document has no item for be added, under the
	// heading AgentHeading.
	AddNew bool
}

// Merged is what a merge comes to.
type Merged struct {
	// Changes are the items whose marks change, with their new states.
	Changes []Change
	// New are the items to be added under AgentHeading.
	New []Entry
	// Kept are the items that stay as a person left them, though OpenCode's list
	// came to another state.
	Kept []*Item
	// Base is for the next merge, once this one has been written.
	Base Base
}

// Merge works out how OpenCode's todo list goes into a document; it changes
// nothing. An item and a todo belong together if their texts are equal as
// LineText makes them, or else if the item's is without its attributes. Several
// of equal text go together in order, if there are as many of both; otherwise
// none of them is touched.
//
// An item follows its todo when the todo came to another state since the last
// merge and the item did not: a person's edit in between wins. A todo that is
// new to the merge, for which base has nothing, only takes an item further: from
// pending to in progress, and to completed or cancelled from both. A todo that
// vanished changes nothing; nor does one whose item a person removed or reworded.
//
// With the same list a second time, nothing is left to do.
func Merge(doc *Document, base Base, now []Todo, options MergeOptions) Merged {
	m := merger{base: make(map[seenKey]Seen, len(base))}
	for _, s := range base {
		m.base[seenKey{s.Text, s.Nth}] = s
	}
	var order []string
	todos := make(map[string][]Todo)
	for _, t := range now {
		text := LineText(t.Content)
		if text == "" {
			continue
		}
		if todos[text] == nil {
			order = append(order, text)
		}
		todos[text] = append(todos[text], t)
	}
	m.items = itemsByText(doc, todos)
	for _, text := range order {
		m.text(text, todos[text], options)
	}
	for _, s := range base { // what vanished may come back
		if todos[s.Text] == nil && m.items[s.Text] != nil {
			m.out.Base = append(m.out.Base, s)
		}
	}
	return m.out
}

// Apply returns the document's content with the merge in it, and reports whether
// there is anything to write.
func (m Merged) Apply(doc *Document) (content []byte, changed bool, err error) {
	if len(m.Changes) == 0 && len(m.New) == 0 {
		return doc.Bytes(), false, nil
	}
	content, err = setStates(doc, m.Changes)
	if err != nil || len(m.New) == 0 {
		return content, err == nil, err
	}
	marked, err := Parse(content)
	if err != nil {
		return nil, false, err
	}
	content, err = Add(marked, Place{Heading: AgentHeading}, m.New...)
	return content, err == nil, err
}

type seenKey struct {
	text string
	nth  int
}

type merger struct {
	base  map[seenKey]Seen
	items map[string][]*Item
	out   Merged
}

// itemsByText finds items by their text, and by the text without attributes
// where no item and no todo of the whole text claims them.
func itemsByText(doc *Document, todos map[string][]Todo) map[string][]*Item {
	items := make(map[string][]*Item, doc.Len())
	for item := range doc.All() {
		text := LineText(item.Text)
		items[text] = append(items[text], item)
	}
	short := make(map[string][]*Item)
	for item := range doc.All() {
		if len(item.Attributes) > 0 && todos[LineText(item.Text)] == nil {
			text := LineText(item.Label())
			short[text] = append(short[text], item)
		}
	}
	for text, list := range short {
		if items[text] == nil {
			items[text] = list
		}
	}
	return items
}

// text merges all todos of one text.
func (m *merger) text(text string, todos []Todo, options MergeOptions) {
	items := m.items[text]
	if len(items) == 0 {
		m.unknown(text, todos, options)
		return
	}
	for nth, todo := range todos {
		was, merged := m.base[seenKey{text, nth}]
		merged = merged && was.Known
		if len(items) != len(todos) { // which is which?
			if merged {
				m.out.Base = append(m.out.Base, was)
			}
			continue
		}
		item := items[nth]
		seen := Seen{Text: text, Nth: nth, Todo: todo.State, Item: item.State, Known: true}
		switch {
		case item.State == todo.State:
		case merged && todo.State == was.Todo:
		case merged && item.State != was.Item:
			m.out.Kept = append(m.out.Kept, item)
		case !merged && !further(item.State, todo.State):
		default:
			seen.Item = todo.State
			m.out.Changes = append(m.out.Changes, Change{Item: item, State: todo.State})
		}
		m.out.Base = append(m.out.Base, seen)
	}
}

// unknown deals with todos that have no item.
func (m *merger) unknown(text string, todos []Todo, options MergeOptions) {
	last := todos[len(todos)-1].State
	seen := Seen{Text: text, Todo: last, Item: last}
	was, merged := m.base[seenKey{text, 0}]
	seen.Known = merged && was.Known
	if options.AddNew && !seen.Known && last != Cancelled {
		m.out.New = append(m.out.New, Entry{Text: text, State: last})
		seen.Known = true
	}
	m.out.Base = append(m.out.Base, seen)
}

// further reports whether a state is ahead of another.
func further(from, to State) bool {
	return from == Pending && to != Pending || from == InProgress && to.Terminal()
}

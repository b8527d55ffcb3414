package todo

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"unicode/utf8"

	"github.com/opencode-sidecar/opencode-sidecar/core/tool"
	"github.com/opencode-sidecar/opencode-sidecar/host"
)

// maxNewText is how long a new item may be, in characters.
const maxNewText = 500

// outcome is what a call of update_todo makes of a document.
type outcome struct {
	content []byte
	said    string // what was done, as a sentence
}

// change checks what the schema cannot, and returns what the arguments ask for.
func (a updateArgs) change() (func(*Document) (outcome, error), error) {
	if digits := len(a.Version); digits > 0 && (digits < 8 || digits > 64 || !isHex(a.Version)) {
		return nil, &tool.ArgumentError{Field: "version", Problem: fmt.Sprintf("is %q; it has to be a version as update_todo returned it, of 12 hexadecimal digits", clip(a.Version, 80))}
	}
	state := Pending
	if a.Status != "" {
		state, _ = ParseState(a.Status) // the schema lets in no other words
	}
	switch {
	case a.Action == actionUpdate && a.Subtask != "":
		return nil, &tool.ArgumentError{Field: "subtask", Problem: "goes with the action add; to update an item below another, name it in \"task\""}
	case a.Action == actionUpdate && a.Status == "":
		return nil, &tool.ArgumentError{Field: "status", Problem: "is missing; update takes pending, progress, completed or failed"}
	case a.Action == actionUpdate:
		return func(doc *Document) (outcome, error) { return updated(doc, a.Task, state) }, nil
	case a.Subtask != "":
		text, err := newText("subtask", a.Subtask)
		return func(doc *Document) (outcome, error) { return addedBelow(doc, a.Task, Entry{text, state}) }, err
	default:
		text, err := newText("task", a.Task)
		return func(doc *Document) (outcome, error) { return added(doc, Entry{text, state}) }, err
	}
}

func isHex(s string) bool {
	_, err := hex.DecodeString(s + strings.Repeat("0", len(s)%2))
	return err == nil
}

// newText checks the text of a new item.
func newText(field, s string) (string, error) {
	lines := 0
	for line := range strings.FieldsFuncSeq(s, func(r rune) bool { return r == '\n' || r == '\r' }) {
		if strings.TrimSpace(line) != "" {
			lines++
		}
	}
	text := LineText(s)
	problem := ""
	switch length := utf8.RuneCountInString(text); {
	case lines > 1:
		problem = fmt.Sprintf("has %d lines, and an item is one: call update_todo once for each item", lines)
	case text == "":
		problem = "holds no text for the new item"
	case length > maxNewText:
		problem = fmt.Sprintf("is %d characters long, and a new item has %d at most: say in one line what is to be done", length, maxNewText)
	}
	if problem != "" {
		return "", &tool.ArgumentError{Field: field, Problem: problem}
	}
	return text, nil
}

// updated sets the state of an item.
func updated(doc *Document, query string, state State) (outcome, error) {
	item, err := Find(doc, query)
	if err != nil {
		return outcome{}, err
	}
	if item.State == state {
		return outcome{doc.Bytes(), fmt.Sprintf("%s is %s already; nothing was changed.", show(item), state)}, nil
	}
	content, err := SetState(doc, item, state)
	return outcome{content, fmt.Sprintf("%s: %s → %s.", show(item), item.State, state)}, err
}

// added adds an item at the end of the list, unless there is one of its text.
func added(doc *Document, e Entry) (outcome, error) {
	for item := range doc.All() {
		if sameText(item, e.Text) {
			return present(doc, item), nil
		}
	}
	content, err := Add(doc, Place{}, e)
	return outcome{content, fmt.Sprintf("Added %q, %s.", clip(e.Text, candidateText), e.State)}, err
}

// addedBelow adds an item below another, unless that has one of its text.
func addedBelow(doc *Document, query string, e Entry) (outcome, error) {
	parent, err := Find(doc, query)
	if err != nil {
		return outcome{}, err
	}
	for _, item := range parent.Children {
		if sameText(item, e.Text) {
			return present(doc, item), nil
		}
	}
	content, err := Add(doc, Place{Under: parent}, e)
	return outcome{content, fmt.Sprintf("Added %q, %s, below %s, which is %s.", clip(e.Text, candidateText), e.State, show(parent), parent.State)}, err
}

func present(doc *Document, item *Item) outcome {
	return outcome{doc.Bytes(), fmt.Sprintf("%s is there already, and is %s; nothing was added.", show(item), item.State)}
}

// sameText reports whether a text for a new item is that of an item, whatever
// the attributes of either.
func sameText(item *Item, text string) bool {
	label, _ := attributes(text, nil)
	return LineText(item.Label()) == label
}

func show(item *Item) string {
	return fmt.Sprintf("%q (line %d)", clip(item.Text, candidateText), item.Line)
}

// job is one call of update_todo at work.
type job struct {
	tree   *tree
	args   updateArgs
	edit   Edit
	change func(*Document) (outcome, error)
}

// mayCreate reports whether the call may make the file: who wants an item added
// wants a list.
func (j job) mayCreate() bool { return j.args.Action == actionAdd && j.args.Subtask == "" }

// plan works out what the call comes to as things are. What is bound to fail, or
// has been done, is nothing to ask anybody for.
func (j job) plan() (*Document, outcome, error) {
	doc, err := j.tree.file.Read()
	switch {
	case err != nil:
		return nil, outcome{}, err
	case doc.Missing && (!j.mayCreate() || j.edit.Expect != ""):
		return nil, outcome{}, ErrMissing
	case j.edit.Expect != "" && !doc.Version.Is(j.edit.Expect):
		return nil, outcome{}, j.tree.file.conflict(j.edit.Expect, doc)
	}
	planned, err := j.change(doc)
	return doc, planned, err
}

// write does it, to what is in the file by now.
func (j job) write(ctx context.Context) (after *Document, made outcome, err error) {
	edit := (*File).Edit
	if j.mayCreate() {
		edit = (*File).editOrCreate
	}
	after, err = edit(j.tree.file, ctx, j.edit, func(doc *Document) (content []byte, err error) {
		made, err = j.change(doc)
		return made.content, err
	})
	return after, made, err
}

// explain makes of an error a sentence that lets the model go on.
func (j job) explain(err error) error { return &tool.Refusal{Err: j.sentence(err)} }

func (j job) sentence(err error) error {
	if _, none := errors.AsType[*MatchError](err); none {
		return err
	}
	_, large := errors.AsType[*TooLargeError](err)
	switch {
	case errors.Is(err, ErrMissing):
		return fmt.Errorf("%w; to make it, call update_todo with action add and the text of the first item in task, without subtask and version", err)
	case errors.Is(err, ErrConflict):
		return fmt.Errorf("%w; nothing was written%s", err, j.standing())
	case large, errors.Is(err, ErrBinary), errors.Is(err, ErrOutside), errors.Is(err, ErrNotRegular), errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%w; only the user can put that right", err)
	}
	return fmt.Errorf("%w; nothing was written", err)
}

// standing says how things are now that the list is another.
func (j job) standing() string {
	doc, err := j.tree.file.Read()
	if err != nil {
		return ""
	}
	said := ". It stands at " + tally(doc.Progress())
	if item, err := Find(doc, j.args.Task); err == nil {
		said += fmt.Sprintf("; %s is %s", show(item), item.State)
	}
	return said + fmt.Sprintf(". If the change is still right, make it with version %s", doc.Version.Short())
}

// refusal is what the model reads when it may not edit the file.
func refusal(err error) error {
	if host.NotAllowed(err) {
		return &tool.Refusal{Err: fmt.Errorf("the user's rules do not allow editing %s, so nothing was written: %w", Path, err)}
	}
	return fmt.Errorf("whether %s may be edited could not be asked, so nothing was written: %w", Path, err)
}

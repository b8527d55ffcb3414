package tool

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"unicode/utf8"

	"github.com/opencode-sidecar/opencode-sidecar/core/tool/spell"
)

// maxSize is the most bytes that the arguments of one call may have.
const maxSize = 1 << 20

type kind int

const (
	anything kind = iota
	text
	boolean
	integer
	number
	list
	dictionary // an object with keys of the caller's choice
	object     // an object with fields
)

// node is one value of the schema with everything that its check needs.
type node struct {
	kind                 kind
	description          string
	enum                 []string
	min, max             *float64
	minLength, maxLength *int
	items                *node // of a list or a dictionary
	fields               []field
	names                []string       // of the fields, in their order
	index                map[string]int // of the fields
}

type field struct {
	name     string
	node     *node
	required bool
	fallback json.RawMessage // the default, nil for none
}

// path is the way to a value. Only a value that is wrong pays for its spelling.
type path struct {
	up      *path
	name    string
	element bool // of a list, which has an index and no name
	index   int
}

func (p *path) String() string {
	switch {
	case p == nil:
		return ""
	case p.element:
		return p.up.String() + "[" + strconv.Itoa(p.index) + "]"
	case p.up == nil:
		return shorten(p.name)
	default:
		return p.up.String() + "." + shorten(p.name)
	}
}

// decode checks raw and fills args, a pointer to the arguments. Its errors are
// *ArgumentError without the name of the tool.
func (a *arguments) decode(raw json.RawMessage, args any) error {
	if len(raw) > maxSize {
		return &ArgumentError{Problem: fmt.Sprintf(
			"are %.1f MiB; at most 1 MiB is accepted: write what is long to a file and name the file", float64(len(raw))/maxSize)}
	}
	value, err := parse(raw)
	if err != nil {
		return &ArgumentError{Problem: "are not valid JSON: " + err.Error()}
	}
	if value == nil || value == "" {
		value = map[string]any{}
	}
	fields, ok := value.(map[string]any)
	if !ok {
		return &ArgumentError{Problem: "are " + given(value) + "; accepted is " + a.root.accepted()}
	}
	if wrong := a.root.checkFields(fields, nil); wrong != nil {
		return wrong
	}
	// What runs is the tree that was checked, not the bytes that came: read
	// again, these could mean something else (a field given twice is merged by
	// the decoder into a struct, but replaced in a tree).
	checked, err := json.Marshal(fields)
	if err != nil {
		return fmt.Errorf("encoding checked arguments: %w", err)
	}
	err = json.Unmarshal(checked, args)
	if wrong, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		// Only a number that its Go type cannot hold gets this far.
		return &ArgumentError{Field: wrong.Field, Problem: fmt.Sprintf("is %s, which is out of range", wrong.Value)}
	}
	if err != nil {
		return fmt.Errorf("decoding checked arguments: %w", err)
	}
	return nil
}

// parse reads one JSON value, keeping numbers as they are written. Nothing but
// white space is nil.
func parse(raw json.RawMessage) (any, error) {
	decoder := json.NewDecoder(bytes.NewReader(raw))
	decoder.UseNumber()
	var value any
	switch err := decoder.Decode(&value); {
	case err == io.EOF:
		return nil, nil
	case err != nil:
		return nil, err
	}
	if _, err := decoder.Token(); err != io.EOF {
		return nil, errors.New("something follows the end of the value")
	}
	return value, nil
}

// check returns the value to use for v, or what is wrong with it.
func (n *node) check(v any, at *path) (any, *ArgumentError) {
	switch n.kind {
	case anything:
		return v, nil
	case text:
		if s, ok := v.(string); ok {
			return v, n.checkText(s, at)
		}
	case boolean:
		switch v {
		case true, "true":
			return true, nil
		case false, "false":
			return false, nil
		}
	case integer, number:
		literal, ok := numberLiteral(v)
		if !ok {
			break
		}
		f, err := literal.Float64()
		if err != nil {
			break // beyond any number that can be worked with
		}
		if n.kind == integer {
			if literal, ok = whole(literal); !ok {
				break
			}
		}
		if n.min != nil && f < *n.min || n.max != nil && f > *n.max {
			break
		}
		return literal, nil
	case list:
		if elements, ok := v.([]any); ok {
			return v, n.checkList(elements, at)
		}
	case dictionary:
		if entries, ok := v.(map[string]any); ok {
			return v, n.checkEntries(entries, at)
		}
	case object:
		if fields, ok := v.(map[string]any); ok {
			return v, n.checkFields(fields, at)
		}
	}
	return nil, n.refuse(v, at)
}

// refuse tells that v is not what the node accepts.
func (n *node) refuse(v any, at *path) *ArgumentError {
	if len(n.enum) > 0 {
		return &ArgumentError{Field: at.String(), Problem: "is " + given(v) + "; accepted values are " + join(n.enum)}
	}
	return &ArgumentError{Field: at.String(), Problem: "is " + given(v) + "; accepted is " + n.accepted()}
}

func (n *node) checkText(s string, at *path) *ArgumentError {
	if len(n.enum) > 0 {
		if !slices.Contains(n.enum, s) {
			return n.refuse(s, at)
		}
		return nil
	}
	if n.minLength == nil && n.maxLength == nil {
		return nil
	}
	return n.checkLength(utf8.RuneCountInString(s), "character", at)
}

func (n *node) checkLength(length int, unit string, at *path) *ArgumentError {
	switch {
	case length == 0 && n.minLength != nil && *n.minLength > 0:
		return &ArgumentError{Field: at.String(), Problem: "is empty; " + n.explain()}
	case n.minLength != nil && length < *n.minLength, n.maxLength != nil && length > *n.maxLength:
		return &ArgumentError{Field: at.String(), Problem: "is " + count(length, unit) + " long; accepted is " + n.accepted()}
	}
	return nil
}

func (n *node) checkList(elements []any, at *path) *ArgumentError {
	if wrong := n.checkLength(len(elements), "element", at); wrong != nil {
		return wrong
	}
	for i, v := range elements {
		checked, wrong := n.items.check(v, &path{up: at, element: true, index: i})
		if wrong != nil {
			return wrong
		}
		elements[i] = checked
	}
	return nil
}

func (n *node) checkEntries(entries map[string]any, at *path) *ArgumentError {
	for _, key := range slices.Sorted(maps.Keys(entries)) {
		v := entries[key]
		if v == nil && n.items.kind != anything {
			delete(entries, key)
			continue
		}
		checked, wrong := n.items.check(v, &path{up: at, name: key})
		if wrong != nil {
			return wrong
		}
		entries[key] = checked
	}
	return nil
}

// checkFields reports the first problem in the order of the schema; fields that
// do not exist come last, unless one looks like the field that is missing.
func (n *node) checkFields(fields map[string]any, at *path) *ArgumentError {
	known := 0
	for i := range n.fields {
		f := &n.fields[i]
		v, present := fields[f.name]
		if present && v == nil {
			delete(fields, f.name)
			present = false
		}
		switch {
		case !present && f.required:
			return n.missing(f, fields, at)
		case !present && f.fallback == nil:
			continue
		case !present:
			fields[f.name] = f.fallback
		default:
			checked, wrong := f.node.check(v, &path{up: at, name: f.name})
			if wrong != nil {
				return wrong
			}
			fields[f.name] = checked
		}
		known++
	}
	if known < len(fields) {
		return n.unknown(n.strangers(fields)[0], at)
	}
	return nil
}

// strangers lists the given fields that do not exist, sorted.
func (n *node) strangers(fields map[string]any) []string {
	var names []string
	for name := range fields {
		if _, ok := n.index[name]; !ok {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// missing tells that a field was left out, or, when it seems to be there under
// a wrong name, that the name is wrong.
func (n *node) missing(f *field, fields map[string]any, at *path) *ArgumentError {
	for _, stranger := range n.strangers(fields) {
		if meant, ok := spell.Nearest(stranger, n.names); ok && meant == f.name {
			return n.unknown(stranger, at)
		}
	}
	field := &path{up: at, name: f.name}
	return &ArgumentError{Field: field.String(), Problem: "is missing; " + f.node.explain()}
}

func (n *node) unknown(name string, at *path) *ArgumentError {
	problem := "is not a field"
	if meant, ok := spell.Nearest(name, n.names); ok {
		problem += " (did you mean " + quote(meant) + "?)"
	}
	field := &path{up: at, name: name}
	return &ArgumentError{Field: field.String(), Problem: problem + "; " + n.acceptedFields()}
}

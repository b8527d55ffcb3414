package tool

import (
	"encoding/json"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// This file holds the words of the errors. They are read by models, so they
// are short, and say what to send instead.

// accepted says what the node takes.
func (n *node) accepted() string {
	switch n.kind {
	case text:
		if len(n.enum) > 0 {
			return "one of " + join(n.enum)
		}
		return "text" + lengthRange(n.minLength, n.maxLength, "character")
	case boolean:
		return "true or false"
	case integer:
		return "a whole number" + numberRange(n.min, n.max)
	case number:
		return "a number" + numberRange(n.min, n.max)
	case list:
		return "a list" + lengthRange(n.minLength, n.maxLength, n.items.unit())
	case dictionary:
		return "an object with values that are each " + n.items.accepted()
	case object:
		return "an object with " + n.fieldList()
	}
	return "any value"
}

// unit names an element of a list.
func (n *node) unit() string {
	switch n.kind {
	case text:
		return "text"
	case boolean:
		return "boolean"
	case integer, number:
		return "number"
	case list:
		return "list"
	case dictionary, object:
		return "object"
	}
	return "value"
}

// explain says what a field is for and what it takes, for one that is not there.
func (n *node) explain() string {
	sentence := firstSentence(n.description)
	if sentence == "" {
		return "accepted is " + n.accepted()
	}
	return "it is " + sentence + " (" + n.accepted() + ")"
}

// acceptedFields lists the fields of an object.
func (n *node) acceptedFields() string {
	if len(n.names) == 0 {
		return "no fields are accepted"
	}
	return "accepted fields are " + join(n.names)
}

func (n *node) fieldList() string {
	if len(n.names) == 0 {
		return "no fields"
	}
	return "the fields " + join(n.names)
}

// firstSentence returns the beginning of a description in the form that it has
// inside a sentence.
func firstSentence(s string) string {
	s, _, _ = strings.Cut(strings.TrimSpace(s), "\n")
	s, _, _ = strings.Cut(s, ". ")
	s = strings.TrimRight(s, ".")
	first, size := utf8.DecodeRuneInString(s)
	second, _ := utf8.DecodeRuneInString(s[size:])
	if unicode.IsUpper(first) && !unicode.IsUpper(second) { // not an abbreviation
		s = string(unicode.ToLower(first)) + s[size:]
	}
	return s
}

func numberRange(low, high *float64) string {
	switch {
	case low != nil && high != nil:
		return " from " + formatFloat(*low) + " to " + formatFloat(*high)
	case low != nil:
		return " of at least " + formatFloat(*low)
	case high != nil:
		return " of at most " + formatFloat(*high)
	}
	return ""
}

func formatFloat(f float64) string {
	if f == float64(int64(f)) {
		return strconv.FormatInt(int64(f), 10)
	}
	return strconv.FormatFloat(f, 'g', -1, 64)
}

// lengthRange says how many of the unit are accepted; for a list without limits
// it still names what the list holds.
func lengthRange(low, high *int, unit string) string {
	switch {
	case low != nil && high != nil && *low == *high:
		return " of " + count(*low, unit)
	case low != nil && high != nil:
		return " of " + strconv.Itoa(*low) + " to " + count(*high, unit)
	case low != nil && *low > 0:
		return " of at least " + count(*low, unit)
	case high != nil:
		return " of at most " + count(*high, unit)
	case unit == "character":
		return ""
	case unit == "text":
		return " of text"
	}
	return " of " + unit + "s"
}

func count(n int, unit string) string {
	if n != 1 {
		unit += "s"
	}
	return strconv.Itoa(n) + " " + unit
}

// given shows a value of the caller, cut to what is needed to recognise it.
func given(v any) string {
	switch v := v.(type) {
	case nil:
		return "null"
	case string:
		return quote(v)
	case json.Number:
		return shorten(v.String())
	case bool:
		return strconv.FormatBool(v)
	case []any:
		return "a list"
	}
	return "an object"
}

// maxShown is how many characters of a caller's text an error repeats.
const maxShown = 60

func quote(s string) string { return strconv.Quote(shorten(s)) }

func shorten(s string) string {
	if len(s) <= maxShown {
		return s
	}
	shown := 0
	for i := range s {
		if shown == maxShown {
			return s[:i] + "…"
		}
		shown++
	}
	return s
}

func join(words []string) string { return strings.Join(words, ", ") }

// either joins words as in "a, b or c".
func either(words []string) string {
	last := len(words) - 1
	if last < 1 {
		return join(words)
	}
	return join(words[:last]) + " or " + words[last]
}

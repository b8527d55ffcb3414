package tool

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// Arguments describes the arguments for people, a line each in their order:
// name, type and meaning; optional ones have a question mark.
func (d Definition) Arguments() []string {
	var object struct {
		Properties json.RawMessage `json:"properties"`
		Required   []string        `json:"required"`
	}
	if err := json.Unmarshal(d.Schema, &object); err != nil || len(object.Properties) == 0 {
		return nil
	}
	var lines []string
	for name, raw := range members(object.Properties) {
		var p property
		if err := json.Unmarshal(raw, &p); err != nil {
			continue
		}
		if !slices.Contains(object.Required, name) {
			name += "?"
		}
		line := fmt.Sprintf("`%s` %s: %s", name, p.typeName(), p.Description)
		if len(p.Enum) > 0 {
			line += " (" + strings.Join(p.Enum, ", ") + ")"
		}
		if p.Items != nil && len(p.Items.Properties) > 0 {
			var fields []string
			for field := range members(p.Items.Properties) {
				fields = append(fields, "`"+field+"`")
			}
			line += "; each has " + strings.Join(fields, ", ")
		}
		lines = append(lines, line)
	}
	return lines
}

type property struct {
	Type        string   `json:"type"`
	Description string   `json:"description"`
	Enum        []string `json:"enum"`
	Items       *struct {
		Type       string          `json:"type"`
		Properties json.RawMessage `json:"properties"`
	} `json:"items"`
}

func (p property) typeName() string {
	switch p.Type {
	case "string":
		return "text"
	case "boolean":
		return "true/false"
	case "array":
		return "list"
	case "":
		return "anything"
	}
	return p.Type
}

// members yields the members of a JSON object in the order of its bytes.
func members(object json.RawMessage) func(yield func(string, json.RawMessage) bool) {
	return func(yield func(string, json.RawMessage) bool) {
		dec := json.NewDecoder(bytes.NewReader(object))
		if _, err := dec.Token(); err != nil {
			return
		}
		for dec.More() {
			name, err := dec.Token()
			if err != nil {
				return
			}
			var value json.RawMessage
			if dec.Decode(&value) != nil || !yield(fmt.Sprint(name), value) {
				return
			}
		}
	}
}

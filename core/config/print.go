package config

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/google/jsonschema-go/jsonschema"
)

// Schema returns the JSON Schema of what the plugin's options can set, draft 2020-12,
// indented and ending with a newline. Equal declarations give equal bytes.
func Schema() []byte {
	root := &jsonschema.Schema{
		Schema:               "https://json-schema.org/draft/2020-12/schema",
		Title:                "Options of opencode-sidecar",
		Description:          "The second element of the plugin's entry in OpenCode's configuration.",
		Type:                 "object",
		Properties:           map[string]*jsonschema.Schema{},
		AdditionalProperties: &jsonschema.Schema{Not: &jsonschema.Schema{}},
	}
	defaults := reflect.ValueOf(Default())
	for _, o := range declared() {
		if o.envOnly() {
			continue
		}
		s := o.schema()
		s.Description = o.meaning()
		s.Default = defaultJSON(defaults.Field(o.index))
		if d, ok := reflect.TypeAssert[time.Duration](defaults.Field(o.index)); ok {
			s.Examples = []any{formatDuration(d), d.Milliseconds()}
		}
		if len(o.example) > 0 {
			s.Examples = append(s.Examples, o.example)
		}
		root.Properties[o.key] = s
		root.PropertyOrder = append(root.PropertyOrder, o.key)
	}
	encoded, err := json.Marshal(root)
	if err != nil {
		panic(fmt.Sprintf("config: encoding the schema: %v", err))
	}
	var b bytes.Buffer
	if err := json.Indent(&b, encoded, "", "  "); err != nil {
		panic(fmt.Sprintf("config: indenting the schema: %v", err))
	}
	b.WriteByte('\n')
	return b.Bytes()
}

func (o option) schema() *jsonschema.Schema {
	low, high := float64(o.min), float64(o.max)
	switch o.kind {
	case number:
		return &jsonschema.Schema{Type: "integer", Minimum: &low, Maximum: &high}
	case amount:
		return &jsonschema.Schema{Type: "number", Minimum: &low, Maximum: &high}
	case chains:
		model := &jsonschema.Schema{Type: "string", Pattern: modelPattern}
		return &jsonschema.Schema{Type: "object", AdditionalProperties: &jsonschema.Schema{Type: "array", Items: model}}
	case limits:
		return &jsonschema.Schema{Type: "object", AdditionalProperties: &jsonschema.Schema{Type: "integer", Minimum: &low, Maximum: &high}}
	case duration:
		low, high = math.Ceil(low/float64(time.Millisecond)), math.Floor(high/float64(time.Millisecond))
		return &jsonschema.Schema{
			// What a text comes to is beyond a schema; Load holds the limits.
			Types: []string{"string", "integer"}, Pattern: `^([0-9]+(\.[0-9]+)?(ms|s|m|h))+$|^[0-9]+$`,
			Minimum: &low, Maximum: &high,
		}
	case flag:
		return &jsonschema.Schema{Type: "boolean"}
	}
	s := &jsonschema.Schema{Type: "string"}
	if o.path {
		return s // what is absolute differs from system to system; Load knows
	}
	for _, word := range o.enum {
		s.Enum = append(s.Enum, word)
	}
	return s
}

// meaning is the doc of the option with what its scope adds.
func (o option) meaning() string {
	switch {
	case o.envOnly():
		return o.doc + " Only the environment can set it."
	case o.machine():
		return o.doc + " The first workspace of a process decides."
	}
	return o.doc
}

func defaultJSON(v reflect.Value) json.RawMessage {
	if s := show(v); v.Type() != reflect.TypeFor[time.Duration]() {
		return json.RawMessage(s)
	} else {
		return json.RawMessage(strconv.Quote(s))
	}
}

// Reference returns a Markdown table of all options, in their order, ending
// with a newline.
func Reference() string {
	var b strings.Builder
	b.WriteString("| Option | Type | Default | Environment | Meaning |\n|---|---|---|---|---|\n")
	defaults := reflect.ValueOf(Default())
	for _, o := range declared() {
		fmt.Fprintf(&b, "| `%s` | %s | `%s` | `%s` | %s |\n", o.key, cell(o.typeName()),
			cell(string(defaultJSON(defaults.Field(o.index)))), o.env, cell(o.meaning()))
	}
	return b.String()
}

// typeName says in a few words what the option takes.
func (o option) typeName() string {
	switch o.kind {
	case number, amount:
		return fmt.Sprintf("number, %d to %d", o.min, o.max)
	case chains:
		return "map of names to lists of provider/model"
	case limits:
		return fmt.Sprintf("map of names to numbers, %d to %d", o.min, o.max)
	case duration:
		return "duration, " + formatDuration(time.Duration(o.min)) + " to " + formatDuration(time.Duration(o.max))
	case flag:
		return "true or false"
	}
	if o.path {
		return strings.TrimPrefix(o.accepted(), "an ")
	}
	if len(o.enum) > 0 {
		return strings.Join(o.enum, ", ")
	}
	return "text"
}

// cell keeps text from ending the cell of a table.
func cell(s string) string { return strings.ReplaceAll(s, "|", `\|`) }

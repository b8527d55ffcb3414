package wire

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// TypeScript renders the contract as the shim's `wire.ts`. The bytes depend on
// this package alone, so that a test can compare them with the committed file.
func TypeScript() string {
	var b strings.Builder
	b.WriteString("// Generated from rpc/wire by `make generate`. Do not edit.\n\n")
	fmt.Fprintf(&b, "export const VERSION = %q;\nexport const PROTOCOL = %d;\n", Version, Protocol)
	for _, t := range payloadTypes() {
		writeInterface(&b, t)
	}
	writeMethods(&b, "Requests", "Calls that the shim sends.", func(m Method) bool { return !m.ToHost && !m.Notification })
	writeMethods(&b, "HostRequests", "Calls that the sidecar sends.", func(m Method) bool { return m.ToHost })
	writeMethods(&b, "Notices", "Notifications that the shim sends.", func(m Method) bool { return m.Notification })
	return b.String()
}

// Reference renders the protocol reference as Markdown.
func Reference() string {
	var b strings.Builder
	b.WriteString("# Protocol\n\nGenerated from `rpc/wire` by `make generate`. JSON-RPC 2.0 with `Content-Length` framing on stdin and stdout of `sidecar serve`.\n")
	fmt.Fprintf(&b, "Version %s, protocol %d.\n", Version, Protocol)
	section := func(title string, toHost bool) {
		fmt.Fprintf(&b, "\n## %s\n\n| method | kind | params | result | what it does |\n|---|---|---|---|---|\n", title)
		for _, m := range Methods() {
			if m.ToHost != toHost {
				continue
			}
			kind, result := "notification", "–"
			if !m.Notification {
				kind, result = "request", "`"+typeName(m.Result)+"`"
			}
			if m.Ordered {
				kind += ", ordered"
			}
			fmt.Fprintf(&b, "| `%s` | %s | `%s` | %s | %s |\n", m.Name, kind, typeName(m.Params), result, m.Doc)
		}
	}
	section("Shim to sidecar", false)
	section("Sidecar to shim", true)
	b.WriteString("\n## Types\n\nA field marked `?` may be left out.\n")
	for _, t := range payloadTypes() {
		fmt.Fprintf(&b, "\n### %s\n\n| field | type | meaning |\n|---|---|---|\n", t.Name())
		for f := range fields(t) {
			fmt.Fprintf(&b, "| `%s` | `%s` | %s |\n", f.label(), strings.ReplaceAll(f.ts, "|", "\\|"), strings.ReplaceAll(f.doc, "|", "\\|"))
		}
	}
	return b.String()
}

// payloadTypes lists the named structs that the methods reach, and ErrorData,
// by name.
func payloadTypes() []reflect.Type {
	seen := map[reflect.Type]bool{}
	var visit func(reflect.Type)
	visit = func(t reflect.Type) {
		switch {
		case t == nil || t == rawType:
		case t.Kind() == reflect.Pointer, t.Kind() == reflect.Slice, t.Kind() == reflect.Map:
			visit(t.Elem())
		case t.Kind() == reflect.Struct && !seen[t]:
			if t.Name() != "" {
				seen[t] = true
			}
			for f := range t.Fields() {
				visit(f.Type)
			}
		}
	}
	for _, m := range Methods() {
		visit(m.Params)
		visit(m.Result)
	}
	visit(reflect.TypeFor[ErrorData]())
	types := make([]reflect.Type, 0, len(seen))
	for t := range seen {
		types = append(types, t)
	}
	slices.SortFunc(types, func(a, b reflect.Type) int { return strings.Compare(a.Name(), b.Name()) })
	return types
}

var rawType = reflect.TypeFor[json.RawMessage]()

type field struct {
	name, ts, doc string
	optional      bool
}

func (f field) label() string {
	label := f.name
	if strings.Contains(label, "-") {
		label = strconv.Quote(label) // no TypeScript identifier
	}
	if f.optional {
		label += "?"
	}
	return label
}

func fields(t reflect.Type) func(yield func(field) bool) {
	return func(yield func(field) bool) {
		for sf := range t.Fields() {
			name, opts, _ := strings.Cut(sf.Tag.Get("json"), ",")
			f := field{name: name, ts: typeName(sf.Type), doc: sf.Tag.Get("doc"), optional: strings.Contains(opts, "omit")}
			if !yield(f) {
				return
			}
		}
	}
}

func writeInterface(b *strings.Builder, t reflect.Type) {
	if t.NumField() == 0 {
		fmt.Fprintf(b, "\nexport type %s = Record<string, never>;\n", t.Name())
		return
	}
	fmt.Fprintf(b, "\nexport interface %s {\n", t.Name())
	for f := range fields(t) {
		if f.doc != "" {
			fmt.Fprintf(b, "  /** %s */\n", f.doc)
		}
		fmt.Fprintf(b, "  %s: %s;\n", f.label(), f.ts)
	}
	b.WriteString("}\n")
}

func writeMethods(b *strings.Builder, name, doc string, keep func(Method) bool) {
	fmt.Fprintf(b, "\n/** %s */\nexport interface %s {\n", doc, name)
	for _, m := range Methods() {
		if !keep(m) {
			continue
		}
		fmt.Fprintf(b, "  /** %s */\n", m.Doc)
		if m.Notification {
			fmt.Fprintf(b, "  %q: { params: %s };\n", m.Name, typeName(m.Params))
			continue
		}
		fmt.Fprintf(b, "  %q: { params: %s; result: %s };\n", m.Name, typeName(m.Params), typeName(m.Result))
	}
	b.WriteString("}\n")
}

func typeName(t reflect.Type) string {
	switch {
	case t == rawType:
		return "unknown"
	case t.Kind() == reflect.Pointer:
		return typeName(t.Elem())
	case t.Kind() == reflect.Slice:
		return typeName(t.Elem()) + "[]"
	case t.Kind() == reflect.Map:
		return "Record<string, " + typeName(t.Elem()) + ">"
	case t.Kind() == reflect.Struct && t.Name() == "":
		var parts []string
		for f := range fields(t) {
			parts = append(parts, f.label()+": "+f.ts)
		}
		return "{ " + strings.Join(parts, "; ") + " }"
	case t.Kind() == reflect.Struct:
		return t.Name()
	case t.Kind() == reflect.String:
		return "string"
	case t.Kind() == reflect.Bool:
		return "boolean"
	case t.Kind() == reflect.Interface:
		return "unknown"
	default: // the contract holds no other kinds than numbers
		return "number"
	}
}

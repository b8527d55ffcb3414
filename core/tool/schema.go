package tool

import (
	"encoding"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/google/jsonschema-go/jsonschema"
)

// arguments is the declaration of a tool's arguments, made ready for use.
type arguments struct {
	schema json.RawMessage
	root   *node
}

func newArguments(t reflect.Type, opts []Option) (*arguments, error) {
	if t.Kind() != reflect.Struct {
		return nil, fmt.Errorf("the arguments are a %s, not a struct", t)
	}
	schema, err := schemaOf(t, opts)
	if err != nil {
		return nil, err
	}
	raw, err := json.Marshal(schema)
	if err != nil {
		return nil, fmt.Errorf("encoding the schema: %w", err)
	}
	root, err := compile(schema)
	if err != nil {
		return nil, err
	}
	return &arguments{schema: raw, root: root}, nil
}

// schemaOf derives the schema that models see.
func schemaOf(t reflect.Type, opts []Option) (*jsonschema.Schema, error) {
	if err := checkType(t, t.String()); err != nil {
		return nil, err
	}
	schema, err := jsonschema.ForType(t, &jsonschema.ForOptions{
		TypeSchemas: map[reflect.Type]*jsonschema.Schema{
			reflect.TypeFor[json.RawMessage](): {}, // to the library it is a list of bytes
		},
	})
	if err != nil {
		return nil, err
	}
	simplify(schema)
	for _, opt := range opts {
		if err := opt(schema); err != nil {
			return nil, err
		}
	}
	// Resolving also holds the schema against the meta-schema, and the defaults
	// against the schema.
	if _, err := schema.Resolve(&jsonschema.ResolveOptions{ValidateDefaults: true}); err != nil {
		return nil, fmt.Errorf("the schema is not valid: %w", err)
	}
	return schema, nil
}

// simplify removes what Go types imply but models should not see. A pointer or
// a slice is a union with null to the library; some providers refuse such
// unions, and models then send null for things they should leave out. Several
// providers also refuse an object without `properties`.
func simplify(s *jsonschema.Schema) {
	if s == nil {
		return
	}
	for _, t := range s.Types {
		if t != "null" {
			s.Type = t
		}
	}
	s.Types = nil
	if s.Type == "object" && s.Properties == nil && isFalse(s.AdditionalProperties) {
		s.Properties = map[string]*jsonschema.Schema{}
	}
	for _, property := range s.Properties {
		simplify(property)
	}
	simplify(s.Items)
	if !isFalse(s.AdditionalProperties) {
		simplify(s.AdditionalProperties)
	}
}

// isFalse tells whether s is the schema that accepts nothing.
func isFalse(s *jsonschema.Schema) bool { return s != nil && s.Not != nil }

// checkType refuses Go types for which the library's schema and the decoding of
// encoding/json disagree. Cycles are left to the library, which reports them.
func checkType(t reflect.Type, where string, outer ...reflect.Type) error {
	if t == reflect.TypeFor[json.RawMessage]() {
		return nil
	}
	if slices.Contains(outer, t) {
		return fmt.Errorf("%s: the type %s holds itself", where, t)
	}
	for _, method := range []reflect.Type{reflect.TypeFor[json.Unmarshaler](), reflect.TypeFor[encoding.TextUnmarshaler]()} {
		if t.Kind() != reflect.Interface && (t.Implements(method) || reflect.PointerTo(t).Implements(method)) {
			return fmt.Errorf("%s: the type %s decodes itself, so its errors could not name the field", where, t)
		}
	}
	outer = append(outer, t)
	switch t.Kind() {
	case reflect.Pointer:
		return checkType(t.Elem(), where, outer...)
	case reflect.Slice, reflect.Array:
		if t.Elem().Kind() == reflect.Uint8 {
			return fmt.Errorf("%s: bytes are no JSON type", where)
		}
		return checkType(t.Elem(), where+"[]", outer...)
	case reflect.Map:
		if t.Key().Kind() != reflect.String {
			return fmt.Errorf("%s: the keys of a map must be strings", where)
		}
		return checkType(t.Elem(), where+"{}", outer...)
	case reflect.Interface:
		if t.NumMethod() > 0 {
			return fmt.Errorf("%s: the interface %s cannot be decoded into", where, t)
		}
	case reflect.Struct:
		return checkFields(t, where, outer)
	}
	return nil
}

func checkFields(t reflect.Type, where string, outer []reflect.Type) error {
	seen := map[string]bool{}
	for _, f := range reflect.VisibleFields(t) {
		name, settings, _ := strings.Cut(f.Tag.Get("json"), ",")
		if f.Anonymous {
			if name != "" || f.Type.Kind() != reflect.Struct {
				return fmt.Errorf("%s: the embedded %s must be a struct without a json name", where, f.Name)
			}
			continue // its fields are visible themselves
		}
		if !f.IsExported() || name == "-" && settings == "" {
			continue
		}
		if name == "" {
			name = f.Name
		}
		if strings.ContainsAny(name, `.[]"`) {
			return fmt.Errorf("%s: the name %q would make paths ambiguous", where, name)
		}
		if seen[name] {
			return fmt.Errorf("%s: two fields are named %q", where, name)
		}
		seen[name] = true
		for setting := range strings.SplitSeq(settings, ",") {
			if setting == "string" {
				return fmt.Errorf("%s.%s: the string setting is not needed: quoted numbers are accepted", where, name)
			}
		}
		if err := checkType(f.Type, where+"."+name, outer...); err != nil {
			return err
		}
	}
	return nil
}

// compile turns a schema into nodes. It knows the keywords that schemaOf can
// produce and refuses others, so that no rule is shown to models but not held.
func compile(s *jsonschema.Schema) (*node, error) {
	n := &node{
		description: s.Description,
		min:         s.Minimum, max: s.Maximum,
		minLength: s.MinLength, maxLength: s.MaxLength,
	}
	switch s.Type {
	case "":
		n.kind = anything
	case "string":
		n.kind = text
		for _, v := range s.Enum {
			word, ok := v.(string)
			if !ok {
				return nil, fmt.Errorf("the enum value %v is no text", v)
			}
			n.enum = append(n.enum, word)
		}
	case "boolean":
		n.kind = boolean
	case "integer":
		n.kind = integer
	case "number":
		n.kind = number
	case "array":
		n.kind = list
		n.minLength, n.maxLength = s.MinItems, s.MaxItems
		items, err := compile(s.Items)
		if err != nil {
			return nil, err
		}
		n.items = items
	case "object":
		if !isFalse(s.AdditionalProperties) {
			n.kind = dictionary
			values, err := compile(s.AdditionalProperties)
			if err != nil {
				return nil, err
			}
			n.items = values
			break
		}
		n.kind = object
		if err := n.compileFields(s); err != nil {
			return nil, err
		}
	default:
		return nil, fmt.Errorf("no check for the type %q", s.Type)
	}
	return n, nil
}

func (n *node) compileFields(s *jsonschema.Schema) error {
	required := map[string]bool{}
	for _, name := range s.Required {
		required[name] = true
	}
	n.index = make(map[string]int, len(s.Properties))
	for _, name := range s.PropertyOrder {
		property := s.Properties[name]
		child, err := compile(property)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		if child.kind == anything && child.description == "" {
			return fmt.Errorf("%q takes any value, so it needs a description: without one its schema is `true`, which some providers refuse", name)
		}
		f := field{name: name, node: child, required: required[name], fallback: property.Default}
		if f.required && f.fallback != nil {
			return fmt.Errorf("%q has a default but is required; add omitempty", name)
		}
		if f.fallback != nil {
			if err := checkDefault(f); err != nil {
				return err
			}
		}
		n.index[name] = len(n.fields)
		n.fields = append(n.fields, f)
		n.names = append(n.names, name)
	}
	return nil
}

// checkDefault holds a default against our own checks: the library reads what
// was validated, we decode what was checked.
func checkDefault(f field) error {
	value, err := parse(f.fallback)
	if err != nil {
		return fmt.Errorf("the default of %q: %w", f.name, err)
	}
	if value == nil {
		return errors.New("the default of " + quote(f.name) + " is null")
	}
	if _, wrong := f.node.check(value, &path{name: f.name}); wrong != nil {
		return fmt.Errorf("the default of %q: %w", f.name, wrong)
	}
	return nil
}

// Package tool is the one registry of the tools that models can call.
//
// A tool is declared once, as one Go value: New takes its name, what it is for
// and a function with typed arguments. The JSON Schema that models see and the
// checks that arguments pass are both derived from the type of the arguments,
// so they cannot drift apart. OpenCode validates nothing for such tools:
// Registry.Call is where arguments are checked, and a wrong one is answered
// with a sentence that lets the model correct itself in one step.
package tool

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
)

// Call says on whose behalf a tool runs.
type Call struct {
	Workspace string // id of the workspace
	SessionID string
	MessageID string // the assistant message that holds the call
	CallID    string // empty when the host named none
	Agent     string
}

// Result is what the caller gets to read.
type Result struct {
	Title    string // short, for people; empty leaves it to the host
	Output   string // for the model
	Metadata map[string]any
}

// Definition is what the manifest says about a tool.
type Definition struct {
	Name        string          `json:"name"`
	Description string          `json:"description"`
	Schema      json.RawMessage `json:"schema"`
}

// Tool is a tool made by New. The zero value is no tool: NewRegistry refuses it.
type Tool struct {
	name        string
	description string
	schema      json.RawMessage
	run         func(ctx context.Context, c Call, raw json.RawMessage) (Result, error)
}

// New declares a tool. It panics when the declaration is wrong, because that is
// a mistake in the wiring which no caller could handle.
//
// The schema is an object with the fields of the struct A, in their order, and
// nothing else. Names come from the json tags. The jsonschema tag describes a
// field to the model; write it so that "it is ..." reads well in front of its
// first sentence ("the instruction for the agent"), because that is how a
// missing field is explained. A field with omitempty or omitzero is optional;
// one that must tell "absent" from its zero value is a pointer.
//
// A may hold strings, bools, numbers, json.RawMessage and any, and slices,
// string-keyed maps and structs of these; types that decode themselves are
// refused, since their errors could not name the field. Options narrow the
// fields further.
//
// run gets checked arguments with the defaults filled in. To report a problem
// that only it can see ("give either file or text"), it returns an
// *ArgumentError; the registry adds the name of the tool.
func New[A any](name, description string, run func(ctx context.Context, c Call, args A) (Result, error), opts ...Option) Tool {
	args, err := newArguments(reflect.TypeFor[A](), opts)
	if err != nil {
		panic(fmt.Sprintf("tool %s: %v", name, err))
	}
	if run == nil {
		panic(fmt.Sprintf("tool %s: nothing to run", name))
	}
	return Tool{
		name:        name,
		description: description,
		schema:      args.schema,
		run: func(ctx context.Context, c Call, raw json.RawMessage) (Result, error) {
			var a A
			if err := args.decode(raw, &a); err != nil {
				return Result{}, named(name, err)
			}
			result, err := run(ctx, c, a)
			return result, named(name, err)
		},
	}
}

// Name returns the name of the tool.
func (t Tool) Name() string { return t.name }

// Definition returns what the manifest says about the tool. The caller owns it.
func (t Tool) Definition() Definition {
	return Definition{Name: t.name, Description: t.description, Schema: slices.Clone(t.schema)}
}

// named puts the name of the tool into an argument error that has none.
func named(tool string, err error) error {
	if bad, ok := errors.AsType[*ArgumentError](err); ok && bad.Tool == "" {
		return &ArgumentError{Tool: tool, Field: bad.Field, Problem: bad.Problem}
	}
	return err
}

package tool

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"

	"github.com/opencode-sidecar/opencode-sidecar/core/tool/spell"
)

// Registry holds tools by name. It never changes once made, so any number of
// goroutines may use it.
type Registry struct {
	tools map[string]Tool
	names []string // sorted
}

// NewRegistry returns a registry of the tools. Every name must be unique and
// match ^[a-zA-Z0-9_-]{1,64}$, which is what the providers of models accept; the
// error lists every tool that is wrong.
func NewRegistry(tools ...Tool) (*Registry, error) {
	valid := regexp.MustCompile(`^[a-zA-Z0-9_-]{1,64}$`)
	r := &Registry{tools: make(map[string]Tool, len(tools))}
	var problems []error
	for _, t := range tools {
		switch _, taken := r.tools[t.name]; {
		case t.run == nil:
			problems = append(problems, errors.New("a tool was not made by New"))
		case !valid.MatchString(t.name):
			problems = append(problems, fmt.Errorf("tool name %q: must be 1 to 64 letters, digits, _ or -", t.name))
		case taken:
			problems = append(problems, fmt.Errorf("tool name %q: registered twice", t.name))
		default:
			r.tools[t.name] = t
		}
	}
	if err := errors.Join(problems...); err != nil {
		return nil, err
	}
	r.names = slices.Sorted(maps.Keys(r.tools))
	return r, nil
}

// Definitions returns the definitions of all tools, sorted by name. Equal
// declarations give equal bytes. The caller owns the result.
func (r *Registry) Definitions() []Definition {
	defs := make([]Definition, 0, len(r.names))
	for _, name := range r.names {
		defs = append(defs, r.tools[name].Definition())
	}
	return defs
}

// Call checks the arguments of a tool and runs it.
//
// The error is an *UnknownToolError, an *ArgumentError, or what the tool
// returned. Empty arguments (nothing, `null`, `""`) are those of a call without
// fields, and a field that is null counts as left out. Where the schema wants a
// boolean or a number, a string that holds exactly its JSON form ("true", "10")
// is taken as one, because models often send them so; nothing else is converted.
// Over 1 MiB of arguments are refused. A panic of the tool is the caller's to
// recover.
func (r *Registry) Call(ctx context.Context, name string, c Call, raw json.RawMessage) (Result, error) {
	t, ok := r.tools[name]
	if !ok {
		return Result{}, &UnknownToolError{Name: name, Near: spell.Near(name, r.names, maxNear)}
	}
	return t.run(ctx, c, raw)
}

// maxNear is how many names an UnknownToolError offers at most.
const maxNear = 3

// UnknownToolError tells that there is no tool of that name.
type UnknownToolError struct {
	Name string
	Near []string // at most three names that look like it, the likeliest first
}

// Error is one sentence that names the tools which may have been meant.
func (e *UnknownToolError) Error() string {
	message := "there is no tool " + quote(e.Name)
	if len(e.Near) > 0 {
		message += "; did you mean " + either(e.Near) + "?"
	}
	return message
}

// ArgumentError tells that the arguments of a call are wrong.
type ArgumentError struct {
	Tool    string
	Field   string // the path of the field, such as tasks[2].agent; empty for the arguments as a whole
	Problem string // what was given and what is accepted, as the rest of a sentence after the field
}

// Error is one sentence for the model: the tool, the field, what was given and
// what is accepted.
func (e *ArgumentError) Error() string {
	subject := "the arguments"
	if e.Field != "" {
		subject = strconv.Quote(e.Field)
	}
	return cmp.Or(e.Tool, "tool") + ": " + subject + " " + e.Problem
}

// Refusal is the error of a tool that did not do what it was asked for, and says
// to the model why and how to go on.
type Refusal struct{ Err error }

// Error is the sentence for the model.
func (e *Refusal) Error() string { return e.Err.Error() }

// Unwrap returns the cause.
func (e *Refusal) Unwrap() error { return e.Err }

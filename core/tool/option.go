package tool

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/google/jsonschema-go/jsonschema"
)

// Option narrows the fields of a tool's arguments beyond what their Go types
// say. A field is named by its path: `mode`, `origin.url`, `tasks[].mode` for a
// field of every element of a list, `tags[]` for the elements themselves. An
// option that names a field which does not exist, or which is of the wrong
// type, makes New panic.
type Option func(root *jsonschema.Schema) error

// Enum accepts only these values of a text field.
func Enum(path string, values ...string) Option {
	return onField(path, "string", func(s *jsonschema.Schema) error {
		if len(values) == 0 {
			return fmt.Errorf("no values")
		}
		for _, v := range values {
			s.Enum = append(s.Enum, v)
		}
		return nil
	})
}

// Range accepts only numbers from low to high, both included.
func Range(path string, low, high float64) Option {
	return onField(path, "number", func(s *jsonschema.Schema) error {
		if low > high {
			return fmt.Errorf("%v is above %v", low, high)
		}
		s.Minimum, s.Maximum = &low, &high
		return nil
	})
}

// Min accepts only numbers that are not below low.
func Min(path string, low float64) Option {
	return onField(path, "number", func(s *jsonschema.Schema) error {
		s.Minimum = &low
		return nil
	})
}

// Max accepts only numbers that are not above high.
func Max(path string, high float64) Option {
	return onField(path, "number", func(s *jsonschema.Schema) error {
		s.Maximum = &high
		return nil
	})
}

// Length accepts only text of low to high characters, or lists of low to high
// elements, both included. A high of 0 sets no upper limit.
func Length(path string, low, high int) Option {
	return onField(path, "length", func(s *jsonschema.Schema) error {
		if low < 0 || high < 0 || high > 0 && low > high {
			return fmt.Errorf("%d to %d is no range", low, high)
		}
		var upper *int
		if high > 0 {
			upper = &high
		}
		if s.Type == "array" {
			s.MinItems, s.MaxItems = &low, upper
		} else {
			s.MinLength, s.MaxLength = &low, upper
		}
		return nil
	})
}

// Default gives an optional field that was left out this value. The value must
// pass the checks of the field.
func Default(path string, value any) Option {
	return onField(path, "", func(s *jsonschema.Schema) error {
		if strings.HasSuffix(path, "[]") {
			return fmt.Errorf("elements of a list have no default")
		}
		raw, err := json.Marshal(value)
		if err != nil {
			return err
		}
		s.Default = raw
		return nil
	})
}

// onField finds the schema of a field, checks that it is of the wanted type
// ("" for any, "number" for whole ones too, "length" for text and lists) and
// changes it.
func onField(path, want string, change func(*jsonschema.Schema) error) Option {
	return func(root *jsonschema.Schema) error {
		s, err := find(root, path)
		if err != nil {
			return err
		}
		fits := want == "" || s.Type == want ||
			want == "number" && s.Type == "integer" ||
			want == "length" && (s.Type == "string" || s.Type == "array")
		if !fits {
			return fmt.Errorf("option for %q: the field is of type %q", path, s.Type)
		}
		if err := change(s); err != nil {
			return fmt.Errorf("option for %q: %w", path, err)
		}
		return nil
	}
}

func find(s *jsonschema.Schema, path string) (*jsonschema.Schema, error) {
	missing := fmt.Errorf("option for %q: there is no such field", path)
	for step := range strings.SplitSeq(path, ".") {
		name := strings.TrimRight(step, "[]")
		s = s.Properties[name]
		if s == nil {
			return nil, missing
		}
		for brackets := step[len(name):]; brackets != ""; {
			rest, ok := strings.CutPrefix(brackets, "[]")
			if !ok || s.Items == nil {
				return nil, missing
			}
			s, brackets = s.Items, rest
		}
	}
	return s, nil
}

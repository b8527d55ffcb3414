package tool_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/opencode-sidecar/opencode-sidecar/core/tool"
)

type cyclic struct {
	Next *cyclic `json:"next,omitempty"`
}

// declare makes a tool that takes an A.
func declare[A any](opts ...tool.Option) func() {
	return func() {
		tool.New("wired", "", func(context.Context, tool.Call, A) (tool.Result, error) { return tool.Result{}, nil }, opts...)
	}
}

func TestNewPanicsOnWrongWiring(t *testing.T) {
	type args struct {
		Mode  string   `json:"mode,omitempty"`
		Must  string   `json:"must"`
		Limit int      `json:"limit,omitempty"`
		Tags  []string `json:"tags,omitempty"`
	}
	for name, tc := range map[string]struct {
		declare func()
		want    string
	}{
		"no such field":             {declare[args](tool.Enum("mod", "a")), `option for "mod": there is no such field`},
		"no such nested field":      {declare[args](tool.Enum("tags[].mode", "a")), `option for "tags[].mode": there is no such field`},
		"not a list":                {declare[args](tool.Enum("mode[]", "a")), `option for "mode[]": there is no such field`},
		"half a bracket":            {declare[args](tool.Enum("tags[", "a")), `option for "tags[": there is no such field`},
		"enum of a number":          {declare[args](tool.Enum("limit", "a")), `the field is of type "integer"`},
		"enum without values":       {declare[args](tool.Enum("mode")), `no values`},
		"range of a text":           {declare[args](tool.Range("mode", 1, 2)), `the field is of type "string"`},
		"range upside down":         {declare[args](tool.Range("limit", 2, 1)), `2 is above 1`},
		"length of a number":        {declare[args](tool.Length("limit", 1, 2)), `the field is of type "integer"`},
		"length upside down":        {declare[args](tool.Length("mode", 2, 1)), `2 to 1 is no range`},
		"default outside enum":      {declare[args](tool.Enum("mode", "a"), tool.Default("mode", "b")), `b`},
		"default of another type":   {declare[args](tool.Default("limit", "ten")), `ten`},
		"default null":              {declare[args](tool.Default("mode", nil)), `null`},
		"default when required":     {declare[args](tool.Default("must", "x")), `"must" has a default but is required`},
		"default of an element":     {declare[args](tool.Default("tags[]", "x")), `elements of a list have no default`},
		"not a struct":              {declare[map[string]string](), `not a struct`},
		"a cycle":                   {declare[cyclic](), `holds itself`},
		"bytes":                     {declare[struct{ B []byte }](), `bytes are no JSON type`},
		"a channel":                 {declare[struct{ C chan int }](), `unsupported`},
		"keys that are no text":     {declare[struct{ M map[int]int }](), `the keys of a map must be strings`},
		"a type decoding itself":    {declare[struct{ T time.Time }](), `decodes itself`},
		"an interface":              {declare[struct{ E error }](), `cannot be decoded into`},
		"any value, no description": {declare[struct{ A any }](), `"A" takes any value, so it needs a description`},
		"the string setting": {declare[struct {
			N int `json:"n,string"`
		}](), `the string setting is not needed`},
		"an ambiguous name": {declare[struct {
			N int `json:"a.b"`
		}](), `ambiguous`},
		"no function": {func() { tool.New[struct{}]("wired", "", nil) }, `nothing to run`},
	} {
		t.Run(name, func(t *testing.T) {
			defer func() {
				got := fmt.Sprint(recover())
				if !strings.HasPrefix(got, "tool wired: ") || !strings.Contains(got, tc.want) {
					t.Errorf("panic is %q, want one with %q", got, tc.want)
				}
			}()
			tc.declare()
		})
	}
}

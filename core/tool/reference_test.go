package tool

import (
	"context"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestArguments(t *testing.T) {
	type item struct {
		A string `json:"a" jsonschema:"the a"`
		B int    `json:"b,omitempty" jsonschema:"the b"`
	}
	type args struct {
		Zeta string `json:"zeta" jsonschema:"the last letter"`
		On   bool   `json:"on,omitempty" jsonschema:"the switch"`
		Of   []item `json:"of" jsonschema:"the items"`
		Mode string `json:"mode,omitempty" jsonschema:"the way"`
	}
	d := New("x", "does x", func(context.Context, Call, args) (Result, error) { return Result{}, nil }, Enum("mode", "fast", "slow")).Definition()
	want := []string{
		"`zeta` text: the last letter",
		"`on?` true/false: the switch",
		"`of` list: the items; each has `a`, `b`",
		"`mode?` text: the way (fast, slow)",
	}
	if diff := cmp.Diff(want, d.Arguments()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

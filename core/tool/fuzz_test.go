package tool

import (
	"encoding/json"
	"errors"
	"reflect"
	"testing"

	"github.com/google/jsonschema-go/jsonschema"
)

type fuzzArgs struct {
	Name  string         `json:"name" jsonschema:"a name"`
	Flag  bool           `json:"flag,omitempty"`
	Count *int           `json:"count,omitempty"`
	Ratio float64        `json:"ratio,omitempty"`
	Items []fuzzItem     `json:"items,omitempty"`
	Map   map[string]int `json:"map,omitempty"`
	Any   any            `json:"any,omitempty" jsonschema:"any value"`
}

type fuzzItem struct {
	Mode string   `json:"mode"`
	Tags []string `json:"tags,omitempty"`
}

// FuzzDecode holds our checks against the library's: what we accept, the schema
// that models see must accept too, and what it accepts, we must.
func FuzzDecode(f *testing.F) {
	for _, seed := range []string{
		``, `null`, `{}`, `{"name":"x"}`, `{"name":"x","flag":"true","count":"3","ratio":1e2}`,
		`{"name":"x","items":[{"mode":"a","tags":["t"]},{"mode":"b"}],"map":{"k":1},"any":[null,{"a":1}]}`,
		`{"name":"x","count":7.0,"any":null}`, `{"name":"","items":[]}`, `[{"name":1e999}]`, `{"name":"x","name":2}`,
	} {
		f.Add([]byte(seed))
	}
	opts := []Option{Enum("items[].mode", "a", "b"), Range("count", -5, 50), Length("name", 1, 8), Length("items", 1, 2), Default("ratio", 0.5)}
	args, err := newArguments(reflect.TypeFor[fuzzArgs](), opts)
	if err != nil {
		f.Fatal(err)
	}
	var schema jsonschema.Schema // as models see it
	if err := json.Unmarshal(args.schema, &schema); err != nil {
		f.Fatal(err)
	}
	resolved, err := schema.Resolve(nil)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		var got fuzzArgs
		err := args.decode(raw, &got)
		if err != nil {
			bad, ok := errors.AsType[*ArgumentError](err)
			if !ok {
				t.Fatalf("not an *ArgumentError: %v", err)
			}
			if again := args.decode(raw, &fuzzArgs{}); again == nil || again.Error() != bad.Error() {
				t.Fatalf("not deterministic: %v, then %v", bad, again)
			}
			var given any
			if json.Unmarshal(raw, &given) == nil && given != nil && resolved.Validate(given) == nil && !beyondInt64(given) {
				t.Fatalf("the schema accepts %s, but we say: %v", raw, bad)
			}
			return
		}
		encoded, err := json.Marshal(got)
		if err != nil {
			t.Fatal(err)
		}
		var used any
		if err := json.Unmarshal(encoded, &used); err != nil {
			t.Fatal(err)
		}
		if err := resolved.Validate(used); err != nil {
			t.Fatalf("%s was accepted, but the schema says: %v", raw, err)
		}
	})
}

// beyondInt64 tells whether the map holds a whole number that the schema
// accepts but that no Go integer can hold, or one too long to be worked with.
func beyondInt64(v any) bool {
	values, _ := v.(map[string]any)["map"].(map[string]any)
	for _, n := range values {
		if f, ok := n.(float64); ok && (f >= 1<<53 || f <= -(1<<53)) {
			return true
		}
	}
	return false
}

package wire

import (
	"os"
	"regexp"
	"testing"
)

// The table is what the router, the shim and the reference are made from: a
// descriptor that is missing in it would silently not exist for them.
func TestEveryDescriptorIsInTheTable(t *testing.T) {
	src, err := os.ReadFile("table.go")
	if err != nil {
		t.Fatal(err)
	}
	declared := regexp.MustCompile(`(?:call|notice)\[[^(]*\]\("([^"]+)"`).FindAllSubmatch(src, -1)
	if len(declared) == 0 {
		t.Fatal("no descriptors found in table.go")
	}
	listed := map[string]bool{}
	for _, m := range Methods() {
		if listed[m.Name] {
			t.Errorf("%s is listed twice", m.Name)
		}
		listed[m.Name] = true
		if m.Doc == "" {
			t.Errorf("%s has no description", m.Name)
		}
	}
	for _, d := range declared {
		if !listed[string(d[1])] {
			t.Errorf("%s is declared but not in Methods()", d[1])
		}
	}
	if len(declared) != len(listed) {
		t.Errorf("%d descriptors declared, %d listed", len(declared), len(listed))
	}
}

func TestEveryFieldHasAWireName(t *testing.T) {
	for _, typ := range payloadTypes() {
		for f := range fields(typ) {
			if f.name == "" {
				t.Errorf("%s has a field without a json name", typ.Name())
			}
		}
	}
}

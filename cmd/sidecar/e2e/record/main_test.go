package main

import (
	"strings"
	"testing"
)

// The recorder is a tool for people, but it must not rot.
func TestRecordTheHandshake(t *testing.T) {
	s := scenes()[0]
	text, checkout, err := recordScene(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"# " + s.about + "\n", "\n--> 1 initialize {", "\n<-- 1 {", "\n--> 2 workspace/open {", "\n--> 3 tool/call {",
		"\n<-- h1 host/app.agents {", "\n<-- 3 {", "\n--- eof\n",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is not in the recording", want)
		}
	}
	if err := check(t.Context(), checkout, text); err != nil {
		t.Error(err)
	}
	if t.Failed() {
		t.Log(text)
	}
}

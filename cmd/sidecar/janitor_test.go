package main

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/opencode-sidecar/opencode-sidecar/core/config"
	"github.com/opencode-sidecar/opencode-sidecar/core/janitor"
)

// The defaults of the options are those of the janitor.
func TestJanitorSettings(t *testing.T) {
	if diff := cmp.Diff(janitor.Defaults(), janitorSettings(config.Default())); diff != "" {
		t.Error(diff)
	}
}

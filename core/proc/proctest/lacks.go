package proctest

import (
	"os"
	"testing"
)

// Lacks ends a test that needs what this machine does not have: it is skipped or,
// where CI is set in the environment, fails, as there every test has to be run.
func Lacks(t testing.TB, what string) {
	t.Helper()
	if os.Getenv("CI") != "" {
		t.Fatalf("this test needs %s; without CI in the environment it is skipped where that is missing", what)
	}
	t.Skipf("this test needs %s", what)
}

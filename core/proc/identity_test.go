package proc

import (
	"os"
	"os/exec"
	"testing"
)

func TestAnIdentityLivesAsLongAsItsProcess(t *testing.T) {
	own, err := Identity(os.Getpid())
	if err != nil || !Lives(own) {
		t.Fatalf("our own identity %q: %v, lives: %v", own, err, Lives(own))
	}
	cmd := exec.Command("cat")
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	other, err := Identity(cmd.Process.Pid)
	if err != nil || other == own || !Lives(other) {
		t.Fatalf("a child's identity %q: %v, lives: %v", other, err, Lives(other))
	}
	if part := Part(other, 2); part == other || !Lives(part) || Part(other, 1) != other {
		t.Errorf("of %q a part is %q, which lives: %v", other, part, Lives(part))
	}
	stdin.Close()
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	if Lives(other) || Lives(Part(other, 2)) {
		t.Error("it lives although its process has ended")
	}
	for _, nonsense := range []string{"", "-", "host-1", "99999999-1-x", own + "x", ".2"} {
		if Lives(nonsense) {
			t.Errorf("%q lives", nonsense)
		}
	}
}

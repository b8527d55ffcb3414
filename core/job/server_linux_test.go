package job

import (
	"context"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"testing"
)

const serverVar = "JOB_TEST_SERVER" // a server, until it is killed

// serve answers each connection with a word.
func serve() int {
	l, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		return 1
	}
	fmt.Fprintf(os.Stderr, "warming up\nlistening on %s\n", l.Addr())
	for {
		c, err := l.Accept()
		if err != nil {
			return 1
		}
		_, _ = c.Write([]byte("hello"))
		_ = c.Close()
	}
}

func TestAServerIsAwaitedCalledAndKilled(t *testing.T) {
	r := with(t, Options{})
	j := r.start(Spec{Command: "'" + os.Args[0] + "' & wait", Env: map[string]string{serverVar: "1"}, Label: "server"})
	w := r.until(j, Until{Pattern: `^listening on \S+$`})
	_, address, _ := strings.Cut(w.Line, "on ")
	call := func() (string, error) {
		c, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", address)
		if err != nil {
			return "", err
		}
		defer c.Close()
		b := make([]byte, 10)
		n, err := c.Read(b)
		return string(b[:n]), err
	}
	if got, err := call(); got != "hello" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	if j, err := r.Kill(t.Context(), j.ID, ""); err != nil || j.State != Killed {
		t.Errorf("%+v, %v", j, err)
	}
	if got, err := call(); err == nil {
		t.Errorf("it still says %q", got)
	}
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", address)
	if err != nil {
		t.Fatalf("the port is not free: %v", err)
	}
	l.Close()
}

func TestTheDefaultShellIsOfTheFamilyOfSh(t *testing.T) {
	if got := DefaultShell(func(string) string { return "/bin/sh" }); !slices.Equal(got, []string{"/bin/sh", "-c"}) {
		t.Errorf("%q", got)
	}
	for _, shell := range []string{"", "/usr/bin/fish", "/nonesuch/bash", "sh"} {
		got := DefaultShell(func(string) string { return shell })
		if len(got) != 2 || got[1] != "-c" || !strings.HasSuffix(got[0], "sh") || got[0] == shell {
			t.Errorf("%q: %q", shell, got)
		}
		if info, err := os.Stat(got[0]); err != nil || info.IsDir() {
			t.Errorf("%q: %q: %v", shell, got, err)
		}
	}
}

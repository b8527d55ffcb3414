package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/opencode-sidecar/opencode-sidecar/core/workspace"
	"github.com/opencode-sidecar/opencode-sidecar/rpc"
	"github.com/opencode-sidecar/opencode-sidecar/rpc/wire"
)

// beSidecar makes this test binary the sidecar: a process as it ships.
const beSidecar = "TEST_BE_SIDECAR"

func TestMain(m *testing.M) {
	if os.Getenv(beSidecar) != "" {
		main()
	}
	os.Exit(m.Run())
}

// process is a sidecar in a process of its own.
type process struct {
	*exec.Cmd
	conn  *rpc.Conn
	stdin io.Closer
	log   *bytes.Buffer
	ended chan error
}

func spawn(t *testing.T) *process {
	t.Helper()
	p := &process{Cmd: exec.Command(os.Args[0], "serve"), log: &bytes.Buffer{}, ended: make(chan error, 1)}
	p.Env = append(os.Environ(), beSidecar+"=1", "XDG_STATE_HOME="+t.TempDir())
	p.Stderr = p.log
	in, err := p.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := p.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	p.stdin = in
	p.conn = rpc.NewConn(rpc.Options{In: out, Out: in, Router: rpc.NewHostRouter(), Log: zerolog.Nop()})
	served := make(chan struct{})
	go func() {
		_ = p.conn.Serve(context.Background())
		close(served)
		p.ended <- p.Wait()
	}()
	t.Cleanup(func() {
		p.conn.Close()
		_ = p.Process.Kill()
		<-served
	})
	return p
}

func (p *process) handshake(t *testing.T) {
	t.Helper()
	_, err := rpc.Invoke(t.Context(), p.conn, wire.Initialize, wire.InitializeParams{
		Version: wire.Version, Protocol: wire.Protocol, ManifestHash: hash(t), Host: wire.HostInfo{Mode: "serve"},
	})
	if err != nil {
		t.Fatal(err)
	}
}

func (p *process) wantEnd(t *testing.T, within time.Duration, reason string) {
	t.Helper()
	select {
	case err := <-p.ended:
		if err != nil {
			t.Errorf("it ended with %v", err)
		}
	case <-time.After(within):
		t.Fatalf("it still runs after %v", within)
	}
	if !strings.Contains(p.log.String(), reason) {
		t.Errorf("the log does not give %q as the reason:\n%s", reason, p.log)
	}
}

func TestSIGTERMIsAnOrderedEnd(t *testing.T) {
	t.Parallel()
	p := spawn(t)
	p.handshake(t)
	for _, ignored := range []syscall.Signal{syscall.SIGINT, syscall.SIGHUP, syscall.SIGPIPE} {
		if err := p.Process.Signal(ignored); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := rpc.Invoke(t.Context(), p.conn, wire.Ping, wire.PingParams{}); err != nil {
		t.Fatalf("after the terminal's signals: %v", err)
	}
	if err := p.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	p.wantEnd(t, 5*time.Second, "SIGTERM")
}

func TestTheEndOfInputIsAnOrderedEnd(t *testing.T) {
	t.Parallel()
	p := spawn(t)
	p.handshake(t)
	p.stdin.Close()
	p.wantEnd(t, 2*time.Second, "the host closed our input")
}

func TestTheLastCloseEndsIt(t *testing.T) {
	t.Parallel()
	p := spawn(t)
	p.handshake(t)
	if _, err := rpc.Invoke(t.Context(), p.conn, wire.WorkspaceOpen, wire.WorkspaceOpenParams{Workspace: "wrk_1", Directory: t.TempDir()}); err != nil {
		t.Fatal(err)
	}
	if _, err := rpc.Invoke(t.Context(), p.conn, wire.WorkspaceClose, wire.WorkspaceCloseParams{Workspace: "wrk_1"}); err != nil {
		t.Fatal(err)
	}
	p.wantEnd(t, workspace.Linger+5*time.Second, "the last workspace was closed")
}

// The host is gone but somebody holds the other end of our input open.
func TestTheHostsDeathEndsItWithoutEndOfInput(t *testing.T) {
	t.Parallel()
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer write.Close()
	log := filepath.Join(t.TempDir(), "log")
	// The shell starts the sidecar, writes down its pid and goes once it is up.
	host := exec.Command("sh", "-c", `"$0" serve <&3 >/dev/null 2>"$1" & echo $!; read go; exit 0`, os.Args[0], log)
	host.Env = append(os.Environ(), beSidecar+"=1", "XDG_STATE_HOME="+t.TempDir())
	host.ExtraFiles = []*os.File{read}
	stdin, err := host.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := host.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := host.Start(); err != nil {
		t.Fatal(err)
	}
	read.Close()
	line := make([]byte, 32)
	n, err := out.Read(line)
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(line[:n])))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = syscall.Kill(pid, syscall.SIGKILL) }()
	// An early frame that is answered shows that it watches; the answer goes to
	// /dev/null, so its log is the sign: a bad frame would end it, a ping logs nothing.
	if _, err := write.WriteString("Content-Length: 2\r\n\r\n{}"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the sidecar watches its host", func() bool { return openFiles(pid, "pidfd") })
	stdin.Close()
	if err := host.Wait(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the sidecar ends", func() bool { return errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) || zombie(pid) })
	if b, _ := os.ReadFile(log); !strings.Contains(string(b), "the host ended") {
		t.Errorf("the log: %s", b)
	}
}

func eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	for start := time.Now(); !condition(); {
		if time.Since(start) > 10*time.Second {
			t.Fatalf("never: %s", what)
		}
		<-time.After(10 * time.Millisecond)
	}
}

func openFiles(pid int, kind string) bool {
	links, _ := filepath.Glob("/proc/" + strconv.Itoa(pid) + "/fd/*")
	for _, l := range links {
		if target, err := os.Readlink(l); err == nil && strings.Contains(target, kind) {
			return true
		}
	}
	return false
}

func zombie(pid int) bool {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	return err == nil && strings.Contains(string(b), ") Z ")
}

func TestCommands(t *testing.T) {
	for _, c := range []struct {
		args []string
		code int
		text string
	}{
		{nil, 0, "Usage:"},
		{[]string{"help"}, 0, "sidecar serve"},
		{[]string{"--version"}, 0, wire.Version},
		{[]string{"sevre"}, 2, "`sidecar help` lists them"},
	} {
		var out, log bytes.Buffer
		if code := run(c.args, strings.NewReader(""), &out, &log); code != c.code || !strings.Contains(out.String()+log.String(), c.text) {
			t.Errorf("sidecar %v: exit code %d, printed %s%s", c.args, code, out.String(), log.String())
		}
	}
}

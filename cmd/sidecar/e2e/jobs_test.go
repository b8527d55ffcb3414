package e2e

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/opencode-sidecar/opencode-sidecar/host/hosttest"
)

// server is a command that serves "hello" on a free port and says which.
const server = `node -e 'require("http").createServer((q,r)=>r.end("hello")).listen(0,"127.0.0.1",function(){console.log("listening on "+this.address().port)})'`

var (
	jobID    = regexp.MustCompile(`job_[0-9a-f]{8}`)
	portLine = regexp.MustCompile(`listening on (\d+)`)
	pidLine  = regexp.MustCompile(`(?m)^pid (\d+)$`)
)

// background starts a command and returns its id and what the tool said.
func (s *served) background(args map[string]any) (id, said string) {
	s.Helper()
	said = s.ask("run_background", args)
	if id = jobID.FindString(said); id == "" {
		s.Fatalf("no command was started: %s", said)
	}
	return id, said
}

// port is the one that a server says it listens on.
func (s *served) port(said string) string {
	s.Helper()
	m := portLine.FindStringSubmatch(said)
	if m == nil {
		s.Fatalf("no port in %s", said)
	}
	return net.JoinHostPort("127.0.0.1", m[1])
}

// free fails unless somebody else can listen on an address now.
func (s *served) free(address string) {
	s.Helper()
	l, err := new(net.ListenConfig).Listen(s.Context(), "tcp", address)
	if err != nil {
		s.Errorf("the port is not free: %v", err)
		return
	}
	_ = l.Close()
}

// A model launches a server, waits for its line, somebody calls it, and the model
// ends it.
func TestAServerInTheBackground(t *testing.T) {
	t.Parallel()
	s := serve(t, newRig(t, nil))
	ctx := deadline(t, limit)
	id, said := s.background(map[string]any{"command": server, "label": "web", "timeout": 0, "waitFor": `listening on \d+`})
	address := s.port(said)
	s.contains("the answer", said, "[RUNNING] "+id+" web", "A line on stdout matches: listening on")
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address, nil)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(answer.Body)
	_ = answer.Body.Close()
	http.DefaultClient.CloseIdleConnections()
	if err != nil || string(body) != "hello" {
		t.Errorf("the server said %q, %v", body, err)
	}
	s.contains("the list", s.ask("list_background", nil), "[RUNNING] "+id+" web", "1 running")
	s.contains("the end", s.ask("kill_background", map[string]any{"taskId": id}), "[KILLED] "+id, "None of its processes is left")
	s.free(address)
	s.contains("the list", s.ask("list_background", map[string]any{"status": "killed"}), "[KILLED] "+id)
	s.contains("another kill", s.ask("kill_background", map[string]any{"taskId": id}), "had ended already")
	s.contains("an unknown id", s.ask("check_background", map[string]any{"taskId": "job_00000000"}), "taskId", "list_background")
}

// What a model reads of a command: only what is new, a filter, the end; and it can
// answer its questions.
func TestOutputAndInputOfACommand(t *testing.T) {
	t.Parallel()
	s := serve(t, newRig(t, nil))
	id, said := s.background(map[string]any{
		"command": `echo first; echo oops >&2; read name; echo "hello $name"; tty; exit 3`, "pty": true, "waitFor": "oops",
	})
	s.contains("the start", said, "first", "oops", "Cursor ")
	cursor := regexp.MustCompile(`Cursor (\d+\.\d+)`).FindStringSubmatch(said)
	if cursor == nil {
		t.Fatalf("no cursor in %s", said)
	}
	s.contains("the writing", s.ask("write_background", map[string]any{"taskId": id, "input": "Ada\n"}), "Wrote 4 bytes")
	said = s.ask("check_background", map[string]any{"taskId": id, "cursor": cursor[1], "waitMs": 20_000})
	s.contains("what is new", said, "[ERROR] "+id, "exit code 3", "hello Ada", "/dev/")
	if strings.Contains(said, "\nfirst") {
		t.Errorf("it was read before: %s", said)
	}
	said = s.ask("check_background", map[string]any{"taskId": id, "filter": "^hello"})
	s.contains("the filtered output", said, "hello Ada")
	if strings.Contains(said, "\nfirst") {
		t.Errorf("not filtered: %s", said)
	}
}

// stubborn is a command of which a kill leaves nothing only if it is meant for the
// whole tree: children, and a daemon in a session of its own.
const stubborn = `trap '' TERM; sleep 300 & echo pid $!; setsid sh -c 'echo pid $$; exec sleep 300' & sleep 0.1; echo pid $$; sleep 300`

// pids are the processes that a stubborn command has told of.
func (s *served) pids(said string) (pids []int) {
	s.Helper()
	for _, m := range pidLine.FindAllStringSubmatch(said, -1) {
		pid, err := strconv.Atoi(m[1])
		if err != nil {
			s.Fatal(err)
		}
		pids = append(pids, pid)
	}
	if len(pids) != 3 {
		s.Fatalf("%d pids in %s", len(pids), said)
	}
	return pids
}

func alive(pids []int) (left []int) {
	for _, pid := range pids {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err == nil && !strings.Contains(string(stat), ") Z ") {
			left = append(left, pid)
		}
	}
	return left
}

// Nothing outlives its owner, however that ends.
func TestNothingOfACommandIsLeft(t *testing.T) {
	t.Parallel()
	launch := map[string]any{"command": stubborn, "timeout": 0, "waitFor": `(?m)^pid \d+$`}
	start := func(s *served) (string, []int) {
		id, _ := s.background(launch)
		var said string
		s.wait("the command has told its pids", func() bool {
			said = s.ask("check_background", map[string]any{"taskId": id})
			return len(pidLine.FindAllString(said, -1)) == 3
		})
		return id, s.pids(said)
	}
	for name, end := range map[string]func(*served, string){
		"kill":                   func(s *served, id string) { s.ask("kill_background", map[string]any{"taskId": id}) },
		"OpenCode is terminated": func(s *served, _ string) { s.end(syscall.SIGTERM) },
		"OpenCode is killed":     func(s *served, _ string) { s.end(syscall.SIGKILL) },
		"the sidecar is killed":  func(s *served, _ string) { s.kill(s.sidecar()) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := serve(t, newRig(t, nil))
			id, pids := start(s)
			if left := alive(pids); len(left) != 3 {
				t.Fatalf("of %v only %v live", pids, left)
			}
			end(s, id)
			s.wait("nothing is left", func() bool { return len(alive(pids)) == 0 })
			if name == "the sidecar is killed" { // the next one has ended them, and says so
				s.contains("the command", s.ask("check_background", map[string]any{"taskId": id}), "[INTERRUPTED] "+id, "the sidecar that ran it died", "pid ")
			}
		})
	}
}

// Commands go through the user's rules for bash, one pattern for each command in
// the line, and through those for foreign directories.
func TestCommandsNeedPermission(t *testing.T) {
	t.Parallel()
	s := serve(t, newRigWith(t, map[string]any{"permission": map[string]any{
		"bash": map[string]any{"*": "allow", "touch *": "deny"}, "external_directory": "deny",
	}, "agent": map[string]any{"reader": map[string]any{
		"mode": "all", "description": "reads", "prompt": "You read.", "permission": map[string]any{"bash": "deny"},
	}}}))
	mark := filepath.Join(s.Dir, "mark")
	for line, want := range map[string]string{
		"echo a && touch mark":            "nothing was done",
		"echo $(touch mark)":              "nothing was done",
		"(sleep 0; touch mark) | cat":     "nothing was done",
		"cp /etc/hostname mark":           "outside of the project",
		"echo a && touch 'mark' ; false(": "nothing was done",
	} {
		s.contains(line, s.ask("run_background", map[string]any{"command": line, "waitMs": 5000}), want)
	}
	s.contains("a foreign directory", s.ask("run_background", map[string]any{"command": "true", "cwd": "/"}), "outside of the project")
	// An agent without bash has none here, as the main one and as that of a task.
	ctx, session := deadline(t, limit), s.session()
	reading := hosttest.Text(Call("run_background", map[string]any{"command": "echo > mark"}), "@say tried")
	reading.Agent = "reader"
	if _, err := s.Prompt(ctx, session, reading); err != nil {
		t.Fatal(err)
	}
	s.prompt(session, DelegateWith(map[string]any{"agent": "reader", "background": false}, Call("run_background", map[string]any{"command": "echo > mark"}), "@say tried"), "@say ok")
	children, err := s.Children(ctx, session)
	if err != nil || len(children) != 1 {
		t.Fatalf("%d children, %v", len(children), err)
	}
	for _, id := range []string{session, children[0].ID} {
		messages, err := s.Messages(ctx, id, 0)
		if err != nil {
			t.Fatal(err)
		}
		said := ""
		for _, m := range messages {
			for _, c := range m.Calls() {
				if c.Tool == "run_background" {
					said += c.State.Output + c.State.Error
				}
			}
		}
		s.contains("an agent without bash", said, "the user's rules do not allow this command")
	}
	if _, err := os.Stat(mark); err == nil {
		t.Error("a denied command has run")
	}
	s.contains("an allowed line", s.ask("run_background", map[string]any{"command": "echo a && echo b", "waitMs": 20_000}), "[DONE]", "a\nb")
	s.contains("an empty command", s.ask("run_background", map[string]any{"command": " "}), "command")
	s.contains("a missing folder", s.ask("run_background", map[string]any{"command": "true", "cwd": "nowhere"}), "cwd", "does not exist")
	s.contains("a negative timeout", s.ask("run_background", map[string]any{"command": "true", "timeout": -1}), "timeout")
	s.contains("the list", s.ask("list_background", nil), "1 done")
}

// newRigWith is newRig with something more in OpenCode's configuration.
func newRigWith(t *testing.T, more map[string]any) *Rig {
	t.Helper()
	r := newRig(t, nil)
	raw, err := os.ReadFile(filepath.Join(r.Dir, "opencode.json"))
	if err != nil {
		t.Fatal(err)
	}
	config := map[string]any{}
	if err := json.Unmarshal(raw, &config); err != nil {
		t.Fatal(err)
	}
	maps.Copy(config, more)
	if raw, err = json.Marshal(config); err != nil {
		t.Fatal(err)
	}
	if err := r.Write("opencode.json", string(raw)); err != nil {
		t.Fatal(err)
	}
	return r
}

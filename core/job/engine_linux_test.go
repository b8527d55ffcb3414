package job

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/opencode-sidecar/opencode-sidecar/core/record"

	"github.com/opencode-sidecar/opencode-sidecar/core/proc/proctest"
)

func TestACommandEndsAsItEnds(t *testing.T) {
	r := with(t, Options{})
	tests := []struct {
		spec           Spec
		state          State
		code           int
		signal         string
		stdout, stderr string
	}{
		{Spec{Command: "echo out; echo err >&2"}, Done, 0, "", "out\n", "err\n"},
		{Spec{Command: "exit 3"}, Error, 3, "", "", ""},
		{Spec{Command: "kill -9 $$"}, Error, -1, "SIGKILL", "", ""},
		{Spec{Command: "kill $$"}, Error, -1, "SIGTERM", "", ""},
		{Spec{Command: "nonesuch-command 2>/dev/null"}, Error, 127, "", "", ""},
		{Spec{Command: "cat"}, Done, 0, "", "", ""},
		{Spec{Command: "cat", Input: "héllo"}, Done, 0, "", "héllo", ""},
		{Spec{Command: "true", Input: strings.Repeat("x", 1<<20)}, Done, 0, "", "", ""},
		{Spec{Command: "echo $A-$B", Env: map[string]string{"A": "1", "B": "x y"}}, Done, 0, "", "1-x y\n", ""},
		{Spec{Command: "(sleep 0.1; echo late) & echo soon; exit 4"}, Error, 4, "", "soon\nlate\n", ""},
		{Spec{Command: "pwd; echo $PWD", Dir: "/"}, Done, 0, "", "/\n/\n", ""},
	}
	for _, test := range tests {
		t.Run(test.spec.Command, func(t *testing.T) {
			j, stdout, stderr := r.run(test.spec)
			if j.State != test.state || j.Code != test.code || j.Signal != test.signal || !j.Exited || j.Problem != "" {
				t.Errorf("%+v", j)
			}
			if stdout != test.stdout || stderr != test.stderr {
				t.Errorf("stdout %q, stderr %q", stdout, stderr)
			}
			if j.Started.Before(j.Created) || j.Ended.Before(j.Started) || j.Took() <= 0 || j.Pid == 0 || !strings.HasPrefix(j.ID, "job_") {
				t.Errorf("%+v", j)
			}
			told := <-r.ended
			if told.ID != j.ID || told.State != j.State {
				t.Errorf("told of %+v", told)
			}
		})
	}
}

func TestWhatEndsACommandNamesItsState(t *testing.T) {
	r := with(t, Options{Settings: Settings{Limit: 2}})
	slow := r.start(Spec{Command: "trap '' TERM; echo ready; sleep 300 & wait; wait", Timeout: 100 * time.Millisecond})
	asked := r.start(Spec{Command: "sleep 300"})
	waiting := r.start(Spec{Command: "echo never > never"})
	if waiting.State != Pending || waiting.Position != 1 {
		t.Errorf("%+v", waiting)
	}
	if j, err := r.Kill(t.Context(), waiting.ID, ""); err != nil || j.State != Killed || j.Exited || !j.Started.IsZero() {
		t.Errorf("%+v, %v", j, err)
	}
	if j, err := r.Kill(t.Context(), asked.ID, ""); err != nil || j.State != Killed || j.Signal != "SIGTERM" {
		t.Errorf("%+v, %v", j, err)
	}
	if j := r.end(slow); j.State != Timeout || j.Signal != "SIGKILL" {
		t.Errorf("%+v", j)
	}
	done := r.end(r.start(Spec{Command: "true"}))
	if j, err := r.Kill(t.Context(), done.ID, ""); err != nil || j.State != Done {
		t.Errorf("%+v, %v", j, err)
	}
	caught := r.start(Spec{Command: "trap 'exit 0' TERM; echo ready; while :; do sleep 0.01; done"})
	r.until(caught, Until{Pattern: "ready"})
	if j, err := r.Kill(t.Context(), caught.ID, ""); err != nil || j.State != Killed || j.Code != 0 || j.Signal != "" {
		t.Errorf("%+v, %v", j, err)
	}
	last := r.start(Spec{Command: "sleep 300"})
	r.start(Spec{Command: "sleep 300"})
	behind := r.start(Spec{Command: "sleep 300"})
	if err := r.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, j := range []Job{last, behind} {
		if j, err := r.Get(j.ID); err != nil || j.State != Interrupted {
			t.Errorf("%+v, %v", j, err)
		}
	}
	if _, err := r.Start(t.Context(), Spec{Command: "true", Dir: r.dir}); !errors.Is(err, ErrStopping) {
		t.Errorf("start: %v", err)
	}
	if n := len(r.ended); n != 8 {
		t.Errorf("%d ends were told, want 8", n)
	}
	if _, err := os.Stat(filepath.Join(r.dir, "never")); err == nil {
		t.Error("a command that was killed before its turn has run")
	}
	left, err := r.o.Store.List(t.Context(), record.Query{Kind: Kind})
	if err != nil || len(left) > 0 {
		t.Errorf("records %v, %v", left, err)
	}
}

func TestCommandsWaitForAPlaceInOrder(t *testing.T) {
	r := with(t, Options{Settings: Settings{Limit: 2}})
	var jobs []Job
	for i := range 6 {
		jobs = append(jobs, r.start(Spec{Command: fmt.Sprintf("echo %d >>order; read x", i), Interactive: true}))
	}
	positions := func() (got []int) {
		for _, j := range slices.Backward(r.List(t.Context())) {
			got = append(got, j.Position)
		}
		return got
	}
	if diff := cmp.Diff([]int{0, 0, 1, 2, 3, 4}, positions()); diff != "" {
		t.Error(diff)
	}
	order := func() string { b, _ := os.ReadFile(filepath.Join(r.dir, "order")); return string(b) }
	proctest.Eventually(t, "two run", func() bool { return strings.Count(order(), "\n") == 2 })
	if err := r.CloseInput(t.Context(), jobs[0].ID); err != nil {
		t.Fatal(err)
	}
	proctest.Eventually(t, "the third runs", func() bool { return strings.HasSuffix(order(), "2\n") })
	if got := order(); strings.Count(got, "\n") != 3 {
		t.Errorf("%q", got)
	}
	r.Configure(Settings{Limit: 4})
	proctest.Eventually(t, "four run", func() bool { return strings.Count(order(), "\n") == 5 })
	for _, j := range jobs[1:] {
		proctest.Eventually(t, "its turn", func() bool { j, _ := r.Get(j.ID); return j.State == Running })
		if err := r.CloseInput(t.Context(), j.ID); err != nil {
			t.Fatal(err)
		}
	}
	for _, j := range jobs {
		if j := r.end(j); j.State != Error || j.Code != 1 { // read met the end of file
			t.Errorf("%+v", j)
		}
	}
}

func TestBadInputNamesItsField(t *testing.T) {
	r := with(t, Options{})
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	tests := map[string]Spec{
		"command: must not be empty":                 {Command: " \n", Dir: dir},
		"command: must not contain a NUL":            {Command: "a\x00b", Dir: dir},
		"command: has 131072 bytes":                  {Command: strings.Repeat("x", 128<<10), Dir: dir},
		"cwd: must be an absolute path, is \"\"":     {Command: "true"},
		"cwd: must be an absolute path, is \"sub\"":  {Command: "true", Dir: "sub"},
		"cwd: " + dir + "/none does not exist":       {Command: "true", Dir: dir + "/none"},
		"cwd: " + file + " is not a directory":       {Command: "true", Dir: file},
		"timeout: must not be negative, is -1ms":     {Command: "true", Dir: dir, Timeout: -time.Millisecond},
		"label: must be one line":                    {Command: "true", Dir: dir, Label: "a\nb"},
		"label: must be one line of at most 200":     {Command: "true", Dir: dir, Label: strings.Repeat("é", 201)},
		"env: \"A=B\" is not the name of a variable": {Command: "true", Dir: dir, Env: map[string]string{"A=B": ""}},
		"env: \"\" is not":                           {Command: "true", Dir: dir, Env: map[string]string{"": "x"}},
		"env: A must not contain a NUL":              {Command: "true", Dir: dir, Env: map[string]string{"A": "\x00"}},
		"env: A has 131075 bytes":                    {Command: "true", Dir: dir, Env: map[string]string{"A": strings.Repeat("x", 128<<10)}},
		"env: has more than 1048576 bytes":           {Command: "true", Dir: dir, Env: hugeEnv()},
		"stdin: has 1048577 bytes":                   {Command: "true", Dir: dir, Input: strings.Repeat("x", 1<<20+1)},
		"pty: rows and columns":                      {Command: "true", Dir: dir, PTY: &Size{Rows: -1}},
	}
	for want, spec := range tests {
		_, err := r.Start(t.Context(), spec)
		if _, ok := errors.AsType[*FieldError](err); !ok || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
	if jobs := r.List(t.Context()); len(jobs) > 0 {
		t.Errorf("%+v", jobs)
	}
	ctx := t.Context()
	_, get := r.Get("job_x")
	_, kill := r.Kill(ctx, "job_x", "")
	_, read := r.Read("job_x", Query{})
	_, wait := r.Wait(ctx, "job_x", Until{})
	_, write := r.Write(ctx, "job_x", nil)
	for i, err := range []error{get, kill, read, wait, write, r.CloseInput(ctx, "job_x"), r.Resize("job_x", Size{1, 1})} {
		if !errors.Is(err, ErrUnknown) || !strings.HasPrefix(err.Error(), `taskId: there is no background command "job_x"`) {
			t.Errorf("%d: %v", i, err)
		}
	}
	j := r.end(r.start(Spec{Command: "echo 1"}))
	_, filter := r.Read(j.ID, Query{Filter: "("})
	_, long := r.Read(j.ID, Query{Filter: strings.Repeat("x", 1001)})
	_, tail := r.Read(j.ID, Query{Tail: -1})
	_, stream := r.Read(j.ID, Query{Stream: "stdin"})
	_, pattern := r.Wait(ctx, j.ID, Until{Pattern: "["})
	_, beyond := r.Read(j.ID, Query{After: Cursor{Out: 3}})
	_, after := r.Wait(ctx, j.ID, Until{After: Cursor{Err: 3}})
	_, cursor := ParseCursor("1")
	_, minus := ParseCursor("-1.2")
	for err, want := range map[error]string{
		filter: "filter: is no regular", long: "filter: has 1001", tail: "tailLines: must not", stream: "stream: must be",
		pattern: "waitFor: is no", beyond: "cursor: lies beyond", after: "cursor: lies beyond", cursor: "cursor: \"1\"", minus: "cursor: \"-1.2\"",
		r.Resize(j.ID, Size{0, 1}): "pty: rows", r.Resize(j.ID, Size{2, 1}): "pty: the command has no",
	} {
		if err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
}

// hugeEnv is too much in all, but no variable is.
func hugeEnv() map[string]string {
	env := map[string]string{}
	for i := range 20 {
		env[fmt.Sprint("A", i)] = strings.Repeat("x", 100_000)
	}
	return env
}

func TestACommandThatCannotStartSaysWhy(t *testing.T) {
	r := with(t, Options{Shell: []string{"/nonesuch/shell", "-c"}})
	if j := r.end(r.start(Spec{Command: "true"})); j.State != Error || j.Exited || !strings.Contains(j.Problem, "could not start: ") || !strings.Contains(j.Problem, "/nonesuch/shell") {
		t.Errorf("%+v", j)
	}
	r = with(t, Options{Settings: Settings{Limit: 1}})
	dir := filepath.Join(r.dir, "gone")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	first := r.start(Spec{Command: "read x", Interactive: true})
	second := r.start(Spec{Command: "true", Dir: dir})
	if err := os.Remove(dir); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Kill(t.Context(), first.ID, ""); err != nil {
		t.Fatal(err)
	}
	if j := r.end(second); j.State != Error || !strings.Contains(j.Problem, "cwd: "+dir+" does not exist") {
		t.Errorf("%+v", j)
	}
	if n := len(goroutineFree(r)); n > 0 {
		t.Errorf("%d places are still taken", n)
	}
}

// goroutineFree returns the commands that run.
func goroutineFree(r *rig) (running []Job) {
	for _, j := range r.List(r.Context()) {
		if !j.State.Terminal() {
			running = append(running, j)
		}
	}
	return running
}

func TestInputIsWrittenAndClosed(t *testing.T) {
	r := with(t, Options{})
	ctx := t.Context()
	j := r.start(Spec{Command: "echo ready; cat; echo end", Interactive: true, Input: "first\n"})
	r.until(j, Until{Pattern: "first"})
	if n, err := r.Write(ctx, j.ID, []byte("second\n")); n != 7 || err != nil {
		t.Errorf("%d, %v", n, err)
	}
	r.until(j, Until{Pattern: "second"})
	if err := r.CloseInput(ctx, j.ID); err != nil {
		t.Error(err)
	}
	if _, err := r.Write(ctx, j.ID, []byte("third")); !errors.Is(err, ErrNoInput) && !errors.Is(err, ErrEnded) {
		t.Error(err)
	}
	j = r.end(j)
	if out, _, _ := r.read(j, Query{}); out != "ready\nfirst\nsecond\nend\n" {
		t.Errorf("%q", out)
	}
	if _, err := r.Write(ctx, j.ID, []byte("x")); !errors.Is(err, ErrEnded) {
		t.Error(err)
	}
	if err := r.CloseInput(ctx, j.ID); !errors.Is(err, ErrEnded) {
		t.Error(err)
	}

	deaf := r.start(Spec{Command: "echo ready; sleep 300", Interactive: true})
	r.until(deaf, Until{Pattern: "ready"})
	short, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
	defer cancel()
	n, err := r.Write(short, deaf.ID, make([]byte, 1<<20))
	if n == 0 || n >= 1<<20 || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%d, %v", n, err)
	}
	blocked := make(chan error)
	go func() {
		_, err := r.Write(context.Background(), deaf.ID, make([]byte, 1<<20))
		blocked <- err
	}()
	if _, err := r.Kill(ctx, deaf.ID, ""); err != nil {
		t.Error(err)
	}
	if err := <-blocked; err == nil {
		t.Error("writing to a killed command")
	}
	without := r.start(Spec{Command: "echo ready; sleep 300"})
	r.until(without, Until{Pattern: "ready"})
	if _, err := r.Write(ctx, without.ID, []byte("x")); !errors.Is(err, ErrNoInput) {
		t.Error(err)
	}
}

func TestATerminal(t *testing.T) {
	r := with(t, Options{})
	j := r.start(Spec{Command: "test -t 0 && test -t 2 && echo tty; stty size; trap 'stty size' WINCH; echo $TERM; printf 'name? '; read name; printf '\\033[31mhello %s\\033[0m\\n' $name; while :; do sleep 0.01; done", PTY: &Size{Rows: 24, Cols: 80}, Env: map[string]string{"TERM": "dumb"}})
	r.until(j, Until{Pattern: `^name\? $`})
	if _, err := r.Write(t.Context(), j.ID, []byte("you\n")); err != nil {
		t.Fatal(err)
	}
	if w := r.until(j, Until{Pattern: "^hello (.*)$"}); w.Line != "hello you" || w.Stream != Stdout {
		t.Errorf("%+v", w)
	}
	if err := r.Resize(j.ID, Size{Rows: 30, Cols: 100}); err != nil {
		t.Fatal(err)
	}
	r.until(j, Until{Pattern: "^30 100$"})
	j, err := r.Kill(t.Context(), j.ID, "")
	if err != nil || j.State != Killed {
		t.Errorf("%+v, %v", j, err)
	}
	if out, _, _ := r.read(j, Query{Plain: true}); out != "tty\n24 80\nxterm-256color\nname? you\nhello you\n30 100\n" {
		t.Errorf("%q", out)
	}
	j = r.start(Spec{Command: "stty size; cat; echo end", PTY: &Size{}})
	r.until(j, Until{Pattern: "^50 200$"})
	if err := r.CloseInput(t.Context(), j.ID); err != nil {
		t.Fatal(err)
	}
	if j := r.end(j); j.State != Done {
		t.Errorf("%+v", j)
	}
}

func TestWaitUntil(t *testing.T) {
	r := with(t, Options{})
	j := r.start(Spec{Command: "echo one; echo two >&2; read x; printf 'thr'; sleep 0.05; echo 'ee é'; read x; exit 2", Interactive: true})
	if w := r.until(j, Until{Pattern: "^two$"}); w.Reason != Matched || w.Stream != Stderr || w.Line != "two" || w.Job.State != Running {
		t.Errorf("%+v", w)
	}
	r.until(j, Until{Pattern: "one", Stream: Stdout})
	short, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if w, err := r.Wait(short, j.ID, Until{Pattern: "two", Stream: Stdout}); err != nil || w.Reason != Deadline || w.Job.ID != j.ID {
		t.Errorf("%+v, %v", w, err)
	}
	gone, leave := context.WithCancelCause(t.Context())
	why := errors.New("no more")
	leave(why)
	if _, err := r.Wait(gone, j.ID, Until{Pattern: "never"}); !errors.Is(err, why) {
		t.Error(err)
	}
	_, _, read := r.read(j, Query{})
	found := make(chan Waited)
	go func() { found <- r.until(j, Until{Pattern: "^three é$", After: read}) }()
	if _, err := r.Write(t.Context(), j.ID, []byte("\n")); err != nil {
		t.Fatal(err)
	}
	if w := <-found; w.Reason != Matched || w.Line != "three é" {
		t.Errorf("%+v", w)
	}
	go func() { found <- r.until(j, Until{Pattern: "one", After: read}) }()
	if _, err := r.Write(t.Context(), j.ID, []byte("\n")); err != nil {
		t.Fatal(err)
	}
	if w := <-found; w.Reason != Ended || w.Job.State != Error || w.Job.Code != 2 {
		t.Errorf("%+v", w)
	}
	if w := r.until(j, Until{Pattern: "one"}); w.Reason != Matched {
		t.Errorf("after its end: %+v", w)
	}
	flood := r.start(Spec{Command: "i=0; while [ $i -lt 20 ]; do head -c 1000000 /dev/zero | tr '\\0' x; i=$((i+1)); done; echo; echo needle; head -c 3000000 /dev/zero"})
	if w := r.until(flood, Until{Pattern: "^needle$"}); w.Reason != Matched {
		t.Errorf("%+v", w)
	}
}

func TestReadingOnlyWhatIsNew(t *testing.T) {
	r := with(t, Options{})
	j := r.start(Spec{Command: "while read -r x; do eval \"$x\"; done", Interactive: true})
	var at Cursor
	say := func(line, wait, want string, q Query) {
		t.Helper()
		before, err := r.Get(j.ID)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := r.Write(t.Context(), j.ID, []byte(line+"\n")); err != nil {
			t.Fatal(err)
		}
		proctest.Eventually(t, wait, func() bool { now, _ := r.Get(j.ID); return now.Out.Total-before.Out.Total == int64(len(wait)) })
		q.After = at
		got, _, next := r.read(j, q)
		if got != want {
			t.Errorf("after %s: %q, want %q", line, got, want)
		}
		if at, err = ParseCursor(next.String()); err != nil {
			t.Error(err)
		}
	}
	say("echo a", "a\n", "a\n", Query{})
	say("printf 'b\\303'", "b?", "b", Query{})
	say("printf '\\251c'", "?c", "éc", Query{})
	say("printf '\\n1 x\\n2 y\\n3 x'", "\n1 x\n2 y\n3 x", "1 x\n", Query{Filter: "x"})
	say("printf '\\n'", "\n", "3 x\n", Query{Filter: "x"})
	say("printf '\\033[3'", "\x1b[3", "", Query{Plain: true})
	say("printf '1mred\\033[0m 1%%\\r2%%\\r'", "1mred\x1b[0m 1%\r2%\r", "2%", Query{Plain: true})
	say("printf '\\n'", "\n", "\n", Query{Plain: true})
	say("printf '1\\n2\\n3\\n4\\n'", "1\n2\n3\n4\n", "3\n4\n", Query{Tail: 2})
	say(":", "", "", Query{})
	say("printf 'ab\\ncd\\nefg'", "ab\ncd\nefg", "ab\ncd\nefg", Query{})
}

func TestEndedCommandsAreForgotten(t *testing.T) {
	r := with(t, Options{Keep: 3, Memory: 3 << 10, Settings: Settings{Limit: 1}})
	var jobs []Job
	for i := range 6 {
		jobs = append(jobs, r.end(r.start(Spec{Command: fmt.Sprintf("head -c 2000 /dev/zero; exit %d", i)})))
		<-r.ended
	}
	if n := len(r.List(t.Context())); n != 3 {
		t.Errorf("%d are remembered", n)
	}
	if _, err := r.Get(jobs[2].ID); !errors.Is(err, ErrUnknown) {
		t.Error(err)
	}
	out, err := r.Read(jobs[4].ID, Query{})
	if err != nil || len(out.Parts) != 1 || out.Parts[0].Dropped != 2000 || !strings.Contains(out.Parts[0].Text, "2000 bytes were not kept") {
		t.Errorf("%+v, %v", out, err)
	}
	if got, _, _ := r.read(jobs[5], Query{}); len(got) != 2000 {
		t.Errorf("%q", got)
	}
}

func TestAPanickingEarIsSurvived(t *testing.T) {
	r := with(t, Options{Settings: Settings{Limit: 1}, Ended: func(context.Context, Job) { panic("ear") }})
	for range 3 {
		if j := r.end(r.start(Spec{Command: "true"})); j.State != Done {
			t.Errorf("%+v", j)
		}
	}
}

func TestAStoreThatFailsRefuses(t *testing.T) {
	r := with(t, Options{Store: folder("/nonesuch")})
	if _, err := r.Start(t.Context(), Spec{Command: "true", Dir: r.dir}); err == nil || !strings.Contains(err.Error(), "record the command") {
		t.Error(err)
	}
	if n := len(r.List(t.Context())); n > 0 {
		t.Errorf("%d are listed", n)
	}
}

func TestADeletedSessionTakesItsCommandsAlong(t *testing.T) {
	r := with(t, Options{Settings: Settings{Limit: 2}})
	theirs := []Job{r.start(Spec{Command: "exec sleep 300", Session: "ses_1"}), r.start(Spec{Command: "exec sleep 300", Session: "ses_2"})}
	waiting := r.start(Spec{Command: "exec sleep 300", Session: "ses_1"})
	r.SessionDeleted("ses_1")
	for _, id := range []string{theirs[0].ID, waiting.ID} {
		if w, err := r.Wait(t.Context(), id, Until{}); err != nil || w.Job.State != Killed {
			t.Errorf("%s: %+v, %v", id, w.Job.State, err)
		}
	}
	if j, err := r.Get(theirs[1].ID); err != nil || j.State != Running {
		t.Errorf("another session's: %s, %v", j.State, err)
	}
}

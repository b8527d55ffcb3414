package job

import (
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/opencode-sidecar/opencode-sidecar/core/tool"
)

// maxCommand is how many characters of a command a line about it shows.
const maxCommand = 120

// result is what a tool answers about a command.
func result(j Job, said string) tool.Result {
	about := map[string]any{"taskId": j.ID, "status": string(j.State)}
	if j.Exited {
		about["exitCode"] = j.Code
	}
	return tool.Result{Title: name(j), Output: said, Metadata: about}
}

// name is what people know a command by.
func name(j Job) string {
	if j.Label != "" {
		return j.Label
	}
	return clip(strings.Join(strings.Fields(j.Command), " "), 60)
}

// Brief says in a few words how a command has ended.
func (j Job) Brief() string { return fmt.Sprintf("%s: %s after %s", name(j), j.State, short(j.Took())) }

// headline says in one line how a command is.
func headline(j Job) string {
	var b strings.Builder
	fmt.Fprintf(&b, "[%s] %s", strings.ToUpper(string(j.State)), j.ID)
	if j.Label != "" {
		fmt.Fprintf(&b, " %s", j.Label)
	}
	fmt.Fprintf(&b, ": `%s`", clip(strings.Join(strings.Fields(j.Command), " "), maxCommand))
	switch {
	case j.State == Pending:
		fmt.Fprintf(&b, ", number %d in the queue", j.Position)
	case j.State == Running:
		fmt.Fprintf(&b, ", pid %d, for %s", j.Pid, short(j.Took()))
	case j.Signal != "" && j.State == Error:
		fmt.Fprintf(&b, ", ended by %s after %s", j.Signal, short(j.Took()))
	case j.State == Timeout:
		fmt.Fprintf(&b, ", ended because its time of %s was over", short(j.Timeout))
	case j.Started.IsZero():
		b.WriteString(", never started")
	case j.State == Killed, j.State == Interrupted:
		fmt.Fprintf(&b, " after %s", short(j.Took()))
	default:
		fmt.Fprintf(&b, ", exit code %d after %s", j.Code, short(j.Took()))
	}
	if j.Problem != "" {
		fmt.Fprintf(&b, "; %s", j.Problem)
	}
	if j.Left > 0 {
		fmt.Fprintf(&b, "; %d of its processes live on, which kill_background ends", j.Left)
	}
	b.WriteString(".")
	return b.String()
}

// short is a duration as people say it.
func short(d time.Duration) string {
	switch {
	case d < time.Second:
		return d.Round(time.Millisecond).String()
	case d < time.Minute:
		return d.Round(100 * time.Millisecond).String()
	}
	return d.Round(time.Second).String()
}

// clip shortens a text to n characters.
func clip(s string, n int) string {
	if utf8.RuneCountInString(s) <= n {
		return s
	}
	return string([]rune(s)[:n-1]) + "…"
}

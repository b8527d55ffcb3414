package delegate

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/opencode-sidecar/opencode-sidecar/core/task"
)

// How much of results a message carries: the rest is a call of get_task_result
// away. Bytes.
const (
	digestEach = 8_000
	digestAll  = 32_000
)

// label is the seed's word for a state, which its users know.
func label(s task.State) string {
	switch s {
	case task.Pending:
		return "[SPAWNED]"
	case task.Running:
		return "[RUNNING]"
	case task.Completed:
		return "[DONE]"
	case task.Timeout:
		return "[TIMEOUT]"
	case task.Cancelled:
		return "[CANCELLED]"
	case task.Interrupted:
		return "[WARNING]"
	default:
		return "[ERROR]"
	}
}

// heading is the first line about a task.
func heading(t task.Task) string { return string(appendHeading(nil, &t)) }

// appendHeading writes by hand what Sprintf could: list_tasks is called often,
// with fifty tasks.
func appendHeading(b []byte, t *task.Task) []byte {
	b = append(b, label(t.State)...)
	b = append(b, ' ')
	b = append(b, t.ID...)
	b = append(b, ' ')
	b = strconv.AppendQuote(b, t.Description)
	b = append(b, " (agent "...)
	b = append(b, t.Agent...)
	b = append(b, ", "...)
	if t.Attempt > 1 {
		b = append(strconv.AppendInt(append(b, "attempt "...), int64(t.Attempt), 10), ", "...)
	}
	// How long a task ran, or waited.
	switch {
	case t.State == task.Pending:
		b = appendSpan(append(b, "queued for "...), time.Since(t.Created))
	case t.State == task.Running:
		b = appendSpan(append(b, "running for "...), time.Since(t.Started))
	case t.Started.IsZero():
		b = append(b, "never ran"...)
	default:
		b = appendSpan(append(b, "ran "...), t.Ended.Sub(t.Started))
	}
	if tokens := t.Usage.Tokens(); tokens > 0 {
		b = append(strconv.AppendInt(append(b, ", "...), tokens, 10), " tokens"...)
	}
	if t.Usage.Cost > 0 {
		b = strconv.AppendFloat(append(b, ", $"...), t.Usage.Cost, 'g', 3, 64)
	}
	return append(b, ')')
}

func appendSpan(b []byte, d time.Duration) []byte {
	if d < time.Minute {
		return append(strconv.AppendFloat(b, d.Seconds(), 'f', 1, 64), 's')
	}
	return append(b, d.Round(time.Second).String()...)
}

// report is everything about an ended task, its result cut to max bytes.
func report(t task.Task, max int) string {
	var b strings.Builder
	b.WriteString(heading(t))
	if t.Error != "" {
		b.WriteString("\n" + t.Error)
	}
	if t.Note != "" {
		b.WriteString("\n" + t.Note)
	}
	if text := strings.TrimSpace(t.Result); text != "" {
		if t.State != task.Completed {
			b.WriteString("\nIts output up to then:")
		}
		b.WriteString("\n" + clip(text, max))
		if len(text) > max {
			fmt.Fprintf(&b, "\n(cut; get_task_result %s returns all of it)", t.ID)
		}
	}
	return b.String()
}

// digest tells a parent about tasks that ended.
func digest(tasks []task.Task) string {
	var b strings.Builder
	if len(tasks) == 1 {
		b.WriteString("A background task has ended.")
	} else {
		fmt.Fprintf(&b, "%d background tasks have ended.", len(tasks))
	}
	for i, t := range tasks {
		if b.Len() > digestAll {
			fmt.Fprintf(&b, "\n\nand %d more, which get_task_result returns:", len(tasks)-i)
			for _, t := range tasks[i:] {
				fmt.Fprintf(&b, "\n%s", heading(t))
			}
			break
		}
		b.WriteString("\n\n")
		b.WriteString(report(t, min(digestEach, max(200, digestAll-b.Len()))))
	}
	return b.String()
}

// firstLine returns the first line of s, cut to about max bytes at a rune.
func firstLine(s string, max int) string {
	s, _, _ = strings.Cut(strings.TrimSpace(s), "\n")
	return clip(s, max)
}

// clip cuts s to at most max bytes at a rune boundary and marks the cut.
func clip(s string, max int) string {
	if len(s) <= max {
		return s
	}
	cut := 0
	for i := range s {
		if i > max-len("…") {
			break
		}
		cut = i
	}
	return s[:cut] + "…"
}

package delegate

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/opencode-sidecar/opencode-sidecar/core/task"
	"github.com/opencode-sidecar/opencode-sidecar/host"
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
			fmt.Fprintf(&b, "\n\nand %d more; list_tasks shows them.", len(tasks)-i)
			break
		}
		b.WriteString("\n\n")
		b.WriteString(report(t, min(digestEach, max(200, digestAll-b.Len()))))
	}
	return b.String()
}

// toast is the digest for people.
func toast(tasks []task.Task, open int) host.Toast {
	good := 0
	for _, t := range tasks {
		if t.State == task.Completed {
			good++
		}
	}
	note := host.Toast{Title: "Background tasks", Variant: "success", Duration: 5 * time.Second}
	switch {
	case len(tasks) == 1:
		note.Message = fmt.Sprintf("%s: %s", tasks[0].Description, tasks[0].State)
	case good == len(tasks):
		note.Message = fmt.Sprintf("%d completed", good)
	default:
		note.Message = fmt.Sprintf("%d completed, %d not", good, len(tasks)-good)
	}
	if good < len(tasks) {
		note.Variant = "warning"
	}
	if open > 0 {
		note.Message += fmt.Sprintf(", %d still open", open)
	}
	return note
}

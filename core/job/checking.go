package job

import (
	"cmp"
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/opencode-sidecar/opencode-sidecar/core/tool"
)

const (
	// tailLines is how many lines of each stream are shown when nobody says.
	tailLines = 200
	// maxShown is how many bytes of each stream one answer looks at: about what
	// OpenCode lets a tool say before it cuts it off.
	maxShown = 24 << 10
	// defaultWait is how long a line is waited for when nobody says.
	defaultWait = 30 * time.Second
)

func (t toolset) check(ctx context.Context, c tool.Call, a checkArgs) (tool.Result, error) {
	if _, err := t.mine(c, a.TaskID); err != nil {
		return tool.Result{}, err
	}
	after, err := ParseCursor(a.Cursor)
	if err != nil {
		return tool.Result{}, explain(err)
	}
	q := Query{After: after, Stream: Stream(a.Stream), Tail: a.TailLines, Filter: a.Filter, Plain: !a.Raw, Max: maxShown}
	if q.Tail == 0 && a.Cursor == "" {
		q.Tail = tailLines
	}
	if _, err := q.check(); err != nil {
		return tool.Result{}, explain(err)
	}
	if a.WaitFor == "" && a.WaitMs == nil {
		return t.shown(ctx, c, a.TaskID, q, "")
	}
	return t.follow(ctx, c, a.TaskID, Until{Pattern: a.WaitFor, Stream: q.Stream, After: after}, a.WaitMs, q)
}

// follow waits as long as it may, and shows what there is then.
func (t toolset) follow(ctx context.Context, c tool.Call, id string, until Until, waitMs *int, q Query) (tool.Result, error) {
	limit := defaultWait
	if waitMs != nil {
		limit = time.Duration(*waitMs) * time.Millisecond
	}
	waiting, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	waited, err := t.engine.Wait(waiting, id, until)
	if err != nil {
		return tool.Result{}, explain(err)
	}
	said := ""
	switch {
	case waited.Reason == Matched:
		said = fmt.Sprintf("A line on %s matches: %s", waited.Stream, clip(waited.Line, 500))
	case waited.Reason == Deadline && until.Pattern != "":
		said = fmt.Sprintf("No line matched within %s; it goes on.", limit)
	case waited.Reason == Deadline:
		said = fmt.Sprintf("It has not ended within %s and goes on.", limit)
	case until.Pattern != "":
		said = "It has ended, and no line matched."
	}
	return t.shown(ctx, c, id, q, said)
}

// shown is a command with its output.
func (t toolset) shown(ctx context.Context, c tool.Call, id string, q Query, said string) (tool.Result, error) {
	out, err := t.engine.Read(id, q)
	if err != nil {
		return tool.Result{}, explain(err)
	}
	j := out.Job
	if j.Notify && j.State.Terminal() && j.Session == c.SessionID {
		t.engine.seen(ctx, j)
	}
	parts := []string{strings.TrimSpace(headline(j) + " " + said)}
	for _, p := range out.Parts {
		parts = append(parts, fmt.Sprintf("<%s>%s\n%s\n</%[1]s>", p.Stream, omitted(p, q), strings.TrimSuffix(p.Text, "\n")))
	}
	if len(out.Parts) == 0 {
		parts = append(parts, silence(j, q))
	}
	next := fmt.Sprintf("Cursor %s", out.Next)
	switch {
	case out.More:
		next += ": there is more; pass it to read on."
	case !j.State.Terminal():
		next += ": pass it to read only what is new."
	default:
		next = ""
	}
	if j.Spill != "" {
		which := "All"
		if j.SpillCut {
			which = "The beginning"
		}
		next = strings.TrimSpace(next + " " + which + " of its output is in " + j.Spill + ".*" + spillEnding + ".")
	}
	if next != "" {
		parts = append(parts, next)
	}
	r := result(j, strings.Join(parts, "\n"))
	r.Metadata["cursor"] = out.Next.String()
	return r, nil
}

// silence says that there is no output to be shown.
func silence(j Job, q Query) string {
	switch {
	case j.Out.Total+j.Err.Total == 0:
		return "It has printed nothing."
	case q.Filter != "":
		return "No line matches the filter."
	}
	return "It has printed nothing new."
}

// omitted says what of a stream is not shown.
func omitted(p Part, q Query) string {
	if !p.Skipped {
		return ""
	}
	return fmt.Sprintf(" (earlier lines are left out: at most %d lines and %d KB are shown, and the cursor 0.0 reads from the beginning)", cmp.Or(q.Tail, tailLines), maxShown>>10)
}

package delegate

import (
	"context"
	"fmt"
	"strings"

	"github.com/opencode-sidecar/opencode-sidecar/core/task"
)

// carryLimit is how many tasks are named to a compaction.
const carryLimit = 50

// Compacting is called when the conversation of a session is about to be
// summarised. It returns what the summary must not lose: the tasks that are open,
// and results that nobody has read.
func (e *Engine) Compacting(ctx context.Context, session string) []string {
	page, err := e.store.List(ctx, task.Query{Parent: session, States: openStates(), Limit: carryLimit})
	if err != nil {
		e.log.Warn().Err(err).Msg("open tasks not readable for a compaction")
		return nil
	}
	ended, err := e.store.List(ctx, task.Query{Parent: session, Untold: true, States: endStates(), Limit: carryLimit})
	if err != nil {
		e.log.Warn().Err(err).Msg("unread results not readable for a compaction")
		return nil
	}
	var context []string
	if len(page.Tasks) > 0 {
		var b strings.Builder
		fmt.Fprintf(&b, "Background tasks of this session that are still open; their results will arrive by themselves. Keep their ids and what they are for:")
		for _, t := range page.Tasks {
			b.WriteString("\n" + heading(t))
		}
		context = append(context, b.String())
	}
	var b strings.Builder
	for _, t := range ended.Tasks {
		b.WriteString("\n" + heading(t))
	}
	if b.Len() > 0 {
		context = append(context, "Background tasks of this session that have ended and whose results are unread; get_task_result returns them. Keep their ids:"+b.String())
	}
	return context
}

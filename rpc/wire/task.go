package wire

// Task is a delegated child session as programs see it. Times are Unix
// milliseconds, 0 when the moment has not come.
type Task struct {
	ID            string `json:"id" doc:"task_ and 8 hex digits"`
	Description   string `json:"description,omitempty"`
	Agent         string `json:"agent"`
	State         string `json:"state" doc:"pending | running | completed | error | timeout | cancelled | interrupted"`
	Uncertain     bool   `json:"uncertain,omitempty" doc:"running, but OpenCode shows neither work nor an answer"`
	Attempt       int    `json:"attempt"`
	Depth         int    `json:"depth"`
	Background    bool   `json:"background"`
	Group         string `json:"group,omitempty"`
	ParentSession string `json:"parentSession"`
	Session       string `json:"session,omitempty" doc:"the child session"`
	Position      int    `json:"position,omitempty" doc:"place in the queue, from 1"`
	Asks          string `json:"asks,omitempty" doc:"what it waits for a person to permit"`
	Created       int64  `json:"created"`
	Started       int64  `json:"started,omitempty"`
	Ended         int64  `json:"ended,omitempty"`
	Result        string `json:"result,omitempty" doc:"the answer, or so far the partial output; left out in lists"`
	Error         string `json:"error,omitempty"`
}

// TaskLaunchParams are the arguments of a launch outside a tool call.
type TaskLaunchParams struct {
	Workspace     string `json:"workspace"`
	ParentSession string `json:"parentSession"`
	Agent         string `json:"agent"`
	Description   string `json:"description"`
	Prompt        string `json:"prompt"`
	Group         string `json:"group,omitempty"`
}

// TaskGetParams names a task.
type TaskGetParams struct {
	ID string `json:"id"`
}

// TaskListParams filters the list. Empty fields filter nothing.
type TaskListParams struct {
	Workspace     string `json:"workspace,omitempty"`
	ParentSession string `json:"parentSession,omitempty"`
	State         string `json:"state,omitempty"`
	Limit         int    `json:"limit,omitempty" doc:"at most 500; 50 when left out"`
}

// TaskListResult is the newest tasks and the totals over all that match.
type TaskListResult struct {
	Tasks  []Task         `json:"tasks"`
	Totals map[string]int `json:"totals"`
}

// TaskWaitParams waits for the end of a task.
type TaskWaitParams struct {
	ID        string `json:"id"`
	TimeoutMS int64  `json:"timeoutMs,omitempty" doc:"0 waits as long as the caller does"`
}

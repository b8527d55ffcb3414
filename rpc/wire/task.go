package wire

// Task is a delegated child session as programs see it. Times are Unix
// milliseconds, 0 when the moment has not come.
type Task struct {
	ID            string  `json:"id" doc:"task_ and 8 hex digits"`
	Description   string  `json:"description,omitempty"`
	Agent         string  `json:"agent"`
	State         string  `json:"state" doc:"pending | running | completed | error | timeout | cancelled | interrupted"`
	Uncertain     bool    `json:"uncertain,omitempty" doc:"running, but OpenCode shows neither work nor an answer"`
	Attempt       int     `json:"attempt"`
	Depth         int     `json:"depth"`
	Background    bool    `json:"background"`
	Group         string  `json:"group,omitempty"`
	ParentSession string  `json:"parentSession"`
	Session       string  `json:"session,omitempty" doc:"the child session"`
	Position      int     `json:"position,omitempty" doc:"place in the queue, from 1"`
	Asks          string  `json:"asks,omitempty" doc:"what it waits for a person to permit"`
	Elsewhere     bool    `json:"elsewhere,omitempty" doc:"open in another OpenCode process"`
	Mode          string  `json:"mode,omitempty" doc:"race | fractal; normal when left out"`
	Priority      string  `json:"priority,omitempty" doc:"high | low; normal when left out"`
	Wake          string  `json:"wake,omitempty" doc:"all | none; each when left out"`
	Model         string  `json:"model,omitempty" doc:"provider/model"`
	Told          bool    `json:"told,omitempty" doc:"its parent has the outcome"`
	Created       int64   `json:"created"`
	Started       int64   `json:"started,omitempty"`
	Ended         int64   `json:"ended,omitempty"`
	Result        string  `json:"result,omitempty" doc:"the answer, or so far the partial output; left out in lists"`
	Error         string  `json:"error,omitempty"`
	Note          string  `json:"note,omitempty" doc:"what else its parent should know"`
	Tokens        int64   `json:"tokens,omitempty" doc:"all kinds together"`
	Cost          float64 `json:"cost,omitempty" doc:"US dollars"`
}

// TaskLaunchParams are the arguments of a launch outside a tool call.
type TaskLaunchParams struct {
	Workspace     string `json:"workspace"`
	ParentSession string `json:"parentSession"`
	Agent         string `json:"agent"`
	Description   string `json:"description"`
	Prompt        string `json:"prompt"`
	Group         string `json:"group,omitempty"`
	Mode          string `json:"mode,omitempty" doc:"normal | race | fractal"`
	Priority      string `json:"priority,omitempty" doc:"high | normal | low"`
	Wake          string `json:"wake,omitempty" doc:"each | all | none"`
	Resume        string `json:"resume,omitempty" doc:"id of the task, or of its session, that goes on with this prompt"`
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

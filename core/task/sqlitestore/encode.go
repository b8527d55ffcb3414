package sqlitestore

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"time"

	"github.com/opencode-sidecar/opencode-sidecar/core/task"
	"github.com/opencode-sidecar/opencode-sidecar/host"
)

// A row is a task and what a newer release has stored with it: two releases may
// share the database, and the older one must not drop the other's fields.
type row struct {
	task.Task
	extra map[string]json.RawMessage
}

// A head is a task as it is stored, without its texts. The fields here take the
// place of the task's of the same names, so that they are left out where they
// are empty: a list reads many, and most of these are.
type head struct {
	task.Task
	Prompt, Result string         `json:",omitzero"`
	Past           []task.Attempt `json:",omitzero"`
	Model          host.Model     `json:",omitzero"`
	Group          string         `json:",omitzero"`
	Mode           task.Mode      `json:",omitzero"`
	Priority       task.Priority  `json:",omitzero"`
	Wake           task.Wake      `json:",omitzero"`
	Error          string         `json:",omitzero"`
	Stop           string         `json:",omitzero"`
	WakeID         string         `json:",omitzero"`
	Usage          task.Usage     `json:",omitzero"`
	NotBefore      time.Time      `json:",omitzero"`
	Started        time.Time      `json:",omitzero"`
	Ended          time.Time      `json:",omitzero"`
}

func headOf(t task.Task) head {
	return head{
		Task: t, Model: t.Model, Group: t.Group, Mode: t.Mode, Priority: t.Priority, Wake: t.Wake, Error: t.Error, Stop: t.Stop,
		WakeID: t.WakeID, Usage: t.Usage, NotBefore: t.NotBefore, Started: t.Started, Ended: t.Ended,
	}
}

func (h *head) task() task.Task {
	t := h.Task
	t.Model, t.Group, t.Mode, t.Priority, t.Wake, t.Error, t.Stop = h.Model, h.Group, h.Mode, h.Priority, h.Wake, h.Error, h.Stop
	t.WakeID, t.Usage, t.NotBefore, t.Started, t.Ended = h.WakeID, h.Usage, h.NotBefore, h.Started, h.Ended
	return t
}

// encode is the JSON of a task without its texts.
func (r row) encode() (string, error) {
	b, err := json.Marshal(headOf(r.Task))
	if err != nil || len(r.extra) == 0 {
		return string(b), err
	}
	all := maps.Clone(r.extra)
	if err := json.Unmarshal(b, &all); err != nil {
		return "", err
	}
	b, err = json.Marshal(all)
	return string(b), err
}

// decode is the other way.
func decode(text []byte) (row, error) {
	var h head
	strict := json.NewDecoder(bytes.NewReader(text))
	strict.DisallowUnknownFields()
	if strict.Decode(&h) == nil {
		return row{Task: h.task()}, nil
	}
	var r row
	if err := decodeHead(text, &r.Task); err != nil {
		return row{}, err
	}
	// The names of a task are those of its JSON without any rules.
	known := map[string]json.RawMessage{}
	b, err := json.Marshal(task.Task{Past: []task.Attempt{{}}})
	if err == nil {
		err = json.Unmarshal(b, &known)
	}
	if err == nil {
		err = json.Unmarshal(text, &r.extra)
	}
	maps.DeleteFunc(r.extra, func(name string, _ json.RawMessage) bool { return known[name] != nil })
	return r, err
}

// decodeHead reads a task without its texts and drops what it does not know.
func decodeHead(text []byte, t *task.Task) error {
	var h head
	if err := json.Unmarshal(text, &h); err != nil {
		return fmt.Errorf("unreadable task: %w", err)
	}
	*t = h.task()
	return nil
}

func encodeAttempt(a task.Attempt) (string, error) {
	b, err := json.Marshal(a)
	return string(b), err
}

func decodePast(text []byte) (past []task.Attempt, err error) {
	if err := json.Unmarshal(text, &past); err != nil {
		return nil, fmt.Errorf("unreadable attempts: %w", err)
	}
	return past, nil
}

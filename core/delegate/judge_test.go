package delegate

import (
	"testing"
	"time"

	"github.com/opencode-sidecar/opencode-sidecar/core/task"
	"github.com/opencode-sidecar/opencode-sidecar/host"
)

var (
	toldBy    = host.Part{Type: "text", Text: "and this?", Synthetic: true}
	typed     = host.Part{Type: "text", Text: "and that?"}
	compacts  = host.Part{Type: "compaction"}
	goesOn    = host.Part{Type: "text", Text: "Continue if you have next steps, or stop and ask for clarification.", Synthetic: true}
	ran       = host.Part{Type: "text", Text: "The following tool was executed by the user", Synthetic: true}
	completed = host.Part{Type: "tool", Tool: "bash", Status: "completed"}
)

// at is a moment n seconds into a conversation.
func at(n int) time.Time { return time.Unix(1_800_000_000+int64(n), 0) }

// asks is a user message, written at a moment.
func asks(id string, n int, parts ...host.Part) host.Message {
	return host.Message{ID: id, Role: host.User, Created: at(n), Parts: parts}
}

// says is an answer to a user message, complete at a moment.
func says(parent string, n int, text string) host.Message {
	return host.Message{
		ID: "to " + parent, Role: host.Assistant, Parent: parent, Finish: "stop", Created: at(n), Completed: at(n),
		Usage: host.Usage{Output: 1}, Parts: []host.Part{{Type: "text", Text: text}},
	}
}

// steps is a tool step of the turn that a user message has started.
func steps(parent string, n int) host.Message {
	m := says(parent, n, "")
	m.Finish, m.Parts = "tool-calls", []host.Part{completed}
	return m
}

// sums is the summary that a compaction asks for.
func sums(parent string, n int) host.Message {
	m := says(parent, n, "summary")
	m.Summary = true
	return m
}

// stops is a turn that somebody has stopped.
func stops(parent string, n int) host.Message {
	m := says(parent, n, "half")
	m.Finish, m.Usage, m.Error = "", host.Usage{}, &host.MessageError{Name: "MessageAbortedError"}
	return m
}

// prints is the output of a person's !command.
func prints(parent string, n int) host.Message {
	return host.Message{ID: "to " + parent, Role: host.Assistant, Parent: parent, Created: at(n), Completed: at(n), Parts: []host.Part{completed}}
}

func TestJudge(t *testing.T) {
	ours, answer := asks("ours", 0, typed), says("ours", 1, "RESULT")
	running := prints("sh", 0)
	running.Completed, running.Parts = time.Time{}, []host.Part{{Type: "tool", Tool: "bash", Status: "running"}}
	retried := stops("ours", 2) // between two tries of its provider
	retried.Error, retried.Parts = nil, []host.Part{completed}
	for name, c := range map[string]struct {
		messages []host.Message
		state    task.State
		text     string
		idle     task.State // proven should the session be idle
	}{
		"compaction after the answer": {
			messages: []host.Message{ours, answer, asks("c", 2, compacts), sums("c", 3), asks("go", 4, goesOn), says("go", 5, "nothing left")},
			state:    task.Completed, text: "RESULT",
		},
		"compaction after the answer, on its way": {
			messages: []host.Message{ours, answer, asks("c", 2, compacts)},
			state:    task.Completed, text: "RESULT",
		},
		"compaction after the answer, its continuation not answered": {
			messages: []host.Message{ours, answer, asks("c", 2, compacts), sums("c", 3), asks("go", 4, goesOn)},
			state:    task.Completed, text: "RESULT",
		},
		"compaction before the answer": {
			messages: []host.Message{ours, steps("ours", 1), asks("c", 2, compacts), sums("c", 3), asks("go", 4, goesOn), says("go", 5, "RESULT")},
			state:    task.Completed, text: "RESULT",
		},
		"two compactions, one before and one after the answer": {
			messages: []host.Message{
				ours, steps("ours", 1), asks("c", 2, compacts), sums("c", 3), asks("go", 4, goesOn), says("go", 5, "RESULT"),
				asks("c2", 6, compacts), sums("c2", 7), asks("go2", 8, goesOn), says("go2", 9, "nothing left"),
			},
			state: task.Completed, text: "RESULT",
		},
		"a person's /compact, then a message of ours": {
			messages: []host.Message{ours, answer, asks("c", 2, compacts), sums("c", 3), asks("more", 9, toldBy), says("more", 10, "MORE")},
			state:    task.Completed, text: "MORE",
		},
		"a message of ours during the summary": {
			messages: []host.Message{ours, answer, asks("c", 2, compacts), sums("c", 3), asks("more", 3, toldBy), asks("go", 4, goesOn), says("go", 5, "MORE")},
			state:    task.Completed, text: "MORE",
		},
		"a message of ours after the continuation": {
			messages: []host.Message{ours, answer, asks("c", 2, compacts), sums("c", 3), asks("go", 4, goesOn), says("go", 5, "nothing left"), asks("more", 6, toldBy), says("more", 7, "MORE")},
			state:    task.Completed, text: "MORE",
		},
		"a message of ours with the words of a continuation": {
			messages: []host.Message{ours, answer, asks("more", 6, goesOn), says("more", 7, "MORE")},
			state:    task.Completed, text: "MORE",
		},
		"a message of ours after the answer": {
			messages: []host.Message{ours, answer, asks("more", 2, toldBy)},
		},
		"a command after the answer": {
			messages: []host.Message{ours, answer, asks("sh", 2, ran), prints("sh", 3)},
			state:    task.Completed, text: "RESULT",
		},
		"a command that runs, after the answer": {
			messages: []host.Message{ours, answer, asks("sh", 2, ran), running},
			state:    task.Completed, text: "RESULT",
		},
		"a command after an abort": {
			messages: []host.Message{ours, stops("ours", 1), asks("sh", 2, ran), prints("sh", 3)},
			state:    task.Cancelled, text: "half",
		},
		"a command before the answer": {
			messages: []host.Message{ours, asks("sh", 2, ran), prints("sh", 3)},
		},
		"a command, then a message of ours": {
			messages: []host.Message{ours, answer, asks("sh", 2, ran), prints("sh", 3), asks("more", 4, toldBy), says("more", 5, "MORE")},
			state:    task.Completed, text: "MORE",
		},
		"an abort between two tries looks like a command, but nobody ran one": {
			messages: []host.Message{ours, retried},
			idle:     task.Cancelled,
		},
		"a picture after the answer": {
			messages: []host.Message{ours, answer, asks("pic", 2, host.Part{Type: "file"}), says("pic", 3, "nice")},
			state:    task.Completed, text: "RESULT",
		},
		"a picture after the answer, its part not kept": {
			messages: []host.Message{ours, answer, asks("pic", 2), says("pic", 3, "nice")},
			state:    task.Completed, text: "RESULT",
		},
		"an abort with a message of ours queued": {
			messages: []host.Message{ours, asks("more", 1, toldBy), stops("ours", 2)},
			state:    task.Cancelled, text: "half",
		},
		"an abort with a message of ours queued behind it": {
			messages: []host.Message{ours, stops("ours", 2), asks("more", 1, toldBy)},
			state:    task.Cancelled, text: "half",
		},
		"an abort in the same moment as a message of ours": {
			messages: []host.Message{ours, stops("ours", 2), asks("more", 2, toldBy)},
			state:    task.Cancelled, text: "half",
		},
		"an abort with a message of ours queued, then a person's": {
			messages: []host.Message{ours, stops("ours", 2), asks("more", 1, toldBy), asks("p", 3, typed), says("p", 4, "noon")},
			state:    task.Cancelled, text: "half",
		},
		"a message of ours after an abort": {
			messages: []host.Message{ours, stops("ours", 2), asks("more", 3, toldBy), says("more", 4, "MORE")},
			state:    task.Completed, text: "MORE",
		},
	} {
		t.Run(name, func(t *testing.T) {
			v := judge(c.messages, "ours")
			var idle task.State
			if v.idle != nil {
				idle = v.idle.state
			}
			if v.state != c.state || idle != c.idle || c.state != "" && v.text != c.text {
				t.Errorf("judged %q %q, if idle %q; want %q %q, if idle %q", v.state, v.text, idle, c.state, c.text, c.idle)
			}
			if v.toolRunning {
				t.Error("a person's command counts as a tool call of the task")
			}
		})
	}
}

func TestAbortedAt(t *testing.T) {
	retried := stops("u", 2)
	retried.Error, retried.Parts = nil, nil
	open := says("u", 2, "")
	open.Finish, open.Completed = "", time.Time{}
	for name, c := range map[string]struct {
		messages []host.Message
		want     time.Time
	}{
		"nothing said":           {nil, time.Time{}},
		"an answer":              {[]host.Message{asks("u", 1, typed), says("u", 2, "hi")}, time.Time{}},
		"an answer on its way":   {[]host.Message{asks("u", 1, typed), open}, time.Time{}},
		"an abort":               {[]host.Message{asks("u", 1, typed), stops("u", 2)}, at(2)},
		"an abort in a retry":    {[]host.Message{asks("u", 1, typed), retried}, at(2)},
		"ours queued behind it":  {[]host.Message{asks("u", 1, typed), stops("u", 2), asks("wake", 1, toldBy)}, at(2)},
		"a person since":         {[]host.Message{asks("u", 1, typed), stops("u", 2), asks("p", 3, typed)}, time.Time{}},
		"a picture since":        {[]host.Message{asks("u", 1, typed), stops("u", 2), asks("p", 3)}, time.Time{}},
		"a command":              {[]host.Message{asks("u", 1, typed), says("u", 2, "hi"), asks("sh", 3, ran), prints("sh", 4)}, time.Time{}},
		"two commands":           {[]host.Message{asks("u", 1, typed), says("u", 2, "hi"), asks("sh", 3, ran), prints("sh", 4), asks("sh2", 5, ran), prints("sh2", 6)}, time.Time{}},
		"only a command":         {[]host.Message{asks("sh", 3, ran), prints("sh", 4)}, time.Time{}},
		"a command since":        {[]host.Message{asks("u", 1, typed), stops("u", 2), asks("sh", 3, ran), prints("sh", 4)}, at(2)},
		"a command and a person": {[]host.Message{asks("u", 1, typed), stops("u", 2), asks("sh", 3, ran), prints("sh", 4), asks("p", 5, typed)}, time.Time{}},
	} {
		t.Run(name, func(t *testing.T) {
			if got := AbortedAt(c.messages); !got.Equal(c.want) {
				t.Errorf("stopped at %v, want %v", got, c.want)
			}
		})
	}
}

func TestJudgeByPerson(t *testing.T) {
	for name, c := range map[string]struct {
		message host.Message
		want    bool
	}{
		"typed":              {asks("u", 0, typed), true},
		"typed, with a file": {asks("u", 0, typed, toldBy), true},
		"a file":             {asks("u", 0, host.Part{Type: "file"}), true},
		"no part kept":       {asks("u", 0), true},
		"synthetic":          {asks("u", 0, toldBy), false},
		"a continuation":     {asks("u", 0, goesOn), false},
		"a command":          {asks("u", 0, ran), false},
		"a compaction":       {asks("u", 0, compacts), false},
		"an answer":          {says("u", 0, "hi"), false},
	} {
		t.Run(name, func(t *testing.T) {
			if got := byPerson(c.message); got != c.want {
				t.Errorf("by a person: %v, want %v", got, c.want)
			}
		})
	}
}

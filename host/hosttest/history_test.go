package hosttest

import (
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"
)

// What OpenCode writes into a session in a person's place. Whether an answer
// stands at the end of a task is read off such messages, and these words and
// fields are all that tells them from a person's. Package delegate knows them by
// heart: if OpenCode changes them, these tests fail first.
const (
	commanded = "The following tool was executed by the user"
	continues = "Continue if you have next steps"
)

// written is a message with all that tells who wrote it.
type written struct {
	Info struct {
		ID       string          `json:"id"`
		Role     string          `json:"role"`
		ParentID string          `json:"parentID"`
		Agent    string          `json:"agent"`
		Finish   string          `json:"finish"`
		Summary  json.RawMessage `json:"summary"` // user: an object; assistant: a flag
		Error    *MessageError   `json:"error"`
		Cost     float64         `json:"cost"`
		Tokens   struct {
			Input     int64 `json:"input"`
			Output    int64 `json:"output"`
			Reasoning int64 `json:"reasoning"`
			Cache     struct {
				Read  int64 `json:"read"`
				Write int64 `json:"write"`
			} `json:"cache"`
		} `json:"tokens"`
		Time struct {
			Completed int64 `json:"completed"`
		} `json:"time"`
	} `json:"info"`
	Parts []Part `json:"parts"`
}

// kind names who wrote a message, by what package delegate looks at.
func (m written) kind() string {
	of := func(match func(Part) bool) bool { return slices.ContainsFunc(m.Parts, match) }
	typed := of(func(p Part) bool { return p.Type != "text" || !p.Synthetic })
	text := Message{Parts: m.Parts}.Text()
	free := m.Info.Cost == 0 && m.Info.Tokens.Input+m.Info.Tokens.Output+m.Info.Tokens.Reasoning+m.Info.Tokens.Cache.Read+m.Info.Tokens.Cache.Write == 0
	switch {
	case m.Info.Role == "user" && of(func(p Part) bool { return p.Type == "compaction" }):
		return "compaction"
	case m.Info.Role == "user" && typed:
		return "person"
	case m.Info.Role == "user" && strings.HasPrefix(text, commanded):
		return "command"
	case m.Info.Role == "user" && strings.Contains(text, continues):
		return "continuation"
	case m.Info.Role == "user":
		return "synthetic"
	case string(m.Info.Summary) == "true":
		return "summary " + m.Info.Finish
	case m.Info.Error == nil && m.Info.Finish == "" && free && len(m.Parts) == 1 && m.Parts[0].Type == "tool" && m.Parts[0].State != nil:
		return "output " + m.Parts[0].State.Status
	}
	return "answer " + m.Info.Finish
}

// history reads a session until its messages have these kinds.
func (s serving) history(ctx context.Context, t *testing.T, session string, want ...string) []written {
	t.Helper()
	var list []written
	var kinds []string
	match := func([]Message) bool {
		list, kinds = nil, nil
		if err := s.Do(ctx, http.MethodGet, sessionPath(session, "message"), nil, &list); err != nil {
			t.Fatal(err)
		}
		for _, m := range list {
			kinds = append(kinds, m.kind())
		}
		return slices.Equal(kinds, want)
	}
	if _, err := s.WaitMessages(ctx, session, match); err != nil {
		t.Fatalf("%v\nits messages are %q, want %q", err, kinds, want)
	}
	for i, m := range list {
		if m.Info.Role == "assistant" && m.Info.ParentID != list[i-1].Info.ID && list[i-1].Info.Role == "user" {
			t.Errorf("message %d answers %s, not the one before it", i, m.Info.ParentID)
		}
	}
	return list
}

// A person's !command: a synthetic message announces it, and its output answers
// that as if it were a step without a model.
func testCommand(ctx context.Context, t *testing.T, s serving) {
	id := s.session(ctx, t)
	shell := func(command string) error {
		return s.Do(ctx, http.MethodPost, sessionPath(id, "shell"), map[string]string{"agent": "build", "command": command}, nil)
	}
	s.prompt(ctx, t, id, "@say RESULT")
	if err := shell("echo hi"); err != nil {
		t.Fatal(err)
	}
	list := s.history(ctx, t, id, "person", "answer stop", "command", "output completed")
	if last := list[3]; last.Info.Time.Completed == 0 || last.Parts[0].Tool != "bash" || last.Parts[0].State.Output != "hi\n" {
		t.Errorf("its output is %+v", last)
	}
	ended := make(chan error, 1)
	go func() { ended <- shell("echo begun; sleep 100") }()
	list = s.history(ctx, t, id, "person", "answer stop", "command", "output completed", "command", "output running")
	if last := list[5]; last.Info.Time.Completed != 0 {
		t.Errorf("a command that runs counts as complete: %+v", last)
	}
	if status, err := s.Status(ctx); err != nil || status[id].Type != "busy" {
		t.Errorf("status %+v, %v", status, err)
	}
	if err := s.Abort(ctx, id); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
	// Stopped by a person it looks as if it had ended by itself.
	s.history(ctx, t, id, "person", "answer stop", "command", "output completed", "command", "output completed")
	if got := s.prompt(ctx, t, id, "@say MORE"); got.Text() != "MORE" {
		t.Errorf("answer %q after a command", got.Text())
	}
}

// A compaction that a person asks for: a message with nothing but its part, and a
// summary. Nothing goes on by itself.
func testManualCompaction(ctx context.Context, t *testing.T, s serving) {
	id := s.session(ctx, t)
	s.prompt(ctx, t, id, "@say RESULT")
	if err := s.Do(ctx, http.MethodPost, sessionPath(id, "summarize"), ModelRef{provider, mainModel}, nil); err != nil {
		t.Fatal(err)
	}
	list := s.history(ctx, t, id, "person", "answer stop", "compaction", "summary stop")
	if text := (Message{Parts: list[2].Parts}).Text(); len(list[2].Parts) != 1 || text != "" {
		t.Errorf("the request for it has %d parts and the text %q", len(list[2].Parts), text)
	}
	if got := list[3].Info.Agent; got != "compaction" {
		t.Errorf("the summary is %q's", got)
	}
	if err := s.WaitIdle(ctx, id); err != nil {
		t.Error(err)
	}
	s.prompt(ctx, t, id, "@say MORE")
	s.history(ctx, t, id, "person", "answer stop", "compaction", "summary stop", "person", "answer stop")
}

// A compaction that OpenCode begins when a conversation has become too long, in
// the middle of a turn or after its answer: the model is told to go on, and its
// answer to that ends the turn.
func testAutoCompaction(ctx context.Context, t *testing.T, s serving) {
	for name, c := range map[string]struct {
		step   string
		begins []string
	}{
		"in a turn":       {`@call bash {"command":"true","description":"d"}`, []string{"person", "answer tool-calls"}},
		"after an answer": {"@say RESULT", []string{"person", "answer stop"}},
	} {
		t.Run(name, func(t *testing.T) {
			id := s.session(ctx, t)
			s.prompt(ctx, t, id, "@usage 195000 10", c.step, "@say end") // of a context of 200,000
			list := s.history(ctx, t, id, append(c.begins, "compaction", "summary stop", "continuation", "answer stop")...)
			if err := s.WaitIdle(ctx, id); err != nil {
				t.Error(err)
			}
			if got := list[5].Info.Agent; got != "build" {
				t.Errorf("%q goes on", got)
			}
		})
	}
}

// Aborting a session that is gone is no error, and stops what is left of its turn.
func testDeletion(ctx context.Context, t *testing.T, s serving) {
	id := s.session(ctx, t)
	if err := s.PromptAsync(ctx, id, Text("@tag deleted", "@hang")); err != nil {
		t.Fatal(err)
	}
	if _, err := s.model.Wait(ctx, func(r Request) bool { return r.Session == id }); err != nil {
		t.Fatal(err)
	}
	if err := s.DeleteSession(ctx, id); err != nil {
		t.Fatal(err)
	}
	if err := s.Abort(ctx, id); err != nil {
		t.Error(err)
	}
	if err := s.WaitIdle(ctx, id); err != nil {
		t.Error(err)
	}
	if err := s.Abort(ctx, "ses_unknown"); err != nil {
		t.Error(err)
	}
}

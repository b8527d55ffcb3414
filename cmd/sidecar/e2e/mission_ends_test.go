package e2e

import (
	"strings"
	"testing"

	"github.com/opencode-sidecar/opencode-sidecar/host/hosttest"
)

// A model that never finishes is stopped by each of the limits.
func TestAMissionThatNeverFinishes(t *testing.T) {
	t.Parallel()
	endless := func(step string) []string {
		script := []string{"Build it.", plan(1)}
		for range 12 {
			script = append(script, step)
		}
		return script
	}
	for name, c := range map[string]struct {
		options   map[string]any
		script    []string
		continued int
		reason    string
	}{
		"nothing comes of it": {map[string]any{"missionIdleTurns": 2}, endless("@say still at it"), 3, "nothing came of the last 2 turns, and 0 of 1 items"},
		"iterations":          {map[string]any{"missionIterations": 2, "missionIdleTurns": 50}, endless("@say still at it"), 2, "gone on 2 times, the most that missionIterations allows"},
		"tokens":              {map[string]any{"missionTokens": 25_000, "missionIdleTurns": 50}, endless("@usage 9000 1000\n@say still at it"), 2, "tokens of the 25000 that missionTokens allows"},
	} {
		c.options["missionCountdown"] = "200ms"
		t.Run(name, func(t *testing.T) {
			s := serve(t, newRig(t, c.options))
			session := s.session()
			s.slash(session, "task", c.script...)
			s.contains("the status", s.comesTo(session, "stopped"), "Mission: stopped", c.reason)
			all, err := s.Messages(deadline(t, limit), session, 0)
			if err != nil {
				t.Fatal(err)
			}
			if n := len(continued(all)); n != c.continued {
				t.Errorf("it was gone on with %d times, want %d\n%s", n, c.continued, transcriptOf(all))
			}
		})
		if name != "nothing comes of it" { // one will do: what decides is the same
			continue
		}
		t.Run(name+", in run", func(t *testing.T) {
			r := newRig(t, c.options)
			res, err := r.RunAndWait(deadline(t, limit), strings.Join(c.script, "\n"), "--command", "task")
			if err != nil || res.Code != 0 {
				t.Fatalf("%+v, %v", res, err)
			}
			if log := r.Log(); !strings.Contains(log, `"phase":"stopped"`) || !strings.Contains(log, c.reason) {
				t.Errorf("the log says nothing of it:\n%s", log)
			}
			if n := strings.Count(res.Stdout, "still at it"); n != c.continued+1 {
				t.Errorf("%d turns were printed, want %d:\n%s", n, c.continued+1, res.Stdout)
			}
		})
	}
}

// What a person does to a running mission.
func TestPeopleAndMissions(t *testing.T) {
	t.Parallel()
	s := serve(t, newRig(t, quick))
	for name, test := range map[string]func(*served){
		"stop while it works": stopMission, "cancel": cancelMission, "stop while a task runs": heldMission, "esc": escMission, "a question": askedMission, "compaction": compactMission,
	} {
		t.Run(name, func(t *testing.T) { test(s.in(t)) })
	}
}

// busy starts a mission whose turn hangs, and returns when it does.
func (s *served) busy(session, tag string, rest ...string) {
	s.Helper()
	ctx := deadline(s.T, limit)
	after, written := s.events.Len(), "working on the "+tag
	script := append([]string{"Build " + tag + ".", todoCall("add", "the "+tag, ""), "@text " + written + "\n@hang"}, rest...)
	go func() { // ends with the turn
		_, _ = s.Client.Command(ctx, session, "task", strings.Join(script, "\n"))
	}()
	// What was written before an abort counts as said, so some has to be.
	if _, err := s.events.Wait(ctx, after, hosttest.OfSession("message.part.delta", session)); err != nil {
		s.Fatal(err)
	}
}

func stopMission(s *served) {
	session := s.session()
	s.busy(session, "stopped", "@say stopped as you wish", "@say never to be said")
	answer := s.slash(session, "stop")
	if answer.Text() != "stopped as you wish" {
		s.Errorf("/stop is answered %q", answer.Text())
	}
	text := s.comesTo(session, "stopped")
	s.contains("the status", text, "Mission: stopped (you stopped it)")
	all, err := s.Messages(deadline(s.T, limit), session, 0)
	if err != nil {
		s.Fatal(err)
	}
	confirmed, aborted := 0, 0
	for _, m := range all {
		if m.Info.Role == "user" && strings.HasPrefix(m.Text(), "The mission was stopped after 0 continuations, with ") {
			confirmed++
		}
		if m.Info.Error != nil && m.Info.Error.Name == "MessageAbortedError" {
			aborted++
		}
	}
	if confirmed != 1 || aborted != 1 || len(continued(all)) != 0 {
		s.Errorf("%d confirmations, %d aborted turns\n%s", confirmed, aborted, transcriptOf(all))
	}
}

func cancelMission(s *served) {
	session := s.session()
	ctx := deadline(s.T, limit)
	s.slash(session, "task", "Build it.", todoCall("add", "the cancelled", ""), Delegate(true, "@tag endless", "@hang"), "@say launched", "@say cancelled as you wish", "@say never to be said")
	if err := s.Model.WaitLoad(ctx, "endless", 1); err != nil {
		s.Fatal(err)
	}
	if answer := s.slash(session, "cancel"); answer.Text() != "cancelled as you wish" {
		s.Errorf("/cancel is answered %q", answer.Text())
	}
	s.wait("the task is cancelled", func() bool { return strings.Contains(s.command(0, "tasks", "--state", "cancelled"), "scripted work") })
	if err := s.WaitIdle(ctx, session); err != nil {
		s.Fatal(err)
	}
	all, err := s.Messages(ctx, session, 0)
	if text := transcriptOf(all); err != nil || !strings.Contains(text, "1 background task was cancelled") || strings.Contains(text, "[CANCELLED]") || len(continued(all)) != 0 {
		s.Errorf("%v\n%s", err, text)
	}
}

// heldMission: what comes of tasks that went on is told with the next message.
func heldMission(s *served) {
	session := s.session()
	ctx := deadline(s.T, limit)
	s.slash(session, "task", "Build it.", todoCall("add", "the held", ""), Delegate(true, "@tag going on", "@gate held", "@say the late result"), "@say launched", "@say stopped as you wish", "@say I have read it")
	if err := s.Model.WaitLoad(ctx, "going on", 1); err != nil {
		s.Fatal(err)
	}
	s.slash(session, "stop")
	s.Model.Open("held")
	s.wait("the task is completed", func() bool { return strings.Contains(s.command(0, "tasks", "--state", "completed"), "scripted work") })
	s.prompt(session, "what came of it")
	all := s.said(session, "I have read it")
	if n := strings.Count(transcriptOf(all), "[DONE] "); n != 1 || len(continued(all)) != 0 {
		s.Errorf("its end is told %d times\n%s", n, transcriptOf(all))
	}
}

func escMission(s *served) {
	session := s.session()
	s.busy(session, "interrupted", "@say what now", todoCall("update", "the interrupted", "completed"), "@say gone on with")
	if err := s.Abort(deadline(s.T, limit), session); err != nil {
		s.Fatal(err)
	}
	s.wait("the mission is paused", func() bool {
		return strings.Contains(s.Log(), session+`","phase":"paused","reason":"you stopped its turn"`)
	})
	s.prompt(session, "use the other one")
	s.goesOn(session, "gone on with")
}

func askedMission(s *served) {
	session := s.session()
	s.slash(session, "task", "Build it.", todoCall("add", "the asked", ""), "@say Shall I use the red one?", "@say as you say", todoCall("update", "the asked", "completed"), "@say it is red")
	s.wait("the mission is paused", func() bool {
		return strings.Contains(s.Log(), session+`","phase":"paused","reason":"the agent asks you something"`)
	})
	s.prompt(session, "yes")
	s.goesOn(session, "it is red")
}

// goesOn waits for what a mission says in the one continuation that it takes. The
// list is shared with the other missions: what those left open does not matter.
func (s *served) goesOn(session, text string) {
	s.Helper()
	all := s.said(session, text)
	if n := len(continued(all)); n != 1 {
		s.Errorf("it was gone on with %d times\n%s", n, transcriptOf(all))
	}
	s.slash(session, "stop")
}

// A mission goes on after its conversation was summarised, and the summary keeps
// what it is for.
func compactMission(s *served) {
	session := s.session()
	ctx := deadline(s.T, limit)
	s.slash(session, "task", "Build the tower of Babel.", todoCall("add", "the tower", ""), "@say Shall I begin?")
	s.wait("the mission is paused", func() bool { return strings.Contains(s.Log(), session+`","phase":"paused"`) })
	model := map[string]any{"providerID": "scripted", "modelID": "main"}
	if err := s.Do(ctx, "POST", "/session/"+session+"/summarize", model, nil); err != nil {
		s.Fatal(err)
	}
	request, err := s.Model.Wait(ctx, func(r hosttest.Request) bool { return r.Session == session && r.Kind == hosttest.Compaction })
	if err != nil {
		s.Fatal(err)
	}
	s.contains("the request for a summary", strings.Join(request.Texts("user"), "\n"), "A mission is under way in this session", "Build the tower of Babel.", "- [ ] the tower")
	s.prompt(session, "@say I begin", todoCall("update", "the tower", "completed"), "@say it stands")
	s.goesOn(session, "it stands")
}

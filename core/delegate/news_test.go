package delegate

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/opencode-sidecar/opencode-sidecar/core/record"
	"github.com/opencode-sidecar/opencode-sidecar/core/task"
	"github.com/opencode-sidecar/opencode-sidecar/host"
	"github.com/opencode-sidecar/opencode-sidecar/host/hosttest/fake"
)

// newsFor is news with an id for a session.
func newsFor(session, id string) News {
	return News{ID: id, Session: session, Directory: dir, Worktree: dir, Text: "[DONE] " + id + ": `make`, exit code 0.\nall is well"}
}

// announce has the main session told.
func (r *rig) announce(id string) {
	r.Helper()
	if err := r.engine.Announce(r.Context(), newsFor(r.main, id)); err != nil {
		r.Fatal(err)
	}
}

// counts is how often a session was told of something.
func (r *rig) counts(session, id string) (n int) {
	for _, m := range r.host.History(session) {
		if m.Role == host.User {
			n += strings.Count(m.Text(), "[DONE] "+id)
		}
	}
	return n
}

// stored are the ids of the news that are kept.
func (r *rig) stored() (ids []string) {
	r.Helper()
	all, err := r.records.List(r.Context(), record.Query{Kind: newsKind})
	if err != nil {
		r.Fatal(err)
	}
	for _, n := range all {
		ids = append(ids, n.Key)
	}
	return ids
}

// wantTold fails the test unless the main session was told once and nothing is kept.
func (r *rig) wantTold(id string) {
	r.Helper()
	if n := r.counts(r.main, id); n != 1 {
		r.Errorf("%s was told %d times, want once", id, n)
	}
	if ids := r.stored(); len(ids) > 0 {
		r.Errorf("still kept: %v", ids)
	}
	if r.engine.Unsettled(r.main) {
		r.Error("it is told, and still unsettled")
	}
}

func TestNewsWakeAnIdleSessionOnce(t *testing.T) {
	play(t, 5, seconds, func(t *testing.T, r *rig) {
		r.engine.Expect(r.main, dir, "job_1")
		r.sleep(time.Hour)
		if !r.engine.Unsettled(r.main) || len(r.wakes()) != 0 {
			t.Error("expected news are no open work, or were told before they came")
		}
		r.announce("job_1")
		r.sleep(time.Minute)
		r.wantTold("job_1")
		w := r.wakes()
		if len(w) != 1 || w[0].Text() != newsFor(r.main, "job_1").Text || w[0].Agent != "build" || w[0].Model.Variant != "high" {
			t.Errorf("told: %+v", w)
		}
		r.engine.Expect(r.main, dir, "job_2")
		r.engine.Forgo(t.Context(), r.main, "job_2")
		r.engine.Forgo(t.Context(), r.main, "job_3")
		if r.engine.Unsettled(r.main) {
			t.Error("what was forgone is expected")
		}
	})
}

// A busy session may read meanwhile what it would be told.
func TestNewsThatASessionKnowsAreNotTold(t *testing.T) {
	play(t, 5, seconds, func(t *testing.T, r *rig) {
		r.host.SetBusy(r.main, true)
		r.announce("job_1")
		r.announce("job_2")
		r.engine.Forgo(t.Context(), r.main, "job_1")
		r.host.SetBusy(r.main, false)
		r.sleep(time.Minute)
		r.wantTold("job_2")
		if w := r.wakes(); len(w) != 1 || strings.Contains(w[0].Text(), "job_1") {
			t.Errorf("told: %+v", w)
		}
	})
}

func TestNewsWaitForABusySessionAndGoWithTasks(t *testing.T) {
	play(t, 5, after(time.Second), func(t *testing.T, r *rig) {
		r.host.SetBusy(r.main, true)
		r.announce("job_1")
		id := r.launch("x")
		r.announce("job_2")
		r.wait(id)
		r.sleep(time.Minute)
		if n := len(r.wakes()); n != 0 {
			t.Fatalf("a busy session got %d messages", n)
		}
		r.host.SetBusy(r.main, false)
		r.sleep(time.Minute)
		r.wantTold("job_1")
		r.wantTold("job_2")
		r.wantTold(string(id))
		w := r.wakes()
		if len(w) != 1 {
			t.Fatalf("%d messages, want one", len(w))
		}
		parts := strings.Split(w[0].Text(), "\n\n")
		if len(parts) != 4 || parts[0] != "A background task has ended." || !strings.HasPrefix(parts[2], "[DONE] job_1") || !strings.HasPrefix(parts[3], "[DONE] job_2") {
			t.Errorf("told: %q", parts)
		}
	})
}

// crashing is a store of records whose process dies before it has taken one thing.
type crashing struct {
	record.Store
	life   *life
	delete bool // when news are told, else when their message is about to be sent
}

func (c crashing) Put(ctx context.Context, r record.Record) (record.Record, error) {
	if c.life.dead.Load() {
		return record.Record{}, errDead
	}
	got, err := c.Store.Put(ctx, r)
	if r.Version > 0 && !c.delete {
		c.life.dead.Store(true)
	}
	return got, err
}

func (c crashing) Delete(ctx context.Context, kind, key string) error {
	if c.delete {
		c.life.dead.Store(true)
	}
	if c.life.dead.Load() {
		return errDead
	}
	return c.Store.Delete(ctx, kind, key)
}

func TestNewsAreToldOnceOverACrash(t *testing.T) {
	for name, c := range map[string]struct{ delete, gone bool }{
		"before they are sent":                       {},
		"when they are told":                         {delete: true},
		"before they are sent, and OpenCode with it": {gone: true},
		"when they are told, and OpenCode with it":   {delete: true, gone: true},
	} {
		t.Run(name, func(t *testing.T) {
			play(t, 5, seconds, func(t *testing.T, r *rig) {
				r.engine.records = crashing{r.records, r.life, c.delete}
				r.announce("job_1")
				r.sleep(time.Minute)
				if len(r.stored()) != 1 || !r.life.dead.Load() {
					t.Fatalf("no crash, or nothing is left: %v", r.stored())
				}
				if c.gone {
					r.die()
					r.sleep(time.Hour)
					if n := len(r.wakes()); (n > 0) != c.delete {
						t.Errorf("%d messages that nobody asked for", n)
					}
					r.engine.UserSpoke(t.Context(), dir, r.main, "msg_person")
				} else {
					r.kill()
					r.start("host-1")
				}
				r.sleep(time.Minute)
				r.wantTold("job_1")
			})
		})
	}
}

// The window of the session's OpenCode is closed before it has told.
func TestAPersonWhoSpeaksIsToldTheNewsOfADeadOpenCode(t *testing.T) {
	play(t, 5, seconds, func(t *testing.T, r *rig) {
		r.host.SetBusy(r.main, true)
		r.announce("job_1")
		if err := r.engine.Announce(t.Context(), newsFor(r.host.Open(dir), "job_2")); err != nil {
			t.Fatal(err)
		}
		elsewhere := newsFor(r.main, "job_3")
		elsewhere.Worktree = "/work/other"
		if err := r.engine.Announce(t.Context(), elsewhere); err != nil {
			t.Fatal(err)
		}
		r.die()
		r.sleep(time.Hour)
		r.engine.UserSpoke(t.Context(), dir, r.main, "msg_person")
		r.engine.UserSpoke(t.Context(), dir, r.main, "msg_person2")
		r.sleep(time.Hour)
		if n := r.counts(r.main, "job_1"); n != 1 || len(r.wakes()) != 1 {
			t.Errorf("told %d times in %d messages", n, len(r.wakes()))
		}
		if n := r.counts(r.main, "job_2") + r.counts(r.main, "job_3"); n != 0 {
			t.Error("news of another session or worktree were told")
		}
		r.kill()
		r.sleep(newsAge + time.Hour)
		r.start("host-2")
		if ids := r.stored(); len(ids) != 0 {
			t.Errorf("nobody will ask for %v any more", ids)
		}
	})
}

// Two processes take over from a dead one: the store decides who tells.
func TestNewsThatAnotherProcessTellsAreNotToldTwice(t *testing.T) {
	play(t, 5, seconds, func(t *testing.T, r *rig) {
		r.host.SetBusy(r.main, true)
		r.announce("job_1")
		if err := r.records.Delete(t.Context(), newsKind, "job_1"); err != nil {
			t.Fatal(err)
		}
		r.announce("job_2")
		theirs, err := r.records.Get(t.Context(), newsKind, "job_2")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := r.records.Put(t.Context(), theirs); err != nil {
			t.Fatal(err)
		}
		r.host.SetBusy(r.main, false)
		r.sleep(time.Minute)
		if n := r.counts(r.main, "job_1"); n != 0 {
			t.Error("told again")
		}
		r.wantTold("job_2")
	})
}

func TestNewsThatAreAnnouncedAgainAreToldOnce(t *testing.T) {
	play(t, 5, seconds, func(t *testing.T, r *rig) {
		r.host.SetBusy(r.main, true)
		r.announce("job_1")
		r.announce("job_1")
		r.kill()
		r.start("host-1") // and whoever announces does not know that it has
		r.announce("job_1")
		r.sleep(time.Minute)
		r.host.SetBusy(r.main, false)
		r.sleep(time.Minute)
		r.wantTold("job_1")
	})
}

// run is what the model of `opencode run` is given by held turns until none follows.
func (r *rig) run() (texts []string) {
	for n := 1; ; n++ {
		before := len(r.wakes())
		r.turnEnds(fmt.Sprint("msg_a", n))
		w := r.wakes()
		if len(w) == before {
			return texts
		}
		texts = append(texts, r.hold(w[len(w)-1].ID)...)
	}
}

func TestHeadlessWaitsForNews(t *testing.T) {
	play(t, 5, held, func(t *testing.T, r *rig) {
		r.engine.Headless()
		r.host.SetBusy(r.main, true)
		r.engine.Expect(r.main, dir, "job_1")
		r.engine.Expect(r.main, dir, "job_2")
		r.sleep(time.Second)
		id := r.launch("3 x")
		e := r.engine
		time.AfterFunc(20*time.Second, func() {
			if err := e.Announce(context.Background(), newsFor(r.main, "job_1")); err != nil {
				t.Error(err)
			}
		})
		time.AfterFunc(30*time.Second, func() { e.Forgo(context.Background(), r.main, "job_2") })
		texts := r.run()
		if len(texts) != 3 || !strings.Contains(texts[0], "[DONE] "+string(id)) || texts[1] != newsFor(r.main, "job_1").Text || texts[2] != "No background task is left." {
			t.Errorf("the turns were given %q", texts)
		}
		for _, w := range r.wakes() {
			if w.Agent != "build" || w.Model.ID != "big" {
				t.Errorf("a continuation switched to agent %q and model %q", w.Agent, w.Model.ID)
			}
		}
		r.wantTold("job_1")
		r.host.Interrupt(r.main)
	})
}

func TestEscHoldsNews(t *testing.T) {
	play(t, 5, seconds, func(t *testing.T, r *rig) {
		r.engine.Expect(r.main, dir, "job_1")
		r.host.Interrupt(r.main)
		r.announce("job_1")
		r.sleep(time.Hour)
		if n := len(r.wakes()); n != 0 || !r.engine.Unsettled(r.main) {
			t.Fatalf("%d turns that nobody asked for", n)
		}
		r.engine.UserSpoke(t.Context(), dir, r.main, "msg_person")
		r.host.Say(r.main, "msg_person", "and?")
		r.sleep(time.Minute)
		r.wantTold("job_1")
		if history := r.host.History(r.main); history[len(history)-1].ID != "msg_person" {
			t.Error("the news come after what the person said, or started a turn")
		}
	})
}

func TestNewsForADeletedSessionAreForgotten(t *testing.T) {
	play(t, 5, seconds, func(t *testing.T, r *rig) {
		r.engine.Expect(r.main, dir, "job_1")
		r.engine.Expect(r.main, dir, "job_2")
		r.host.Interrupt(r.main)
		r.announce("job_1")
		r.sleep(time.Minute)
		r.host.Delete(r.main)
		r.sleep(time.Minute)
		r.announce("job_2")
		r.sleep(time.Minute)
		if ids := r.stored(); len(ids) > 0 || r.engine.Unsettled(r.main) {
			t.Errorf("still kept: %v", ids)
		}
	})
}

// A task has not ended before it knows what its commands have come to, and one that
// has ended is told nothing.
func TestNewsOfATask(t *testing.T) {
	play(t, 5, nil, func(t *testing.T, r *rig) {
		r.acts(func(session string) fake.Reply {
			r.hears.Load().Expect(session, dir, "job_1")
			return fake.Reply{Text: "the build runs"}
		})
		id := r.outer()
		r.sleep(time.Minute)
		now := r.get(id)
		if now.State != task.Running {
			t.Fatalf("it is %s while its command runs", now.State)
		}
		if err := r.engine.Announce(t.Context(), newsFor(now.Session, "job_1")); err != nil {
			t.Fatal(err)
		}
		r.want(r.wait(id), task.Completed, "answer to [DONE] job_1")
		if err := r.engine.Announce(t.Context(), newsFor(now.Session, "job_2")); err != nil {
			t.Fatal(err)
		}
		r.sleep(time.Minute)
		if n := r.counts(now.Session, "job_2"); n != 0 || len(r.stored()) > 0 {
			t.Errorf("a session that is over was told %d times, kept: %v", n, r.stored())
		}
	})
}

// Nobody reads what a subagent of OpenCode's own says once its turn is over.
func TestNewsStartNoTurnInASubagentsSession(t *testing.T) {
	play(t, 5, seconds, func(t *testing.T, r *rig) {
		sub := r.session(r.main)
		if err := r.engine.Announce(t.Context(), newsFor(sub, "job_1")); err != nil {
			t.Fatal(err)
		}
		r.sleep(time.Minute)
		if history := r.host.History(sub); len(history) != 1 || r.counts(sub, "job_1") != 1 || len(r.stored()) > 0 {
			t.Errorf("%d messages, kept: %v", len(history), r.stored())
		}
	})
}

// refusing is a store of records that takes nothing for a while.
type refusing struct {
	record.Store
	over *atomic.Bool
}

func (f refusing) Put(ctx context.Context, r record.Record) (record.Record, error) {
	if !f.over.Load() {
		return record.Record{}, errBusy
	}
	return f.Store.Put(ctx, r)
}

func TestNewsThatCannotBeStored(t *testing.T) {
	play(t, 5, seconds, func(t *testing.T, r *rig) {
		var over atomic.Bool
		r.engine.records = refusing{r.records, &over}
		if err := r.engine.Announce(t.Context(), newsFor(r.main, "job_1")); !errors.Is(err, errBusy) {
			t.Fatalf("got %v", err)
		}
		r.sleep(time.Minute)
		if n := len(r.wakes()); n != 0 {
			t.Fatalf("%d messages that no store knows of", n)
		}
		over.Store(true)
		r.sleep(time.Minute)
		r.wantTold("job_1")
		nameless := newsFor(r.main, "job_2")
		nameless.ID = "job_3"
		if err := r.engine.Announce(t.Context(), nameless); !errors.Is(err, record.ErrInvalid) {
			t.Errorf("news whose text does not name them: %v", err)
		}
	})
}

// However much there is, a message stays readable and names everything.
func TestManyNewsAreBounded(t *testing.T) {
	play(t, 5, seconds, func(t *testing.T, r *rig) {
		r.host.SetBusy(r.main, true)
		for i := range 50 {
			n := newsFor(r.main, fmt.Sprintf("job_%08x", i))
			n.Text += strings.Repeat("\nword", 20_000)
			if err := r.engine.Announce(t.Context(), n); err != nil {
				t.Fatal(err)
			}
		}
		r.host.SetBusy(r.main, false)
		synctest.Wait()
		r.sleep(time.Minute)
		w := r.wakes()
		if len(w) != 1 || len(w[0].Text()) > digestAll+newsLimit+50*400 {
			t.Fatalf("%d messages", len(w))
		}
		for i := range 50 {
			r.wantTold(fmt.Sprintf("job_%08x", i))
		}
	})
}

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"sync"
	"time"

	"github.com/opencode-sidecar/opencode-sidecar/host/hosttest"
)

// calm is how long nothing may happen before the show is over: a result that
// came a second time would come within it.
const calm = time.Second

// errNoAnswer is wrapped when the model answered the request with an error.
var errNoAnswer = errors.New("the main agent got no answer from the model")

// show plays a mission and prints how it went. The error is a sentence that
// says what went wrong, or several with a line each.
func show(ctx context.Context, o options, out screen, start time.Time) (err error) {
	dir, err := os.Getwd()
	if err != nil {
		return err
	}
	shim, err := findShim(dir)
	if err != nil {
		return err
	}
	out.title(fmt.Sprintf("Six background agents · OpenCode %s · %s", hosttest.OpenCodeVersion, o.modelName()))
	stage := newStage(o)
	defer func() {
		err = errors.Join(err, stage.close())
		if stage.keep && stage.root != "" {
			out.end()
			out.print(func(_ int, p palette) []string { return []string{pad(p.dim("kept: ")) + stage.root} })
		}
	}()
	if err := out.during("starts OpenCode and loads the plugin", func() error { return stage.open(ctx, shim) }); err != nil {
		return err
	}
	m := scriptedMission()
	if o.model != nil {
		m = userMission(o)
	}
	seen, err := play(ctx, stage, m, out)
	if errors.Is(err, errNoAnswer) && o.model != nil {
		return fmt.Errorf("%w (`opencode models` lists what MODEL can be, `opencode auth list` the keys)", err)
	}
	if err != nil {
		return err
	}
	results, err := collect(ctx, stage.server.Client, stage.session, seen)
	if err != nil {
		return err
	}
	out.done()
	out.print(results.lines)
	err = results.check(m.want)
	stopped, stopErr := stage.stop(ctx)
	if stopErr != nil {
		return errors.Join(err, stopErr)
	}
	out.print(func(columns int, p palette) []string {
		return closing(results.ledger, stopped, err == nil, time.Since(start), columns, p)
	})
	return errors.Join(err, stopped.check())
}

// play sends the mission to a new session and shows OpenCode's events until
// nothing is due any more.
func play(ctx context.Context, s *stage, m mission, out screen) (*view, error) {
	events, err := s.server.Events(ctx)
	if err != nil {
		return nil, err
	}
	defer events.Close()
	session, err := s.server.CreateSession(ctx, hosttest.NewSession{
		Title: "demo",
		// Nobody is there to answer.
		Permission: []hosttest.Rule{{Permission: "question", Pattern: "*", Action: "deny"}},
	})
	if err != nil {
		return nil, err
	}
	s.session = session.ID
	prompt := hosttest.Text(m.prompt)
	prompt.Model = m.model
	if err := s.server.PromptAsync(ctx, session.ID, prompt); err != nil {
		return nil, err
	}

	ctx, cancel := context.WithCancelCause(ctx)
	var pump sync.WaitGroup
	defer pump.Wait()
	defer cancel(nil)
	incoming := make(chan hosttest.Event)
	pump.Go(func() {
		for after := 0; ; after++ {
			event, err := events.Wait(ctx, after, func(hosttest.Event) bool { return true })
			if err != nil {
				cancel(err)
				return
			}
			select {
			case incoming <- event:
			case <-ctx.Done():
				return
			}
		}
	})
	return watch(ctx, incoming, session.ID, out, func(permission string) { refuse(ctx, s.server.Client, permission) })
}

// watch shows events until the main session is settled and stays so.
func watch(ctx context.Context, events <-chan hosttest.Event, session string, out screen, deny func(permission string)) (*view, error) {
	v := newView(session)
	var redraw <-chan time.Time
	if every := out.every(); every > 0 {
		ticker := time.NewTicker(every)
		defer ticker.Stop()
		redraw = ticker.C
	}
	over := time.NewTimer(time.Hour)
	over.Stop()
	defer over.Stop()
	settled := false
	for {
		select {
		case e := <-events:
			if e.Type == "permission.asked" {
				deny(permissionID(e))
			}
			out.changed(v, v.apply(e))
			if v.main.failure != "" && len(v.rows) == 0 && !v.main.busy {
				return nil, fmt.Errorf("%w: %s", errNoAnswer, v.main.failure)
			}
			switch now := v.settled(); {
			case now && !settled:
				over.Reset(calm)
			case !now:
				over.Stop()
			}
			settled = v.settled()
		case <-over.C:
			return v, nil
		case <-redraw:
			out.draw(v)
		case <-ctx.Done():
			return nil, fmt.Errorf("%s: %w", standing(v), context.Cause(ctx))
		}
	}
}

// standing says how far the mission was.
func standing(v *view) string {
	if len(v.rows) == 0 {
		return fmt.Sprintf("the main agent (%s) had delegated nothing", v.main.phase)
	}
	_, told := v.numbers()
	return fmt.Sprintf("the main agent (%s) had been told of %d of %s", v.main.phase, told, plural(len(v.rows), "task"))
}

// permissionID is the id of the request in a permission.asked event.
func permissionID(e hosttest.Event) string {
	var p struct {
		ID string `json:"id"`
	}
	_ = json.Unmarshal(e.Properties, &p) // without an id the refusal fails
	return p.ID
}

// refuse answers a permission request that nobody else will answer.
func refuse(ctx context.Context, c *hosttest.Client, id string) {
	in := map[string]string{"reply": "reject", "message": "nobody is there to answer"}
	_ = c.Do(ctx, http.MethodPost, "/permission/"+url.PathEscape(id)+"/reply", in, nil) // it may have been answered
}

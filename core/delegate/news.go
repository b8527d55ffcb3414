package delegate

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/opencode-sidecar/opencode-sidecar/core/record"
)

// newsKind is the kind of the records of news.
const newsKind = "news"

const (
	// newsLimit is how many bytes a text may have.
	newsLimit = 8 << 10
	// newsAge is how long news of a dead owner wait for a person to speak in their
	// session, which may be gone.
	newsAge = 30 * 24 * time.Hour
)

// News is what a session is told of besides the ends of its tasks, such as the
// end of a background command. It is told once, as outcomes of tasks are.
type News struct {
	ID        string // unique, such as "job_1a2b3c4d"; Text contains it
	Session   string
	Directory string
	Worktree  string
	Text      string // for the model; beyond 8 KB it is cut off
}

// Expect says that News with this id will come for a session: until then it counts
// as open work (Unsettled; `opencode run` waits for it as for a task). It calls
// nobody and ends with the process.
func (e *Engine) Expect(session, directory, id string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	p := e.parentLocked(session, directory)
	if p.expected == nil {
		p.expected = map[string]bool{}
	}
	p.expected[id] = true
	if e.headless && p.agent == "" { // a continuation must not switch it, and has no time to ask
		e.unmet = append(e.unmet, p)
		poke(e.signal)
	}
}

// Forgo takes back an Expect, or news that were announced and not told yet: nobody
// need be told, because the session knows.
func (e *Engine) Forgo(ctx context.Context, session, id string) {
	e.mu.Lock()
	p := e.parents[session]
	if p == nil {
		e.mu.Unlock()
		return
	}
	if p.expected[id] {
		delete(p.expected, id)
		e.lessLocked(p)
	}
	var known *news
	if i := slices.IndexFunc(p.outbox, func(d due) bool { return d.id == id }); i >= 0 {
		known = p.outbox[i].news
	}
	e.mu.Unlock()
	if known == nil {
		return
	}
	if err := known.settle(ctx, e); err != nil {
		e.log.Warn().Err(err).Str("of", id).Msg("delivery not stored")
	}
}

// lessLocked tells those who wait that a parent awaits less than it did.
func (e *Engine) lessLocked(p *parent) {
	poke(p.bell)
	if waiting := e.bySession[p.session]; waiting != nil {
		waiting.hint()
	}
}

// Announce takes in news. When it returns nil they are stored and will be told,
// after a crash by the next sidecar too; so are those that were announced before
// under the same id, and that are not told yet. With an error they are told only
// if this process can store them later. It waits for the store alone. News for the
// session of a task that has ended concern nobody.
func (e *Engine) Announce(ctx context.Context, n News) error {
	n.Text = clip(n.Text, newsLimit)
	if n.ID == "" || n.Session == "" || !strings.Contains(n.Text, n.ID) {
		return fmt.Errorf("news %q for session %q: %w: they have to name both, the text too", n.ID, n.Session, record.ErrInvalid)
	}
	e.mu.Lock()
	fresh := &news{News: n, owner: e.owner}
	e.mu.Unlock()
	stored, err := e.records.Put(ctx, fresh.record())
	if err == nil {
		fresh.version = stored.Version
	} else if errors.Is(err, record.ErrStale) {
		if known, unread := newsOf(stored); unread == nil {
			fresh, err = known, nil
		}
	}
	if e.widowed(ctx, n.Session) {
		e.Forgo(ctx, n.Session, n.ID)
		return fresh.settle(ctx, e)
	}
	e.mu.Lock()
	p := e.parentLocked(n.Session, n.Directory)
	e.oweLocked(p, fresh.due())
	delete(p.expected, n.ID)
	e.lessLocked(p)
	e.nudgeLocked(p)
	e.mu.Unlock()
	if err != nil {
		return fmt.Errorf("news %s: %w", n.ID, err)
	}
	return nil
}

// news are News as they are stored. They never change: newer ones take their place.
type news struct {
	News
	owner   string
	wakeID  string // of the message that may have told them
	since   time.Time
	version int64
}

// newsBody is the body of a record. Names are never changed or reused, only added.
type newsBody struct {
	Session   string `json:"session"`
	Directory string `json:"directory"`
	Text      string `json:"text"`
	WakeID    string `json:"wakeId,omitempty"`
}

func (n *news) record() record.Record {
	body, _ := json.Marshal(newsBody{n.Session, n.Directory, n.Text, n.wakeID}) // strings alone never fail
	return record.Record{Kind: newsKind, Key: n.ID, Worktree: n.Worktree, Owner: n.owner, Open: true, Body: body, Version: n.version}
}

func newsOf(r record.Record) (*news, error) {
	var b newsBody
	if err := json.Unmarshal(r.Body, &b); err != nil {
		return nil, fmt.Errorf("%s: %w", r, err)
	}
	return &news{
		News:  News{ID: r.Key, Session: b.Session, Directory: b.Directory, Worktree: r.Worktree, Text: b.Text},
		owner: r.Owner, wakeID: b.WakeID, since: r.Updated, version: r.Version,
	}, nil
}

func (n *news) due() due {
	since := n.since
	if since.IsZero() {
		since = time.Now()
	}
	return due{id: n.ID, news: n, since: since}
}

// brief is what a message says of news that find no room in it.
func (n *news) brief() string {
	line := firstLine(n.Text, 300)
	if !strings.Contains(line, n.ID) {
		line = n.ID + ": " + line
	}
	return line
}

func (n *news) name() string { return n.ID }
func (n *news) wake() string { return n.wakeID }

func (n *news) mark(ctx context.Context, e *Engine, wake string) error {
	next := *n
	next.wakeID = wake
	stored, err := e.records.Put(ctx, next.record())
	switch {
	case err == nil:
		next.version = stored.Version
		e.replace(&next)
		return nil
	case !errors.Is(err, record.ErrStale):
		return err
	case stored.Version == 0: // it has told them already
		e.drop(n)
		return errMoved
	}
	now, unread := newsOf(stored)
	if unread != nil {
		return unread
	}
	e.replace(now)
	return errMoved
}

func (n *news) settle(ctx context.Context, e *Engine) error {
	e.drop(n)
	return e.records.Delete(ctx, newsKind, n.ID)
}

// replace puts news in the place of their older state.
func (e *Engine) replace(n *news) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if p := e.parents[n.Session]; p != nil {
		for i := range p.outbox {
			if p.outbox[i].id == n.ID {
				p.outbox[i].news = n
			}
		}
	}
}

func (e *Engine) drop(n *news) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if p := e.parents[n.Session]; p != nil {
		p.remove(n.ID)
	}
}

// aside reports whether news go into a session without starting a turn: the one of
// a subagent of OpenCode's own is over, and nobody would read what it says.
func (e *Engine) aside(ctx context.Context, p *parent, dues []due) bool {
	e.mu.Lock()
	known := e.bySession[p.session] != nil
	e.mu.Unlock()
	if known || !slices.ContainsFunc(dues, func(d due) bool { return d.news != nil }) {
		return false
	}
	from, err := e.originOf(ctx, p.directory, p.session)
	return err == nil && from.depth > 0
}

// adoptNews puts news that an earlier sidecar of the owner has not told where they
// are told, and forgets those that nobody will ask for any more.
func (e *Engine) adoptNews(ctx context.Context, owner string) error {
	all, err := e.records.List(ctx, record.Query{Kind: newsKind})
	if err != nil {
		return fmt.Errorf("news that were not told: %w", err)
	}
	for _, r := range slices.Backward(all) { // oldest first
		n, unread := newsOf(r)
		switch {
		case unread != nil:
			e.log.Error().Err(unread).Msg("news not readable")
		case r.Owner != owner && time.Since(r.Updated) > newsAge && !e.lives(r.Owner),
			r.Owner == owner && e.widowed(ctx, n.Session):
			if err := n.settle(ctx, e); err != nil {
				e.log.Warn().Err(err).Str("of", n.ID).Msg("delivery not stored")
			}
		case r.Owner == owner:
			e.inheritNews(n)
		}
	}
	return nil
}

func (e *Engine) inheritNews(n *news) {
	e.mu.Lock()
	defer e.mu.Unlock()
	p := e.parentLocked(n.Session, n.Directory)
	if slices.ContainsFunc(p.outbox, func(d due) bool { return d.id == n.ID }) { // it is ours
		return
	}
	e.oweLocked(p, n.due())
	e.nudgeLocked(p)
}

// legacy returns news for a session whose owner is dead. It reads the store before
// each message of a person, for an OpenCode can die at any time: a list of none
// takes about 0.01 ms.
func (e *Engine) legacy(ctx context.Context, worktree, session string) []due {
	all, err := e.records.List(ctx, record.Query{Kind: newsKind, Worktree: worktree})
	if err != nil {
		e.log.Warn().Err(err).Str("session", session).Msg("news that other processes left for it are not readable")
		return nil
	}
	var dues []due
	for _, r := range slices.Backward(all) {
		n, err := newsOf(r)
		if err == nil && n.Session == session && !e.lives(r.Owner) {
			dues = append(dues, n.due())
		}
	}
	return dues
}

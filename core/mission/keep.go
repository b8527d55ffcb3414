package mission

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/opencode-sidecar/opencode-sidecar/core/record"
)

// Kind is that of our records; their key is the session.
const Kind = "mission"

const (
	// staleTries is how often a write is repeated of which the store says that it is
	// behind another one of this process.
	staleTries = 3
	// storeAgain is the time between two tries of a write that failed.
	storeAgain = time.Second
)

// save changes a mission and stores it. The change holds in any case; with an
// error it is stored as soon as that can be done.
func (d *Driver) save(ctx context.Context, m *mission, change func(*State)) error {
	d.mu.Lock()
	change(&m.state)
	d.mu.Unlock()
	return d.keep(ctx, m)
}

// keep stores a mission as it stands, and lets go of one that is over.
func (d *Driver) keep(ctx context.Context, m *mission) error {
	err := d.flush(ctx, m)
	d.mu.Lock()
	defer d.mu.Unlock()
	if err == nil {
		if m.state.Phase.Over() {
			d.dropLocked(m)
		}
		return nil
	}
	d.log.Error().Err(err).Str("session", m.session).Msg("mission not stored")
	if !errors.Is(err, errTaken) {
		d.keepSoonLocked(m)
	}
	return fmt.Errorf("the mission could not be stored: %w", err)
}

// keepSoonLocked has a mission stored as soon as that can be done.
func (d *Driver) keepSoonLocked(m *mission) {
	if !m.unsaved {
		m.unsaved = true
		d.errandLocked(func(ctx context.Context) { d.keepTrying(ctx, m) })
	}
}

func (d *Driver) keepTrying(ctx context.Context, m *mission) {
	for {
		d.mu.Lock()
		m.unsaved = false // what changes from here on is another errand
		d.mu.Unlock()
		err := d.flush(ctx, m)
		d.mu.Lock()
		if err == nil || errors.Is(err, errTaken) {
			if _, open := d.places[m.directory]; m.state.Phase.Over() || !open {
				d.dropLocked(m)
			}
			d.mu.Unlock()
			return
		}
		m.unsaved = true
		d.mu.Unlock()
		select {
		case <-ctx.Done():
			return
		case <-time.After(storeAgain):
		}
	}
}

// errTaken says that somebody else has the mission now.
var errTaken = errors.New("another OpenCode process has taken the mission, or ended it")

// flush writes a mission as it now stands. Writes of one mission take turns.
func (d *Driver) flush(ctx context.Context, m *mission) error {
	select {
	case m.writing <- struct{}{}:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	defer func() { <-m.writing }()
	for try := 1; ; try++ {
		d.mu.Lock()
		s, version, owner, now := m.state, m.version, d.owner, d.missions[m.session]
		d.mu.Unlock()
		if now != nil && now != m {
			return nil // it was let go of, and is another's to write
		}
		body, err := s.encode()
		if err != nil {
			return err
		}
		stored, err := d.store.Put(ctx, record.Record{
			Kind: Kind, Key: m.session, Worktree: m.worktree, Owner: owner, Open: !s.Phase.Over(), Body: body, Version: version,
		})
		if err == nil {
			d.mu.Lock()
			m.version = stored.Version
			d.mu.Unlock()
			return nil
		}
		if !errors.Is(err, record.ErrStale) || try == staleTries {
			return err
		}
		// A write of ours that we were not told of, or somebody else's.
		if stored.Key == "" { // it was deleted, by whoever erases what is old
			d.mu.Lock()
			m.version = 0
			d.mu.Unlock()
			continue
		}
		theirs, unread := decode(stored.Body)
		if stored.Owner != owner || unread == nil && theirs.Halted != "" && theirs.Halted != owner {
			d.mu.Lock()
			d.dropLocked(m)
			d.mu.Unlock()
			return errTaken
		}
		d.mu.Lock()
		m.version = stored.Version
		d.mu.Unlock()
	}
}

// standing is what is known of a session's mission: one in memory, else what is
// stored.
type standing struct {
	m      *mission // nil if none is in memory
	stored *record.Record
	state  State // of either
	// elsewhere says that another OpenCode process that runs looks after it.
	elsewhere bool
}

// none reports whether the session has never had a mission.
func (s standing) none() bool { return s.m == nil && s.stored == nil }

// look returns what is known of a session's mission. One that nobody looks after
// is taken over first, and paused until a person speaks.
func (d *Driver) look(ctx context.Context, directory, session string) (standing, error) {
	d.mu.Lock()
	m, owner := d.missions[session], d.owner
	d.mu.Unlock()
	if m != nil {
		return d.standingOf(m), nil
	}
	r, err := d.store.Get(ctx, Kind, session)
	if errors.Is(err, record.ErrNotFound) {
		return standing{}, nil
	}
	if err != nil {
		return standing{}, fmt.Errorf("the mission could not be read: %w", err)
	}
	s, err := decode(r.Body)
	if err != nil {
		return standing{}, err
	}
	if r.Owner != owner && r.Open && d.lives(r.Owner) {
		return standing{stored: &r, state: s, elsewhere: true}, nil
	}
	if !r.Open {
		return standing{stored: &r, state: s}, nil
	}
	s.Directory = directory // it may have been opened through another folder of the worktree
	s.Phase, s.Reason = Paused, "OpenCode was closed"
	if m = d.adopt(r, s); m == nil {
		return standing{stored: &r, state: s}, nil
	}
	if err := d.keep(ctx, m); errors.Is(err, errTaken) {
		return standing{stored: &r, state: s, elsewhere: true}, nil
	}
	return d.standingOf(m), nil
}

func (d *Driver) standingOf(m *mission) standing {
	d.mu.Lock()
	defer d.mu.Unlock()
	return standing{m: m, state: m.state}
}

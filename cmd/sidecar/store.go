package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"github.com/opencode-sidecar/opencode-sidecar/core/config"
	"github.com/opencode-sidecar/opencode-sidecar/core/delegate"
	"github.com/opencode-sidecar/opencode-sidecar/core/proc"
	"github.com/opencode-sidecar/opencode-sidecar/core/task"
	"github.com/opencode-sidecar/opencode-sidecar/core/task/memstore"
	"github.com/opencode-sidecar/opencode-sidecar/core/task/sqlitestore"
)

const (
	// claimLimit is how long a sidecar waits for its predecessor to let go of
	// their owner's lock, claimAgain the time between two tries.
	claimLimit, claimAgain = 2 * time.Second, 20 * time.Millisecond
	// pruneEvery is the time between two prunings.
	pruneEvery = 24 * time.Hour
)

// tasksStore is where the tasks of this process are kept: a database that all
// sidecars of the machine share or, if that cannot be opened, memory.
type tasksStore struct {
	task.Store
	shared *sqlitestore.Store // nil if in memory
	log    zerolog.Logger

	mu       sync.Mutex
	warnings []string // for the next workspace that is opened
	release  func()
}

// openStore opens the store at path; "memory" keeps nothing.
func openStore(path string, log zerolog.Logger) *tasksStore {
	s := &tasksStore{log: log}
	if path == "memory" {
		s.Store = memstore.New()
		return s
	}
	shared, found, err := sqlitestore.Open(sqlitestore.Options{Path: path, Log: log, Warn: s.warn})
	if err != nil {
		s.Store = memstore.New()
		s.warn(fmt.Sprintf("Tasks are kept in memory only and end with OpenCode: %v", err))
		return s
	}
	s.Store, s.shared = shared, shared
	for _, text := range found.Warnings {
		s.warn(text)
	}
	return s
}

func (s *tasksStore) warn(text string) {
	s.log.Error().Msg(text)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.warnings = append(s.warnings, text)
}

// takeWarnings returns what the user should read, once.
func (s *tasksStore) takeWarnings() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	texts := s.warnings
	s.warnings = nil
	return texts
}

// own makes this process the owner of the tasks of an OpenCode process and
// returns the owner's name. A sidecar that was killed a moment ago may still be
// dying; one that will not let go is left alone, and we go by another name.
func (s *tasksStore) own(pid int) string {
	owner, err := proc.Identity(pid)
	if err != nil {
		s.log.Warn().Err(err).Msg("the host cannot be identified: tasks of an earlier sidecar are not found")
		owner = fmt.Sprintf("%d-%d", pid, time.Now().UnixNano())
	}
	if s.shared == nil {
		return owner
	}
	for start := time.Now(); ; {
		release, err := s.shared.Claim(owner)
		if err == nil {
			s.mu.Lock()
			s.release = release
			s.mu.Unlock()
			return owner
		}
		if time.Since(start) > claimLimit || !errors.Is(err, sqlitestore.ErrOwned) {
			s.log.Error().Err(err).Str("owner", owner).Msg("the tasks of this OpenCode process belong to another sidecar, or cannot be claimed")
			owner = fmt.Sprintf("%s-%d", owner, os.Getpid())
			if release, err := s.shared.Claim(owner); err == nil {
				s.mu.Lock()
				s.release = release
				s.mu.Unlock()
			}
			return owner
		}
		<-time.After(claimAgain) // what another process does has no condition
	}
}

// owners is who else there is, nil if nobody can see our tasks.
func (s *tasksStore) owners() delegate.Owners {
	if s.shared == nil {
		return nil
	}
	return owners{s.shared}
}

// retain deletes what is older than age now, and then daily until ctx ends.
func (s *tasksStore) retain(ctx context.Context, age time.Duration) {
	if s.shared == nil {
		return
	}
	tick := time.NewTicker(pruneEvery)
	defer tick.Stop()
	for {
		if n, err := s.shared.Prune(ctx, age); err != nil && ctx.Err() == nil {
			s.log.Warn().Err(err).Msg("old tasks could not be deleted")
		} else if n > 0 {
			s.log.Info().Int("tasks", n).Dur("age", age).Msg("old tasks deleted")
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// Close closes the store and gives the claim back.
func (s *tasksStore) Close() error {
	err := s.Store.Close()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.release != nil {
		s.release()
		s.release = nil
	}
	return err
}

// owners implements delegate.Owners.
type owners struct{ *sqlitestore.Store }

// Alive reports whether an owner lives: its sidecar holds the lock or, if it has
// just died and the next one is on its way, the OpenCode process still runs.
func (o owners) Alive(owner string) (bool, error) {
	alive, err := o.Store.Alive(owner)
	return alive || proc.Lives(owner), err
}

// storePath is where the tasks are kept: what the environment says, else a file
// in the state folder, and in memory where there is no home for one.
func storePath(env func(string) (string, bool)) string {
	if path, ok := env(config.EnvPrefix + "STORE"); ok && path != "" {
		return path
	}
	state, ok := env("XDG_STATE_HOME")
	if !ok || !filepath.IsAbs(state) {
		home, ok := env("HOME")
		if !ok || !filepath.IsAbs(home) {
			return "memory"
		}
		state = filepath.Join(home, ".local", "state")
	}
	return filepath.Join(state, "opencode-sidecar", "tasks.db")
}

package main

import (
	"context"
	"fmt"
	"runtime/debug"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"github.com/opencode-sidecar/opencode-sidecar/core/delegate"
	"github.com/opencode-sidecar/opencode-sidecar/core/record"
	"github.com/opencode-sidecar/opencode-sidecar/core/task"
	"github.com/opencode-sidecar/opencode-sidecar/core/task/memstore"
	"github.com/opencode-sidecar/opencode-sidecar/core/task/sqlitestore"
)

const (
	// restLimit is how long the store may take to give memory back.
	restLimit = 5 * time.Second
	// pruneEvery is the time between two prunings.
	pruneEvery = 24 * time.Hour
)

// tasksStore is where the tasks of this process are kept: a database that all
// sidecars of the machine share or, if that cannot be opened, memory.
type tasksStore struct {
	task.Store
	shared *sqlitestore.Store // nil if in memory
	others record.Store       // kept in the same place
	log    zerolog.Logger
	// warnings of the store, for the user.
	warnings *warnings
	patience time.Duration // with a predecessor that does not let go

	mu      sync.Mutex
	release func()
}

// openStore opens the store at path, which may be memoryOnly.
func openStore(path string, log zerolog.Logger) *tasksStore {
	s := &tasksStore{log: log, warnings: newWarnings(log), patience: claimLimit, others: record.NewMemory()}
	if path == memoryOnly {
		s.Store = memstore.New()
		return s
	}
	shared, found, err := sqlitestore.Open(sqlitestore.Options{Path: path, Log: log, Warn: s.warnings.add})
	if err != nil {
		s.Store = memstore.New()
		s.warnings.note(fmt.Sprintf("Tasks are kept in memory only and end with OpenCode: %v", err))
		return s
	}
	s.Store, s.shared, s.others = shared, shared, shared.Records()
	for _, text := range found.Warnings {
		s.warnings.note(text)
	}
	return s
}

// owners is who else there is, nil if nobody can see our tasks.
func (s *tasksStore) owners() delegate.Owners {
	if s.shared == nil {
		return nil
	}
	return owners{s.shared}
}

// records are what other rooms of the core keep where the tasks are.
func (s *tasksStore) records() record.Store { return s.others }

// lives reports whether the OpenCode process of an owner runs, as far as anybody
// can tell.
func (s *tasksStore) lives(owner string) bool {
	if s.shared == nil {
		return false
	}
	alive, err := owners{s.shared}.Alive(owner)
	return alive || err != nil
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

// checkpoint has the database take in its log.
func (s *tasksStore) checkpoint(ctx context.Context) error {
	if s.shared == nil {
		return nil
	}
	return s.shared.Checkpoint(ctx)
}

// rest gives back what a burst of tasks has taken of the machine's memory: left
// alone, the runtime keeps it for minutes.
func (s *tasksStore) rest() {
	ctx, cancel := context.WithTimeout(context.Background(), restLimit)
	defer cancel()
	if s.shared != nil {
		if err := s.shared.Rest(ctx); err != nil {
			s.log.Debug().Err(err).Msg("memory was not given back")
		}
	}
	debug.FreeOSMemory()
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

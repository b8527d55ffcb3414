package janitor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"github.com/opencode-sidecar/opencode-sidecar/core/janitor/trash"
)

const (
	// takenPause is when a folder is looked at again that another process cleans.
	takenPause = time.Minute
	// expireEvery is how often the trash is looked through.
	expireEvery = time.Hour
)

// Options are what a Janitor works with.
type Options struct {
	// State is the folder for ledgers and locks, which all processes of the user
	// share.
	State string
	// Trash takes what goes.
	Trash *trash.Trash
	// Exclusive runs a function while nobody, in this process or another, adds to
	// the history of a project's todo.md.
	Exclusive func(ctx context.Context, project string, do func() error) error
	// Checkpoint has the task database take in its log; nil if there is none.
	Checkpoint func(context.Context) error
	// Tell tells the users something they should do. It does not wait for them.
	Tell func(text string)
	// Log is told what went, and what went wrong.
	Log zerolog.Logger
	// Now and Jitter are the time, and how much later than planned a pass begins;
	// nil are the clock, and up to a tenth.
	Now    func() time.Time
	Jitter func(time.Duration) time.Duration
}

// Janitor keeps the .opencode folders of the projects that OpenCode has open.
type Janitor struct {
	o    Options
	wake chan struct{} // tells Run that a plan has changed; holds one token
	done chan struct{} // closed when Run has returned

	mu       sync.Mutex // never held during a pass
	projects map[string]*project
	begun    bool
	stopped  bool
	stop     context.CancelFunc

	checkpoint time.Time // the last one; Run's alone
	expired    time.Time // when the trash was looked through last; Run's alone
}

// project is a folder that has, or may come to have, an .opencode folder.
type project struct {
	path string
	dirs []string // that make it one, guarded by Janitor.mu as all below
	open []string // those of them that are not closed
	set  Settings

	used    bool // since the last pass began
	passing bool
	look    bool      // whether packages have to be looked at
	due     time.Time // of the next pass; zero if none is planned
	next    time.Time // before which nothing is due; zero before the first pass

	packages *packages
}

// New returns a Janitor, which does nothing before Run.
func New(o Options) *Janitor {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Jitter == nil {
		o.Jitter = func(d time.Duration) time.Duration { return rand.N(d/10 + 1) }
	}
	if o.Tell == nil {
		o.Tell = func(string) {}
	}
	return &Janitor{o: o, wake: make(chan struct{}, 1), done: make(chan struct{}), projects: map[string]*project{}}
}

// Open takes note of a directory that OpenCode has opened in a worktree, or of its
// settings. Nothing is read or written here.
func (j *Janitor) Open(directory, worktree string, set Settings) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.stopped {
		return
	}
	for _, path := range between(directory, worktree) {
		p := j.projects[path]
		if p == nil {
			p = &project{path: path}
			p.packages = newPackages(path, j.o.State, func() { j.lookAt(p) })
			j.projects[path] = p
		}
		if !slices.Contains(p.dirs, directory) {
			p.dirs = append(p.dirs, directory)
		}
		if !slices.Contains(p.open, directory) {
			p.open = append(p.open, directory)
		}
		p.set = set
		p.look = true
		if set.Off {
			p.used, p.due = false, time.Time{}
		}
	}
	j.plan()
}

// Close takes note that a directory was closed, and may be opened again at once: until
// then nothing is planned, watched or held for it.
func (j *Janitor) Close(directory string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, p := range j.projects {
		i := slices.Index(p.open, directory)
		if i < 0 {
			continue
		}
		if p.open = slices.Delete(p.open, i, i+1); len(p.open) == 0 {
			p.used, p.due, p.look = false, time.Time{}, true
		}
	}
	j.plan()
}

// between lists the folders from a directory up to its worktree, in each of which
// OpenCode looks for an .opencode folder.
func between(directory, worktree string) []string {
	paths := []string{directory}
	for at := directory; at != worktree && at != filepath.Dir(at); at = filepath.Dir(at) {
		paths = append(paths, filepath.Dir(at))
	}
	if paths[len(paths)-1] != worktree { // which is not above it
		return []string{directory}
	}
	return paths
}

// Used takes note that somebody works in a directory that is open. It is cheap, and
// plans a pass if none is.
func (j *Janitor) Used(directory string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, p := range j.projects {
		if p.used || p.set.Off || j.stopped || !slices.Contains(p.open, directory) {
			continue
		}
		p.used = true
		if !p.passing {
			j.arm(p)
		}
	}
}

// arm plans the pass of a project that was used; j.mu is held.
func (j *Janitor) arm(p *project) {
	now := j.o.Now()
	if p.next.IsZero() {
		p.due = now.Add(p.set.Delay + j.o.Jitter(p.set.Delay))
	} else if p.due = p.next; p.due.Before(now) {
		p.due = now
	}
	j.plan()
}

// plan has Run look at its plans.
func (j *Janitor) plan() {
	select {
	case j.wake <- struct{}{}:
	default:
	}
}

// lookAt has Run look at a project's packages.
func (j *Janitor) lookAt(p *project) {
	j.mu.Lock()
	defer j.mu.Unlock()
	p.look = true
	j.plan()
}

// Run does what is due until ctx ends or Stop is called. One timer runs while a
// pass is planned, and none otherwise.
func (j *Janitor) Run(ctx context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer close(j.done)
	j.mu.Lock()
	j.begun, j.stop = true, cancel
	j.checkpoint = j.o.Now()
	if j.stopped {
		cancel()
	}
	j.mu.Unlock()
	timer := time.NewTimer(0)
	defer timer.Stop()
	timer.Stop()
	for {
		p, look, at := j.following()
		switch wait := at.Sub(j.o.Now()); {
		case ctx.Err() != nil:
			return
		case p != nil && look:
			j.tend(ctx, p)
			continue
		case p != nil && wait <= 0:
			j.work(ctx, p)
			continue
		case p != nil:
			timer.Reset(wait)
		}
		select {
		case <-ctx.Done():
			return
		case <-j.wake:
			timer.Stop()
		case <-timer.C:
		}
	}
}

// following is what is to be done next, and when.
func (j *Janitor) following() (first *project, look bool, at time.Time) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, p := range j.projects {
		if p.look {
			p.look = false
			return p, true, at
		}
		if !p.due.IsZero() && (first == nil || p.due.Before(at)) {
			first, at = p, p.due
		}
	}
	return first, false, at
}

// work does a pass.
func (j *Janitor) work(ctx context.Context, p *project) {
	j.mu.Lock()
	set, path := p.set, p.path
	p.passing, p.used, p.due = true, false, time.Time{}
	j.mu.Unlock()

	next := j.once(ctx, path, set)
	if j.o.Checkpoint != nil && j.o.Now().Sub(j.checkpoint) >= set.Every[Checkpoint] {
		j.checkpoint = j.o.Now()
		if err := j.o.Checkpoint(ctx); err != nil && ctx.Err() == nil {
			j.o.Log.Debug().Err(err).Msg("the task database has not taken in its log")
		}
	}
	if now := j.o.Now(); now.Sub(j.expired) >= expireEvery {
		j.expired = now
		if err := j.expire(ctx, set); err != nil && ctx.Err() == nil {
			j.o.Log.Warn().Err(err).Msg("the trash")
		}
	}

	j.mu.Lock()
	defer j.mu.Unlock()
	p.passing, p.next = false, next
	p.look = true // the folder may have come into being
	if p.used && !j.stopped {
		j.arm(p)
	}
}

// expire deletes what the trash has kept for long enough.
func (j *Janitor) expire(ctx context.Context, set Settings) error {
	n, err := j.o.Trash.Expire(ctx, j.o.Now().Add(-set.TrashAge))
	if n > 0 {
		j.o.Log.Info().Int("files", n).Msg("old files of the trash deleted")
	}
	return err
}

// once does for a project what is due, and returns when something is again.
func (j *Janitor) once(ctx context.Context, path string, set Settings) (next time.Time) {
	now := j.o.Now()
	soonest := func(last map[Rule]time.Time) time.Time {
		var next time.Time
		for _, r := range folderRules {
			if at := last[r].Add(set.Every[r]); next.IsZero() || at.Before(next) {
				next = at
			}
		}
		if earliest := now.Add(time.Second); next.Before(earliest) {
			next = earliest
		}
		return next.Add(j.o.Jitter(next.Sub(now)))
	}
	all := map[Rule]time.Time{}
	for _, r := range folderRules {
		all[r] = now
	}
	f, err := openFolder(path)
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			j.o.Log.Warn().Err(err).Msg("not cleaned")
		}
		return soonest(all)
	}
	defer f.close()
	last := map[Rule]time.Time{}
	report, err := j.claimed(ctx, f, set, func(r Rule, l ledger) bool {
		last[r] = l.Last[r]
		// A clock that was set back must not stop it for ever.
		due := now.Sub(l.Last[r]) >= set.Every[r] || l.Last[r].After(now)
		if due {
			last[r] = now
		}
		return due
	})
	switch {
	case errors.Is(err, errTaken):
		return now.Add(takenPause)
	case err != nil && ctx.Err() == nil:
		j.o.Log.Warn().Err(err).Str("folder", f.path).Msg("not cleaned")
		return soonest(all)
	}
	j.say(report, set)
	return soonest(last)
}

// say logs what a pass did.
func (j *Janitor) say(r Report, set Settings) {
	for _, err := range r.Problems {
		j.o.Log.Warn().Err(err).Str("folder", r.Folder).Msg("cleaning")
	}
	for _, s := range r.Stays {
		// Not for each pass the same, where many read it.
		j.o.Log.Debug().Str("folder", r.Folder).Str("file", s.Name).Str("why", s.Why).Msg("stays")
	}
	for _, g := range r.Gone {
		j.o.Log.Info().Str("folder", r.Folder).Str("file", g.Name).Str("why", g.Why).Msg("gone to the trash")
	}
	if left := r.Files - len(r.Gone); left > set.Cap && set.Cap > 0 {
		j.o.Log.Warn().Str("folder", r.Folder).Int("files", left).Msg("more files than its cap; the others are not ours to clean")
	}
}

// Gone is called when a directory was closed and is not to be opened again soon; if it
// is open, it stays. Its packages become what the settings say, as far as ctx allows.
func (j *Janitor) Gone(ctx context.Context, directory string) error {
	j.mu.Lock()
	var closing []*project
	for path, p := range j.projects {
		i := slices.Index(p.dirs, directory)
		if i < 0 {
			continue
		}
		if slices.Contains(p.open, directory) {
			continue // again, meanwhile
		}
		if p.dirs = slices.Delete(p.dirs, i, i+1); len(p.dirs) == 0 {
			delete(j.projects, path)
			closing = append(closing, p)
		}
	}
	j.mu.Unlock()
	return j.leave(ctx, closing)
}

// Stop ends the pass that runs, waits for it, and leaves all projects. Nothing
// begins any more.
func (j *Janitor) Stop(ctx context.Context) error {
	j.mu.Lock()
	var closing []*project
	for path, p := range j.projects {
		delete(j.projects, path)
		closing = append(closing, p)
	}
	j.stopped = true
	begun, stop := j.begun, j.stop
	j.mu.Unlock()
	if begun {
		stop()
		select {
		case <-j.done:
		case <-ctx.Done():
			return fmt.Errorf("a folder is still being cleaned: %w", context.Cause(ctx))
		}
	}
	return j.leave(ctx, closing)
}

func (j *Janitor) leave(ctx context.Context, closing []*project) error {
	var errs []error
	for _, p := range closing {
		if err := p.packages.leave(ctx, p.set, j.o.Log); err != nil && !errors.Is(err, os.ErrNotExist) {
			errs = append(errs, fmt.Errorf("packages in %s: %w", filepath.Join(p.path, folderName), err))
		}
	}
	return errors.Join(errs...)
}

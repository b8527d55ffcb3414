package janitor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/fsnotify/fsnotify"
	"github.com/gofrs/flock"
	"github.com/rs/zerolog"

	"github.com/opencode-sidecar/opencode-sidecar/core/janitor/modules"
)

const (
	// userLimit is how long packages are waited for that are just being taken, and
	// userPause how often that is tried.
	userLimit = 5 * time.Second
	userPause = 20 * time.Millisecond
)

// smallLock is more than the lock file of the small form has.
const smallLock = 4 << 10

// localPlaces are the names in the folder by which local plugins and tools come.
var localPlaces = []string{"plugin", "plugins", "tool", "tools", "opencode.json", "opencode.jsonc"}

// packages are what OpenCode installs into the .opencode folder of one project,
// while that is open.
type packages struct {
	path    string
	state   string
	changed func() // is called when a local plugin may have come

	closing context.Context // ends once leave is called
	close   context.CancelFunc

	mu       sync.Mutex
	left     bool
	user     *flock.Flock // held while packages are not to be taken from us
	watching *fsnotify.Watcher
	watch    sync.WaitGroup // the goroutine of watching
}

func newPackages(path, state string, changed func()) *packages {
	k := &packages{path: path, state: state, changed: changed}
	k.closing, k.close = context.WithCancel(context.Background())
	return k
}

// tend looks at a project's packages: the small form is undone if there is a local
// plugin or tool by now, and watched otherwise.
func (j *Janitor) tend(ctx context.Context, p *project) {
	ctx, cancel := context.WithCancel(ctx) // nobody who leaves has to wait
	defer cancel()
	defer context.AfterFunc(p.packages.closing, cancel)() //nolint:contextcheck // it ends with either
	j.mu.Lock()
	open := len(p.open) > 0 && !p.set.Off
	j.mu.Unlock()
	undone, err := p.packages.tend(ctx, open)
	switch {
	case err != nil && ctx.Err() == nil && !errors.Is(err, fs.ErrNotExist):
		j.o.Log.Warn().Err(err).Str("project", p.path).Msg("packages")
	case undone:
		j.o.Tell(fmt.Sprintf("%s has a plugin or tool now. OpenCode installs the packages that it may need at its next start: restart it if they are missed.", filepath.Join(p.path, folderName)))
	}
}

func (k *packages) tend(ctx context.Context, open bool) (undone bool, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.left {
		return false, nil
	}
	if !open {
		k.release()
		return false, nil
	}
	f, err := openFolder(k.path)
	if err != nil {
		k.release()
		return false, err
	}
	defer f.close()
	if k.user == nil {
		user, err := k.lock()
		if err != nil {
			return false, err
		}
		// Who has it otherwise is just taking them, which is soon done.
		limited, cancel := context.WithTimeout(ctx, userLimit)
		held, err := user.TryRLockContext(limited, userPause)
		cancel()
		if err != nil {
			return false, err
		}
		if held {
			k.user = user
		}
	}
	if info, err := f.root.Lstat("package-lock.json"); err != nil || info.Size() > smallLock {
		k.unwatch()
		return false, nil
	}
	// First the watch: what comes after the look is heard.
	watched := k.watchLocal()
	versioned := func(ctx context.Context) (func(string) bool, error) { return tracked(ctx, f.path) }
	if undone, err = modules.Regrow(ctx, f.root, versioned); err != nil || undone {
		k.unwatch()
		return undone, err
	}
	return false, watched
}

// release lets others take the packages, and watches nothing; k.mu is held.
func (k *packages) release() {
	k.unwatch()
	if k.user != nil {
		_ = k.user.Close()
		k.user = nil
	}
}

// lock is the file that everybody holds who has the project open.
func (k *packages) lock() (*flock.Flock, error) {
	dir := filepath.Join(k.state, "janitor")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	return flock.New(k.lockName(), flock.SetPermissions(0o600)), nil
}

func (k *packages) lockName() string {
	return filepath.Join(k.state, "janitor", key(k.path)+".use")
}

// watchLocal watches the places of local plugins and tools, each once.
func (k *packages) watchLocal() error {
	if k.watching == nil {
		w, err := fsnotify.NewWatcher()
		if err != nil {
			return err
		}
		k.watching = w
		k.watch.Go(func() { k.hear(w) })
	}
	root := filepath.Join(k.path, folderName)
	if err := k.watching.Add(root); err != nil {
		return err
	}
	for _, name := range localPlaces {
		if strings.Contains(name, ".") {
			continue
		}
		if info, err := os.Lstat(filepath.Join(root, name)); err == nil && info.IsDir() {
			if err := k.watching.Add(filepath.Join(root, name)); err != nil {
				return err
			}
		}
	}
	return nil
}

// hear passes on what may be a local plugin, until the watcher is closed.
func (k *packages) hear(w *fsnotify.Watcher) {
	root := filepath.Join(k.path, folderName)
	for {
		select {
		case e, open := <-w.Events:
			if !open {
				return
			}
			if filepath.Dir(e.Name) != root || slices.Contains(localPlaces, filepath.Base(e.Name)) {
				k.changed()
			}
		case _, open := <-w.Errors: // events were lost
			if !open {
				return
			}
			k.changed()
		}
	}
}

// unwatch ends watching; k.mu is held.
func (k *packages) unwatch() {
	if k.watching != nil {
		_ = k.watching.Close()
		k.watching = nil
	}
}

// leave makes the packages what the settings say, unless another OpenCode has the
// project open. Nothing is watched or held afterwards.
func (k *packages) leave(ctx context.Context, set Settings, log zerolog.Logger) error {
	k.close()
	k.mu.Lock()
	defer k.watch.Wait()
	defer k.mu.Unlock()
	k.left = true
	k.release()
	if set.Off || set.Modules == Keep || set.Modules == "" {
		return nil
	}
	alone, err := k.lock()
	if err != nil {
		return err
	}
	switch held, err := alone.TryLock(); {
	case err != nil:
		return err
	case !held:
		return nil // the other one does it
	}
	defer func() { _ = alone.Close() }()
	f, err := openFolder(k.path)
	if err != nil {
		return err
	}
	defer f.close()
	report, err := become(ctx, f, set.Modules)
	if refusal := Refusal(report, set.Modules); refusal != nil {
		log.Info().Str("project", k.path).Str("why", refusal.Error()).Msg("OpenCode's packages stay")
		return nil
	}
	if err != nil {
		return err
	}
	log.Info().Str("project", k.path).Str("packages", string(set.Modules)).Int("files", report.Files).Int64("bytes", report.Bytes).Msg("OpenCode's packages")
	return nil
}

// become makes the packages of a folder what is wanted, and reports what they were.
func become(ctx context.Context, f *folder, want Modules) (modules.Report, error) {
	versioned, err := tracked(ctx, f.path)
	if err != nil {
		return modules.Report{}, err
	}
	if want == Shrink {
		return modules.Shrink(ctx, f.root, versioned)
	}
	return modules.Remove(ctx, f.root, versioned)
}

// Refusal is why packages cannot become what is wanted; nil if they can.
func Refusal(r modules.Report, want Modules) error {
	switch want {
	case Shrink:
		return r.Shrinkable()
	case Remove:
		return r.Removable()
	}
	return nil
}

// ErrOpen is that an OpenCode has the project open, so its packages stay.
var ErrOpen = errors.New("an OpenCode has it open; close it first")

// Packages reports what OpenCode has installed in a project, and has it become what is
// wanted, unless dry or Keep. Other than Keep it is refused with ErrOpen while an
// OpenCode has the project open, dry or not.
func (j *Janitor) Packages(ctx context.Context, project string, want Modules, dry bool) (modules.Report, error) {
	f, err := openFolder(project)
	if errors.Is(err, fs.ErrNotExist) {
		return modules.Report{State: modules.Absent}, nil
	}
	if err != nil {
		return modules.Report{}, err
	}
	defer f.close()
	if want == Keep || dry {
		if want != Keep && newPackages(project, j.o.State, nil).used() {
			return modules.Report{}, fmt.Errorf("%s: %w", project, ErrOpen)
		}
		versioned, err := tracked(ctx, f.path)
		if err != nil {
			return modules.Report{}, err
		}
		return modules.Inspect(ctx, f.root, versioned)
	}
	alone, err := newPackages(project, j.o.State, nil).lock()
	if err != nil {
		return modules.Report{}, err
	}
	switch held, err := alone.TryLock(); {
	case err != nil:
		return modules.Report{}, err
	case !held:
		return modules.Report{}, fmt.Errorf("%s: %w", project, ErrOpen)
	}
	defer func() { _ = alone.Close() }()
	return become(ctx, f, want)
}

// used reports whether somebody has the project open, and leaves no trace.
func (k *packages) used() bool {
	lock := flock.New(k.lockName(), flock.SetFlag(os.O_RDONLY))
	defer func() { _ = lock.Close() }()
	// It would be shared by those who have the project open; alone it is free.
	free, err := lock.TryLock()
	return err == nil && !free
}

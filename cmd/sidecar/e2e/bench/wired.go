package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/opencode-sidecar/opencode-sidecar/cmd/sidecar/e2e/fakeshim"
	"github.com/opencode-sidecar/opencode-sidecar/host"
	"github.com/opencode-sidecar/opencode-sidecar/host/hosttest/fake"
	"github.com/opencode-sidecar/opencode-sidecar/rpc"
	"github.com/opencode-sidecar/opencode-sidecar/rpc/wire"
)

// perMain is how many tasks the rows give to one main session: the caps allow no
// more than 1000.
const perMain = 500

// startWired starts a sidecar whose database is in the folder state, over an
// OpenCode that answers as it is told. Its log is written to that folder.
func (b *bench) startWired(ctx context.Context, state, log string, options map[string]any, answer func(host.Prompt, host.Session) fake.Reply) (*fakeShim, error) {
	hash, err := fakeshim.ManifestHash(b.root)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(state, 0o700); err != nil {
		return nil, err
	}
	file, err := os.Create(filepath.Join(state, log))
	if err != nil {
		return nil, err
	}
	defer file.Close()
	process, err := fakeshim.Start(b.binary, state, file)
	if err != nil {
		return nil, err
	}
	s := &fakeShim{fake: fake.New(answer)}
	all := map[string]any{"toasts": false, "maxTasksPerSession": 1000, "maxTasksPerTree": 5000}
	maps.Copy(all, options)
	s.Shim, err = fakeshim.Connect(ctx, process, fakeshim.Router(s.fake, launchDir, nil), fakeshim.Setup{Hash: hash, Directory: launchDir, Options: all})
	if err != nil {
		return nil, err
	}
	s.fake.Emit = func(_ string, e host.Event) { s.Emit(e) }
	return s, nil
}

// kill ends the sidecar by force, with all that it still has to do.
func (s *fakeShim) kill() {
	s.Kill()
	_ = s.end() // how it ended is known
}

// mains opens main sessions for n tasks.
func (s *fakeShim) mains(n int) []string {
	list := make([]string, (n+perMain-1)/perMain)
	for i := range list {
		list[i] = s.fake.Open(launchDir)
	}
	return list
}

// delegate calls delegate_task for a background task.
func (s *fakeShim) delegate(ctx context.Context, main, prompt string) error {
	args, err := json.Marshal(map[string]any{"agent": "general", "description": "look", "prompt": prompt, "background": true})
	if err != nil {
		return err
	}
	_, err = rpc.Invoke(ctx, s.Conn, wire.ToolCall, wire.ToolCallParams{
		Workspace: fakeshim.Workspace, Tool: "delegate_task", Args: args, SessionID: main, MessageID: "msg_user_" + main, Agent: "build",
	})
	return err
}

// parallel does n things, so many at a time, and returns the first error.
func parallel(n, atATime int, do func(i int) error) error {
	var wg sync.WaitGroup
	var next atomic.Int64
	errs := make([]error, atATime)
	for worker := range atATime {
		wg.Go(func() {
			for i := int(next.Add(1)) - 1; i < n && errs[worker] == nil; i = int(next.Add(1)) - 1 {
				errs[worker] = do(i)
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// paced starts n things at equal distances, each when it is due whether or not
// the ones before it have ended, and returns how long each took from then.
func paced(n int, every time.Duration, do func(i int) error) ([]time.Duration, error) {
	var wg sync.WaitGroup
	took, errs := make([]time.Duration, n), make([]error, n)
	start := time.Now()
	for i := range n {
		due := start.Add(time.Duration(i) * every)
		<-time.After(time.Until(due))
		wg.Go(func() {
			errs[i] = do(i)
			took[i] = time.Since(due)
		})
	}
	wg.Wait()
	return took, errors.Join(errs...)
}

// pingEvery is the distance of the pings that show how long this machine takes for
// a call that does nothing.
const pingEvery = 10 * time.Millisecond

func (s *fakeShim) pings(ctx context.Context, n int) ([]time.Duration, error) {
	return paced(n, pingEvery, func(int) error {
		_, err := rpc.Invoke(ctx, s.Conn, wire.Ping, wire.PingParams{})
		return err
	})
}

// collisions counts what a log says of a database that somebody else had locked.
func collisions(files ...string) (n int, err error) {
	for _, file := range files {
		data, readErr := os.ReadFile(file)
		if readErr != nil {
			return 0, readErr
		}
		for _, sign := range []string{"SQLITE_BUSY", "database is locked"} {
			n += bytes.Count(data, []byte(sign))
		}
	}
	return n, nil
}

// count says how many things went how fast.
func count(n int, took time.Duration) string {
	return fmt.Sprintf("%d in %s (%.0f/s)", n, show(took), float64(n)/took.Seconds())
}

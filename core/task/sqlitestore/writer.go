package sqlitestore

import (
	"context"
	"errors"
	"fmt"
	"time"

	sqlite3 "modernc.org/sqlite/lib"

	"github.com/opencode-sidecar/opencode-sidecar/core/task"
)

// batchLimit bounds a transaction, and so how long a write waits for others.
const batchLimit = 256

// A write waits in the queue for the writer.
type write struct {
	ctx context.Context
	// do runs inside a transaction, again in another one if that was undone.
	do func(context.Context, *database) error
	// apart keeps it out of transactions: it is a command to the connection.
	apart bool
	done  chan error // holds one answer
}

// Create implements task.Store. A caller whose ctx ends stops waiting; the task
// may or may not be stored then.
func (s *Store) Create(ctx context.Context, t task.Task) error {
	return s.do(ctx, false, func(ctx context.Context, d *database) error { return d.insert(ctx, row{Task: t}, nil) })
}

// Update implements task.Store. A caller whose ctx ends stops waiting; the
// change may or may not happen then.
func (s *Store) Update(ctx context.Context, id task.ID, at task.Fence, change func(*task.Task)) (task.Task, error) {
	var got task.Task
	var panicked any
	err := s.do(ctx, false, func(ctx context.Context, d *database) (err error) {
		// A change that panics must do so in its caller, not end the writer.
		defer func() {
			if panicked = recover(); panicked != nil {
				err = refusal{fmt.Errorf("the change of %s panicked: %v", id, panicked)}
			}
		}()
		got, err = d.change(ctx, id, at, change)
		return err
	})
	if errors.Is(err, errGaveUp) {
		return task.Task{}, err // the writer may be at it still: got is not ours to read
	}
	if panicked != nil {
		panic(panicked)
	}
	return got, err
}

// errGaveUp marks the answer to a caller that did not wait for its write.
var errGaveUp = errors.New("the write was not waited for")

// do queues a write and waits for its answer.
func (s *Store) do(ctx context.Context, apart bool, do func(context.Context, *database) error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("%w: %w", errGaveUp, context.Cause(ctx))
	}
	w := &write{ctx, do, apart, make(chan error, 1)}
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return ErrClosed
	}
	s.queue = append(s.queue, w)
	s.mu.Unlock()
	s.wake()
	select {
	case err := <-w.done:
		return err
	case <-ctx.Done():
		return fmt.Errorf("%w: %w", errGaveUp, context.Cause(ctx))
	}
}

func (s *Store) wake() {
	select {
	case s.signal <- struct{}{}:
	default:
	}
}

// serve is the writer goroutine. It ends once the store is closed and the queue
// is empty.
func (s *Store) serve(ctx context.Context) {
	for range s.signal {
		for {
			s.mu.Lock()
			batch := s.take()
			closed := s.closed && len(batch) == 0
			s.mu.Unlock()
			if closed {
				return
			}
			if len(batch) == 0 {
				break
			}
			s.commit(ctx, batch, batchLimit)
		}
	}
}

// take cuts the next batch off the queue: as much as fits into one transaction,
// or one write that stands apart. The caller holds mu.
func (s *Store) take() []*write {
	batch := s.together(batchLimit)
	if len(batch) == 0 && len(s.queue) > 0 {
		batch, s.queue = s.queue[:1:1], s.queue[1:]
	}
	return batch
}

// together cuts off up to limit writes that may share a transaction. The caller
// holds mu.
func (s *Store) together(limit int) []*write {
	n := 0
	for n < len(s.queue) && n < limit && !s.queue[n].apart {
		n++
	}
	batch := s.queue[:n:n]
	s.queue = s.queue[n:]
	if len(s.queue) == 0 {
		s.queue = nil // lets go of a burst's memory
	}
	return batch
}

// commit answers every write of a batch, and of up to limit writes in all those
// that join it.
func (s *Store) commit(ctx context.Context, batch []*write, limit int) {
	if s.db == nil || s.db.moved() {
		s.heal(ctx, errors.New("its file was moved away or removed"))
	}
	batch, answers, err := s.try(ctx, batch, limit)
	if damaged(err) {
		s.heal(ctx, err)
		batch, answers, err = s.try(ctx, batch, 0)
	}
	if err != nil && len(batch) > 1 && !errors.Is(err, errBegin) {
		// One of them cannot be stored; alone each one fails for itself.
		for _, w := range batch {
			s.commit(ctx, []*write{w}, 0)
		}
		return
	}
	for i, w := range batch {
		if err != nil {
			w.done <- explain(err)
			continue
		}
		w.done <- answers[i]
	}
}

// errBegin is wrapped by a transaction that did not even start.
var errBegin = errors.New("no transaction could be started")

// try runs a batch in one transaction, and with it what is queued meanwhile up
// to limit. Without an error all that it returns is on disk.
func (s *Store) try(ctx context.Context, batch []*write, limit int) (ran []*write, answers []error, err error) {
	d := s.db
	if d == nil {
		return batch, nil, fmt.Errorf("%w: %w", errBegin, s.broken)
	}
	if batch[0].apart {
		err := batch[0].do(ctx, d)
		return batch, []error{err}, err
	}
	if err := s.begin(ctx, d); err != nil {
		return batch, nil, fmt.Errorf("%w: %w", errBegin, err)
	}
	defer func() { s.last = time.Now() }()
	for i := 0; ; i++ {
		if i == len(batch) {
			s.mu.Lock()
			batch = append(batch, s.together(limit-len(batch))...)
			s.mu.Unlock()
		}
		if i == len(batch) {
			break
		}
		answer, err := batch[i].run(ctx, d)
		if err != nil {
			_, _ = d.exec(ctx, "ROLLBACK") // SQLite may have done so itself
			return batch, nil, err
		}
		answers = append(answers, answer)
	}
	if _, err := d.exec(ctx, "COMMIT"); err != nil {
		_, _ = d.exec(ctx, "ROLLBACK")
		return batch, nil, err
	}
	return batch, answers, nil
}

// run does a write inside a transaction. answer is what its caller gets if the
// transaction is committed, err undoes that.
func (w *write) run(ctx context.Context, d *database) (answer, err error) {
	if w.ctx.Err() != nil {
		return context.Cause(w.ctx), nil //nolint:contextcheck // the writer's own context is not the caller's: nobody waits any more
	}
	err = w.do(ctx, d)
	if r, ok := errors.AsType[refusal](err); ok {
		return r.error, nil
	}
	return nil, err
}

const (
	patience = 5 * time.Second
	// A waiting process looks every retry; one that has just written gives way
	// for longer than that, so that it is seen.
	retry   = 500 * time.Microsecond
	giveWay = 1500 * time.Microsecond
)

// begin starts a transaction once no other process has one. SQLite's own way to
// wait, ever longer sleeps, starves whoever competes with a busy writer for
// seconds. Here who waits holds a lock that says so, and who has just written
// lets it go first.
func (s *Store) begin(ctx context.Context, d *database) error {
	if time.Since(s.last) < giveWay {
		if nobody, err := s.turn.TryLock(); err == nil && !nobody {
			pause(giveWay)
		}
		_ = s.turn.Unlock()
	}
	_, err := d.exec(ctx, "BEGIN IMMEDIATE")
	if code(err) != sqlite3.SQLITE_BUSY {
		return err
	}
	defer func() { _ = s.turn.Unlock() }()
	for start := time.Now(); code(err) == sqlite3.SQLITE_BUSY && time.Since(start) < patience; {
		_, _ = s.turn.TryRLock() // fails while somebody looks who waits
		pause(retry)
		_, err = d.exec(ctx, "BEGIN IMMEDIATE")
	}
	return err
}

// pause is for what no condition announces: what another process does.
func pause(d time.Duration) { <-time.After(d) }

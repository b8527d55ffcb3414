package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// obey waits for the end of its ctx, as a handler with endless work should.
func obey(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }

func ok(context.Context) error { return nil }

func register(t *testing.T, m *Manager, name string, priority int, fn func(context.Context) error) func() {
	t.Helper()
	unregister, err := m.Register(name, priority, fn)
	if err != nil {
		t.Fatalf("Register(%s, %d): %v", name, priority, err)
	}
	return unregister
}

// outcomes renders a report as "name=outcome" words.
func outcomes(r Report) string {
	var words []string
	for _, h := range r.Handlers {
		words = append(words, h.Name+"="+string(h.Outcome))
	}
	return strings.Join(words, " ")
}

func TestLowerPrioritiesFirstAndEqualOnesTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := New(Options{})
		var mu sync.Mutex
		var log []string
		step := func(name string) func(context.Context) error {
			return func(context.Context) error {
				mu.Lock()
				log = append(log, "begin "+name)
				mu.Unlock()
				time.Sleep(10 * time.Millisecond)
				mu.Lock()
				log = append(log, "end "+name)
				mu.Unlock()
				return nil
			}
		}
		register(t, m, "logs", PriorityLogs, step("logs"))
		register(t, m, "todo", PriorityTodo, step("ten"))
		register(t, m, "tasks", PriorityTasks, step("tasks"))
		register(t, m, "janitor", PriorityJanitor, step("ten"))
		m.Refuse(func() { log = append(log, "refuse") })

		r := m.Shutdown(t.Context(), "dispose", BudgetDispose)
		want := []string{
			"refuse", "begin ten", "begin ten", "end ten", "end ten",
			"begin tasks", "end tasks", "begin logs", "end logs",
		}
		if d := cmp.Diff(want, log); d != "" {
			t.Error(d)
		}
		if got, want := outcomes(r), "todo=ok janitor=ok tasks=ok logs=ok"; got != want {
			t.Errorf("outcomes %q, want %q", got, want)
		}
		if r.Took != 30*time.Millisecond || !r.Clean() || r.Reason != "dispose" || r.Budget != BudgetDispose {
			t.Errorf("report %+v", r)
		}
	})
}

func TestErrorsPanicsAndExitsDoNotStopTheRest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := New(Options{})
		boom := errors.New("boom")
		register(t, m, "fails", 1, func(context.Context) error { return boom })
		register(t, m, "panics", 2, func(context.Context) error { panic(boom) })
		register(t, m, "exits", 3, func(context.Context) error { runtime.Goexit(); return nil })
		register(t, m, "last", 4, ok)
		m.Refuse(func() { panic("hook") })
		refused := false
		m.Refuse(func() { refused = true })

		r := m.Shutdown(t.Context(), "test", time.Second)
		if got, want := outcomes(r), "fails=error panics=panic exits=error last=ok"; got != want {
			t.Errorf("outcomes %q, want %q", got, want)
		}
		if !errors.Is(r.Handlers[0].Err, boom) || !errors.Is(r.Handlers[1].Err, boom) || !errors.Is(r.Handlers[2].Err, errGoexit) {
			t.Errorf("errors %+v", r.Handlers)
		}
		p, isPanic := errors.AsType[*PanicError](r.Handlers[1].Err)
		if !isPanic || !strings.Contains(string(p.Stack), "manager_test.go") {
			t.Errorf("the panic's stack is lost: %v", r.Handlers[1].Err)
		}
		if _, isPanic := errors.AsType[*PanicError](r.RefuseErr); !isPanic || !refused {
			t.Errorf("RefuseErr %v, second hook ran: %v", r.RefuseErr, refused)
		}
		if r.Clean() {
			t.Error("Clean after failures")
		}
	})
}

func TestAHandlerThatObeysIsWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := New(Options{})
		register(t, m, "obeys", 1, obey)
		register(t, m, "next", 2, ok)
		r := m.Shutdown(t.Context(), "test", time.Minute)
		if got, want := outcomes(r), "obeys=timeout next=ok"; got != want {
			t.Errorf("outcomes %q, want %q", got, want)
		}
		if errors.Is(r.Handlers[0].Err, ErrAbandoned) {
			t.Error("abandoned although it returned")
		}
		if got, want := r.Handlers[0].Took, HandlerLimit-maxGrace; got != want {
			t.Errorf("took %v, want %v", got, want)
		}
	})
}

func TestAHandlerThatIgnoresItsContextIsAbandoned(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := New(Options{})
		free := make(chan struct{})
		register(t, m, "deaf", 1, func(context.Context) error { <-free; return nil })
		register(t, m, "quick", 1, ok)
		register(t, m, "next", 2, ok)
		r := m.Shutdown(t.Context(), "test", time.Minute)
		if got, want := outcomes(r), "deaf=timeout quick=ok next=ok"; got != want {
			t.Errorf("outcomes %q, want %q", got, want)
		}
		if h := r.Handlers[0]; !errors.Is(h.Err, ErrAbandoned) || h.Took != HandlerLimit {
			t.Errorf("report %+v", h)
		}
		close(free)
	})
}

func TestTheTotalBudgetHoldsAndLaterPhasesKeepTheirReserve(t *testing.T) {
	for _, budget := range []time.Duration{BudgetDispose, BudgetHostGone, 40 * time.Millisecond} {
		t.Run(budget.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := New(Options{})
				free := make(chan struct{})
				defer close(free)
				deaf := func(context.Context) error { <-free; return nil }
				priorities := []int{PriorityTodo, PriorityPools, PriorityJobs, PriorityTasks, PriorityStore}
				for _, p := range priorities {
					register(t, m, fmt.Sprint(p), p, deaf)
				}
				// Every phase before it hangs, and yet the logs have their time.
				reserve := min(PhaseReserve, budget/time.Duration(len(priorities)+1))
				var got time.Duration
				register(t, m, "logs", PriorityLogs, func(ctx context.Context) error {
					end, _ := ctx.Deadline()
					got = time.Until(end)
					return nil
				})
				r := m.Shutdown(t.Context(), "test", budget)
				if r.Took > budget {
					t.Errorf("took %v of a budget of %v", r.Took, budget)
				}
				if want := reserve - reserve/graceShare; got < want-time.Microsecond {
					t.Errorf("logs had %v, want %v", got, want)
				}
				if h := r.Handlers[len(r.Handlers)-1]; h.Outcome != OutcomeOK {
					t.Errorf("logs: %+v", h)
				}
				for _, h := range r.Handlers[:len(priorities)] {
					if h.Outcome != OutcomeTimeout || h.Took < reserve-time.Microsecond {
						t.Errorf("%+v, want a timeout after at least %v", h, reserve)
					}
				}
			})
		})
	}
}

func TestNoBudgetRefusesAndSkips(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := New(Options{})
		refused := false
		m.Refuse(func() { refused = true })
		register(t, m, "a", 1, ok)
		register(t, m, "b", 2, ok)
		r := m.Shutdown(t.Context(), "test", 0)
		if got, want := outcomes(r), "a=skipped b=skipped"; got != want || !refused || r.Took != 0 {
			t.Errorf("outcomes %q, want %q; refused %v; took %v", got, want, refused, r.Took)
		}
	})
}

func TestAStuckHookCannotHoldTheRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := New(Options{})
		free := make(chan struct{})
		defer close(free)
		m.Refuse(func() { <-free })
		register(t, m, "a", 1, ok)
		r := m.Shutdown(t.Context(), "test", time.Second)
		if got := outcomes(r); got != "a=ok" || !errors.Is(r.RefuseErr, ErrAbandoned) || r.Took > time.Second {
			t.Errorf("outcomes %q, refuse %v, took %v", got, r.RefuseErr, r.Took)
		}
	})
}

func TestOneRunForAHundredCallers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := New(Options{})
		var runs, refusals atomic.Int32
		m.Refuse(func() { refusals.Add(1) })
		register(t, m, "once", 1, func(context.Context) error {
			runs.Add(1)
			time.Sleep(time.Second)
			return nil
		})
		reports := make([]Report, 100)
		var wg sync.WaitGroup
		for i := range reports {
			wg.Go(func() { reports[i] = m.Shutdown(t.Context(), fmt.Sprint(i), BudgetDispose) })
		}
		wg.Wait()
		if runs.Load() != 1 || refusals.Load() != 1 {
			t.Errorf("%d runs and %d refusals", runs.Load(), refusals.Load())
		}
		reports = append(reports, m.Shutdown(t.Context(), "late", 0), m.Report())
		for _, r := range reports {
			if d := cmp.Diff(reports[0], r); d != "" {
				t.Fatalf("reports differ: %s", d)
			}
		}
	})
}

func TestASmallerBudgetShortensTheRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := New(Options{})
		free := make(chan struct{})
		defer close(free)
		var gone time.Duration
		begin := time.Now()
		register(t, m, "obeys", 1, func(ctx context.Context) error {
			err := obey(ctx)
			gone = time.Since(begin)
			return err
		})
		register(t, m, "deaf", 1, func(context.Context) error { <-free; return nil })
		register(t, m, "store", PriorityStore, ok)
		var wg sync.WaitGroup
		wg.Go(func() { m.Shutdown(t.Context(), "dispose", BudgetDispose) })
		wg.Go(func() { // asks for more: changes nothing
			time.Sleep(50 * time.Millisecond)
			m.Shutdown(t.Context(), "patient", time.Hour)
		})
		time.Sleep(100 * time.Millisecond)
		r := m.Shutdown(t.Context(), "host gone", BudgetHostGone)
		wg.Wait()
		if got, want := outcomes(r), "obeys=timeout deaf=timeout store=ok"; got != want {
			t.Errorf("outcomes %q, want %q", got, want)
		}
		// 100 ms had gone, 1.5 s were granted, 100 ms belong to the store.
		if want := 1500 * time.Millisecond; r.Took != want || gone != want-maxGrace {
			t.Errorf("took %v, want %v; obeyed at %v", r.Took, want, gone)
		}
		if r.Reason != "dispose" || r.Budget != 1600*time.Millisecond {
			t.Errorf("reason %q, budget %v", r.Reason, r.Budget)
		}
	})
}

func TestShorteningToNothingSkipsWhatIsLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := New(Options{})
		register(t, m, "obeys", 1, obey)
		register(t, m, "next", 2, ok)
		go m.Shutdown(t.Context(), "dispose", BudgetDispose)
		synctest.Wait()
		r := m.Shutdown(t.Context(), "now", 0)
		if last := r.Handlers[1]; last.Outcome != OutcomeSkipped || r.Took != 0 || !r.Complete {
			t.Errorf("report %+v", r)
		}
	})
}

func TestTheEndOfACallersContextEndsOnlyItsWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		type key struct{}
		m := New(Options{})
		var value any
		var err error
		register(t, m, "first", 1, ok)
		register(t, m, "slow", 2, func(ctx context.Context) error {
			time.Sleep(2 * time.Second)
			value, err = ctx.Value(key{}), ctx.Err()
			return nil
		})
		ctx, cancel := context.WithTimeout(context.WithValue(t.Context(), key{}, "v"), time.Second)
		defer cancel()
		r := m.Shutdown(ctx, "test", BudgetDispose)
		if r.Complete || r.Took != time.Second || outcomes(r) != "first=ok" {
			t.Errorf("early report %+v", r)
		}
		<-m.Done()
		if r := m.Report(); !r.Clean() || outcomes(r) != "first=ok slow=ok" {
			t.Errorf("report %+v", r)
		}
		if value != "v" || err != nil {
			t.Errorf("the handler saw value %v, ctx error %v", value, err)
		}
	})
}

func TestRegistration(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := New(Options{})
		for _, p := range []int{-1, 101} {
			if _, err := m.Register("x", p, ok); !errors.Is(err, ErrPriority) {
				t.Errorf("priority %d: %v", p, err)
			}
		}
		if _, err := m.Register("", 1, ok); !errors.Is(err, ErrHandler) {
			t.Errorf("no name: %v", err)
		}
		if _, err := m.Register("x", 1, nil); !errors.Is(err, ErrHandler) {
			t.Errorf("no function: %v", err)
		}
		register(t, m, "lowest", 0, ok)
		gone := register(t, m, "gone", 50, ok)
		gone()
		gone()
		var duringRun func()
		register(t, m, "decides", 60, func(context.Context) error {
			duringRun()
			if _, err := m.Register("late", 100, ok); !errors.Is(err, ErrShuttingDown) {
				t.Errorf("during a shutdown: %v", err)
			}
			return nil
		})
		duringRun = register(t, m, "moot", 70, ok)
		register(t, m, "highest", MaxPriority, ok)
		m.Refuse(func() { t.Error("the hook was taken out") })()

		if got, want := outcomes(m.Shutdown(t.Context(), "test", time.Second)), "lowest=ok decides=ok highest=ok"; got != want {
			t.Errorf("outcomes %q, want %q", got, want)
		}
		if _, err := m.Register("late", 1, ok); !errors.Is(err, ErrShuttingDown) {
			t.Errorf("after a shutdown: %v", err)
		}
		late := false
		m.Refuse(func() { late = true })()
		if !late {
			t.Error("a hook that comes late must run at once")
		}
	})
}

func TestStartedAndDone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		closed := func(c <-chan struct{}) bool {
			select {
			case <-c:
				return true
			default:
				return false
			}
		}
		m := New(Options{})
		seen := []bool{closed(m.Started()), closed(m.Done())}
		m.Refuse(func() { seen = append(seen, closed(m.Started()), closed(m.Done())) })
		register(t, m, "logs", PriorityLogs, func(context.Context) error {
			seen = append(seen, closed(m.Started()), closed(m.Done()), m.Report().Complete)
			return nil
		})
		m.Shutdown(t.Context(), "test", time.Second)
		seen = append(seen, closed(m.Started()), closed(m.Done()))
		if want := []bool{false, false, true, false, true, false, false, true, true}; !slices.Equal(seen, want) {
			t.Errorf("seen %v, want %v", seen, want)
		}
	})
}

func TestAHandlerThatAsksForTheShutdownIsCutLoose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := New(Options{})
		register(t, m, "circle", 1, func(ctx context.Context) error {
			m.Shutdown(ctx, "again", time.Hour)
			return ctx.Err()
		})
		register(t, m, "next", 2, ok)
		if got, want := outcomes(m.Shutdown(t.Context(), "test", time.Second)), "circle=timeout next=ok"; got != want {
			t.Errorf("outcomes %q, want %q", got, want)
		}
	})
}

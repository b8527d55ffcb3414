package sqlitestore

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/opencode-sidecar/opencode-sidecar/core/task"
)

const argument = "SQLITESTORE_ARG"

// roles are the parts that this binary plays in processes of its own. Each
// speaks in lines: what it has done on stdout, when to go on from stdin.
func roles() map[string]func(path string) error {
	return map[string]func(string) error{
		"write": writeForEver, "first": firstOpens, "paced": paced, "own": own, "scribble": scribble, "rss": rss,
		"create": createWhenTold, "full": fillDisk, "put": putForEver, "compete": putWhenTold,
	}
}

// A player is a process in a role.
type player struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Scanner
}

// play starts a process in a role; it is killed when the test ends.
func play(tb testing.TB, name, path, arg string) *player {
	tb.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), role+"="+name, "SQLITESTORE_PATH="+path, argument+"="+arg)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		tb.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		tb.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		tb.Fatal(err)
	}
	p := &player{cmd, in, bufio.NewScanner(out)}
	tb.Cleanup(p.kill)
	return p
}

// kill ends it with SIGKILL and waits until it is gone.
func (p *player) kill() {
	if p.cmd.ProcessState == nil {
		_ = p.cmd.Process.Kill()
		_ = p.cmd.Wait()
	}
}

// say sends a line, hear returns the next one.
func (p *player) say(tb testing.TB) {
	tb.Helper()
	if _, err := io.WriteString(p.in, "go\n"); err != nil {
		tb.Fatal(err)
	}
}

func (p *player) hear(tb testing.TB) string {
	tb.Helper()
	if !p.out.Scan() {
		tb.Fatalf("the other process fell silent: %v", p.out.Err())
	}
	return p.out.Text()
}

func begin(path string) (*Store, error) {
	s, _, err := Open(Options{Path: path, Log: zerolog.Nop()})
	return s, err
}

// writeForEver writes from four goroutines and prints what was acknowledged.
func writeForEver(path string) error {
	s, err := begin(path)
	if err != nil {
		return err
	}
	base, err := strconv.Atoi(os.Getenv(argument))
	if err != nil {
		return err
	}
	errs := make(chan error)
	for g := range 4 {
		go func() {
			for i := 0; ; i++ {
				t := sample(base + g*10_000 + i)
				if err := s.Create(context.Background(), t); err != nil {
					errs <- err
				}
				fmt.Println("created", t.ID)
				t, err := s.Update(context.Background(), t.ID, t.Fence(), func(t *task.Task) { t.State = task.Running })
				if err == nil {
					_, err = s.Update(context.Background(), t.ID, t.Fence(), func(t *task.Task) { t.State, t.Result = task.Completed, "answer" })
				}
				if err != nil {
					errs <- err
				}
				fmt.Println("completed", t.ID)
			}
		}()
	}
	return <-errs
}

// firstOpens opens one database after the other, each when told to.
func firstOpens(folder string) error {
	in := bufio.NewScanner(os.Stdin)
	n, err := strconv.Atoi(os.Getenv(argument))
	if err != nil {
		return err
	}
	for i := 0; in.Scan(); i++ {
		s, err := begin(filepath.Join(folder, strconv.Itoa(i), "tasks.db"))
		if err == nil {
			err = s.Create(context.Background(), sample(n))
		}
		if err == nil {
			err = s.Close()
		}
		if err != nil {
			return err
		}
		fmt.Println("opened")
	}
	return nil
}

// paced writes 500 tasks a second for as long as its argument says and prints
// the latencies' median and 99th percentile in microseconds.
func paced(path string) error {
	s, err := begin(path)
	if err != nil {
		return err
	}
	defer s.Close()
	base, length, _ := strings.Cut(os.Getenv(argument), " ")
	first, err := strconv.Atoi(base)
	if err != nil {
		return err
	}
	d, err := time.ParseDuration(length)
	if err != nil {
		return err
	}
	p50, p99, err := pace(s, first, 500, d)
	fmt.Println(p50.Microseconds(), p99.Microseconds())
	return err
}

// pace creates rate tasks a second for d, whether or not earlier ones have been
// acknowledged, and returns percentiles of how long each Create took.
func pace(s *Store, first, rate int, d time.Duration) (p50, p99 time.Duration, err error) {
	n := int(d.Seconds() * float64(rate))
	took, errs := make([]time.Duration, n), make([]error, n)
	var wg sync.WaitGroup
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	start := time.Now()
	for i := 0; i < n; <-tick.C {
		for due := int(time.Since(start).Seconds() * float64(rate)); i < min(due, n); i++ {
			at := i
			wg.Go(func() {
				began := time.Now()
				errs[at] = s.Create(context.Background(), sample(first+at))
				took[at] = time.Since(began)
			})
		}
	}
	wg.Wait()
	slices.Sort(took)
	for _, e := range errs {
		if e != nil {
			err = e
		}
	}
	return took[n/2], took[n*99/100], err
}

// own claims an owner until it is told to go on.
func own(path string) error {
	s, err := begin(path)
	if err != nil {
		return err
	}
	defer s.Close()
	release, err := s.Claim(os.Getenv(argument))
	if err != nil {
		return err
	}
	fmt.Println("claimed")
	bufio.NewScanner(os.Stdin).Scan()
	release()
	fmt.Println("released")
	bufio.NewScanner(os.Stdin).Scan()
	return nil
}

// createWhenTold creates a task for each line it is told.
func createWhenTold(path string) error {
	s, err := begin(path)
	if err != nil {
		return err
	}
	defer s.Close()
	in := bufio.NewScanner(os.Stdin)
	for i := 0; in.Scan(); i++ {
		if err := s.Create(context.Background(), sample(i)); err != nil {
			return err
		}
		fmt.Println("created")
	}
	return nil
}

// scribble overwrites the bytes of a file from one offset to another. The test's
// own process must not do this: closing the file would drop its locks.
func scribble(path string) error {
	var from, to int64
	if _, err := fmt.Sscan(os.Getenv(argument), &from, &to); err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = f.WriteAt([]byte(strings.Repeat("\xffjunk", int(to-from)/5)), from)
	return err
}

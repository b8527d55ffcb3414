package hosttest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"time"
)

const (
	// A request that reaches `serve` just as it starts can hang for minutes, so
	// each look has a short deadline and a connection of its own.
	readyTimeout = 500 * time.Millisecond
	readyEvery   = 25 * time.Millisecond
	// startTries covers a free port that another process took first.
	startTries = 3
)

// Server is a running `opencode serve`.
type Server struct {
	*Process
	*Client
	// Ready is how long it took from the start to the first answer.
	Ready time.Duration
}

// Serve starts `opencode serve` on a free port and returns when it answers. The
// instance of the project, with its plugins, is loaded by the first request for
// it, such as [Client.Status].
func (p *Project) Serve(ctx context.Context, args ...string) (*Server, error) {
	var failures []error
	for range startTries {
		s, err := p.serve(ctx, args)
		if err == nil {
			return s, nil
		}
		failures = append(failures, err)
		if ctx.Err() != nil {
			break
		}
	}
	return nil, fmt.Errorf("opencode serve: %w", errors.Join(failures...))
}

func (p *Project) serve(ctx context.Context, args []string) (*Server, error) {
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	args = append([]string{"serve", "--hostname", "127.0.0.1", "--port", strconv.Itoa(port)}, args...)
	process, err := p.start("serve", "", args...)
	if err != nil {
		return nil, err
	}
	s := &Server{Process: process, Client: newClient(fmt.Sprintf("http://127.0.0.1:%d", port), p.Dir)}
	if err := s.waitReady(ctx); err != nil {
		process.Kill()
		return nil, fmt.Errorf("%w; it printed: %s", err, process.Output())
	}
	s.Ready = time.Since(process.start)
	return s, nil
}

func (s *Server) waitReady(ctx context.Context) error {
	tick := time.NewTicker(readyEvery)
	defer tick.Stop()
	for {
		if s.answers(ctx) {
			return nil
		}
		select {
		case <-tick.C:
		case <-s.Done():
			return fmt.Errorf("it ended with code %d", s.result.Code)
		case <-ctx.Done():
			return fmt.Errorf("it does not answer: %w", context.Cause(ctx))
		}
	}
}

func (s *Server) answers(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.URL()+"/global/health", nil)
	if err != nil {
		return false
	}
	req.Close = true
	resp, err := s.Client.http.Do(req)
	if err != nil {
		return false
	}
	resp.Body.Close()
	return resp.StatusCode == http.StatusOK
}

// Stop kills the server with SIGKILL, waits for its end and closes the client.
// It leaves the children alone: those are what a test looks at.
func (s *Server) Stop(ctx context.Context) error {
	s.Kill()
	_, err := s.Wait(ctx)
	s.Client.Close()
	return err
}

func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, fmt.Errorf("free port: %w", err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}

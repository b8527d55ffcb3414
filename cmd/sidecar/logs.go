package main

import (
	"fmt"
	"io"
	"os"
	"sync"
	"sync/atomic"

	"github.com/rs/zerolog"

	"github.com/opencode-sidecar/opencode-sidecar/core/config"
	"github.com/opencode-sidecar/opencode-sidecar/core/lifecycle"
)

// logs is where log lines go: stderr, which the shim has pointed at the log
// file, until the options name another file. Level and target can change while
// the loggers made from it are in use.
type logs struct {
	level atomic.Int32

	mu   sync.Mutex
	to   io.Writer
	file *os.File
}

func newLogs(to io.Writer, o config.Options) *logs {
	l := &logs{to: to}
	l.setLevel(o.LogLevel)
	return l
}

// logger returns a logger that follows the level and the target.
func (l *logs) logger() zerolog.Logger {
	return zerolog.New(l).Level(zerolog.TraceLevel).Sample(l).With().Timestamp().Int("pid", os.Getpid()).Logger()
}

// Sample implements zerolog.Sampler: it is asked before a line is built.
func (l *logs) Sample(level zerolog.Level) bool { return int32(level) >= l.level.Load() }

// Write implements io.Writer.
func (l *logs) Write(line []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.to.Write(line)
}

func (l *logs) setLevel(name string) {
	if level, err := zerolog.ParseLevel(name); err == nil {
		l.level.Store(int32(level))
	}
}

// configure follows the options of the first workspace.
func (l *logs) configure(o config.Options) error {
	l.setLevel(o.LogLevel)
	if o.Log == "" {
		return nil
	}
	file, err := os.OpenFile(o.Log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("the log file cannot be opened, so lines go on to the usual one: %w", err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.file != nil {
		_ = l.file.Close()
	}
	l.to, l.file = file, file
	return nil
}

// close writes how the shutdown went as the last line.
func (l *logs) close(r lifecycle.Report) error {
	log := l.logger()
	line := log.Info().Str("reason", r.Reason)
	for _, h := range r.Handlers {
		line = line.Str(h.Name, fmt.Sprintf("%s in %s", h.Outcome, h.Took))
	}
	line.Msg("shutdown")
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.file == nil {
		return nil
	}
	l.to = io.Discard
	return l.file.Close()
}

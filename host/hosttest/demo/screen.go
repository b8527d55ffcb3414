package main

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"time"

	"golang.org/x/term"
)

// screen shows the progress and what comes after it. One goroutine uses it.
type screen interface {
	// title names the show, as soon as it is known.
	title(string)
	// during runs work and says meanwhile what is done. It returns work's error.
	during(what string, work func() error) error
	// changed shows what happened.
	changed(v *view, changes []change)
	// every is how often draw wants to be called; 0 is never.
	every() time.Duration
	draw(v *view)
	// done takes the board away and leaves room for lines.
	done()
	// print writes a line; it gets the width and the colours to write it with.
	print(func(columns int, p palette) []string)
	// end leaves the terminal as it was. It may be called at any time, also twice.
	end()
}

// maxLogName is the column of the names in a log.
const maxLogName = 20

// defaultColumns is the width of output that goes to no terminal.
const defaultColumns = 80

// newScreen returns a board for a terminal and a log for anything else.
func newScreen(out *os.File, env func(string) string, start time.Time) screen {
	columns, lines, err := term.GetSize(int(out.Fd()))
	if !term.IsTerminal(int(out.Fd())) || err != nil || columns < 60 || lines < 14 || env("TERM") == "dumb" {
		return &logScreen{out: out, start: start}
	}
	return &boardScreen{out: out, start: start, colours: palette{env("NO_COLOR") == ""}}
}

// logScreen writes a line for every change, for logs.
type logScreen struct {
	out   *os.File
	start time.Time
}

func (s *logScreen) title(text string) { fmt.Fprintln(s.out, text) }

func (s *logScreen) during(what string, work func() error) error {
	fmt.Fprintln(s.out, logLine(time.Since(s.start), change{name: demoName, text: what}, defaultColumns))
	return work()
}

func (s *logScreen) changed(_ *view, changes []change) {
	for _, c := range changes {
		fmt.Fprintln(s.out, logLine(time.Since(s.start), c, defaultColumns))
	}
}

// logLine is one change as a line of a log.
func logLine(at time.Duration, c change, columns int) string {
	head := fmt.Sprintf("%s  %s %s  ", right(span(at), 6), glyph(c.state), fit(c.name, maxLogName))
	return head + clip(c.text, columns-width(head))
}

func (s *logScreen) every() time.Duration { return 0 }
func (s *logScreen) draw(*view)           {}
func (s *logScreen) done()                { fmt.Fprintln(s.out) }
func (s *logScreen) end()                 {}

func (s *logScreen) print(lines func(int, palette) []string) {
	for _, line := range lines(defaultColumns, palette{}) {
		fmt.Fprintln(s.out, line)
	}
}

// boardScreen draws the board over and over in the same place.
type boardScreen struct {
	out     *os.File
	start   time.Time
	colours palette
	name    string
	note    string // what is done while there is no view
	drawn   int    // lines of the board that stand above the cursor
	hidden  bool   // the cursor
}

// demoName is who acts before and after the main agent does.
const demoName = "demo"

// drawEvery is how often the board is drawn anew.
const drawEvery = 100 * time.Millisecond

// What a terminal is told.
const (
	hideCursor, showCursor = "\x1b[?25l", "\x1b[?25h"
	noWrap, doWrap         = "\x1b[?7l", "\x1b[?7h"
	clearLine, clearBelow  = "\x1b[K", "\x1b[J"
)

func (s *boardScreen) title(text string) { s.name = text }

func (s *boardScreen) during(what string, work func() error) error {
	done := make(chan error, 1)
	go func() { done <- work() }()
	tick := time.NewTicker(drawEvery)
	defer tick.Stop()
	s.note = what
	defer func() { s.note = "" }()
	for {
		s.draw(nil)
		select {
		case <-tick.C:
		case err := <-done:
			return err
		}
	}
}

func (s *boardScreen) changed(v *view, changes []change) {
	if len(changes) > 0 {
		s.draw(v)
	}
}

func (s *boardScreen) every() time.Duration { return drawEvery }

func (s *boardScreen) draw(v *view) {
	now := time.Now()
	// By the clock, so that changes do not make the spinner race.
	f := frame{title: s.name, note: s.note, elapsed: now.Sub(s.start), now: now, tick: int(now.Sub(s.start) / drawEvery), view: v}
	lines := board(f, s.columns(), s.colours)
	var b bytes.Buffer
	s.up(&b)
	b.WriteString(hideCursor + noWrap)
	for _, line := range lines {
		b.WriteString(line + clearLine + "\n")
	}
	b.WriteString(clearBelow + doWrap)
	s.drawn, s.hidden = len(lines), true
	_, _ = s.out.Write(b.Bytes()) // a terminal that has gone sends us a signal
}

// up moves the cursor to the board's first line.
func (s *boardScreen) up(b *bytes.Buffer) {
	if s.drawn > 0 {
		fmt.Fprintf(b, "\x1b[%dA\r", s.drawn)
	}
}

func (s *boardScreen) columns() int {
	columns, _, err := term.GetSize(int(s.out.Fd()))
	if err != nil {
		columns = defaultColumns
	}
	return min(columns, 120)
}

func (s *boardScreen) done() {
	var b bytes.Buffer
	s.up(&b)
	b.WriteString(clearBelow + "\n" + pad(s.colours.bold(s.name)) + "\n\n") // the title stays
	s.drawn = 0
	_, _ = s.out.Write(b.Bytes())
	s.end()
}

func (s *boardScreen) print(lines func(int, palette) []string) {
	fmt.Fprintln(s.out, strings.Join(lines(s.columns(), s.colours), "\n"))
}

func (s *boardScreen) end() {
	if s.hidden {
		s.hidden = false
		_, _ = s.out.WriteString(showCursor)
	}
}

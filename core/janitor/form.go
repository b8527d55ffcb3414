package janitor

import (
	"bufio"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"regexp"
)

// maxUnpacked bounds what is read of a packed file.
const maxUnpacked = 1 << 30

// How the lines begin that this plugin and opencode-orchestrator write, with their
// fields in the order in which they write them. A process that is killed leaves half a
// line, so its end proves nothing.
var (
	taskLine    = regexp.MustCompile(`^\{"id":"task_[0-9a-f]{1,16}","(?:agent|state)":"`)
	historyLine = regexp.MustCompile(`^\{(?:"version":\d{1,15},"timestamp":\d{1,15},"author":"|"time":"\d{4}-\d\d-\d\dT[^"]{1,30}","actor":")`)
)

// How a line begins that was cut before the forms above tell it.
var (
	halfTask    = regexp.MustCompile(`^\{"id":"task_.{0,30}$`)
	halfHistory = regexp.MustCompile(`^\{"(?:version":|time":").{0,60}$`)
)

// prove is nil if a file is provably ours, and otherwise says what speaks against
// it.
func (f *folder) prove(c file, made ledger) error {
	if made.isOurs(f, c) {
		return nil
	}
	switch c.kind {
	case leftover: // nobody else makes such names, and the trash has what is in it
		return nil
	case document:
		content, err := f.read(c.name, maxDocument)
		if err != nil {
			return err
		}
		return c.doc.isDocument(content)
	case packedHistory:
		return f.unpack(c.name, func(r io.Reader) error { return proveLines(r, historyLine, halfHistory) })
	}
	file, _, err := f.open(c.name)
	if err != nil {
		return err
	}
	defer func() { _ = file.Close() }()
	if c.kind == taskArchive {
		return proveLines(file, taskLine, halfTask)
	}
	return proveLines(file, historyLine, halfHistory)
}

// unpack calls read with what a packed file holds.
func (f *folder) unpack(name string, read func(io.Reader) error) error {
	file, _, err := f.open(name)
	if err != nil {
		return err
	}
	defer func() { _ = file.Close() }()
	packed, err := gzip.NewReader(bufio.NewReader(file))
	if err != nil {
		return fmt.Errorf("it is not packed: %w", err)
	}
	if err := read(&io.LimitedReader{R: packed, N: maxUnpacked}); err != nil {
		return err
	}
	switch n, err := packed.Read(make([]byte, 1)); {
	case n > 0:
		return errors.New("it is larger than anything of ours")
	case !errors.Is(err, io.EOF):
		return err
	}
	return nil
}

// proveLines is nil if every line has the form, or is a half one.
func proveLines(r io.Reader, form *regexp.Regexp, half *regexp.Regexp) error {
	lines := bufio.NewReaderSize(r, 4<<10)
	for n := 1; ; n++ {
		line, more, err := lines.ReadLine()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if !form.Match(line) && (more || !half.Match(line) && !cut(line)) {
			return fmt.Errorf("line %d is not one of ours", n)
		}
		for more && err == nil { // the rest of a long line
			_, more, err = lines.ReadLine()
		}
		if err != nil && !errors.Is(err, io.EOF) {
			return err
		}
	}
}

// cut reports whether of a line there is next to nothing.
func cut(line []byte) bool {
	return len(line) < len(halfLine) && string(line) == halfLine[:len(line)]
}

// halfLine is how all lines begin.
const halfLine = `{"`

package trash

import (
	"bufio"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"strconv"
	"time"
	"unicode/utf8"
)

const (
	indexName = "index.jsonl"
	goneName  = "gone.jsonl"
	format    = 1
	maxLine   = 64 << 10 // of the index, with its newline
	maxIndex  = 64 << 20
)

// header is the first line of an index.
type header struct {
	Format int       `json:"format"`
	Folder string    `json:"folder"`
	Raw    []byte    `json:"raw,omitempty"` // the folder, if JSON has no string for it
	Taken  time.Time `json:"taken"`
}

// entry is a line of an index: one file that was taken.
type entry struct {
	N    int         `json:"n"` // the name of its copy
	Path string      `json:"path"`
	Raw  []byte      `json:"raw,omitempty"` // the path, if JSON has no string for it
	Size int64       `json:"size"`
	Mode fs.FileMode `json:"mode"`
	Time time.Time   `json:"mtime"`
	Sum  string      `json:"sha256"`
	Why  string      `json:"why,omitempty"`
}

// mark is a line of the other file: a copy that does not count any more.
type mark struct {
	N   int    `json:"n"`
	How string `json:"how"` // one of the constants below
}

const (
	restored = "restored" // it is back
	kept     = "kept"     // the file was not taken after all
)

func (e entry) copyName() string { return strconv.Itoa(e.N) }

func (e entry) item(x *index) Item {
	return Item{
		Folder: x.folder, Name: e.Path, Why: e.Why, Size: e.Size,
		Mode: e.Mode, Modified: e.Time, Taken: x.taken,
	}
}

// raw returns text if JSON has no string for it.
func raw(text string) []byte {
	if utf8.ValidString(text) {
		return nil
	}
	return []byte(text)
}

// encode returns v as a line of an index.
func encode(v any) ([]byte, error) {
	line, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	if len(line) >= maxLine {
		return nil, fmt.Errorf("%w: its line has %d bytes, at most %d are kept", ErrTooLarge, len(line)+1, maxLine)
	}
	return append(line, '\n'), nil
}

// parse reads a line of an index and believes nothing in it.
func parse(line []byte) (entry, error) {
	var e entry
	if err := json.Unmarshal(line, &e); err != nil {
		return e, err
	}
	if e.Raw != nil {
		e.Path = string(e.Raw)
	}
	if digits, err := hex.DecodeString(e.Sum); err != nil || len(digits) != len(sum{}) {
		return e, errors.New("it has no SHA-256")
	}
	if e.N < 1 || e.Size < 0 || e.Mode != e.Mode.Perm() {
		return e, errors.New("a number in it cannot be")
	}
	return e, checkName(e.Path)
}

// index is what the two files of a batch say.
type index struct {
	folder  string
	taken   time.Time
	entries []entry
	numbers map[int]bool // of the entries
	gone    map[int]bool
	damage  error // about lines that cannot be read; nil if all can be
	bad     int   // how many
}

// live yields what is in the batch still.
func (x *index) live() iter.Seq2[int, entry] {
	return func(yield func(int, entry) bool) {
		for i, e := range x.entries {
			if !x.gone[e.N] && !yield(i, e) {
				return
			}
		}
	}
}

// complain notes that a line cannot be read.
func (x *index) complain(line int, err error) {
	x.bad++
	if x.bad == 1 {
		x.damage = fmt.Errorf("%w: line %d of its index cannot be read: %w", ErrDamaged, line, err)
	}
}

// readIndex reads an index. Lines that cannot be read are counted in what it
// returns; without a first line that can be, there is an ErrDamaged instead.
func readIndex(r io.Reader) (*index, error) {
	x := &index{numbers: map[int]bool{}, gone: map[int]bool{}}
	n := 0
	for line, err := range lines(r) {
		n++
		switch {
		case errors.Is(err, errTorn) && n > 1:
			// Its writer was killed, or the disk was full: the file that it is
			// about had not been touched yet.
			continue
		case n == 1 && err == nil:
			if err := x.begin(line); err != nil {
				return nil, fmt.Errorf("%w: its index does not say what it is: %w", ErrDamaged, err)
			}
			continue
		case n == 1:
			return nil, fmt.Errorf("%w: its index does not say what it is: %w", ErrDamaged, err)
		case errors.Is(err, errLong):
			x.complain(n, err)
			continue
		case err != nil:
			return nil, err
		}
		e, err := parse(line)
		if err == nil && x.numbers[e.N] {
			err = fmt.Errorf("number %d is there twice", e.N)
		}
		if err != nil {
			x.complain(n, err)
			continue
		}
		x.numbers[e.N] = true
		x.entries = append(x.entries, e)
	}
	if n == 0 {
		return nil, fmt.Errorf("%w: its index is empty", ErrDamaged)
	}
	return x, nil
}

func (x *index) begin(line []byte) error {
	var h header
	if err := json.Unmarshal(line, &h); err != nil {
		return err
	}
	if h.Raw != nil {
		h.Folder = string(h.Raw)
	}
	switch {
	case h.Format != format:
		return fmt.Errorf("format %d is not known here", h.Format)
	case h.Folder == "":
		return errors.New("it names no folder")
	}
	x.folder, x.taken = h.Folder, h.Taken
	return nil
}

// readMarks reads what does not count any more. Lines that cannot be read are left
// out: then a copy counts that need not, and that is the safe side.
func (x *index) readMarks(r io.Reader) error {
	for line, err := range lines(r) {
		if errors.Is(err, errTorn) || errors.Is(err, errLong) {
			continue
		}
		if err != nil {
			return err
		}
		var m mark
		if json.Unmarshal(line, &m) == nil && (m.How == restored || m.How == kept) {
			x.gone[m.N] = true
		}
	}
	return nil
}

// load reads the two files of a batch.
func load(batch *os.Root) (*index, error) {
	file, err := openSmall(batch, indexName)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: it has no index", ErrDamaged)
	}
	if err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }()
	x, err := readIndex(io.LimitReader(file, maxIndex))
	if err != nil {
		return nil, err
	}
	marks, err := openSmall(batch, goneName)
	if errors.Is(err, fs.ErrNotExist) {
		return x, nil
	}
	if err != nil {
		return nil, err
	}
	defer func() { _ = marks.Close() }()
	return x, x.readMarks(io.LimitReader(marks, maxIndex))
}

func openSmall(batch *os.Root, name string) (*os.File, error) {
	file, info, err := openPlain(batch, name)
	if err != nil {
		return nil, err
	}
	if info.Size() > maxIndex {
		_ = file.Close()
		return nil, fmt.Errorf("%w: %s has %d bytes, at most %d are read", ErrDamaged, name, info.Size(), maxIndex)
	}
	return file, nil
}

var (
	errTorn = errors.New("the line has no end")
	errLong = fmt.Errorf("the line has more than %d bytes", maxLine)
)

// lines yields the lines of r without their newlines, and an error in the place of
// a line: errLong, errTorn for one without a newline, which is the last, or what
// reading said. A line is good until the next one.
func lines(r io.Reader) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		in := bufio.NewReaderSize(r, maxLine)
		long := false
		for {
			line, err := in.ReadSlice('\n')
			switch {
			case errors.Is(err, bufio.ErrBufferFull):
				long = true
				continue
			case err == nil && long:
				line, err = nil, errLong
			case err == nil:
				line = line[:len(line)-1]
			case errors.Is(err, io.EOF) && len(line) == 0 && !long:
				return
			case errors.Is(err, io.EOF):
				yield(nil, errTorn)
				return
			default:
				yield(nil, err)
				return
			}
			long = false
			if !yield(line, err) {
				return
			}
		}
	}
}

// strays counts the copies in a batch that no entry names. There may be one: that
// of a file that was being taken when its process was killed.
func strays(batch *os.Root, named map[int]bool) (int, error) {
	folder, err := batch.Open(".")
	if err != nil {
		return 0, err
	}
	defer func() { _ = folder.Close() }()
	found := 0
	for {
		names, err := folder.Readdirnames(1000)
		for _, name := range names {
			if n, err := strconv.Atoi(name); err == nil && !named[n] {
				found++
			}
		}
		if len(names) == 0 || err != nil {
			return found, endOfFolder(err)
		}
	}
}

// appender writes lines to the end of a file, each on the disk when it returns. Who
// writes holds the batch, so there is one.
type appender struct {
	file   *os.File
	size   int64
	broken error
}

// appendTo opens a file in a batch to append to it; flag may ask for a new one.
func appendTo(batch *os.Root, name string, flag int) (*appender, error) {
	// Not with O_APPEND: a system may refuse to truncate such a file.
	file, err := batch.OpenFile(name, os.O_RDWR|os.O_CREATE|flag, 0o600)
	if err != nil {
		return nil, err
	}
	a := &appender{file: file}
	info, err := file.Stat()
	if err == nil {
		a.size = info.Size()
		err = a.end()
	}
	if err == nil {
		err = syncFolder(batch)
	}
	if err != nil {
		_ = file.Close()
		return nil, err
	}
	return a, nil
}

// end ends the half line of somebody who was killed.
func (a *appender) end() error {
	if a.size == 0 {
		return nil
	}
	last := make([]byte, 1)
	if _, err := a.file.ReadAt(last, a.size-1); err != nil || last[0] == '\n' {
		return err
	}
	n, err := a.file.WriteAt([]byte{'\n'}, a.size)
	a.size += int64(n)
	return err
}

// add appends a line. After an error the file is as it was; if that cannot be, no
// more lines are taken.
func (a *appender) add(line []byte) error {
	if a.broken != nil {
		return a.broken
	}
	_, err := a.file.WriteAt(line, a.size)
	if err != nil {
		a.broken = a.file.Truncate(a.size)
		return err
	}
	if err := a.file.Sync(); err != nil {
		// What is on the disk now nobody knows; nor does a second try tell.
		a.broken = err
		_ = a.file.Truncate(a.size)
		return err
	}
	a.size += int64(len(line))
	return nil
}

func (a *appender) close() error { return a.file.Close() }

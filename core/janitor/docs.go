package janitor

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"regexp"
	"slices"
	"time"
	"unicode/utf16"
	"unicode/utf8"
)

const (
	// indexName is the index of the document cache.
	indexName = docsDir + "/_metadata.json"
	// maxIndex and maxDocument are sizes beyond which nothing is read.
	maxIndex    = 8 << 20
	maxDocument = 16 << 20
	// indexDelay is how much later than its index a document of a cache may have
	// been written: who caches writes it a moment before, who copies a project
	// somewhat later.
	indexDelay = time.Minute
	// indexTries is how often a change of the index is tried.
	indexTries = 5
)

// indexing is a temporary file of the index, which nobody else names like this.
var indexing = regexp.MustCompile(`^_metadata\.json\.[0-9a-z]{8}\.tmp$`)

// entry is what the index says of a document.
type entry struct {
	URL     string    `json:"url"`
	Title   string    `json:"title"`
	Fetched time.Time `json:"fetchedAt"`
	Size    int       `json:"size"` // in UTF-16 units, header included
	stamp   string    // Fetched as it is written
	indexed time.Time // when the index was written last
}

// index is the index of a document cache. What it says besides is kept as it is.
type index struct {
	all       map[string]json.RawMessage
	documents map[string]json.RawMessage
	info      fs.FileInfo // of the file before it was read
}

// noIndex is what people have in the place of an index; it wraps what that is.
type noIndex struct{ error }

// readIndex reads the index; fs.ErrNotExist if there is none, a noIndex if what is in
// its place is not that of a cache.
func (f *folder) readIndex() (*index, error) {
	if err := f.plainParents(indexName); errors.Is(err, fs.ErrNotExist) {
		return nil, err
	} else if err != nil {
		return nil, noIndex{err}
	}
	info, err := f.root.Lstat(indexName)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, noIndex{fmt.Errorf("%s is %s", indexName, describe(info.Mode()))}
	}
	content, err := f.read(indexName, maxIndex)
	if err != nil {
		return nil, err
	}
	x := &index{info: info}
	if err = json.Unmarshal(content, &x.all); err == nil {
		err = json.Unmarshal(x.all["documents"], &x.documents)
	}
	if err != nil {
		return nil, noIndex{fmt.Errorf("%s is not that of a document cache: %w", indexName, err)}
	}
	if x.documents == nil {
		x.documents = map[string]json.RawMessage{}
	}
	return x, nil
}

// entry returns what the index says of a document, if that makes sense.
func (x *index) entry(name string) (e entry, ok bool) {
	if x == nil || name == "_metadata.json" {
		return e, false
	}
	if e, ok = parseEntry(x.documents[name]); ok {
		e.indexed = x.info.ModTime()
	}
	return e, ok
}

func parseEntry(raw json.RawMessage) (e entry, ok bool) {
	var written struct {
		Fetched string `json:"fetchedAt"`
	}
	if json.Unmarshal(raw, &e) != nil || json.Unmarshal(raw, &written) != nil {
		return e, false
	}
	e.stamp = written.Fetched
	return e, e.URL != "" && !e.Fetched.IsZero()
}

// isDocument is nil if the content is that document as it was cached: its header
// and its length are those of the index, and nobody changed it after that was written.
func (e entry) isDocument(content []byte, changed time.Time) error {
	if changed.After(e.indexed.Add(indexDelay)) {
		return errors.New("it was changed after the index of the document cache")
	}
	return e.describes(content)
}

// describes is nil if the content is that of the document.
func (e entry) describes(content []byte) error {
	header := fmt.Sprintf("# %s\n\n> Source: %s\n> Cached: %s\n\n---\n\n", e.Title, e.URL, e.stamp)
	if !bytes.HasPrefix(content, []byte(header)) || !utf8.Valid(content) || units(content) != e.Size {
		return errors.New("it is not what the index of the document cache says")
	}
	return nil
}

// units is the length of text as JavaScript counts it.
func units(text []byte) (n int) {
	for _, r := range string(text) {
		n += utf16.RuneLen(r)
	}
	return n
}

// changeIndex changes the documents of the index, with all else as it is, if change
// says that it did; it is asked again if somebody else writes meanwhile. The file's time
// stays, which tells what was changed since its cache was filled.
func (f *folder) changeIndex(change func(documents map[string]json.RawMessage) bool) error {
	for range indexTries {
		x, err := f.readIndex()
		if err != nil {
			return err
		}
		if !change(x.documents) {
			return nil
		}
		if x.all["documents"], err = json.Marshal(x.documents); err != nil {
			return err
		}
		content, err := json.MarshalIndent(x.all, "", "  ")
		if err != nil {
			return err
		}
		temporary, err := f.beside(indexName, content, x.info.ModTime())
		if err != nil {
			return err
		}
		if now, err := f.root.Lstat(indexName); err == nil && unchanged(x.info, now) {
			return f.rename(temporary, indexName)
		}
		_ = f.root.Remove(temporary)
	}
	return fmt.Errorf("%s is written by somebody else all the time", indexName)
}

// settle makes the index agree with what came of the documents that were dropped from
// it: one that is gone has no entry, and one that is back has its own again, which the
// ledger then need not remember. A process may have been killed before it did so.
func (f *folder) settle(l *ledger) error {
	if len(l.Dropped) == 0 {
		return nil
	}
	var back []int // of l.Dropped
	gone := map[string]bool{}
	for i, d := range l.Dropped {
		content, err := f.read(docsDir+"/"+d.Name, maxDocument)
		e, ok := parseEntry(d.Entry)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			gone[string(d.Entry)] = true
		case err == nil && ok && e.describes(content) == nil:
			back = append(back, i)
		}
	}
	err := f.changeIndex(func(all map[string]json.RawMessage) (changed bool) {
		for _, d := range l.Dropped {
			if raw, ok := all[d.Name]; ok && gone[string(d.Entry)] && sameJSON(raw, d.Entry) {
				delete(all, d.Name)
				changed = true
			}
		}
		for _, i := range back {
			if d := l.Dropped[i]; all[d.Name] == nil {
				all[d.Name], changed = d.Entry, true
			}
		}
		return changed
	})
	if _, theirs := errors.AsType[noIndex](err); theirs || errors.Is(err, fs.ErrNotExist) {
		return nil // there is none of which anything would have to be noted
	} else if err != nil {
		return err
	}
	for _, i := range slices.Backward(back) {
		l.Dropped = slices.Delete(l.Dropped, i, i+1)
	}
	return nil
}

// sameJSON compares entries whatever their spaces.
func sameJSON(a, b json.RawMessage) bool {
	var x, y bytes.Buffer
	return json.Compact(&x, a) == nil && json.Compact(&y, b) == nil && bytes.Equal(x.Bytes(), y.Bytes())
}

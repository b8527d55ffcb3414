package janitor

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
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
)

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
	written   time.Time
}

// readIndex reads the index; fs.ErrNotExist if there is none.
func (f *folder) readIndex() (*index, error) {
	content, err := f.read(indexName, maxIndex)
	if err != nil {
		return nil, err
	}
	info, err := f.root.Lstat(indexName)
	if err != nil {
		return nil, err
	}
	x := &index{written: info.ModTime()}
	if err := json.Unmarshal(content, &x.all); err != nil {
		return nil, fmt.Errorf("%s is no index: %w", indexName, err)
	}
	if err := json.Unmarshal(x.all["documents"], &x.documents); err != nil {
		return nil, fmt.Errorf("%s is no index: %w", indexName, err)
	}
	return x, nil
}

// entry returns what the index says of a document, if that makes sense.
func (x *index) entry(name string) (e entry, ok bool) {
	if x == nil || name == "_metadata.json" {
		return e, false
	}
	raw, ok := x.documents[name]
	if !ok || json.Unmarshal(raw, &e) != nil || e.URL == "" || e.Fetched.IsZero() {
		return e, false
	}
	var written struct {
		Fetched string `json:"fetchedAt"`
	}
	if json.Unmarshal(raw, &written) != nil {
		return e, false
	}
	e.stamp, e.indexed = written.Fetched, x.written
	return e, true
}

// isDocument is nil if the content is that document as it was cached: its header
// and its length are those of the index, and nobody changed it after that was written.
func (e entry) isDocument(content []byte, changed time.Time) error {
	if changed.After(e.indexed.Add(indexDelay)) {
		return errors.New("it was changed after the index of the document cache")
	}
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
// says that it did. Its time stays, which tells what was changed since it was made.
func (f *folder) changeIndex(change func(documents map[string]json.RawMessage) bool) error {
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
	if err := f.replace(indexName, content); err != nil {
		return err
	}
	return f.root.Chtimes(indexName, x.written, x.written)
}

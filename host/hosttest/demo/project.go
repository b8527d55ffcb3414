package main

// files are the project that is reviewed.
func files() map[string]string {
	return map[string]string{
		"README.md": "# notes\n\nA tiny service that keeps notes.\n",
		"LICENSE":   "MIT License\n\nCopyright (c) the authors of notes\n",
		"go.mod":    "module example.com/notes\n\ngo 1.26\n",
		"config.json": `{
  "address": ":8080",
  "debug": true,
  "timeout": "30s",
  "database": "notes.db"
}
`,
		"main.go": `package main

import (
	"log"
	"net/http"

	"example.com/notes/api"
)

func main() {
	if err := http.ListenAndServe(":8080", api.Handler()); err != nil {
		log.Fatalf("serve: %v", err)
	}
}
`,
		"api/api.go": `// Package api serves notes over HTTP.
package api

import (
	"net/http"

	"example.com/notes/store"
)

// Handler stores whatever is sent to it.
func Handler() http.Handler {
	notes := store.New()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		notes.Put(r.URL.Path, r.FormValue("text"))
		w.WriteHeader(http.StatusNoContent)
	})
}
`,
		"store/store.go": `// Package store keeps notes in memory.
package store

import (
	"errors"
	"sync"
)

// Store is safe for concurrent use.
type Store struct {
	mu    sync.Mutex
	notes map[string]string
}

// New returns an empty store.
func New() *Store { return &Store{notes: map[string]string{}} }

// Put stores a note.
func (s *Store) Put(key, text string) error {
	if key == "" {
		return errors.New("a note needs a key")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.notes[key] = text
	return nil
}

func legacyKey(key string) string { return "v0/" + key }
`,
		"store/store_test.go": `package store

import "testing"

func TestPut(t *testing.T) {
	if err := New().Put("a", "b"); err != nil {
		t.Fatal(err)
	}
}
`,
	}
}

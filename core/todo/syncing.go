package todo

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
)

// Read returns what the todo file of an open worktree holds, as File.Read does.
func (s *Sync) Read(worktree string) (*Document, error) {
	t, err := s.tree(worktree)
	if err != nil {
		return nil, err
	}
	return t.file.Read()
}

// Edit edits the todo file of an open worktree, as File.Edit does.
func (s *Sync) Edit(ctx context.Context, worktree string, e Edit, change func(*Document) ([]byte, error)) (*Document, error) {
	t, err := s.tree(worktree)
	if err != nil {
		return nil, err
	}
	return t.file.Edit(ctx, e, change)
}

// Merge brings OpenCode's todo list into the todo file of an open worktree, as
// the function Merge says, and returns the base for the next time. With create a
// file is made for what is new if there is none; otherwise one that is missing
// stays so, which is no error. With an error nothing was written, and the base
// is the one that was given.
func (s *Sync) Merge(ctx context.Context, worktree string, base Base, todos []Todo, o MergeOptions, create bool) (Base, error) {
	t, err := s.tree(worktree)
	if err != nil {
		return base, err
	}
	doc, err := t.file.Read()
	if err != nil {
		return base, err
	}
	if doc.Missing && !create {
		o.AddNew = false // or it would count as added
	}
	merged := Merge(doc, base, todos, o)
	if len(merged.Changes) == 0 && len(merged.New) == 0 { // as it is most of the time: nobody has to take turns
		return merged.Base, nil
	}
	change := func(doc *Document) ([]byte, error) {
		merged = Merge(doc, base, todos, o)
		content, _, err := merged.Apply(doc)
		return content, err
	}
	e := Edit{Actor: "OpenCode", Kind: "merge"}
	if create {
		_, err = t.file.editOrCreate(ctx, e, change)
	} else if _, err = t.file.Edit(ctx, e, change); errors.Is(err, ErrMissing) { // it was removed meanwhile
		return Merge(missing(), base, todos, MergeOptions{}).Base, nil
	}
	if err != nil {
		return base, err
	}
	return merged.Base, nil
}

// editOrCreate is Edit, but makes the file of what change makes of a missing
// one, unless that is nothing.
func (f *File) editOrCreate(ctx context.Context, e Edit, change func(*Document) ([]byte, error)) (*Document, error) {
	for range attempts {
		doc, err := f.Edit(ctx, e, change)
		if !errors.Is(err, ErrMissing) || e.Expect != "" {
			return doc, err
		}
		content, err := change(missing())
		if err != nil || len(content) == 0 {
			return missing(), err
		}
		if doc, err = f.Create(ctx, e, content); !errors.Is(err, fs.ErrExist) {
			return doc, err
		}
	}
	return nil, fmt.Errorf("editing %s: it came and went %d times", Path, attempts)
}

package transcript

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// save plays the person who saved a file.
func (r *replay) save(e Entry) error {
	body, err := r.names.render(r.clock.set(e.Body), r.known)
	if err == nil {
		err = SaveFile(r.o.Directory, text(field(body, "path")), text(field(body, "text")))
	}
	if err != nil {
		return fmt.Errorf("%s: %w", r.where(r.at), err)
	}
	return nil
}

// SaveFile has a file of a project hold a text, name being relative to its folder.
// It does so the way of vim: the old file is moved away, a new one is written, and
// the old one is removed.
func SaveFile(project, name, text string) (err error) {
	root, err := os.OpenRoot(project)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, root.Close()) }()
	if err := root.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	backup := name + "~"
	if err := root.Rename(name, backup); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := root.WriteFile(name, []byte(text), 0o644); err != nil {
		return err
	}
	if err := root.Remove(backup); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

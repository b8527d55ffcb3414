//go:build unix

package janitor

// sync has the names in a folder on the disk.
func (f *folder) sync(dir string) error {
	at, err := f.root.Open(dir)
	if err != nil {
		return err
	}
	defer func() { _ = at.Close() }()
	return at.Sync()
}

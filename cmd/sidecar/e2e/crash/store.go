package crash

import (
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"path/filepath"
	"strings"

	_ "modernc.org/sqlite" // the driver
)

// sound is what a database says of itself that has no fault.
const sound = "ok"

// checkStore finds the one database below dir and has it read itself, without
// changing anything.
func checkStore(dir string) (verdict string, err error) {
	var files []string
	err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if strings.Contains(d.Name(), ".damaged-") {
			files = append(files, path)
		} else if strings.HasSuffix(d.Name(), ".db") {
			files = append(files, path)
		}
		return err
	})
	if err != nil {
		return "", err
	}
	switch {
	case len(files) == 0:
		return "there is none", nil
	case len(files) > 1:
		return fmt.Sprintf("set aside: %q", files), nil
	}
	db, err := sql.Open("sqlite", (&url.URL{Scheme: "file", Path: files[0], RawQuery: "mode=ro&_pragma=busy_timeout(10000)"}).String())
	if err != nil {
		return "", err
	}
	err = db.QueryRow("PRAGMA quick_check").Scan(&verdict)
	return verdict, errors.Join(err, db.Close())
}

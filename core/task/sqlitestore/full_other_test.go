//go:build !linux

package sqlitestore

import "errors"

func mountSmall(string) error { return errors.New("not on this system") }

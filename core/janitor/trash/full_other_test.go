//go:build !linux

package trash

import "errors"

func fillSmall(string, string) error { return errors.New("not on this system") }
func readOnly(string, string) error  { return errors.New("not on this system") }

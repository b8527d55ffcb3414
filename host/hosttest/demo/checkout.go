package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
)

// module is the first line of the checkout's go.mod.
const module = "module github.com/opencode-sidecar/opencode-sidecar"

// findShim returns the absolute path of the plugin of the checkout that dir is
// in, once all of it is built.
func findShim(dir string) (string, error) {
	root, err := findRoot(dir)
	if err != nil {
		return "", err
	}
	for _, file := range []string{"bin/sidecar", "shim/dist/index.js"} {
		if _, err := os.Stat(filepath.Join(root, filepath.FromSlash(file))); err != nil {
			return "", fmt.Errorf("%s is missing: run `make build` in %s", file, root)
		}
	}
	return filepath.Join(root, "shim"), nil
}

func findRoot(start string) (string, error) {
	for dir := start; ; dir = filepath.Dir(dir) {
		text, err := os.ReadFile(filepath.Join(dir, "go.mod"))
		if err == nil && bytes.HasPrefix(text, []byte(module+"\n")) {
			return dir, nil
		}
		if dir == filepath.Dir(dir) {
			return "", fmt.Errorf("%s is in no checkout of opencode-sidecar: change into one", start)
		}
	}
}

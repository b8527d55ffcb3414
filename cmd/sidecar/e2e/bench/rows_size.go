package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
)

// sizeRows says how large what users install is.
func sizeRows(_ context.Context, b *bench) ([]Row, error) {
	size := func(path string) (float64, error) {
		info, err := os.Stat(path)
		if err != nil {
			return 0, err
		}
		return float64(info.Size()), nil
	}
	binary, err := size(b.binary)
	if err != nil {
		return nil, err
	}
	bundle, err := size(filepath.Join(b.root, "shim", "dist", "index.js"))
	if err != nil {
		return nil, err
	}
	files, err := filepath.Glob(filepath.Join(b.root, "shim", "src", "*.ts"))
	if err != nil {
		return nil, err
	}
	lines := 0
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		lines += bytes.Count(text, []byte("\n"))
	}
	return []Row{{
		What:     "size",
		Measured: fmt.Sprintf("binary %.1f MB, shim bundle %.1f KB from %d lines in %d files", binary/(1<<20), bundle/1024, lines, len(files)),
		Original: "Rust helper 4.0–5.5 MB",
		Values:   map[string]float64{"binary_mb": binary / (1 << 20), "bundle_kb": bundle / 1024, "shim_lines": float64(lines)},
	}}, nil
}

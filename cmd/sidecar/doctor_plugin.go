package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/tidwall/jsonc"

	"github.com/opencode-sidecar/opencode-sidecar/core/workspace"
)

// maxConfig is the size beyond which a configuration file is not read.
const maxConfig = 1 << 20

// plugin looks for the plugin in the configuration that OpenCode reads here.
func (d *doctor) plugin(context.Context) {
	d.section("Plugin")
	named, unsure := 0, 0
	look := func(base, name string, content []byte) {
		entries, err := pluginEntries(content)
		if err != nil {
			unsure++
			d.note("%s cannot be understood, so nobody can tell whether it names the plugin: %v", name, err)
		}
		for _, entry := range entries {
			switch {
			case d.isPlugin(base, entry):
				named++
				d.ok("%s names it: %s", name, fileName(entry))
			case strings.Contains(entry, "{env:") || strings.Contains(entry, "{file:"):
				unsure++
				d.note("%s names %s, which only OpenCode can fill in", name, fileName(entry))
			}
		}
	}
	for _, file := range d.configs() {
		content, err := readConfig(file)
		switch {
		case errors.Is(err, fs.ErrNotExist):
		case err != nil:
			unsure++
			d.note("%s cannot be read, so nobody can tell whether it names the plugin: %v", fileName(file), err)
		default:
			look(filepath.Dir(file), fileName(file), content)
		}
	}
	if content, ok := d.c.env("OPENCODE_CONFIG_CONTENT"); ok && content != "" {
		look(d.dir, "OPENCODE_CONFIG_CONTENT", []byte(content))
	}
	switch {
	case named > 1:
		d.note("it is named %d times; one is enough, and OpenCode takes the options of the last", named)
	case named == 0 && unsure == 0:
		d.note("no configuration that was found names it, so OpenCode does not load it here unless it comes in another way; the `plugin` list of opencode.json names it")
	}
}

// configs are the files in which OpenCode finds the plugins of the folder.
func (d *doctor) configs() (files []string) {
	add := func(folder string, names ...string) {
		for _, name := range names {
			if file := filepath.Join(folder, name); !slices.Contains(files, file) {
				files = append(files, file)
			}
		}
	}
	for _, at := range d.c.above(d.dir) {
		add(at, "opencode.json", "opencode.jsonc")
		add(filepath.Join(at, projectFolder), "opencode.json", "opencode.jsonc")
	}
	home, _ := d.c.env("HOME")
	if global, _ := d.c.env("XDG_CONFIG_HOME"); filepath.IsAbs(global) {
		add(filepath.Join(global, "opencode"), "opencode.json", "opencode.jsonc", "config.json")
	} else if home != "" {
		add(filepath.Join(home, ".config", "opencode"), "opencode.json", "opencode.jsonc", "config.json")
	}
	if home != "" {
		add(filepath.Join(home, projectFolder), "opencode.json", "opencode.jsonc")
	}
	if folder, _ := d.c.env("OPENCODE_CONFIG_DIR"); folder != "" {
		add(folder, "opencode.json", "opencode.jsonc")
	}
	if file, _ := d.c.env("OPENCODE_CONFIG"); file != "" {
		add(filepath.Dir(file), filepath.Base(file))
	}
	return files
}

func readConfig(name string) ([]byte, error) {
	info, err := os.Stat(name)
	switch {
	case err != nil:
		return nil, err
	case !info.Mode().IsRegular(): // opening a pipe would wait
		return nil, errors.New("it is not a file")
	case info.Size() > maxConfig:
		return nil, errors.New("it is too large")
	}
	file, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }()
	return io.ReadAll(io.LimitReader(file, maxConfig))
}

// isPlugin reports whether an entry of a plugin list is this plugin: by its name, or
// as the shim of the checkout that this program is in.
func (d *doctor) isPlugin(base, entry string) bool {
	if strings.Contains(entry, "opencode-sidecar") {
		return true
	}
	program, err := os.Executable()
	if err != nil {
		return false
	}
	resolve := func(name string) string { return workspace.Workspace{Directory: name}.Canonical().Directory }
	shim := filepath.Join(filepath.Dir(filepath.Dir(resolve(program))), "shim")
	at := strings.TrimPrefix(entry, "file://")
	if !filepath.IsAbs(at) {
		at = filepath.Join(base, at)
	}
	at = resolve(at)
	return at == shim || strings.HasPrefix(at, shim+string(filepath.Separator))
}

// pluginEntries reads the plugin list of a configuration in JSON with comments.
func pluginEntries(content []byte) (entries []string, err error) {
	var list struct{ Plugin []any }
	if err := json.Unmarshal(jsonc.ToJSON(bytes.TrimPrefix(content, []byte("\ufeff"))), &list); err != nil {
		return nil, err
	}
	for _, entry := range list.Plugin {
		if tuple, ok := entry.([]any); ok && len(tuple) > 0 {
			entry = tuple[0]
		}
		if name, ok := entry.(string); ok {
			entries = append(entries, name)
		}
	}
	return entries, nil
}

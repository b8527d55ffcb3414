package modules

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path"
	"regexp"
	"strings"

	"github.com/tidwall/jsonc"
)

// configNames are the configuration files of a config folder that may name
// plugins.
var configNames = []string{"opencode.json", "opencode.jsonc", "config.json", "tui.json", "tui.jsonc"}

// byPath matches entries of the plugin list that are no npm packages: paths,
// file URLs, and what only OpenCode can fill in.
var byPath = regexp.MustCompile(`^(\.|/|~|file:|[A-Za-z]:[\\/]|\\)|\{(env|file):`)

// pluginPaths returns the plugins that a configuration file names by path,
// relative to the folder if the file names them so. A file that cannot be
// understood may name any: it is returned itself.
func pluginPaths(folder *os.Root, name string) ([]string, error) {
	content, err := readFile(folder, name, maxSource)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil
	case errors.Is(err, errUnusual):
		return []string{name}, nil
	case err != nil:
		return nil, err
	}
	var config struct{ Plugin, Plugins []json.RawMessage }
	if json.Unmarshal(jsonc.ToJSON(content), &config) != nil {
		return []string{name}, nil
	}
	var paths []string
	for _, entry := range append(config.Plugin, config.Plugins...) {
		spec, ok := specOf(entry)
		switch {
		case !ok:
			paths = append(paths, name)
		case strings.HasPrefix(spec, "."):
			paths = append(paths, path.Clean(strings.ReplaceAll(spec, `\`, "/")))
		case byPath.MatchString(spec):
			paths = append(paths, spec)
		}
	}
	return paths, nil
}

// specOf reads an entry of a plugin list: "spec", ["spec", options] or
// {"package": "spec"}.
func specOf(entry json.RawMessage) (string, bool) {
	var spec string
	if json.Unmarshal(entry, &spec) == nil {
		return spec, spec != ""
	}
	var tuple []json.RawMessage
	if json.Unmarshal(entry, &tuple) == nil && len(tuple) > 0 {
		return spec, json.Unmarshal(tuple[0], &spec) == nil && spec != ""
	}
	var object struct{ Package string }
	err := json.Unmarshal(entry, &object)
	return object.Package, err == nil && object.Package != ""
}

package modules

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/tidwall/jsonc"
)

// lockLimit is far above any lock file of OpenCode's, which has 15 KB.
const lockLimit = 8 << 20

// smallName marks our lock file, so that nobody else's is taken for it.
const smallName = "kept-small-by-opencode-sidecar"

// smallLock is the lock file of the small form. It names @opencode-ai/plugin as
// a dependency of the folder without saying where it would be, and OpenCode
// compares no more than the names. A package.json as OpenCode writes it may
// stay beside it: its only dependency is the one that is named here.
func smallLock(version string) []byte {
	if !plainVersion.MatchString(version) {
		version = "*"
	}
	return fmt.Appendf(nil, `{"name":%q,"lockfileVersion":3,"packages":{"":{"dependencies":{%q:%q}}}}`+"\n", smallName, pluginPackage, version)
}

const versionPattern = `[0-9A-Za-z.+~^*-]{1,64}`

var (
	plainVersion = regexp.MustCompile(`^` + versionPattern + `$`)
	smallForm    = regexp.MustCompile(`^` + strings.Replace(regexp.QuoteMeta(string(smallLock("VERSION"))), "VERSION", versionPattern, 1) + `$`)
	// packageForm is what OpenCode writes as package.json; older versions end it
	// without a line feed.
	packageForm = regexp.MustCompile(`^\{\n  "dependencies": \{\n    "@opencode-ai/plugin": "` + versionPattern + `"\n  \}\n\}\n?$`)
)

func isSmall(lock []byte) bool { return smallForm.Match(lock) }

// ignoreForms are what OpenCode writes as .gitignore, and what it wrote before
// it had npm's installer.
var ignoreForms = []string{
	"node_modules\npackage.json\npackage-lock.json\nbun.lock\n.gitignore",
	"node_modules\npackage.json\nbun.lock\n.gitignore",
}

// verdict is what a file says of its writer.
type verdict struct {
	// exact means that it is OpenCode's own; otherwise it is the user's, who
	// does not depend on packages by it.
	exact bool
	// version of @opencode-ai/plugin that it names.
	version string
}

// dependencies are the lists of package.json, and of the entries of a lock file
// that stand for one.
type dependencies struct {
	Dependencies         map[string]string `json:"dependencies"`
	DevDependencies      map[string]string `json:"devDependencies"`
	OptionalDependencies map[string]string `json:"optionalDependencies"`
	PeerDependencies     map[string]string `json:"peerDependencies"`
	Workspaces           any               `json:"workspaces"`
}

// foreign returns an error that names a dependency other than
// @opencode-ai/plugin.
func (d dependencies) foreign() error {
	for _, list := range []map[string]string{d.Dependencies, d.DevDependencies, d.OptionalDependencies, d.PeerDependencies} {
		for _, name := range slices.Sorted(maps.Keys(list)) {
			if name != pluginPackage {
				return fmt.Errorf("asks for %s, which OpenCode does not need", name)
			}
		}
	}
	if d.Workspaces != nil {
		return errors.New("has workspaces")
	}
	return nil
}

var errNoJSON = errors.New("is not valid JSON")

// lockEntry is a package in a lock file of npm's.
type lockEntry struct {
	dependencies
	Version    string `json:"version"`
	Resolved   string `json:"resolved"`
	Link       bool   `json:"link"`
	Extraneous bool   `json:"extraneous"`
}

// npmLock is package-lock.json, and npm's own copy of it in node_modules.
type npmLock struct {
	Packages map[string]lockEntry `json:"packages"`
}

// foreign returns an error if a package was not installed for
// @opencode-ai/plugin and from a registry.
func (l npmLock) foreign() error {
	for _, path := range slices.Sorted(maps.Keys(l.Packages)) {
		e := l.Packages[path]
		switch {
		case path == "":
			if err := e.foreign(); err != nil {
				return err
			}
		case !strings.HasPrefix(path, modulesName+"/") || e.Link || strings.HasPrefix(e.Resolved, "file:"):
			return fmt.Errorf("has %s from a local folder", strings.TrimPrefix(path, modulesName+"/"))
		case e.Extraneous:
			return fmt.Errorf("has %s, which OpenCode did not install", strings.TrimPrefix(path, modulesName+"/"))
		}
	}
	return nil
}

func (l npmLock) version() string {
	if v := l.Packages[pluginDirectory].Version; v != "" {
		return v
	}
	return l.Packages[""].Dependencies[pluginPackage]
}

// checkLock returns an error, the rest of a sentence, if package-lock.json is
// not OpenCode's own; so do the following for the other files.
func checkLock(content []byte) (verdict, error) {
	var lock npmLock
	if json.Unmarshal(content, &lock) != nil {
		return verdict{}, errNoJSON
	}
	// Lock files without packages are older than OpenCode.
	if _, ok := lock.Packages[""]; !ok {
		return verdict{}, errors.New("does not say what it is for")
	}
	if err := lock.foreign(); err != nil {
		return verdict{}, err
	}
	return verdict{exact: true, version: lock.version()}, nil
}

func checkBunLock(content []byte) (verdict, error) {
	var lock struct {
		Workspaces map[string]dependencies `json:"workspaces"`
	}
	if json.Unmarshal(jsonc.ToJSON(content), &lock) != nil {
		return verdict{}, errNoJSON
	}
	root, ok := lock.Workspaces[""]
	if !ok || len(lock.Workspaces) > 1 {
		return verdict{}, errors.New("has workspaces")
	}
	if err := root.foreign(); err != nil {
		return verdict{}, err
	}
	return verdict{exact: true, version: root.Dependencies[pluginPackage]}, nil
}

func checkPackage(content []byte) (verdict, error) {
	var keys map[string]json.RawMessage
	var all dependencies
	if json.Unmarshal(content, &keys) != nil || json.Unmarshal(content, &all) != nil {
		return verdict{}, errNoJSON
	}
	if err := all.foreign(); err != nil {
		return verdict{}, err
	}
	for _, key := range slices.Sorted(maps.Keys(keys)) {
		if key != "dependencies" {
			return verdict{}, fmt.Errorf("has %q, which OpenCode does not write", key)
		}
	}
	return verdict{exact: packageForm.Match(content), version: all.Dependencies[pluginPackage]}, nil
}

func checkIgnore(content []byte) (verdict, error) {
	return verdict{exact: slices.Contains(ignoreForms, string(content))}, nil
}

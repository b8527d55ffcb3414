package hosttest

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"time"
)

// The models of the scripted provider.
const (
	provider   = "scripted"
	mainModel  = "main"
	smallModel = "small"
)

// closeTimeout bounds how long Close waits for processes to end after SIGKILL.
const closeTimeout = 10 * time.Second

// Setup says how a project is made.
type Setup struct {
	Binary   string // OpenCode's, see [Install]
	ModelURL string // see [Model.URL]
	// Root is an existing empty folder for everything of the project. If it is
	// "", a temporary one is made, which Close removes.
	Root    string
	Plugins []Plugin
	// Config is merged into the project's opencode.json, key by key at the top
	// level: agent, permission, mcp, ...
	Config map[string]any
	// Files are written into the project folder and committed; the keys are
	// slash-separated relative paths.
	Files map[string]string
	// Env is added to the environment of OpenCode, as KEY=value.
	Env []string
}

// Plugin is an entry of OpenCode's plugin list.
type Plugin struct {
	Spec    string // a path or an npm spec
	Options any    // nil for none; marshalled as JSON
}

// Project is a throw-away home with a project folder under git, in which
// OpenCode runs shielded from the caller's configuration and environment. It
// is safe for concurrent use.
type Project struct {
	// Root holds everything; Dir, within it, is the project folder.
	Root, Dir string
	// Home, ConfigDir, DataDir, StateDir and CacheDir are what $HOME and the
	// $XDG_*_HOME variables say.
	Home, ConfigDir, DataDir, StateDir, CacheDir string

	binary    string
	env       []string
	processes Processes
	temporary bool

	mu      sync.Mutex
	started []*Process
}

// NewProject makes a project. The caller closes it.
func NewProject(ctx context.Context, setup Setup) (*Project, error) {
	p := &Project{Root: setup.Root, binary: setup.Binary}
	if p.Root == "" {
		root, err := os.MkdirTemp("", "opencode-test-")
		if err != nil {
			return nil, fmt.Errorf("test project: %w", err)
		}
		p.Root, p.temporary = root, true
	}
	if err := p.make(ctx, setup); err != nil {
		return nil, errors.Join(fmt.Errorf("test project: %w", err), p.Close())
	}
	return p, nil
}

func (p *Project) make(ctx context.Context, setup Setup) error {
	// OpenCode resolves symlinks in its directory, so that paths in its answers
	// only compare equal if the root has none.
	root, err := filepath.EvalSymlinks(p.Root)
	if err != nil {
		return err
	}
	if root, err = filepath.Abs(root); err != nil {
		return err
	}
	p.Root = root
	p.Dir = filepath.Join(root, "project")
	p.Home = filepath.Join(root, "home")
	p.ConfigDir = filepath.Join(root, "config")
	p.DataDir = filepath.Join(root, "data")
	p.StateDir = filepath.Join(root, "state")
	p.CacheDir = filepath.Join(root, "cache")
	p.processes = Processes{cookie: rand.Text()}
	p.env = append(baseEnv(p.Home),
		"XDG_CONFIG_HOME="+p.ConfigDir,
		"XDG_DATA_HOME="+p.DataDir,
		"XDG_STATE_HOME="+p.StateDir,
		"XDG_CACHE_HOME="+p.CacheDir,
		"TMPDIR="+filepath.Join(root, "tmp"),
		// `run` believes PWD rather than its working directory.
		"PWD="+p.Dir,
		cookieName+"="+p.processes.cookie,
	)
	p.env = append(p.env, setup.Env...)
	for _, dir := range []string{p.Dir, p.Home, p.DataDir, p.StateDir, p.CacheDir, filepath.Join(root, "tmp"), p.logDir()} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return err
		}
	}
	for _, dir := range []string{filepath.Join(p.ConfigDir, "opencode"), filepath.Join(p.Dir, ".opencode")} {
		if err := seedDependencies(dir); err != nil {
			return err
		}
	}
	config, err := json.MarshalIndent(configuration(setup), "", "  ")
	if err != nil {
		return err
	}
	files := map[string]string{"opencode.json": string(config) + "\n"}
	maps.Copy(files, setup.Files)
	for name, content := range files {
		if err := p.Write(name, content); err != nil {
			return err
		}
	}
	return p.commit(ctx)
}

// baseEnv is an environment that owes nothing to the caller but PATH: no
// OPENCODE_*, no keys, no proxies, no git configuration.
func baseEnv(home string) []string {
	return []string{
		"PATH=" + os.Getenv("PATH"),
		"HOME=" + home,
		"LANG=C.UTF-8",
		"NO_COLOR=1",
		"NO_PROXY=127.0.0.1,localhost",
		"GIT_CONFIG_NOSYSTEM=1",
		"OPENCODE_DISABLE_AUTOUPDATE=1",
		"OPENCODE_DISABLE_MODELS_FETCH=1",
		"OPENCODE_DISABLE_LSP_DOWNLOAD=1",
		// A start that wants to install something fails in seconds, not minutes.
		"npm_config_fetch_retries=0",
	}
}

// seedDependencies makes a config directory in which OpenCode sees
// @opencode-ai/plugin as installed. Without that every start with a plugin
// waits for npm.
func seedDependencies(dir string) error {
	if err := os.MkdirAll(filepath.Join(dir, "node_modules"), 0o700); err != nil {
		return err
	}
	lock := `{"lockfileVersion":3,"packages":{"":{"dependencies":{"@opencode-ai/plugin":"` + OpenCodeVersion + `"}}}}`
	return os.WriteFile(filepath.Join(dir, "package-lock.json"), []byte(lock+"\n"), 0o600)
}

// configuration is the content of opencode.json.
func configuration(setup Setup) map[string]any {
	model := func(name string) object {
		return object{
			"name": name, "tool_call": true,
			"limit": object{"context": 200_000, "output": 8_000},
		}
	}
	config := map[string]any{
		"$schema":     "https://opencode.ai/config.json",
		"autoupdate":  false,
		"share":       "disabled",
		"model":       provider + "/" + mainModel,
		"small_model": provider + "/" + smallModel,
		"provider": object{provider: object{
			"npm":  "@ai-sdk/openai-compatible",
			"name": "Scripted",
			"options": object{
				"baseURL": setup.ModelURL,
				"apiKey":  "scripted",
			},
			"models": object{mainModel: model(mainModel), smallModel: model(smallModel)},
		}},
	}
	var plugins []any
	for _, p := range setup.Plugins {
		if p.Options == nil {
			plugins = append(plugins, p.Spec)
		} else {
			plugins = append(plugins, []any{p.Spec, p.Options})
		}
	}
	if len(plugins) > 0 {
		config["plugin"] = plugins
	}
	maps.Copy(config, setup.Config)
	return config
}

// Write writes a file of the project folder; name is a slash-separated relative
// path, missing folders are made.
func (p *Project) Write(name, content string) error {
	path := filepath.Join(p.Dir, filepath.FromSlash(name))
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	return os.WriteFile(path, []byte(content), 0o600)
}

func (p *Project) commit(ctx context.Context) error {
	for _, args := range [][]string{
		{"init", "--quiet", "--initial-branch=main"},
		{"config", "user.name", "Test"},
		{"config", "user.email", "test@example.com"},
		{"add", "--", ".", ":!.opencode/node_modules", ":!.opencode/package-lock.json"},
		{"commit", "--quiet", "--message", "Start"},
	} {
		cmd := exec.CommandContext(ctx, "git", args...)
		cmd.Dir, cmd.Env = p.Dir, p.env
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("git %s: %w: %s", args[0], err, out)
		}
	}
	return nil
}

// Env is the environment of the project's processes. The caller owns the copy.
func (p *Project) Env() []string { return append([]string(nil), p.env...) }

// Processes finds the processes of this project.
func (p *Project) Processes() Processes { return p.processes }

func (p *Project) logDir() string { return filepath.Join(p.Root, "logs") }

// Close kills every process of the project and removes its root if NewProject
// made it.
func (p *Project) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	var errs []error
	if p.processes.cookie != "" {
		errs = append(errs, p.processes.KillAll(ctx))
	}
	p.mu.Lock()
	started := p.started
	p.mu.Unlock()
	for _, process := range started {
		process.Kill()
		_, err := process.Wait(ctx)
		errs = append(errs, err)
	}
	if p.temporary {
		errs = append(errs, os.RemoveAll(p.Root))
	}
	return errors.Join(errs...)
}

// Package e2e drives the real OpenCode with the real shim and the real binary,
// against a scripted model. The tests and the benchmark share its rig.
package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"

	"github.com/opencode-sidecar/opencode-sidecar/host/hosttest"
)

// Rig is a project in which OpenCode loads our plugin, with a scripted model.
type Rig struct {
	*hosttest.Project
	Model *hosttest.Model
	// Checkout is the root of this repository.
	Checkout string
}

// NewRig makes a rig; options are the second element of the plugin tuple and
// env is added to OpenCode's environment. The caller closes it.
func NewRig(ctx context.Context, options map[string]any, env ...string) (*Rig, error) {
	root, err := checkout()
	if err != nil {
		return nil, err
	}
	plugin := hosttest.Plugin{Spec: filepath.Join(root, "shim")}
	if options != nil {
		plugin.Options = options
	}
	return NewRigWith(ctx, root, []hosttest.Plugin{plugin}, env...)
}

// NewRigWith makes a rig with other plugins than ours.
func NewRigWith(ctx context.Context, root string, plugins []hosttest.Plugin, env ...string) (*Rig, error) {
	binary, err := hosttest.Install(ctx)
	if err != nil {
		return nil, err
	}
	model, err := hosttest.StartModel()
	if err != nil {
		return nil, err
	}
	project, err := hosttest.NewProject(ctx, hosttest.Setup{Binary: binary, ModelURL: model.URL(), Plugins: plugins, Env: env})
	if err != nil {
		return nil, errors.Join(err, model.Close())
	}
	return &Rig{Project: project, Model: model, Checkout: root}, nil
}

// checkout finds the repository and checks that it is built.
func checkout() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for ; ; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			break
		}
		if dir == filepath.Dir(dir) {
			return "", errors.New("run this inside the checkout of opencode-sidecar")
		}
	}
	for _, file := range []string{"bin/sidecar", "shim/dist/index.js"} {
		if _, err := os.Stat(filepath.Join(dir, file)); err != nil {
			return "", fmt.Errorf("%s is not built; run `make build` first: %w", file, err)
		}
	}
	return dir, nil
}

// Close kills what is left of the project and stops the model.
func (r *Rig) Close() error { return errors.Join(r.Project.Close(), r.Model.Close()) }

// Sidecars returns the sidecar processes of the project that run now.
func (r *Rig) Sidecars() ([]hosttest.ProcessInfo, error) {
	all, err := r.Processes().List()
	var out []hosttest.ProcessInfo
	for _, p := range all {
		if IsSidecar(p) {
			out = append(out, p)
		}
	}
	return out, err
}

// IsSidecar tells a sidecar from the other processes of a project.
func IsSidecar(p hosttest.ProcessInfo) bool { return strings.HasSuffix(p.Command, "sidecar serve") }

// Log returns the sidecar's log, for failures.
func (r *Rig) Log() string {
	b, _ := os.ReadFile(filepath.Join(r.StateDir, "opencode-sidecar", "sidecar.log"))
	return string(b)
}

// Call is a directive that calls a tool.
func Call(tool string, args map[string]any) string {
	b, err := json.Marshal(args)
	if err != nil {
		panic(err) // maps of plain values always encode
	}
	return "@call " + tool + " " + string(b)
}

// Also is Call for a further call in the same step.
func Also(tool string, args map[string]any) string {
	return "@also" + strings.TrimPrefix(Call(tool, args), "@call")
}

// Delegate is the call of delegate_task whose child plays a script of its own.
func Delegate(background bool, script ...string) string {
	return DelegateWith(map[string]any{"background": background}, script...)
}

// DelegateWith is Delegate in the background with further or other arguments.
func DelegateWith(args map[string]any, script ...string) string {
	all := map[string]any{
		"agent": "general", "description": "scripted work", "background": true, "prompt": strings.Join(script, "\n"),
	}
	maps.Copy(all, args)
	return Call("delegate_task", all)
}

// Batch is the call of delegate_tasks with a child for each script.
func Batch(scripts ...string) string { return BatchWith(nil, scripts...) }

// BatchWith is Batch with further arguments.
func BatchWith(args map[string]any, scripts ...string) string {
	var tasks []map[string]any
	for i, s := range scripts {
		tasks = append(tasks, map[string]any{"agent": "general", "description": fmt.Sprintf("part %d", i+1), "prompt": s})
	}
	all := map[string]any{"tasks": tasks}
	maps.Copy(all, args)
	return Call("delegate_tasks", all)
}

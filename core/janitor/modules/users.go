package modules

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
)

// Beyond these limits nobody looks, and the packages count as needed.
const (
	maxSources   = 2_000
	maxSource    = 1 << 20
	maxAllSource = 32 << 20
	// maxEntries is far above what a folder of agents, notes and plans holds.
	maxEntries = 100_000
)

// sourceExtensions are those of files that OpenCode's runtime runs.
var sourceExtensions = []string{".ts", ".tsx", ".js", ".jsx", ".mjs", ".cjs", ".mts", ".cts"}

// codeFolders are where OpenCode looks for plugins and tools: *.ts and *.js,
// hidden ones too, in no folders below.
var codeFolders = []string{"plugin", "plugins", "tool", "tools"}

// usage is who uses installed packages, or may come to.
type usage struct {
	needs []Need
	local []string

	sources, entries int
	bytes            int64
}

// errEnough ends a search that has met a limit.
var errEnough = errors.New("a limit was met")

// users reads all sources of the folder, as a plugin may import any of them.
//
// Links to folders are not followed: the runtime resolves an import from where
// the importing file really is, so that what is outside of the folder never
// looks into its node_modules, and what is inside is read in its own place.
// Where a plugin or a tool itself is a link, its packages count as needed all
// the same.
func users(ctx context.Context, folder *os.Root) (*usage, error) {
	u := &usage{}
	if err := u.folder(ctx, folder, "."); err != nil && !errors.Is(err, errEnough) {
		return nil, err
	}
	for _, name := range configNames {
		local, err := pluginPaths(folder, name)
		if err != nil {
			return nil, err
		}
		u.local = append(u.local, local...)
	}
	u.local = sorted(u.local)
	slices.SortFunc(u.needs, func(a, b Need) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Import, b.Import), cmp.Compare(a.Unsure, b.Unsure))
	})
	u.needs = slices.Compact(u.needs)
	return u, nil
}

func (u *usage) unsure(name, why string) { u.needs = append(u.needs, Need{File: name, Unsure: why}) }

func (u *usage) folder(ctx context.Context, dir *os.Root, name string) error {
	return eachEntry(ctx, dir, func(info fs.FileInfo) error {
		inside := path.Join(name, info.Name())
		if u.entries++; u.entries > maxEntries {
			u.unsure(name, fmt.Sprintf("comes after %d files, beyond which none is read", maxEntries))
			return errEnough
		}
		code := slices.Contains(sourceExtensions, strings.ToLower(path.Ext(inside)))
		if ext := path.Ext(inside); slices.Contains(codeFolders, name) && (ext == ".ts" || ext == ".js") {
			u.local = append(u.local, inside)
		}
		switch mode := info.Mode(); {
		case mode&fs.ModeSymlink != 0:
			if code || slices.Contains(codeFolders, inside) {
				u.unsure(inside, "is a link, behind which nothing is read")
			}
			if slices.Contains(codeFolders, inside) {
				u.local = append(u.local, inside)
			}
			return nil
		case mode.IsDir() && inside == modulesName:
			return nil
		case mode.IsDir():
			sub, err := dir.OpenRoot(info.Name())
			switch {
			case errors.Is(err, fs.ErrNotExist):
				return nil
			case errors.Is(err, fs.ErrPermission):
				u.unsure(inside, "cannot be read")
				return nil
			case err != nil:
				return err
			}
			defer sub.Close()
			return u.folder(ctx, sub, inside)
		case code:
			return u.source(dir, inside, info)
		}
		return nil
	})
}

// source adds what a file imports.
func (u *usage) source(dir *os.Root, name string, info fs.FileInfo) error {
	if u.sources++; u.sources > maxSources {
		u.unsure(name, fmt.Sprintf("comes after %d other sources, beyond which none is read", maxSources))
		return errEnough
	}
	if u.bytes += info.Size(); u.bytes > maxAllSource {
		u.unsure(name, fmt.Sprintf("comes after %d MiB of other sources, beyond which none is read", maxAllSource>>20))
		return errEnough
	}
	content, err := readFile(dir, info.Name(), maxSource)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case errors.Is(err, errUnusual):
		u.unsure(name, errors.Unwrap(err).Error()+", so nobody knows what it imports")
		return nil
	case err != nil:
		return err
	}
	for _, n := range scan(name, content) {
		n.File = name
		u.needs = append(u.needs, n)
	}
	return nil
}

package trash

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// another runs this binary in a part.
func another(name string, p *project) (*exec.Cmd, *strings.Builder) {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), role+"="+name, "TRASH_PROJECT="+p.dir, "TRASH_FOLDER="+p.place)
	var complaint strings.Builder
	cmd.Stderr = &complaint
	return cmd, &complaint
}

// churn takes all files and restores them, again and again, until it is killed.
func churn(dir, folder string) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	trash := New(folder)
	fmt.Println("ready")
	for {
		if err := takeAll(trash, root, dir); err != nil {
			return err
		}
		if _, err := restoreAll(trash, root, dir); err != nil {
			return err
		}
	}
}

func takeAll(trash *Trash, root *os.Root, dir string) error {
	var names []string
	err := fs.WalkDir(root.FS(), ".", func(name string, entry fs.DirEntry, err error) error {
		if err == nil && !entry.IsDir() && !IsLeftover(name) {
			names = append(names, name)
		}
		return err
	})
	if err != nil {
		return err
	}
	for some := range slices.Chunk(names, 5) {
		b := trash.Begin(dir, time.Now())
		for _, name := range some {
			seen, err := root.Lstat(name)
			if err == nil {
				err = b.Take(root, name, seen, "churned")
			}
			// Two names has one whose restoring was cut short.
			if err != nil && !errors.Is(err, ErrNotPlain) {
				return err
			}
		}
		if err := b.Close(); err != nil {
			return err
		}
	}
	return nil
}

func restoreAll(trash *Trash, root *os.Root, dir string) (n int, err error) {
	for {
		done, err := trash.Restore(context.Background(), root, dir, "")
		if errors.Is(err, ErrNotFound) {
			return n, nil
		}
		if err != nil {
			return n, err
		}
		if n += len(done.Items); len(done.Left) > 0 {
			return n, fmt.Errorf("these stay: %+v", done.Left)
		}
	}
}

func TestAKillAtAnyMomentLosesNothing(t *testing.T) {
	files := map[string]string{}
	for n := range 12 {
		files[fmt.Sprintf("docs/%d/file\n%d.md", n%3, n)] = strings.Repeat(fmt.Sprint(n, " "), 1+rand.IntN(4000))
	}
	p := newProject(t, files)
	seen := map[string]int{}
	for round := range 60 {
		cmd, complaint := another("churn", p)
		out, err := cmd.StdoutPipe()
		p.must(err)
		p.must(cmd.Start())
		if line, err := bufio.NewReader(out).ReadString('\n'); err != nil {
			t.Fatalf("round %d: it said %q, %v: %s", round, line, err, complaint)
		}
		timer := time.AfterFunc(rand.N(60*time.Millisecond), func() { _ = cmd.Process.Kill() })
		err = cmd.Wait()
		timer.Stop()
		if complaint.Len() > 0 {
			t.Fatalf("round %d: %v: %s", round, err, complaint)
		}
		whole(p, files, seen)
		if t.Failed() {
			t.Fatalf("in round %d", round)
		}
	}
	n, err := restoreAll(p.trash, p.root, p.dir)
	p.must(err)
	t.Logf("after 60 kills, of %d files each: %v; %d restored at the end", len(files), seen, n)
	p.want(files) // and nothing beside them
	for name := range files {
		if info := p.see(name); linkCount(info) != 1 {
			t.Errorf("%q has %d names", name, linkCount(info))
		}
	}
	_, err = p.trash.Expire(t.Context(), time.Now().Add(time.Hour))
	p.must(err)
	p.empty()
}

// whole checks that each file is in the project or can be restored, every byte of
// it, and counts which.
func whole(p *project, files map[string]string, seen map[string]int) {
	p.t.Helper()
	missing := maps.Clone(files)
	for name, content := range p.files() {
		switch want, known := files[name]; {
		case known && content == want:
			delete(missing, name)
			seen["in the project"]++
		case known:
			p.t.Errorf("%q in the project has other bytes", name)
		case !IsLeftover(name):
			p.t.Errorf("%q is in the project", name)
		default:
			seen["leftovers"]++
		}
	}
	found, err := p.trash.Batches(p.dir)
	p.must(err)
	for _, s := range found {
		if s.Problem != "" {
			p.t.Errorf("%s: %s", s.Batch, s.Problem)
		}
		in, err := os.OpenRoot(filepath.Join(p.place, s.Batch))
		p.must(err)
		x, err := load(in)
		p.must(err)
		for _, e := range x.live() {
			if content, err := in.ReadFile(e.copyName()); err != nil || string(content) != files[e.Path] {
				p.t.Errorf("%q in the trash has other bytes, %v", e.Path, err)
			}
			if _, ok := missing[e.Path]; ok {
				seen["only in the trash"]++
			} else {
				seen["in both"]++
			}
			delete(missing, e.Path)
		}
		p.must(in.Close())
	}
	for name := range missing {
		p.t.Errorf("%q is lost", name)
	}
}

// share takes, restores and expires beside others who do the same.
func share(dir, folder string) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	trash := New(folder)
	for range 8 {
		names, err := fs.Glob(root.FS(), "*")
		if err != nil {
			return err
		}
		b := trash.Begin(dir, time.Now())
		for _, name := range names {
			if seen, err := root.Lstat(name); err == nil && !IsLeftover(name) {
				_ = b.Take(root, name, seen, "shared") // somebody else may be faster
			}
		}
		if err := b.Close(); err != nil {
			return err
		}
		if _, err := trash.Restore(context.Background(), root, dir, ""); err != nil && !errors.Is(err, ErrNotFound) {
			return err
		}
		if _, err := trash.Expire(context.Background(), time.Now().Add(-time.Hour)); err != nil {
			return err
		}
		if _, err := trash.Batches(dir); err != nil {
			return err
		}
	}
	return nil
}

func TestProcessesShareATrash(t *testing.T) {
	files := map[string]string{}
	for n := range 10 {
		files[fmt.Sprint(n)] = strings.Repeat("x", n*100)
	}
	p := newProject(t, files)
	var all []*exec.Cmd
	var said []*strings.Builder
	for range 3 {
		cmd, complaint := another("shared", p)
		p.must(cmd.Start())
		all, said = append(all, cmd), append(said, complaint)
	}
	for n, cmd := range all {
		if err := cmd.Wait(); err != nil {
			t.Errorf("process %d: %v: %s", n, err, said[n])
		}
	}
	whole(p, files, map[string]int{})
	_, err := restoreAll(p.trash, p.root, p.dir)
	p.must(err)
	p.want(files)
	_, err = p.trash.Expire(t.Context(), time.Now().Add(time.Hour))
	p.must(err)
	p.empty()
}

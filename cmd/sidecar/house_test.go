package main

import (
	"encoding/json"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// The tests of this file hold the house to its own rules (README, Architecture).

const module = "github.com/opencode-sidecar/opencode-sidecar/"

// rule forbids imports: packages under from must not import what is under one
// of forbidden, except what is under one of except.
type rule struct {
	from              string
	forbidden, except []string
	because           string
}

var rules = []rule{
	{"core", []string{"rpc", "host/client", "host/hosttest", "cmd"}, nil,
		"core thinks in its own terms: it reaches OpenCode through interfaces that it declares, and knows no wire"},
	{"rpc", []string{"core", "host"}, []string{"rpc/handler"},
		"the transport serves any core and any host"},
	{"rpc/wire", []string{"rpc", "core", "host"}, nil,
		"the contract stands on nothing but the standard library"},
	{"rpc/handler", []string{"host/client"}, nil,
		"handlers translate from the wire to the core; calling OpenCode back is the core's decision"},
	{"host", []string{"core", "rpc", "cmd"}, []string{"host/client", "host/hosttest"},
		"host is OpenCode as plain values, for everybody to use"},
	{"host/client", []string{"core", "rpc", "cmd"}, []string{"rpc/wire"},
		"the client knows the contract, not the transport or the core"},
	{"", []string{"cmd"}, nil, "commands are at the top: nothing stands on them"},
	{"", []string{"host/hosttest"}, nil, "tests' tools stay out of what ships"},
}

// stdlibOnly are packages that may import nothing from outside either.
var stdlibOnly = []string{"rpc/wire", "host"}

type pkg struct {
	ImportPath string
	Name       string
	Imports    []string
	Dir        string
}

func packages(t *testing.T) []pkg {
	t.Helper()
	cmd := exec.Command("go", "list", "-json=ImportPath,Name,Imports,Dir", "./...")
	cmd.Dir = "../.."
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	var all []pkg
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p pkg
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
}

// under reports whether a path of this module lies below a folder of it.
func under(path, folder string) bool {
	rel, ours := strings.CutPrefix(path+"/", module)
	return ours && strings.HasPrefix(rel, folder+"/") || ours && folder == ""
}

func underAny(path string, folders []string) bool {
	for _, f := range folders {
		if under(path, f) {
			return true
		}
	}
	return false
}

func TestImportRules(t *testing.T) {
	for _, p := range packages(t) {
		for _, r := range rules {
			tools := under(p.ImportPath, "cmd/sidecar/e2e") || under(p.ImportPath, "host/hosttest")
			if !under(p.ImportPath, r.from) || underAny(p.ImportPath, r.except) || r.from == "" && tools {
				continue
			}
			for _, i := range p.Imports {
				if underAny(i, r.forbidden) && !underAny(i, r.except) && !(r.from != "" && under(i, r.from)) {
					t.Errorf("%s imports %s: %s", p.ImportPath, i, r.because)
				}
			}
		}
		for _, folder := range stdlibOnly {
			if p.ImportPath != module+folder {
				continue
			}
			for _, i := range p.Imports {
				if strings.Contains(strings.SplitN(i, "/", 2)[0], ".") {
					t.Errorf("%s imports %s: it may use the standard library only", p.ImportPath, i)
				}
			}
		}
	}
}

func TestEverythingIsDocumented(t *testing.T) {
	for _, p := range packages(t) {
		fset := token.NewFileSet()
		documented := false
		err := filepath.WalkDir(p.Dir, func(path string, d fs.DirEntry, err error) error {
			switch {
			case err != nil:
				return err
			case d.IsDir() && path != p.Dir:
				return fs.SkipDir
			case d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go"):
				return nil
			}
			file, err := parser.ParseFile(fset, path, nil, parser.ParseComments)
			if err != nil {
				return err
			}
			documented = documented || file.Doc != nil
			if p.Name != "main" {
				checkComments(t, fset, file)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if !documented {
			t.Errorf("%s has no package comment", p.ImportPath)
		}
	}
}

// checkComments reports exported names without a comment of their own or of
// their group.
func checkComments(t *testing.T, fset *token.FileSet, file *ast.File) {
	t.Helper()
	missing := func(n ast.Node, name string) {
		t.Errorf("%s: %s has no comment", fset.Position(n.Pos()), name)
	}
	for _, decl := range file.Decls {
		switch d := decl.(type) {
		case *ast.FuncDecl:
			if d.Name.IsExported() && d.Doc == nil && exportedReceiver(d) {
				missing(d, d.Name.Name)
			}
		case *ast.GenDecl:
			for _, spec := range d.Specs {
				switch s := spec.(type) {
				case *ast.TypeSpec:
					if s.Name.IsExported() && s.Doc == nil && d.Doc == nil {
						missing(s, s.Name.Name)
					}
				case *ast.ValueSpec:
					for _, name := range s.Names {
						if name.IsExported() && s.Doc == nil && s.Comment == nil && d.Doc == nil {
							missing(s, name.Name)
						}
					}
				}
			}
		}
	}
}

func exportedReceiver(d *ast.FuncDecl) bool {
	if d.Recv == nil {
		return true
	}
	typ := d.Recv.List[0].Type
	if star, ok := typ.(*ast.StarExpr); ok {
		typ = star.X
	}
	if generic, ok := typ.(*ast.IndexExpr); ok {
		typ = generic.X
	}
	name, ok := typ.(*ast.Ident)
	return ok && name.IsExported() && d.Name.Name != "Error"
}

// What is generated must be what the sources say.
func TestGeneratedFilesAreFresh(t *testing.T) {
	files, err := generated("../..")
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range files {
		got, err := os.ReadFile(filepath.Join("../..", name))
		if err != nil {
			t.Error(err)
		} else if string(got) != want {
			t.Errorf("%s is stale; run `make generate`", name)
		}
	}
}

package trash

import (
	"bytes"
	"encoding/hex"
	"errors"
	"io/fs"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var sampleHeader = `{"format":1,"folder":"/p","taken":"2026-11-23T12:00:00Z"}` + "\n"

func FuzzReadIndex(f *testing.F) {
	zero := strings.Repeat("0", 64)
	line := `{"n":1,"path":"a","size":1,"mode":420,"mtime":"2026-11-23T12:00:00Z","sha256":"` + zero + `"}` + "\n"
	for _, seed := range []string{
		"", "\n", "{}\n", sampleHeader, sampleHeader + line, sampleHeader + line + line, sampleHeader + line[:20],
		sampleHeader + strings.Replace(line, `"a"`, `"../a"`, 1), sampleHeader + strings.Replace(line, `"path"`, `"raw":"/w==","path"`, 1),
		strings.Replace(sampleHeader, "1", "2", 1), sampleHeader + strings.Repeat("x", maxLine) + "\n" + line, "null\nnull\n",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, content []byte) {
		x, err := readIndex(bytes.NewReader(content))
		if err != nil {
			if !errors.Is(err, ErrDamaged) {
				t.Errorf("an error of another kind: %v", err)
			}
			return
		}
		if x.folder == "" || len(x.entries)+x.bad > bytes.Count(content, []byte("\n")) || (x.bad > 0) != (x.damage != nil) {
			t.Errorf("it is %+v", x)
		}
		seen := map[int]bool{}
		for _, e := range x.entries {
			if seen[e.N] || e.N < 1 || e.Size < 0 || checkName(e.Path) != nil || e.Mode != e.Mode.Perm() {
				t.Errorf("the entry %+v", e)
			}
			seen[e.N] = true
		}
		if err := x.readMarks(bytes.NewReader(content)); err != nil {
			t.Error(err)
		}
	})
}

func FuzzEntry(f *testing.F) {
	f.Add("a", "why", int64(0))
	f.Add("a\nb/\xff", "\x00<>&\u2028", int64(-1))
	f.Fuzz(func(t *testing.T, path, why string, nanoseconds int64) {
		if checkName(path) != nil {
			return
		}
		e := entry{N: 7, Path: path, Raw: raw(path), Size: 3, Mode: 0o640, Time: time.Unix(0, nanoseconds).UTC(), Sum: hex.EncodeToString(make([]byte, 32)), Why: clip(why)}
		line, err := encode(e)
		if errors.Is(err, ErrTooLarge) {
			return
		}
		if err != nil || bytes.IndexByte(line, '\n') != len(line)-1 || len(line) > maxLine {
			t.Fatalf("%q: %v", line, err)
		}
		x, err := readIndex(strings.NewReader(sampleHeader + string(line)))
		if err != nil || len(x.entries) != 1 {
			t.Fatalf("%q is read as %+v, %v", line, x, err)
		}
		if diff := cmp.Diff(e, x.entries[0]); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
}

func TestALineThatFailsLeavesTheFileAsItWas(t *testing.T) {
	p := newProject(t, map[string]string{"log": "half a line"})
	a, err := appendTo(p.root, "log", 0)
	p.must(err)
	p.must(a.add([]byte("one\n")))
	p.must(a.close())
	if err := a.add([]byte("two\n")); err == nil {
		t.Error("a closed file took a line")
	}
	if err := a.add([]byte("three\n")); err == nil {
		t.Error("a broken file took a line")
	}
	p.want(map[string]string{"log": "half a line\none\n"})
	_, err = appendTo(p.root, "log", os.O_EXCL)
	wantError(t, err, fs.ErrExist, "")
}

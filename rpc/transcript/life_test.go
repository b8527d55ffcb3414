package transcript

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// lives plays a script for each of several sidecars, one after the other.
func lives(t *testing.T, scripts ...func(*fake)) Sidecar {
	in, toSidecar := io.Pipe()
	fromSidecar, out := io.Pipe()
	f := &fake{t: t, in: make(chan message, 100), out: out}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = readFrames(in, f.in)
	}()
	go func() {
		scripts[0](f)
		for range f.in { // until the pipe is closed
		}
		_ = out.Close()
	}()
	s := Sidecar{
		In: toSidecar, Out: fromSidecar,
		Wait: func() error { <-ended; return nil },
		Kill: func() { _ = in.Close(); _ = out.Close() },
	}
	if len(scripts) > 1 {
		s.Next = func(context.Context) (Sidecar, error) { return lives(t, scripts[1:]...), nil }
	}
	return s
}

const killed = `--> 1 a {}
<-- 1 {}
<-- h1 host/log {}
--> 2 a {}
--- kill
--> 3 b {}
<-- h2 host/log {}
--> h2 {}
<-- 3 {}
--- eof
`

func first(f *fake) {
	f.hears("a")
	f.says(`{"id":1,"result":{}}`)
	f.says(`{"id":1,"method":"host/log","params":{}}`)
}

func second(f *fake) {
	f.hears("b")
	f.says(`{"id":1,"method":"host/log","params":{}}`)
	if f.hears("1").Result == nil {
		f.t.Error("the second sidecar's call was not answered")
	}
	f.says(`{"id":3,"result":{}}`)
}

func TestAnotherSidecarAfterOneWasKilled(t *testing.T) {
	for _, test := range []struct {
		name    string
		scripts []func(*fake)
		want    string // of the error; "" for none
	}{
		{"to the letter", []func(*fake){first, second}, ""},
		{"the first says what only the second has to", []func(*fake){func(f *fake) {
			first(f)
			f.says(`{"id":2,"method":"host/log","params":{}}`)
		}, second}, "the sidecar sent what the transcript does not have"},
		{"the second says nothing", []func(*fake){first, func(*fake) {}}, "f:7: this did not come within 15s"},
		{"there is none", []func(*fake){first}, "f:5: there is no sidecar to go on with"},
	} {
		t.Run(test.name, func(t *testing.T) {
			r, err := Parse("f", killed)
			if err != nil {
				t.Fatal(err)
			}
			synctest.Test(t, func(t *testing.T) {
				_, err := Replay(t.Context(), r, lives(t, test.scripts...), Options{Directory: "/live/project", Settle: synctest.Wait})
				if err == nil != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
					t.Errorf("got %v, want %q", err, test.want)
				}
			})
		})
	}
}

func TestAPersonSavesAFile(t *testing.T) {
	const text = `--> event {"type":"x"}
--- file {"path":"a/b.md","text":"one\n"}
<-- h1 host/log {"n":1}
--> h1 true
--- file {"path":"a/b.md","text":"two in <dir>"}
<-- h2 host/log {"n":2}
--> h2 true
--- eof
`
	directory := t.TempDir()
	name := filepath.Join(directory, "a", "b.md")
	holds := func(f *fake, want string) {
		var b []byte
		for range 100 { // the replay does not say when it writes
			if b, _ = os.ReadFile(name); string(b) == want {
				return
			}
			time.Sleep(time.Millisecond) // in the bubble
		}
		f.t.Errorf("the file holds %q, want %q", b, want)
	}
	_, err := perform(t, text, Options{Directory: directory}, func(f *fake) {
		holds(f, "one\n")
		f.says(`{"id":1,"method":"host/log","params":{"n":1}}`)
		holds(f, "two in "+directory)
		f.says(`{"id":2,"method":"host/log","params":{"n":2}}`)
	})
	if err != nil {
		t.Error(err)
	}
	left, err := os.ReadDir(filepath.Dir(name))
	if err != nil || len(left) != 1 {
		t.Errorf("%v are left behind (%v)", left, err)
	}
}

func TestAFileCannotBeSaved(t *testing.T) {
	directory := t.TempDir()
	if err := os.WriteFile(filepath.Join(directory, "a"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := perform(t, "--- file {\"path\":\"a/b.md\",\"text\":\"\"}\n--- eof\n", Options{Directory: directory}, func(*fake) {})
	if _, ok := errors.AsType[*os.PathError](err); !ok || !strings.HasPrefix(err.Error(), "f:1: ") {
		t.Errorf("got %v", err)
	}
}

// A message is as old as it is to who follows the replay, however often it is told.
func TestTimesAreThoseOfTheReplay(t *testing.T) {
	const text = `--> event {"info":{"id":"<message 1>","time":{"created":"<time>"}}}
<-- h1 host/log {}
--> h1 {"info":{"id":"<message 1>","time":{"created":"<time>","completed":"<time>"}},"other":{"id":"<message 2>","created":"<time>"},"sent":"<time>"}
--- eof
`
	_, err := perform(t, text, Options{}, func(f *fake) {
		start := time.Now().UnixMilli()
		f.hears("event")
		time.Sleep(time.Second) // in the bubble
		f.says(`{"id":1,"method":"host/log","params":{}}`)
		v, err := decode(f.hears("1").Result)
		if err != nil {
			f.t.Error(err)
		}
		now := start + 1000
		for _, want := range []struct {
			path []string
			at   int64
		}{
			{[]string{"info", "time", "created"}, start}, {[]string{"info", "time", "completed"}, now}, {[]string{"other", "created"}, now}, {[]string{"sent"}, now},
		} {
			if got := plain(field(v, want.path...)); got != strconv.FormatInt(want.at, 10) {
				f.t.Errorf("%v is %s, want %d", want.path, got, want.at)
			}
		}
	})
	if err != nil {
		t.Error(err)
	}
}

// What is looked up again gets a newer answer if the recorded sidecar asked before
// it said anything else, and else the one there is: it may need it to say that.
func TestALookUpWaitsForItsAnswer(t *testing.T) {
	const text = `--> 1 a {}
<-- h1 host/session.messages {"path":{"id":"<session 1>"}}
--> h1 ["old"]
<-- 1 {}
--> 2 b {"of":"<session 1>"}
--> event {"type":"x"}
<-- h2 host/session.messages {"path":{"id":"<session 1>"}}
--> h2 ["new"]
<-- 2 {}
<-- h3 host/log {}
--> h3 true
<-- h4 host/session.messages {"path":{"id":"<session 1>"}}
--> h4 ["newest"]
--- eof
`
	ask := func(f *fake, id, want string) {
		f.says(`{"id":` + id + `,"method":"host/session.messages","params":{"path":{"id":"ses_replay000001"}}}`)
		if got := string(f.hears(id).Result); got != want {
			f.t.Errorf("look-up %s is answered %s, want %s", id, got, want)
		}
	}
	_, err := perform(t, text, Options{Settle: synctest.Wait}, func(f *fake) {
		f.hears("a")
		ask(f, "10", `["old"]`)
		f.says(`{"id":1,"result":{}}`)
		f.hears("b")
		ask(f, "11", `["new"]`)
		f.says(`{"id":2,"result":{}}`)
		ask(f, "12", `["new"]`)
		f.says(`{"id":13,"method":"host/log","params":{}}`)
		f.hears("13")
		ask(f, "14", `["newest"]`)
	})
	if err != nil {
		t.Error(err)
	}
}

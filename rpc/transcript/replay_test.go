package transcript

import (
	"encoding/json"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// fake is a sidecar that plays a script: lines to expect, by method or id, and
// lines to send.
type fake struct {
	t     *testing.T
	in    chan message
	out   io.Writer
	heard []message // and not asked for yet
}

// hears waits for a message whose method or id is given and whose parameters
// hold a text.
func (f *fake) hears(what string, holding ...string) message {
	f.t.Helper()
	is := func(m message) bool {
		return (m.Method == what || m.Method == "" && string(m.ID) == what) &&
			strings.Contains(string(m.Params), strings.Join(holding, ""))
	}
	if i := slices.IndexFunc(f.heard, is); i >= 0 {
		m := f.heard[i]
		f.heard = slices.Delete(f.heard, i, i+1)
		return m
	}
	for m := range f.in {
		if is(m) {
			return m
		}
		f.heard = append(f.heard, m)
	}
	return message{} // the replay has given up
}

func (f *fake) says(text string) {
	var m message
	if err := json.Unmarshal([]byte(text), &m); err != nil {
		f.t.Error(err)
		return
	}
	_ = writeFrame(f.out, m) // fails once the replay has given up
}

// perform replays a transcript against a script, in a bubble.
func perform(t *testing.T, text string, o Options, script func(*fake)) (got Transcript, err error) {
	t.Helper()
	r, parseErr := Parse("f", text)
	if parseErr != nil {
		t.Fatal(parseErr)
	}
	if o.Directory == "" {
		o.Directory = "/live/project"
	}
	synctest.Test(t, func(t *testing.T) {
		in, toSidecar := io.Pipe()
		fromSidecar, out := io.Pipe()
		f := &fake{t: t, in: make(chan message, 100), out: out}
		read := make(chan error, 1)
		go func() { read <- readFrames(in, f.in) }()
		ended := make(chan struct{})
		go func() {
			script(f)
			for range f.in { // until the pipe is closed
			}
			_ = out.Close()
			close(ended)
		}()
		got, err = Replay(t.Context(), r, Sidecar{
			In: toSidecar, Out: fromSidecar,
			Wait: func() error { <-ended; return nil },
			Kill: func() { _ = in.Close(); _ = out.Close() },
		}, o)
		<-read
	})
	return got, err
}

// A task: one session, two look-ups, a prompt when it is idle.
const task = `--> 1 tool/call {"sessionID":"<session 1>"}
<-- h1 host/session.get {"path":{"id":"<session 1>"}}
--> h1 {"id":"<session 1>"}
<-- 1 {"output":"<task 1>"}
--> event {"type":"session.status","properties":{"sessionID":"<session 1>","status":{"type":"busy"}}}
<-- h2 host/session.status {}
--> h2 {"<session 1>":{"type":"busy"}}
<-- h3 host/session.get {"path":{"id":"<session 1>"}}
--> h3 {"id":"<session 1>","title":"later"}
--> event {"type":"session.idle","properties":{"sessionID":"<session 1>"}}
<-- h4 host/session.promptAsync {"text":"<task 1> ran <duration>","path":{"id":"<session 1>"}}
--> h4 {}
--- eof
`

func start(f *fake) {
	f.hears("tool/call")
	f.says(`{"id":10,"method":"host/session.get","params":{"path":{"id":"ses_replay000001"}}}`)
	f.hears("10")
	f.says(`{"id":1,"result":{"output":"task_00000001"}}`)
}

func finish(f *fake) {
	f.says(`{"id":20,"method":"host/session.promptAsync","params":{"path":{"id":"ses_replay000001"},"text":"task_00000001 ran 3.0s"}}`)
	f.hears("20")
}

func idle(f *fake) { f.hears("event", "session.idle") }

func TestReplay(t *testing.T) {
	for _, test := range []struct {
		name   string
		script func(*fake)
		want   []string // of the mismatch; none if there is none
	}{
		{"to the letter", func(f *fake) { start(f); idle(f); finish(f) }, nil},
		{"look-ups come as often as they like", func(f *fake) {
			start(f)
			for _, id := range []string{"11", "12", "13"} {
				f.says(`{"id":` + id + `,"method":"host/session.status","params":{}}`)
				f.hears(id)
				f.says(`{"id":1` + id + `,"method":"host/session.get","params":{"path":{"id":"ses_replay000001"}}}`)
				f.hears("1" + id)
			}
			idle(f)
			finish(f)
		}, nil},
		{"the status is that of the events", func(f *fake) {
			start(f)
			idle(f)
			f.says(`{"id":11,"method":"host/session.status","params":{}}`)
			if got := string(f.hears("11").Result); got != "{}" {
				f.t.Errorf("the status after the end is %s", got)
			}
			finish(f)
		}, nil},
		{"a look-up was cancelled", func(f *fake) {
			start(f)
			f.says(`{"method":"$/cancelRequest","params":{"id":10}}`)
			idle(f)
			finish(f)
		}, nil},
		{"another text", func(f *fake) {
			f.hears("tool/call")
			f.says(`{"id":10,"method":"host/session.get","params":{"path":{"id":"ses_replay000001"}}}`)
			f.hears("10")
			f.says(`{"id":1,"result":{"output":"none"}}`)
		}, []string{"f:4: the sidecar's message differs", `- <-- 1 {"output":"<task 1>"}`, `+ <-- 1 {"output":"none"}`}},
		{"an error instead", func(f *fake) {
			f.hears("tool/call")
			f.says(`{"id":1,"error":{"code":-32603,"message":"broken"}}`)
		}, []string{"f:4:", `+ <-- 1 error {"code":-32603,"message":"broken"}`}},
		{"an unknown call", func(f *fake) {
			start(f)
			f.says(`{"id":30,"method":"host/toast","params":{}}`)
		}, []string{"the sidecar sent what the transcript does not have", `+ <-- host/toast {}`}},
		{"an unknown look-up", func(f *fake) {
			start(f)
			f.says(`{"id":30,"method":"host/session.children","params":{}}`)
		}, []string{"the sidecar sent what the transcript does not have", `+ <-- host/session.children {}`}},
		{"nothing comes", func(f *fake) { start(f); idle(f) }, []string{"f:11: this did not come within 15s", "- <-- h4 host/session.promptAsync", "<-- host/session.get"}},
		{"a look-up that has to come does not", func(f *fake) { f.hears("tool/call") }, []string{"f:2: this did not come within 15s"}},
		{"the sidecar ends", func(f *fake) { start(f); _ = f.out.(io.Closer).Close() }, []string{"ended"}},
		{"no end", func(f *fake) { start(f); idle(f); finish(f); time.Sleep(3 * time.Second) }, []string{"f:13: the sidecar did not end within 2s"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := perform(t, task, Options{}, test.script)
			if len(test.want) == 0 && err != nil {
				t.Fatal(err)
			}
			for _, want := range test.want {
				if m, ok := errors.AsType[*Mismatch](err); !ok || !strings.Contains(m.Error(), want) {
					t.Errorf("got %v\nwant a mismatch with %q", err, want)
				}
			}
		})
	}
}

func TestAPromptMustNotComeWhileItsSessionIsBusy(t *testing.T) {
	const log = "<-- h9 host/log {}\n--> h9 true\n"
	text := strings.Replace(task, `--> event {"type":"session.idle"`, log+`--> event {"type":"session.idle"`, 1)
	_, err := perform(t, text, Options{}, func(f *fake) { start(f); f.hears("event"); finish(f) })
	if m, ok := errors.AsType[*Mismatch](err); !ok || !strings.Contains(m.Error(), "f:13: this came while <session 1> was busy") {
		t.Errorf("got %v", err)
	}
}

func TestMessagesMayBeEarly(t *testing.T) {
	const two = `--> 1 a {}
<-- h1 host/log {"n":1}
--> h1 true
--> event {"type":"x"}
<-- h2 host/log {"n":2}
--> h2 true
<-- 1 {}
--- eof
`
	_, err := perform(t, two, Options{}, func(f *fake) {
		f.hears("a")
		f.says(`{"id":"x","method":"host/log","params":{"n":2}}`)
		f.says(`{"id":"y","method":"host/log","params":{"n":1}}`)
		f.hears(`"y"`)
		f.hears(`"x"`)
		f.says(`{"id":1,"result":{}}`)
	})
	if err != nil {
		t.Error(err)
	}
}

func TestAHeldTurnIsCalledAgain(t *testing.T) {
	const held = `--> 1 hook/messages.transform {"sessionID":"<session 1>"}
<-- 1 {"again":true}
--> 2 hook/messages.transform {"sessionID":"<session 1>"}
<-- 2 {"append":[]}
--- eof
`
	_, err := perform(t, held, Options{}, func(f *fake) {
		f.hears(methodTransform)
		f.says(`{"id":1,"result":{"again":true}}`)
		f.hears(methodTransform)
		f.says(`{"id":2,"result":{"again":true}}`) // slower than when it was recorded
		m := f.hears(methodTransform)
		f.says(`{"id":` + string(m.ID) + `,"result":{"append":[]}}`)
	})
	if err != nil {
		t.Error(err)
	}
}

// What was under way when the host closed its workspace gets the shim's answer.
func TestAClosedWorkspaceRefusesLookUps(t *testing.T) {
	const closed = `--> event {"type":"x"}
--> 1 workspace/close {"workspace":"wrk_1"}
<-- 1 {}
--- exit
`
	_, err := perform(t, closed, Options{}, func(f *fake) {
		f.hears("event")
		f.says(`{"id":9,"method":"host/session.messages","params":{"workspace":"wrk_1"}}`)
		f.hears("workspace/close")
		f.says(`{"id":1,"result":{}}`)
		f.says(`{"id":10,"method":"host/session.messages","params":{"workspace":"wrk_1"}}`)
		if m := f.hears("10"); !strings.Contains(string(m.Error), "closed") {
			f.t.Errorf("the answer is %s %s", m.Result, m.Error)
		}
		_ = f.out.(io.Closer).Close()
	})
	if err != nil {
		t.Error(err)
	}
}

func TestUpdateTakesOverWhatCorresponds(t *testing.T) {
	got, err := perform(t, task, Options{Update: true}, func(f *fake) {
		f.hears("tool/call")
		f.says(`{"id":10,"method":"host/session.get","params":{"path":{"id":"ses_replay000001"}}}`)
		f.hears("10")
		f.says(`{"id":1,"result":{"output":"It is task_00000001."}}`)
		idle(f)
		f.says(`{"id":20,"method":"host/session.promptAsync","params":{"path":{"id":"ses_replay000001"},"text":"task_00000001 is done"}}`)
		f.hears("20")
	})
	if err != nil {
		t.Fatal(err)
	}
	want := strings.NewReplacer(
		`{"output":"<task 1>"}`, `{"output":"It is <task 1>."}`,
		`<task 1> ran <duration>`, `<task 1> is done`,
	).Replace(task)
	if d := cmp.Diff(want, Format(got)); d != "" {
		t.Error(d)
	}
}

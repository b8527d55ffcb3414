package transcript

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"

	"github.com/opencode-sidecar/opencode-sidecar/rpc/wire"
)

// rawLine is a line of the shim's recorder.
type rawLine struct {
	Note string          `json:"note"`
	How  string          `json:"how"` // exit: how the sidecar ended
	Dir  string          `json:"dir"` // out: to the sidecar, in: from it
	Msg  json.RawMessage `json:"msg"`
	fileNote
}

// fileNote is a note that a person saved a file. The shim does not know of such;
// who records adds it.
type fileNote struct {
	Path string `json:"path"`
	Text string `json:"text"`
}

// FileNote returns the line that says, among those of the shim's recorder, that a
// person saved a file of the project: path is relative to it.
func FileNote(path, text string) ([]byte, error) {
	line, err := json.Marshal(struct {
		Note string `json:"note"`
		fileNote
	}{"file", fileNote{path, text}})
	return append(line, '\n'), err
}

// message is a JSON-RPC message.
type message struct {
	ID     json.RawMessage `json:"id,omitempty"`
	Method string          `json:"method,omitempty"`
	Params json.RawMessage `json:"params,omitempty"`
	Result json.RawMessage `json:"result,omitempty"`
	Error  json.RawMessage `json:"error,omitempty"`
}

// maxLine bounds a line of the recorder: a frame, and what surrounds it.
const maxLine = 33 << 20

// Normalize reads what the shim's recorder wrote about one sidecar, or about
// several of which each but the last was killed. A last line that was cut off, as
// by the host's sudden end, is ignored.
func Normalize(raw io.Reader) (Transcript, error) {
	n := normalizer{ids: map[string]string{}, methods: map[string]string{}, table: map[string]wire.Method{}}
	for _, m := range wire.Methods() {
		n.table[m.Name] = m
	}
	lines := bufio.NewScanner(raw)
	lines.Buffer(nil, maxLine)
	var bad error
	spawned := 0
	for number := 1; lines.Scan(); number++ {
		if bad != nil {
			return Transcript{}, bad // it was not the last line
		}
		var line rawLine
		if err := json.Unmarshal(lines.Bytes(), &line); err != nil {
			bad = fmt.Errorf("line %d: %w", number, err)
			continue
		}
		switch {
		case line.Note == "spawn":
			if spawned++; spawned > 1 && !n.respawn() {
				return Transcript{}, fmt.Errorf("line %d: a second sidecar, though nobody killed the first", number)
			}
		case line.Note == "exit":
			n.out.Entries = append(n.out.Entries, Entry{Kind: Exit, Sidecar: true})
			n.killed = strings.HasPrefix(line.How, "signal ")
		case n.killed: // what the shim still tells the dead
		case line.Note == "file":
			body := map[string]any{"path": line.Path, "text": line.Text}
			n.out.Entries = append(n.out.Entries, Entry{Kind: File, Body: body})
		case len(line.Msg) > 0:
			if err := n.add(line); err != nil {
				return Transcript{}, fmt.Errorf("line %d: %w", number, err)
			}
		}
	}
	if err := lines.Err(); err != nil {
		return Transcript{}, err
	}
	if spawned == 0 || len(n.out.Entries) == 0 {
		return Transcript{}, errors.New("the recording is of no sidecar")
	}
	if n.out.Entries[len(n.out.Entries)-1].Kind != Exit {
		n.out.Entries = append(n.out.Entries, Entry{Kind: EOF})
	}
	n.tokens()
	return n.out, n.out.check()
}

type normalizer struct {
	table     map[string]wire.Method
	out       Transcript
	directory string
	calls     [2]int            // of the shim, of the sidecar
	ids       map[string]string // by direction and raw id
	methods   map[string]string // by our id
	killed    bool              // the sidecar was, and no other has been started yet
}

// respawn takes note of another sidecar, whose calls are numbered anew. It is
// false if the one before it was not killed.
func (n *normalizer) respawn() bool {
	if !n.killed {
		return false
	}
	n.killed = false
	n.out.Entries[len(n.out.Entries)-1] = Entry{Kind: Kill}
	clear(n.ids)
	return true
}

// add takes one message, its values still raw.
func (n *normalizer) add(line rawLine) error {
	var m message
	if err := json.Unmarshal(line.Msg, &m); err != nil {
		return err
	}
	e := Entry{Sidecar: line.Dir == "in", Method: m.Method}
	body := m.Params
	caller := e.Sidecar
	switch {
	case m.Method != "" && len(m.ID) > 0:
		e.Kind = Call
		e.ID = n.id(caller, m.ID, true)
		n.methods[e.ID] = m.Method
	case m.Method != "":
		e.Kind = Notice
	case len(m.Error) > 0:
		e.Kind, body, caller = Error, m.Error, !e.Sidecar
		e.ID = n.id(caller, m.ID, false)
	default:
		e.Kind, body, caller = Result, m.Result, !e.Sidecar
		e.ID = n.id(caller, m.ID, false)
	}
	if e.answers() && e.ID == "" {
		return errors.New("an answer to no call")
	}
	if len(body) == 0 {
		body = json.RawMessage("{}")
	}
	v, err := decode(body)
	if err != nil {
		return err
	}
	if e.Method == wire.WorkspaceOpen.Name && n.directory == "" {
		n.directory = text(field(v, "directory"))
	}
	e.Body = n.contract(e, v)
	if e.Method == methodCancel {
		id, _ := json.Marshal(field(v, "id"))
		e.Body = map[string]any{"id": n.id(caller, id, false)}
	}
	n.out.Entries = append(n.out.Entries, e)
	return nil
}

// id returns our id for one of the wire, "" for one that nobody has used.
func (n *normalizer) id(sidecar bool, raw json.RawMessage, fresh bool) string {
	key := fmt.Sprintf("%t %s", sidecar, raw)
	if fresh {
		who, prefix := 0, ""
		if sidecar {
			who, prefix = 1, "h"
		}
		n.calls[who]++
		n.ids[key] = fmt.Sprintf("%s%d", prefix, n.calls[who])
	}
	return n.ids[key]
}

// eventBody is what the sidecar may read of an event's properties.
type eventBody struct {
	SessionID string             `json:"sessionID"`
	Status    wire.SessionStatus `json:"status"`
	Info      wire.MessageInfo   `json:"info"`
	Part      eventPart          `json:"part"`
	Error     wire.MessageError  `json:"error"`
	Todos     []wire.Todo        `json:"todos"`
}

// eventPart is a part that does not come inside its message.
type eventPart struct {
	wire.MessagePart
	SessionID string    `json:"sessionID"`
	State     partState `json:"state"`
}

// partState is that of a tool call with what it was asked, in short, and which
// files it has changed.
type partState struct {
	wire.ToolState
	Input    any `json:"input"`
	Metadata any `json:"metadata"`
}

// contract keeps the fields that the contract names.
func (n *normalizer) contract(e Entry, v any) any {
	switch {
	case e.Kind == Error:
		return v
	case e.Method == methodEvent:
		out, ok := keep(v, n.table[e.Method].Params).(map[string]any)
		if ok && strings.Contains("session.status session.idle session.error message.updated message.part.updated todo.updated", text(out["type"])) {
			out["properties"] = keep(field(v, "properties"), reflect.TypeFor[eventBody]())
		}
		return out
	case e.Method != "":
		return keep(v, n.table[e.Method].Params)
	default:
		return keep(v, n.table[n.methods[e.ID]].Result)
	}
}

// keep drops the fields of objects that a struct type does not have. What does
// not look like the type stays as it is.
func keep(v any, t reflect.Type) any {
	for t != nil && t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if t == nil || t == reflect.TypeFor[json.RawMessage]() {
		return v
	}
	switch v := v.(type) {
	case []any:
		if t.Kind() == reflect.Slice {
			for i := range v {
				v[i] = keep(v[i], t.Elem())
			}
		}
	case map[string]any:
		switch t.Kind() {
		case reflect.Map:
			for k := range v {
				v[k] = keep(v[k], t.Elem())
			}
		case reflect.Struct:
			out := map[string]any{}
			for _, f := range reflect.VisibleFields(t) {
				name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
				if item, ok := v[name]; ok {
					out[name] = keep(item, f.Type)
				}
			}
			return out
		}
	}
	return v
}

// tokens replaces what varies, in the order of its first appearance.
func (n *normalizer) tokens() {
	l := newLexer(n.directory)
	names := newBindings()
	for i, e := range n.out.Entries {
		if e.Method != methodCancel {
			n.out.Entries[i].Body = names.tokenize(l, e.Body)
		}
	}
}

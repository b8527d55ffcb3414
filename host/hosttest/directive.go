package hosttest

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// A script is what one user message tells the model to do.
type script struct {
	tag   string
	steps []step
}

// A step answers one model request: moves in order, then the end.
type step struct {
	moves []move
	end   ending
}

// A move is something that happens before the end of an answer. Exactly one
// field (chunks and over count as one) is set.
type move struct {
	text   string
	wait   time.Duration
	gate   string
	chunks int
	over   time.Duration
	fail   *failure
	usage  *usage
}

// An ending is how an answer ends: with calls, with a failure, never, or with
// the finish reason.
type ending struct {
	finish string
	calls  []call
	fail   *failure
	hang   bool
}

type call struct {
	tool string
	args string // JSON with placeholders
}

type failure struct {
	status  int
	times   int // 0 = always
	retry   time.Duration
	message string
	model   string // the only one that fails; "" = all
}

type usage struct{ input, output int }

var (
	directiveLine = regexp.MustCompile(`^\s*@(say|text|call|also|wait|gate|fail|hang|finish|empty|stream|tag|usage)(?:\s+(.*?))?\s*$`)
	reminder      = regexp.MustCompile(`(?s)<system-reminder>.*?</system-reminder>`)
)

// parseScript reads the directives of a user message. It returns nil if there
// are none.
func parseScript(text string) (*script, error) {
	text = reminder.ReplaceAllString(unquote(text), "")
	var b scriptBuilder
	found := false
	for n, line := range strings.Split(text, "\n") {
		m := directiveLine.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		found = true
		if err := b.add(m[1], m[2]); err != nil {
			return nil, fmt.Errorf("script error in line %d (%s): %w", n+1, strings.TrimSpace(line), err)
		}
	}
	if !found {
		return nil, nil
	}
	b.flush()
	return &b.script, nil
}

// unquote undoes what `opencode run` does to an argument with a space in it: it
// arrives in double quotes, with every double quote of its own escaped.
func unquote(text string) string {
	t := strings.TrimSpace(text)
	if len(t) < 2 || !strings.HasPrefix(t, `"`) || !strings.HasSuffix(t, `"`) {
		return text
	}
	return strings.ReplaceAll(t[1:len(t)-1], `\"`, `"`)
}

// scriptBuilder collects directives into steps.
type scriptBuilder struct {
	script script
	open   step
	dirty  bool   // open holds something
	last   string // the directive before
}

func (b *scriptBuilder) add(word, rest string) error {
	defer func() { b.last = word }()
	switch word {
	case "tag":
		b.script.tag = rest
	case "text":
		b.move(move{text: literal(rest)})
	case "gate":
		b.move(move{gate: rest})
	case "wait":
		d, err := time.ParseDuration(rest)
		if err != nil {
			return err
		}
		b.move(move{wait: d})
	case "stream":
		return b.stream(rest)
	case "usage":
		var u usage
		if _, err := fmt.Sscan(rest, &u.input, &u.output); err != nil {
			return fmt.Errorf("want two numbers: %w", err)
		}
		b.move(move{usage: &u})
	case "fail":
		f, err := parseFailure(rest)
		if err != nil {
			return err
		}
		if f.times > 0 || f.model != "" {
			b.move(move{fail: f})
		} else {
			b.end(ending{fail: f})
		}
	case "say":
		b.move(move{text: literal(rest)})
		b.end(ending{finish: "stop"})
	case "empty":
		b.end(ending{finish: "stop"})
	case "hang":
		b.end(ending{hang: true})
	case "finish":
		return b.finish(rest)
	case "call":
		c, err := parseCall(rest)
		if err != nil {
			return err
		}
		b.end(ending{finish: "tool_calls", calls: []call{c}})
	case "also":
		if b.last != "call" && b.last != "also" {
			return errors.New("@also must follow @call directly")
		}
		c, err := parseCall(rest)
		if err != nil {
			return err
		}
		end := &b.script.steps[len(b.script.steps)-1].end
		end.calls = append(end.calls, c)
	}
	return nil
}

func (b *scriptBuilder) move(m move) {
	b.open.moves = append(b.open.moves, m)
	b.dirty = true
}

func (b *scriptBuilder) end(e ending) {
	b.open.end = e
	b.script.steps = append(b.script.steps, b.open)
	b.open, b.dirty = step{}, false
}

func (b *scriptBuilder) flush() {
	if b.dirty {
		b.end(ending{finish: "stop"})
	}
}

func (b *scriptBuilder) finish(reason string) error {
	if reason == "" {
		return errors.New("want a finish reason")
	}
	if b.last == "say" {
		b.script.steps[len(b.script.steps)-1].end.finish = reason
		return nil
	}
	b.end(ending{finish: reason})
	return nil
}

func (b *scriptBuilder) stream(rest string) error {
	count, duration, ok := strings.Cut(rest, " ")
	if !ok {
		return errors.New("want a number and a duration")
	}
	n, err := strconv.Atoi(count)
	if err != nil || n < 1 {
		return fmt.Errorf("%q is no number of chunks", count)
	}
	d, err := time.ParseDuration(strings.TrimSpace(duration))
	if err != nil {
		return err
	}
	b.move(move{chunks: n, over: d})
	return nil
}

func parseFailure(rest string) (*failure, error) {
	status, rest, _ := strings.Cut(rest, " ")
	code, err := strconv.Atoi(status)
	if err != nil || code < 400 || code > 599 {
		return nil, fmt.Errorf("%q is no HTTP error status", status)
	}
	f := &failure{status: code}
	for {
		word, tail, _ := strings.Cut(strings.TrimSpace(rest), " ")
		switch key, value, _ := strings.Cut(word, "="); key {
		case "times":
			if f.times, err = strconv.Atoi(value); err != nil {
				return nil, err
			}
		case "model":
			f.model = value
		case "retry":
			if f.retry, err = time.ParseDuration(value); err != nil {
				return nil, err
			}
		default:
			if f.message = literal(strings.TrimSpace(rest)); f.message == "" {
				f.message = "scripted failure"
			}
			return f, nil
		}
		rest = tail
	}
}

func parseCall(rest string) (call, error) {
	tool, args, _ := strings.Cut(rest, " ")
	if tool == "" {
		return call{}, errors.New("want the name of a tool")
	}
	if args = strings.TrimSpace(args); args == "" {
		args = "{}"
	}
	var object map[string]any
	if err := json.Unmarshal([]byte(args), &object); err != nil {
		return call{}, fmt.Errorf("the arguments are no JSON object: %w", err)
	}
	return call{tool: tool, args: args}, nil
}

// literal decodes text that is a JSON string, so that a script can hold a line
// break, and returns any other text as it is.
func literal(text string) string {
	var s string
	if strings.HasPrefix(text, `"`) && json.Unmarshal([]byte(text), &s) == nil {
		return s
	}
	return text
}

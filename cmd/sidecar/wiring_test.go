package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/opencode-sidecar/opencode-sidecar/core/config"
	"github.com/opencode-sidecar/opencode-sidecar/core/job"
	"github.com/opencode-sidecar/opencode-sidecar/core/limit"
)

// limitsSeen is a limiter that notes what it is given.
type limitsSeen struct{ calls []string }

func (l *limitsSeen) note(what string, args ...any) {
	l.calls = append(l.calls, what+fmt.Sprintf(" %+v", args))
}

func (l *limitsSeen) SetDefault(level limit.Level, n int) error {
	l.note("default", level, n)
	return nil
}

func (l *limitsSeen) SetLimit(key limit.Key, n int) (int, error) {
	l.note("limit", key, n)
	return n, nil
}

func (l *limitsSeen) Configure(f limit.Flow) {
	f.Pressure() // notes itself
	f.Pressure = nil
	l.note("flow", f)
}

// consumed is all that this process makes of options, as text.
func consumed(t *testing.T, o config.Options) string {
	t.Helper()
	a := &app{logs: newLogs(io.Discard, config.Default()), retention: make(chan time.Duration, 1), jobs: job.New(job.Options{})}
	seen := &limitsSeen{}
	pressure := func(percent int) func() bool {
		return func() bool { seen.note("pressure", percent); return false }
	}
	if warnings := a.machine(o, seen, pressure); len(warnings) > 0 {
		t.Errorf("warned of %v", warnings)
	}
	log := ""
	if file := a.logs.file; file != nil {
		log = file.Name()
		defer file.Close()
	}
	store, _ := storePath(o, environment(map[string]string{"HOME": "/home/me"}))
	return fmt.Sprintf("%+v\n%+v\n%+v\n%+v\n%q\nlog %q level %d\nretention %s\nstore %s", taskSettings(o), missionSettings(o), jobSettings(o), janitorSettings(o), seen.calls, log, a.logs.level.Load(), <-a.retention, store)
}

// another returns a value that an option accepts and that is not its default.
func another(t *testing.T, field reflect.StructField, fallback reflect.Value) any {
	t.Helper()
	switch v := fallback.Interface().(type) {
	case int:
		if v+1 <= number(t, field, "max") {
			return v + 1
		}
		return v - 1
	case float64:
		return v + 1
	case time.Duration:
		return (v + time.Second).String()
	case bool:
		return !v
	case map[string]int:
		return map[string]int{"of/" + field.Name: number(t, field, "max")}
	case map[string][]string:
		return map[string][]string{field.Name: {"provider/model"}}
	case string:
		for word := range strings.SplitSeq(field.Tag.Get("enum"), "|") {
			if word != "" && word != v {
				return word
			}
		}
		return filepath.Join(t.TempDir(), field.Name)
	}
	t.Fatalf("%s: this test knows no other %s", field.Name, field.Type)
	return nil
}

func number(t *testing.T, field reflect.StructField, tag string) int {
	t.Helper()
	n, err := strconv.Atoi(field.Tag.Get(tag))
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// Every option changes something, and no two the same: one that is declared and
// documented but not wired fails here, and so do two that set the same thing.
func TestEveryOptionReachesItsConsumer(t *testing.T) {
	byDefault := consumed(t, config.Default())
	effects := map[string]string{byDefault: "the default"}
	for field := range reflect.TypeFor[config.Options]().Fields() {
		key, scope := field.Tag.Get("json"), field.Tag.Get("scope")
		if scope == "shim" {
			if !shimReads(t, key) {
				t.Errorf("%s: the shim does not read it", key)
			}
			continue
		}
		value, err := json.Marshal(another(t, field, reflect.ValueOf(config.Default()).FieldByIndex(field.Index)))
		if err != nil {
			t.Fatal(err)
		}
		raw, vars := fmt.Sprintf("{%q:%s}", key, value), map[string]string(nil)
		if scope == "env" {
			raw, vars = "", map[string]string{variable(key): strings.Trim(string(value), `"`)}
		}
		o, warnings, err := config.Load(json.RawMessage(raw), environment(vars))
		if err != nil || len(warnings) > 0 {
			t.Fatalf("%s: %v, %v", key, warnings, err)
		}
		effect := consumed(t, o)
		if same, known := effects[effect]; known {
			t.Errorf("%s = %s has the same effect as %s", key, value, same)
		}
		effects[effect] = key
	}
}

// variable is the environment's name of an option.
func variable(key string) string {
	var b strings.Builder
	for _, r := range key {
		if r >= 'A' && r <= 'Z' {
			b.WriteByte('_')
		}
		b.WriteRune(r)
	}
	return config.EnvPrefix + strings.ToUpper(b.String())
}

// shimReads reports whether the shim reads an option.
func shimReads(t *testing.T, key string) bool {
	t.Helper()
	files, err := filepath.Glob("../../shim/src/*.ts")
	if err != nil || len(files) == 0 {
		t.Fatalf("no sources of the shim: %v", err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(text), "."+key) {
			return true
		}
	}
	return false
}

package main

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestTable(t *testing.T) {
	var out bytes.Buffer
	printTable(&out, []result{
		{Name: "a", Rows: []Row{{What: "speed", Measured: "1 µs", Bar: "≤ 2 µs", Original: "3 µs"}, {What: "size", Measured: "9 MB"}}},
		{Name: "b", Rows: []Row{{What: "limit", Measured: "12", Bar: "≤ 10", Missed: true}}, Failed: "no\nway"},
	})
	want := strings.Join([]string{
		"what   measured  bar     original",
		strings.Repeat("─", 41),
		"speed  1 µs      ≤ 2 µs  3 µs      ok",
		"size   9 MB",
		strings.Repeat("─", 41),
		"limit  12        ≤ 10              MISSED",
		"b      NOT MEASURED: no way                    ERROR",
		"",
	}, "\n")
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Error(diff)
	}
}

func TestSample(t *testing.T) {
	var s sample
	if s.median() != 0 || s.spread() != "nothing measured" || s.values() != nil {
		t.Error("an empty sample says something")
	}
	for i := 100; i > 0; i-- {
		s = append(s, time.Duration(i)*time.Millisecond)
	}
	s = sorted(s)
	if s[0] != time.Millisecond || s.at(0.99) != 100*time.Millisecond || s.median() != 51*time.Millisecond || s.at(1) != 100*time.Millisecond {
		t.Errorf("min %v, p50 %v, p99 %v, max %v", s[0], s.median(), s.at(0.99), s.at(1))
	}
	for d, want := range map[time.Duration]string{
		1234 * time.Nanosecond: "0.001 ms", 1500 * time.Microsecond: "1.50 ms", 42 * time.Millisecond: "42.0 ms",
		-250 * time.Millisecond: "-250 ms", 1500 * time.Millisecond: "1.50 s", time.Minute: "60.0 s",
	} {
		if got := show(d); got != want {
			t.Errorf("%d ns is shown as %q, want %q", d, got, want)
		}
	}
}

func TestEndingInARecording(t *testing.T) {
	file := filepath.Join(t.TempDir(), "r.jsonl")
	lines := `{"t":1,"note":"spawn","pid":7}
{"t":5,"dir":"in","msg":{"id":1,"method":"host/session.messages","params":{"path":{"id":"child"}}}}
{"t":6,"dir":"out","msg":{"id":1,"result":[]}}
{"t":10,"dir":"out","msg":{"method":"event","params":{"type":"session.idle","properties":{"sessionID":"child"}}}}
{"t":11,"dir":"out","msg":{"method":"event","params":{"type":"session.idle","properties":{"sessionID":"child"}}}}
{"t":12,"dir":"in","msg":{"id":2,"method":"host/session.messages","params":{"path":{"id":"child"}}}}
{"t":15,"dir":"out","msg":{"id":2,"result":[]}}
{"t":16,"dir":"in","msg":{"id":3,"method":"host/session.messages","params":{"path":{"id":"parent"}}}}
{"t":17,"dir":"out","msg":{"id":3,"result":[]}}
{"t":20,"dir":"in","msg":{"id":4,"method":"host/session.promptAsync","params":{"path":{"id":"parent"}}}}
`
	if err := os.WriteFile(file, []byte(lines), 0o600); err != nil {
		t.Fatal(err)
	}
	r, err := readRecording(file)
	if err != nil {
		t.Fatal(err)
	}
	proof, wake, err := r.ending("child", "parent")
	if err != nil || proof != 5*time.Millisecond || wake != 10*time.Millisecond {
		t.Errorf("proof %v, wake %v, %v", proof, wake, err)
	}
	if _, _, err := r.ending("other", "parent"); !errors.Is(err, errNoIdle) {
		t.Errorf("a child nobody heard of: %v", err)
	}
}

func TestStopInARecording(t *testing.T) {
	file := filepath.Join(t.TempDir(), "r.jsonl")
	lines := `{"t":1,"dir":"out","msg":{"id":7,"method":"hook/command","params":{"command":"stop","sessionID":"other"}}}
{"t":2,"dir":"in","msg":{"id":7,"result":{}}}
{"t":10,"dir":"out","msg":{"id":8,"method":"hook/command","params":{"command":"stop","sessionID":"one"}}}
{"t":11,"dir":"in","msg":{"id":8,"method":"host/session.abort","params":{"path":{"id":"one"}}}}
{"t":15,"dir":"out","msg":{"id":8,"result":true}}
{"t":17,"dir":"in","msg":{"id":8,"result":{"text":"It was."}}}
`
	if err := os.WriteFile(file, []byte(lines), 0o600); err != nil {
		t.Fatal(err)
	}
	r, err := readRecording(file)
	if err != nil {
		t.Fatal(err)
	}
	want := stopped{took: 7 * time.Millisecond, abort: 4 * time.Millisecond, text: "It was."}
	if got, err := r.stop("one"); err != nil || got != want {
		t.Errorf("%+v, %v, want %+v", got, err, want)
	}
	if _, err := r.stop("nobody"); err == nil {
		t.Error("a session that nobody stopped was")
	}
}

// Every kind of attack is made, and its right answer is stable for a seed.
func TestAttacksAreTheSameForASeed(t *testing.T) {
	one, two := attacks(7), attacks(7)
	codes := map[int]int{}
	for range 900 {
		a, b := one(), two()
		if a != b {
			t.Fatalf("%.200q and %.200q for one seed", a.body, b.body)
		}
		if !a.silent {
			codes[a.code]++
		}
	}
	for _, code := range []int{0, -32700, -32600, -32601, -32602, -32010} {
		if codes[code] < 20 {
			t.Errorf("only %d of 900 attacks want code %d", codes[code], code)
		}
	}
}

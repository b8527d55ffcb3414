package main

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestClip(t *testing.T) {
	for _, tc := range []struct {
		text string
		n    int
		want string
	}{
		{"short", 5, "short"},
		{"shorter", 5, "shor…"},
		{"two words", 5, "two…"},
		{"漢字漢字", 5, "漢字…"},
		{"漢字漢字", 8, "漢字漢字"},
		{"e\u0301e\u0301", 2, "e\u0301e\u0301"},
		{"any", 0, ""},
	} {
		if got := clip(tc.text, tc.n); got != tc.want {
			t.Errorf("clip(%q, %d) = %q, want %q", tc.text, tc.n, got, tc.want)
		}
		if got := width(fit(tc.text, tc.n)); got != tc.n {
			t.Errorf("fit(%q, %d) takes %d columns", tc.text, tc.n, got)
		}
	}
}

func TestOneLineTakesControlCharactersOut(t *testing.T) {
	if got, want := oneLine(" a\n\tb\x1b[2Jc\u009b1m \xff"), "a b [2Jc 1m"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestWrap(t *testing.T) {
	for _, tc := range []struct {
		text   string
		n, max int
		want   []string
	}{
		{"", 5, 3, nil},
		{"one two three", 7, 3, []string{"one two", "three"}},
		{"one two three four", 7, 2, []string{"one two", "three…"}},
		{"one two three four", 5, 2, []string{"one", "two…"}},
		{"unbreakable", 5, 3, []string{"unbr…"}},
		{"fits just so", 12, 1, []string{"fits just so"}},
	} {
		if diff := cmp.Diff(tc.want, wrap(tc.text, tc.n, tc.max)); diff != "" {
			t.Errorf("wrap(%q, %d, %d): -want +got\n%s", tc.text, tc.n, tc.max, diff)
		}
	}
}

func TestSpan(t *testing.T) {
	for d, want := range map[time.Duration]string{
		-time.Second: "0.0s", 1240 * time.Millisecond: "1.2s", 59_940 * time.Millisecond: "59.9s",
		59_960 * time.Millisecond: "1m00s", 125 * time.Second: "2m05s",
	} {
		if got := span(d); got != want {
			t.Errorf("%s is written %q, want %q", d, got, want)
		}
	}
}

package job

import (
	"bytes"
	"math/rand/v2"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

func TestARingKeepsHeadAndTail(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	for range 300 {
		size := 1 + rnd.IntN(200)
		r := newRing(size)
		var all []byte
		for range rnd.IntN(40) {
			p := make([]byte, rnd.IntN(1+2*size))
			for i := range p {
				p[i] = byte(len(all) + i)
			}
			r.write(p)
			all = append(all, p...)
			if rnd.IntN(8) == 0 {
				check(t, &r, all, size, int64(rnd.IntN(len(all)+1)))
			}
			if r.kept() > int64(size) {
				t.Fatalf("of %d bytes %d are kept", size, r.kept())
			}
		}
		r.settle()
		check(t, &r, all, size, int64(rnd.IntN(len(all)+1)))
	}
}

// check compares what a ring has from an offset on with all that was written.
func check(t *testing.T, r *ring, all []byte, size int, from int64) {
	t.Helper()
	if r.total != int64(len(all)) {
		t.Fatalf("total %d of %d", r.total, len(all))
	}
	head, tail := int64(min(size/headShare, len(all))), int64(max(size/headShare, len(all)-(size-size/headShare)))
	want := map[int64]byte{}
	for i, c := range all {
		if i := int64(i); i >= from && (i < head || i >= tail) {
			want[i] = c
		}
	}
	got := map[int64]byte{}
	for _, p := range r.since(from) {
		for i, c := range p.data {
			got[p.from+int64(i)] = c
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatalf("size %d, %d written, from %d: %s", size, len(all), from, diff)
	}
	if dropped := int64(len(all)) - min(int64(len(all)), head+max(0, int64(len(all))-tail)); r.dropped() != dropped {
		t.Fatalf("dropped %d, want %d", r.dropped(), dropped)
	}
}

// reader reads a ring as Engine.Read does.
type reader struct {
	ring ring
	at   int64
}

func (r *reader) read(q Query, live bool) (Part, bool) {
	filter, _ := q.check()
	reading := reading{stream: Stdout, from: r.at, total: r.ring.total, live: live, pieces: r.ring.since(r.at)}
	part, next, more := reading.text(q, filter)
	r.at = next
	return part, more
}

func TestPagesMakeUpTheWhole(t *testing.T) {
	text := "aé\x1b[31m☃ plain\x1b[0m\n𝄞𝄞\nlong line without any end \x1b]0;title\x07 ẞ\n\x1b[1;2Hx\r\n"
	rnd := rand.New(rand.NewPCG(3, 4))
	for round := range 200 {
		isPlain := round%2 == 0
		all := strings.Repeat(text, 1+rnd.IntN(5))
		want := all
		if isPlain {
			want = string(plain([]byte(all)))
		}
		r := reader{ring: newRing(1 << 16)}
		var got strings.Builder
		take := func(live bool) {
			for {
				part, more := r.read(Query{Max: 16 + rnd.IntN(40), Plain: isPlain}, live)
				got.WriteString(part.Text)
				if part.Dropped > 0 || !utf8.ValidString(part.Text) {
					t.Fatalf("%+v", part)
				}
				if !more {
					return
				}
			}
		}
		for rest := all; rest != ""; {
			n := min(len(rest), 1+rnd.IntN(30))
			r.ring.write([]byte(rest[:n]))
			rest = rest[n:]
			take(true)
		}
		take(false)
		if isPlain { // a line end that was read by halves is still one
			want = strings.ReplaceAll(want, "\r\n", "\n")
		}
		if got.String() != want {
			t.Fatalf("plain %v:\n%q, want\n%q", isPlain, got.String(), want)
		}
	}
}

func TestMissingBytesAreTold(t *testing.T) {
	r := reader{ring: newRing(40)} // 10 and 30
	r.ring.write([]byte("head éééé " + strings.Repeat("x", 100) + "éé tail é tail tail\n"))
	part, _ := r.read(Query{}, true)
	want := "head éé\n[98 bytes were not kept]\nxxxxxxxéé tail é tail tail\n"
	if part.Text != want {
		t.Errorf("%q, want %q", part.Text, want)
	}
	if sum := int64(len(part.Text)) - int64(len("\n[98 bytes were not kept]\n")) + part.Dropped; sum != r.ring.total {
		t.Errorf("%d bytes are told of, there were %d", sum, r.ring.total)
	}
	r.ring.write([]byte(strings.Repeat("é", 100)))
	part, _ = r.read(Query{}, true)
	if want := "[170 bytes were not kept]\n" + strings.Repeat("é", 15); part.Text != want || part.Dropped != 170 {
		t.Errorf("%q, want %q", part.Text, want)
	}
	r.ring.write([]byte("\n1 a\n2 b\n3 a\n4"))
	part, _ = r.read(Query{Filter: "a$", Tail: 1}, true)
	if part.Text != "3 a\n" || !part.Skipped {
		t.Errorf("%+v", part)
	}
	if part, _ = r.read(Query{Filter: "4"}, false); part.Text != "4" {
		t.Errorf("%+v", part)
	}
	if part, more := r.read(Query{}, false); part.Text != "" || more {
		t.Errorf("%+v", part)
	}
	binary := reader{ring: newRing(1000)}
	binary.ring.write([]byte("a\xff\xfe\x80b\xc3"))
	if part, _ := binary.read(Query{}, true); part.Text != "a\uFFFDb" {
		t.Errorf("%q", part.Text)
	}
	if part, _ := binary.read(Query{}, false); part.Text != "\uFFFD" {
		t.Errorf("%q", part.Text)
	}
}

func TestTailWithinALimit(t *testing.T) {
	r := reader{ring: newRing(4096)}
	r.ring.write([]byte(strings.Repeat("0123456789\n", 100)))
	part, more := r.read(Query{Tail: 50, Max: 40}, true)
	if part.Text != strings.Repeat("0123456789\n", 3) || !part.Skipped || more || part.Dropped != 0 {
		t.Errorf("%+v, %v", part, more)
	}
	if r.at != r.ring.total {
		t.Errorf("at %d", r.at)
	}
}

func TestPlain(t *testing.T) {
	tests := map[string]string{
		"plain\n":                           "plain\n",
		"\x1b[1;31mred\x1b[0m":              "red",
		"\x1b[38;2;1;2;3mx\x1b[K":           "x",
		"\x1b]0;title\x07a\x1b]8;;u\x1b\\b": "ab",
		"\x1bPq#0\x1b\\c":                   "c",
		"\x1b(Bd\x1b7e\x1b=f":               "def",
		"1%\r2%\r100%\n":                    "100%\n",
		"a\r\nb\r\r\nc":                     "a\nb\nc",
		"x\ra\b \bb ":                       "b ",
		"ab\b\bcd":                          "cd",
		"é\bf":                              "f",
		"bell\x07":                          "bell",
		"\x1b[31":                           "",
		"keep\x1b":                          "keep",
		"\x1b[é":                            "é",
		"\x1b]broken\nnext":                 "\nnext",
		"no esc [31m":                       "no esc [31m",
		"\x1b]" + strings.Repeat("x", 5000): strings.Repeat("x", 5000),
	}
	for in, want := range tests {
		if got := string(plain([]byte(in))); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

func FuzzPlain(f *testing.F) {
	for _, s := range []string{"a\x1b[31mb", "1\r2\r\n", "\x1b]0;t\x07", "é\b\x1b", "\x1bP\x1b\\"} {
		f.Add([]byte(s), 3)
	}
	f.Fuzz(func(t *testing.T, p []byte, at int) {
		before := bytes.Clone(p)
		whole := plain(p)
		if !bytes.Equal(p, before) || len(whole) > len(p) {
			t.Errorf("%q became %q", before, whole)
		}
		if n := unfinished(p, true); n < 0 || n > len(p) || n > maxEscape {
			t.Errorf("%q: %d unfinished", p, n)
		}
		// Whatever the reading is split into, it is valid and nothing is held back
		// at the end.
		r := reader{ring: newRing(len(p)/2 + 1)}
		cut := min(max(at, 0), len(p))
		for i, half := range [][]byte{p[:cut], p[cut:]} {
			r.ring.write(half)
			for range len(p) + 2 {
				part, more := r.read(Query{Plain: at%2 == 0, Max: 16}, i == 0)
				if !utf8.ValidString(part.Text) {
					t.Errorf("%q", part.Text)
				}
				if !more {
					break
				}
			}
		}
		if r.at != int64(len(p)) {
			t.Errorf("read %d of %d", r.at, len(p))
		}
	})
}

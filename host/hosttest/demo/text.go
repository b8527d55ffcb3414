package main

import (
	"fmt"
	"strings"
	"time"
	"unicode"
)

// palette writes text in colours, or not.
type palette struct{ on bool }

func (p palette) paint(code, s string) string {
	if !p.on || s == "" {
		return s
	}
	return "\x1b[" + code + "m" + s + "\x1b[0m"
}

func (p palette) bold(s string) string   { return p.paint("1", s) }
func (p palette) dim(s string) string    { return p.paint("2", s) }
func (p palette) red(s string) string    { return p.paint("31", s) }
func (p palette) green(s string) string  { return p.paint("32", s) }
func (p palette) yellow(s string) string { return p.paint("33", s) }
func (p palette) cyan(s string) string   { return p.paint("36", s) }

// cells is how many columns of a terminal a rune takes.
func cells(r rune) int {
	switch {
	case unicode.In(r, unicode.Mn, unicode.Me, unicode.Cf):
		return 0
	case unicode.In(r, unicode.Han, unicode.Hiragana, unicode.Katakana, unicode.Hangul),
		r >= 0x3000 && r <= 0x303f, r >= 0xff01 && r <= 0xff60, r >= 0x1f300 && r <= 0x1faff:
		return 2
	}
	return 1
}

// width is how many columns a text without colours takes.
func width(s string) int {
	n := 0
	for _, r := range s {
		n += cells(r)
	}
	return n
}

// oneLine makes text of any origin fit for one line: control characters, with
// which a text could move the cursor, and line breaks become single spaces.
func oneLine(s string) string {
	s = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || r == unicode.ReplacementChar {
			return ' '
		}
		return r
	}, s)
	return strings.Join(strings.Fields(s), " ")
}

// clip cuts a text to n columns and marks the cut.
func clip(s string, n int) string {
	if width(s) <= n {
		return s
	}
	if n < 1 {
		return ""
	}
	var b strings.Builder
	room := n - 1
	for _, r := range s {
		if room -= cells(r); room < 0 {
			break
		}
		b.WriteRune(r)
	}
	return strings.TrimRight(b.String(), " ") + "…"
}

// fit cuts or fills a text to exactly n columns.
func fit(s string, n int) string {
	s = clip(s, n)
	return s + strings.Repeat(" ", max(0, n-width(s)))
}

// right is fit with the text at the right.
func right(s string, n int) string {
	s = clip(s, n)
	return strings.Repeat(" ", max(0, n-width(s))) + s
}

// wrap breaks a text into at most max lines of n columns, at spaces where there
// are any; the last line is marked if something is missing.
func wrap(s string, n, max int) []string {
	var lines []string
	line := ""
	words := strings.Fields(s)
	for i, word := range words {
		if line != "" && width(line)+1+width(word) <= n {
			line += " " + word
			continue
		}
		if line != "" {
			if len(lines) == max-1 {
				return append(lines, clip(line+" "+strings.Join(words[i:], " "), n))
			}
			lines = append(lines, line)
		}
		line = clip(word, n)
	}
	if line != "" {
		lines = append(lines, line)
	}
	return lines
}

// span writes a duration as people read it in passing.
func span(d time.Duration) string {
	d = max(0, d.Round(100*time.Millisecond))
	if d < time.Minute {
		return fmt.Sprintf("%.1fs", d.Seconds())
	}
	d = d.Round(time.Second)
	return fmt.Sprintf("%dm%02ds", int(d.Minutes()), int(d.Seconds())%60)
}

// plural is "1 task" or "2 tasks".
func plural(n int, noun string) string {
	switch {
	case n == 1:
	case strings.HasSuffix(noun, "s"):
		noun += "es"
	default:
		noun += "s"
	}
	return fmt.Sprintf("%d %s", n, noun)
}

package config

import (
	"bytes"
	"encoding/json"
	"math"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
)

// problem is a value that an option does not accept.
type problem struct {
	entry    string // of a map, empty for the option itself
	given    string
	accepted string
}

// parseJSON reads a value of the plugin's options. Next to a usable map there
// may be problems with entries that were left out of it; a value that is not
// valid at all goes with exactly one problem.
func (o option) parseJSON(raw json.RawMessage) (reflect.Value, []problem) {
	var s string
	isText := json.Unmarshal(raw, &s) == nil
	switch {
	case o.isMap() && !isText:
		return o.parseObject(raw)
	case isText:
		return o.parseText(s)
	case o.kind == text:
		return reflect.Value{}, []problem{*o.refuse(compact(raw))}
	}
	value, wrong := o.parse(string(raw))
	if wrong != nil {
		return value, []problem{*o.refuse(compact(raw))}
	}
	return value, nil
}

// parseText reads a value of the environment, or one that was written as text.
func (o option) parseText(s string) (reflect.Value, []problem) {
	if o.isMap() {
		return o.parsePairs(s)
	}
	value, wrong := o.parse(s)
	if wrong != nil {
		return value, []problem{*wrong}
	}
	return value, nil
}

// parse reads a value that is not a map.
func (o option) parse(s string) (reflect.Value, *problem) {
	trimmed := strings.TrimSpace(s)
	switch o.kind {
	case number:
		if n, ok := whole(trimmed); ok && n >= o.min && n <= o.max {
			return reflect.ValueOf(int(n)), nil
		}
	case amount:
		// A NaN is not within any limits; adding 0 makes a plain 0 of -0.
		if f, err := strconv.ParseFloat(trimmed, 64); err == nil && f >= float64(o.min) && f <= float64(o.max) {
			return reflect.ValueOf(f + 0), nil
		}
	case duration:
		if d, ok := parseDuration(trimmed); ok && int64(d) >= o.min && int64(d) <= o.max {
			return reflect.ValueOf(d), nil
		}
	case flag:
		switch trimmed {
		case "true", "1":
			return reflect.ValueOf(true), nil
		case "false", "0":
			return reflect.ValueOf(false), nil
		}
	case text:
		if len(o.enum) == 0 && !o.path || o.path && filepath.IsAbs(s) {
			return reflect.ValueOf(s), nil
		}
		if slices.Contains(o.enum, trimmed) {
			return reflect.ValueOf(trimmed), nil
		}
	}
	return reflect.Value{}, o.refuse(strconv.Quote(shorten(s)))
}

func (o option) refuse(given string) *problem {
	return &problem{given: given, accepted: o.accepted()}
}

// accepted says what the option takes.
func (o option) accepted() string {
	switch o.kind {
	case number:
		return wholeNumber(o.min, o.max)
	case amount:
		return "a number from " + strconv.FormatInt(o.min, 10) + " to " + strconv.FormatInt(o.max, 10)
	case limits, chains:
		return "names with " + o.acceptedEntry() + " each"
	case duration:
		return "a duration from " + formatDuration(time.Duration(o.min)) + " to " + formatDuration(time.Duration(o.max)) +
			`, as text ("90s", "1h30m") or a number of milliseconds`
	case flag:
		return "true or false"
	}
	if o.path {
		return strings.Join(append([]string{"an absolute path"}, o.enum...), " or ")
	}
	if len(o.enum) > 0 {
		return "one of " + strings.Join(o.enum, ", ")
	}
	return "text"
}

func wholeNumber(low, high int64) string {
	return "a whole number from " + strconv.FormatInt(low, 10) + " to " + strconv.FormatInt(high, 10)
}

// whole reads a whole number in any way that JSON writes one.
func whole(s string) (int64, bool) {
	if n, err := strconv.ParseInt(s, 10, 64); err == nil {
		return n, true
	}
	f, err := strconv.ParseFloat(s, 64)
	if err != nil || f != math.Trunc(f) || math.Abs(f) > 1<<53 {
		return 0, false
	}
	return int64(f), true
}

// parseDuration reads milliseconds or a text such as "1h30m".
func parseDuration(s string) (time.Duration, bool) {
	if ms, ok := whole(s); ok {
		if ms > math.MaxInt64/int64(time.Millisecond) || ms < 0 {
			return 0, false
		}
		return time.Duration(ms) * time.Millisecond, true
	}
	d, err := time.ParseDuration(s)
	return d, err == nil
}

// formatDuration writes a duration the way people write it: 1h, not 1h0m0s.
func formatDuration(d time.Duration) string {
	s := d.String()
	for _, zero := range []string{"m0s", "h0m"} {
		if strings.HasSuffix(s, zero) {
			s = s[:len(s)-2]
		}
	}
	return s
}

// compact shows a JSON value on one line, cut to what is needed to recognise it.
func compact(raw json.RawMessage) string {
	var b bytes.Buffer
	if err := json.Compact(&b, raw); err != nil {
		return "not JSON"
	}
	return shorten(b.String())
}

// maxShown is how many characters of a user's text a warning repeats.
const maxShown = 60

func shorten(s string) string {
	if runes := []rune(s); len(runes) > maxShown {
		return string(runes[:maxShown]) + "…"
	}
	return s
}

package config

import (
	"bytes"
	"encoding/json"
	"maps"
	"math"
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
	case o.kind == limits && !isText:
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
	if o.kind == limits {
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
		if len(o.enum) == 0 {
			return reflect.ValueOf(s), nil
		}
		if slices.Contains(o.enum, trimmed) {
			return reflect.ValueOf(trimmed), nil
		}
	}
	return reflect.Value{}, o.refuse(strconv.Quote(shorten(s)))
}

// parseObject reads a map of limits.
func (o option) parseObject(raw json.RawMessage) (reflect.Value, []problem) {
	var entries map[string]json.RawMessage
	if err := json.Unmarshal(raw, &entries); err != nil {
		return reflect.Value{}, []problem{*o.refuse(compact(raw))}
	}
	values := map[string]int{}
	var problems []problem
	for _, name := range slices.Sorted(maps.Keys(entries)) {
		if string(entries[name]) == "null" {
			continue
		}
		literal := string(entries[name])
		var s string
		if json.Unmarshal(entries[name], &s) == nil {
			literal = s
		}
		if wrong := o.addLimit(values, name, literal, compact(entries[name])); wrong != nil {
			problems = append(problems, *wrong)
		}
	}
	return o.limitsFrom(values, problems)
}

// parsePairs reads limits written as `worker=3,planner=2`. The last `=` of a
// pair counts, so that names may hold one.
func (o option) parsePairs(s string) (reflect.Value, []problem) {
	values := map[string]int{}
	var problems []problem
	for pair := range strings.SplitSeq(s, ",") {
		pair = strings.TrimSpace(pair)
		if pair == "" {
			continue
		}
		at := strings.LastIndex(pair, "=")
		if at < 1 {
			problems = append(problems, *o.refuse(strconv.Quote(shorten(pair))))
			continue
		}
		name, limit := strings.TrimSpace(pair[:at]), strings.TrimSpace(pair[at+1:])
		if wrong := o.addLimit(values, name, limit, strconv.Quote(shorten(limit))); wrong != nil {
			problems = append(problems, *wrong)
		}
	}
	return o.limitsFrom(values, problems)
}

func (o option) addLimit(values map[string]int, name, literal, given string) *problem {
	n, ok := whole(strings.TrimSpace(literal))
	if name == "" || !ok || n < o.min || n > o.max {
		return &problem{entry: strconv.Quote(shorten(name)), given: given, accepted: wholeNumber(o.min, o.max)}
	}
	values[name] = int(n)
	return nil
}

// limitsFrom returns the entries that are right; when all are wrong there is
// nothing to use.
func (o option) limitsFrom(values map[string]int, problems []problem) (reflect.Value, []problem) {
	if len(values) == 0 && len(problems) > 0 {
		return reflect.Value{}, problems
	}
	return reflect.ValueOf(values), problems
}

func (o option) refuse(given string) *problem {
	return &problem{given: given, accepted: o.accepted()}
}

// accepted says what the option takes.
func (o option) accepted() string {
	switch o.kind {
	case number:
		return wholeNumber(o.min, o.max)
	case limits:
		return "names with " + wholeNumber(o.min, o.max) + " each"
	case duration:
		return "a duration from " + formatDuration(time.Duration(o.min)) + " to " + formatDuration(time.Duration(o.max)) +
			`, as text ("90s", "1h30m") or a number of milliseconds`
	case flag:
		return "true or false"
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

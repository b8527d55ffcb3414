package config

import (
	"encoding/json"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// modelPattern is what provider/model looks like. The model may hold slashes.
const modelPattern = `^[^/\s]+/\S+$`

// isMap tells whether the option maps names to values.
func (o option) isMap() bool { return o.kind == limits || o.kind == chains }

// parseObject reads a map from an object. Entries that are null are not set.
func (o option) parseObject(raw json.RawMessage) (reflect.Value, []problem) {
	var entries map[string]json.RawMessage
	if err := json.Unmarshal(raw, &entries); err != nil {
		return reflect.Value{}, []problem{*o.refuse(compact(raw))}
	}
	values := reflect.MakeMap(o.typ)
	var problems []problem
	for _, name := range slices.Sorted(maps.Keys(entries)) {
		if string(entries[name]) == "null" {
			continue
		}
		var list []any
		var s string
		switch {
		case json.Unmarshal(entries[name], &s) == nil:
			problems = append(problems, o.addText(values, name, s)...)
		case o.kind == chains && json.Unmarshal(entries[name], &list) == nil:
			problems = append(problems, o.addChain(values, name, list)...)
		default:
			problems = append(problems, o.add(values, name, string(entries[name]), compact(entries[name]))...)
		}
	}
	return usable(values, problems)
}

// parsePairs reads a map written as `worker=3,planner=2`. Names of limits may
// hold a `=`, so the last one of a pair counts; those of chains never do, but
// their models may.
func (o option) parsePairs(s string) (reflect.Value, []problem) {
	values := reflect.MakeMap(o.typ)
	var problems []problem
	for pair := range strings.SplitSeq(s, ",") {
		pair = strings.TrimSpace(pair)
		if pair == "" {
			continue
		}
		at := strings.LastIndex(pair, "=")
		if o.kind == chains {
			at = strings.Index(pair, "=")
		}
		if at < 1 {
			problems = append(problems, *o.refuse(strconv.Quote(shorten(pair))))
			continue
		}
		problems = append(problems, o.addText(values, strings.TrimSpace(pair[:at]), strings.TrimSpace(pair[at+1:]))...)
	}
	return usable(values, problems)
}

// usable returns the entries that are right; when all are wrong there is
// nothing to use.
func usable(values reflect.Value, problems []problem) (reflect.Value, []problem) {
	if values.Len() == 0 && len(problems) > 0 {
		return reflect.Value{}, problems
	}
	return values, problems
}

// addText adds an entry that was written as text: a number, or the models of a
// chain with `|` between them.
func (o option) addText(values reflect.Value, name, s string) []problem {
	if o.kind != chains {
		return o.add(values, name, s, strconv.Quote(shorten(s)))
	}
	var list []any
	for model := range strings.SplitSeq(s, "|") {
		if model = strings.TrimSpace(model); model != "" {
			list = append(list, model)
		}
	}
	return o.addChain(values, name, list)
}

// add adds a limit, or tells that literal is none. A chain is never one value.
func (o option) add(values reflect.Value, name, literal, given string) []problem {
	n, ok := whole(strings.TrimSpace(literal))
	if o.kind == chains || name == "" || !ok || n < o.min || n > o.max {
		return []problem{{entry: strconv.Quote(shorten(name)), given: given, accepted: o.acceptedEntry()}}
	}
	values.SetMapIndex(reflect.ValueOf(name), reflect.ValueOf(int(n)))
	return nil
}

// addChain adds the models of a list that look like models. A list that was
// empty is one: its name has no models to go on with, not even those of *.
func (o option) addChain(values reflect.Value, name string, list []any) []problem {
	models, problems := []string{}, []problem(nil)
	entry, pattern := strconv.Quote(shorten(name)), regexp.MustCompile(modelPattern)
	if name == "" {
		return []problem{{entry: entry, given: "a list of models", accepted: "the name of an agent, or *"}}
	}
	for _, element := range list {
		model, _ := element.(string)
		if !pattern.MatchString(model) {
			problems = append(problems, problem{entry: entry, given: shown(element), accepted: "provider/model"})
			continue
		}
		models = append(models, model)
	}
	if len(models) > 0 || len(list) == 0 {
		values.SetMapIndex(reflect.ValueOf(name), reflect.ValueOf(models))
	}
	return problems
}

// shown is an element of a list as a warning repeats it.
func shown(element any) string {
	encoded, err := json.Marshal(element)
	if err != nil { // it came from JSON or is text
		return "not JSON"
	}
	return compact(encoded)
}

// acceptedEntry says what one entry of a map takes.
func (o option) acceptedEntry() string {
	if o.kind == chains {
		return `a list of provider/model, as ["a/b","c/d"] or "a/b|c/d"`
	}
	return wholeNumber(o.min, o.max)
}

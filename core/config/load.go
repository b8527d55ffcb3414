package config

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"

	"github.com/opencode-sidecar/opencode-sidecar/core/tool/spell"
)

// Load returns the options of a workspace. The defaults come first, then the
// plugin's options from OpenCode's configuration (raw, the second element of
// the plugin tuple; nothing and null set none), then the environment, read
// through env (the shape of os.LookupEnv). A variable that is empty counts as
// not set; a map in the environment replaces the whole map below it.
//
// A key that does not exist or a value that is not accepted is told as a
// warning, and what would hold without it is used; in a map, that is without
// the entry, and in a list without the element. Warnings come in the order of the options, unknown keys first.
//
// An error means that raw is not JSON, which is not the user's doing. The
// options are good even then: the defaults and the environment.
func Load(raw json.RawMessage, env func(string) (string, bool)) (Options, []Warning, error) {
	all := declared()
	opts := Default()
	target := reflect.ValueOf(&opts).Elem()
	given, warnings, err := tuple(raw)
	warnings = append(warnings, unknown(given, all)...)
	for _, o := range all {
		field := target.Field(o.index)
		if v, ok := given[o.key]; ok && string(v) != "null" && o.envOnly() {
			warnings = append(warnings, Warning{
				Key:     o.key,
				Message: "option " + strconv.Quote(o.key) + " cannot be set in the plugin's options and is ignored there; set the environment variable " + o.env + " in its place",
			})
		} else if ok && string(v) != "null" {
			value, problems := o.parseJSON(v)
			warnings = append(warnings, o.apply(field, `option "`+o.key+`"`, value, problems)...)
		}
		if s, ok := env(o.env); ok && s != "" {
			value, problems := o.parseText(s)
			warnings = append(warnings, o.apply(field, o.env, value, problems)...)
		}
	}
	return opts, warnings, err
}

// tuple reads the plugin's options as they came.
func tuple(raw json.RawMessage) (map[string]json.RawMessage, []Warning, error) {
	if len(raw) == 0 {
		return nil, nil, nil
	}
	if !json.Valid(raw) {
		return nil, nil, fmt.Errorf("the plugin's options are not JSON: %s", strconv.Quote(shorten(string(raw))))
	}
	var given map[string]json.RawMessage
	if err := json.Unmarshal(raw, &given); err != nil {
		return nil, []Warning{{Message: "the plugin's options are " + compact(raw) + "; accepted is an object; none of them is used"}}, nil
	}
	return given, nil, nil
}

// unknown warns of the keys that are no options.
func unknown(given map[string]json.RawMessage, all []option) []Warning {
	var known, settable []string
	for _, o := range all {
		known = append(known, o.key)
		if !o.envOnly() {
			settable = append(settable, o.key)
		}
	}
	var warnings []Warning
	for _, key := range slices.Sorted(maps.Keys(given)) {
		if slices.Contains(known, key) {
			continue
		}
		written := shorten(key)
		message := "option " + strconv.Quote(written) + " does not exist and is ignored"
		if meant, ok := spell.Nearest(key, settable); ok {
			message += `; did you mean "` + meant + `"?`
		}
		warnings = append(warnings, Warning{Key: written, Message: message})
	}
	return warnings
}

// apply sets the field to the value unless that is the zero Value, and words
// the problems. source is how the user knows the option.
func (o option) apply(field reflect.Value, source string, value reflect.Value, problems []problem) []Warning {
	if value.IsValid() {
		field.Set(value)
	}
	var warnings []Warning
	for _, p := range problems {
		subject, instead := source, show(field)+" is used"
		if p.entry != "" {
			subject += ", entry " + p.entry + ","
		}
		if o.isMap() {
			instead = "it is ignored"
		} else if o.path && field.IsZero() {
			instead = "the default is used"
		}
		warnings = append(warnings, Warning{
			Key:     o.key,
			Message: subject + " is " + p.given + "; accepted is " + p.accepted + "; " + instead,
		})
	}
	return warnings
}

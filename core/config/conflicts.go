package config

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"time"
)

// Conflicts warns of the machine-level options that other, the options of a
// later workspace, wants different from first, those of the first workspace,
// which hold.
func Conflicts(first, other Options) []Warning {
	holds, wanted := reflect.ValueOf(first), reflect.ValueOf(other)
	var warnings []Warning
	for _, o := range declared() {
		if !o.machine() {
			continue
		}
		a, b := holds.Field(o.index), wanted.Field(o.index)
		if same(a, b) {
			continue
		}
		warnings = append(warnings, Warning{
			Key: o.key,
			Message: fmt.Sprintf("option %q is %s here, but %s in the workspace that was opened first, which decides for the whole process",
				o.key, show(b), show(a)),
		})
	}
	return warnings
}

// same compares two values; no map is the same as an empty one.
func same(a, b reflect.Value) bool {
	if m, ok := reflect.TypeAssert[map[string]int](a); ok {
		return maps.Equal(m, b.Interface().(map[string]int))
	}
	if m, ok := reflect.TypeAssert[map[string][]string](a); ok {
		return maps.EqualFunc(m, b.Interface().(map[string][]string), slices.Equal)
	}
	return a.Interface() == b.Interface()
}

// show writes a value of an option as its user would.
func show(v reflect.Value) string {
	switch v := v.Interface().(type) {
	case time.Duration:
		return formatDuration(v)
	case string:
		return strconv.Quote(v)
	case map[string]int:
		return object(v, len(v))
	case map[string][]string:
		return object(v, len(v))
	default:
		return fmt.Sprint(v)
	}
}

// object writes a map of n entries, which may be nil.
func object(m any, n int) string {
	if n == 0 {
		return "{}"
	}
	encoded, err := json.Marshal(m)
	if err != nil { // names, numbers and texts always have a JSON form
		panic(fmt.Sprintf("config: encoding a map: %v", err))
	}
	return string(encoded)
}

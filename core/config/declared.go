package config

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"time"
	"unicode"
)

type kind int

const (
	number kind = iota
	amount      // a number with a fraction
	limits      // a map of names to numbers
	chains      // a map of names to lists of models
	duration
	flag
	text
)

// The scopes; Options says what they mean.
const (
	machineScope = "machine"
	shimScope    = "shim"
	envScope     = "env"
)

// option is the declaration of one option, read from a field of Options.
type option struct {
	index    int // of the field
	typ      reflect.Type
	kind     kind
	key, env string
	doc      string
	fallback string // the default as text
	min, max int64  // nanoseconds for durations
	enum     []string
	path     bool // an absolute path, or a word of enum
	example  json.RawMessage
	scope    string
}

// declared reads the declarations in the order of the fields. It panics on a
// tag that does not make sense, which only a change of Options can bring about.
func declared() []option {
	var all []option
	for field := range reflect.TypeFor[Options]().Fields() {
		o := option{
			index:    field.Index[0],
			typ:      field.Type,
			key:      field.Tag.Get("json"),
			doc:      field.Tag.Get("doc"),
			fallback: field.Tag.Get("default"),
			scope:    field.Tag.Get("scope"),
			example:  json.RawMessage(field.Tag.Get("example")),
		}
		if o.env = field.Tag.Get("env"); o.env == "" {
			o.env = upperSnake(o.key)
		}
		o.env = EnvPrefix + o.env
		if words := field.Tag.Get("enum"); words != "" {
			o.enum = strings.Split(words, "|")
		}
		switch rule := field.Tag.Get("path"); rule {
		case "", "absolute":
			o.path = rule != ""
		default:
			panic(fmt.Sprintf("config: option %s: no rule for the path %q", o.key, rule))
		}
		switch field.Type {
		case reflect.TypeFor[int]():
			o.kind = number
		case reflect.TypeFor[float64]():
			o.kind = amount
		case reflect.TypeFor[map[string]int]():
			o.kind = limits
		case reflect.TypeFor[map[string][]string]():
			o.kind = chains
		case reflect.TypeFor[time.Duration]():
			o.kind = duration
		case reflect.TypeFor[bool]():
			o.kind = flag
		case reflect.TypeFor[string]():
			o.kind = text
		default:
			panic(fmt.Sprintf("config: option %s: no rule for the type %s", field.Name, field.Type))
		}
		o.min, o.max = o.limit(field.Tag.Get("min")), o.limit(field.Tag.Get("max"))
		switch o.scope {
		case "", machineScope, shimScope, envScope:
		default:
			panic(fmt.Sprintf("config: option %s: no rule for the scope %q", o.key, o.scope))
		}
		if len(o.example) > 0 && !json.Valid(o.example) {
			panic(fmt.Sprintf("config: option %s: the example is not JSON", o.key))
		}
		all = append(all, o)
	}
	return all
}

// limit reads the tags min and max, which only kinds with numbers have.
func (o option) limit(tag string) int64 {
	switch o.kind {
	case number, amount, limits:
		n, err := strconv.ParseInt(tag, 10, 64)
		if err != nil {
			panic(fmt.Sprintf("config: option %s: limit %q: %v", o.key, tag, err))
		}
		return n
	case duration:
		d, err := time.ParseDuration(tag)
		if err != nil {
			panic(fmt.Sprintf("config: option %s: limit %q: %v", o.key, tag, err))
		}
		return int64(d)
	}
	return 0
}

// machine tells whether the first workspace decides for the whole process.
func (o option) machine() bool { return o.scope != "" }

// envOnly tells whether the plugin's options cannot set the option.
func (o option) envOnly() bool { return o.scope == envScope }

// Default returns the options of a user who sets none.
func Default() Options {
	var opts Options
	target := reflect.ValueOf(&opts).Elem()
	for _, o := range declared() {
		if o.fallback == "" {
			continue // the zero value
		}
		value, problem := o.parse(o.fallback)
		if problem != nil {
			panic(fmt.Sprintf("config: option %s: default %s: accepted is %s", o.key, problem.given, problem.accepted))
		}
		target.Field(o.index).Set(value)
	}
	return opts
}

// MachineLevel tells whether an option holds for the whole process: its value
// is that of the first workspace, whatever later ones say.
func MachineLevel(key string) bool {
	for _, o := range declared() {
		if o.key == key {
			return o.machine()
		}
	}
	return false
}

// upperSnake turns defaultConcurrency into DEFAULT_CONCURRENCY.
func upperSnake(key string) string {
	var b strings.Builder
	for _, r := range key {
		if unicode.IsUpper(r) {
			b.WriteByte('_')
		}
		b.WriteRune(unicode.ToUpper(r))
	}
	return b.String()
}

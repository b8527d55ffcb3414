package transcript

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
)

// bindings says which live value each numbered token stands for. A value has
// one token and a token one value.
type bindings struct {
	live  map[string]string // by token
	named map[string]piece  // by kind and value
	last  map[string]int    // highest number, by kind
}

func newBindings() *bindings {
	return &bindings{live: map[string]string{}, named: map[string]piece{}, last: map[string]int{}}
}

func (b *bindings) clone() *bindings {
	return &bindings{maps.Clone(b.live), maps.Clone(b.named), maps.Clone(b.last)}
}

func (b *bindings) bind(kind string, index int, value string) {
	p := piece{kind: kind, index: index}
	b.live[p.token()] = value
	b.named[kind+" "+value] = p
	b.last[kind] = max(b.last[kind], index)
}

// tokenize returns v with tokens in the place of live values; values not met
// before get the next number of their kind.
func (b *bindings) tokenize(l *lexer, v any) any {
	return rewriteInOrder(v, func(key string, v any) any {
		pieces := l.scalar(key, v)
		if len(pieces) == 1 && pieces[0].kind == "" {
			return v
		}
		return join(pieces, func(p piece) string {
			if !numbered(p.kind) {
				return p.token()
			}
			if _, ok := b.named[p.kind+" "+p.value]; !ok {
				b.bind(p.kind, b.last[p.kind]+1, p.value)
			}
			return b.named[p.kind+" "+p.value].token()
		})
	})
}

// rewriteInOrder is rewrite in the order in which a file shows the fields, so
// that tokens are numbered as one reads them. change must give the same answer
// when it is asked again.
func rewriteInOrder(v any, change func(key string, v any) any) any {
	var visit func(v any, key string)
	visit = func(v any, key string) {
		switch v := v.(type) {
		case map[string]any:
			for _, k := range ordered(v) {
				change("", k)
				visit(v[k], k)
			}
		case []any:
			for _, item := range v {
				visit(item, key)
			}
		default:
			change(key, v)
		}
	}
	visit(v, "")
	return rewrite(v, "", change)
}

// unify reports whether a live value is what the pattern of a file says. The
// tokens that it is the first to name are bound; after false b is of no use.
func (b *bindings) unify(l *lexer, want, got any, key string) bool {
	switch want := want.(type) {
	case map[string]any:
		object, ok := got.(map[string]any)
		if !ok || len(object) != len(want) {
			return false
		}
		for _, k := range ordered(want) {
			item, ok := object[k]
			if !ok || !b.unify(l, want[k], item, k) {
				return false
			}
		}
		return true
	case []any:
		list, ok := got.([]any)
		if !ok || len(list) != len(want) {
			return false
		}
		for i := range want {
			if !b.unify(l, want[i], list[i], key) {
				return false
			}
		}
		return true
	}
	if nested(got) {
		return false
	}
	return slices.EqualFunc(pattern(want), l.scalar(key, got), func(w, g piece) bool {
		if w.kind != g.kind {
			return false
		}
		if !numbered(w.kind) {
			return w.kind != "" || w.value == g.value
		}
		if live, ok := b.live[w.token()]; ok {
			return live == g.value
		}
		if _, ok := b.named[g.kind+" "+g.value]; ok {
			return false
		}
		b.bind(w.kind, w.index, g.value)
		return true
	})
}

// values is what stands for the tokens that have no identity.
type values map[string]string

// render returns v with live values in the place of tokens. Ids of the host
// that were not sent yet are made up. It fails on an id that is the sidecar's to
// name.
func (b *bindings) render(v any, known values) (any, error) {
	var failure error
	out := rewriteInOrder(v, func(_ string, v any) any {
		pieces := pattern(v)
		if len(pieces) == 1 && pieces[0].kind == "" {
			return v
		}
		s := join(pieces, func(p piece) string {
			if !numbered(p.kind) {
				return known[p.kind]
			}
			live, ok := b.live[p.token()]
			if !ok {
				prefix, made := map[string]string{"session": "ses", "message": "msg", "part": "prt", "permission": "per", "call": "call"}[p.kind]
				if !made {
					failure = fmt.Errorf("%s is not known: the sidecar has not named it", p.token())
				}
				live = fmt.Sprintf("%s_replay%06d", prefix, p.index)
				b.bind(p.kind, p.index, live)
			}
			return live
		})
		switch pieces[0].kind {
		case "time", "pid", "protocol", "ms":
			if _, err := strconv.ParseInt(s, 10, 64); len(pieces) == 1 && err == nil {
				return json.Number(s)
			}
		}
		return s
	})
	return out, failure
}

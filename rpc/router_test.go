package rpc

import (
	"context"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/opencode-sidecar/opencode-sidecar/rpc/wire"
)

func TestMissing(t *testing.T) {
	var want, wantHost []string
	for _, m := range wire.Methods() {
		switch {
		case m.ToHost:
			wantHost = append(wantHost, m.Name)
		case m.Name != "$/cancelRequest":
			want = append(want, m.Name)
		}
	}
	if diff := cmp.Diff(want, NewRouter().Missing()); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(wantHost, NewHostRouter().Missing()); diff != "" {
		t.Error(diff)
	}
	if got := testRouter().Missing(); slices.Contains(got, "ping") || slices.Contains(got, "initialize") || len(got) != len(want)-2 {
		t.Errorf("got %v", got)
	}
}

func TestBrokenWiringPanics(t *testing.T) {
	handle := func(r *Router, m wire.Call[wire.PingParams, wire.PingParams]) {
		Handle(r, m, func(_ context.Context, p wire.PingParams) (wire.PingParams, error) { return p, nil })
	}
	sealed := NewRouter()
	_ = NewConn(Options{Router: sealed, In: errReader{}}).Serve(t.Context())
	for name, f := range map[string]func(){
		"twice":         func() { handle(testRouter(), wire.Ping) },
		"to host":       func() { handle(NewRouter(), callOf[wire.PingParams, wire.PingParams]("x", toHost)) },
		"to sidecar":    func() { handle(NewHostRouter(), wire.Ping) },
		"cancel":        func() { HandleNotice(NewRouter(), wire.Cancel, func(context.Context, wire.CancelParams) {}) },
		"after its use": func() { handle(sealed, wire.Ping) },
		"Serve called twice": func() {
			c := NewConn(Options{Router: NewRouter(), In: errReader{}, Out: nil})
			_ = c.Serve(t.Context())
			_ = c.Serve(t.Context())
		},
	} {
		t.Run(name, func(t *testing.T) {
			defer func() {
				if recover() == nil {
					t.Fatal("no panic")
				}
			}()
			f()
		})
	}
}

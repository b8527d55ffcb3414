package client

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/opencode-sidecar/opencode-sidecar/host"
	"github.com/opencode-sidecar/opencode-sidecar/rpc/wire"
)

func TestAsk(t *testing.T) {
	c, client := newClient(`null`) // which is how the shim writes "undefined"
	err := client.Ask(t.Context(), "call_1", host.Ask{
		Permission: "edit", Patterns: []string{"a"}, Always: []string{"*"}, Metadata: map[string]any{"filepath": "/w/a"},
	})
	if err != nil {
		t.Error(err)
	}
	wantCall(t, c, "host/tool.ask", `{"callID":"call_1","permission":"edit","patterns":["a"],"always":["*"],"metadata":{"filepath":"/w/a"}}`)
	if err := client.Ask(t.Context(), "call_2", host.Ask{Permission: "edit"}); err != nil {
		t.Error(err)
	}
	wantCall(t, c, "host/tool.ask", `{"callID":"call_2","permission":"edit","patterns":[],"always":[],"metadata":{}}`)
	// It is the call that is asked for, not a directory.
	if err := New(&caller{answer: `{}`}, closed).Ask(t.Context(), "call_3", host.Ask{}); err != nil {
		t.Error(err)
	}
}

func TestAskIsRefused(t *testing.T) {
	for name, want := range map[string]bool{
		"PermissionDeniedError": true, "PermissionRejectedError": true, "PermissionCorrectedError": true,
		"NotFoundError": false, "": false,
	} {
		err := New(&caller{err: answered{wire.ErrorData{Kind: wire.KindHost, Name: name}}}, open).Ask(t.Context(), "c", host.Ask{})
		e, ok := errors.AsType[*host.CallError](err)
		if !ok || e.Name != name || e.Message != "it says no" || host.NotAllowed(err) != want {
			t.Errorf("%q: %v, not allowed: %t", name, err, host.NotAllowed(err))
		}
	}
	err := New(&caller{err: errors.New("pipe broke")}, open).Ask(t.Context(), "c", host.Ask{})
	if err == nil || host.NotAllowed(err) || !strings.Contains(err.Error(), "pipe broke") {
		t.Errorf("transport error: %v", err)
	}
}

func TestAskWaitsForAPerson(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancelCause(t.Context())
		why := errors.New("the user pressed Esc")
		done := make(chan error)
		go func() { done <- New(&caller{hang: true}, open).Ask(ctx, "c", host.Ask{}) }()
		time.Sleep(24 * time.Hour)
		select {
		case err := <-done:
			t.Fatalf("it gave up: %v", err)
		default:
		}
		cancel(why)
		if err := <-done; !errors.Is(err, why) || host.NotAllowed(err) {
			t.Errorf("%v", err)
		}
	})
}

package record_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/opencode-sidecar/opencode-sidecar/core/record"
	"github.com/opencode-sidecar/opencode-sidecar/core/record/recordtest"
)

func TestConformance(t *testing.T) {
	recordtest.Run(t, func(*testing.T) record.Store { return record.NewMemory() })
}

func TestClosedRecordsBeyondTheLimitAreDropped(t *testing.T) {
	m := record.NewMemory()
	put := func(key string, open bool) record.Record {
		t.Helper()
		was, _ := m.Get(t.Context(), "mission", key)
		r, err := m.Put(t.Context(), record.Record{Kind: "mission", Key: key, Open: open, Version: was.Version})
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	has := func(want bool, keys ...string) {
		t.Helper()
		for _, key := range keys {
			if _, err := m.Get(t.Context(), "mission", key); errors.Is(err, record.ErrNotFound) == want {
				t.Errorf("%s: %v", key, err)
			}
		}
	}
	put("open", true)
	for i := range 4 {
		put(fmt.Sprint("first ", i), false)
	}
	put("first 0", false) // the newest now
	put("first 1", true)  // open again
	for i := range record.Keep - 3 {
		put(fmt.Sprint(i), false)
	}
	has(true, "open", "first 0", "first 1", "first 2", "first 3", "0")
	put("open and closed", true)
	has(true, "first 2")
	put("open and closed", false)
	has(false, "first 2")
	put("last", false)
	has(false, "first 3")
	has(true, "open", "first 0", "first 1", "0", "open and closed", "last")
	if err := m.Delete(t.Context(), "mission", "last"); err != nil {
		t.Fatal(err)
	}
	put("another", false)
	has(true, "first 0")
}

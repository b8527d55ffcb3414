package transcript

import (
	"encoding/json"
	"strconv"
	"time"
)

// clock gives `<time>` a value: each time of a thing that has an id is when the
// replay first told of it. The sidecar compares such times with its own, so a
// message has to be newer than what made it come, and what it was an hour ago in
// the recording does not matter.
type clock struct {
	told map[string]json.Number // by the thing's id and the field
}

func newClock() *clock { return &clock{told: map[string]json.Number{}} }

// set returns a copy of a body of a file with times in the place of their tokens.
func (c *clock) set(v any) any { return c.of(v, "", "") }

func (c *clock) of(v any, id, key string) any {
	switch v := v.(type) {
	case map[string]any:
		if own := text(v["id"]); own != "" {
			id = own
		}
		out := make(map[string]any, len(v))
		for k, item := range v {
			out[k] = c.of(item, id, k)
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i, item := range v {
			out[i] = c.of(item, id, key)
		}
		return out
	case string:
		if v != "<time>" {
			return v
		}
		now := json.Number(strconv.FormatInt(time.Now().UnixMilli(), 10))
		if id == "" {
			return now
		}
		if _, ok := c.told[id+" "+key]; !ok {
			c.told[id+" "+key] = now
		}
		return c.told[id+" "+key]
	}
	return v
}

package host

import (
	"crypto/rand"
	"encoding/hex"
	"sync"
	"time"
)

// MessageIDs makes ids for prompts of ours in OpenCode's own form: `msg_`, 12 hex
// digits of (milliseconds × 4096 + counter) modulo 2^48, and 14 random
// characters. OpenCode orders messages by the time of their arrival, and by id
// within a millisecond. Ids are unique over its whole database, so the random
// part matters: one that another session has would put the text there.
type MessageIDs struct {
	mu   sync.Mutex
	last uint64
}

// Next returns a new id.
func (m *MessageIDs) Next() string {
	now := uint64(time.Now().UnixMilli()) << 12
	m.mu.Lock()
	if now <= m.last {
		now = m.last + 1
	}
	m.last = now
	m.mu.Unlock()
	var b [6]byte
	for i := range b {
		b[i] = byte(now >> (40 - 8*i))
	}
	return "msg_" + hex.EncodeToString(b[:]) + rand.Text()[:14]
}

package host

import (
	"crypto/rand"
	"encoding/hex"
	"sync"
	"time"
)

// MessageIDs makes ids for prompts of ours in OpenCode's own format, so that
// they sort among its ids by time: `msg_`, 12 hex digits of (milliseconds ×
// 4096 + counter) and 14 random characters. OpenCode takes the message with the
// greatest id for the newest.
type MessageIDs struct {
	mu   sync.Mutex
	last uint64
}

// Next returns an id greater than all earlier ones of m.
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

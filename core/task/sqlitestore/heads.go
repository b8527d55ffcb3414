package sqlitestore

import (
	"sync"

	"github.com/opencode-sidecar/opencode-sidecar/core/task"
)

// maxHeads bounds the tasks in heads: a few lists' worth.
const maxHeads = 300

// heads remembers tasks by the JSON that they were read from. Most of the time
// that a list takes is spent on parsing, and of two lists in a row nearly all
// tasks are the same. It has no texts.
type heads struct {
	mu    sync.Mutex
	bySeq map[int64]parsed
}

type parsed struct {
	text string
	task task.Task
}

// task is what decodeHead makes of text.
func (h *heads) task(seq int64, text []byte) (task.Task, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if p, known := h.bySeq[seq]; known && p.text == string(text) {
		return p.task, nil
	}
	p := parsed{text: string(text)}
	if err := decodeHead(text, &p.task); err != nil {
		return task.Task{}, err
	}
	if len(h.bySeq) >= maxHeads {
		clear(h.bySeq)
	}
	if h.bySeq == nil {
		h.bySeq = map[int64]parsed{}
	}
	h.bySeq[seq] = p
	return p.task, nil
}

func (h *heads) forget() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.bySeq = nil
}

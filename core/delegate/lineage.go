package delegate

import (
	"context"
	"fmt"
	"time"

	"github.com/opencode-sidecar/opencode-sidecar/core/task"
	"github.com/opencode-sidecar/opencode-sidecar/host"
)

// origin is what a session's place in the tree of sessions tells.
type origin struct {
	root    string      // the session that a person opened
	depth   int         // 0 for a session that a person opened
	rules   []host.Rule // the permissions of the session itself
	at      time.Time   // when they were read
	message string      // the newest assistant message that asked for tasks
	model   host.Model  // and its model
}

// rulesFor is how long the permissions of a session are believed.
const rulesFor = 5 * time.Second

// maxLineage bounds the cache of origins; beyond it the cache starts anew.
const maxLineage = 10_000

// originOf walks up from a session to the one that a person opened. The depth of
// a session never changes, its permissions can.
func (e *Engine) originOf(ctx context.Context, directory, session string) (origin, error) {
	e.mu.Lock()
	o := e.lineage[session]
	e.mu.Unlock()
	known := !o.at.IsZero() // modelOf may have made the entry
	if known && time.Since(o.at) < rulesFor {
		return o, nil
	}
	for id, depth := session, 0; ; depth++ {
		s, err := e.host.Session(ctx, directory, id)
		if err != nil {
			return origin{}, err
		}
		if depth == 0 {
			o.rules, o.at = s.Permission, time.Now()
		}
		if known {
			break
		}
		if o.root, o.depth = id, depth; s.Parent == "" {
			break
		}
		if depth > 32 { // OpenCode cannot make such a tree; a lie must not hang us
			return origin{}, fmt.Errorf("%w: session %s has no end of parents", ErrRefused, session)
		}
		id = s.Parent
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.lineage) >= maxLineage {
		clear(e.lineage)
	}
	o.message, o.model = e.lineage[session].message, e.lineage[session].model
	e.lineage[session] = o
	return o, nil
}

// modelOf returns the model of the message in which the parent asks, so that a
// child does not fall back to OpenCode's default model. Not knowing it is no error.
func (e *Engine) modelOf(ctx context.Context, s Spec) host.Model {
	if s.Message == "" {
		return host.Model{}
	}
	e.mu.Lock()
	o := e.lineage[s.Parent]
	e.mu.Unlock()
	if o.message == s.Message {
		return o.model
	}
	messages, err := e.host.Messages(ctx, s.Directory, s.Parent, 4)
	if err != nil {
		return host.Model{}
	}
	var model host.Model
	for _, m := range messages {
		if m.ID == s.Message {
			model = m.Model
		}
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	o = e.lineage[s.Parent]
	o.message, o.model = s.Message, model
	e.lineage[s.Parent] = o
	return model
}

// childRules are the permissions of a child session: what is denied to the
// parent stays denied; it delegates further only in fractal mode and above
// terminalDepth, and with OpenCode's own tools only if its agent says that it
// may; and it cannot ask a person who does not look at it.
func (e *Engine) childRules(ctx context.Context, t task.Task) ([]host.Rule, error) {
	from, err := e.originOf(ctx, t.Directory, t.Parent)
	if err != nil {
		return nil, err
	}
	agent, err := e.agent(ctx, t.Directory, t.Agent)
	if err != nil {
		return nil, err
	}
	var rules []host.Rule
	for _, rule := range from.rules {
		if rule.Action == "deny" || rule.Permission == "external_directory" {
			rules = append(rules, rule)
		}
	}
	var denied []string
	for _, name := range []string{"task", "todowrite"} {
		if !allows(agent, name) {
			denied = append(denied, name)
		}
	}
	denied = append(denied, "question")
	if t.Mode != task.Fractal || t.Depth >= e.config(t.Directory).Terminal {
		denied = append(denied, nameDelegate, nameDelegateBatch)
	}
	for _, name := range denied {
		rules = append(rules, host.Rule{Permission: name, Pattern: "*", Action: "deny"})
	}
	return rules, nil
}

// allows reports whether an agent's own rules name a tool and allow it; a rule
// for all tools is OpenCode's default and does not count.
func allows(a host.Agent, name string) bool {
	allowed := false
	for _, rule := range a.Permission {
		if rule.Permission == name {
			allowed = rule.Action == "allow"
		}
	}
	return allowed
}

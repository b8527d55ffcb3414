package fake

import (
	"context"
	"slices"
	"strings"

	"github.com/opencode-sidecar/opencode-sidecar/host"
)

// Children implements delegate.Host.
func (o *OpenCode) Children(ctx context.Context, directory, id string) ([]host.Session, error) {
	if err := o.enter(ctx, "Children"); err != nil {
		return nil, err
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if _, err := o.find("session.children", id); err != nil {
		return nil, err
	}
	var out []host.Session
	for _, s := range o.sessions {
		if s.Parent == id {
			out = append(out, s.Session)
		}
	}
	slices.SortFunc(out, func(a, b host.Session) int { return strings.Compare(a.ID, b.ID) })
	return out, nil
}

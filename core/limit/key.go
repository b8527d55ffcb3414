package limit

import (
	"cmp"
	"errors"
	"fmt"
)

// MaxLimit is the highest limit that any key can have.
const MaxLimit = 50

// DefaultAgentLimit is the limit of an agent that nobody set one for.
const DefaultAgentLimit = 10

// maxKeys is how many keys one request may name.
const maxKeys = 8

// ErrKey refuses a key that is not well formed, or a request with none or too
// many of them.
var ErrKey = errors.New("limit: bad key")

// Level is the kind of thing that a key limits.
type Level uint8

// The levels.
const (
	Global   Level = iota // everything on this machine; has no name
	Provider              // "anthropic"
	Model                 // "anthropic/claude-opus-4"
	Agent                 // "Worker"
	levels
)

// String returns the level's name in lower case.
func (l Level) String() string {
	switch l {
	case Global:
		return "global"
	case Provider:
		return "provider"
	case Model:
		return "model"
	case Agent:
		return "agent"
	default:
		return fmt.Sprintf("level(%d)", uint8(l))
	}
}

// Key is one thing with a limit. The zero Key is the global one. Names are
// compared byte by byte, so build keys with the functions below.
type Key struct {
	Level Level
	Name  string
}

// ForProvider is the key of a provider.
func ForProvider(provider string) Key { return Key{Level: Provider, Name: provider} }

// ForModel is the key of one model of a provider.
func ForModel(provider, model string) Key { return Key{Level: Model, Name: provider + "/" + model} }

// ForAgent is the key of an agent.
func ForAgent(agent string) Key { return Key{Level: Agent, Name: agent} }

// String returns "global" or "level:name".
func (k Key) String() string {
	if k.Level == Global && k.Name == "" {
		return "global"
	}
	return k.Level.String() + ":" + k.Name
}

func (k Key) check() error {
	switch {
	case k.Level >= levels:
		return fmt.Errorf("%w: %v: unknown level", ErrKey, k)
	case k.Level == Global && k.Name != "":
		return fmt.Errorf("%w: %v: the global key has no name", ErrKey, k)
	case k.Level != Global && k.Name == "":
		return fmt.Errorf("%w: %v: no name", ErrKey, k)
	}
	return nil
}

func compareKeys(a, b Key) int {
	return cmp.Or(cmp.Compare(a.Level, b.Level), cmp.Compare(a.Name, b.Name))
}

// keyState is the account of one key, guarded by Limiter.mu. It lives as long as
// the limiter: keys come from configuration and from the host's models and
// agents, so there are few.
type keyState struct {
	// What admission looks at comes first, to share its cache lines.
	inUse   int
	kept    int // slots set aside for starving waiters, within one pass
	queued  int
	scale   scale
	breaker breaker

	set    bool // by the user: a default no longer applies
	key    Key
	id     int      // in the order of first use; sorts the keys of a group
	limit  int      // the ceiling of scale.limit
	high   int      // the most that inUse has ever been
	groups []*group // all that count against this key
}

// room reports whether one more lease fits. Admission asks nothing else about a
// key, so all that may close one belongs here.
func (k *keyState) room(f *Flow) bool {
	return k.inUse+k.kept < k.scale.limit && k.breaker.admits(f) > 0
}

// free returns how many more leases fit when no slot is kept for anybody.
func (k *keyState) free(f *Flow) int {
	return min(k.scale.limit-k.inUse, k.breaker.admits(f))
}

package proc

import (
	"crypto/rand"
	"slices"
	"strings"
)

const (
	// CookieVar is the variable that marks the processes of a tree. A command that
	// runs below another one of ours carries the cookies of both.
	CookieVar = "OPENCODE_SIDECAR_TREE"

	// cookieSep separates cookies in the variable.
	cookieSep = ":"
	// maxNested is how many cookies a process carries: those of the trees that are
	// next to it.
	maxNested = 16
)

// NewCookie returns a cookie that nobody can guess.
func NewCookie() string { return rand.Text() }

// Mark is what to write down about a tree so that another process can end what is
// left of it: see Keeper.Sweep.
type Mark struct {
	Cookie string `json:"cookie"`
	// Leader is the Identity of the tree's first process; empty before it runs.
	Leader string `json:"leader,omitempty"`
	// Group is the directory of the control group that the tree was, or will be,
	// born into; empty where there is none.
	Group string `json:"group,omitempty"`
}

// withCookie returns env with a cookie beside those that it has.
func withCookie(env []string, cookie string) []string {
	carried := []string{cookie}
	out := make([]string, 1, len(env)+1)
	for _, v := range env {
		name, value, _ := strings.Cut(v, "=")
		if name != CookieVar {
			out = append(out, v)
			continue
		}
		carried = append(slices.DeleteFunc(strings.Split(value, cookieSep), func(c string) bool { return c == "" || c == cookie }), cookie)
	}
	carried = carried[max(0, len(carried)-maxNested):]
	out[0] = CookieVar + "=" + strings.Join(carried, cookieSep)
	return out
}

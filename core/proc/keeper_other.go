//go:build !linux

package proc

import (
	"context"
	"os/exec"
	"time"
)

// groups are nowhere but on Linux.
type groups struct{}

func (groups) of(string) string { return "" }

func (k *Keeper) launch(cmd *exec.Cmd, _ string) (group string, err error) { return "", cmd.Start() }

func (t *Tree) disband() {}

// Adopt returns ErrUnsupported: only Linux lets a process adopt orphans.
func (k *Keeper) Adopt() error { return ErrUnsupported }

// Run waits for the end of ctx: there are no orphans to reap.
func (k *Keeper) Run(ctx context.Context) { <-ctx.Done() }

// ReapOrphans does nothing where nobody adopts.
func (k *Keeper) ReapOrphans() error { return nil }

// EndOrphans finds none where nobody adopts.
func (k *Keeper) EndOrphans(context.Context, time.Duration) (Ending, error) { return Ending{}, nil }

// Sweep ends nothing: what is left of a dead keeper cannot be told from others.
func (k *Keeper) Sweep(context.Context, []Mark, time.Duration) (Ending, error) {
	return Ending{}, nil
}

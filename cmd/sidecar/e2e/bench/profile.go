package main

import (
	"errors"
	"os"
	"path/filepath"
	"runtime/pprof"
)

// profileCPU profiles until the returned function is called, if -profile asks.
func (b *bench) profileCPU(name string) (stop func(), err error) {
	if b.profiles == "" {
		return func() {}, nil
	}
	f, err := b.profile(name + ".cpu.pprof")
	if err != nil {
		return nil, err
	}
	if err := pprof.StartCPUProfile(f); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return func() {
		pprof.StopCPUProfile()
		_ = f.Close() // twice is harmless
	}, nil
}

func (b *bench) profileHeap(name string) error {
	if b.profiles == "" {
		return nil
	}
	f, err := b.profile(name + ".heap.pprof")
	if err != nil {
		return err
	}
	return errors.Join(pprof.Lookup("heap").WriteTo(f, 0), f.Close())
}

func (b *bench) profile(name string) (*os.File, error) {
	if err := os.MkdirAll(b.profiles, 0o755); err != nil {
		return nil, err
	}
	return os.Create(filepath.Join(b.profiles, name))
}

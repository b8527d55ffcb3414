package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/opencode-sidecar/opencode-sidecar/cmd/sidecar/e2e/fakeshim"
	"github.com/opencode-sidecar/opencode-sidecar/rpc/wire"
)

// answerLimit is how long an answer to a hostile payload may take before it
// counts as a hang.
const answerLimit = 5 * time.Second

// victim is a sidecar that is spoken to in bytes.
type victim struct {
	*fakeshim.Process
	got <-chan answer
}

func (b *bench) startVictim() (*victim, error) {
	hash, err := fakeshim.ManifestHash(b.root)
	if err != nil {
		return nil, err
	}
	p, err := b.startSidecar("hostile")
	if err != nil {
		return nil, err
	}
	v := &victim{p, answers(p.Out)}
	params := fmt.Sprintf(`{"version":%q,"protocol":%d,"manifestHash":%q,"host":{"pid":1,"mode":"other"}}`, wire.Version, wire.Protocol, hash)
	open := fmt.Sprintf(`{"workspace":%q,"directory":%q}`, fakeshim.Workspace, launchDir)
	for _, body := range []string{request(`"first"`, "initialize", params), request(`"open"`, "workspace/open", open)} {
		if err := v.send(framed(body)); err != nil {
			return nil, errors.Join(err, v.End())
		}
		if a, err := v.next(); err != nil || a.Error != nil {
			return nil, errors.Join(fmt.Errorf("the handshake failed: %+v", a), err, v.End())
		}
	}
	return v, nil
}

func (v *victim) send(text string) error {
	_, err := io.WriteString(v.In, text)
	return err
}

// next returns the next answer. Calls of the sidecar to the host are answered
// here: it may look up the agents.
func (v *victim) next() (answer, error) {
	limit := time.NewTimer(answerLimit)
	defer limit.Stop()
	for {
		select {
		case a, ok := <-v.got:
			if !ok {
				return answer{}, errors.New("the sidecar has closed its output")
			}
			if a.Method == "" {
				return a, nil
			}
			if a.ID != nil {
				body := fmt.Sprintf(`{"jsonrpc":"2.0","id":%s,"result":%s}`, a.ID, hostAnswer(a.Method))
				if err := v.send(framed(body)); err != nil {
					return answer{}, err
				}
			}
		case <-limit.C:
			return answer{}, fmt.Errorf("no answer within %s", answerLimit)
		}
	}
}

func hostAnswer(method string) string {
	if method == "host/app.agents" {
		return `[{"name":"general","mode":"subagent"}]`
	}
	return "{}"
}

// try sends a payload, checks its answer, and that the next ping is answered.
func (v *victim) try(a attack) error {
	if err := v.send(framed(a.body)); err != nil {
		return err
	}
	if !a.silent {
		got, err := v.next()
		if err != nil {
			return err
		}
		if string(got.ID) != a.id || got.code() != a.code {
			return fmt.Errorf("id %s code %d, want id %s code %d", got.ID, got.code(), a.id, a.code)
		}
	}
	if err := v.send(framed(request(`"alive"`, "ping", "{}"))); err != nil {
		return err
	}
	if got, err := v.next(); err != nil || string(got.ID) != `"alive"` {
		return fmt.Errorf("no answer to a ping but id %s code %d: %w", got.ID, got.code(), err)
	}
	return nil
}

func hostileRows(ctx context.Context, b *bench) ([]Row, error) {
	v, err := b.startVictim()
	if err != nil {
		return nil, err
	}
	total := b.times(2000, 1000)
	wrong, first := 0, ""
	next := attacks(20261122)
	start := time.Now()
	for n := 0; n < total && ctx.Err() == nil; n++ {
		a := next()
		if err := v.try(a); err != nil {
			if wrong++; first == "" {
				first = fmt.Sprintf("; first: %.120q: %v", a.body, err)
			}
			if wrong > 20 {
				break
			}
		}
	}
	took := time.Since(start)
	// A body over the limit is drained and refused, and the connection goes on.
	large := fmt.Sprintf("Content-Length: %d\r\n\r\n", 33<<20)
	if err := v.send(large + string(make([]byte, 33<<20))); err != nil {
		return nil, errors.Join(err, v.End())
	}
	if a, err := v.next(); err != nil || a.code() == 0 {
		wrong++
		first += fmt.Sprintf("; a frame of 33 MiB: %+v, %v", a, err)
	}
	if err := v.try(attack{body: request("1", "ping", "{}"), id: "1"}); err != nil {
		wrong++
		first += fmt.Sprintf("; after it: %v", err)
	}
	// A frame that is cut off by the end of input is an ordered end.
	end := ""
	if err := v.send("Content-Length: 100\r\n\r\n{"); err != nil {
		return nil, errors.Join(err, v.End())
	}
	if err := v.End(); err != nil {
		wrong++
		end = fmt.Sprintf("; ended with %v", err)
	}
	return []Row{{
		What:     "hostile payloads to the real binary, a ping after each",
		Measured: fmt.Sprintf("%d of %d answered right, in %s; exit 0 at the end%s%s", total+3-wrong, total+3, show(took), first, end),
		Bar:      "all, no crash, no hang", Missed: wrong > 0, Values: map[string]float64{"payloads": float64(total + 3), "wrong": float64(wrong)},
	}}, ctx.Err()
}

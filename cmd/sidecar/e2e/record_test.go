package e2e

import (
	"context"
	"flag"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/opencode-sidecar/opencode-sidecar/host/hosttest"
)

var rawDir = flag.String("raw", "", "keep raw recordings here")

func TestRecordProbe(t *testing.T) {
	for name, prompt := range map[string][]string{
		"background": {
			`@call delegate_task {"agent":"general","description":"say hello","prompt":"@wait 1s\n@say hello from the child","background":true}`,
			"@say launched", "@say thank you",
		},
		"run": {
			`@call delegate_task {"agent":"general","description":"say hello","prompt":"@wait 1s\n@say hello from the child","background":true}`,
			"@say launched", "@say thank you",
		},
	} {
		m, err := hosttest.StartModel()
		if err != nil {
			t.Fatal(err)
		}
		bin, err := hosttest.Install(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		shim, _ := filepath.Abs("../../../shim")
		raw := filepath.Join(*rawDir, name+".jsonl")
		os.Remove(raw)
		p, err := hosttest.NewProject(t.Context(), hosttest.Setup{Binary: bin, ModelURL: m.URL(), Plugins: []hosttest.Plugin{{Spec: shim}}, Env: []string{"OPENCODE_SIDECAR_RECORD=" + raw}})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
		if name == "run" {
			r, err := p.RunAndWait(ctx, prompt[0]+"\n"+prompt[1]+"\n"+prompt[2])
			t.Log(r, err)
		} else {
			s, err := p.Serve(ctx)
			if err != nil {
				t.Fatal(err)
			}
			ses, err := s.CreateSession(ctx, hosttest.NewSession{Title: "main"})
			if err != nil {
				t.Fatal(err)
			}
			msg, err := s.Prompt(ctx, ses.ID, hosttest.Text(prompt...))
			t.Log(msg, err)
			_, err = s.WaitMessages(ctx, ses.ID, func(ms []hosttest.Message) bool { return len(ms) > 0 && ms[len(ms)-1].Text() == "thank you" })
			t.Log(err)
			s.WaitIdle(ctx, ses.ID)
			time.Sleep(time.Second)
			s.Stop(ctx)
		}
		cancel()
		p.Close()
		m.Close()
	}
}

package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
)

func TestMain(m *testing.M) {
	if os.Getenv(echoEnv) != "" {
		os.Exit(plainEcho(os.Stdin, os.Stdout))
	}
	os.Exit(m.Run())
}

// The benchmark would rot unseen if nothing ran it. Whether a bar is met is not
// asked here: a test machine is too busy for that.
func TestQuickRunMeasuresEverything(t *testing.T) {
	file := filepath.Join(t.TempDir(), "results.json")
	var stdout, stderr bytes.Buffer
	if code := run(t.Context(), []string{"-quick", "-json", file}, &stdout, &stderr); code != 0 {
		t.Errorf("exit code %d\n%s", code, stderr.String())
	}
	t.Logf("%s\n%s", stdout.String(), stderr.String())
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var got struct {
		Machine facts    `json:"machine"`
		Results []result `json:"results"`
	}
	if err := json.Unmarshal(data, &got); err != nil {
		t.Fatal(err)
	}
	if got.Machine.CPU == "" || got.Machine.Load == "" {
		t.Errorf("the machine has no facts: %+v", got.Machine)
	}
	measured := map[string]bool{}
	for _, r := range got.Results {
		measured[r.Name] = len(r.Rows) > 0
		for _, row := range r.Rows {
			if row.What == "" || row.Measured == "" || len(row.Values) == 0 {
				t.Errorf("%s has an empty row: %+v", r.Name, row)
			}
		}
	}
	for _, m := range measurements() {
		if !measured[m.name] {
			t.Errorf("%s gave no rows", m.name)
		}
	}
}

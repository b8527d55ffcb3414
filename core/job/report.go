package job

import (
	"fmt"
	"strings"
)

const (
	// reportLines is how many last lines of each stream a report shows, reportBytes
	// how many bytes of them at most.
	reportLines = 20
	reportBytes = 2000
)

// Report tells a model what has become of a command: how it is, and the end of
// what it has printed, as plain text. It names the command also when that is not
// known any more.
func (e *Engine) Report(id string) string {
	out, err := e.Read(id, Query{Tail: reportLines, Plain: true, Max: reportBytes})
	if err != nil {
		return fmt.Sprintf("What has become of the background command %s is not known any more.", id)
	}
	parts := []string{headline(out.Job)}
	more := false
	for _, p := range out.Parts {
		parts = append(parts, fmt.Sprintf("<%s>\n%s\n</%[1]s>", p.Stream, strings.TrimSuffix(p.Text, "\n")))
		more = more || p.Skipped || p.Dropped > 0
	}
	switch {
	case len(out.Parts) == 0:
		parts = append(parts, "It has printed nothing.")
	case more:
		parts = append(parts, fmt.Sprintf("That is the end of it; check_background %s returns more.", id))
	}
	return strings.Join(parts, "\n")
}

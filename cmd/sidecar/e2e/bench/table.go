package main

import (
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// Row is one line of the table.
type Row struct {
	What     string `json:"what"`
	Measured string `json:"measured"`
	// Bar is what is promised, "" if the row only informs.
	Bar string `json:"bar,omitempty"`
	// Original is what the TypeScript plugin of the seed does on a machine of
	// this kind, "" if nobody has measured it.
	Original string `json:"original,omitempty"`
	Missed   bool   `json:"missed,omitempty"`
	// Values are the numbers behind Measured; the names carry the unit.
	Values map[string]float64 `json:"values,omitempty"`
}

// mark is the last column.
func (r Row) mark() string {
	switch {
	case r.Bar == "":
		return ""
	case r.Missed:
		return "MISSED"
	}
	return "ok"
}

// result is what one measurement gave.
type result struct {
	Name    string  `json:"name"`
	Rows    []Row   `json:"rows"`
	Seconds float64 `json:"seconds"`
	// Failed says why something could not be measured.
	Failed string `json:"failed,omitempty"`
}

func (r result) missed() bool {
	for _, row := range r.Rows {
		if row.Missed {
			return true
		}
	}
	return false
}

func printTable(w io.Writer, results []result) {
	lines := [][]string{{"what", "measured", "bar", "original", ""}}
	var groups []int // lines before which a rule goes
	for _, r := range results {
		groups = append(groups, len(lines))
		for _, row := range r.Rows {
			lines = append(lines, []string{row.What, row.Measured, row.Bar, row.Original, row.mark()})
		}
		if r.Failed != "" {
			lines = append(lines, []string{r.Name, "NOT MEASURED: " + strings.ReplaceAll(r.Failed, "\n", " "), "", "", "ERROR"})
		}
	}
	width := make([]int, 5)
	for _, line := range lines {
		for i, cell := range line {
			if !strings.HasPrefix(cell, "NOT MEASURED") {
				width[i] = max(width[i], utf8.RuneCountInString(cell))
			}
		}
	}
	for n, line := range lines {
		if len(groups) > 0 && groups[0] == n {
			fmt.Fprintln(w, strings.Repeat("─", sum(width)+2*(len(width)-1)))
			groups = groups[1:]
		}
		var text strings.Builder
		for i, cell := range line {
			text.WriteString(cell + strings.Repeat(" ", max(0, width[i]-utf8.RuneCountInString(cell))+2))
		}
		fmt.Fprintln(w, strings.TrimRight(text.String(), " "))
	}
}

func sum(list []int) int {
	total := 0
	for _, n := range list {
		total += n
	}
	return total
}

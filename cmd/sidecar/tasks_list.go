package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/mattn/go-runewidth"

	"github.com/opencode-sidecar/opencode-sidecar/core/task"
	"github.com/opencode-sidecar/opencode-sidecar/core/task/sqlitestore"
)

// abandoned is shown in place of the state of an open task whose owner is dead.
const abandoned = "abandoned"

const abandonedHint = "abandoned: its OpenCode has ended. How it ended is settled when OpenCode next opens its worktree or, if that is gone, by `sidecar tasks cancel ID`."

// maxListed bounds what a list holds.
const maxListed = 10_000

// listCommand serves `sidecar tasks list`.
func listCommand(ctx context.Context, args []string, c *console) int {
	const command = "tasks list"
	set := flags()
	var from place
	from.flags(set)
	state, group := set.String("state", "", ""), set.String("group", "", "")
	limit, asJSON := 20, set.Bool("json", false, "")
	set.Func("limit", "", func(s string) (err error) {
		if limit, err = strconv.Atoi(s); err != nil || limit < 1 || limit > maxListed {
			return fmt.Errorf("accepted is a whole number from 1 to %d", maxListed)
		}
		return nil
	})
	rest, code, ok := c.parse(command, tasksUsage, set, args)
	if !ok {
		return code
	}
	states, err := parseStates(*state)
	worktree, placeErr := from.worktree(c)
	if err := errors.Join(err, placeErr); err != nil {
		return c.misused(command, err.Error())
	}
	if len(rest) > 0 {
		return c.misused(command, fmt.Sprintf("%q is not expected; `sidecar tasks show ID` shows one task", rest[0]))
	}
	store, err := c.open() //nolint:contextcheck // opening is short and cannot be stopped half-way
	if err != nil {
		return c.failed(command, err)
	}
	l := listing{Worktree: worktree, Tasks: []taskJSON{}, Totals: map[task.State]int{}}
	if store != nil {
		defer func() { _ = store.Close() }()
		page, err := store.List(ctx, task.Query{Worktree: worktree, States: states, Group: *group, Limit: limit})
		if err != nil {
			return c.failed(command, err)
		}
		l.Totals = page.Totals
		seen := known{}
		for _, t := range page.Tasks {
			l.Tasks = append(l.Tasks, jsonOf(t, seen.alive(store, t)))
		}
	}
	if *asJSON {
		return c.json(command, l)
	}
	if len(l.Tasks) == 0 {
		fmt.Fprintln(c.out, l.none(set))
		return 0
	}
	l.print(c)
	return 0
}

// known remembers which owners live, for the length of one look.
type known map[string]bool

// alive reports whether a task has a living owner; ended ones need none.
func (k known) alive(store *sqlitestore.Store, t task.Task) bool {
	if t.State.Terminal() {
		return true
	}
	lives, asked := k[t.Owner]
	if !asked {
		lives = alive(store, t.Owner)
		k[t.Owner] = lives
	}
	return lives
}

// listing is a list of tasks, newest first.
type listing struct {
	Worktree string             `json:"worktree,omitempty"`
	Tasks    []taskJSON         `json:"tasks"`
	Totals   map[task.State]int `json:"totals"`
}

// none says why nothing is listed.
func (l *listing) none(set *flag.FlagSet) string {
	narrowed := false
	set.Visit(func(f *flag.Flag) { narrowed = narrowed || f.Name == "state" || f.Name == "group" })
	text := "No tasks yet " + where(l.Worktree) + "."
	if narrowed {
		text = "No such tasks " + where(l.Worktree) + "."
	}
	if l.Worktree != "" {
		text += " `sidecar tasks --all` lists those of all worktrees."
	}
	return text
}

// print writes the table and the totals.
func (l *listing) print(c *console) {
	head := []string{"ID", "STATE", "AGENT", "AGE", "RAN", "TOKENS", "COST"}
	if l.Worktree == "" {
		head = append(head, "WORKTREE")
	}
	rows := [][]string{append(head, "DESCRIPTION")}
	var usage task.Usage
	lost := false
	for _, t := range l.Tasks {
		lost = lost || t.shown() == abandoned
		usage = usage.Plus(task.Usage(t.Usage.counts()))
		row := []string{
			string(t.ID), t.shown(), oneLine(t.Agent), age(c.now().Sub(t.Created)), t.ran(c.now()),
			tokens(t.Usage.Total), cost(t.Usage.Cost),
		}
		if l.Worktree == "" {
			row = append(row, oneLine(t.Worktree))
		}
		rows = append(rows, append(row, oneLine(t.Description)))
	}
	widths := make([]int, len(rows[0]))
	for _, row := range rows {
		for i, cell := range row {
			widths[i] = max(widths[i], runewidth.StringWidth(cell))
		}
	}
	for n, row := range rows {
		c.row(row, widths, n == 0)
	}
	total := 0
	var parts []string
	for _, state := range task.States() {
		if n := l.Totals[state]; n > 0 {
			total += n
			parts = append(parts, fmt.Sprintf("%d %s", n, state))
		}
	}
	line := count(total, "task") + ": " + strings.Join(parts, ", ")
	if total > len(l.Tasks) {
		line += fmt.Sprintf("; the newest %d are shown", len(l.Tasks))
	}
	if n := usage.Tokens(); n > 0 || usage.Cost > 0 {
		line += "; " + tokens(n) + " tokens, " + cost(usage.Cost)
		if total > len(l.Tasks) {
			line += " in these"
		}
	}
	fmt.Fprintf(c.out, "\n%s\n", line)
	if lost {
		fmt.Fprintln(c.out, abandonedHint)
	}
}

// minDescription is what stays of descriptions in however narrow a terminal.
const minDescription = 12

// row writes a row of the table; the last cell is cut at the terminal's width.
func (c *console) row(cells []string, widths []int, head bool) {
	var b strings.Builder
	used := 0
	for i, cell := range cells {
		if i == len(cells)-1 {
			if c.width > 0 {
				cell = runewidth.Truncate(cell, max(c.width-used, minDescription), "…")
			}
			b.WriteString(cell)
			break
		}
		painted := cell
		switch {
		case head:
			painted = c.colour("1", cell)
		case i == 1:
			painted = c.colour(stateColour(cell), cell)
		}
		b.WriteString(painted + strings.Repeat(" ", widths[i]-runewidth.StringWidth(cell)+2))
		used += widths[i] + 2
	}
	fmt.Fprintln(c.out, strings.TrimRight(b.String(), " "))
}

// stateColour is the colour in which a state is shown, "" for none.
func stateColour(state string) string {
	switch task.State(state) {
	case task.Running:
		return "36"
	case task.Completed:
		return "32"
	case task.Failed, task.Timeout, abandoned:
		return "31"
	case task.Cancelled, task.Interrupted:
		return "33"
	}
	return ""
}

// count writes a number of things.
func count(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return strconv.Itoa(n) + " " + thing + "s"
}

// age is how long ago something was, in its largest unit.
func age(d time.Duration) string {
	switch d = max(d, 0); {
	case d < time.Minute:
		return strconv.Itoa(int(d.Seconds())) + "s"
	case d < time.Hour:
		return strconv.Itoa(int(d.Minutes())) + "m"
	case d < 48*time.Hour:
		return strconv.Itoa(int(d.Hours())) + "h"
	}
	return strconv.Itoa(int(d.Hours()/24)) + "d"
}

// span is how long something took, to the second.
func span(d time.Duration) string { return max(d, 0).Round(time.Second).String() }

// tokens writes a number of tokens with three digits or so.
func tokens(n int64) string {
	switch {
	case n == 0:
		return "-"
	case n < 1000:
		return strconv.FormatInt(n, 10)
	case n < 999_950:
		return strconv.FormatFloat(float64(n)/1e3, 'f', 1, 64) + "k"
	}
	return strconv.FormatFloat(float64(n)/1e6, 'f', 1, 64) + "M"
}

// cost writes US dollars.
func cost(usd float64) string {
	switch {
	case usd == 0:
		return "-"
	case usd < 0.01:
		return "<$0.01"
	}
	return "$" + strconv.FormatFloat(math.Round(usd*100)/100, 'f', 2, 64)
}

// json prints a value for programs.
func (c *console) json(command string, v any) int {
	encode := json.NewEncoder(c.out)
	encode.SetIndent("", "  ")
	encode.SetEscapeHTML(false)
	if err := encode.Encode(v); err != nil {
		return c.failed(command, err)
	}
	return 0
}

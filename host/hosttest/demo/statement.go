package main

import (
	"regexp"
	"strconv"
	"strings"
)

// state is where a task stands.
type state string

const (
	asked       state = "asked" // delegated, not yet known to be queued
	queued      state = "pending"
	running     state = "running"
	completed   state = "completed"
	failed      state = "error"
	timedOut    state = "timeout"
	cancelled   state = "cancelled"
	interrupted state = "interrupted"
	refused     state = "refused"
)

func (s state) ended() bool { return s != "" && s != asked && s != queued && s != running }

// labels are the plugin's words for the states.
var labels = map[string]state{
	"SPAWNED": queued, "RUNNING": running, "DONE": completed, "ERROR": failed,
	"TIMEOUT": timedOut, "CANCELLED": cancelled, "WARNING": interrupted,
}

// statement is what the plugin says to a model about one task.
type statement struct {
	id, description, agent string
	state                  state
	// ran is how long it ran as the plugin writes it, "" if it has not ended or
	// never ran.
	ran string
	// body is what follows on further lines: the error, the result.
	body string
}

// heading is the first line of a statement.
var heading = regexp.MustCompile(`(?m)^\[([A-Z]+)\] (task_[0-9a-f]{8}) ("(?:[^"\\\n]|\\.)*") \(agent ([^,\n]+), (queued for|running for|ran|never ran)(?: ([^,)\n]*))?(?:, [^)\n]*)?\).*$`)

// parseStatements reads the statements of a text, in their order.
func parseStatements(text string) []statement {
	var list []statement
	found := heading.FindAllStringSubmatchIndex(text, -1)
	for i, at := range found {
		group := func(n int) string {
			if at[2*n] < 0 {
				return ""
			}
			return text[at[2*n]:at[2*n+1]]
		}
		end := len(text)
		if i+1 < len(found) {
			end = found[i+1][0]
		}
		s := statement{id: group(2), agent: group(4), state: labels[group(1)]}
		if description, err := strconv.Unquote(group(3)); err == nil {
			s.description = description
		}
		if group(5) == "ran" {
			s.ran = group(6)
		}
		s.body = strings.TrimSpace(text[at[1]:end])
		list = append(list, s)
	}
	return list
}

// ownWords is a text without the list of tasks that it repeats, on one line.
func ownWords(text string) string {
	if at := heading.FindStringIndex(text); at != nil {
		text = strings.TrimRight(text[:at[0]], ": \n")
	}
	return oneLine(text)
}

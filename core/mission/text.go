package mission

import (
	"context"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/opencode-sidecar/opencode-sidecar/core/delegate"
	"github.com/opencode-sidecar/opencode-sidecar/core/todo"
)

// continuation is the message that has an agent go on. The list itself is not in
// it: Transform adds that, as it stands when the model reads it.
func continuation(s State, at Settings, j judgement, headless bool) string {
	var b strings.Builder
	fmt.Fprintf(&b, "Mission, continuation %d of at most %d: %s. Go on with what is open: do the next item or delegate it, check that it works, and mark it with update_todo at once.", s.Iteration, at.Iterations, j.gate)
	b.WriteString(" Mark what cannot be done as failed and say why.")
	if j.gate.progress.Open() == 0 {
		b.WriteString(" All items of todo.md are done; what is left is in")
		if j.gate.checklist.Open() > 0 {
			b.WriteString(" " + checklistPath)
		}
		if j.gate.issues {
			b.WriteString(" " + issuesPath)
		}
		b.WriteString(".")
	}
	if j.failures > 0 {
		fmt.Fprintf(&b, " The last turn failed (%s).", clip(j.failure, 200))
	}
	if j.idle > 0 {
		fmt.Fprintf(&b, " Nothing came of %s: no item changed, and no call was made that had not been made before. Try another way. After %d such turns the mission stops.", theLast(j.idle), at.Idle)
	}
	if headless {
		b.WriteString(" Nobody is there to answer questions: decide yourself.")
	}
	return b.String()
}

// Append is text to add to a message before the model reads it.
type Append struct {
	MessageID string
	Text      string
}

// Transform is called before a turn asks its model; messageID is the last user
// message. It returns where the todo list stands, if the session has a mission.
func (d *Driver) Transform(ctx context.Context, session, messageID string) []Append {
	d.mu.Lock()
	m, headless := d.missions[session], d.headless
	d.mu.Unlock()
	if m == nil || d.over(m) {
		return nil
	}
	if headless { // for the moment in which this step has ended, when there is no time to look
		latest := d.see(ctx, m)
		d.mu.Lock()
		m.latest = latest
		d.mu.Unlock()
	}
	list, err := d.todos.Read(m.worktree)
	if err != nil {
		return nil // the watcher has warned
	}
	if text := d.summary(list, session); text != "" {
		return []Append{{messageID, text}}
	}
	return nil
}

func (d *Driver) over(m *mission) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return m.state.Phase.Over()
}

// Compacting returns what a summary of a session's conversation must not lose.
func (d *Driver) Compacting(session string) []string {
	d.mu.Lock()
	m := d.missions[session]
	if m == nil || m.state.Phase.Over() {
		d.mu.Unlock()
		return nil
	}
	text := "A mission is under way in this session, and goes on after the summary. Keep its objective:\n" + m.state.Objective
	worktree := m.worktree
	d.mu.Unlock()
	if list, err := d.todos.Read(worktree); err == nil {
		if summary := d.summary(list, session); summary != "" {
			text += "\nIts list, " + todo.Path + ":\n" + summary
		}
	}
	return []string{text}
}

// summary is the list in short, with the tasks that run below their items.
func (d *Driver) summary(list *todo.Document, session string) string {
	return todo.Summary(list, running(list, d.tasks.OpenOf(session)), todo.Limits{})
}

// running finds the items that tasks work on: a task's description names an
// item's id, or is or holds its text.
func running(list *todo.Document, tasks []delegate.Open) map[string][]string {
	if len(tasks) == 0 {
		return nil
	}
	lines := map[string][]string{}
	for _, t := range tasks {
		if item := itemOf(list, t.Description); item != nil {
			lines[item.Text] = append(lines[item.Text], line(t))
		}
	}
	return lines
}

func itemOf(list *todo.Document, description string) *todo.Item {
	words := strings.FieldsFunc(description, func(r rune) bool { return strings.ContainsRune(" \t:,;()[]", r) })
	said := bare(description)
	var best *todo.Item
	for item := range list.All() {
		if item.State.Terminal() {
			continue
		}
		for _, word := range words {
			if item.ID != "" && strings.EqualFold(word, item.ID) {
				return item
			}
		}
		if title := bare(item.Title()); title != "  " && strings.Contains(said, title) && (best == nil || len(title) > len(bare(best.Title()))) {
			best = item
		}
	}
	return best
}

// bare is a text's words in lower case, with a space around each.
func bare(text string) string {
	return " " + strings.Join(strings.FieldsFunc(strings.ToLower(text), func(r rune) bool {
		return !unicode.IsLetter(r) && !unicode.IsDigit(r)
	}), " ") + " "
}

// line says in one line what a task does.
func line(t delegate.Open) string {
	state := "runs"
	if !t.Running {
		state = "waits for a slot"
	}
	return fmt.Sprintf("→ %s (%s) %s: %s", t.ID, t.Agent, state, clip(t.Description, 80))
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

func theLast(turns int) string {
	if turns == 1 {
		return "the last turn"
	}
	return fmt.Sprintf("the last %d turns", turns)
}

func inARow(turns int) string {
	if turns == 1 {
		return "the last turn"
	}
	return fmt.Sprintf("%d turns in a row", turns)
}

func times(n int) string {
	if n == 1 {
		return "once"
	}
	return fmt.Sprintf("%d times", n)
}

func were(n int, what string) string {
	if n == 1 {
		return "1 " + what + " was"
	}
	return count(n, what) + " were"
}

func goes(n int, what string) string {
	if n == 1 {
		return "1 " + what + " goes"
	}
	return count(n, what) + " go"
}

// clip shortens a text to a number of bytes, at a character.
func clip(text string, limit int) string {
	if len(text) <= limit {
		return text
	}
	end := limit
	for end > 0 && !utf8.RuneStart(text[end]) {
		end--
	}
	return text[:end] + "…"
}

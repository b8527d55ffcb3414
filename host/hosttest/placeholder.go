package hosttest

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

var (
	placeholder = regexp.MustCompile(`\{\{(task|job|session|result)(?: (\d+))?\}\}`)
	taskID      = regexp.MustCompile(`\btask_[0-9a-f]{8}\b`)
	jobID       = regexp.MustCompile(`\bjob_[0-9a-f]{8}\b`)
	sessionID   = regexp.MustCompile(`\bses_[0-9A-Za-z]{26}\b`)
)

// resolve fills the placeholders of a text from the tool results of the
// conversation.
func resolve(text string, messages []ChatMessage) (string, error) {
	var failed error
	filled := placeholder.ReplaceAllStringFunc(text, func(p string) string {
		m := placeholder.FindStringSubmatch(p)
		value, err := lookUp(m[1], m[2], messages)
		if err != nil {
			failed = fmt.Errorf("script error: %s: %w", p, err)
			return p
		}
		return value
	})
	return filled, failed
}

// resolveArgs fills the placeholders of a call's arguments, a JSON object.
// Arguments without any are returned as they were written.
func resolveArgs(args string, messages []ChatMessage) (string, error) {
	if !placeholder.MatchString(args) {
		return args, nil
	}
	decoder := json.NewDecoder(strings.NewReader(args))
	decoder.UseNumber()
	var value any
	if err := decoder.Decode(&value); err != nil {
		return "", fmt.Errorf("script error: %w", err)
	}
	value, err := resolveValue(value, messages)
	if err != nil {
		return "", err
	}
	filled, err := json.Marshal(value)
	return string(filled), err
}

// resolveValue fills the strings of a JSON value, but none that is a script
// itself: its placeholders are those of the session that will play it.
func resolveValue(value any, messages []ChatMessage) (any, error) {
	var err error
	switch v := value.(type) {
	case string:
		if s, bad := parseScript(v); s != nil || bad != nil {
			return v, nil
		}
		return resolve(v, messages)
	case []any:
		for i := range v {
			if v[i], err = resolveValue(v[i], messages); err != nil {
				return nil, err
			}
		}
	case map[string]any:
		for k := range v {
			if v[k], err = resolveValue(v[k], messages); err != nil {
				return nil, err
			}
		}
	}
	return value, nil
}

// lookUp finds the n-th value of a kind; without a number the last one.
func lookUp(kind, number string, messages []ChatMessage) (string, error) {
	var found []string
	for _, m := range messages {
		if m.Role != "tool" {
			continue
		}
		switch kind {
		case "result":
			found = append(found, m.Text)
		case "task":
			found = appendNew(found, taskID.FindAllString(m.Text, -1))
		case "job":
			found = appendNew(found, jobID.FindAllString(m.Text, -1))
		case "session":
			found = appendNew(found, sessionID.FindAllString(m.Text, -1))
		}
	}
	n := len(found)
	if number != "" {
		n, _ = strconv.Atoi(number) // the pattern allows digits only
	}
	if n < 1 || n > len(found) {
		return "", fmt.Errorf("the tool results hold %d of them: %s", len(found), strings.Join(found, ", "))
	}
	return found[n-1], nil
}

func appendNew(list, values []string) []string {
	for _, v := range values {
		if !slices.Contains(list, v) {
			list = append(list, v)
		}
	}
	return list
}

package janitor

import (
	"cmp"
	"fmt"
	"slices"
	"time"
)

// removal is a file that is to go.
type removal struct {
	file
	why string
}

// planner decides what goes. It changes nothing.
type planner struct {
	set   Settings
	now   time.Time
	prove func(file) error // nil if a file is provably ours

	going  map[string]bool
	result []removal
	stays  []Stay // what is old enough, but not provably ours
	told   map[string]bool
}

// plan returns what goes by the rules that are due, in the order in which it is to
// go, and what stays of what would.
func (p *planner) plan(s *survey, due func(Rule) bool) ([]removal, []Stay) {
	p.going, p.told = map[string]bool{}, map[string]bool{}
	slices.SortFunc(s.ours, func(a, b file) int { return cmp.Or(a.used.Compare(b.used), cmp.Compare(a.name, b.name)) })
	if due(Archives) {
		p.old(s, p.set.ArchiveAge, taskArchive)
		for _, c := range s.ours {
			if c.kind == leftover {
				p.take(c, c.kind.String())
			}
		}
	}
	if due(History) {
		p.old(s, p.set.HistoryAge, plainHistory, packedHistory)
	}
	if due(Documents) {
		p.halve(s)
	}
	if due(Limits) {
		p.limit(s)
	}
	return p.result, p.stays
}

// take has a file go if it is provably ours.
func (p *planner) take(c file, why string) bool {
	if p.going[c.name] || !p.proven(c) {
		return false
	}
	p.going[c.name] = true
	p.result = append(p.result, removal{c, why})
	return true
}

// proven reports whether a file is provably ours, and otherwise tells, once, that it
// stays.
func (p *planner) proven(c file) bool {
	err := p.prove(c)
	if err != nil && !p.told[c.name] {
		p.told[c.name] = true
		p.stays = append(p.stays, Stay{Name: c.name, Why: err.Error()})
	}
	return err == nil
}

// old takes what was not used for longer than age.
func (p *planner) old(s *survey, age time.Duration, kinds ...kind) {
	for _, c := range s.ours {
		if slices.Contains(kinds, c.kind) && p.now.Sub(c.used) > age {
			p.take(c, fmt.Sprintf("%s, last used %s ago; kept for %s", c.kind, days(p.now.Sub(c.used)), days(age)))
		}
	}
}

// halve takes the older half of a document cache that is too large. What is not ours
// does not count.
func (p *planner) halve(s *survey) {
	var docs []file
	size := int64(0)
	for _, c := range s.ours {
		if c.kind == document {
			docs, size = append(docs, c), size+c.info.Size()
		}
	}
	if size <= p.set.DocumentBytes {
		return
	}
	docs = slices.DeleteFunc(docs, func(c file) bool {
		if p.proven(c) {
			return false
		}
		size -= c.info.Size()
		return true
	})
	if size <= p.set.DocumentBytes {
		return
	}
	for _, c := range docs[:(len(docs)+1)/2] {
		if p.inUse(c) {
			continue
		}
		p.take(c, fmt.Sprintf("of the older half of a document cache of %s; %s are kept", Size(size), Size(p.set.DocumentBytes)))
	}
}

// limit takes what was not used for longest until no more is left of ours than may
// be, and in the folder no more than its cap. What is written to now stays.
func (p *planner) limit(s *survey) {
	var ours []file
	files, bytes := 0, int64(0)
	for _, c := range s.ours {
		if !p.going[c.name] {
			ours, files, bytes = append(ours, c), files+1, bytes+c.info.Size()
		}
	}
	all := s.files - len(p.going)
	over := func() bool { return files > p.set.Files || bytes > p.set.Bytes || all > p.set.Cap }
	if !over() {
		return
	}
	// Only now it is worth while to read them: what is not ours does not count.
	ours = slices.DeleteFunc(ours, func(c file) bool {
		if p.prove(c) == nil {
			return false
		}
		files, bytes = files-1, bytes-c.info.Size()
		return true
	})
	for _, c := range ours {
		if !over() {
			return
		}
		if p.inUse(c) {
			continue
		}
		why := fmt.Sprintf("%s, not used for longest of %d files and %s of ours; %d and %s are kept", c.kind, files, Size(bytes), p.set.Files, Size(p.set.Bytes))
		if files <= p.set.Files && bytes <= p.set.Bytes {
			why = fmt.Sprintf("%s, not used for longest of ours among %d files; %d are kept", c.kind, all, p.set.Cap)
		}
		if p.take(c, why) {
			files, bytes, all = files-1, bytes-c.info.Size(), all-1
		}
	}
}

// inUse reports whether a file may be written to now: the history, and an archive
// of today, in whatever zone. What somebody has put back is in use until it is old.
func (p *planner) inUse(c file) bool {
	age := p.set.ArchiveAge
	switch c.kind {
	case liveHistory, plainHistory:
		return true
	case taskArchive:
		if p.now.Sub(c.used) < 48*time.Hour {
			return true
		}
	case packedHistory:
		age = p.set.HistoryAge
	}
	return !c.back.IsZero() && p.now.Sub(c.back) < age
}

// days tells a time that has passed.
func days(d time.Duration) string {
	switch n := int(d / (24 * time.Hour)); {
	case n == 1:
		return "a day"
	case n > 1:
		return fmt.Sprintf("%d days", n)
	default:
		return d.Round(time.Minute).String()
	}
}

// Size tells a number of bytes to people.
func Size(n int64) string {
	switch {
	case n >= 1<<20:
		return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
	case n >= 1<<10:
		return fmt.Sprintf("%.1f KiB", float64(n)/(1<<10))
	default:
		return fmt.Sprintf("%d bytes", n)
	}
}

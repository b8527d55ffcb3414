package janitor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"path/filepath"
	"slices"
	"time"

	"github.com/opencode-sidecar/opencode-sidecar/core/janitor/trash"
)

// Report is what a pass did in a folder, or would do.
type Report struct {
	// Folder is its absolute path; empty if there is none.
	Folder string
	// Files is how many files there were, OpenCode's packages aside, and Ours how
	// many of them are ours by place and name, with OursBytes.
	Files, Ours int
	OursBytes   int64
	// Tracked is how many would be ours but for git, which tracks them.
	Tracked int
	// Packed are the histories that were packed, by their new names.
	Packed []string
	// Gone is what went to the trash, or would.
	Gone []Gone
	// Stays is what would have gone but for a reason.
	Stays []Stay
	// Problems are what could not be done or looked at, one sentence each.
	Problems []error
}

// Gone is a file that went.
type Gone struct {
	Name string
	Size int64
	Used time.Time // as recorded
	Why  string
}

// Stay is a file that stays.
type Stay struct{ Name, Why string }

// Clean applies all rules that concern a folder to a project's, whenever they were
// applied last, and deletes what the trash has kept for long enough. Dry, it changes
// nothing and reports what would go. An error is a folder that another process is
// cleaning, for example; what was done before it is reported with it.
func (j *Janitor) Clean(ctx context.Context, project string, set Settings, dry bool) (Report, error) {
	f, err := openFolder(project)
	if errors.Is(err, fs.ErrNotExist) {
		return Report{}, nil
	}
	if err != nil {
		return Report{}, err
	}
	defer f.close()
	if dry {
		remembered := j.remembered(f.path)
		p := j.pass(f, set, &remembered, func(Rule) bool { return true })
		p.dry = true
		return p.run(ctx)
	}
	report, err := j.claimed(ctx, f, set, func(Rule, ledger) bool { return true })
	if len(report.Problems) > 0 || err != nil || ctx.Err() != nil { // of which the trash may be one
		return report, err
	}
	if err := j.expire(ctx, set); err != nil {
		report.Problems = append(report.Problems, err)
	}
	return report, nil
}

// claimed runs a pass with the folder claimed, for the rules that are due.
func (j *Janitor) claimed(ctx context.Context, f *folder, set Settings, due func(Rule, ledger) bool) (Report, error) {
	c, err := j.claim(f.path)
	if err != nil {
		return Report{}, fmt.Errorf("%s: %w", f.path, err)
	}
	defer c.release()
	p := j.pass(f, set, &c.ledger, func(r Rule) bool { return due(r, c.ledger) })
	p.save = c.save
	rules := p.dueRules()
	if len(rules) == 0 {
		return Report{Folder: f.path}, nil
	}
	report, err := p.run(ctx)
	if ctx.Err() == nil {
		for _, r := range rules {
			c.ledger.Last[r] = j.o.Now()
		}
	}
	c.ledger.forget(f, j.o.Now().Add(-set.TrashAge))
	return report, errors.Join(err, c.save())
}

// pass is one going over of a folder.
type pass struct {
	*Janitor
	*folder
	set    Settings
	due    func(Rule) bool
	dry    bool
	ledger *ledger // a copy if dry
	save   func() error
	report Report
}

func (j *Janitor) pass(f *folder, set Settings, l *ledger, due func(Rule) bool) *pass {
	return &pass{Janitor: j, folder: f, set: set, ledger: l, due: due, report: Report{Folder: f.path}}
}

func (p *pass) dueRules() (due []Rule) {
	for _, r := range folderRules {
		if p.due(r) {
			due = append(due, r)
		}
	}
	return due
}

func (p *pass) problem(err error) {
	if err != nil {
		p.report.Problems = append(p.report.Problems, err)
	}
}

// run does what is due.
func (p *pass) run(ctx context.Context) (Report, error) {
	s, err := p.survey(ctx, *p.ledger)
	if err != nil {
		return p.report, err
	}
	versioned := func(string) bool { return false }
	if len(s.ours)+len(p.ledger.Dropped) > 0 { // else there is nothing to ask git about
		if versioned, err = tracked(ctx, p.path); err != nil {
			p.problem(fmt.Errorf("nothing is cleaned in %s: %w", p.path, err))
			s.ours, versioned = nil, func(string) bool { return true }
		}
		found := len(s.ours)
		s.ours = slices.DeleteFunc(s.ours, func(c file) bool {
			return versioned(c.name) || c.kind == document && versioned(indexName)
		})
		p.report.Tracked = found - len(s.ours)
	}
	p.report.Stays = append(p.report.Stays, s.theirs...)
	if !p.dry {
		p.problem(p.unlinkLeftovers(s))
	}
	if p.due(History) {
		p.packHistory(ctx, s)
	}
	p.report.Files = s.files
	for _, c := range s.ours {
		p.report.Ours++
		p.report.OursBytes += c.info.Size()
	}
	for _, err := range s.failed {
		p.problem(fmt.Errorf("not looked at: %w", err))
	}
	if s.skipped > 0 {
		p.problem(fmt.Errorf("%d more could not be looked at", s.skipped))
	}
	p.take(ctx, s)
	if !p.dry && !versioned(indexName) {
		p.problem(p.settle(p.ledger))
	}
	return p.report, nil
}

// take sends to the trash what the rules say.
func (p *pass) take(ctx context.Context, s *survey) {
	plan := planner{set: p.set, now: p.o.Now(), prove: func(c file) error { return p.prove(c, *p.ledger) }}
	going, stays := plan.plan(s, p.due)
	p.report.Stays = append(p.report.Stays, stays...)
	if p.dry {
		for _, r := range going {
			p.report.Gone = append(p.report.Gone, Gone{r.name, r.info.Size(), r.used, r.why})
		}
		return
	}
	if going = p.foretell(going); len(going) == 0 {
		return
	}
	batch := p.o.Trash.Begin(p.path, p.o.Now())
	warned := false
	for _, r := range going {
		if ctx.Err() != nil {
			p.problem(context.Cause(ctx))
			break
		}
		err := batch.Take(p.root, r.name, r.info, r.why) //nolint:contextcheck // one file is taken whole or not at all
		switch {
		case errors.Is(err, fs.ErrNotExist): // somebody else took it
			continue
		case err != nil:
			p.report.Stays = append(p.report.Stays, Stay{r.name, err.Error()})
			if !warned && !errors.Is(err, trash.ErrChanged) && !errors.Is(err, trash.ErrNotPlain) {
				warned = true // of a full disk, say, once and not for each file
				p.problem(err)
			}
			continue
		}
		p.report.Gone = append(p.report.Gone, Gone{r.name, r.info.Size(), r.used, r.why})
	}
	p.problem(batch.Close()) //nolint:contextcheck // what was taken is to be on the disk
}

// foretell has the ledger remember what the index says of the documents that are to go,
// before they do: the process may be killed in between. Documents stay if it cannot.
func (p *pass) foretell(going []removal) []removal {
	if !slices.ContainsFunc(going, func(r removal) bool { return r.kind == document }) {
		return going
	}
	index, err := p.readIndex()
	if err == nil {
		for _, r := range going {
			name := path.Base(r.name)
			if entry, ok := index.documents[name]; r.kind == document && ok {
				p.ledger.Dropped = append(p.ledger.Dropped, dropped{name, entry, p.o.Now()})
			}
		}
		err = p.save()
	}
	if err == nil {
		return going
	}
	p.problem(fmt.Errorf("the document cache is left alone: %w", err))
	return slices.DeleteFunc(going, func(r removal) bool { return r.kind == document })
}

// packHistory sets the history aside, and packs what was set aside by whomever.
func (p *pass) packHistory(ctx context.Context, s *survey) {
	for i, c := range s.ours {
		if c.kind != liveHistory && c.kind != plainHistory || c.info.Size() == 0 {
			continue
		}
		name := c.name
		if err := p.prove(c, ledger{}); err != nil {
			p.report.Stays = append(p.report.Stays, Stay{c.name, "it is not packed: " + err.Error()})
			continue
		}
		if p.dry {
			p.report.Packed = append(p.report.Packed, name)
			continue
		}
		if c.kind == liveHistory {
			aside, err := p.setAside(ctx, p.o.Now(), func(ctx context.Context, do func() error) error {
				return p.o.Exclusive(ctx, filepath.Dir(p.path), do)
			})
			if err != nil {
				p.problem(fmt.Errorf("%s is not packed: %w", name, err))
				continue
			}
			if name = aside; name == "" {
				continue
			}
		}
		packed, made, err := p.pack(ctx, name)
		if err != nil {
			p.problem(err)
			continue
		}
		p.ledger.Made[packed] = made
		p.report.Packed = append(p.report.Packed, packed)
		// What became of it counts from here on.
		s.ours[i].name, s.ours[i].kind = packed, packedHistory
		if info, err := p.root.Lstat(packed); err == nil {
			s.ours[i].info = info
		}
	}
}

package github

import (
	"encoding/json"
	"fmt"
	"maps"
	"path/filepath"
	"strconv"
	"strings"
	"weak"

	"github.com/fairlead-dev/fairlead/internal/dialect/github/expression"
	"github.com/fairlead-dev/fairlead/internal/plan"
)

// Describe implements [dialect.Dialect].
func (d *Dialect) Describe(c *plan.Change) {
	if c.Payload == nil {
		c.Payload = payload(&plan.Context{Change: c})
		if c.Event == "workflow_dispatch" {
			delete(c.Payload, "inputs") // they are typed later, with their defaults
		}
		return
	}
	p := event(c.Payload)
	take := func(to *string, from string) {
		if from != "" {
			*to = from
		}
	}
	take(&c.Repository, p.text("repository", "full_name"))
	take(&c.DefaultBranch, p.text("repository", "default_branch"))
	take(&c.Actor, p.text("sender", "login"))
	switch c.Event {
	case "push":
		take(&c.Ref, p.text("ref"))
		take(&c.SHA, p.text("after"))
		take(&c.Before, p.text("before"))
	case "pull_request", "pull_request_target", "pull_request_review", "pull_request_review_comment":
		take(&c.HeadRef, p.text("pull_request", "head", "ref"))
		take(&c.BaseRef, p.text("pull_request", "base", "ref"))
		number := expression.String(p["number"])
		if number == "" {
			number = expression.String(p.object("pull_request")["number"])
		}
		switch {
		case c.Event == "pull_request_target":
			take(&c.Ref, prefixed("refs/heads/", c.BaseRef))
		case number != "":
			c.Ref = "refs/pull/" + number + "/merge"
		}
	case "release":
		take(&c.Ref, prefixed("refs/tags/", p.text("release", "tag_name")))
	case "create":
		prefix := "refs/heads/"
		if p.text("ref_type") == "tag" {
			prefix = "refs/tags/"
		}
		take(&c.Ref, prefixed(prefix, p.text("ref")))
	case "workflow_dispatch":
		take(&c.Ref, prefixed("refs/heads/", p.text("ref")))
		for name, v := range p.object("inputs") {
			if _, given := c.Inputs[name]; !given {
				if c.Inputs == nil {
					c.Inputs = map[string]string{}
				}
				c.Inputs[name] = expression.String(v)
			}
		}
	}
}

func prefixed(prefix, name string) string {
	if name == "" || strings.HasPrefix(name, "refs/") {
		return name
	}
	return prefix + name
}

// event is a payload, or an object in one. It comes from outside: nothing in
// it need be there or of the right type.
type event map[string]any

func (e event) object(path ...string) event {
	for _, key := range path {
		next, _ := e[key].(map[string]any)
		e = next
	}
	return e
}

func (e event) text(path ...string) string {
	s, _ := e.object(path[:len(path)-1]...)[path[len(path)-1]].(string)
	return s
}

// eventPath is where a job finds the event that started it.
func eventPath(d plan.Dirs) string {
	return filepath.Join(d.Temp, "_github_workflow", "event.json")
}

// payload is the event as GitHub would send it: what was given, with what is
// known of the change filled in where the payload says nothing. What nobody
// knows (IDs, avatars, whether the repository is private) is not made up.
func payload(c *plan.Context) map[string]any {
	change := c.Change
	p := make(map[string]any, len(change.Payload)+6)
	maps.Copy(p, change.Payload)
	fill := func(key string, value any) {
		if _, have := p[key]; !have {
			p[key] = value
		}
	}
	owner, name, _ := strings.Cut(change.Repository, "/")
	page, _, _ := servers(change.Server)
	repository := map[string]any{
		"name":           name,
		"full_name":      change.Repository,
		"owner":          map[string]any{"login": owner, "name": owner},
		"html_url":       page + "/" + change.Repository,
		"clone_url":      page + "/" + change.Repository + ".git",
		"default_branch": change.DefaultBranch,
	}
	fill("repository", repository)
	fill("sender", map[string]any{"login": change.Actor, "type": "User"})
	switch change.Event {
	case "push":
		fill("ref", change.Ref)
		fill("before", change.Before)
		fill("after", change.SHA)
		fill("pusher", map[string]any{"name": change.Actor})
		fill("head_commit", map[string]any{"id": change.SHA})
		fill("commits", []any{})
		fill("created", strings.Trim(change.Before, "0") == "")
		fill("deleted", false)
		fill("forced", false)
	case "pull_request", "pull_request_target", "pull_request_review", "pull_request_review_comment":
		if strings.HasPrefix(change.Event, "pull_request_review") {
			break
		}
		fill("action", defaultAction)
		number := 0.0
		if rest, ok := strings.CutPrefix(change.Ref, "refs/pull/"); ok {
			digits, _, _ := strings.Cut(rest, "/")
			if n, err := strconv.Atoi(digits); err == nil {
				number = float64(n)
			}
		}
		fill("number", number)
		fill("pull_request", map[string]any{
			"number": number,
			"state":  "open",
			"draft":  false,
			"head":   map[string]any{"ref": change.HeadRef, "sha": change.SHA, "repo": repository},
			"base":   map[string]any{"ref": change.BaseRef, "sha": change.Before, "repo": repository},
			"user":   map[string]any{"login": change.Actor},
			"labels": []any{},
		})
	case "workflow_dispatch":
		fill("ref", change.Ref)
		inputs := map[string]any{}
		for name, v := range c.Inputs {
			inputs[name] = expression.String(v)
		}
		for name, v := range change.Inputs {
			if _, have := inputs[name]; !have {
				inputs[name] = v
			}
		}
		if given, ok := p["inputs"].(map[string]any); ok {
			for name, v := range given {
				if _, have := inputs[name]; !have {
					inputs[name] = v
				}
			}
		}
		p["inputs"] = inputs
		if c.Pipeline != nil {
			fill("workflow", c.Pipeline.File)
		}
	}
	return p
}

// defaultAction is the activity of a pull request that nobody said anything
// about: new commits.
const defaultAction = "synchronize"

// eventFile is the event as a file for the steps. The jobs of a run share its
// text.
func (d *Dialect) eventFile(c *plan.Context, dirs plan.Dirs) (plan.File, error) {
	file := plan.File{Path: eventPath(dirs), Mode: 0o644}
	run := weak.Make(c)
	d.mu.Lock()
	if d.event.of == run {
		file.Body = d.event.text
	}
	d.mu.Unlock()
	if file.Body != nil {
		return file, nil
	}
	text, err := json.MarshalIndent(payload(c), "", "  ")
	if err != nil {
		return plan.File{}, fmt.Errorf("write the event: %w", err)
	}
	d.mu.Lock()
	d.event = eventText{of: run, text: text}
	d.mu.Unlock()
	file.Body = text
	return file, nil
}

// eventText is the event of a run as the text of a file.
type eventText struct {
	of   weak.Pointer[plan.Context]
	text []byte
}

package cache

import (
	"cmp"
	"slices"
	"strings"
	"time"
)

// Rule is what a project declares for a step, in fairlead.yaml.
type Rule struct {
	// Never keeps the step from being reused.
	Never bool `json:"never,omitempty"`
	// Network says what talking to others means: "" bars reuse; "pinned" says
	// that what comes back is determined by the inputs (a lock file);
	// "ignore" that it does not matter, for MaxAge.
	Network Network       `json:"network,omitempty"`
	MaxAge  time.Duration `json:"max_age,omitempty"`
	// Zones are further directories that are neither inputs nor outputs.
	Zones []string `json:"zones,omitempty"`
}

// Network is what talking to others means for reuse.
type Network string

// The meanings.
const (
	NetworkBars   Network = ""
	NetworkPinned Network = "pinned"
	NetworkIgnore Network = "ignore"
)

// Policy is what a project declares about reuse. The zero Policy is a
// sensible one.
type Policy struct {
	Zones []string // for all steps
	Rules []MatchedRule
}

// MatchedRule is a rule and the steps it is for: a pattern over
// "job/step name", "job/step id" and "job/step key", in which * is any text. Later rules
// add to earlier ones.
type MatchedRule struct {
	Match string
	Rule
}

// For is the rule for a step of a job. The step is known by several names: its
// name, its id, its key. All rules that match one of them count, in order: of
// two that say different things of Network or MaxAge the later one does, zones
// add up, and a step that is never reused stays so.
func (p *Policy) For(job string, names ...string) Rule {
	if p == nil {
		return Rule{}
	}
	all := Rule{Zones: slices.Clone(p.Zones)}
	for _, r := range p.Rules {
		matches := func(name string) bool { return matchText(r.Match, job+"/"+name) }
		if !slices.ContainsFunc(names, matches) {
			continue
		}
		all.Never = all.Never || r.Never
		all.Network = cmp.Or(r.Network, all.Network)
		all.MaxAge = cmp.Or(r.MaxAge, all.MaxAge)
		all.Zones = append(all.Zones, r.Zones...)
	}
	return all
}

// matchText reports whether the whole text matches a pattern in which * is any
// text.
func matchText(pattern, text string) bool {
	head, tail, star := strings.Cut(pattern, "*")
	if !star {
		return pattern == text
	}
	if !strings.HasPrefix(text, head) {
		return false
	}
	text = text[len(head):]
	for {
		part, rest, star := strings.Cut(tail, "*")
		if !star {
			return strings.HasSuffix(text, part)
		}
		i := strings.Index(text, part)
		if i < 0 {
			return false
		}
		text, tail = text[i+len(part):], rest
	}
}

package feature

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/fairlead-dev/fairlead/internal/plan"
)

// Toggles are features as Unleash has them: a feature is on for whom one of its strategies is
// for. They are compiled when they are read: conditions to functions, addresses and
// expressions parsed.
type Toggles struct {
	toggles map[string]*toggle
}

// toggle is a feature that is ready to be asked.
type toggle struct {
	name       string
	enabled    bool
	strategies []strategy
	malformed  bool // its strategies are no list
	variants   []weighted
	needs      []parent
}

type parent struct {
	Feature  string   `json:"feature"`
	Enabled  *bool    `json:"enabled"`
	Variants []string `json:"variants"`
}

type strategy struct {
	name        string
	applies     func(*asker) bool
	constraints []func(*asker) bool
	group       any // of its variants
	stickiness  string
	variants    []weighted
}

// weighted is a variant that Unleash chooses by weight.
type weighted struct {
	Name       string          `json:"name"`
	Weight     float64         `json:"weight"`
	Stickiness string          `json:"stickiness"`
	Payload    json.RawMessage `json:"payload"`
	Overrides  []struct {
		ContextName string   `json:"contextName"`
		Values      []string `json:"values"`
	} `json:"overrides"`
}

// rawToggle, rawStrategy and rawConstraint are what Unleash's API sends.
type rawToggle struct {
	Name         string          `json:"name"`
	Enabled      bool            `json:"enabled"`
	Description  string          `json:"description"`
	Strategies   json.RawMessage `json:"strategies"`
	Variants     []weighted      `json:"variants"`
	Dependencies []parent        `json:"dependencies"`
}

type rawStrategy struct {
	Name        string           `json:"name"`
	Parameters  map[string]any   `json:"parameters"`
	Constraints []*rawConstraint `json:"constraints"`
	Segments    []json.Number    `json:"segments"`
	Variants    []weighted       `json:"variants"`
}

type rawConstraint struct {
	ContextName     string   `json:"contextName"`
	Operator        string   `json:"operator"`
	Values          []string `json:"values,omitempty"`
	Value           any      `json:"value,omitempty"`
	Inverted        bool     `json:"inverted,omitempty"`
	CaseInsensitive bool     `json:"caseInsensitive,omitempty"`
}

type rawSegment struct {
	ID          json.Number     `json:"id"`
	Name        string          `json:"name"`
	Constraints []rawConstraint `json:"constraints"`
}

// unleashState is the body of Unleash's API: the features, or what happened to them.
type unleashState struct {
	Features []json.RawMessage `json:"features"`
	Segments []rawSegment      `json:"segments"`
	Events   []struct {
		Type        string            `json:"type"`
		Features    []json.RawMessage `json:"features"`
		Segments    []rawSegment      `json:"segments"`
		Feature     json.RawMessage   `json:"feature"`
		FeatureName string            `json:"featureName"`
		Segment     *rawSegment       `json:"segment"`
		SegmentID   json.Number       `json:"segmentId"`
	} `json:"events"`
}

// ReadUnleash reads what Unleash's API for clients answers (/api/client/features, or
// the events of /api/client/delta), as definitions: each feature becomes a flag with the
// variants on and off, and keeps Unleash's own rules.
func ReadUnleash(name string, src []byte) (*Definitions, []plan.Problem) {
	bad := func(message, hint string) []plan.Problem {
		return []plan.Problem{{Source: plan.Source{File: name}, Severity: plan.Error, Rule: rule, Message: message, Hint: hint}}
	}
	if len(src) > MaxFile {
		return nil, bad(fmt.Sprintf("the file has more than %d bytes", MaxFile), "export fewer projects at a time")
	}
	var state unleashState
	if err := json.Unmarshal(src, &state); err != nil {
		return nil, bad("this is no export of Unleash: "+err.Error(), "take the answer of /api/client/features")
	}
	features, segments := map[string]json.RawMessage{}, map[string][]rawConstraint{}
	put := func(raw json.RawMessage) {
		var head struct {
			Name string `json:"name"`
		}
		if json.Unmarshal(raw, &head) == nil && head.Name != "" {
			features[head.Name] = raw
		}
	}
	segment := func(list ...rawSegment) {
		for _, s := range list {
			segments[s.ID.String()] = s.Constraints
		}
	}
	segment(state.Segments...)
	for _, raw := range state.Features {
		put(raw)
	}
	for _, e := range state.Events {
		switch e.Type {
		case "hydration":
			clear(features)
			clear(segments)
			segment(e.Segments...)
			for _, raw := range e.Features {
				put(raw)
			}
		case "feature-updated":
			put(e.Feature)
		case "feature-removed":
			delete(features, e.FeatureName)
		case "segment-updated":
			if e.Segment != nil {
				segment(*e.Segment)
			}
		case "segment-removed":
			delete(segments, e.SegmentID.String())
		}
	}
	d := &Definitions{}
	var problems []plan.Problem
	for _, key := range slices.Sorted(maps.Keys(features)) {
		f, err := fromUnleash(features[key], segments)
		if err != nil {
			problems = append(problems, bad(fmt.Sprintf("feature %s: %v", key, err), "look at it in Unleash, and export again")...)
			continue
		}
		d.Flags = append(d.Flags, f)
	}
	return d, problems
}

// fromUnleash makes a flag of a feature. Segments are written out, so that a flag stands
// by itself.
func fromUnleash(raw json.RawMessage, segments map[string][]rawConstraint) (Flag, error) {
	var whole map[string]json.RawMessage
	var head rawToggle
	if err := json.Unmarshal(raw, &whole); err != nil {
		return Flag{}, err
	}
	if err := json.Unmarshal(raw, &head); err != nil {
		return Flag{}, err
	}
	var list []map[string]json.RawMessage
	if json.Unmarshal(head.Strategies, &list) == nil && list != nil {
		for _, s := range list {
			var ids []json.Number
			if s["segments"] == nil || json.Unmarshal(s["segments"], &ids) != nil {
				continue
			}
			var constraints []any
			if s["constraints"] != nil {
				if err := json.Unmarshal(s["constraints"], &constraints); err != nil {
					return Flag{}, err
				}
			}
			for _, id := range ids {
				found, ok := segments[id.String()]
				if !ok {
					constraints = append(constraints, nil) // a segment that is missing holds for nobody
				}
				for _, c := range found {
					constraints = append(constraints, c)
				}
			}
			delete(s, "segments")
			s["constraints"], _ = json.Marshal(constraints) // came of JSON
		}
		whole["strategies"], _ = json.Marshal(list)
	}
	delete(whole, "segments")
	raw, _ = json.Marshal(whole)
	if _, err := readToggle(raw); err != nil {
		return Flag{}, err
	}
	state := Disabled
	if head.Enabled {
		state = Enabled
	}
	return Flag{Key: head.Name, State: state, Default: "off",
		Variants: []Variant{{"on", json.RawMessage("true")}, {"off", json.RawMessage("false")}},
		Care:     Care{Description: head.Description, Off: "off", Unleash: raw}}, nil
}

// readToggle compiles a feature.
func readToggle(raw json.RawMessage) (*toggle, error) {
	var r rawToggle
	if err := json.Unmarshal(raw, &r); err != nil {
		return nil, err
	}
	t := &toggle{name: r.Name, enabled: r.Enabled, variants: r.Variants, needs: r.Dependencies}
	var list []rawStrategy
	if json.Unmarshal(r.Strategies, &list) != nil || list == nil {
		t.malformed = true
		return t, nil
	}
	for _, s := range list {
		c := strategy{name: s.Name, applies: strategyOf(&s, r.Name), variants: s.Variants, group: s.Parameters["groupId"]}
		c.stickiness, _ = s.Parameters["stickiness"].(string)
		if len(s.Variants) > 0 && s.Variants[0].Stickiness != "" {
			c.stickiness = s.Variants[0].Stickiness
		}
		for _, x := range s.Constraints {
			c.constraints = append(c.constraints, constraintOf(x))
		}
		if len(s.Segments) > 0 { // they were not written out
			c.constraints = append(c.constraints, never)
		}
		t.strategies = append(t.strategies, c)
	}
	return t, nil
}

func (t *Toggles) add(name string, x *toggle) { t.toggles[name] = x }

// asker is who asks for a feature: Unleash's context.
type asker struct {
	fields     map[string]any
	properties map[string]any
	now        time.Time
}

// newAsker makes Unleash's context of OpenFeature's: the targeting key is the user, and
// what Unleash has no field for is a property.
func newAsker(context map[string]any, now time.Time) *asker {
	a := &asker{fields: context, now: now}
	a.properties, _ = context["properties"].(map[string]any)
	if at, ok := context["currentTime"].(string); ok {
		if t, ok := readDate(at); ok {
			a.now = t
		}
	}
	return a
}

// value is an attribute as a text; ok is false when it is not given.
func (a *asker) value(field string) (string, bool) {
	v := a.fields[field]
	if v == nil && field == "userId" {
		v = a.fields[targetingKey]
	}
	if v == nil {
		v = a.properties[field]
	}
	if v == nil {
		return "", false
	}
	return text(v), true
}

func (a *asker) known(field string) string { v, _ := a.value(field); return v }

// Enabled says whether a feature is on.
func (t *Toggles) enabled(name string, a *asker) bool {
	on, _ := t.resolve(t.toggles[name], a)
	return on
}

// resolve says whether a feature is on, and which variant the strategy that says so
// chooses; nil for none.
func (t *Toggles) resolve(f *toggle, a *asker) (on bool, chosen *weighted) {
	if f == nil || !t.parents(f, a) || !f.enabled || f.malformed {
		return false, nil
	}
	if len(f.strategies) == 0 {
		return true, nil
	}
	for i := range f.strategies {
		s := &f.strategies[i]
		if !s.holds(a) {
			continue
		}
		if len(s.variants) > 0 {
			group := "undefined"
			if s.group != nil {
				group = text(s.group)
			}
			chosen = selectVariant(group, s.stickiness, s.variants, a)
		}
		return true, chosen
	}
	return false, nil
}

func (s *strategy) holds(a *asker) bool {
	for _, c := range s.constraints {
		if !c(a) {
			return false
		}
	}
	return s.applies(a)
}

// parents says whether the features that this one depends on are as they have to be. A
// parent may have no parents itself.
func (t *Toggles) parents(f *toggle, a *asker) bool {
	for _, p := range f.needs {
		up := t.toggles[p.Feature]
		if up == nil || len(up.needs) > 0 {
			return false
		}
		switch {
		case p.Enabled != nil && !*p.Enabled:
			if t.enabled(p.Feature, a) {
				return false
			}
		case len(p.Variants) > 0:
			v := t.variant(p.Feature, a)
			if !v.FeatureEnabled || !slices.Contains(p.Variants, v.Name) {
				return false
			}
		case !t.enabled(p.Feature, a):
			return false
		}
	}
	return true
}

// Chosen is the variant of a feature, as Unleash's clients give it.
type Chosen struct {
	Name           string          `json:"name"`
	Payload        json.RawMessage `json:"payload,omitempty"`
	Enabled        bool            `json:"enabled"`
	FeatureEnabled bool            `json:"feature_enabled"`
}

func (t *Toggles) variant(name string, a *asker) Chosen {
	f := t.toggles[name]
	on, v := t.resolve(f, a)
	if on && v == nil && len(f.variants) > 0 {
		v = selectVariant(f.name, f.variants[0].Stickiness, f.variants, a)
	}
	if v == nil {
		return Chosen{Name: "disabled", FeatureEnabled: on}
	}
	return Chosen{v.Name, v.Payload, true, true}
}

// toggled is the answer of a flag that keeps Unleash's rules.
func (s *Set) toggled(c *compiled, context map[string]any, now time.Time) Evaluation {
	a := newAsker(context, now)
	chosen := s.toggles.variant(c.key, a)
	if !chosen.FeatureEnabled {
		return c.answer(c.variants["off"], DefaultReason)
	}
	e := c.answer(c.variants["on"], TargetingMatch)
	if chosen.Enabled {
		e.Variant = chosen.Name
		e.Metadata, e.metadata = merged(c.metadata, map[string]any{"payload": payloadText(chosen.Payload)}), nil
	}
	return e
}

func payloadText(raw json.RawMessage) string {
	var p struct {
		Value any `json:"value"`
	}
	if json.Unmarshal(raw, &p) != nil || p.Value == nil {
		return ""
	}
	return text(p.Value)
}

const (
	strategySeed = 0
	variantSeed  = 86028157
)

// bucketOf is the place of somebody among n, from 1.
func bucketOf(seed uint32, group, id string, n uint32) uint32 {
	return murmur(seed, group, ":", id)%n + 1
}

func selectVariant(group, stickiness string, variants []weighted, a *asker) *weighted {
	var total float64
	for i := range variants {
		total += variants[i].Weight
	}
	if total <= 0 || total > maxWeight {
		return nil
	}
	for i := range variants {
		for _, o := range variants[i].Overrides {
			if v, ok := a.value(o.ContextName); ok && slices.Contains(o.Values, v) {
				return &variants[i]
			}
		}
	}
	target := float64(bucketOf(variantSeed, group, a.seed(stickiness), uint32(total)))
	var sum float64
	for i := range variants {
		if variants[i].Weight == 0 {
			continue
		}
		if sum += variants[i].Weight; sum >= target {
			return &variants[i]
		}
	}
	return nil
}

// seed is what a user is told apart by where variants are chosen.
func (a *asker) seed(stickiness string) string {
	if stickiness != "" && stickiness != "default" {
		if v := a.known(stickiness); v != "" {
			return v
		}
		return anybody()
	}
	for _, field := range []string{"userId", "sessionId", "remoteAddress"} {
		if v := a.known(field); v != "" {
			return v
		}
	}
	return anybody()
}

// anybody is who nothing is known of.
func anybody() string { return strconv.Itoa(1 + rand.IntN(100_000)) }

func never(*asker) bool { return false }

// strategyOf compiles a strategy; one that nobody knows is for nobody.
func strategyOf(s *rawStrategy, feature string) func(*asker) bool {
	param := func(name string) string {
		if v := s.Parameters[name]; v != nil {
			return text(v)
		}
		return ""
	}
	list := func(name string) []string {
		values := strings.Split(param(name), ",")
		for i := range values {
			values[i] = strings.TrimSpace(values[i])
		}
		return values
	}
	switch s.Name {
	case "default":
		return func(*asker) bool { return true }
	case "userWithId":
		if param("userIds") == "" {
			return never
		}
		ids := list("userIds")
		return func(a *asker) bool { v, ok := a.value("userId"); return ok && slices.Contains(ids, v) }
	case "applicationHostname":
		if param("hostNames") == "" {
			return never
		}
		names := list("hostNames")
		return func(a *asker) bool {
			v, ok := a.value("hostname")
			return ok && slices.ContainsFunc(names, func(n string) bool { return strings.EqualFold(n, v) })
		}
	case "remoteAddress":
		if param("IPs") == "" {
			return never
		}
		return inNetworks(list("IPs"), "remoteAddress")
	case "gradualRolloutUserId", "gradualRolloutSessionId":
		field := "userId"
		if s.Name == "gradualRolloutSessionId" {
			field = "sessionId"
		}
		percent, group := number(s.Parameters["percentage"]), param("groupId")
		return func(a *asker) bool {
			id := a.known(field)
			return id != "" && percent > 0 && float64(bucketOf(strategySeed, group, id, 100)) <= percent
		}
	case "gradualRolloutRandom":
		percent := number(s.Parameters["percentage"])
		return func(*asker) bool { return percent >= float64(1+rand.IntN(100)) }
	case "flexibleRollout":
		return flexible(number(s.Parameters["rollout"]), param("stickiness"), param("groupId"), feature)
	}
	return never
}

func flexible(percent float64, stickiness, group, feature string) func(*asker) bool {
	if group == "" {
		group = feature
	}
	return func(a *asker) bool {
		id := ""
		switch stickiness {
		case "", "default":
			if id = a.known("userId"); id == "" {
				id = a.known("sessionId")
			}
			if id == "" {
				id = anybody()
			}
		case "random":
			id = anybody()
		default:
			id = a.known(stickiness)
		}
		return id != "" && percent > 0 && float64(bucketOf(strategySeed, group, id, 100)) <= percent
	}
}

// constraintOf compiles a condition; one that cannot be understood holds for nobody,
// inverted or not.
func constraintOf(c *rawConstraint) func(*asker) bool {
	if c == nil {
		return never
	}
	holds := conditionOf(c)
	if holds == nil {
		return never
	}
	if c.Inverted {
		return func(a *asker) bool { return !holds(a) }
	}
	return holds
}

func conditionOf(c *rawConstraint) func(*asker) bool {
	field, single := c.ContextName, ""
	if c.Value != nil {
		single = text(c.Value)
	}
	values := make([]string, 0, len(c.Values))
	for _, v := range c.Values {
		if v != "" {
			values = append(values, strings.TrimSpace(v))
		}
	}
	with := func(ok func(string) bool) func(*asker) bool {
		return func(a *asker) bool { v, given := a.value(field); return given && ok(v) }
	}
	switch c.Operator {
	case "IN":
		return with(func(v string) bool { return slices.Contains(values, v) })
	case "NOT_IN":
		return func(a *asker) bool { v, given := a.value(field); return !given || !slices.Contains(values, v) }
	case "STR_STARTS_WITH":
		return with(affixes(values, c.CaseInsensitive, strings.HasPrefix))
	case "STR_ENDS_WITH":
		return with(affixes(values, c.CaseInsensitive, strings.HasSuffix))
	case "STR_CONTAINS":
		return with(affixes(values, c.CaseInsensitive, strings.Contains))
	case "NUM_EQ", "NUM_GT", "NUM_GTE", "NUM_LT", "NUM_LTE":
		n := number(c.Value)
		op := map[string]comparison{"NUM_EQ": same, "NUM_GT": greater, "NUM_GTE": greaterOrEqual, "NUM_LT": less, "NUM_LTE": lessOrEqual}[c.Operator]
		return with(func(v string) bool { return op.holds(number(v), n) })
	case "DATE_AFTER", "DATE_BEFORE":
		at, ok := readDate(single)
		after := c.Operator == "DATE_AFTER"
		return func(a *asker) bool { return ok && (after && a.now.After(at) || !after && a.now.Before(at)) }
	case "SEMVER_EQ", "SEMVER_GT", "SEMVER_LT", "SEMVER_GTE", "SEMVER_LTE":
		than, ok := readVersion(strings.TrimPrefix(strings.TrimSpace(single), "v"))
		op := map[string]string{"SEMVER_EQ": "=", "SEMVER_GT": ">", "SEMVER_LT": "<", "SEMVER_GTE": ">=", "SEMVER_LTE": "<="}[c.Operator]
		return with(func(v string) bool {
			x, is := readVersion(strings.TrimSpace(v))
			return ok && is && versionsCompare(op, x, than) == true
		})
	case "REGEX":
		pattern := single
		if c.CaseInsensitive {
			pattern = "(?i)" + pattern
		}
		re, err := regexp.Compile(pattern)
		return with(func(v string) bool { return err == nil && re.MatchString(v) })
	case "IN_CIDR":
		return inNetworks(values, field)
	}
	return nil
}

func affixes(values []string, fold bool, has func(s, part string) bool) func(string) bool {
	if fold {
		for i := range values {
			values[i] = strings.ToLower(values[i])
		}
	}
	return func(v string) bool {
		if fold {
			v = strings.ToLower(v)
		}
		return slices.ContainsFunc(values, func(part string) bool { return has(v, part) })
	}
}

// inNetworks is whether an attribute is an address of one of the networks, or one of the
// texts.
func inNetworks(values []string, field string) func(*asker) bool {
	var networks []netip.Prefix
	for _, v := range values {
		if p, err := netip.ParsePrefix(v); err == nil {
			networks = append(networks, p.Masked())
		} else if a, err := netip.ParseAddr(v); err == nil {
			networks = append(networks, netip.PrefixFrom(a, a.BitLen()))
		}
	}
	return func(a *asker) bool {
		v, ok := a.value(field)
		if !ok {
			return false
		}
		if slices.Contains(values, v) && field == "remoteAddress" && len(networks) == 0 {
			return true
		}
		ip, err := netip.ParseAddr(v)
		return err == nil && slices.ContainsFunc(networks, func(p netip.Prefix) bool { return p.Contains(ip) })
	}
}

func readDate(s string) (time.Time, bool) {
	for _, form := range []string{time.RFC3339Nano, "2006-01-02T15:04:05.999999999", "2006-01-02T15:04Z07:00", "2006-01-02T15:04", time.DateOnly} {
		if t, err := time.Parse(form, s); err == nil {
			return t, true
		}
	}
	return time.Time{}, false
}

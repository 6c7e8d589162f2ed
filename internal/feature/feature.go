// Package feature is feature flags: what of a program's abilities is on, for whom.
//
// A [Flag] has variants, and says who gets which: a rule asks for attributes of the user (JSON
// Logic, as flagd's definition format has it), a [Split] divides the rest by a stable
// hash, and whoever is left gets the default. A flag may wait for a date, need other flags, and
// be killed, which beats all else. Around the answer stands what a team must know of a flag:
// whose it is, since when, and how a share of it grows while a metric holds ([Guard]).
//
//	file (flagd JSON or YAML, Unleash JSON) ── Read ──► Definitions ── Compile ──► Set
//	                                                                                │ Evaluate(key, context, time)
//	              killed? ─► off? ─► its time? ─► what it needs? ─► rule ─► split ─► default
//
// A [Set] is immutable, safe for any number of goroutines, and made of closures: nothing is
// parsed, looked up by name or formatted while a flag is evaluated that could have been when the
// set was made. Values, variants, reasons and error codes are those of flagd's own evaluator for
// the same file; a test asks both. Flags that come from Unleash keep its strategies and its
// hashing ([Toggles]), so nobody changes sides because a team changed its server.
//
// The package does no I/O and reads no clock.
package feature

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/fairlead-dev/fairlead/internal/plan"
)

// rule is the name of all problems with definitions.
const rule = "flags"

// Name is the default name of a file of definitions.
const Name = "flags.json"

// State says whether a flag is answered at all.
type State string

// The states, as flagd's format writes them.
const (
	Enabled  State = "ENABLED"
	Disabled State = "DISABLED"
)

// Flag is one flag in one environment.
type Flag struct {
	Key      string
	State    State
	Variants []Variant // in the order of their file
	Default  string    // variant; "" for none: the program's own default counts
	// Rule is JSON Logic that gives the name of a variant, or null; nil for none. References to
	// evaluators have been resolved.
	Rule     json.RawMessage
	Metadata map[string]any // texts, numbers, booleans
	Care     Care
	Source   plan.Source // in a file; the zero Source when it came from elsewhere

	rule *node // Rule with its places, when it was read from a file
}

// Variant is a value that a flag may have.
type Variant struct {
	Name  string
	Value json.RawMessage
}

// Care is what flagd's format has no words for. It stands below the key "fairlead" of a
// flag, where other readers of the format do not look.
type Care struct {
	Description string    `json:"description,omitempty"`
	Owner       string    `json:"owner,omitempty"`
	Tags        []string  `json:"tags,omitempty"`
	Created     time.Time `json:"created,omitzero"`
	// Off is the variant that counts while the flag is killed, disabled, not in its time or
	// lacks what it needs; "" for the program's own default.
	Off string `json:"off,omitempty"`
	// Killed is why somebody pulled the kill switch; "" if nobody has.
	Killed string         `json:"killed,omitempty"`
	From   time.Time      `json:"from,omitzero"`  // it begins to count
	Until  time.Time      `json:"until,omitzero"` // it no longer counts
	Needs  []Prerequisite `json:"needs,omitempty"`
	Split  *Split         `json:"split,omitempty"`
	Guard  *Guard         `json:"guard,omitempty"`
	// Fence is of the rollout that sets the share; lower ones are refused.
	Fence int64 `json:"fence,omitempty"`
	// Unleash is the feature as Unleash's API has it, segments written out; nil for a flag that
	// has its own rule.
	Unleash json.RawMessage `json:"unleash,omitempty"`
}

// Prerequisite is another flag that must have one of the variants.
type Prerequisite struct {
	Flag     string   `json:"flag"`
	Variants []string `json:"variants"`
}

// Split divides the users for whom the rule had no answer.
type Split struct {
	// By is the attribute that users are told apart by; "" for the targeting key.
	By     string  `json:"by,omitempty"`
	Shares []Share `json:"shares"` // the rest gets the default
}

// Share is how many of the users get a variant.
type Share struct {
	Variant string  `json:"variant"`
	Percent float64 `json:"percent"` // 0 to 100, to three decimals
}

// Guard is how the share of a variant grows by itself.
type Guard struct {
	Variant string    `json:"variant"`
	Steps   []float64 `json:"steps"` // percent, growing
	// Metric is the check that has to hold, by its name in fairlead.yaml.
	Metric string `json:"metric,omitempty"`
	Hold   string `json:"hold,omitempty"` // how long each step is watched: "10m"
}

// shareParts is what a share is a number of parts of: a thousandth of a percent.
const shareParts = 100_000

// Reason says how an answer was found, in OpenFeature's words.
type Reason string

// The reasons.
const (
	Static         Reason = "STATIC"          // it is the same for everybody
	TargetingMatch Reason = "TARGETING_MATCH" // the rule said so
	SplitReason    Reason = "SPLIT"           // the user's share
	DefaultReason  Reason = "DEFAULT"         // nothing said anything
	DisabledReason Reason = "DISABLED"        // the flag is off
	ErrorReason    Reason = "ERROR"
)

// ErrorCode says what went wrong, in OpenFeature's words.
type ErrorCode string

// The error codes.
const (
	FlagNotFound ErrorCode = "FLAG_NOT_FOUND"
	ParseError   ErrorCode = "PARSE_ERROR"
	General      ErrorCode = "GENERAL"
)

// targetingKey is the key of a context that says who asks.
const targetingKey = "targetingKey"

// Evaluation is the answer to what a flag is for somebody.
type Evaluation struct {
	Key     string
	Value   any    // nil when the program's own default counts
	JSON    []byte // Value as JSON; nil when there is none
	Variant string // "" when there is none
	Reason  Reason
	Code    ErrorCode // "" unless Reason is [ErrorReason]
	Details string    // for people: why
	// Metadata is of the flag, over that of its set. It is shared: nobody changes it.
	Metadata map[string]any

	metadata []byte // as JSON, if that is known
}

// Definitions are flags as a file has them.
type Definitions struct {
	Flags    []Flag         // by key
	Metadata map[string]any // of all of them
}

// Find is the flag with that key; nil when there is none.
func (d *Definitions) Find(key string) *Flag {
	i, ok := slices.BinarySearchFunc(d.Flags, key, func(f Flag, key string) int { return compareText(f.Key, key) })
	if !ok {
		return nil
	}
	return &d.Flags[i]
}

// Over lays the definitions over others: flags and metadata of the same name replace theirs.
func (d *Definitions) Over(under *Definitions) *Definitions {
	all := &Definitions{Flags: slices.Clone(under.Flags), Metadata: merged(under.Metadata, d.Metadata)}
	for _, f := range d.Flags {
		if old := all.Find(f.Key); old != nil {
			*old = f
			continue
		}
		all.Flags = append(all.Flags, f)
		all.sort()
	}
	return all
}

func (d *Definitions) sort() {
	slices.SortStableFunc(d.Flags, func(a, b Flag) int { return compareText(a.Key, b.Key) })
}

func compareText(a, b string) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

func merged(under, over map[string]any) map[string]any {
	if len(under) == 0 {
		return over
	}
	all := make(map[string]any, len(under)+len(over))
	for k, v := range under {
		all[k] = v
	}
	for k, v := range over {
		all[k] = v
	}
	return all
}

// Set is definitions that are ready to be asked.
type Set struct {
	flags    map[string]*compiled
	keys     []string
	metadata map[string]any
	toggles  *Toggles
	digest   string
	scopes   sync.Pool
}

// compiled is a flag that is ready to be asked.
type compiled struct {
	key        string
	enabled    bool
	variants   map[string]*value
	byDefault  *value
	off        *value
	rule       expr
	broken     string // why the rule could not be compiled
	split      []bucket
	by         string
	total      uint64
	killed     string
	from       int64 // Unix nanoseconds; 0 for none
	until      int64
	needs      []need
	metadata   map[string]any
	json       []byte // of metadata
	toggle     bool   // it is one of Unleash's
	fluctuates bool   // it may answer differently at another time, or to others
}

type need struct {
	flag     *compiled
	variants []string
}

type value struct {
	name  string
	value any
	json  []byte
}

// Compile makes a set. Problems are with what flags say of each other, and with rules that
// were not read from a file; a flag that has one answers with an error.
func Compile(d *Definitions) (*Set, []plan.Problem) {
	s := &Set{flags: make(map[string]*compiled, len(d.Flags)), metadata: d.Metadata, toggles: &Toggles{toggles: map[string]*toggle{}}}
	s.scopes.New = func() any { return new(scope) }
	var problems []plan.Problem
	report := func(f *Flag, message, hint string) {
		problems = append(problems, plan.Problem{Source: f.Source, Severity: plan.Error, Rule: rule, Message: fmt.Sprintf("flag %s: %s", f.Key, message), Hint: hint})
	}
	sum := sha256.New()
	for i := range d.Flags {
		f := &d.Flags[i]
		c := s.compile(f, report)
		s.flags[f.Key] = c
		s.keys = append(s.keys, f.Key)
		sum.Write(f.appendJSON(nil))
		sum.Write([]byte{'\n'})
	}
	b, _ := json.Marshal(d.Metadata)
	sum.Write(b)
	s.digest = hex.EncodeToString(sum.Sum(nil)[:16])
	s.connect(d, report)
	return s, problems
}

// compile makes one flag ready.
func (s *Set) compile(f *Flag, report func(*Flag, string, string)) *compiled {
	c := &compiled{key: f.Key, enabled: f.State == Enabled, variants: make(map[string]*value, len(f.Variants)), killed: f.Care.Killed, metadata: merged(s.metadata, f.Metadata)}
	for _, v := range f.Variants {
		x := &value{name: v.Name, json: v.Value}
		if json.Unmarshal(v.Value, &x.value) != nil {
			report(f, "the value of variant "+v.Name+" is no JSON", "write a boolean, a text, a number or an object")
		}
		c.variants[v.Name] = x
	}
	c.byDefault, c.off = c.variants[f.Default], c.variants[f.Care.Off]
	if !f.Care.From.IsZero() {
		c.from = f.Care.From.UnixNano()
	}
	if !f.Care.Until.IsZero() {
		c.until = f.Care.Until.UnixNano()
	}
	if f.Rule != nil {
		n := f.rule
		if n == nil {
			var bad *plan.Problem
			if n, bad = (&parser{name: f.Key, left: maxNodes}).json(f.Rule); bad != nil {
				c.broken = bad.Message
				report(f, bad.Message, bad.Hint)
			}
		}
		if n != nil && (n.kind != isObject || len(n.keys) > 0) {
			var err error
			if c.rule, err = compileRule(n); err != nil {
				c.broken = err.Error()
				if f.rule == nil { // else its reader has told of it
					report(f, err.Error(), "mend the rule")
				}
			}
		}
	}
	if split := f.Care.Split; split != nil {
		c.by = split.By
		var given uint64
		for _, share := range split.Shares {
			w := uint64(share.Percent*shareParts/100 + 0.5)
			given += w
			c.split = append(c.split, bucket{c.variants[share.Variant], w})
		}
		c.total = max(given, shareParts)
	}
	if f.Care.Unleash != nil {
		if t, err := readToggle(f.Care.Unleash); err != nil {
			c.broken = err.Error()
			report(f, "what Unleash says of it cannot be read: "+err.Error(), "import it again")
		} else {
			c.toggle = true
			s.toggles.add(f.Key, t)
		}
	}
	if len(c.metadata) > 0 {
		c.json = appendValue(nil, c.metadata)
	}
	c.fluctuates = c.rule != nil || c.broken != "" || c.split != nil || c.from != 0 || c.until != 0 || len(f.Care.Needs) > 0 || c.toggle
	return c
}

// connect finds what flags need, and whether that leads in a circle.
func (s *Set) connect(d *Definitions, report func(*Flag, string, string)) {
	const visiting, done = 1, 2
	state := make(map[string]int, len(d.Flags))
	var visit func(f *Flag) bool
	visit = func(f *Flag) bool {
		switch state[f.Key] {
		case visiting:
			return false
		case done:
			return true
		}
		state[f.Key] = visiting
		c := s.flags[f.Key]
		for _, n := range f.Care.Needs {
			other := d.Find(n.Flag)
			switch {
			case other == nil:
				report(f, "it needs the flag "+n.Flag+", which there is not", "add that flag, or remove the need")
				c.broken = "needs the flag " + n.Flag + ", which there is not"
			case !visit(other):
				report(f, "what it needs leads back to it, by way of "+n.Flag, "a flag may not need itself: remove one of the needs")
				c.broken = "what it needs leads back to it"
			default:
				c.needs = append(c.needs, need{s.flags[n.Flag], n.Variants})
			}
		}
		state[f.Key] = done
		return true
	}
	for i := range d.Flags {
		visit(&d.Flags[i])
	}
}

// Digest names what the set says: two sets with one digest give the same answers.
func (s *Set) Digest() string { return s.digest }

// Keys are the keys of all flags, sorted. Nobody changes them.
func (s *Set) Keys() []string { return s.keys }

// Metadata is that of the set.
func (s *Set) Metadata() map[string]any { return s.metadata }

// Timed reports whether a flag of the set begins or ends to count between two times.
func (s *Set) Timed(after, until time.Time) bool {
	a, b := after.UnixNano(), until.UnixNano()
	for _, c := range s.flags {
		if c.from > a && c.from <= b || c.until > a && c.until <= b {
			return true
		}
	}
	return false
}

// Evaluate is what a flag is for whom the context describes, at a time. The context is not
// changed.
func (s *Set) Evaluate(flag string, context map[string]any, now time.Time) Evaluation {
	c := s.flags[flag]
	if c == nil {
		return Evaluation{Key: flag, Reason: ErrorReason, Code: FlagNotFound, Details: "there is no flag " + strconv.Quote(flag), Metadata: s.metadata}
	}
	return s.evaluate(c, context, now)
}

// All evaluates all flags that are not disabled, in the order of their keys.
func (s *Set) All(context map[string]any, now time.Time) []Evaluation {
	all := make([]Evaluation, 0, len(s.keys))
	for _, key := range s.keys {
		if c := s.flags[key]; c.enabled || c.off != nil {
			all = append(all, s.evaluate(c, context, now))
		}
	}
	return all
}

func (s *Set) evaluate(c *compiled, context map[string]any, now time.Time) Evaluation {
	switch at := now.UnixNano(); {
	case c.killed != "":
		return c.turnedOff("it was killed: " + c.killed)
	case !c.enabled:
		return c.turnedOff("it is disabled")
	case c.from != 0 && at < c.from:
		return c.turnedOff("its time has not come")
	case c.until != 0 && at >= c.until:
		return c.turnedOff("its time is over")
	case c.broken != "":
		return Evaluation{Key: c.key, Reason: ErrorReason, Code: ParseError, Details: c.broken, Metadata: c.metadata}
	}
	for _, n := range c.needs {
		if got := s.evaluate(n.flag, context, now); !slices.Contains(n.variants, got.Variant) {
			return c.turnedOff("flag " + n.flag.key + ", which it needs, is not as it has to be")
		}
	}
	switch {
	case c.toggle:
		return s.toggled(c, context, now)
	case c.rule != nil:
		sc := s.scopes.Get().(*scope)
		got, err := sc.ask(c, context, now)
		s.scopes.Put(sc)
		switch name, ok := got.(string); {
		case err != nil:
			return Evaluation{Key: c.key, Reason: ErrorReason, Code: General, Details: "the rule failed: " + err.Error(), Metadata: c.metadata}
		case ok:
			return c.variant(name)
		case got != nil:
			return c.variant(text(got))
		}
	}
	if c.split != nil {
		if v, _ := c.divide(context).(*value); v != nil {
			return c.answer(v, SplitReason)
		}
	}
	reason := Static
	if c.fluctuates {
		reason = DefaultReason
	}
	if c.byDefault == nil {
		return Evaluation{Key: c.key, Reason: DefaultReason, Metadata: c.metadata}
	}
	return c.answer(c.byDefault, reason)
}

// ask works a rule out.
func (s *scope) ask(c *compiled, context map[string]any, now time.Time) (any, error) {
	if s.fuel == nil {
		s.fuel = new(int)
	}
	*s.fuel = maxFuel
	s.data, s.top, s.flag, s.now, s.last = context, true, c.key, now.Unix(), nil
	v, err := c.rule(s)
	s.data, s.last = nil, nil // the pool keeps nobody's attributes
	return v, err
}

func (c *compiled) divide(context map[string]any) any {
	by := targetingKey
	if c.by != "" {
		by = c.by
	}
	user := context[by]
	if falsy(user) {
		return nil
	}
	return choose(murmur(0, c.key, text(user)), c.split, c.total)
}

func (c *compiled) answer(v *value, reason Reason) Evaluation {
	return Evaluation{Key: c.key, Value: v.value, JSON: v.json, Variant: v.name, Reason: reason, Metadata: c.metadata, metadata: c.json}
}

func (c *compiled) variant(name string) Evaluation {
	if v := c.variants[name]; v != nil {
		return c.answer(v, TargetingMatch)
	}
	return Evaluation{Key: c.key, Reason: ErrorReason, Code: General, Details: fmt.Sprintf("the rule gives the variant %.80q, which the flag does not have", name), Metadata: c.metadata}
}

// turnedOff is the answer of a flag that does not count.
func (c *compiled) turnedOff(why string) Evaluation {
	e := Evaluation{Key: c.key, Reason: DisabledReason, Details: why, Metadata: c.metadata}
	if c.off != nil {
		e = c.answer(c.off, DisabledReason)
		e.Details = why
	}
	return e
}

// AppendJSON writes the evaluation as OFREP has it.
func (e *Evaluation) AppendJSON(b []byte) []byte {
	b = append(b, `{"key":`...)
	b = appendText(b, e.Key)
	if e.Code != "" {
		b = append(b, `,"errorCode":"`...)
		b = append(b, e.Code...)
		b = append(b, '"')
	} else {
		if e.JSON != nil {
			b = append(b, `,"value":`...)
			b = append(b, e.JSON...)
		}
		b = append(b, `,"reason":"`...)
		b = append(b, e.Reason...)
		b = append(b, '"')
		if e.Variant != "" {
			b = append(b, `,"variant":`...)
			b = appendText(b, e.Variant)
		}
	}
	if e.Details != "" && e.Code != "" {
		b = append(b, `,"errorDetails":`...)
		b = appendText(b, e.Details)
	}
	switch {
	case e.metadata != nil:
		b = append(append(b, `,"metadata":`...), e.metadata...)
	case len(e.Metadata) > 0:
		b = appendValue(append(b, `,"metadata":`...), e.Metadata)
	}
	return append(b, '}')
}

package workflow

import (
	"slices"
	"strings"

	"github.com/fairlead-dev/fairlead/internal/dialect/github/expression"
)

// A definition says what may stand in one place of a file: any of the kinds of
// scalar it names, a list of something, one of some mappings. Several at once
// make a choice, decided by what is found.
//
// Contexts are the names and functions that expressions may use there, together
// with those of the definitions around it. A place without any allows no
// expressions.
type definition struct {
	contexts []string // "github", "hashFiles(1,255)"

	null, boolean, number bool
	texts                 []text // any of them
	list                  *definition
	objects               []*object // the keys found decide which

	condition bool // the text is an expression, with or without ${{ }}
	mild      bool // what is wrong here, or below, does not keep GitHub from running the file
}

// text constrains a string.
type text struct {
	filled bool   // may not be empty
	word   string // must be exactly this, when not empty
}

// object is a mapping: keys known by name, then any others.
type object struct {
	keys  []key
	other *definition // of keys not known by name; nil: there are none
	lax   bool        // other keys are ignored, which is worth a warning
}

type key struct {
	name     string
	value    *definition
	required bool
	mild     bool // required only by some readers: warn when missing
}

// The parts a table is made of. A table reads like the file it describes.

func anyText() *definition    { return &definition{texts: []text{{}}} }
func filledText() *definition { return &definition{texts: []text{{filled: true}}} }
func boolean() *definition    { return &definition{boolean: true} }
func number() *definition     { return &definition{number: true} }
func null() *definition       { return &definition{null: true} }

func word(words ...string) *definition {
	d := &definition{}
	for _, w := range words {
		d.texts = append(d.texts, text{word: w})
	}
	return d
}

func list(of *definition) *definition { return &definition{list: of} }

func mapping(keys ...key) *definition { return &definition{objects: []*object{{keys: keys}}} }

// dictionary is a mapping with any keys, known ones first.
func dictionary(of *definition, keys ...key) *definition {
	return &definition{objects: []*object{{keys: keys, other: of}}}
}

func need(name string, value *definition) key {
	return key{name: name, value: value, required: true}
}

// wish is a key without which the file still works.
func wish(name string, value *definition) key {
	return key{name: name, value: value, required: true, mild: true}
}

func may(name string, value *definition) key { return key{name: name, value: value} }

// either is a choice of definitions.
func either(choices ...*definition) *definition {
	d := &definition{}
	for _, c := range choices {
		d.null = d.null || c.null
		d.boolean = d.boolean || c.boolean
		d.number = d.number || c.number
		d.texts = append(d.texts, c.texts...)
		d.objects = append(d.objects, c.objects...)
		if c.list != nil {
			d.list = c.list
		}
	}
	return d
}

// warnOnly makes warnings of all that is wrong in a place and below it.
func warnOnly(d *definition) *definition {
	dup := *d
	dup.mild = true
	return &dup
}

// oneOrMore is a value or a list of such values.
func oneOrMore(d *definition) *definition { return either(d, list(d)) }

// anything is a value of any shape.
func anything() *definition {
	d := &definition{null: true, boolean: true, number: true, texts: []text{{}}}
	d.list = d
	d.objects = []*object{{other: d}}
	return d
}

// in allows expressions over the given contexts.
func (d *definition) in(contexts []string) *definition {
	dup := *d
	dup.contexts = contexts
	return &dup
}

// condition is an expression that decides, with or without ${{ }} around it.
func condition(contexts []string) *definition {
	return &definition{texts: []text{{}}, condition: true, contexts: contexts}
}

// names splits a line of contexts and functions.
func names(line string) []string { return strings.Fields(line) }

// A rule is a definition in its place: the contexts of everything around it are
// known, and keys are found by name.
type rule struct {
	*definition
	scope   *scope // nil: no expressions here
	item    *rule
	shapes  []*shape
	mild    bool  // problems are warnings
	special bool  // there are keys known by name
	free    *rule // anything, in the same scope: what stands under a computed key
}

// scope is a set of contexts and functions.
type scope struct {
	names   []string
	allowed expression.Allowed
}

type shape struct {
	known map[string]*rule
	*object
	others *rule // for keys not known by name; nil: there are none
}

// compile turns a table into rules.
func compile(root *definition) *rule {
	c := compiler{rules: map[place]*rule{}, scopes: map[string]*scope{}, any: anything()}
	return c.rule(root, nil, false)
}

type compiler struct {
	rules  map[place]*rule
	scopes map[string]*scope
	any    *definition
}

// place is a definition and what it has from those around it.
type place struct {
	d    *definition
	s    *scope
	mild bool
}

func (c *compiler) rule(d *definition, around *scope, mild bool) *rule {
	s := c.scope(around, d.contexts)
	mild = mild || d.mild
	if r := c.rules[place{d, s, mild}]; r != nil {
		return r
	}
	r := &rule{definition: d, scope: s, mild: mild}
	c.rules[place{d, s, mild}] = r // before going down: tables may be recursive
	if d.list != nil {
		r.item = c.rule(d.list, s, mild)
	}
	for _, o := range d.objects {
		sh := &shape{object: o, known: make(map[string]*rule, len(o.keys))}
		for _, k := range o.keys {
			sh.known[k.name] = c.rule(k.value, s, mild)
			r.special = true
		}
		if o.other != nil {
			sh.others = c.rule(o.other, s, mild)
		}
		r.shapes = append(r.shapes, sh)
	}
	if s != nil && r.special {
		r.free = c.rule(c.any, s, mild)
	}
	return r
}

func (c *compiler) scope(around *scope, more []string) *scope {
	if len(more) == 0 {
		return around
	}
	all := slices.Clone(more)
	if around != nil {
		all = append(all, around.names...)
	}
	slices.Sort(all)
	all = slices.Compact(all)
	id := strings.Join(all, " ")
	s := c.scopes[id]
	if s == nil {
		s = &scope{names: all, allowed: expression.ParseAllowed(all)}
		c.scopes[id] = s
	}
	return s
}

// Package forgetest is what every forge must keep to, as a test.
//
// A forge's own test gives [Run] a [Host]: how that host writes and signs
// its deliveries, and a fake of it that speaks its protocol on this machine.
// Deliveries are written anew from a few facts, so that the suite can put hostile
// names where people of that host could.
package forgetest

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/fairlead-dev/fairlead/internal/forge"
)

// Facts of all deliveries.
const (
	Before  = "1111111111111111111111111111111111111111"
	After   = "2222222222222222222222222222222222222222"
	Base    = "3333333333333333333333333333333333333333"
	Zeros   = "0000000000000000000000000000000000000000"
	Actor   = "ada"
	Title   = "Count the bolts"
	Number  = 17
	Message = "Count bolts\n\nThey were not counted."
)

// Push is a push to write a delivery of.
type Push struct {
	Ref           string // whole: "refs/heads/main"
	Before, After string
	Message       string
}

// Change is an event of a pull or merge request to write a delivery of.
type Change struct {
	What       string // "opened", "pushed", "closed", "merged"
	Head, Base string // short names
	SHA        string
	Title      string
	Fork       bool
	Gone       bool // and the fork was deleted since
}

// Host is a host under test.
type Host struct {
	Forge      forge.Forge
	Secret     []byte
	Repository string // in deliveries: "team/app"
	// Sign signs a delivery as the host does, under an ID of its own.
	Sign func(d *forge.Delivery, secret []byte, id string)
	// Push and Change write deliveries, unsigned, in the host's real shape.
	Push   func(Push) *forge.Delivery
	Change func(Change) *forge.Delivery
	Ping   *forge.Delivery // nil: the host has none
	Other  *forge.Delivery // a comment, say

	// Fake starts a fake host.
	Fake func(t *testing.T) *Fake
	// Words are what the host calls states.
	Words map[forge.State]string
	// Drafts says whether it has releases that only some see; Releases whether it has
	// any.
	Releases, Drafts bool
}

// Fake is a fake host: what it looks like from inside.
type Fake struct {
	Front  *Front
	Remote *forge.Remote
	// Status is the newest state of a commit's context in the host's word, and how
	// many there are that a reader sees.
	Status func(sha, context string) (word, url string, n int)
	// Comments are the texts on a change, oldest first.
	Comments func(number string) []string
	// Say adds a comment of somebody else.
	Say func(number, text string)
	// Forget removes all comments.
	Forget func(number string)
	// Release is a release with its files.
	Release func(tag string) (draft bool, files map[string]string, ok bool)
}

// Run runs the suite.
func Run(t *testing.T, h Host) {
	for _, c := range []struct {
		name string
		test func(*testing.T)
	}{
		{"Verify", h.verify},
		{"Identity", h.identity},
		{"Pushes", h.pushes},
		{"Changes", h.changes},
		{"Ignored", h.ignored},
		{"Dialect", h.dialect},
		{"HostileNames", h.hostileNames},
		{"WrongTypes", h.wrongTypes},
		{"Broken", h.broken},
		{"Status", h.status},
		{"Comment", h.comment},
		{"Release", h.release},
		{"Killed", h.killed},
		{"Labels", h.labels},
		{"Refused", h.refused},
		{"Redirect", h.redirect},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			c.test(t)
		})
	}
}

func (h *Host) samplePush() Push {
	return Push{Ref: "refs/heads/main", Before: Before, After: After, Message: Message}
}

func (h *Host) sampleChange() Change {
	return Change{What: "opened", Head: "bolts", Base: "main", SHA: After, Title: Title}
}

// Samples are deliveries of every kind, for fuzzing.
func (h *Host) Samples() []*forge.Delivery {
	fork := h.sampleChange()
	fork.Fork, fork.What = true, "merged"
	all := []*forge.Delivery{h.Push(h.samplePush()), h.Change(h.sampleChange()), h.Change(fork), h.Other}
	if h.Ping != nil {
		all = append(all, h.Ping)
	}
	return all
}

func clone(d *forge.Delivery) *forge.Delivery {
	return &forge.Delivery{Header: maps.Clone(d.Header), Body: slices.Clone(d.Body)}
}

func (h *Host) verify(t *testing.T) {
	signed := func() *forge.Delivery {
		d := h.Push(h.samplePush())
		h.Sign(d, h.Secret, "delivery-1")
		return d
	}
	if err := h.Forge.Verify(signed(), h.Secret); err != nil {
		t.Fatalf("a delivery signed by the host: %v", err)
	}
	refuse := func(name string, d *forge.Delivery, secret []byte) {
		t.Helper()
		if err := h.Forge.Verify(d, secret); !errors.Is(err, forge.ErrForged) {
			t.Errorf("%s: %v", name, err)
		}
	}
	refuse("unsigned", h.Push(h.samplePush()), h.Secret)
	refuse("another secret", signed(), append(slices.Clone(h.Secret), 'x'))
	refuse("no secret", signed(), nil)
	empty := h.Push(h.samplePush())
	h.Sign(empty, nil, "delivery-1")
	refuse("signed with no secret", empty, nil)
	refuse("nothing", &forge.Delivery{}, h.Secret)
	// Every field that Sign set, damaged in several ways.
	plain, good := h.Push(h.samplePush()), signed()
	for name, v := range good.Header {
		if plain.Header[name] == v || strings.HasSuffix(name, "-Delivery") || strings.HasSuffix(name, "Uuid") || strings.HasPrefix(name, "X-Request") {
			continue
		}
		for _, bad := range []string{v + "0", v[:len(v)-1], strings.ToUpper(v) + " ", "sha256=", "sha1=" + v, strings.Repeat("0", len(v))} {
			d := signed()
			d.Header[name] = bad
			refuse(fmt.Sprintf("%s: %.20q", name, bad), d, h.Secret)
		}
	}
}

func (h *Host) identity(t *testing.T) {
	first, again, other := h.Push(h.samplePush()), h.Push(h.samplePush()), h.Push(h.samplePush())
	h.Sign(first, h.Secret, "delivery-1")
	h.Sign(again, h.Secret, "delivery-1")
	h.Sign(other, h.Secret, "delivery-2")
	id := first.ID()
	if id == "" || again.ID() != id {
		t.Errorf("sent again it is called %q, and %q before", again.ID(), id)
	}
	if other.ID() == id {
		t.Errorf("two deliveries are both called %q", id)
	}
	kept := &forge.Delivery{Header: first.Kept(), Body: first.Body}
	for name, v := range kept.Header {
		if strings.Contains(v, string(h.Secret)) || strings.Contains(name, "Signature") || name == "Authorization" {
			t.Errorf("kept: %s", name)
		}
	}
	whole, err := h.Forge.Parse(first)
	if err != nil {
		t.Fatal(err)
	}
	part, err := h.Forge.Parse(kept)
	if err != nil {
		t.Fatal(err)
	}
	if part.ID != id || !reflect.DeepEqual(whole, part) {
		t.Errorf("what is kept reads otherwise:\n%+v\n%+v", whole, part)
	}
}

func (h *Host) parse(t *testing.T, d *forge.Delivery) *forge.Hook {
	t.Helper()
	hook, err := h.Forge.Parse(d)
	if err != nil {
		t.Fatalf("%v\n%s", err, d.Body)
	}
	return hook
}

func (h *Host) pushes(t *testing.T) {
	for _, c := range []struct {
		name string
		push Push
	}{
		{"branch", h.samplePush()},
		{"new branch", Push{Ref: "refs/heads/feature/a-b_c", Before: Zeros, After: After, Message: Message}},
		{"tag", Push{Ref: "refs/tags/v1.2.3", Before: Zeros, After: After, Message: Message}},
		{"deletion", Push{Ref: "refs/heads/old", Before: Before, After: Zeros}},
	} {
		hook := h.parse(t, h.Push(c.push))
		change := hook.Change
		if hook.Kind != forge.Push || change == nil {
			t.Errorf("%s: %+v", c.name, hook)
			continue
		}
		if change.Event != "push" || change.Ref != c.push.Ref || change.SHA != c.push.After || change.Before != c.push.Before && !hook.Deleted {
			t.Errorf("%s: %+v", c.name, change)
		}
		if hook.Deleted != (c.push.After == Zeros) || hook.Fork || hook.Fetch != c.push.Ref {
			t.Errorf("%s: %+v", c.name, hook)
		}
		if change.Repository != h.Repository || hook.Repository != h.Repository || change.Actor != Actor || !strings.HasPrefix(change.Server, "https://") {
			t.Errorf("%s: repository %q, actor %q, server %q", c.name, change.Repository, change.Actor, change.Server)
		}
		if c.push.Message != "" && hook.Title != "Count bolts" {
			t.Errorf("%s: title %q", c.name, hook.Title)
		}
		if c.push.Before == Zeros && change.FilesKnown {
			t.Errorf("%s: the files are known of what there is nothing to compare with", c.name)
		}
		if change.FilesKnown && !slices.Equal(change.Files, []string{"bolts.go", "docs/old.md", "nuts.go"}) {
			t.Errorf("%s: files %q", c.name, change.Files)
		}
	}
}

func (h *Host) changes(t *testing.T) {
	for _, what := range []string{"opened", "pushed", "closed", "merged"} {
		for _, fork := range []bool{false, true} {
			c := h.sampleChange()
			c.What, c.Fork = what, fork
			hook := h.parse(t, h.Change(c))
			name := fmt.Sprintf("%s, fork %v", what, fork)
			kind := forge.Change
			if what == "closed" || what == "merged" {
				kind = forge.Closed
			}
			if hook.Kind != kind || hook.Change == nil {
				t.Errorf("%s: %+v", name, hook)
				continue
			}
			if hook.Fork != fork || hook.Number != "17" || hook.Title != Title || (hook.HeadURL != "") != fork {
				t.Errorf("%s: %+v", name, hook)
			}
			if hook.Fetch == "" && !fork || fork && strings.HasPrefix(hook.Fetch, "refs/heads/") {
				t.Errorf("%s: fetch %q", name, hook.Fetch)
			}
			change := hook.Change
			if change.Event != "pull_request" || change.Ref != "refs/pull/17/merge" || change.HeadRef != "bolts" || change.BaseRef != "main" ||
				!strings.HasPrefix(After, change.SHA) || len(change.SHA) < 7 || change.Repository != h.Repository {
				t.Errorf("%s: %+v", name, change)
			}
			p := forge.Object(change.Payload)
			action := map[string]string{"opened": "opened", "pushed": "synchronize", "closed": "closed", "merged": "closed"}[what]
			if p.Text("action") != action || p.Bool("pull_request", "merged") != (what == "merged") {
				t.Errorf("%s: action %q, merged %v", name, p.Text("action"), p.Bool("pull_request", "merged"))
			}
		}
	}
	c := h.sampleChange()
	c.Fork, c.Gone = true, true
	if hook := h.parse(t, h.Change(c)); !hook.Fork || hook.HeadURL != "" {
		t.Errorf("a fork that is gone: %+v", hook)
	}
}

func (h *Host) ignored(t *testing.T) {
	if hook := h.parse(t, h.Other); hook.Kind != forge.Other || hook.Change != nil || hook.Event == "" {
		t.Errorf("%+v", hook)
	}
	if h.Ping != nil {
		if hook := h.parse(t, h.Ping); hook.Kind != forge.Ping || hook.Change != nil {
			t.Errorf("%+v", hook)
		}
	}
}

// dialect sees to it that expressions over github.event find what they look for.
func (h *Host) dialect(t *testing.T) {
	p := forge.Object(h.parse(t, h.Push(h.samplePush())).Change.Payload)
	for _, c := range []struct {
		path []string
		want string
	}{
		{[]string{"ref"}, "refs/heads/main"},
		{[]string{"before"}, Before},
		{[]string{"after"}, After},
		{[]string{"repository", "full_name"}, h.Repository},
		{[]string{"sender", "login"}, Actor},
		{[]string{"pusher", "name"}, Actor},
		{[]string{"head_commit", "id"}, After},
		{[]string{"head_commit", "message"}, Message},
	} {
		if got := p.Text(c.path...); got != c.want {
			t.Errorf("push: %s is %q, not %q", strings.Join(c.path, "."), got, c.want)
		}
	}
	if p.Bool("deleted") || p.Bool("created") || p.Text("repository", "html_url") == "" || p.Text("repository", "clone_url") == "" {
		t.Errorf("push: %v", p)
	}
	c := h.sampleChange()
	c.Fork = true
	p = forge.Object(h.parse(t, h.Change(c)).Change.Payload)
	for _, c := range []struct {
		path []string
		want string
	}{
		{[]string{"pull_request", "title"}, Title},
		{[]string{"pull_request", "state"}, "open"},
		{[]string{"pull_request", "head", "ref"}, "bolts"},
		{[]string{"pull_request", "base", "ref"}, "main"},
		{[]string{"pull_request", "base", "repo", "full_name"}, h.Repository},
		{[]string{"repository", "full_name"}, h.Repository},
		{[]string{"sender", "login"}, Actor},
		{[]string{"pull_request", "user", "login"}, Actor},
	} {
		if got := p.Text(c.path...); got != c.want {
			t.Errorf("change: %s is %q, not %q", strings.Join(c.path, "."), got, c.want)
		}
	}
	if p.Integer("pull_request", "number") != Number || p.Integer("number") != Number {
		t.Errorf("change: number %v", p["number"])
	}
	if !p.Bool("pull_request", "head", "repo", "fork") || p.Text("pull_request", "head", "repo", "full_name") == h.Repository {
		t.Errorf("change: head %v", p.Object("pull_request", "head"))
	}
	if !strings.HasPrefix(After, p.Text("pull_request", "head", "sha")) {
		t.Errorf("change: sha %v", p.Object("pull_request", "head"))
	}
	if _, err := json.Marshal(p); err != nil {
		t.Error(err)
	}
}

// Hostile are names of branches that are refused, or must come through unchanged.
var hostile = []struct {
	name string
	ok   bool
}{
	{`x";touch${IFS}pwned;"`, true}, // git allows it; whoever runs a shell must not believe it
	{"$(id)", true},
	{"`id`", true},
	{"a'b", true},
	{"ünïcödé/✓", true},
	{"--upload-pack=touch x", false},
	{"--upload-pack=x", false},
	{"-o", false},
	{"a b", false},
	{"a\nb", false},
	{"a\x00b", false},
	{"a\x1b[31mb", false},
	{"..", false},
	{"a/../b", false},
	{"../../etc/passwd", false},
	{"a//b", false},
	{"/a", false},
	{"a/", false},
	{"a.lock", false},
	{".a", false},
	{"a:b", false},
	{"a~1", false},
	{"a^{}", false},
	{"@{u}", false},
	{"@", false},
	{"a*", false},
	{"a\\b", false},
	{"", false},
	{strings.Repeat("a", 5000), false},
}

func (h *Host) hostileNames(t *testing.T) {
	for _, c := range hostile {
		change := h.sampleChange()
		change.Head = c.name
		push := h.samplePush()
		push.Ref = "refs/heads/" + c.name
		for kind, d := range map[string]*forge.Delivery{"push": h.Push(push), "change": h.Change(change)} {
			hook, err := h.Forge.Parse(d)
			switch {
			case c.ok && err != nil:
				t.Errorf("%s %.60q: %v", kind, c.name, err)
			case !c.ok && err == nil && hook.Change != nil:
				t.Errorf("%s %.60q: taken as %+v", kind, c.name, hook.Change)
			case c.ok && kind == "push" && hook.Change.Ref != "refs/heads/"+c.name, c.ok && kind == "change" && hook.Change.HeadRef != c.name:
				t.Errorf("%s %.60q: became %+v", kind, c.name, hook.Change)
			case err != nil && strings.ContainsFunc(err.Error(), func(r rune) bool { return r < ' ' && r != '\n' || r == 0x7f }):
				t.Errorf("%s %.60q: the error holds it as it is: %q", kind, c.name, err)
			}
		}
	}
	for _, sha := range []string{"", "main", "--help", strings.Repeat("2", 39) + "g", strings.Repeat("2", 41), "2222222\n"} {
		change, push := h.sampleChange(), h.samplePush()
		change.SHA, push.After = sha, sha
		if hook, err := h.Forge.Parse(h.Change(change)); err == nil && hook.Change != nil && len(hook.Change.SHA) < 7 {
			t.Errorf("change at commit %q: %+v", sha, hook.Change)
		}
		if hook, err := h.Forge.Parse(h.Push(push)); err == nil && hook.Change != nil && !hook.Deleted && len(hook.Change.SHA) != 40 {
			t.Errorf("push of commit %q: %+v", sha, hook.Change)
		}
	}
	c := h.sampleChange()
	c.Title = "fix\u202e\x1b[2J\r\nSet-Cookie: x"
	if hook := h.parse(t, h.Change(c)); strings.ContainsFunc(hook.Title, func(r rune) bool { return r < ' ' || r == '\u202e' }) {
		t.Errorf("title %q", hook.Title)
	}
}

// wrongTypes puts a value of another type in every place of every delivery. Nothing
// may panic, and a change never turns from a fork's into the repository's own.
func (h *Host) wrongTypes(t *testing.T) {
	fork := h.sampleChange()
	fork.Fork = true
	for kind, d := range map[string]*forge.Delivery{"push": h.Push(h.samplePush()), "change": h.Change(h.sampleChange()), "fork": h.Change(fork), "other": h.Other} {
		var whole any
		if err := json.Unmarshal(d.Body, &whole); err != nil {
			t.Fatal(err)
		}
		places(whole, func(set func(any)) {
			for _, wrong := range []any{nil, true, 3.0, -1e300, "x", "-", []any{}, []any{nil, 1.0, "a"}, map[string]any{}, map[string]any{"id": []any{}}} {
				set(wrong)
				body, err := json.Marshal(whole)
				if err != nil {
					t.Fatal(err)
				}
				hook, err := h.Forge.Parse(&forge.Delivery{Header: d.Header, Body: body})
				if err == nil && hook == nil {
					t.Errorf("%s: neither a hook nor an error for %s", kind, body)
				}
				if err == nil && kind == "fork" && hook.Change != nil && !hook.Fork && hook.Change.Event == "pull_request" && !h.mayBeOwn(body) {
					t.Errorf("a fork's change is taken for the repository's own: %s", body)
				}
			}
		})
	}
}

// mayBeOwn reports whether a damaged delivery says, as far as that can be said, that
// head and base are one repository.
func (h *Host) mayBeOwn(body []byte) bool { return !strings.Contains(string(body), ForkID) }

// ForkID is part of the ID of the fork in every delivery of a change from one.
const ForkID = "424242"

// places calls visit for each place in a JSON value, with a function that puts
// something there; afterwards it puts back what was there.
func places(v any, visit func(set func(any))) {
	switch v := v.(type) {
	case map[string]any:
		for _, key := range slices.Sorted(maps.Keys(v)) {
			was := v[key]
			visit(func(to any) { v[key] = to })
			v[key] = was
			places(was, visit)
		}
	case []any:
		for i, was := range v {
			visit(func(to any) { v[i] = to })
			v[i] = was
			places(was, visit)
		}
	}
}

func (h *Host) broken(t *testing.T) {
	good := h.Push(h.samplePush())
	for name, body := range map[string]string{
		"empty":     "",
		"cut":       string(good.Body[:len(good.Body)/2]),
		"followed":  string(good.Body) + "{}",
		"null":      "null",
		"list":      "[]",
		"text":      `"push"`,
		"deep":      strings.Repeat(`{"a":`, 100_000) + "1" + strings.Repeat("}", 100_000),
		"deep list": `{"a":` + strings.Repeat("[", 1_000_000),
		"many":      `{"commits":[` + strings.Repeat("{},", 1<<20) + `{}]}`,
		"not UTF-8": "{\"ref\":\"\xff\xfe\"}",
		"long":      `{"a":"` + strings.Repeat("a", forge.MaxBody) + `"}`,
	} {
		d := clone(good)
		d.Body = []byte(body)
		if hook, err := h.Forge.Parse(d); err == nil && hook.Change != nil {
			t.Errorf("%s: %+v", name, hook.Change)
		}
	}
	form := clone(good)
	form.Header["Content-Type"] = "application/x-www-form-urlencoded"
	if hook, err := h.Forge.Parse(form); err == nil && hook.Change != nil {
		t.Errorf("JSON that is said to be a form: %+v", hook.Change)
	}
}

// Fuzz sees to it that a delivery of any bytes is read or refused, and that what is
// read is safe to hand on.
func Fuzz(t *testing.T, f forge.Forge, d *forge.Delivery) {
	hook, err := f.Parse(d)
	if err != nil {
		return
	}
	for _, h := range append([]*forge.Hook{hook}, hook.Also...) {
		c := h.Change
		if c == nil {
			continue
		}
		if err := forge.CheckRef(c.Ref); err != nil {
			t.Errorf("%q: %v", c.Ref, err)
		}
		for _, name := range []string{c.HeadRef, c.BaseRef, c.DefaultBranch} {
			if err := forge.CheckName("branch", name); name != "" && err != nil {
				t.Error(err)
			}
		}
		for _, sha := range []string{c.SHA, c.Before} {
			if strings.Trim(sha, "0123456789abcdef") != "" || len(sha) > 64 {
				t.Errorf("commit %q", sha)
			}
		}
		if strings.HasPrefix(c.Repository, "-") || strings.Contains("/"+c.Repository+"/", "/../") || h.Fork && h.HeadURL != "" && !strings.HasPrefix(h.HeadURL, "http") {
			t.Errorf("%+v", h)
		}
		if _, err := json.Marshal(c); err != nil {
			t.Error(err)
		}
	}
}

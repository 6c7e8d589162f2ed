package forgetest

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/fairlead-dev/fairlead/internal/forge"
)

const runURL = "https://fairlead.example.com/runs/42"

func (h *Host) status(t *testing.T) {
	for _, state := range []forge.State{forge.Pending, forge.Running, forge.Success, forge.Failure, forge.Error, forge.Cancelled, forge.Skipped} {
		f := h.Fake(t)
		s := &forge.Status{SHA: After, Context: "fairlead/ci", State: state, Title: "7 jobs\nmore", URL: runURL, Summary: "**all** of it"}
		for range 2 { // the second time it is found, or changes nothing
			s.Ref = ""
			if err := h.Forge.Status(t.Context(), f.Remote, s); err != nil {
				t.Fatalf("%s: %v", state, err)
			}
		}
		if s.Ref == "" {
			t.Errorf("%s: it is not known what the host calls it", state)
		}
		if word, url, n := f.Status(After, "fairlead/ci"); word != h.Words[state] || url != runURL || n != 1 {
			t.Errorf("%s: the host says %q, %q, %d times", state, word, url, n)
		}
	}
	f := h.Fake(t)
	s := &forge.Status{SHA: After, Context: "fairlead/ci", URL: runURL}
	for _, state := range []forge.State{forge.Pending, forge.Running, forge.Failure} {
		s.State = state
		if err := h.Forge.Status(t.Context(), f.Remote, s); err != nil {
			t.Fatal(err)
		}
	}
	if word, _, n := f.Status(After, "fairlead/ci"); word != h.Words[forge.Failure] || n != 1 {
		t.Errorf("the host says %q, %d times", word, n)
	}
	f.Front.Asked()
	for _, bad := range []*forge.Status{
		{SHA: "main", Context: "c", State: forge.Success},
		{SHA: "../../x", Context: "c", State: forge.Success},
		{SHA: After, State: forge.Success},
		{SHA: After, Context: "c", State: "grand"},
	} {
		if err := h.Forge.Status(t.Context(), f.Remote, bad); err == nil {
			t.Errorf("%+v was set", bad)
		} else if yes, _ := forge.Temporary(err); yes {
			t.Errorf("%v may be tried again", err)
		}
	}
	if asked := f.Front.Asked(); len(asked) > 0 {
		t.Errorf("asked: %q", asked)
	}
}

func (h *Host) comment(t *testing.T) {
	f := h.Fake(t)
	c := &forge.Comment{Number: "17", Marker: "fairlead:summary", Body: "first"}
	say := func(body string) {
		t.Helper()
		c.Body = body
		ref, err := h.Forge.Comment(t.Context(), f.Remote, c)
		if err != nil {
			t.Fatal(err)
		}
		if ref == "" {
			t.Fatal("it is not known what the host calls it")
		}
		c.Ref = ref
	}
	holds := func(want ...string) {
		t.Helper()
		got := f.Comments("17")
		if len(got) != len(want) {
			t.Fatalf("%d comments, not %d: %q", len(got), len(want), got)
		}
		for i := range want {
			if !strings.Contains(got[i], want[i]) {
				t.Errorf("comment %d is %q, not %q", i, got[i], want[i])
			}
		}
	}
	f.Say("17", "Looks good")
	say("first")
	holds("Looks good", "first")
	say("second")
	c.Ref = "" // a crash, and it is looked for
	say("third")
	holds("Looks good", "third")
	if got := f.Comments("17")[1]; !strings.Contains(got, c.Marker) || strings.Count(got, c.Marker) != 1 {
		t.Errorf("%q", got)
	}
	// Somebody else has seen the marker and writes it, too.
	stolen := f.Comments("17")[1]
	f.Forget("17")
	f.Say("17", strings.ReplaceAll(stolen, "third", "trust me"))
	say("fourth")
	holds("trust me", "fourth")
	c.Ref = ""
	say("fifth")
	holds("trust me", "fifth")
	// One of many pages, and a long text.
	f.Forget("17")
	for range 130 {
		f.Say("17", "chatter")
	}
	c.Ref = ""
	say("sixth")
	c.Ref = ""
	say(strings.Repeat("ü", 2_000_000))
	if got := f.Comments("17"); len(got) != 131 {
		t.Errorf("%d comments", len(got))
	} else if last := got[130]; !strings.HasSuffix(last, "ü…") || len(last) > 1_000_000 {
		t.Errorf("%d bytes, ending in %q", len(last), last[len(last)-8:])
	}
	for _, bad := range []*forge.Comment{
		{Number: "17/../18", Marker: "m"}, {Number: "", Marker: "m"}, {Number: "0", Marker: "m"}, {Number: "17"}, {Number: "17", Marker: "--> <b>"}, {Number: "17", Marker: "a--b"},
	} {
		if _, err := h.Forge.Comment(t.Context(), f.Remote, bad); err == nil {
			t.Errorf("%+v was made", bad)
		}
	}
}

func asset(name, text string) forge.Asset {
	return forge.Asset{Name: name, Size: int64(len(text)), Type: "text/plain", Open: func() (io.ReadCloser, error) {
		return io.NopCloser(strings.NewReader(text)), nil
	}}
}

func (h *Host) release(t *testing.T) {
	f := h.Fake(t)
	rel := &forge.Release{Tag: "v1.2.3", SHA: After, Title: "Bolts", Notes: "Counted.", Assets: []forge.Asset{asset("app.tar.gz", "bytes"), asset("empty", "")}}
	if !h.Releases {
		if _, err := h.Forge.Release(t.Context(), f.Remote, rel); !errors.Is(err, forge.ErrUnsupported) {
			t.Errorf("%v", err)
		}
		return
	}
	release := func() (string, error) { return h.Forge.Release(t.Context(), f.Remote, rel) }
	holds := func(want map[string]string) {
		t.Helper()
		draft, files, ok := f.Release("v1.2.3")
		if !ok || draft != rel.Draft || len(files) != len(want) {
			t.Fatalf("draft %v, files %q, there %v", draft, files, ok)
		}
		for name, text := range want {
			if files[name] != text {
				t.Errorf("%s holds %q", name, files[name])
			}
		}
	}
	// The host fails in the middle; the next try goes on from there.
	rel.Assets = append(rel.Assets, forge.Asset{Name: "unreadable", Size: 1, Open: func() (io.ReadCloser, error) { return nil, errors.New("gone") }})
	if _, err := release(); err == nil {
		t.Fatal("a file that cannot be read was uploaded")
	}
	if draft, _, ok := f.Release("v1.2.3"); ok && h.Drafts && !draft {
		t.Error("a release is seen before all of its files are there")
	}
	rel.Assets = rel.Assets[:2]
	for range 2 {
		url, err := release()
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(url, "v1.2.3") {
			t.Errorf("it is at %q", url)
		}
		holds(map[string]string{"app.tar.gz": "bytes", "empty": ""})
	}
	rel.Assets = append(rel.Assets, asset("more", "later"))
	if _, err := release(); err != nil {
		t.Fatal(err)
	}
	holds(map[string]string{"app.tar.gz": "bytes", "empty": "", "more": "later"})
	rel.Assets[0] = asset("app.tar.gz", "other bytes")
	if _, err := release(); err == nil || !strings.Contains(err.Error(), "app.tar.gz") {
		t.Errorf("what was published was replaced: %v", err)
	}
	rel = &forge.Release{Tag: "v2", SHA: After, Draft: true, Assets: []forge.Asset{asset("a", "b")}}
	if _, err := release(); h.Drafts && err != nil || !h.Drafts && !errors.Is(err, forge.ErrUnsupported) {
		t.Error(err)
	}
	if draft, _, ok := f.Release("v2"); ok != h.Drafts || ok && !draft {
		t.Errorf("there %v, draft %v", ok, draft)
	}
	f.Front.Asked()
	for _, bad := range []*forge.Release{{Tag: "--x"}, {Tag: "a..b"}, {Tag: "v3", SHA: "main"}, {Tag: "v3", Assets: []forge.Asset{asset("../x", "")}}, {Tag: "v3", Assets: []forge.Asset{asset("a\nb", "")}}, {Tag: "v3", Assets: []forge.Asset{asset("a", ""), asset("a", "")}}} {
		if _, err := h.Forge.Release(t.Context(), f.Remote, bad); err == nil {
			t.Errorf("%+v was made", bad)
		}
	}
	if asked := f.Front.Asked(); len(asked) > 0 {
		t.Errorf("asked: %q", asked)
	}
}

// killed kills a release at each of its requests, before and after the host has carried it
// out, and makes it again: there is never half of one, nor anything twice. The fakes see to the
// latter.
func (h *Host) killed(t *testing.T) {
	if !h.Releases {
		return
	}
	for n := 1; ; n++ {
		reached := false
		for _, carried := range []bool{false, true} {
			f := h.Fake(t)
			rel := &forge.Release{Tag: "v1.2.3", SHA: After, Title: "Bolts", Notes: "Counted.", Assets: []forge.Asset{asset("a", "one"), asset("b", "two"), asset("c", "")}}
			ctx, die := context.WithCancel(t.Context())
			happened := f.Front.Cut(n, carried, die)
			_, err := h.Forge.Release(ctx, f.Remote, rel)
			die()
			if !happened() {
				continue
			}
			reached = true
			if err == nil {
				t.Errorf("request %d was cut (carried out: %v), and nothing was said", n, carried)
			}
			if draft, files, ok := f.Release("v1.2.3"); ok && h.Drafts && !draft && len(files) < 3 {
				t.Errorf("request %d (carried out: %v): half a release is seen: %q", n, carried, files)
			}
			if _, err := h.Forge.Release(t.Context(), f.Remote, rel); err != nil {
				t.Errorf("request %d (carried out: %v): the next try: %v", n, carried, err)
			}
			if draft, files, ok := f.Release("v1.2.3"); !ok || draft || len(files) != 3 || files["a"] != "one" || files["b"] != "two" {
				t.Errorf("request %d (carried out: %v): draft %v, files %q", n, carried, draft, files)
			}
		}
		if !reached {
			if n < 4 {
				t.Errorf("a release takes %d requests", n-1)
			}
			return
		}
	}
}

// labels reads those of a change. The fakes have given change 17 two.
func (h *Host) labels(t *testing.T) {
	l, ok := h.Forge.(forge.Labeller)
	if !ok {
		return
	}
	f := h.Fake(t)
	if names, err := l.Labels(t.Context(), f.Remote, "17"); err != nil || !slices.Equal(names, []string{"bug", "area/api"}) {
		t.Errorf("%q, %v", names, err)
	}
	if names, err := l.Labels(t.Context(), f.Remote, "404404"); forge.Code(err) != http.StatusNotFound || len(names) > 0 {
		t.Errorf("of a change that is none: %q, %v", names, err)
	}
}

// refused sees what a forge makes of answers that are no success.
func (h *Host) refused(t *testing.T) {
	s := forge.Status{SHA: After, Context: "fairlead/ci", State: forge.Success, URL: runURL}
	set := func(f *Fake) error {
		one := s
		return h.Forge.Status(t.Context(), f.Remote, &one)
	}
	f := h.Fake(t)
	f.Front.Fail(2, http.StatusTooManyRequests, map[string]string{"Retry-After": "0"}, "{}")
	if err := set(f); err != nil {
		t.Errorf("after two refusals: %v", err)
	}
	f = h.Fake(t)
	f.Front.Fail(1, http.StatusTooManyRequests, map[string]string{"Retry-After": "3600"}, `{"message":"slow down"}`)
	err := set(f)
	if yes, after := forge.Temporary(err); !yes || after.Hours() != 1 || !strings.Contains(err.Error(), "slow down") {
		t.Errorf("a host that wants an hour: %v", err)
	}
	if asked := f.Front.Asked(); len(asked) != 1 {
		t.Errorf("asked %q", asked)
	}
	f = h.Fake(t)
	f.Front.Fail(3, http.StatusBadRequest, nil, `{"message":"you are AUTHORIZATION and \u001b[31mbad","errors":["AUTHORIZATION"]}`)
	err = set(f)
	if err == nil || strings.Contains(err.Error(), f.Remote.Token) || strings.Contains(err.Error(), "\x1b") || !strings.Contains(err.Error(), "400") || !strings.Contains(err.Error(), After[:12]) {
		t.Errorf("%q", err)
	}
	_, shown, _ := strings.Cut(f.Front.token, " ")
	if err != nil && strings.Contains(err.Error(), shown) {
		t.Errorf("the token is in %q", err)
	}
	if yes, _ := forge.Temporary(err); yes {
		t.Errorf("%v may be tried again", err)
	}
	f = h.Fake(t)
	f.Front.Fail(1, http.StatusOK, nil, `{"a":"`+strings.Repeat("a", 20<<20)+`"}`)
	_, err = h.Forge.Comment(t.Context(), f.Remote, &forge.Comment{Number: "17", Marker: "m"})
	if !errors.Is(err, forge.ErrTooLong) {
		t.Errorf("an endless answer: %v", err)
	}
	f = h.Fake(t)
	f.Remote.Token = "wrong-token"
	if err := set(f); err == nil || !strings.Contains(err.Error(), "token") || strings.Contains(err.Error(), "wrong-token") {
		t.Errorf("%v", err)
	}
	f.Remote.Token = ""
	f.Front.Asked()
	if err := set(f); err == nil || len(f.Front.Asked()) > 0 {
		t.Errorf("without a token: %v", err)
	}
	f = h.Fake(t)
	for _, bad := range []string{"team", "../../x", "team/../app", "team/a?b", "team/a#b", "/", "a/b\nc", "-a/b", "team/%2e%2e"} {
		r := *f.Remote
		r.Repository = bad
		if err := h.Forge.Status(t.Context(), &r, &forge.Status{SHA: After, Context: "c", State: forge.Success}); err == nil {
			t.Errorf("the status of a commit of %q was set", bad)
		}
	}
	if asked := f.Front.Asked(); len(asked) > 0 {
		t.Errorf("asked: %q", asked)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	one := s
	if err := h.Forge.Status(ctx, f.Remote, &one); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}

// redirect: what is for a host goes to no other.
func (h *Host) redirect(t *testing.T) {
	var reached atomic.Int32
	thief := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if len(r.Header["Authorization"]) > 0 || len(body) > 0 || slices.ContainsFunc([]string{"Private-Token", "Cookie", "Referer"}, func(n string) bool { return r.Header.Get(n) != "" }) {
			reached.Add(1)
		}
		_, _ = io.WriteString(w, "[]")
	}))
	defer thief.Close()
	f := h.Fake(t)
	f.Front.SendOn(thief.URL)
	if err := h.Forge.Status(t.Context(), f.Remote, &forge.Status{SHA: After, Context: "c", State: forge.Success, URL: runURL}); err == nil {
		t.Error("a status was set elsewhere")
	}
	if _, err := h.Forge.Comment(t.Context(), f.Remote, &forge.Comment{Number: "17", Marker: "m", Body: "b"}); err == nil {
		t.Error("a comment was made elsewhere")
	}
	if n := reached.Load(); n > 0 {
		t.Errorf("%d requests went to another host with what was not for it", n)
	}
}

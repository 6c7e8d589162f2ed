package forge

import (
	"net/http"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestRefs(t *testing.T) {
	t.Parallel()
	for _, ok := range []string{"refs/heads/main", "refs/tags/v1.2", "refs/heads/a/b/c", "refs/pull/17/head", "refs/merge-requests/1/head", "refs/heads/ünïcödé", "refs/heads/a;b", "refs/heads/a@b", "refs/heads/a-"} {
		if err := CheckRef(ok); err != nil {
			t.Errorf("%q: %v", ok, err)
		}
	}
	for _, bad := range []string{"", "main", "HEAD", "refs", "refs/", "refs/heads", "refs/heads/", "refs//main", "refs/-x/main", "refs/heads/-main", "refs/heads/a..b", "refs/../x", "refs/heads/\xff", "--refs/heads/main", "refs/heads/a\tb"} {
		if CheckRef(bad) == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}

func TestRepositories(t *testing.T) {
	t.Parallel()
	for name, ok := range map[string]bool{
		"team/app": true, "a/b/c/d": true, "~ada/app": true, "acme/My Project/My App": true, "Ünï/app": true,
		"app": false, "": false, "/": false, "a//b": false, "../a": false, "a/..": false, "a/.": false, "-a/b": false, "a/-b": false,
		"a\\b/c": false, "a/b?c": false, "a/b#c": false, "a/%2e%2e": false, "a/b\n": false, "a/\u202eb": false, "a/" + strings.Repeat("b", 2000): false, "a/\xff": false,
	} {
		if err := checkRepository(name); (err == nil) != ok {
			t.Errorf("%q: %v", name, err)
		}
	}
}

func TestFilesOfCommits(t *testing.T) {
	t.Parallel()
	many := make([]string, maxFiles+1)
	for i := range many {
		many[i] = strings.Repeat("a", i%200+1) + "/" + string(rune('a'+i/200))
	}
	for name, c := range map[string]struct {
		files []string
		known bool
	}{
		"plain":    {[]string{"b", "a/c", "b"}, true},
		"none":     {nil, true},
		"absolute": {[]string{"/etc/passwd"}, false},
		"outside":  {[]string{"../x"}, false},
		"unclean":  {[]string{"a//b"}, false},
		"empty":    {[]string{""}, false},
		"NUL":      {[]string{"a\x00"}, false},
		"many":     {many, false},
	} {
		got, known := files([]Commit{{Added: c.files}, {Removed: c.files}})
		if known != c.known {
			t.Errorf("%s: %d files, %v", name, len(got), known)
		}
	}
	if got, _ := files([]Commit{{Added: []string{"b"}, Modified: []string{"a"}}, {Removed: []string{"b"}}}); strings.Join(got, " ") != "a b" {
		t.Errorf("%q", got)
	}
	for _, c := range []struct {
		commits, total int
		ok             bool
	}{{1, 0, true}, {0, 0, false}, {19, 0, true}, {20, 0, false}, {20, 20, true}, {20, 21, false}, {2048, 0, false}} {
		if complete(make([]Commit, c.commits), c.total) != c.ok {
			t.Errorf("%d of %d commits", c.commits, c.total)
		}
	}
	if complete([]Commit{{Added: make([]string, 3000)}}, 1) {
		t.Error("a commit whose files were cut is taken for whole")
	}
}

// TestForkUnlessKnown: what does not say where it comes from comes from elsewhere.
func TestForkUnlessKnown(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		home, head string
		fork       bool
	}{{"1", "1", false}, {"1", "2", true}, {"1", "", true}, {"", "", true}, {"", "1", true}} {
		told := Told{
			Delivery: &Delivery{}, Kind: Change, Number: "17", Repository: Repository{ID: c.home, Name: "team/app"},
			Head: Tip{Ref: "a", SHA: zeros, Repository: Repository{ID: c.head}}, Base: Tip{Ref: "main"},
		}
		h, err := told.Hook()
		if err != nil || h.Fork != c.fork {
			t.Errorf("%q in %q: %+v, %v", c.head, c.home, h, err)
		}
	}
}

func TestText(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{"  a \n b": "a", "a\x1b[31mb": "a[31mb", "a\u202eb": "ab", "\xff\xfea": "a", strings.Repeat("ü", 300): strings.Repeat("ü", 98) + "…"} {
		if got := line(in, maxTitle); got != want {
			t.Errorf("%q: %q", in, got)
		}
	}
	for most := range 20 {
		if s := Cut("aüb✓c𝄞dddd", most); len(s) > most || !utf8.ValidString(s) {
			t.Errorf("%d: %q", most, s)
		}
	}
	if got := (&Person{Login: "ad\u202ein"}).shown(); got == "adin" || got == "ad\u202ein" {
		t.Errorf("%q", got)
	}
}

func TestObject(t *testing.T) {
	t.Parallel()
	o := Object{"a": map[string]any{"b": "c", "n": 5.0, "f": 1.5, "big": 1e300, "t": true, "l": []any{"x", 1.0, map[string]any{"y": "z"}}}, "nil": nil}
	if o.Text("a", "b") != "c" || o.Text("a", "n") != "" || o.Text("x", "y", "z") != "" || o.Text("nil", "x") != "" || o.Text() != "" {
		t.Error("texts")
	}
	if o.Integer("a", "n") != 5 || o.Integer("a", "f") != 0 || o.Integer("a", "big") != 0 || o.ID("a", "n") != "5" || o.ID("a", "b") != "c" || o.ID("a", "f") != "" {
		t.Error("numbers")
	}
	if !o.Bool("a", "t") || o.Bool("a", "b") || len(o.List("a", "l")) != 1 || len(o.Texts("a", "l")) != 1 || o.List("a") == nil {
		t.Error("lists")
	}
}

func TestDeliveryID(t *testing.T) {
	t.Parallel()
	body := []byte("{}")
	const digest = "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"
	for _, c := range []struct {
		header map[string]string
		want   string
	}{
		{map[string]string{"X-Github-Delivery": "a"}, "a"},
		{map[string]string{"X-Gitea-Delivery": "b"}, "b"},
		{map[string]string{"X-Gitlab-Event": "Push Hook", "Webhook-Id": "c", "X-Gitlab-Event-Uuid": "d"}, "c"},
		{map[string]string{"X-Gitlab-Event": "Push Hook", "X-Gitlab-Event-Uuid": "d"}, "d"},
		{map[string]string{"X-Event-Key": "repo:push", "X-Request-Uuid": "e"}, "e"},
		{map[string]string{"X-Request-Id": "of a proxy"}, digest},
		{map[string]string{"X-Github-Delivery": "a\nb"}, digest},
		{map[string]string{"X-Github-Delivery": strings.Repeat("a", 200)}, digest},
		{nil, digest},
	} {
		if got := (&Delivery{Header: c.header, Body: body}).ID(); got != c.want {
			t.Errorf("%v: %q", c.header, got)
		}
	}
}

func TestReceived(t *testing.T) {
	t.Parallel()
	h := http.Header{}
	for name, v := range map[string]string{
		"X-GitHub-Event": "push", "X-Hub-Signature-256": "sha256=00", "X-Gitlab-Token": "s3cret", "Authorization": "Basic s3cret", "Webhook-Signature": "v1,s3cret",
		"X-GitHub-Delivery": "1", "Cookie": "s3cret", "X-Forwarded-For": "10.0.0.1",
	} {
		h.Set(name, v)
	}
	d := Received(h, []byte("{}"))
	if len(d.Header) != 6 || d.Header["X-Gitlab-Token"] != "s3cret" {
		t.Errorf("%v", d.Header)
	}
	if kept := d.Kept(); len(kept) != 2 || kept["X-Github-Event"] != "push" || kept["X-Github-Delivery"] != "1" {
		t.Errorf("%v", kept)
	}
}

func FuzzPayload(f *testing.F) {
	f.Add([]byte(`{"a":[1,{"b":null}]}`), "application/json")
	f.Add([]byte(`payload=%7B%7D`), "application/x-www-form-urlencoded")
	f.Fuzz(func(t *testing.T, body []byte, kind string) {
		o, err := (&Delivery{Header: map[string]string{"Content-Type": kind}, Body: body}).Payload()
		if (o == nil) == (err == nil) {
			t.Errorf("%v, %v", o, err)
		}
	})
}

func BenchmarkPayload(b *testing.B) {
	body := []byte(`{"ref":"refs/heads/main","commits":[` + strings.Repeat(`{"id":"2222222222222222222222222222222222222222","message":"m","added":["a"],"modified":[],"removed":[]},`, 200) + `{}]}`)
	d := &Delivery{Body: body}
	b.SetBytes(int64(len(body)))
	for b.Loop() {
		if _, err := d.Payload(); err != nil {
			b.Fatal(err)
		}
	}
}

package server

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/fairlead-dev/fairlead/internal/access"
	"github.com/fairlead-dev/fairlead/internal/deploy"
	"github.com/fairlead-dev/fairlead/internal/feature"
	"github.com/fairlead-dev/fairlead/internal/launch"
	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/record"
	"github.com/fairlead-dev/fairlead/internal/rollout"
	"github.com/fairlead-dev/fairlead/internal/workspace"
)

const shopFlags = `{"metadata":{"team":"shop"},"flags":{
	"checkout":{"state":"ENABLED","variants":{"on":true,"off":false},"defaultVariant":"off",
		"targeting":{"if":[{"ends_with":[{"var":"email"},"@example.com"]},"on",null]},
		"fairlead":{"owner":"shop","description":"The new checkout, in one page.","tags":["web","q2"],"off":"off","created":"2026-04-01T08:00:00Z",
			"split":{"shares":[{"variant":"on","percent":25}]},"guard":{"variant":"on","steps":[1,25,100],"hold":"30m","metric":"checkout-errors"}}},
	"banner":{"state":"ENABLED","variants":{"none":"","sale":"50 %"},"defaultVariant":"sale","fairlead":{"created":"2025-01-01T00:00:00Z"}},
	"limits":{"state":"ENABLED","variants":{"small":{"items":10},"large":{"items":100}},"defaultVariant":"small","targeting":{"if":[{">=":[{"var":"orders"},5]},"large"]}},
	"timeout":{"state":"ENABLED","variants":{"short":2.5,"long":30},"defaultVariant":"short","fairlead":{"split":{"by":"account","shares":[{"variant":"long","percent":12.5}]}}},
	"broken-payment":{"state":"ENABLED","variants":{"on":true,"off":false},"defaultVariant":"on","fairlead":{"off":"off"}},
	"old":{"state":"DISABLED","variants":{"on":true,"off":false},"defaultVariant":"on"}}}`

// tellFlags gives team/app flags in production and staging, with a past.
func (sc *scene) tellFlags() {
	sc.t.Helper()
	ctx, ada := sc.t.Context(), launch.By{Name: "ada", Via: "session"}
	d, problems := feature.Read(feature.Name, []byte(shopFlags))
	if len(problems) > 0 {
		sc.t.Fatal(problems)
	}
	f := sc.s.Flags
	f.Now = sc.s.Now
	for _, environment := range []string{"staging", "production"} {
		if _, err := f.Import(ctx, ada, "team/app", environment, d, false, "the shop's flags begin here"); err != nil {
			sc.t.Fatal(err)
		}
	}
	ref := func(flag string) launch.FlagRef {
		return launch.FlagRef{Repository: "team/app", Environment: "production", Flag: flag}
	}
	if err := errors.Join(f.SetShare(ctx, launch.By{Name: "fairlead", Via: "rollout 12"}, ref("checkout"), 1, 12, "first step of rollout 12"),
		f.SetShare(ctx, launch.By{Name: "fairlead", Via: "rollout 12"}, ref("checkout"), 25, 12, "checkout-errors held for 30m"),
		f.Kill(ctx, ada, ref("broken-payment"), "INC-7: cards are refused")); err != nil {
		sc.t.Fatal(err)
	}
}

// programToken is a token that may evaluate, and nothing else.
func (sc *scene) programToken() string {
	sc.t.Helper()
	return sc.token(access.TokenSpec{Name: "shop", Verbs: []access.Verb{access.EvaluateFlags}, Grants: []access.Grant{{Repository: "team/app", Environment: "production", Role: access.Viewer}}})
}

const ofrep = "/client/flags/team/app/production/ofrep/v1/evaluate/flags"

func TestOFREP(t *testing.T) {
	t.Parallel()
	sc := newScene(t)
	sc.tellFlags()
	token := sc.programToken()
	type evaluation struct {
		Key, Variant, Reason, ErrorCode, ErrorDetails string
		Value                                         any
		Metadata                                      map[string]any
	}
	for _, c := range []struct {
		name, flag, body string
		status           int
		want             string // value, variant, reason or code
	}{
		{"by rule", "checkout", `{"context":{"targetingKey":"u","email":"a@example.com"}}`, 200, "true on TARGETING_MATCH"},
		{"a text", "banner", `{}`, 200, "50 % sale STATIC"},
		{"an object", "limits", `{"context":{"orders":7}}`, 200, "map[items:100] large TARGETING_MATCH"},
		{"no body", "timeout", ``, 200, "2.5 short DEFAULT"},
		{"killed", "broken-payment", `{"context":{"targetingKey":"u"}}`, 200, "false off DISABLED"},
		{"disabled", "old", `{}`, 200, "<nil>  DISABLED"},
		{"unknown", "nothing", `{}`, 404, "FLAG_NOT_FOUND"},
		{"no JSON", "banner", `{"context":`, 400, "PARSE_ERROR"},
		{"no object", "banner", `{"context":5}`, 400, "INVALID_CONTEXT"},
	} {
		e := answered[evaluation](t, sc.call("POST", ofrep+"/"+c.flag, c.body, bearer(token)), c.status)
		got := strings.TrimSpace(fmt.Sprint(e.Value, " ", e.Variant, " ", e.Reason))
		if e.ErrorCode != "" {
			got = e.ErrorCode
		}
		if got != c.want || e.Key != c.flag {
			t.Errorf("%s: %q %+v", c.name, got, e)
		}
		if c.status == 200 && e.Metadata["team"] != "shop" {
			t.Errorf("%s: metadata %v", c.name, e.Metadata)
		}
	}
	w := sc.call("POST", ofrep, `{"context":{"targetingKey":"u"}}`, bearer(token))
	bulk := answered[struct {
		Flags        []evaluation
		EventStreams []struct {
			Type     string
			Endpoint struct{ RequestURI string }
		}
	}](t, w, 200)
	var keys []string
	for _, f := range bulk.Flags {
		keys = append(keys, f.Key)
	}
	if strings.Join(keys, " ") != "banner broken-payment checkout limits timeout" || len(bulk.EventStreams) != 1 || bulk.EventStreams[0].Type != "sse" {
		t.Errorf("%+v", bulk)
	}
	tag := w.Header().Get("ETag")
	if w := sc.call("POST", ofrep, `{"context":{"targetingKey":"u"}}`, bearer(token), header("If-None-Match", tag)); w.Code != 304 || w.Body.Len() > 0 {
		t.Errorf("the same: %d %s", w.Code, w.Body)
	}
	if w := sc.call("POST", ofrep, `{"context":{"targetingKey":"u","orders":7}}`, bearer(token), header("If-None-Match", tag)); w.Code != 200 {
		t.Errorf("another context: %d", w.Code)
	}
	if w := sc.call("OPTIONS", ofrep, ""); w.Code != 204 || w.Header().Get("Access-Control-Allow-Origin") != "*" || !strings.Contains(w.Header().Get("Access-Control-Allow-Headers"), "Authorization") {
		t.Errorf("preflight: %d %v", w.Code, w.Header())
	}
}

// TestProgramTokens is least privilege: a program's token evaluates, where it was made for, and does
// nothing else; nothing else evaluates.
func TestProgramTokens(t *testing.T) {
	t.Parallel()
	sc := newScene(t)
	sc.tellFlags()
	token := sc.programToken()
	other := sc.token(access.TokenSpec{Name: "runs", Verbs: []access.Verb{access.SeeRuns}})
	for _, c := range []struct {
		name, method, path string
		as                 func(*http.Request)
		want               int
	}{
		{"its own", "POST", ofrep + "/banner", bearer(token), 200},
		{"as Unleash sends it", "GET", "/client/flags/team/app/production/unleash/api/client/features", header("Authorization", token), 200},
		{"as a key", "POST", ofrep + "/banner", header("X-API-Key", token), 200},
		{"another environment", "POST", "/client/flags/team/app/staging/ofrep/v1/evaluate/flags/banner", bearer(token), 403},
		{"another repository", "POST", "/client/flags/team/other/production/ofrep/v1/evaluate/flags/banner", bearer(token), 403},
		{"the list", "GET", "/api/v1/flags/team/app?environment=production", bearer(token), 403},
		{"killing", "POST", "/api/v1/kill-flag/team/app", bearer(token), 403},
		{"runs", "GET", "/api/v1/runs", bearer(token), 403},
		{"another right", "POST", ofrep + "/banner", bearer(other), 403},
		{"nobody", "POST", ofrep + "/banner", func(*http.Request) {}, 401},
		{"nobody's token", "POST", ofrep + "/banner", bearer("flt_nothing"), 401},
		{"a session", "POST", ofrep + "/banner", session(sc.admin), 401},
		{"a stream without a ticket", "GET", "/client/flags/team/app/production/ofrep/v1/events?ticket=0", func(*http.Request) {}, 401},
		{"no place", "POST", "/client/flags/app/ofrep/v1/evaluate/flags/banner", bearer(token), 404},
		{"nothing there", "GET", "/client/flags/team/app/production/ofrep/v1/nothing", bearer(token), 404},
	} {
		body := ""
		if strings.Contains(c.path, "kill") {
			body = `{"environment":"production","flag":"banner","why":"x"}`
		}
		if w := sc.call(c.method, c.path, body, c.as); w.Code != c.want {
			t.Errorf("%s: %d, want %d: %s", c.name, w.Code, c.want, w.Body)
		}
	}
	if k, err := sc.s.Flags.Find(t.Context(), launch.FlagRef{Repository: "team/app", Environment: "production", Flag: "banner"}); err != nil || k.Care.Killed != "" {
		t.Errorf("it was killed: %+v %v", k, err)
	}
}

// TestKillIsPushed: one write, and who listens is told at once.
func TestKillIsPushed(t *testing.T) {
	t.Parallel()
	sc := newScene(t)
	sc.tellFlags()
	go sc.s.Flags.Serve(t.Context())
	web := httptest.NewServer(sc.s)
	defer web.Close()
	defer sc.s.Close()
	token := sc.programToken()
	bulk := answered[struct {
		EventStreams []struct {
			Endpoint struct{ RequestURI string }
		}
	}](t, sc.call("POST", ofrep, `{}`, bearer(token)), 200)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, "GET", web.URL+bulk.EventStreams[0].Endpoint.RequestURI, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != 200 || resp.Header.Get("Content-Type") != "text/event-stream" {
		t.Fatalf("%d %v", resp.StatusCode, resp.Header)
	}
	lines := bufio.NewScanner(resp.Body)
	next := func() string {
		t.Helper()
		for lines.Scan() {
			if data, ok := strings.CutPrefix(lines.Text(), "data: "); ok {
				return data
			}
		}
		t.Fatal(lines.Err())
		return ""
	}
	first := next()
	if !strings.Contains(first, `"type":"refetchEvaluation"`) {
		t.Fatal(first)
	}
	if w := sc.call("POST", "/api/v1/kill-flag/team/app", `{"environment":"Production","flag":"checkout","why":"INC-8"}`, session(sc.admin)); w.Code != 204 {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	if got := next(); got == first || !strings.Contains(got, "refetchEvaluation") {
		t.Errorf("%s after %s", got, first)
	}
	if w := sc.call("POST", ofrep+"/checkout", `{"context":{"email":"a@example.com"}}`, bearer(token)); !strings.Contains(w.Body.String(), `"value":false,"reason":"DISABLED"`) {
		t.Errorf("%s", w.Body)
	}
	if last := sc.events("flag.changed"); last[len(last)-1].Body.(*record.FlagChanged).Why != "INC-8" {
		t.Error("nobody can tell why")
	}
}

// TestFlagActs goes through what people do with flags, by API and by form.
func TestFlagActs(t *testing.T) {
	t.Parallel()
	sc := newScene(t)
	as := session(sc.admin)
	do := func(method, path, body string, want int) string {
		t.Helper()
		w := sc.call(method, "/api/v1"+path, body, as)
		if w.Code != want {
			t.Errorf("%s %s %s: %d %s", method, path, body, w.Code, w.Body)
		}
		return w.Body.String()
	}
	set := func(flag, definition, why string) string {
		b, err := json.Marshal(SettingFlag{"production", flag, definition, why})
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	const boolean = `{"state":"ENABLED","variants":{"on":true,"off":false},"defaultVariant":"off","fairlead":{"off":"off"}}`
	do("PUT", "/flags/team/app", set("a", boolean, "begins"), 204)
	if got := do("PUT", "/flags/team/app", set("b", boolean, ""), 422); !strings.Contains(got, "needs a reason") {
		t.Error(got)
	}
	if got := do("PUT", "/flags/team/app", set("b", `{"state":"ENABLED","variants":{"on":true},"defaultVariant":"of"}`, "x"), 422); !strings.Contains(got, `has no variant`) {
		t.Error(got)
	}
	do("POST", "/share-flag/team/app", `{"environment":"production","flag":"a","variant":"on","percent":50,"why":"half"}`, 204)
	do("POST", "/kill-flag/team/app", `{"environment":"production","flag":"a","why":"stop"}`, 204)
	do("PUT", "/flags/team/app", set("a", strings.Replace(boolean, `"defaultVariant":"off"`, `"defaultVariant":"on"`, 1), "default"), 204)
	if got := do("GET", "/flag/team/app?environment=production&flag=a", "", 200); !strings.Contains(got, `"killed":"stop"`) {
		t.Errorf("a change of the definition revived it: %s", got)
	}
	do("POST", "/revive-flag/team/app", `{"environment":"production","flag":"a","why":"mended"}`, 204)
	if got := do("POST", "/kill-flag/team/app", `{"environment":"production","flag":"aa","why":"x"}`, 422); !strings.Contains(got, "did you mean a?") {
		t.Error(got)
	}
	in, err := json.Marshal(ImportingFlags{Environment: "staging", Definitions: shopFlags, Why: "from the file"})
	if err != nil {
		t.Fatal(err)
	}
	if got := do("POST", "/flags-file/team/app", string(in), 200); got != "{\"changed\":6}\n" {
		t.Error(got)
	}
	if got := do("GET", "/flags-file/team/app?environment=staging", "", 200); !strings.Contains(got, `"checkout"`) {
		t.Error(got)
	}
	v := answered[FlagView](t, sc.call("GET", "/api/v1/flag/team/app?environment=production&flag=a", "", as), 200)
	var said []string
	for _, h := range v.History {
		said = append(said, h.What)
	}
	if want := `revived | default "on" | killed | share of on from 0 % to 50 % | added`; strings.Join(said, " | ") != want {
		t.Errorf("history: %s", strings.Join(said, " | "))
	}
	w := sc.call("POST", "/kill-flag/team/app", "", as, form(url.Values{"csrf": {sc.admin.CSRF}, "environment": {"production"}, "flag": {"a"}, "why": {"by form"}, "back": {"/flags/team/app"}}))
	if w.Code != 303 || w.Header().Get("Location") != "/flags/team/app" {
		t.Errorf("%d %v", w.Code, w.Header())
	}
	do("DELETE", "/flags/team/app", `{"environment":"production","flag":"a","why":"done"}`, 204)
	if list := answered[FlagsView](t, sc.call("GET", "/api/v1/flags/team/app?environment=production", "", as), 200); len(list.Flags) != 0 || !slices.Equal(list.Environments, []string{"production", "staging"}) {
		t.Errorf("%+v", list)
	}
}

// downStore is a store that can be taken away.
type downStore struct {
	*scene
	down bool
}

func (d *downStore) Register(ctx context.Context, kind, id string) (record.Register, error) {
	if d.down {
		return record.Register{}, errors.New("the store does not answer")
	}
	return d.store.Register(ctx, kind, id)
}

func (d *downStore) Registers(ctx context.Context, kind, prefix string) ([]record.Register, error) {
	if d.down {
		return nil, errors.New("the store does not answer")
	}
	return d.store.Registers(ctx, kind, prefix)
}

func (d *downStore) Change(ctx context.Context, changes []record.Register, events ...record.Event) ([]record.Event, error) {
	return d.store.Change(ctx, changes, events...)
}

// TestStoreIsDown: flags are answered all the same, by this process and by one that starts then.
func TestStoreIsDown(t *testing.T) {
	t.Parallel()
	sc := newScene(t)
	store := &downStore{scene: sc}
	sc.s.Flags.Store = store
	sc.tellFlags()
	live, err := sc.s.Flags.Live(t.Context(), "team/app", "production")
	if err != nil || live.Stale() {
		t.Fatal(err)
	}
	store.down = true
	again := &launch.Flags{Store: store, Log: sc.store, Dir: sc.s.Flags.Dir, Known: func(context.Context, string) error { return errors.New("the store does not answer") }}
	live, err = again.Live(t.Context(), "team/app", "production")
	if err != nil || !live.Stale() {
		t.Fatalf("%v", err)
	}
	set, _ := live.Now()
	if e := set.Evaluate("banner", nil, time.Now()); e.Value != "50 %" {
		t.Errorf("%+v", e)
	}
	if e := set.Evaluate("broken-payment", nil, time.Now()); e.Value != false {
		t.Errorf("%+v", e)
	}
	if _, err := again.Live(t.Context(), "team/app", "nowhere"); err == nil {
		t.Error("an environment that nobody has seen is answered")
	}
}

// TestFences: a rollout that was taken over does not move the share any more.
func TestFences(t *testing.T) {
	t.Parallel()
	sc := newScene(t)
	sc.tellFlags()
	f, by := sc.s.Flags, launch.By{Name: "fairlead"}
	ref := launch.FlagRef{Repository: "team/app", Environment: "production", Flag: "checkout"}
	if err := f.SetShare(t.Context(), by, ref, 50, 14, "taken over"); err != nil {
		t.Fatal(err)
	}
	before := len(sc.events("flag.changed"))
	if err := f.SetShare(t.Context(), by, ref, 50, 14, "taken over"); err != nil || len(sc.events("flag.changed")) != before {
		t.Errorf("the same once more is a change: %v", err)
	}
	var stale *launch.StaleFenceError
	if err := f.SetShare(t.Context(), by, ref, 100, 13, "late"); !errors.As(err, &stale) || stale.Newer != 14 {
		t.Errorf("%v", err)
	}
	shares := launch.FlagShares{Flags: f, By: by}
	if share, err := shares.Share(t.Context(), "team/app", "production", "checkout"); err != nil || share != 50 {
		t.Errorf("%v %v", share, err)
	}
	if err := shares.SetShare(t.Context(), "team/app", "production", "checkout", 0, 13); !errors.Is(err, deploy.ErrFenced) {
		t.Error(err)
	}
	if err := shares.SetShare(t.Context(), "team/app", "production", "checkout", 0, 14); err != nil {
		t.Error(err)
	}
	if share, err := shares.Share(t.Context(), "team/app", "production", "checkout"); err != nil || share != 0 {
		t.Errorf("after falling back: %v %v", share, err)
	}
	var use *plan.UsageError
	if err := f.SetShare(t.Context(), by, launch.FlagRef{Repository: "team/app", Environment: "production", Flag: "banner"}, 5, 20, "x"); !errors.As(err, &use) {
		t.Errorf("a flag that is not guarded: %v", err)
	}
}

// TestFlagChangesMeet: changes of one environment come one after the other, and none is lost.
func TestFlagChangesMeet(t *testing.T) {
	t.Parallel()
	sc := newScene(t)
	const n = 8
	errs := make(chan error, n)
	for i := range n {
		go func() {
			flag, _ := feature.ReadFlag("f", fmt.Sprint("flag-", i), []byte(`{"state":"ENABLED","variants":{"on":true},"defaultVariant":"on"}`))
			errs <- sc.s.Flags.Set(t.Context(), launch.By{Name: "ada"}, "team/app", "dev", flag, "together")
		}()
	}
	for range n {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
	list, err := sc.s.Flags.List(t.Context(), "team/app", "dev")
	if err != nil || len(list) != n || len(sc.events("flag.changed")) != n {
		t.Errorf("%d flags, %d events, %v", len(list), len(sc.events("flag.changed")), err)
	}
}

// TestFlagReferences: the page shows the lines of the default branch that name the flag.
func TestFlagReferences(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("git"); err != nil {
		t.Skip("SKIPPED: git is not installed")
	}
	sc := newScene(t)
	sc.tellFlags()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "cart.go"), []byte("package cart\n\nvar on = flags.On(\"checkout\") // not checkout-2\nvar other = \"checkout-2\"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"init", "-qb", "main"}, {"add", "-A"}, {"-c", "user.name=a", "-c", "user.email=a@example.org", "commit", "-qm", "one"}} {
		cmd := exec.Command("git", args...)
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	sc.s.Flags.Past = func(context.Context, string) workspace.Past { return workspace.Past{Dir: dir} }
	v := answered[FlagView](t, sc.call("GET", "/api/v1/flag/team/app?environment=production&flag=checkout", "", session(sc.admin)), 200)
	if len(v.References) != 1 || v.References[0].File != "cart.go" || v.References[0].Line != 3 || v.Commit == "" {
		t.Errorf("%+v at %q", v.References, v.Commit)
	}
	if w := sc.call("GET", "/flag/team/app?environment=production&flag=checkout", "", session(sc.admin)); !strings.Contains(w.Body.String(), "cart.go:3") {
		t.Error("the page does not show it")
	}
	if w := sc.call("GET", "/flag/team/app?environment=production&flag=banner", "", session(sc.admin)); !strings.Contains(w.Body.String(), "No line of the code names it") {
		t.Error("the page does not say that no line names it")
	}
}

// What rollouts ask of flags is what flags do.
var _ rollout.Shares = launch.FlagShares{}

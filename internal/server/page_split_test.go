package server

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/fairlead-dev/fairlead/internal/access"
	"github.com/fairlead-dev/fairlead/internal/suite"
	"github.com/fairlead-dev/fairlead/internal/testrun"
)

// shareTests is a queue of team/app that four shards have worked at, one of which was lost,
// and one that goes on.
func (sc *scene) shareTests() {
	sc.t.Helper()
	now := noon.Add(-20 * time.Minute)
	splits := &testrun.Splits{Shelf: testrun.InRecord(sc.store, time.Now), Now: func() time.Time { return now }}
	var items []suite.Item
	for i := range 24 {
		items = append(items, suite.Item{Name: fmt.Sprintf("example.com/app/internal/package%02d", i), Seconds: float64((i * 7) % 19)})
	}
	must := func(err error) {
		sc.t.Helper()
		if err != nil {
			sc.t.Fatal(err)
		}
	}
	for _, build := range []string{"build 411", "build 412"} {
		_, err := splits.Open(sc.t.Context(), testrun.Opening{Repository: "team/app", Name: build, Runner: "go", Shards: 4, Start: 1, Items: items})
		must(err)
		free := [4]time.Time{now, now, now, now}
		busy := [4]*suite.Batch{}
		lost := false
		for step := 0; step < 500; step++ {
			over := false
			for shard := range free {
				name := fmt.Sprint(shard + 1)
				if lost && shard == 2 || free[shard].After(now) {
					continue
				}
				if b := busy[shard]; b != nil {
					took := map[string]float64{}
					for i, item := range b.Items {
						took[item.Name] = item.Seconds * (0.7 + float64((b.ID+i)%5)/6)
					}
					_, err := splits.Done(sc.t.Context(), "team/app", build, testrun.Report{Shard: name, Batch: b.ID, Seconds: b.Seconds, Failed: b.ID == 5, Items: took})
					must(err)
				}
				turn, err := splits.Next(sc.t.Context(), "team/app", build, name, 20*time.Second)
				must(err)
				busy[shard], over = turn.Batch, turn.Over
				if b := turn.Batch; b != nil {
					free[shard] = now.Add(time.Duration(b.Seconds * (0.7 + float64(b.ID%5)/6) * float64(time.Second)))
					lost = lost || shard == 2 && b.ID > 6
				}
				if over {
					break
				}
			}
			now = now.Add(time.Second)
			if over || build == "build 412" && step == 25 {
				break
			}
		}
		now = noon.Add(-35 * time.Second)
	}
}

func TestSplitPage(t *testing.T) {
	t.Parallel()
	sc := newScene(t)
	sc.still()
	sc.shareTests()
	var v SplitView
	read := func(path string) string {
		t.Helper()
		w := sc.call("GET", path, "", session(sc.admin))
		if w.Code != http.StatusOK {
			t.Fatalf("%s: %d %s", path, w.Code, w.Body)
		}
		return w.Body.String()
	}
	if err := json.Unmarshal([]byte(read("/api/v1/split/team/app?queue=build+411")), &v); err != nil {
		t.Fatal(err)
	}
	p := v.Picture
	if v.Queue.State != "failure" || v.Queue.Done != 24 || len(v.Lost) != 1 || len(p.Planned) != 4 || len(p.Happened) != 4 || p.Took < p.Bound || p.Bound == 0 || p.Unknown == 0 || len(p.Surprises) == 0 {
		t.Errorf("%+v, picture %+v", v, p)
	}
	page := read("/split/team/app?queue=build+411")
	for _, want := range []string{"build 411", "Lower bound", "lost", "failed", "build 412"} {
		if !strings.Contains(page, want) {
			t.Errorf("the page does not say %q", want)
		}
	}
	for _, wrong := range unfit(page) {
		t.Error(wrong)
	}
	if page := read("/split/team/app"); !strings.Contains(page, "under way") {
		t.Error("the newest queue is not shown by itself, or not that it goes on")
	}
	if w := sc.call("GET", "/split/team/app?queue=gone", "", session(sc.admin)); w.Code != http.StatusNotFound {
		t.Errorf("a queue that is not there: %d", w.Code)
	}
}

// TestSplitAPI shares tests out by the server's addresses.
func TestSplitAPI(t *testing.T) {
	t.Parallel()
	sc := newScene(t)
	sc.account("ada", "team/app", access.Developer)
	developer := sc.token(access.TokenSpec{Name: "ci", Grants: []access.Grant{{Repository: "team/app", Role: access.Developer}}, Expires: time.Hour})
	post := func(path, body string, want int) string {
		t.Helper()
		w := sc.call("POST", "/api/v1/"+path, body, bearer(developer))
		if w.Code != want {
			t.Fatalf("%s %s: %d %s", path, body, w.Code, w.Body)
		}
		return w.Body.String()
	}
	open := `{"name":"b1","runner":"go","shards":2,"start":0,"items":[{"name":"a","seconds":3},{"name":"b","seconds":2},{"name":"c","seconds":1}]}`
	if got := post("split-open/team/app", open, 200); !strings.Contains(got, `"made":true`) {
		t.Error(got)
	}
	if got := post("split-open/team/app", open, 200); !strings.Contains(got, `"made":false`) {
		t.Error(got)
	}
	post("split-open/team/app", strings.Replace(open, `"c"`, `"d"`, 1), http.StatusConflict)
	post("split-open/team/app", strings.Replace(open, `"shards":2`, `"shards":0`, 1), http.StatusUnprocessableEntity)
	post("split-next/team/app", `{"name":"b2","shard":"1"}`, http.StatusNotFound)
	var turn testrun.Turn
	if err := json.Unmarshal([]byte(post("split-next/team/app", `{"name":"b1","shard":"1"}`, 200)), &turn); err != nil || turn.Batch == nil || turn.Batch.Items[0].Name != "a" {
		t.Fatalf("%+v %v", turn, err)
	}
	post("split-alive/team/app", `{"name":"b1","shard":"1"}`, http.StatusNoContent)
	if got := post("split-done/team/app", `{"name":"b1","shard":"1","batch":1,"seconds":4,"items":{"a":3.5}}`, 200); !strings.Contains(got, `"counted":true`) {
		t.Error(got)
	}
	if got := post("split-done/team/app", `{"name":"b1","shard":"1","batch":1,"seconds":4}`, 200); !strings.Contains(got, `"counted":false`) {
		t.Error(got)
	}
	if w := sc.call("GET", "/api/v1/times/team/app", "", bearer(developer)); w.Code != 200 || !strings.Contains(w.Body.String(), `"tests":[]`) {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if w := sc.call("POST", "/api/v1/split-open/team/other", open, bearer(developer)); w.Code == 200 {
		t.Error("a queue of somebody else's repository")
	}
}

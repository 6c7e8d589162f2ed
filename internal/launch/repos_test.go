package launch

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/fairlead-dev/fairlead/internal/forge"
	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/record"
)

// TestSetRepository is the eleventh row of the threat table as far as repositories go.
func TestSetRepository(t *testing.T) {
	t.Parallel()
	s := set(t, nil)
	ctx := t.Context()
	good := Repository{Name: "team/other", URL: s.work}
	for name, edit := range map[string]func(r *Repository){
		"an empty name":              func(r *Repository) { r.Name = "" },
		"a name that goes up":        func(r *Repository) { r.Name = "team/../x" },
		"a name that is an option":   func(r *Repository) { r.Name = "--team/x" },
		"a hidden name":              func(r *Repository) { r.Name = "team/.git" },
		"a long name":                func(r *Repository) { r.Name = strings.Repeat("x", 300) },
		"no address":                 func(r *Repository) { r.URL = "" },
		"a relative path":            func(r *Repository) { r.URL = "../app" },
		"a path that goes up":        func(r *Repository) { r.URL = "/srv/../etc" },
		"a remote helper":            func(r *Repository) { r.URL = "ext::sh -c 'touch pwned'" },
		"a file address":             func(r *Repository) { r.URL = "file:///etc" },
		"an option":                  func(r *Repository) { r.URL = "--upload-pack=touch pwned" },
		"an option as a host":        func(r *Repository) { r.URL = "ssh://-oProxyCommand=touch/x" },
		"credentials":                func(r *Repository) { r.URL = "https://ada:canary@example.org/x" },
		"this machine":               func(r *Repository) { r.URL = "https://127.0.0.1/x" },
		"this machine, in words":     func(r *Repository) { r.URL = "http://localhost:3000/x" },
		"this machine, in IPv6":      func(r *Repository) { r.URL = "https://[::1]/x" },
		"a private network":          func(r *Repository) { r.URL = "git@10.0.0.1:x" },
		"the metadata of a cloud":    func(r *Repository) { r.URL = "http://169.254.169.254/latest" },
		"an API of this machine":     func(r *Repository) { r.API = "https://127.0.0.1/api" },
		"an API that is a file":      func(r *Repository) { r.API = "file:///etc" },
		"an API with credentials":    func(r *Repository) { r.API = "https://ada:canary@example.org" },
		"an unknown forge":           func(r *Repository) { r.Forge = "sourceforge" },
		"a branch that is an option": func(r *Repository) { r.DefaultBranch = "--x" },
		"polling all the time":       func(r *Repository) { r.Poll = time.Millisecond },
		"a negative poll":            func(r *Repository) { r.Poll = -time.Hour },
		"a negative limit":           func(r *Repository) { r.Limit = -1 },
		"a huge priority":            func(r *Repository) { r.Priority = 1 << 30 },
		"a setting for forks":        func(r *Repository) { r.Forks = "always" },
		"a broken pattern":           func(r *Repository) { r.Protected = []string{"[a"} },
		"too many patterns":          func(r *Repository) { r.Protected = make([]string, 1000) },
	} {
		r := good
		edit(&r)
		var usage *plan.UsageError
		err := s.desk.SetRepository(ctx, ada, r, true)
		if !errors.As(err, &usage) {
			t.Errorf("%s: %v", name, err)
		} else if strings.Contains(err.Error(), "canary") {
			t.Errorf("%s: the error shows the password: %v", name, err)
		}
	}
	s.desk.Guard = forge.Guard{Allow: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}}
	for url, ok := range map[string]bool{"http://10.0.0.1/x": true, "git@10.0.0.1:x": true, "https://10.0.0.1/x": true, "https://127.0.0.1/x": false, "http://8.8.8.8/x": false, "https://8.8.8.8/x": true} {
		if err := s.desk.checkURL(ctx, url); (err == nil) != ok {
			t.Errorf("%s: %v", url, err)
		}
	}
	// Of those who add one at the same time, one does.
	var all sync.WaitGroup
	var mu sync.Mutex
	added := 0
	for range 8 {
		all.Go(func() {
			if s.desk.SetRepository(ctx, ada, good, true) == nil {
				mu.Lock()
				added++
				mu.Unlock()
			}
		})
	}
	all.Wait()
	if added != 1 {
		t.Errorf("it was added %d times", added)
	}
	good.Limit, good.Protected = 3, []string{"release/**"}
	if err := s.desk.SetRepository(ctx, ada, good, false); err != nil {
		t.Fatal(err)
	}
	if got, err := s.desk.Repository(ctx, "team/other"); err != nil || got.Limit != 3 {
		t.Errorf("%+v, %v", got, err)
	}
	if list, err := s.desk.Repositories(ctx); err != nil || len(list) != 2 || list[1].Name != "team/other" {
		t.Errorf("%+v, %v", list, err)
	}
	good.Name = "team/none"
	if err := s.desk.SetRepository(ctx, ada, good, false); err == nil {
		t.Error("what is not there was changed")
	}
	if err := s.desk.RemoveRepository(ctx, ada, "team/other"); err != nil {
		t.Fatal(err)
	}
	if err := s.desk.RemoveRepository(ctx, ada, "team/other"); err == nil {
		t.Error("it was removed twice")
	}
	var told []string
	for _, e := range s.events("acted") {
		a := e.Body.(*record.Acted)
		told = append(told, fmt.Sprintf("%s %s %s %s%s%s", a.By, a.Verb, a.Object, a.Detail["limit"], a.Detail["protected"], a.Detail["removed"]))
	}
	if got := strings.Join(told, "; "); got != `ada repositories.add team/app ; ada repositories.add team/other ; ada repositories.set team/other 3["release/**"]; ada repositories.set team/other yes` {
		t.Errorf("the trail says %s", got)
	}
}

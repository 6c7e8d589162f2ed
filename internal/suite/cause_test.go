package suite

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/fairlead-dev/fairlead/internal/record"
)

func TestCauses(t *testing.T) {
	t.Parallel()
	type o = *record.Observation
	slow := func(o o, wall time.Duration) o { o.Wall = wall; return o }
	for _, tt := range []struct {
		name           string
		passed, failed o
		others         []Process
		want           string // kind: text: evidence, one a line
	}{
		{"no difference", seen("read /w/a"), seen("read /w/a"), nil, ""},
		{"no difference but perhaps the order", seen("list /w=x"), seen("list /w=x"), nil,
			"directory: nothing that was seen differs; it lists directories, and their order is not fixed: /w"},
		{"a file was missing", seen("read /w/a", "read /w/b"), seen("read /w/a", "absent /w/b"), nil,
			"missing: a file was not there when it failed: /w/b"},
		{"a file was left behind", seen("absent /tmp/app.lock"), seen("read /tmp/app.lock"), nil,
			"leftover: a file was there when it failed that was not when it passed: /tmp/app.lock"},
		{"a file held something else", seen("read /w/cache=1"), seen("read /w/cache=2"), nil,
			"content: a file held something else when it failed: /w/cache"},
		{"it makes the file itself", seen("own /w/out=1"), seen("own /w/out=2"), nil, ""},
		{"a fixed name for all", seen("own /tmp/out=1"), seen("own /tmp/out=2"), nil,
			"temporary: it uses a fixed name in a directory that others use, too: /tmp/out"},
		{"a name of its own", seen("read /tmp/go-build12345/x=1"), seen("read /tmp/go-build67890/x=1"), nil, ""},
		{"a port", seen("peer tcp 127.0.0.1:5432"), seen(), nil,
			"address: it talked to other services of this machine: tcp 127.0.0.1:5432, only when it passed"},
		{"another machine", seen("peer tcp 203.0.113.1:443"), seen("peer tcp 203.0.113.2:443"), nil,
			"network: it talked to other machines: tcp 203.0.113.2:443, only when it failed, tcp 203.0.113.1:443, only when it passed"},
		{"hangs on another machine", seen("peer tcp 203.0.113.1:443"), seen("peer tcp 203.0.113.1:443"), nil,
			"network: it hangs on another machine: tcp 203.0.113.1:443"},
		{"a time zone", seen("read /usr/share/zoneinfo/Europe/Berlin"), seen("read /usr/share/zoneinfo/Asia/Tokyo"), nil,
			"clock: it read another time zone when it failed: /usr/share/zoneinfo/Asia/Tokyo"},
		{"names in a directory", seen("list /w/d=1"), seen("list /w/d=2"), nil,
			"directory: a directory held other names when it failed: /w/d"},
		{"another program", seen("ran /bin/a"), seen("ran /bin/a", "ran /usr/bin/gdb"), nil,
			"program: it started other programs: /usr/bin/gdb, only when it failed"},
		{"random only when it failed", seen(), seen("random"), nil, "random: it drew random numbers only when it failed: /dev/urandom"},
		{"a time limit", slow(seen(), time.Second), slow(seen(), 30*time.Second), nil,
			"time: it took much longer when it failed: it may have run into a time limit: 1s when it passed, 30s when it failed"},
		{"somebody meddled", seen("read /w/a=1"), seen("read /w/a=2", "bar moved /w/a"), nil,
			"meddled: somebody else changed a file while it ran: /w/a\ncontent: a file held something else when it failed: /w/a"},
		{"another test wrote it", seen("read /tmp/db=1"), seen("read /tmp/db=2"), []Process{{"TestA", seen("made /tmp/db=2")}, {"TestB", seen("read /w/x")}},
			"polluted: another test wrote what this one read: TestA made /tmp/db\ncontent: a file held something else when it failed: /tmp/db"},
		{"another test wrote what it always reads", seen("read /tmp/db=2"), seen("read /tmp/db=2"), []Process{{"TestA", seen("made /tmp/db=2")}}, ""},
		{"not watched", &record.Observation{}, seen("read /w/a"), nil, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var got []string
			last := 2.0
			for _, c := range Causes(tt.passed, tt.failed, tt.others...) {
				got = append(got, fmt.Sprintf("%s: %s: %s", c.Kind, c.Text, strings.Join(c.Evidence, ", ")))
				if c.Weight > last || c.Weight <= 0 || c.Weight > 1 {
					t.Errorf("weight %v after %v", c.Weight, last)
				}
				last = c.Weight
			}
			if s := strings.Join(got, "\n"); s != tt.want {
				t.Errorf("got:\n%s\nwant:\n%s", s, tt.want)
			}
		})
	}
}

func TestCausesAreBounded(t *testing.T) {
	t.Parallel()
	var passed, failed []string
	for i := range 5000 {
		passed = append(passed, fmt.Sprintf("read /w/f%04d", i))
		failed = append(failed, fmt.Sprintf("absent /w/f%04d", i))
	}
	causes := Causes(seen(passed...), seen(failed...))
	if len(causes) != 1 || len(causes[0].Evidence) != maxProof || causes[0].More != 5000-maxProof {
		t.Errorf("%+v", causes)
	}
}

func TestPollution(t *testing.T) {
	t.Parallel()
	pairs := Pollution([]Process{
		{"build", seen("made /w/app=1")},
		{"A", seen("ran /w/app", "read /w/app=1", "made /tmp/state=a", "wrote /w/data=a", "removed /w/gone")},
		{"B", seen("ran /w/app", "read /w/app=1", "read /tmp/state=a", "read /w/data=other", "absent /w/gone", "list /tmp")},
		{"never watched", &record.Observation{}},
		{"C", seen("own /tmp/state=a", "list /w", "wrote /tmp/late")},
		{"A", seen("read /tmp/state=a")},
	})
	var got []string
	for _, p := range pairs {
		sure := ""
		if p.Sure {
			sure = " surely"
		}
		got = append(got, fmt.Sprintf("%s %s %s, %s read it%s", p.Polluter, p.How, p.Path, p.Victim, sure))
	}
	want := `A made /tmp/state, B read it surely
A wrote /w/data, B read it
A removed /w/gone, B read it surely
A put a name into /tmp, B read it
A put a name into /w, C read it`
	if s := strings.Join(got, "\n"); s != want {
		t.Errorf("got:\n%s\nwant:\n%s", s, want)
	}
}

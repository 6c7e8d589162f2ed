package suite

import (
	"strings"
	"testing"

	"github.com/fairlead-dev/fairlead/internal/record"
)

// seen makes an observation from words: "read /a", "absent /b", "list /c",
// "own /d", "wrote /e", "made /f", "peer tcp 1.2.3.4:5", "bar lost why",
// "ran /bin/x". A word after = is what the file held.
func seen(words ...string) *record.Observation {
	o := &record.Observation{Mechanism: "seccomp", Argv: []byte("x\x00")}
	for _, w := range words {
		verb, rest, _ := strings.Cut(w, " ")
		path, held, _ := strings.Cut(rest, "=")
		state := record.FileState{Kind: record.Regular, Digest: [32]byte([]byte((held + strings.Repeat("-", 32))[:32]))}
		switch verb {
		case "read":
			o.Inputs = append(o.Inputs, record.Input{Path: path, Use: record.UseContent, FileState: state})
		case "own":
			o.Inputs = append(o.Inputs, record.Input{Path: path, Use: record.UseContent, FileState: state, Own: true})
		case "absent":
			o.Inputs = append(o.Inputs, record.Input{Path: path, Use: record.UseAbsent})
		case "list":
			state.Kind = record.Directory
			o.Inputs = append(o.Inputs, record.Input{Path: path, Use: record.UseListed, FileState: state})
		case "wrote":
			o.Outputs = append(o.Outputs, record.Output{Path: path, FileState: state})
		case "made":
			o.Outputs = append(o.Outputs, record.Output{Path: path, FileState: state, Made: true})
		case "removed":
			o.Outputs = append(o.Outputs, record.Output{Path: path})
		case "peer":
			o.Peers = append(o.Peers, rest)
		case "bar":
			kind, why, _ := strings.Cut(rest, " ")
			o.Barred = append(o.Barred, record.Bar{Kind: kind, Detail: why})
		case "ran":
			o.Programs = append(o.Programs, rest)
		case "random":
			o.Random = true
		}
	}
	return o
}

func TestInnocent(t *testing.T) {
	t.Parallel()
	one := []Changed{{Path: "src/a.go"}}
	for _, tt := range []struct {
		name  string
		scene Scene
		want  bool
		why   string
	}{
		{"read nothing of it", Scene{Changed: one, Step: seen("read /w/src/b.go", "list /w/src")}, true, "nothing that the test read has changed: it used 2 files, none of the 1 that the change touches"},
		{"read it", Scene{Changed: one, Step: seen("read /w/src/a.go")}, false, "the test used 1 file of the change"},
		{"looked for a file that is new", Scene{Changed: []Changed{{"new.go", true}}, Step: seen("absent /w/new.go")}, false, "the test used 1 file of the change"},
		{"listed a directory with a new name", Scene{Changed: []Changed{{"src/new.go", true}}, Step: seen("list /w/src")}, false, "the test used 1 file of the change"},
		{"listed the one above an old directory", Scene{Changed: []Changed{{"src/new.go", true}}, Step: seen("list /w", "read /w/src/b.go")}, true, "nothing"},
		{"listed the one above a directory that may be new", Scene{Changed: []Changed{{"src/new.go", true}}, Step: seen("list /w", "read /w/b.go")}, false, "the test used 1 file of the change"},
		{"a binary made of it", Scene{Changed: one, Step: seen("read /w/bin/app"), Earlier: []*record.Observation{seen("read /w/src/a.go", "made /w/bin/app")}}, false, "the test used 1 file of the change"},
		{"made of it in two steps", Scene{Changed: one, Step: seen("read /tmp/c"), Earlier: []*record.Observation{seen("read /w/src/a.go", "wrote /w/b"), seen("read /w/b", "wrote /tmp/c")}}, false, "the test used 1 file of the change"},
		{"a binary made of something else", Scene{Changed: one, Step: seen("read /w/bin/app"), Earlier: []*record.Observation{seen("read /w/src/b.go", "made /w/bin/app")}}, true, "nothing"},
		{"an earlier step that nobody watched", Scene{Changed: one, Step: seen("read /w/b"), Earlier: []*record.Observation{nil}}, false, "an earlier step (number 1) may have carried the change to the test: nobody watched it"},
		{"not watched", Scene{Changed: one, Step: &record.Observation{}}, false, "nobody watched what the test read"},
		{"never seen", Scene{Changed: one}, false, "nobody watched what the test read"},
		{"the watching broke off", Scene{Changed: one, Step: seen("bar lost too many files")}, false, "what the test read is not all known: the watching was not complete (too many files)"},
		{"it failed, far away", Scene{Changed: one, Step: seen("bar failed", "bar network tcp 203.0.113.7:443", "bar network udp 10.0.0.2:53 (name look-up)")}, true, "nothing"},
		{"it asked a service beside it", Scene{Changed: one, Step: seen("bar network tcp 127.0.0.1:5432")}, false, "what the test read is not all known: it talked to a service that may be made of the change (tcp 127.0.0.1:5432)"},
		{"it asked a daemon", Scene{Changed: one, Step: seen("bar socket unix /run/docker.sock")}, false, "what the test read is not all known: it talked to another process of this machine, which may know the change (unix /run/docker.sock)"},
		{"the pipeline itself", Scene{Changed: []Changed{{Path: "ci.yml"}}, Pipelines: []string{"ci.yml"}, Step: seen("read /w/b")}, false, "the change touches ci.yml, which says what the step does"},
		{"which commit it is", Scene{Changed: one, Step: seen("read /w/.git/HEAD")}, false, "the test read the repository's history, in which the change is"},
		{"how git is set up", Scene{Changed: one, Step: seen("read /w/.git/config")}, true, "nothing"},
		{"a change that nobody knows", Scene{Step: seen("read /w/b")}, false, "it is not known which files the change touches"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			tt.scene.Root = "/w"
			got := Innocent(tt.scene)
			if got.Proven != tt.want || !strings.HasPrefix(got.Why, tt.why) {
				t.Errorf("%v %q, want %v %q", got.Proven, got.Why, tt.want, tt.why)
			}
			if got.Proven && len(got.Touched) > 0 {
				t.Errorf("innocent of %q", got.Touched)
			}
		})
	}
}

func TestDistance(t *testing.T) {
	t.Parallel()
	for peer, want := range map[string]reach{
		"unix /run/x": here, "tcp 127.0.0.1:5432": here, "tcp [::1]:80": here, "tcp 10.1.2.3:80": near, "tcp 172.20.0.1:80": near, "tcp 172.40.0.1:80": far,
		"tcp [fe80::1]:80": near, "udp 8.8.8.8:53": far, "tcp [2001:db8::1]:443": far, "": here, "tcp": here,
	} {
		if got := distance(peer); got != want {
			t.Errorf("%q: %d, want %d", peer, got, want)
		}
	}
}

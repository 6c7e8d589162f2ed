package executor_test

import (
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/fairlead-dev/fairlead/internal/executor"
	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/record"
	"github.com/fairlead-dev/fairlead/internal/trace"
)

// fake is an executor that notes what it is asked.
type fake struct {
	name   string
	fits   *plan.Problem
	fails  error
	opened []plan.Place
	rooms  []*fakeRoom
}

func (f *fake) Name() string { return f.name }
func (f *fake) Fits(p *plan.Place) *plan.Problem {
	if f.name == "host" && p != nil && (p.Container != nil || p.Services != nil) {
		return &plan.Problem{Message: "the host was asked about containers"}
	}
	return f.fits
}
func (f *fake) Class(*plan.Place) executor.Class { return executor.Class{Name: "class of " + f.name} }
func (f *fake) Open(_ context.Context, s executor.Spec) (executor.Room, error) {
	if f.fails != nil {
		return nil, f.fails
	}
	f.opened = append(f.opened, s.Place)
	r := &fakeRoom{f: f, dirs: s.Dirs}
	f.rooms = append(f.rooms, r)
	return r, nil
}

type fakeRoom struct {
	f      *fake
	dirs   plan.Dirs
	ran    []string
	closed int
}

func (r *fakeRoom) Dirs() plan.Dirs { return r.dirs }
func (r *fakeRoom) Run(_ context.Context, c *plan.Command, _ *trace.Spec, _ io.Writer) (executor.Result, error) {
	r.ran = append(r.ran, c.Argv[0])
	return executor.Result{}, nil
}
func (r *fakeRoom) Close() error                   { r.closed++; return nil }
func (r *fakeRoom) Beside() map[string]plan.Beside { return map[string]plan.Beside{"s": {ID: "1"}} }
func (r *fakeRoom) Images() []record.Material      { return []record.Material{{Name: "i"}} }
func (r *fakeRoom) Altered() string                { return "by somebody" }

var (
	nowhere  = plan.Place{}
	boxed    = plan.Place{Container: &plan.Container{Image: "i"}}
	services = plan.Place{Services: map[string]plan.Container{"s": {Image: "i"}}}
)

func TestMachine(t *testing.T) {
	t.Parallel()
	on := func(c ...string) *plan.Command { return &plan.Command{Argv: c} }
	in := func(c ...string) *plan.Command {
		return &plan.Command{Argv: c, Container: &plan.Container{Image: "i"}}
	}
	for name, tc := range map[string]struct {
		place           plan.Place
		commands        []*plan.Command
		host, container []string // what ran where
		altered         bool
		rooms           int // of containers
	}{
		"plain":                    {nowhere, []*plan.Command{on("a"), on("b")}, []string{"a", "b"}, nil, false, 0},
		"in a container":           {boxed, []*plan.Command{on("a"), in("b")}, nil, []string{"a", "b"}, true, 1},
		"services":                 {services, []*plan.Command{on("a"), in("b")}, []string{"a"}, []string{"b"}, false, 1},
		"a command in a container": {nowhere, []*plan.Command{on("a"), in("b"), in("c")}, []string{"a"}, []string{"b", "c"}, false, 1},
	} {
		host, box := &fake{name: "host"}, &fake{name: "docker"}
		m := executor.Machine{Host: host, Containers: box}
		room, err := m.Open(t.Context(), executor.Spec{Place: tc.place, Dirs: plan.Dirs{Workspace: "/w"}})
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if room.Dirs().Workspace != "/w" {
			t.Errorf("%s: %+v", name, room.Dirs())
		}
		for _, c := range tc.commands {
			if _, err := room.Run(t.Context(), c, nil, io.Discard); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
		ran := func(f *fake) (all []string) {
			for _, r := range f.rooms {
				all = append(all, r.ran...)
			}
			return all
		}
		if !slices.Equal(ran(host), tc.host) || !slices.Equal(ran(box), tc.container) || len(box.rooms) != tc.rooms {
			t.Errorf("%s: %q on the host, %q in %d rooms of containers", name, ran(host), ran(box), len(box.rooms))
		}
		located := room.(executor.Located)
		if (located.Altered() != "") != tc.altered || (len(located.Beside()) > 0) != (tc.rooms > 0) || (len(located.Images()) > 0) != (tc.rooms > 0) {
			t.Errorf("%s: altered %q, beside %v, images %v", name, located.Altered(), located.Beside(), located.Images())
		}
		if err := room.Close(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		for _, r := range append(host.rooms, box.rooms...) {
			if r.closed != 1 {
				t.Errorf("%s: a room of %s was closed %d times", name, r.f.name, r.closed)
			}
		}
		if _, err := room.Run(t.Context(), in("late"), nil, io.Discard); err == nil && tc.place.Container == nil && tc.rooms == 0 {
			t.Errorf("%s: a container is opened in a closed room", name)
		}
	}
}

func TestMachineAnswers(t *testing.T) {
	t.Parallel()
	host, box := &fake{name: "host"}, &fake{name: "docker", fits: &plan.Problem{Message: "no engine"}}
	m := executor.Machine{Host: host, Containers: box}
	if m.Name() != "host" {
		t.Error(m.Name())
	}
	for name, tc := range map[string]struct {
		place       *plan.Place
		fits, class string
	}{
		"none":     {nil, "", "class of host"},
		"plain":    {&nowhere, "", "class of host"},
		"boxed":    {&boxed, "no engine", "class of docker"},
		"services": {&services, "no engine", "class of host"},
	} {
		got := ""
		if p := m.Fits(tc.place); p != nil {
			got = p.Message
		}
		if got != tc.fits || m.Class(tc.place).Name != tc.class {
			t.Errorf("%s: %q, %s", name, got, m.Class(tc.place).Name)
		}
	}
	host.fits = &plan.Problem{Message: "Windows"}
	if p := m.Fits(&boxed); p == nil || p.Message != "Windows" {
		t.Errorf("a job for another machine: %v", p)
	}
}

// What cannot be opened leaves nothing open.
func TestMachineFails(t *testing.T) {
	t.Parallel()
	broken := errors.New("broken")
	host, box := &fake{name: "host", fails: broken}, &fake{name: "docker"}
	m := executor.Machine{Host: host, Containers: box}
	if _, err := m.Open(t.Context(), executor.Spec{Place: services}); !errors.Is(err, broken) {
		t.Error(err)
	}
	if len(box.rooms) != 1 || box.rooms[0].closed != 1 {
		t.Error("the services are left")
	}
	host.fails, box.fails = nil, broken
	room, err := m.Open(t.Context(), executor.Spec{})
	if err != nil {
		t.Fatal(err)
	}
	defer room.Close()
	if _, err := room.Run(t.Context(), &plan.Command{Argv: []string{"a"}, Container: &plan.Container{}}, nil, io.Discard); !errors.Is(err, broken) || !strings.Contains(err.Error(), "container") {
		t.Error(err)
	}
}

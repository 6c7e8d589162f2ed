package jenkins

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"

	"github.com/fairlead-dev/fairlead/internal/dialect"
	"github.com/fairlead-dev/fairlead/internal/dialect/jenkins/builtin"
	"github.com/fairlead-dev/fairlead/internal/plan"
)

// session is one job while it runs. The program of its step is the whole
// pipeline; what it asks for is kept here, by key, from the moment it asks
// until the engine has done it.
type session struct {
	d *Dialect

	mu   sync.Mutex
	asks map[string]*ask
}

// ask is a step that the program asked for. One of act and program is set.
type ask struct {
	act     func(s *plan.Scope) (*plan.Act, error)
	program func(ctx context.Context, s *plan.Scope, do dialect.Doer, log io.Writer) (plan.Effects, error)
	stdout  bool // its standard output is wanted
}

// Open implements [dialect.Dialect].
func (d *Dialect) Open(context.Context, *plan.Scope) (dialect.Session, error) {
	return &session{d: d, asks: map[string]*ask{}}, nil
}

// Setup implements [dialect.Session].
func (n *session) Setup(context.Context, *plan.Scope) (dialect.Setup, error) {
	return dialect.Setup{}, nil
}

// Close implements [dialect.Session].
func (n *session) Close() error { return nil }

// put keeps what a program asks for until the returned func is called.
func (n *session) put(key string, a *ask) (forget func()) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.asks[key] = a
	return func() {
		n.mu.Lock()
		defer n.mu.Unlock()
		delete(n.asks, key)
	}
}

func (n *session) asked(key string) *ask {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.asks[key]
}

// Resolve implements [dialect.Session].
func (n *session) Resolve(_ context.Context, step *plan.Step, s *plan.Scope) (*plan.Act, error) {
	if step.Key == mainKey {
		return &plan.Act{Name: step.Name, Program: &plan.Program{Text: "pipeline of " + step.Source.File}}, nil
	}
	a := n.asked(step.Key)
	switch {
	case a == nil:
		return nil, fmt.Errorf("jenkins: nobody asked for step %s", step.Key)
	case a.program != nil:
		return &plan.Act{Name: step.Name, Program: &plan.Program{Text: step.Name}}, nil
	}
	return a.act(s)
}

// stdoutVariable names the file that a script's standard output goes to when
// the pipeline wants it.
const stdoutVariable = "FAIRLEAD_STDOUT"

// Listen implements [dialect.Session].
func (n *session) Listen(step *plan.Step, _ *plan.Act, s *plan.Scope) (dialect.Listener, error) {
	l := &listener{}
	if a := n.asked(step.Key); a != nil && a.stdout {
		l.stdout = filepath.Join(s.Dirs.Temp, "stdout-"+fileName(step.Key))
		if err := os.WriteFile(l.stdout, nil, 0o666); err != nil {
			return nil, fmt.Errorf("make a file for the script's output: %w", err)
		}
		// Whoever the script runs as in its container may write to it.
		if err := os.Chmod(l.stdout, 0o666); err != nil {
			return nil, fmt.Errorf("make a file for the script's output: %w", err)
		}
	}
	return l, nil
}

// listener takes the output of a step as it is: Jenkins has no commands in it.
type listener struct{ stdout string }

// maxStdout is the length of the longest output that a pipeline is given.
const maxStdout = 4 << 20

func (l *listener) Env() map[string]string {
	if l.stdout == "" {
		return nil
	}
	return map[string]string{stdoutVariable: l.stdout}
}

func (l *listener) Line(line []byte) ([]byte, *plan.Effects) { return line, nil }

func (l *listener) Close() (plan.Effects, error) {
	if l.stdout == "" {
		return plan.Effects{}, nil
	}
	f, err := os.Open(l.stdout)
	if errors.Is(err, os.ErrNotExist) {
		return plan.Effects{}, nil // the script took it away, or the whole directory
	}
	if err != nil {
		return plan.Effects{}, err
	}
	defer os.Remove(l.stdout)
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxStdout+1))
	if err != nil {
		return plan.Effects{}, err
	}
	if len(text) > maxStdout {
		return plan.Effects{Fail: fmt.Sprintf("the script printed more than %d bytes, which returnStdout does not return; write them to a file", maxStdout)}, nil
	}
	return plan.Effects{Outputs: []plan.Setting{{Name: outStdout, Value: string(text)}}}, nil
}

// outStdout is the output that holds what a script printed.
const outStdout = "stdout"

// Do implements [dialect.Session].
func (n *session) Do(ctx context.Context, b *plan.Builtin, s *plan.Scope, log io.Writer) (plan.Effects, error) {
	if n.d.cfg.Builtins == nil {
		return plan.Effects{}, fmt.Errorf("jenkins: there is no built-in %q", b.Name)
	}
	args := make(map[string]string, len(b.Inputs))
	dir := s.Dirs.Workspace
	for name, v := range b.Inputs {
		if name == inputDir {
			dir = v
		} else {
			args[name] = v
		}
	}
	return n.d.cfg.Builtins.Run(ctx, builtin.Call{Name: b.Name, Dir: dir, Args: args, Scope: s}, log)
}

// inputDir is the input of every built-in that says where names begin.
const inputDir = ".dir"

// Interpret implements [dialect.Interpreter].
func (n *session) Interpret(ctx context.Context, step *plan.Step, _ *plan.Act, s *plan.Scope, do dialect.Doer, log io.Writer) (plan.Effects, error) {
	if step.Key == mainKey {
		return n.run(ctx, s, do, log)
	}
	a := n.asked(step.Key)
	if a == nil || a.program == nil {
		return plan.Effects{}, fmt.Errorf("jenkins: nobody asked for step %s", step.Key)
	}
	return a.program(ctx, s, do, log)
}

// fileName is a key as the name of a file.
func fileName(key string) string {
	out := []byte(key)
	for i, c := range out {
		if c == '/' || c == 0 {
			out[i] = '_'
		}
	}
	return string(out)
}

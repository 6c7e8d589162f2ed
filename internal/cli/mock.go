package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/spf13/cobra"

	"github.com/fairlead-dev/fairlead/internal/mock"
	"github.com/fairlead-dev/fairlead/internal/plan"
)

// mockCommand is `fairlead mock`.
func (g *global) mockCommand() *cobra.Command {
	return verbs("mock", "Stand for an HTTP server in tests, or record one",
		`Stand for an HTTP server that tests talk to, by mappings of WireMock, simulations of
Hoverfly, imposters of Mountebank or an OpenAPI document; or record a real one as mappings.`,
		g.mockServeCommand(), g.mockRecordCommand())
}

// mockVar is the variable in which a command finds the mock.
const mockVar = "FAIRLEAD_MOCK_URL"

// mockCA is the variable with the file of the certificates by which a command knows
// imposters of https.
const mockCA = "FAIRLEAD_MOCK_CA"

type mocking struct {
	listen, openapi, proxy, journal string
	strict, skip                    bool
	seed                            uint64
}

func (g *global) mockServeCommand() *cobra.Command {
	var o mocking
	c := &cobra.Command{
		Use:   "serve [DIR|FILE...] [-- COMMAND...]",
		Short: "Answer as files say",
		Long: `Answer requests as files say: mappings of WireMock (a file, or a directory with
mappings/ and __files/), simulations of Hoverfly (version 5), imposters of Mountebank. What
of them is not supported is said with its line, and nothing is served, unless
--skip-unsupported leaves those out.

A request that nothing fits is answered with 404 and the nearest mappings, with what does
not hold of each; so is the journal: GET /__fairlead/requests. With --strict the exit code
is 1 if there was such a request, or one that breaks the contract of --openapi.

With a COMMAND it is run, finds the address in FAIRLEAD_MOCK_URL, and ends the server
with itself; without, the server runs until it is interrupted. Imposters with several
ports are served at those. If any speaks TLS, FAIRLEAD_MOCK_CA names a file with the
certificates to trust.`,
		Example: `  fairlead mock serve wiremock/ --listen 127.0.0.1:8080
  fairlead mock serve wiremock/ --strict -- go test ./...
  fairlead mock serve --openapi api.yaml`,
	}
	f := c.Flags()
	f.StringVar(&o.listen, "listen", "127.0.0.1:0", "`address` to listen at; port 0 is a free one")
	f.StringVar(&o.openapi, "openapi", "", "OpenAPI `file` that requests and answers are held against; its examples answer what no mapping fits")
	f.StringVar(&o.proxy, "proxy", "", "`URL` of a server that is asked what nothing fits")
	f.StringVar(&o.journal, "journal", "", "`file` that gets every request as a line of JSON")
	f.BoolVar(&o.strict, "strict", false, "exit with 1 if a request fitted nothing, or broke the contract")
	f.BoolVar(&o.skip, "skip-unsupported", false, "leave out mappings of which something is not supported")
	f.Uint64Var(&o.seed, "seed", 1, "`number` that random parts of answers come from")
	c.RunE = func(cmd *cobra.Command, a []string) error {
		paths, command := a, []string(nil)
		if n := cmd.ArgsLenAtDash(); n >= 0 {
			paths, command = a[:n], a[n:]
		}
		if len(paths) == 0 && o.openapi == "" {
			return usage("usage: "+cmd.UseLine(), "there is nothing to answer by: name files or --openapi")
		}
		return g.mockServe(cmd.Context(), o, paths, command)
	}
	return c
}

func (g *global) mockServe(ctx context.Context, o mocking, paths, command []string) (err error) {
	stubs, contract, err := g.mockFiles(o, paths)
	if err != nil {
		return err
	}
	log := g.Stderr
	var journal *os.File
	if o.journal != "" {
		if journal, err = os.Create(o.journal); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, journal.Close()) }()
	}
	var mu sync.Mutex
	m := mock.New(stubs, mock.Options{
		Proxy: o.proxy, Contract: contract, Examples: contract != nil, Seed: o.seed,
		Tell: func(e mock.Entry) {
			mu.Lock()
			defer mu.Unlock()
			if journal != nil {
				if b, err := json.Marshal(e); err == nil {
					_, _ = journal.Write(append(b, '\n'))
				}
			}
			g.mockEntry(log, e)
		},
	})
	at, err := m.Listen(o.listen)
	if err != nil {
		return err
	}
	fmt.Fprintf(g.Stderr, "%s at %s\n", plural(len(stubs), "mapping"), at.URL)
	code, env := 0, map[string]string{mockVar: at.URL}
	if at.Certificates != nil {
		ca, clean, err := certificates(at.Certificates)
		if err != nil {
			return errors.Join(err, at.Close())
		}
		defer clean()
		env[mockCA] = ca
		fmt.Fprintf(g.Stderr, "its certificates are in %s\n", ca)
	}
	if command != nil {
		code, err = g.Execute(ctx, command, env)
	} else {
		fmt.Fprintln(g.Stdout, at.URL)
		asked, stop := untilAsked(ctx)
		<-asked.Done()
		stop()
	}
	err = errors.Join(err, at.Close())
	t := m.Tally()
	fmt.Fprintf(g.Stderr, "%s, %d of them fitted nothing, %d broke the contract\n", plural(t.Requests, "request"), t.Unmatched, t.Violations)
	switch {
	case err != nil:
		return err
	case code != 0:
		return exit(code)
	case o.strict && t.Unmatched+t.Violations > 0:
		return exit(ExitFailed)
	}
	return nil
}

// certificates writes them to a file for as long as the mock is there.
func certificates(text []byte) (name string, clean func(), err error) {
	dir, err := os.MkdirTemp("", "fairlead-mock-")
	if err != nil {
		return "", nil, err
	}
	name = filepath.Join(dir, "ca.pem")
	return name, func() { _ = os.RemoveAll(dir) }, os.WriteFile(name, text, 0o644)
}

// mockFiles reads the files and says what is wrong with them.
func (g *global) mockFiles(o mocking, paths []string) ([]mock.Stub, *mock.Contract, error) {
	stubs, problems, err := mock.Load(paths...)
	if err != nil {
		if errors.Is(err, os.ErrNotExist) {
			return nil, nil, usage("", "%v", err)
		}
		return nil, nil, err
	}
	var contract *mock.Contract
	bad := plan.Errors(problems) && !o.skip
	if o.openapi != "" {
		c, wrong, err := mock.LoadContract(o.openapi)
		if err != nil {
			return nil, nil, usage("", "%v", err)
		}
		contract, problems, bad = c, append(problems, wrong...), bad || plan.Errors(wrong)
	}
	st, cols := g.style(g.Stderr), columns(g.Stderr)
	for _, p := range problems {
		writeProblem(g.Stderr, p, st, cols)
	}
	if bad {
		return nil, nil, exit(ExitInvalid)
	}
	return stubs, contract, nil
}

// mockEntry tells of a request that something is wrong with.
func (g *global) mockEntry(w io.Writer, e mock.Entry) {
	if e.By != "" && len(e.Violations) == 0 {
		return
	}
	what := "breaks the contract"
	if e.By == "" {
		what = "fits nothing"
	}
	fmt.Fprintf(w, "%s %s %s\n", shown(e.Method), shown(e.Target), what)
	for _, v := range e.Violations {
		fmt.Fprintf(w, "  %s\n", shown(v))
	}
	for _, n := range e.Nearest {
		fmt.Fprintf(w, "  nearest: %s: %s\n", shown(n.Stub), shown(strings.Join(n.Unmet, "; ")))
	}
}

func (g *global) mockRecordCommand() *cobra.Command {
	var target, listen, out string
	c := &cobra.Command{
		Use:   "record --target URL --out DIR [-- COMMAND...]",
		Short: "Record a server as mappings",
		Long: `Pass requests on to a server and write what goes by as mappings of WireMock, which
` + "`fairlead mock serve`" + ` answers by: a file for each kind of request, with bodies that are no text
beside them. Different answers to the same request become a scenario.

Headers, parameters and members of JSON that look like secrets by their names are masked
in the files. Look through them before you commit them.`,
		Example: `  fairlead mock record --target https://api.example.com --out wiremock/ -- go test ./...
  fairlead mock record --target http://localhost:3000 --listen 127.0.0.1:8080 --out wiremock/`,
	}
	f := c.Flags()
	f.StringVar(&target, "target", "", "`URL` of the server")
	f.StringVar(&listen, "listen", "127.0.0.1:0", "`address` to listen at; port 0 is a free one")
	f.StringVar(&out, "out", "", "`directory` for the mappings")
	c.RunE = func(cmd *cobra.Command, a []string) (err error) {
		n := cmd.ArgsLenAtDash()
		switch {
		case n < 0 && len(a) > 0 || n > 0:
			return usage("usage: "+cmd.UseLine(), "`%s` does not know what to do with %q", cmd.CommandPath(), a[0])
		case target == "" || out == "":
			return usage("usage: "+cmd.UseLine(), "`%s` needs --target and --out", cmd.CommandPath())
		}
		var mu sync.Mutex
		files := map[string]bool{}
		rec, err := mock.NewRecorder(target, out, func(r mock.Recorded) {
			mu.Lock()
			defer mu.Unlock()
			if r.File != "" {
				files[r.File] = true
			}
			if r.Why != "" {
				fmt.Fprintf(g.Stderr, "%s %s was not written: %s\n", shown(r.Method), shown(r.Target), shown(r.Why))
			}
		})
		if err != nil {
			return usage("", "%v", err)
		}
		defer func() { err = errors.Join(err, rec.Close()) }()
		at, err := rec.Listen(listen)
		if err != nil {
			return err
		}
		fmt.Fprintf(g.Stderr, "requests to %s are passed on and recorded\n", at.URL)
		code := 0
		if n == 0 {
			code, err = g.Execute(cmd.Context(), a, map[string]string{mockVar: at.URL})
		} else {
			fmt.Fprintln(g.Stdout, at.URL)
			asked, stop := untilAsked(cmd.Context())
			<-asked.Done()
			stop()
		}
		err = errors.Join(err, at.Close())
		mu.Lock()
		defer mu.Unlock()
		fmt.Fprintf(g.Stderr, "%s in %s\n", plural(len(files), "mapping"), out)
		if err == nil && code != 0 {
			return exit(code)
		}
		return err
	}
	return c
}

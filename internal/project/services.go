package project

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v4"

	"github.com/fairlead-dev/fairlead/internal/cron"
	"github.com/fairlead-dev/fairlead/internal/plan"
)

// Limits of the sections services and environments.
const (
	maxServices     = 2000
	maxEnvironments = 100
	maxInstances    = 1000
	maxChecks       = 50
	maxQueries      = 50
	maxWindows      = 100
	maxApprovers    = 100
	maxWords        = 100 // of a command
	maxSize         = 64 << 10
)

func services() kind[[]Service] {
	return unique("service", func(s *Service) string { return s.Name }, list("services", maxServices, placed(func(s *Service) *plan.Source { return &s.Source }, mapping("keys of a service",
		at("name", func(s *Service) *string { return &s.Name }, deployName("shop"), "Its name: part of the names of all that is made for it.").required(),
		at("team", func(s *Service) *string { return &s.Team }, plain("a name", "payments"), "Whose it is."),
		at("environments", func(s *Service) *[]string { return &s.Environments }, list("environments", maxEnvironments, deployName("staging")), "Where it goes. Without it, to all environments."),
		at("artifact", func(s *Service) *Artifact { return &s.Artifact }, artifact(), "What a release of it is made of. Without it, the files that the driver's section names."),
		at("strategy", func(s *Service) *Strategy { return &s.Strategy }, strategy(), "How it goes from one release to the next."),
		at("instances", func(s *Service) *int { return &s.Instances }, between(1, maxInstances), "How many copies run.").or("1"),
		at("instances-in", func(s *Service) *map[string]int { return &s.InstancesIn }, named("numbers of instances, by environment", maxEnvironments, between(1, maxInstances)), "How many copies run in one environment."),
		at("variables", func(s *Service) *map[string]string { return &s.Variables }, named("variables", maxVariables, words("a text", maxSize)), "Its configuration in all environments."),
		at("checks", func(s *Service) *[]plan.Check { return &s.Checks }, list("checks", maxChecks, check()), "What a new release has to pass before it gets requests, and after each step."),
		at("analysis", func(s *Service) **plan.Analysis { return &s.Analysis }, optional(analysis()), "How the new release is compared with the old one while both serve. With a canary there is always one."),
		at("migrations", func(s *Service) *[]plan.Migration { return &s.Migrations }, list("migrations", 2, migration()), "Commands that change its data: `expand` before the new release starts, `contract` when the old one has gone."),
		at("runbook", func(s *Service) *string { return &s.Runbook }, plain("a file or an address", "docs/runbooks/shop.md"), "What helps in an incident."),
		at("process", func(s *Service) **Process { return &s.Process }, optional(process()), "It runs as processes of this host."),
		at("docker", func(s *Service) **Docker { return &s.Docker }, optional(docker()), "It runs as containers of this host."),
		at("kubernetes", func(s *Service) **Kubernetes { return &s.Kubernetes }, optional(kubernetes()), "It runs in a cluster."),
		at("ssh", func(s *Service) **SSH { return &s.SSH }, optional(ssh()), "It runs as processes of other hosts."),
		at("terraform", func(s *Service) **Terraform { return &s.Terraform }, optional(terraform()), "It is infrastructure that Terraform or OpenTofu applies."),
		at("ansible", func(s *Service) **Ansible { return &s.Ansible }, optional(ansible()), "It is machines that a playbook sets up."),
		at("cloudformation", func(s *Service) **CloudFormation { return &s.CloudFormation }, optional(cloudFormation()), "It is a stack of AWS."),
		at("command", func(s *Service) **CommandDriver { return &s.Command }, optional(commandDriver()), "The team's own commands move it."),
	).holds(constraint[Service]{
		schema: `{"oneOf": [{"required": ["process"]}, {"required": ["docker"]}, {"required": ["kubernetes"]}, {"required": ["ssh"]}, {"required": ["terraform"]}, {"required": ["ansible"]}, {"required": ["cloudformation"]}, {"required": ["command"]}]}`,
		check: func(r *reader, n *yaml.Node, s *Service) {
			var given []string
			for _, name := range drivers {
				if keyOf(n, name) != nil {
					given = append(given, name)
				}
			}
			switch {
			case len(given) == 0:
				r.report(n, "nothing says where "+s.Name+" runs", "add one of "+strings.Join(drivers, ", "))
			case len(given) > 1:
				r.report(keyOf(n, given[1]), "a service runs in one way, not as "+strings.Join(given, " and as "), "make two services of it, or keep one of the two")
			}
		},
	}))))
}

// drivers are the sections that say where a service runs.
var drivers = []string{"process", "docker", "kubernetes", "ssh", "terraform", "ansible", "cloudformation", "command"}

func artifact() kind[Artifact] {
	return mapping("keys of artifact",
		at("path", func(a *Artifact) *string { return &a.Path }, treePath("a file or a directory"), "A file or a directory of the tree, after `build`. What is deployed are its bytes, by their digest."),
		at("build", func(a *Artifact) *string { return &a.Build }, plain("a command", "make dist"), "A command that makes it, run by sh at the root of the tree."),
		at("image", func(a *Artifact) *string { return &a.Image }, plain("the name of an image", "registry.example/shop"), "An image, without a tag. What is deployed is a digest of it."),
	).holds(constraint[Artifact]{
		schema: `{"not": {"required": ["path", "image"]}}`,
		check: func(r *reader, n *yaml.Node, a *Artifact) {
			if a.Path != "" && a.Image != "" {
				r.report(keyOf(n, "image"), "a release is made of a path or of an image, not of both", "keep one of the two")
			}
		},
	})
}

func strategy() kind[Strategy] {
	return placed(func(s *Strategy) *plan.Source { return &s.Source }, mapping("keys of strategy",
		at("kind", func(s *Strategy) *string { return &s.Kind }, choice(Rolling, BlueGreen, Canary, Recreate), "`rolling` replaces instances in batches, `blue-green` starts all of the new ones beside the old ones and moves the requests at once, `canary` moves them in shares, `recreate` stops the old ones first. Without it, blue-green where two releases may stand side by side, else recreate."),
		at("steps", func(s *Strategy) *[]int { return &s.Steps }, list("percentages", 100, between(1, 100)), "Of a canary: which percentages of the requests it gets, one after another.").or("[5, 25, 50, 100]"),
		at("batch", func(s *Strategy) *int { return &s.Batch }, between(1, maxInstances), "Of rolling: how many instances at a time.").or("1"),
		at("hold", func(s *Strategy) *time.Duration { return &s.Hold }, duration(), "How long it stays at each share."),
		at("bake", func(s *Strategy) *time.Duration { return &s.Bake }, duration(), "How long the new release is watched when it has all requests."),
		at("keep-old", func(s *Strategy) *time.Duration { return &s.KeepOld }, duration(), "How long the old release is kept running after that: the way back takes no start.").or("10m"),
		at("deadline", func(s *Strategy) *time.Duration { return &s.Deadline }, duration(), "How long one move may take before the release is taken back.").or("10m"),
		at("promote", func(s *Strategy) *string { return &s.Promote }, choice("by-hand", "by-itself"), "`by-hand` holds before the last share until somebody says that it goes on.").or("by-itself"),
	).holds(constraint[Strategy]{
		schema: `{"if": {"required": ["steps"]}, "then": {"required": ["kind"], "properties": {"kind": {"const": "canary"}}}}`,
		check: func(r *reader, n *yaml.Node, s *Strategy) {
			switch {
			case len(s.Steps) > 0 && s.Kind != Canary:
				r.report(keyOf(n, "steps"), "steps are those of a canary", "add kind: canary, or remove steps")
			case !slices.IsSorted(s.Steps):
				r.report(keyOf(n, "steps"), "the shares of a canary only rise", "put them in order")
			case s.Batch > 0 && s.Kind != Rolling:
				r.report(keyOf(n, "batch"), "batches are those of rolling", "add kind: rolling, or remove batch")
			}
		},
	}))
}

func check() kind[plan.Check] {
	return placed(func(c *plan.Check) *plan.Source { return &c.Source }, mapping("keys of a check",
		at("name", func(c *plan.Check) *string { return &c.Name }, plain("a name", "home page"), "What it is called."),
		at("http", func(c *plan.Check) **plan.HTTPCheck { return &c.HTTP }, optional(mapping("keys of http",
			at("path", func(h *plan.HTTPCheck) *string { return &h.Path }, urlPath(), "What is asked for.").required(),
			at("method", func(h *plan.HTTPCheck) *string { return &h.Method }, choice("GET", "HEAD", "POST", "PUT"), "How.").or("GET"),
			at("header", func(h *plan.HTTPCheck) *map[string]string { return &h.Header }, named("headers", 50, words("a text", maxSize)), "What is said with it."),
			at("status", func(h *plan.HTTPCheck) *int { return &h.Status }, between(100, 599), "The status that is expected. Without it, 200 to 399."),
			at("body", func(h *plan.HTTPCheck) *string { return &h.Body }, goRegexp(), "A regular expression that the answer matches."),
		)), "Every instance answers a request."),
		at("grpc", func(c *plan.Check) **plan.GRPCCheck { return &c.GRPC }, optional(mapping("keys of grpc",
			at("service", func(g *plan.GRPCCheck) *string { return &g.Service }, plain("a name", "shop.Orders"), "Of which service the health is asked. Without it, of the server as a whole."),
		)), "Every instance answers to `grpc.health.v1.Health`."),
		at("tcp", func(c *plan.Check) *bool { return &c.TCP }, boolean(), "Every instance takes a connection."),
		at("command", func(c *plan.Check) *string { return &c.Command }, plain("a command", "./smoke.sh"), "A command that exits with 0, run by sh at the root of the tree for each instance, with `FAIRLEAD_ADDRESS`."),
		at("load", func(c *plan.Check) **plan.LoadCheck { return &c.Load }, optional(mapping("keys of load",
			at("path", func(l *plan.LoadCheck) *string { return &l.Path }, urlPath(), "What is asked for.").required(),
			at("rate", func(l *plan.LoadCheck) *int { return &l.Rate }, between(1, 100_000), "Requests a second.").required(),
			at("for", func(l *plan.LoadCheck) *time.Duration { return &l.For }, duration(), "For how long.").required(),
			at("latency", func(l *plan.LoadCheck) *time.Duration { return &l.Latency }, duration(), "Within what time 99 of 100 are answered."),
			at("errors", func(l *plan.LoadCheck) *float64 { return &l.Errors }, percentage(), "The share that may fail.").or("0%"),
		)), "The new release bears requests at a rate."),
		at("within", func(c *plan.Check) *time.Duration { return &c.Within }, duration(), "How long it may take until it holds.").or("1m"),
	).holds(constraint[plan.Check]{
		schema: `{"oneOf": [{"required": ["http"]}, {"required": ["grpc"]}, {"required": ["tcp"]}, {"required": ["command"]}, {"required": ["load"]}]}`,
		check: func(r *reader, n *yaml.Node, c *plan.Check) {
			given := 0
			for _, is := range []bool{c.HTTP != nil, keyOf(n, "grpc") != nil, c.TCP, c.Command != "", c.Load != nil} {
				if is {
					given++
				}
			}
			if given != 1 {
				r.report(n, "a check is exactly one of http, grpc, tcp, command and load", "make one entry for each")
				return
			}
			if keyOf(n, "grpc") != nil && c.GRPC == nil {
				c.GRPC = &plan.GRPCCheck{}
			}
			if c.Name == "" {
				c.Name = checkName(c)
			}
		},
	}))
}

func checkName(c *plan.Check) string {
	switch {
	case c.HTTP != nil:
		return "http " + c.HTTP.Path
	case c.GRPC != nil:
		return strings.TrimSpace("grpc " + c.GRPC.Service)
	case c.TCP:
		return "tcp"
	case c.Load != nil:
		return fmt.Sprintf("load %s at %d/s", c.Load.Path, c.Load.Rate)
	}
	return "command " + clip(c.Command)
}

func analysis() kind[plan.Analysis] {
	return mapping("keys of analysis",
		at("for", func(a *plan.Analysis) *time.Duration { return &a.For }, duration(), "The longest that it looks at one share.").or("5m"),
		at("every", func(a *plan.Analysis) *time.Duration { return &a.Every }, duration(), "How often it looks.").or("10s"),
		at("alpha", func(a *plan.Analysis) *float64 { return &a.Alpha }, percentage(), "The share of false alarms that is borne, however often it looks.").or("1%"),
		at("tolerance", func(a *plan.Analysis) *float64 { return &a.Tolerance }, factor(), "How many times the errors of the old release are no fault of the new one.").or("1.5"),
		at("least", func(a *plan.Analysis) *int { return &a.Least }, between(1, 1_000_000_000), "How many requests the new release has to answer before it passes.").or("50"),
		at("errors", func(a *plan.Analysis) *float64 { return &a.Errors }, percentage(), "The share of failed requests that is borne when there is nothing to compare with.").or("5%"),
		at("latency", func(a *plan.Analysis) *time.Duration { return &a.Latency }, duration(), "Within what time 99 of 100 requests are answered, when there is nothing to compare with."),
		at("prometheus", func(a *plan.Analysis) *string { return &a.Prometheus }, link(), "The server that the queries are asked of."),
		at("queries", func(a *plan.Analysis) *[]plan.Query { return &a.Queries }, list("queries", maxQueries, query()), "What is asked of Prometheus. In a query `{{release}}`, `{{revision}}`, `{{service}}` and `{{environment}}` stand for those of the side that is meant."),
	).holds(constraint[plan.Analysis]{
		schema: `{"if": {"required": ["queries"]}, "then": {"required": ["prometheus"]}}`,
		check: func(r *reader, n *yaml.Node, a *plan.Analysis) {
			if len(a.Queries) > 0 && a.Prometheus == "" {
				r.report(keyOf(n, "queries"), "nobody is named whom the queries are asked of", "add prometheus: https://…")
			}
		},
	})
}

func query() kind[plan.Query] {
	return placed(func(q *plan.Query) *plan.Source { return &q.Source }, mapping("keys of a query",
		at("name", func(q *plan.Query) *string { return &q.Name }, plain("a name", "failed orders"), "What it is called.").required(),
		at("errors", func(q *plan.Query) *string { return &q.Errors }, plain("a query", `sum(http_requests_total{rev="{{revision}}",code=~"5.."})`), "A count of what failed; with `total`."),
		at("total", func(q *plan.Query) *string { return &q.Total }, plain("a query", `sum(http_requests_total{rev="{{revision}}"})`), "A count of all."),
		at("value", func(q *plan.Query) *string { return &q.Value }, plain("a query", `avg(queue_length{rev="{{revision}}"})`), "A value, whose course is compared."),
		at("higher-is-better", func(q *plan.Query) *bool { return &q.Higher }, boolean(), "A value that falls is worse.").or("false"),
		at("max", func(q *plan.Query) **float64 { return &q.Max }, optional(number()), "The value may not be above it."),
		at("min", func(q *plan.Query) **float64 { return &q.Min }, optional(number()), "The value may not be below it."),
	).holds(constraint[plan.Query]{
		schema: `{"oneOf": [{"required": ["errors", "total"]}, {"required": ["value"]}]}`,
		check: func(r *reader, n *yaml.Node, q *plan.Query) {
			if (q.Errors == "") != (q.Total == "") || (q.Errors == "") == (q.Value == "") {
				r.report(n, "a query has errors and total, or value", "a count of failures needs the count of all")
			}
		},
	}))
}

func migration() kind[plan.Migration] {
	return mapping("keys of a migration",
		at("phase", func(m *plan.Migration) *string { return &m.Phase }, choice("expand", "contract"), "`expand` makes the data ready for both releases; `contract` removes what only the old one needed, and there is no way back after it.").required(),
		at("command", func(m *plan.Migration) *string { return &m.Command }, plain("a command", "./migrate up"), "Run by sh at the root of the tree, once.").required(),
		at("probe", func(m *plan.Migration) *string { return &m.Probe }, plain("a command", "./migrate done"), "Exits with 0 if the migration has been done. It is asked when a crash left that unknown; without it, a person is."),
	)
}

func environments() kind[[]DeployEnvironment] {
	return unique("environment", func(e *DeployEnvironment) string { return e.Name }, list("environments", maxEnvironments, placed(func(e *DeployEnvironment) *plan.Source { return &e.Source }, mapping("keys of an environment",
		at("name", func(e *DeployEnvironment) *string { return &e.Name }, deployName("staging"), "Its name.").required(),
		at("url", func(e *DeployEnvironment) *string { return &e.URL }, link(), "Where people find it."),
		at("after", func(e *DeployEnvironment) *string { return &e.Gate.After }, deployName("dev"), "The environment in which a release has to serve before it comes here: releases are promoted, the same bytes."),
		at("soak", func(e *DeployEnvironment) *time.Duration { return &e.Gate.Soak }, duration(), "For how long it has to serve there."),
		at("approvals", func(e *DeployEnvironment) *int { return &e.Gate.Approvals }, between(0, maxApprovers), "How many people have to approve.").or("0"),
		at("approvers", func(e *DeployEnvironment) *[]string { return &e.Gate.Approvers }, list("names", maxApprovers, plain("a name", "ada")), "Who may approve. Without it, whoever may approve runs."),
		at("not-author", func(e *DeployEnvironment) *bool { return &e.Gate.NotAuthor }, boolean(), "Who made the change, or began the rollout, does not count.").or("false"),
		at("wait", func(e *DeployEnvironment) *time.Duration { return &e.Gate.Wait }, duration(), "How long every rollout waits before it begins."),
		at("windows", func(e *DeployEnvironment) *[]plan.Window { return &e.Gate.Freezes }, list("windows", maxWindows, window()), "When nothing is deployed, or alone when something is."),
		at("branches", func(e *DeployEnvironment) *[]string { return &e.Branches }, list("patterns", maxWindows, plain("a pattern", "release/*")), "The branches and tags whose commits may be deployed. Without it, all."),
		at("variables", func(e *DeployEnvironment) *map[string]string { return &e.Variables }, named("variables", maxVariables, words("a text", maxSize)), "Configuration of all services there. It goes before that of the service."),
		at("secrets", func(e *DeployEnvironment) *map[string]string { return &e.Secrets }, named("names of secrets", maxVariables, plain("the name of a secret", "DB_PASSWORD")), "Variables whose values are secrets, by the secret's name."),
		at("preview", func(e *DeployEnvironment) *bool { return &e.Preview }, boolean(), "There is one such environment for each pull request, called by this name and the request's number.").or("false"),
		at("expires", func(e *DeployEnvironment) *time.Duration { return &e.Expires }, duration(), "Of a preview: when it goes, if its pull request is not closed before.").or("7d"),
		at("drift", func(e *DeployEnvironment) *time.Duration { return &e.Drift }, duration(), "How often the server looks whether what was deployed is still so."),
		at("heal", func(e *DeployEnvironment) *bool { return &e.Heal }, boolean(), "What has drifted is put right without being asked.").or("false"),
	))))
}

// places looks whether the environments that are named are there.
func places(r *reader, n *yaml.Node, f *File) {
	var names []string
	for i := range f.Environments {
		e := &f.Environments[i]
		if after := e.Gate.After; after != "" && !slices.Contains(names, after) {
			r.add(e.Source, fmt.Sprintf("%s comes after %s, which is no environment before it", e.Name, after), "put environments in the order in which a release goes through them")
		}
		names = append(names, e.Name)
	}
	for i := range f.Services {
		s := &f.Services[i]
		if len(names) == 0 {
			r.add(s.Source, "there is no environment that "+s.Name+" could go to", "add environments: [{name: production}]")
			return
		}
		for _, name := range slices.Concat(s.Environments, slices.Sorted(maps.Keys(s.InstancesIn))) {
			if !slices.Contains(names, name) {
				hint := "the environments are " + strings.Join(names, ", ")
				if near := plan.Nearest(name, names); near != "" {
					hint = "did you mean " + near + "?"
				}
				r.add(s.Source, fmt.Sprintf("%s names the environment %s, which there is not", s.Name, name), hint)
			}
		}
	}
}

func window() kind[plan.Window] {
	return placed(func(w *plan.Window) *plan.Source { return &w.Source }, mapping("keys of a window",
		at("name", func(w *plan.Window) *string { return &w.Name }, plain("a name", "weekend"), "What it is called."),
		at("cron", func(w *plan.Window) *string { return &w.Cron }, cronLine(), "When it begins, in five fields: minute, hour, day, month, weekday.").required(),
		at("for", func(w *plan.Window) *time.Duration { return &w.For }, duration(), "How long it lasts.").required(),
		at("zone", func(w *plan.Window) *string { return &w.Zone }, timeZone(), "Whose clock is meant.").or("UTC"),
		at("allow", func(w *plan.Window) *bool { return &w.Allow }, boolean(), "Within it something is deployed, and not without it.").or("false"),
	))
}

// unique is a list in which no two have the same name.
func unique[V any](what string, name func(*V) string, of kind[[]V]) kind[[]V] {
	return kind[[]V]{of.schema, func(r *reader, n *yaml.Node, v *[]V) {
		of.read(r, n, v)
		seen := map[string]bool{}
		for i := range *v {
			if at := name(&(*v)[i]); seen[strings.ToLower(at)] {
				r.report(n, fmt.Sprintf("two have the name %s", clip(at)), "give each "+what+" a name of its own")
			} else {
				seen[strings.ToLower(at)] = true
			}
		}
	}}
}

// optional is a value that may be missing.
func optional[V any](of kind[V]) kind[*V] {
	return kind[*V]{of.schema, func(r *reader, n *yaml.Node, v **V) {
		*v = new(V)
		of.read(r, n, *v)
	}}
}

// deployName is a name that is part of others: of hosts, containers, objects.
func deployName(example string) kind[string] {
	s := &schema{words: "a name", way: "write small letters, digits and -, at most 40, such as " + example, Type: one("string"),
		Pattern: `^[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?$`, Examples: []any{example}}
	return matching(s, "cannot be part of the names of hosts and containers")
}

// matching is a text that the schema's pattern matches.
func matching(s *schema, not string) kind[string] {
	re := regexp.MustCompile(s.Pattern)
	return scalar(s, func(text string) (string, *fault) {
		if len(text) > maxText || !re.MatchString(text) {
			return "", faulty(text, not)
		}
		return text, nil
	})
}

// urlPath is the path of an address, with its query.
func urlPath() kind[string] {
	s := &schema{words: "a path", way: "write it with a leading slash, such as /healthz", Type: one("string"), Pattern: `^/[!-~]*$`, Examples: []any{"/healthz"}}
	return matching(s, "is no path of an address")
}

// goRegexp is a regular expression of Go's.
func goRegexp() kind[string] {
	s := &schema{words: "a regular expression", way: "write one as Go has them", Type: one("string"), Examples: []any{`"status":\s*"ok"`}}
	return scalar(s, func(text string) (string, *fault) {
		if len(text) > maxText {
			return "", faulty(text, "is too long")
		}
		if _, err := regexp.Compile(text); err != nil {
			return "", faulty(text, "is no regular expression: "+clip(err.Error()))
		}
		return text, nil
	})
}

// percentage is a share, from none to all.
func percentage() kind[float64] {
	const form = `^(100|[0-9]{1,2}(\.[0-9]+)?)%$`
	re := regexp.MustCompile(form)
	s := &schema{words: "a percentage", way: "write it with %, such as 0.5%", Type: one("string"), Pattern: form, Examples: []any{"1%", "0.5%"}}
	return scalar(s, func(text string) (float64, *fault) {
		if len(text) > maxText || !re.MatchString(text) {
			return 0, faulty(text, "is no percentage")
		}
		v, err := strconv.ParseFloat(strings.TrimSuffix(text, "%"), 64)
		if err != nil {
			return 0, faulty(text, "is no percentage")
		}
		return v / 100, nil
	})
}

// number is any number.
func number() kind[float64] {
	s := &schema{words: "a number", way: "write a number, without quotes", Type: one("number")}
	return kind[float64]{s, func(r *reader, n *yaml.Node, v *float64) {
		x, err := strconv.ParseFloat(n.Value, 64)
		if tag := n.ShortTag(); n.Kind != yaml.ScalarNode || tag != "!!int" && tag != "!!float" || err != nil || x-x != 0 {
			r.report(n, fmt.Sprintf("%s must be a number, not %s", r.subject(), shape(n)), s.way)
			return
		}
		*v = x
	}}
}

// factor is a number of at least one.
func factor() kind[float64] {
	least := 1
	k := number()
	s := *k.schema
	s.words, s.Minimum = "a number from 1", &least
	return kind[float64]{&s, func(r *reader, n *yaml.Node, v *float64) {
		var x float64
		faults := r.faults
		if k.read(r, n, &x); r.faults == faults && (x < 1 || x > 1000) {
			r.report(n, r.subject()+" must be from 1 to 1000", "1.5 lets the new release have half as many errors again")
			return
		}
		*v = x
	}}
}

// cronLine is when something begins, again and again.
func cronLine() kind[string] {
	s := &schema{words: "a line of cron", way: "write minute, hour, day, month and weekday, such as 0 18 * * FRI", Type: one("string"), Examples: []any{"0 18 * * FRI"}}
	return scalar(s, func(text string) (string, *fault) {
		if strings.Contains(text, "=") {
			return "", &fault{quote(text) + " says whose clock is meant", "put the zone into zone:"}
		}
		if next, err := cron.Next(text, time.Unix(0, 0)); err != nil || next.IsZero() || len(text) > maxText {
			return "", faulty(text, "is never due")
		}
		return text, nil
	})
}

// timeZone is a time zone's name.
func timeZone() kind[string] {
	s := &schema{words: "a time zone", way: "write its name, such as Europe/Berlin", Type: one("string"), Examples: []any{"Europe/Berlin"}}
	return scalar(s, func(text string) (string, *fault) {
		if _, err := time.LoadLocation(text); err != nil || text == "" || text == "Local" {
			return "", faulty(text, "is no time zone")
		}
		return text, nil
	})
}

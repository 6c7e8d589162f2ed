package project

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/fairlead-dev/fairlead/internal/plan"
)

const delivery = `environments:
- name: dev
- name: production
  after: dev
  soak: 1h
  approvals: 2
  approvers: [ada, bob]
  not-author: true
  windows:
  - {name: weekend, cron: 0 18 * * FRI, for: 2d14h, zone: Europe/Berlin}
  branches: [main]
  variables: {REGION: eu, REPLICAS: 3}
  secrets: {DB_URL: SHOP_DB}
  drift: 15m
services:
- name: shop
  artifact: {build: make dist, path: dist}
  strategy: {kind: canary, steps: [10, 100], hold: 2m, promote: by-hand}
  instances-in: {production: 4}
  checks:
  - http: {path: /healthz}
  - {grpc: {service: shop.Orders}, within: 5s}
  - load: {path: /, rate: 50, for: 10s, latency: 250ms, errors: 0.5%}
  analysis: {tolerance: 2, alpha: 1%, prometheus: 'https://prom.example', queries: [{name: queue, value: q, max: 100}]}
  migrations: [{phase: expand, command: ./migrate up, probe: ./migrate done}]
  process: {command: [./shop, --port, $PORT], hosts: [shop.example], ready: /readyz}
- name: net
  environments: [dev]
  terraform: {directory: infra, var-files: ['{{environment}}.tfvars']}
`

func TestServices(t *testing.T) {
	t.Parallel()
	f, problems := read(t, delivery)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	hundred := 100.0
	shop := Service{
		Name: "shop", Artifact: Artifact{Path: "dist", Build: "make dist"}, InstancesIn: map[string]int{"production": 4},
		Strategy: Strategy{Kind: Canary, Steps: []int{10, 100}, Hold: 2 * time.Minute, Promote: "by-hand", Source: spot(18, 13)},
		Checks: []plan.Check{
			{Name: "http /healthz", HTTP: &plan.HTTPCheck{Path: "/healthz"}, Source: spot(21, 5)},
			{Name: "grpc shop.Orders", GRPC: &plan.GRPCCheck{Service: "shop.Orders"}, Within: 5 * time.Second, Source: spot(22, 5)},
			{Name: "load / at 50/s", Load: &plan.LoadCheck{Path: "/", Rate: 50, For: 10 * time.Second, Latency: 250 * time.Millisecond, Errors: .005}, Source: spot(23, 5)},
		},
		Analysis:   &plan.Analysis{Tolerance: 2, Alpha: .01, Prometheus: "https://prom.example", Queries: []plan.Query{{Name: "queue", Value: "q", Max: &hundred, Source: spot(24, 85)}}},
		Migrations: []plan.Migration{{Phase: "expand", Command: "./migrate up", Probe: "./migrate done"}},
		Process:    &Process{Command: []string{"./shop", "--port", "$PORT"}, Hosts: []string{"shop.example"}, Ready: "/readyz"},
		Source:     spot(16, 3),
	}
	net := Service{Name: "net", Environments: []string{"dev"}, Terraform: &Terraform{Directory: "infra", VarFiles: []string{"{{environment}}.tfvars"}}, Source: spot(27, 3)}
	for i, want := range []Service{shop, net} {
		if got := f.Services[i]; !reflect.DeepEqual(got, want) {
			t.Errorf("got  %s\nwant %s", asJSON(t, got), asJSON(t, want))
		}
	}
	production := DeployEnvironment{
		Name: "production", Order: 2, Branches: []string{"main"}, Variables: map[string]string{"REGION": "eu", "REPLICAS": "3"}, Secrets: map[string]string{"DB_URL": "SHOP_DB"}, Drift: 15 * time.Minute, Source: spot(3, 3),
		Gate: plan.DeployGate{After: "dev", Soak: time.Hour, Approvals: 2, Approvers: []string{"ada", "bob"}, NotAuthor: true,
			Freezes: []plan.Window{{Name: "weekend", Cron: "0 18 * * FRI", For: 62 * time.Hour, Zone: "Europe/Berlin", Source: spot(10, 5)}}},
	}
	if want := []DeployEnvironment{{Name: "dev", Order: 1, Source: spot(2, 3)}, production}; !reflect.DeepEqual(f.Environments, want) {
		t.Errorf("got  %+v\nwant %+v", f.Environments, want)
	}
	if f.Services[0].Driver() != "process" || f.Services[0].In("production") != 4 || f.Services[0].In("dev") != 1 {
		t.Errorf("%s, %d, %d", f.Services[0].Driver(), f.Services[0].In("production"), f.Services[0].In("dev"))
	}
	if doc, ok := jsonLike(delivery); ok {
		if bad := violates(t, parsedSchema(t), doc, ""); bad != "" {
			t.Errorf("the schema refuses it: %s", bad)
		}
	}
}

func asJSON(t *testing.T, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// TestServiceProblems: each names its place and a way out.
func TestServiceProblems(t *testing.T) {
	t.Parallel()
	service := func(keys string) string {
		return "environments: [{name: dev}]\nservices:\n- name: shop\n  process: {command: [./x]}\n" + keys
	}
	for _, test := range []struct{ name, text, want string }{
		{"no driver", "environments: [{name: dev}]\nservices: [{name: a}]\n", `2:12: nothing says where a runs [fairlead-yaml]: add one of process, docker`},
		{"two drivers", service("  docker: {port: 80}\n"), `5:3: a service runs in one way, not as process and as docker`},
		{"path and image", service("  artifact: {path: a, image: b}\n"), `5:23: a release is made of a path or of an image`},
		{"twice", "environments: [{name: dev}, {name: DEV}]\n", `1:36: "DEV" cannot be part of the names`},
		{"the same twice", "environments: [{name: dev}, {name: dev}]\n", `1:15: two have the name dev`},
		{"no environment", "services: [{name: a, process: {command: [x]}}]\n", `1:12: there is no environment that a could go to`},
		{"another environment", service("  environments: [prod]\n"), `3:3: shop names the environment prod, which there is not [fairlead-yaml]: the environments are dev`},
		{"order", "environments: [{name: prod, after: dev}, {name: dev}]\n", `1:16: prod comes after dev, which is no environment before it`},
		{"steps without canary", service("  strategy: {steps: [5]}\n"), `5:14: steps are those of a canary`},
		{"shares that fall", service("  strategy: {kind: canary, steps: [50, 5]}\n"), `5:28: the shares of a canary only rise`},
		{"two checks in one", service("  checks: [{tcp: true, http: {path: /}}]\n"), `5:12: a check is exactly one of`},
		{"expression", service("  checks: [{http: {path: /, body: '('}}]\n"), `is no regular expression`},
		{"queries of nobody", service("  analysis: {queries: [{name: a, value: b}]}\n"), `nobody is named whom the queries are asked of`},
		{"half a query", service("  analysis: {prometheus: 'https://p', queries: [{name: a, errors: b}]}\n"), `a query has errors and total, or value`},
		{"tolerance", service("  analysis: {tolerance: 0.5}\n"), `tolerance must be from 1 to 1000`},
		{"zone", "environments: [{name: dev, windows: [{cron: 0 0 * * *, for: 1h, zone: Mars/Base}]}]\n", `"Mars/Base" is no time zone`},
		{"cron", "environments: [{name: dev, windows: [{cron: 0 0 30 2 *, for: 1h}]}]\n", `"0 0 30 2 *" is never due`},
		{"percentage", service("  analysis: {alpha: 5}\n"), `alpha must be a percentage, not the number 5`},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			_, problems := read(t, test.text)
			if len(problems) == 0 || !strings.Contains(problems[0].String(), test.want) {
				t.Errorf("got  %v\nwant %s", problems, test.want)
			}
		})
	}
}

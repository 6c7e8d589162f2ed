package gitlab

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/fairlead-dev/fairlead/internal/dialect"
	"github.com/fairlead-dev/fairlead/internal/plan"
)

func TestVariablesOfAJob(t *testing.T) {
	t.Parallel()
	st := newStand(t)
	st.context.Env = map[string]string{"ENV": "line", "BOTH": "line", "CI_JOB_STAGE": "line"}
	st.context.Vars = map[string]string{"PROJECT": "project", "OVER": "project", "DOTENV": "project"}
	st.context.Secrets = map[string]string{"SECRET": "s$HOME", "DEPLOY_KEY": "key text"}
	st.context.Inputs = map[string]any{"OVER": "given", "COUNT": 3.0}
	st.needs["build"] = plan.Outcome{Verdict: plan.Success, Outputs: map[string]string{outputDotenv: `{"DOTENV":"build","VERSION":"1.2-$FROM","FILE_WINS":"dotenv"}`}}
	st.needs["later"] = plan.Outcome{Verdict: plan.Success, Outputs: map[string]string{outputDotenv: `{"VERSION":"1.3-$FROM"}`}}
	st.needs["other"] = plan.Outcome{Verdict: plan.Success, Outputs: map[string]string{outputDotenv: `{"NOT_ASKED":"x"}`}}
	p := st.play(&jobSpec{
		ID: "child/deploy 2/3", Name: "deploy 2/3", Group: "deploy", Stage: "deploy", Index: 2, Total: 3, Pipeline: "child", When: "manual", Tags: []string{"a"},
		Variables: []variable{
			{Name: "FROM", Value: "files"}, {Name: "BOTH", Value: "files"}, {Name: "OVER", Value: "files"}, {Name: "FILE_WINS", Value: "files"},
			{Name: "NESTED", Value: "$FROM/${PROJECT}"}, {Name: "RAW", Value: "$FROM", Raw: true}, {Name: "DOLLAR", Value: "a$$b"},
			{Name: "CONF", Value: "c=$FROM\n", File: true}, {Name: "PATH_OF", Value: "at $CONF"}, {Name: "UNKNOWN", Value: "[$NOWHERE]"},
		},
		Downloads:   []download{{Job: "build", Name: "build"}, {Job: "later", Name: "later"}},
		Environment: &environmentSpec{Name: "review/$CI_COMMIT_REF_NAME", URL: "https://$CI_ENVIRONMENT_SLUG.example"},
		Secrets:     map[string]secretSpec{"DEPLOY_KEY": {Provider: "vault", File: true}},
		Script:      []string{"env > env; cat \"$CONF\" > conf; cat \"$DEPLOY_KEY\" > key"},
	})
	if p.verdict != plan.Success {
		t.Fatal(p.log)
	}
	env := map[string]string{}
	for line := range strings.Lines(p.file(t, "env")) {
		name, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "=")
		env[name] = value
	}
	for name, want := range map[string]string{
		"CI": "true", "GITLAB_CI": "true", "CI_JOB_NAME": "deploy 2/3", "CI_JOB_NAME_SLUG": "deploy-2-3", "CI_JOB_STAGE": "line", // what a person says is stronger than what is predefined

		"CI_JOB_GROUP_NAME": "deploy", "CI_NODE_INDEX": "2", "CI_NODE_TOTAL": "3", "CI_JOB_MANUAL": "true", "CI_JOB_STATUS": "running",
		"CI_PIPELINE_ID": "7", "CI_PIPELINE_IID": "3", "CI_PIPELINE_SOURCE": "parent_pipeline", "CI_PIPELINE_URL": "https://gitlab.example/group/sub/app/-/pipelines/7",
		"CI_PROJECT_DIR": p.work, "CI_BUILDS_DIR": filepath.Dir(p.work), "CI_PROJECT_NAME": "app", "CI_PROJECT_NAMESPACE": "group/sub",
		"CI_COMMIT_BRANCH": "main", "CI_COMMIT_SHORT_SHA": "aaaaaaaa", "CI_RUNNER_TAGS": `["a"]`, "CI_SHARED_ENVIRONMENT": "true",
		"CI_ENVIRONMENT_NAME": "review/main", "CI_ENVIRONMENT_SLUG": environmentSlug("review/main"), "CI_ENVIRONMENT_TIER": "development",
		"CI_ENVIRONMENT_ACTION": "start", "CI_ENVIRONMENT_URL": "https://" + environmentSlug("review/main") + ".example",
		"ENV": "line", "BOTH": "files", "PROJECT": "project", "OVER": "given", "DOTENV": "project", "VERSION": "1.3-files", "FILE_WINS": "dotenv",
		"NOT_ASKED": "", "SECRET": "s$HOME", "NESTED": "files/project", "RAW": "$FROM", "DOLLAR": "a$b", "UNKNOWN": "[]",
		"PATH_OF": "at " + env["CONF"],
	} {
		if env[name] != want {
			t.Errorf("%s is %q, want %q", name, env[name], want)
		}
	}
	if p.file(t, "conf") != "c=files\n" || p.file(t, "key") != "key text" {
		t.Errorf("the files hold %q and %q", p.file(t, "conf"), p.file(t, "key"))
	}
	if info, err := os.Stat(env["CONF"]); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the file of a variable: %v, %v", info, err)
	}
	if !strings.HasPrefix(env["CI_JOB_TOKEN"], "glcbt-") || env["CI_JOB_ID"] == "" {
		t.Errorf("token %q of job %q", env["CI_JOB_TOKEN"], env["CI_JOB_ID"])
	}
}

func TestTokenIsMaskedAndVolatile(t *testing.T) {
	t.Parallel()
	st := newStand(t)
	s := st.scope(&jobSpec{Script: []string{":"}})
	session, err := st.d.Open(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	setup, err := session.Setup(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	act, err := session.Resolve(t.Context(), &s.Job.Steps[0], s)
	if err != nil {
		t.Fatal(err)
	}
	if token := act.Command.Env["CI_JOB_TOKEN"]; len(setup.Masks) != 1 || setup.Masks[0] != token {
		t.Errorf("masks %q, token %q", setup.Masks, token)
	}
	// What differs from run to run must be named, or nothing is ever reused.
	again := *s.Context
	again.RunID, again.Number = "8", 4
	other := *s
	other.Context = &again
	session2, err := st.d.Open(t.Context(), &other)
	if err != nil {
		t.Fatal(err)
	}
	act2, err := session2.Resolve(t.Context(), &s.Job.Steps[0], &other)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range act.Command.Volatile {
		delete(act.Command.Env, name)
		delete(act2.Command.Env, name)
	}
	for name, value := range act.Command.Env {
		if act2.Command.Env[name] != value {
			t.Errorf("%s is %q in one run and %q in the next", name, value, act2.Command.Env[name])
		}
	}
}

func TestSecretsThatAreNotGiven(t *testing.T) {
	t.Parallel()
	st := newStand(t)
	p := st.play(&jobSpec{Secrets: map[string]secretSpec{"KEY": {Provider: "vault", Source: plan.Source{File: Files, Line: 9}}}, Script: []string{":"}})
	var problem *dialect.ProblemError
	if !errors.As(p.err, &problem) || !problem.Lacking || problem.Line != 9 || !strings.Contains(problem.Message, "KEY is kept by vault") {
		t.Errorf("%v", p.err)
	}
}

// An ID token is what the run was given under its name; nobody signs one on a laptop.
func TestIDTokens(t *testing.T) {
	t.Parallel()
	st := newStand(t)
	spec := &jobSpec{IDTokens: map[string]idTokenSpec{"TOKEN": {Audience: []string{"x"}, Source: plan.Source{File: Files, Line: 4}}}, Script: []string{"echo \"[$TOKEN]\""}}
	p := st.play(spec)
	var problem *dialect.ProblemError
	if !errors.As(p.err, &problem) || !problem.Lacking || problem.Line != 4 || !strings.Contains(problem.Message, "TOKEN has to be signed by a server") {
		t.Errorf("%v", p.err)
	}
	st.context.Secrets = map[string]string{"TOKEN": "header.body.signature"}
	if p := st.play(spec); p.verdict != plan.Success || !strings.Contains(p.log, "[header.body.signature]") {
		t.Errorf("%v\n%s", p.err, p.log)
	}
}

func TestWhatIsDifferentIsTold(t *testing.T) {
	t.Parallel()
	st := newStand(t)
	p := st.play(&jobSpec{
		Image: &imageSpec{Name: "ruby:3"}, Services: []imageSpec{{Name: "postgres"}},
		Script: []string{":"},
	})
	for _, want := range []string{"image ruby:3 is ignored", "services are ignored"} {
		if strings.Count(p.log, want) != 1 {
			t.Errorf("not told once: %s\n%s", want, p.log)
		}
	}
	if len(p.said.Notes) != 2 {
		t.Errorf("notes %+v", p.said.Notes)
	}
}

func TestEnvironmentNames(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, slug, tier string }{
		{"production", "production", "production"}, {"staging", "staging", "staging"}, {"dev", "dev", "development"},
		{"Production", "production-", "production"}, {"review/a_b", "review-a-b-", "development"}, {"1", "env-1-", "other"},
		{strings.Repeat("x", 40), "xxxxxxxxxxxxxxxxx-", "other"}, {"eu-prod", "eu-prod", "production"}, {"", "env-", "other"},
	} {
		slug := environmentSlug(tt.name)
		if strings.HasSuffix(tt.slug, "-") != (slug != tt.slug) || !strings.HasPrefix(slug, strings.TrimSuffix(tt.slug, "-")) || len(slug) > 24 {
			t.Errorf("%q is called %q, want %q", tt.name, slug, tt.slug)
		}
		if tier := tierOf(tt.name); tier != tt.tier {
			t.Errorf("%q is of tier %s, want %s", tt.name, tier, tt.tier)
		}
	}
}

func TestLongMessages(t *testing.T) {
	t.Parallel()
	st := newStand(t)
	st.context.Change.Payload = map[string]any{"commits": []any{map[string]any{"id": st.context.Change.SHA, "message": "title\n\n" + strings.Repeat("ä", 200_000)}}}
	p := st.play(&jobSpec{Script: []string{`echo "$CI_COMMIT_TITLE ${#CI_COMMIT_MESSAGE} $CI_COMMIT_MESSAGE_IS_TRUNCATED" > got`}})
	if got := p.file(t, "got"); p.verdict != plan.Success || !strings.HasPrefix(got, "title ") || !strings.HasSuffix(got, " true\n") {
		t.Errorf("%s: %q\n%s", p.verdict, got, p.log)
	}
}

// TestGrowingVariables: what doubles itself ends somewhere.
func TestGrowingVariables(t *testing.T) {
	t.Parallel()
	list := []variable{{Name: "V0", Value: strings.Repeat("x", 1000)}}
	for i := range 60 {
		list = append(list, variable{Name: fmt.Sprint("V", i+1), Value: strings.Repeat(fmt.Sprint("$V", i), 1000)})
	}
	for _, v := range expandVariables(list, false).list {
		if len(v.Value) > 2*maxExpanded {
			t.Errorf("%s has %d bytes", v.Name, len(v.Value))
		}
	}
}

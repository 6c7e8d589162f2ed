package main

import (
	"fmt"
	"io"
	"strings"
)

// state is how far a feature of a language goes here.
type state int

const (
	none    state = iota // the language has no such thing
	works                // as on the language's own server, as far as its test sees
	differs              // it does something useful, and not the same
	missing              // it is told of when a file asks for it
)

// answer is what becomes of a feature in one language.
type answer struct {
	state state
	test  string // what holds it: DIRECTORY TEST or DIRECTORY TEST/CASE; needed where it works
	why   string // how it differs, or what is missing
}

func by(test string) answer         { return answer{state: works, test: test} }
func other(test, why string) answer { return answer{differs, test, why} }
func not(why string) answer         { return answer{state: missing, why: why} }
func (a answer) parts() (dir, fn, c string) {
	dir, name, _ := strings.Cut(a.test, " ")
	fn, c, _ = strings.Cut(name, "/")
	return dir, fn, c
}

// feature is a row of the table.
type feature struct {
	name                           string
	github, gitlab, azure, jenkins answer
}

func (f *feature) answers() []answer { return []answer{f.github, f.gitlab, f.azure, f.jenkins} }

// languages are the columns.
var languages = [...]string{"GitHub Actions", "GitLab CI/CD", "Azure Pipelines", "Jenkins"}

// features are the rows of the table, in order.
func features() []feature {
	const (
		gh, gl, az, jk = "internal/dialect/github", "internal/dialect/gitlab", "internal/dialect/azure", "internal/dialect/jenkins"
		meaning        = "test/semantics"
		onGitLab       = "test/gitlab"
		onAzure        = "test/azure"
		onJenkins      = "test/jenkins"
		allFour        = "test/fourways"
	)
	var no answer
	same := func(test string) [4]answer { return [4]answer{by(test), by(test), by(test), by(test)} }
	row := func(name string, a [4]answer) feature { return feature{name, a[0], a[1], a[2], a[3]} }
	return []feature{
		row("One small project: the same results, artifacts and tests", same(allFour+" TestSameResults")),
		{"What did not change is not run again", by(allFour + " TestSecondTimeNothingRuns"), by(onGitLab + " TestReuse"), by(onAzure + " TestReuse"),
			other(allFour+" TestSecondTimeNothingRuns", "Stages share one workspace. Of two that run at once, what one may have done to the other's files is not reused.")},
		{"Conversion into another language", by(allFour + " TestConverted"), by(allFour + " TestConverted"), by(allFour + " TestConverted"),
			other(allFour+" TestConverted", "Declarative pipelines become another language's file; none becomes a Jenkinsfile. Groovy is listed as lost.")},

		{"Which branches, tags and files start it", by(gh + " TestStart"), by(gl + " TestStart"), by(az + " TestStart"), by(jk + " TestStart")},
		{"Schedules", by(gh + " TestDescribe"), not("GitLab keeps the times in the project's settings, not in the file. `fairlead run --event schedule` runs what one would start."), by(az + " TestStart/schedule"), by(jk + " TestCron")},
		{"Inputs, parameters", by(meaning + " TestInputs/of a dispatch are typed in inputs, and strings in the event"), by(onGitLab + " TestRulesOfARun"), by(az + " TestInputs"), by(jk + " TestSteps/properties")},
		{"Needs, stages, order", by(meaning + " TestConditions/a skipped need skips"), by(onGitLab + " TestStates/needs one of two"), by(az + " TestCompile/stages"), by(jk + " TestDeclarative")},
		{"Conditions and rules", by(meaning + " TestConditions/failure() and success() of a job look at all ancestors"), by(gl + " TestWhatRulesKnow/compare_to"), by(onAzure + " TestConditions/failing and always"),
			by(jk + " TestBuildBefore")},
		{"Expressions, templates of text, Groovy", by(gh + "/expression TestConformance"), by(gl + "/rule TestValue"), other(az+"/expression TestEval", "`${{ variables.x }}` of a variable that is set when the run is queued is empty; a `counter` whose prefix hangs on how other jobs ended is refused."),
			other(jk+"/groovy TestIdioms", "The subset that pipelines use, without a JVM. Time stands still while a script runs, so that a run can be resumed.")},
		{"Matrix, parallel jobs", by(meaning + " TestMatrix/include adds to what it fits, overwrites nothing of the original"), by(gl + " TestCells"), by(az + " TestCompile/matrix"), by(jk + "/declarative TestCells")},
		{"A matrix that another job makes", by(meaning + " TestMatrix/a matrix may come from a job's output"), no, by(az + " TestCompile/matrix at run time"), by(jk + " TestSteps/parallel of a computed map")},
		{"Called workflows, includes, templates, shared libraries", by(meaning + " TestCalledWorkflows/inputs are typed, env stays behind, outputs come back"), by(gl + " TestVersionsOfComponents"), by(onAzure + " TestVariables/levels, groups and templates"), by(jk + " TestSettings")},
		{"What is included and out of reach is named, and the rest runs", other(gh+" TestRemoteWorkflows", "The job that calls it fails; the others run."), by(gl + "/document TestElsewhere/a project out of reach"), by(az + " TestDegraded"), not("A library that cannot be had ends the build, as on Jenkins.")},
		{"Includes pinned for use offline (`fairlead include lock`)", not("Actions and called workflows that were fetched are kept by their commit; there is no lock file."), by(gl + " TestLock"), not("Repositories of `resources` are fetched when they are used."), not("Libraries are fetched when they are used.")},

		{"Jobs that wait for a person", not("Required reviewers are settings of GitHub. A change of a fork waits for an approval of Fairlead's own."), by(onGitLab + " TestStates/manual was asked for"), by(onAzure + " TestManual/that a person asked for"), other(jk+" TestDeclarative", "`input` is answered before the run, by `--input ID=yes` or `--play ID`; without an answer the build ends there and says so.")},
		{"Delayed jobs", no, by(onGitLab + " TestStates/delayed"), no, no},
		{"Another try", no, by(onGitLab + " TestStates/tried again"), by(onAzure + " TestConditions/standard error, retries, disabled steps"), by(jk + " TestSteps/retry")},
		{"Failures that are allowed", by(meaning + " TestSiblings/a job that may fail does not fail the run, and dependents see success"), by(onGitLab + " TestStates/may fail with this code"), by(onAzure + " TestConditions/success with issues"), other(jk+" TestSteps/catchError", "UNSTABLE, NOT_BUILT and ABORTED are failures in the record; their reason begins with the word.")},
		{"Time limits", by(meaning + " TestTimeLimits/a job's limit ends the job"), by(onGitLab + " TestGenericCases/a time limit"), by(az + " TestResolve"), by(jk + " TestSteps/timeout")},
		{"One at a time: groups, resources, locks", by(meaning + " TestSiblings/jobs of one group never run together"), by(gl + " TestJobs"), other("", "An environment and `lockBehavior` hold back jobs of the runs on this machine or server."), other(jk+" TestLock", "A resource of `lock` is of the repository, and a label one resource; how many of a category of `throttle` run is said in fairlead.yaml. On workers, jobs of one worker wait for each other.")},
		{"A newer run ends an older one", by(meaning + " TestRunsOfOneGroup"), by("internal/launch TestNewerCommit"), not("`batch` and `autoCancel` have no effect."), other("", "`disableConcurrentBuilds` holds back builds of the same branch, or ends them with `abortPrevious`; `milestone` does nothing.")},
		{"Pipelines that start others", no, other(onGitLab+" TestChildPipelines", "Child pipelines run, also those that a job writes. `needs: project` takes artifacts of runs in the same record. `trigger: project` starts the pipeline of a project that is on the same server and names this one (`gitlab: triggered-by`); on a laptop it is told of and not started."), not("`resources: pipelines` start nothing, and their artifacts cannot be had."),
			other(jk+" TestBuild", "`build` builds another Jenkinsfile of the tree, as a part of the run. A job of another repository is a clear problem; with `wait: false` it is said and passed over.")},

		{"Outputs from job to job", by(meaning + " TestMatrix/outputs of matrix jobs are merged, and cells may be chosen"), by(gl + " TestDotenv"), other(onAzure+" TestOutputs/across jobs and stages", "Secret output variables stay in their job."), by(jk + " TestDeclarative")},
		{"Artifacts", by(meaning + " TestBuiltins/artifacts go from job to job"), by(gl + " TestArtifacts"), other(onAzure+" TestTasks/files", "Those of this run. Of another pipeline's, and of package feeds, is said that they cannot be had."), other(jk+"/builtin TestArchive", "Each `archiveArtifacts` makes one artifact: `archive`, `archive-2` …")},
		{"Caches", by(meaning + " TestBuiltins/a cache that one run saves is restored in the next"), other(onGitLab+" TestCacheGoesFromRunToRun", "`key: files_commits` counts what the files hold, not their commits."), by(onAzure + " TestCache"), no},
		{"Test reports", other("internal/harvest TestFinder", "Reports that steps leave are found by themselves; GitHub has none."), other(gl+" TestReports", "JUnit reports are files that end in .xml."), by(onAzure + " TestTasks/test reports"), by(jk + "/builtin TestJUnit")},
		{"Environments and deployments", other(gh+" TestConcreteAndDeferred", "Name and address are kept; protection rules are settings of GitHub."), by(gl + " TestEnvironmentNames"), other(onAzure+" TestDeployments/hooks, and what is done when one fails", "All hooks run; `rolling` goes through them once, as there is one machine."), no},
		{"Secrets, masked wherever they are shown", by(meaning + " TestMasking/a secret of many lines is seen nowhere, not in part, not encoded"), other(gl+" TestSecretsThatAreNotGiven", "`secrets:` of a vault are secrets by their name here."), by(onAzure + " TestVariables/secrets"), other(jk+" TestSecretsStayOut", "Credentials are secrets by name: ID, ID_USR, ID_PSW, ID_FILE, ID_KEY, ID_KEYSTORE.")},
		{"Tokens of identity, service connections", not("`id-token: write` gives a token in jobs that a server does itself, and none on a laptop."), not("`id_tokens` are signed by a server; a run on a laptop has none."), not("Tasks that need a service connection are told of."), not("`sshagent` and `configFileProvider` only run their block.")},
		{"What a step says: commands, sections", by(meaning + " TestCommands/problem matchers make annotations"), by(onGitLab + " TestSections"), by(az + "/protocol TestLine"), no},
		{"What is done at the end: post, after_script, hooks", by(meaning + " TestActions/post steps run last in, first out, with their own state, even after a failure"), by(gl + " TestAfterScript"), by(onAzure + " TestDeployments/hooks, and what is done when one fails"), by(jk + " TestPostOrder")},
		{"The steps, tasks and actions that most files use", by(gh + "/builtin TestLookup"), no, by(az + "/task TestCommands"), by(jk + " TestSteps")},
		{"The others", by(meaning + " TestActions/an action in another repository may be overridden, and has a pre step"), other("", "`run:` with steps of a catalogue: only steps of scripts run."), other(az+" TestProblems/unknown task", "A task beyond the 33 built-in ones is a problem that names it; fairlead.yaml can give a stand-in."), other(jk+" TestSettings", "A step of a plug-in that is not known is a problem at its line; fairlead.yaml can give a stand-in. Mail and chat are said to have no effect.")},
		{"Checkouts of the code", by(gh + "/builtin TestCheckout"), other(onGitLab+" TestSubmodules", "With `GIT_STRATEGY: none` the sources are there all the same."), other(onAzure+" TestTasks/several checkouts", "With `checkout: none` the tree is there all the same."), by(jk + " TestSteps/another node has a workspace of its own")},

		{"Jobs in containers", by("test/containers TestProject"), by(gl + " TestJobs"), by(az + " TestCompile/container by name"), by(jk + " TestSteps/docker agents are containers of commands")},
		{"Containers beside a job (services)", by("test/containers TestProject"), by(gl + " TestJobs"), other("", "`services:` start as on the service; `ports` are given by the engine."), other("", "`withRun` and sidecars run where Docker is on this machine.")},
		{"Machines of other kinds", other(meaning+" TestWhatCannotRunHere/another operating system", "Jobs for Windows and macOS are skipped and said to be, unless a label is mapped or a worker takes it."), by(gl + " TestJobs"), other("", "Pools of Windows and macOS images are skipped and said to be, unless mapped."), other(jk+" TestSteps/bat is told", "A label of another system runs here; `bat` and `powershell` say that they need Windows. Kubernetes agents are a problem unless fairlead.yaml maps them.")},
		{"A run that was killed goes on", by("test/crash TestKill"), by("test/crash TestKill"), by("test/crash TestKill"), by(onJenkins + " TestResume")},
	}
}

// renderFeatures writes the table of features, and beneath it what differs and
// what holds the rest.
func renderFeatures(b io.Writer) {
	rows := features()
	fmt.Fprint(b, "\n<a id=\"features\"></a>\n## What works in which language\n\n**works**: a test holds it, see below. **differs**: it does something useful and not quite the same. **not yet**: `fairlead lint` or the run says so. –: the language has no such thing.\n\n")
	fmt.Fprintf(b, "| feature | %s |\n|---|%s\n", strings.Join(languages[:], " | "), strings.Repeat("---|", len(languages)))
	for i, f := range rows {
		fmt.Fprintf(b, "| %s |", f.name)
		for _, a := range f.answers() {
			word := [...]string{none: "–", works: "works", differs: "[differs](#f%d)", missing: "[not yet](#f%d)"}[a.state]
			if strings.Contains(word, "%d") {
				word = fmt.Sprintf(word, i+1)
			}
			fmt.Fprintf(b, " %s |", word)
		}
		fmt.Fprintln(b)
	}
	fmt.Fprint(b, "\n### What differs, and what is not there yet\n")
	for i, f := range rows {
		head := fmt.Sprintf("\n<a id=\"f%d\"></a>**%s**\n\n", i+1, f.name)
		for k, a := range f.answers() {
			if a.why == "" {
				continue
			}
			fmt.Fprintf(b, "%s- %s: %s\n", head, languages[k], a.why)
			head = ""
		}
	}
	fmt.Fprint(b, "\n### The tests that hold it\n\n")
	for _, f := range rows {
		var held []string
		for k, a := range f.answers() {
			if a.test != "" {
				dir, fn, c := a.parts()
				if c != "" {
					c = " (" + c + ")"
				}
				held = append(held, fmt.Sprintf("%s `%s` in `%s`%s", languages[k], fn, dir, c))
			}
		}
		fmt.Fprintf(b, "- %s: %s\n", f.name, strings.Join(held, "; "))
	}
}

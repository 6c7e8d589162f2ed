package harvest

// format is a format of test results.
type format struct {
	name string // as reports are said to be in it
	// title, of and note are for people: what the format is called, what
	// writes it, what is peculiar about how it is read.
	title, of, note string
	// files is how reports in it are called, in lower case, each with the end
	// of its name: "*.trx". It is how they are looked for; what a file is, its
	// content says. XML is always looked at.
	files []string
	// named formats are read where somebody names the file, and not looked for.
	named bool
	is    func(*sniff) bool
	read  func(*input, *tally) error
}

// formats is every format of test results, in the order in which a report is
// held against them. The page docs/reference/test-formats.md is made of it.
var formats = []format{
	{
		name: "check", title: "Check", of: "Check's XML log, for C",
		note: "An iteration of a loop test is a case of its parameters.",
		is:   isCheck, read: readCheck,
	},
	{
		name: "junit", title: "JUnit XML", of: "Surefire, Gradle, Ant, pytest, jest-junit, gotestsum, googletest, Catch2, nextest, PHPUnit, Bazel's test.xml, and whatever else writes it",
		note:  "Suites nested or not, with or without a root. Surefire's flaky and rerun elements are attempts. Of several results in one case the worst counts. A suite without cases counts as it claims. Two cases of one name are two tests.",
		files: []string{"*.xml", "*.junit"},
		is:    isJUnit, read: readJUnit,
	},
	{
		name: "trx", title: "TRX", of: "dotnet test --logger trx, MSTest, Visual Studio",
		note:  "The rows of a data-driven test are cases of its parameters. An outcome that is not given is an error.",
		files: []string{"*.trx"},
		is:    isTRX, read: readTRX,
	},
	{
		name: "nunit", title: "NUnit 2 and 3", of: "NUnit's console and adapters",
		note: "Inconclusive, ignored and explicit tests are skipped; a warning passes. A set-up that broke is a test of its own.",
		is:   isNUnit, read: readNUnit,
	},
	{
		name: "xunit", title: "xUnit.net 1, 2 and 3", of: "xUnit.net's runners, Fixie",
		note: "The arguments of a theory are its parameters.",
		is:   isXUnit, read: readXUnit,
	},
	{
		name: "mbunit", title: "MbUnit", of: "MbUnit",
		is: isMbUnit, read: readMbUnit,
	},
	{
		name: "gallio", title: "Gallio", of: "Gallio, MbUnit 3",
		is: isGallio, read: readGallio,
	},
	{
		name: "cppunit", title: "CppUnit, AUnit and Embunit", of: "CppUnit, for C++; AUnit, for Ada; Embunit, for C",
		is: isCppUnit, read: readCppUnit,
	},
	{
		name: "boost", title: "Boost.Test", of: "Boost.Test's XML log",
		note: "An error fails the test; a fatal error or an exception breaks it.",
		is:   isBoost, read: readBoost,
	},
	{
		name: "cunit", title: "CUnit", of: "CUnit's automated run, for C",
		is: isCUnit, read: readCUnit,
	},
	{
		name: "fpcunit", title: "FPCUnit", of: "FPCUnit, for Free Pascal",
		is: isFPCUnit, read: readFPCUnit,
	},
	{
		name: "gtester", title: "GTester", of: "GLib's gtester",
		is: isGTester, read: readGTester,
	},
	{
		name: "catch2", title: "Catch2 and doctest", of: "Catch2's and doctest's XML reporters",
		note: "Of several failures in one case the first says where.",
		is:   isCatch, read: readCatch,
	},
	{
		name: "qtest", title: "Qt Test", of: "Qt Test's XML",
		note: "The rows of a function's data are cases of its parameters.",
		is:   isQTest, read: readQTest,
	},
	{
		name: "unittest++", title: "UnitTest++", of: "UnitTest++",
		is: isUnitTestPP, read: readUnitTestPP,
	},
	{
		name: "googletest", title: "googletest JSON", of: "googletest's --gtest_output=json; its XML is JUnit's",
		files: []string{"*test*.json", "*result*.json"},
		is:    isGoogleJSON, read: readGoogleJSON,
	},
	{
		name: "testng", title: "TestNG", of: "TestNG's testng-results.xml",
		note: "Methods that set up or clear away are tests only when they fail. What was retried is an attempt.",
		is:   isTestNG, read: readTestNG,
	},
	{
		name: "tusar", title: "TUSAR", of: "DTKit's tools",
		is: isTusar, read: readTusar,
	},
	{
		name: "valgrind", title: "Valgrind", of: "valgrind --xml=yes",
		note: "One run of a program is one test; it fails when Valgrind found something.",
		is:   isValgrind, read: readValgrind,
	},
	{
		name: "ctest", title: "CTest", of: "ctest -T Test",
		note: "A test whose program is not there is an error, and not skipped.",
		is:   isCTest, read: readCTest,
	},
	{
		name: "cts", title: "Android CTS", of: "Android's compatibility tests, test_result.xml",
		is: isCTS, read: readCTS,
	},
	{
		name: "robot", title: "Robot Framework", of: "Robot Framework's output.xml, 3 to 7",
		note: "The outermost suite, which is called after the folder, is left out of the names.",
		is:   isRobot, read: readRobot,
	},
	{
		name: "go-test", title: "go test", of: "go test -json, go test -v, gotestsum --jsonfile",
		note:  "Read from a step's output while it is printed; as a file where it is named, and not looked for, since it mostly is a copy of the output. Subtests are in the group of their parent. A test that began and did not end is an error. Failed tests that gotestsum runs again are attempts.",
		named: true,
		is:    isGoTest, read: readGoTest,
	},
	{
		name: "tap", title: "TAP 12, 13 and 14", of: "Perl's prove, node --test, tape, node-tap, Bats, pgTAP",
		note:  "A point that sums up its subtests is no test. TODO is an expected failure. A plan that was not kept is an error.",
		files: []string{"*.tap"},
		is:    isTAP, read: readTAP,
	},
	{
		name: "ctrf", title: "CTRF", of: "the reporters of the Common Test Report Format",
		note:  "Its status \"other\" is an error.",
		files: []string{"*ctrf*.json", "*report*.json", "*result*.json"},
		is:    isCTRF, read: readCTRF,
	},
	{
		name: "playwright", title: "Playwright", of: "playwright test --reporter=json",
		note:  "Retries are attempts; the project is a parameter. A failure that is expected is an expected failure.",
		files: []string{"*playwright*.json", "*report*.json", "*result*.json"},
		is:    isPlaywright, read: readPlaywright,
	},
	{
		name: "jest", title: "Jest and Vitest", of: "jest --json, vitest --reporter=json",
		note:  "A file that does not load is an error.",
		files: []string{"*jest*.json", "*vitest*.json", "*test*.json", "*report*.json", "*result*.json"},
		is:    isJest, read: readJest,
	},
	{
		name: "mochawesome", title: "Mochawesome", of: "mochawesome, with Mocha or Cypress",
		note:  "A hook that failed is a test that failed.",
		files: []string{"*mochawesome*.json", "*report*.json", "*output*.json"},
		is:    isMochawesome, read: readMochawesome,
	},
	{
		name: "mocha", title: "Mocha", of: "mocha --reporter json",
		note:  "What threw something else than a failed assertion is an error.",
		files: []string{"*mocha*.json", "*test*.json", "*report*.json", "*result*.json"},
		is:    isMocha, read: readMocha,
	},
	{
		name: "karma", title: "Karma", of: "karma-json-reporter",
		files: []string{"*karma*.json", "*test*.json", "*result*.json", "*report*.json"},
		is:    isKarma, read: readKarma,
	},
	{
		name: "cucumber", title: "Cucumber JSON", of: "Cucumber for Java, JavaScript and Ruby; Behave, Karate",
		note:  "A scenario ends as the worst of its steps; a step that is not defined is an error. The rows of an outline are cases of its parameters.",
		files: []string{"*cucumber*.json", "*behave*.json", "*report*.json", "*result*.json"},
		is:    isCucumber, read: readCucumber,
	},
	{
		name: "cucumber-messages", title: "Cucumber messages", of: "Cucumber's message formatter",
		note:  "As Cucumber JSON; retries are attempts.",
		files: []string{"*.ndjson", "*cucumber*.json"},
		is:    isCucumberMessages, read: readCucumberMessages,
	},
	{
		name: "pytest-reportlog", title: "pytest-reportlog", of: "pytest --report-log",
		note:  "Set-up, test and what comes after are one test; when what is around it fails, it is an error. Reruns are attempts.",
		files: []string{"*.jsonl", "*pytest*.json", "*report*.json", "*log*.json", "*test*.json"},
		is:    isReportLog, read: readReportLog,
	},
	{
		name: "pytest-json", title: "pytest-json-report", of: "pytest --json-report",
		files: []string{".report.json", "*pytest*.json", "*report*.json"},
		is:    isPytestJSON, read: readPytestJSON,
	},
	{
		name: "collector", title: "Test collectors' JSON", of: "Buildkite's collectors for pytest, RSpec, Jest and others",
		files: []string{"*result*.json", "*test*.json"},
		is:    isCollector, read: readCollector,
	},
	{
		name: "rspec", title: "RSpec", of: "rspec --format json",
		note:  "What raised something else than a failed expectation is an error.",
		files: []string{"*rspec*.json", "*result*.json", "*report*.json"},
		is:    isRSpec, read: readRSpec,
	},
	{
		name: "allure", title: "Allure 2", of: "Allure's adapters, one file a test",
		note:  "Broken and unknown are errors.",
		files: []string{"*-result.json"},
		is:    isAllure, read: readAllure,
	},
	{
		name: "dart", title: "Dart and Flutter", of: "dart test --reporter json, flutter test --machine",
		note:  "A test that began and did not end is an error.",
		files: []string{"*.jsonl", "*test*.json", "*report*.json", "*dart*.json", "*flutter*.json"},
		is:    isDart, read: readDart,
	},
	{
		name: "libtest", title: "Rust's libtest", of: "cargo test -- --format json, cargo nextest --message-format libtest-json",
		files: []string{"*.jsonl", "*test*.json"},
		is:    isLibtest, read: readLibtest,
	},
	{
		name: "bazel", title: "Bazel build events", of: "bazel --build_event_json_file",
		note:  "A target is a test, with its attempts, runs and shards; its cases are in Bazel's test.xml.",
		files: []string{"*.jsonl", "*.ndjson", "*bep*.json", "*build*event*.json"},
		is:    isBEP, read: readBEP,
	},
}

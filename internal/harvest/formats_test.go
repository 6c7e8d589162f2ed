package harvest

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/fairlead-dev/fairlead/internal/record"
)

var update = flag.Bool("update", false, "write docs/reference/test-formats.md instead of comparing it")

// samples are small reports of every format, and what is read from them: a
// line a result, as shown makes it.
var samples = []struct{ name, format, text, want string }{
	{"surefire with reruns", "junit", `<testsuite name="com.x.T"><testcase name="a" classname="com.x.T" time="1">
<flakyFailure message="once" type="AssertionError" time="0.5"><stackTrace>at com.x.T.a(T.java:7)</stackTrace><system-out>said</system-out></flakyFailure>
<flakyError message="twice"/></testcase>
<testcase name="b" classname="com.x.T"><failure message="no" type="E">no
	at com.x.T.b(T.java:9)</failure><rerunFailure message="again"/></testcase>
<testcase name="c(int)[2]" classname="com.x.T"/></testsuite>`, `
failed #1 com.x.T: a (T.java:7) 0.5s "once"
error #2 com.x.T: a "twice"
passed #3 com.x.T: a 1s
failed #1 com.x.T: b (T.java:9) "no"
failed #2 com.x.T: b "again"
passed com.x.T: c(int) {2}
= 2 passed, 1 failed, 0 skipped, 1 flaky`},
	{"go through JUnit", "junit", `<testsuites><testsuite name="example.com/a/util"><testcase classname="util" name="TestA/b_c"/></testsuite></testsuites>`, `
passed example.com/a/util › TestA: b_c
= 1 passed, 0 failed, 0 skipped, 0 flaky`},
	{"googletest with parameters", "junit", `<testsuites><testsuite name="I/F"><testcase name="Adds/0" value_param="3" classname="I/F"/><testcase name="Adds/1" classname="I/F"><skipped/></testcase></testsuite></testsuites>`, `
passed I/F: Adds {0: 3}
skipped I/F: Adds {1}
= 1 passed, 0 failed, 1 skipped, 0 flaky`},
	{"prove", "junit", `<testsuites><testsuite name="t/a.t"><testcase name="1 - loads"/><testcase name="404 - not found"/></testsuite></testsuites>`, `
passed t/a.t: loads
passed t/a.t: 404 - not found
= 2 passed, 0 failed, 0 skipped, 0 flaky`},
	{"PHPUnit with data sets", "junit", `<testsuites><testsuite name="A"><testsuite name="A::testB"><testcase name="testB with data set #1" class="A" file="/w/A.php" line="9"/></testsuite></testsuite></testsuites>`, `
passed A: testB {#1} (/w/A.php:9)
= 1 passed, 0 failed, 0 skipped, 0 flaky`},
	{"PHPUnit without classes", "junit", `<testsuites><testsuite name="/w/phpunit.xml"><testsuite name="T"><testcase name="a" time="12345678901"/></testsuite><testsuite name="U" tests="2"><skipped/></testsuite></testsuite></testsuites>`, `
passed T: a 12.345679s
= 1 passed, 0 failed, 2 skipped, 0 flaky`},
	{"attachments and properties", "junit", `<testsuite name="s"><testcase name="a"><properties><property name="owner" value="team"/><property name="tag" value="slow"/></properties><system-out>[[ATTACHMENT|a/b.png]]</system-out></testcase></testsuite>`, `
passed s: a @team +slow [a/b.png]
= 1 passed, 0 failed, 0 skipped, 0 flaky`},
	{"NUnit 3", "nunit", `<test-run id="2"><test-suite type="Assembly" name="a.dll"><test-suite type="TestFixture" name="T" fullname="N.T" result="Failed" site="Child"><failure><message>One or more child tests had errors</message></failure>
<test-case name="Adds(1,2)" fullname="N.T.Adds(1,2)" methodname="Adds" classname="N.T" result="Passed" duration="0.5"><properties><property name="Category" value="fast"/></properties></test-case>
<test-case name="Fails" methodname="Fails" classname="N.T" result="Failed"><failure><message><![CDATA[no]]></message><stack-trace>at N.T.Fails() in /w/T.cs:line 12</stack-trace></failure></test-case>
<test-case name="Throws" methodname="Throws" classname="N.T" result="Failed" label="Error"/>
<test-case name="Maybe" methodname="Maybe" classname="N.T" result="Inconclusive"/></test-suite>
<test-suite type="SetUpFixture" name="S" fullname="N.S" result="Failed" site="SetUp"><failure><message>no database</message></failure></test-suite></test-suite></test-run>`, `
passed N.T: Adds {1,2} 0.5s +fast
failed N.T: Fails (/w/T.cs:12) "no"
error N.T: Throws
skipped N.T: Maybe
error N.S: SetUp "no database"
= 1 passed, 3 failed, 1 skipped, 0 flaky`},
	{"NUnit 2", "nunit", `<test-results name="a.dll"><test-suite type="Namespace" name="N"><results><test-suite type="TestFixture" name="T"><results>
<test-case name="N.T.A" executed="True" result="Success" time="0.1"/><test-case name="N.T.B" executed="False" result="Ignored"><reason><message>later</message></reason></test-case>
<test-suite type="ParameterizedTest" name="C"><results><test-case name="N.T.C(1)" executed="True" result="Success"/><test-case name="N.T.own name" executed="True" result="Failure"><failure><message>no</message></failure></test-case></results></test-suite>
</results></test-suite></results></test-suite></test-results>`, `
passed N.T: A 0.1s
skipped N.T: B "later"
passed N.T: C {1}
failed N.T: C {own name} "no"
= 2 passed, 1 failed, 1 skipped, 0 flaky`},
	{"xUnit.net 2", "xunit", `<assemblies><assembly name="a.dll"><errors><error type="assembly-cleanup" name="N.Fix"><failure exception-type="E"><message>gone</message></failure></error></errors><collection>
<test name="N.T.Adds(x: 1, y: 2)" type="N.T" method="Adds" time="0.01" result="Pass"><traits><trait name="Category" value="fast"/></traits></test>
<test name="its own name" type="N.T" method="Named" result="Skip"><reason><![CDATA[later]]></reason></test>
<test name="N.T.F" type="N.T" method="F" result="Fail"><failure exception-type="X"><message>no</message><stack-trace>at N.T.F() in C:\w\T.cs:line 16</stack-trace></failure></test></collection></assembly></assemblies>`, `
error N.Fix: assembly-cleanup "gone"
passed N.T: Adds {x: 1, y: 2} 0.01s +fast
skipped N.T: Named "later"
failed N.T: F (C:\w\T.cs:16) "no"
= 1 passed, 2 failed, 1 skipped, 0 flaky`},
	{"TRX", "trx", `<TestRun xmlns="http://microsoft.com/schemas/VisualStudio/TeamTest/2010"><Results>
<UnitTestResult testId="1" testName="A" duration="00:01:02.5" outcome="Passed"/>
<UnitTestResult testId="2" testName="B" outcome="Failed"><Output><StdOut>said</StdOut><ErrorInfo><Message>no</Message><StackTrace>at N.T.B() in /w/T.cs:line 3</StackTrace></ErrorInfo></Output></UnitTestResult>
<UnitTestResult testId="3" testName="Rows" outcome="Failed" resultType="DataDrivenTest"><InnerResults><UnitTestResult testId="3" testName="Rows (1)" outcome="Passed"/><UnitTestResult testId="3" testName="Rows (2)" outcome="Timeout"/></InnerResults></UnitTestResult>
<UnitTestResult testId="4" testName="N.U.D" outcome="NotExecuted"/></Results>
<TestDefinitions><UnitTest name="A" id="1"><TestMethod className="N.T, a" name="A"/></UnitTest><UnitTest name="B" id="2"><TestMethod className="N.T" name="B"/></UnitTest><UnitTest name="Rows" id="3"><TestMethod className="N.T" name="Rows"/></UnitTest></TestDefinitions></TestRun>`, `
passed N.T: A 62.5s
failed N.T: B (/w/T.cs:3) "no"
passed N.T: Rows {1}
error N.T: Rows {2}
skipped N.U: D
= 2 passed, 2 failed, 1 skipped, 0 flaky`},
	{"MbUnit", "mbunit", `<report-result><assemblies><assembly><namespaces><namespace name="N"><fixtures><fixture name="T" type="N.T"><runs><run name="T.A(1)" result="failure" duration="0.1"><exception type="E"><message>no</message></exception></run><run name="T.B" result="success"/></runs></fixture></fixtures></namespace></namespaces></assembly></assemblies></report-result>`, `
failed N.T: T.A {1} 0.1s "no"
passed N.T: T.B
= 1 passed, 1 failed, 0 skipped, 0 flaky`},
	{"CppUnit", "cppunit", `<?xml version="1.0" encoding='ISO-8859-1'?><TestRun><FailedTests><FailedTest id="1"><Name>M::sum</Name><FailureType>Error</FailureType><Location><File>m.cpp</File><Line>5</Line></Location><Message>no</Message></FailedTest></FailedTests><SuccessfulTests><Test id="2"><Name>M::one</Name></Test></SuccessfulTests></TestRun>`, `
error M: sum (m.cpp:5) "no"
passed M: one
= 1 passed, 1 failed, 0 skipped, 0 flaky`},
	{"Embunit", "cppunit", `<TestRun><CounterTest><Test id="1"><Name>a</Name></Test><FailedTest id="2"><Name>b</Name><Location><File>c.c</File><Line>7</Line></Location><Message>no</Message></FailedTest></CounterTest><Statistics><Tests>2</Tests></Statistics></TestRun>`, `
passed CounterTest: a
failed CounterTest: b (c.c:7) "no"
= 1 passed, 1 failed, 0 skipped, 0 flaky`},
	{"Gallio", "gallio", `<report xmlns="http://www.gallio.org/"><testPackageRun><testStepRun><testStep name="T" isTestCase="false"/><children>
<testStepRun><testStep name="A" isTestCase="true"><codeReference type="N.T" member="A"/></testStep><children/><result duration="0.5"><outcome status="passed"/></result></testStepRun>
<testStepRun><testStep name="Rows" isTestCase="true"><codeReference type="N.T" member="Rows"/></testStep><children><testStepRun><testStep name="Rows(1)" isTestCase="true"><codeReference type="N.T"/></testStep><testLog><streams><stream name="Failures"><body>no</body></stream></streams></testLog><result><outcome status="failed"/></result></testStepRun></children><result><outcome status="failed"/></result></testStepRun>
<testStepRun><testStep name="C" isTestCase="true"><codeReference type="N.T"/></testStep><result><outcome status="skipped" category="ignored"/></result></testStepRun></children></testStepRun></testPackageRun></report>`, `
passed N.T: A 0.5s
failed N.T: Rows {1} "no"
skipped N.T: C
= 1 passed, 1 failed, 1 skipped, 0 flaky`},
	{"Boost.Test", "boost", `<TestLog><TestSuite name="M"><TestCase name="a"><Error file="a.cpp" line="3">check failed</Error><TestingTime>1500000</TestingTime></TestCase><TestCase name="b"><Exception file="x" line="0">boom<LastCheckpoint file="b.cpp" line="4"/></Exception></TestCase><TestCase name="c" skipped="yes" reason="disabled"/><TestCase name="outer"><TestSuite name="in"><TestCase name="d"/></TestSuite></TestCase></TestSuite></TestLog>`, `
failed M: a (a.cpp:3) 1.5s "check failed"
error M: b (b.cpp:4) "boom"
skipped M: c "disabled"
passed M: outer
passed M › in: d
= 2 passed, 2 failed, 1 skipped, 0 flaky`},
	{"Check", "check", `<testsuites xmlns="http://check.sourceforge.net/ns"><suite><title>s</title><test result="success"><path>.</path><fn>a.c:3</fn><id>one</id><iteration>0</iteration><description>Core</description></test><test result="failure"><path>d</path><fn>a.c:9</fn><id>two</id><iteration>1</iteration><message>no</message></test></suite></testsuites>`, `
passed s › Core: one (a.c:3)
failed s: two {1} (d/a.c:9) "no"
= 1 passed, 1 failed, 0 skipped, 0 flaky`},
	{"CUnit", "cunit", `<CUNIT_TEST_RUN_REPORT><CUNIT_RESULT_LISTING><CUNIT_RUN_SUITE><CUNIT_RUN_SUITE_SUCCESS><SUITE_NAME>S</SUITE_NAME><CUNIT_RUN_TEST_RECORD><CUNIT_RUN_TEST_SUCCESS><TEST_NAME>a</TEST_NAME></CUNIT_RUN_TEST_SUCCESS></CUNIT_RUN_TEST_RECORD><CUNIT_RUN_TEST_RECORD><CUNIT_RUN_TEST_FAILURE><TEST_NAME>b</TEST_NAME><FILE_NAME>b.c</FILE_NAME><LINE_NUMBER>7</LINE_NUMBER><CONDITION>x == 1</CONDITION></CUNIT_RUN_TEST_FAILURE></CUNIT_RUN_TEST_RECORD></CUNIT_RUN_SUITE_SUCCESS></CUNIT_RUN_SUITE></CUNIT_RESULT_LISTING></CUNIT_TEST_RUN_REPORT>`, `
passed S: a
failed S: b (b.c:7) "x == 1"
= 1 passed, 1 failed, 0 skipped, 0 flaky`},
	{"FPCUnit", "fpcunit", `<TestResults><TestListing><TestSuite Name="S"><Test Name="A" Result="OK" ElapsedTime="00:00:01.500"/><Test Name="B" Result="Failed"><Message>no</Message><ExceptionClass>E</ExceptionClass></Test><Test Name="C" Result="Error"><Message>broke</Message></Test></TestSuite></TestListing></TestResults>`, `
passed S: A 1.5s
failed S: B "no"
error S: C "broke"
= 1 passed, 2 failed, 0 skipped, 0 flaky`},
	{"GTester", "gtester", `<gtester><testbinary path="binding"><testcase path="/binding/one"><duration>0.5</duration><status result="success"/></testcase><testcase path="/binding/deep/two"><error>no</error><status result="failed"/></testcase><testcase path="/x" skipped="1"/></testbinary></gtester>`, `
passed binding: one 0.5s
failed binding › deep: two "no"
skipped binding: x
= 1 passed, 1 failed, 1 skipped, 0 flaky`},
	{"Catch2", "catch2", `<Catch2TestRun name="unit"><TestCase name="adds" tags="[math][fast]" filename="a.cpp" line="3"><Section name="in"><Expression success="false" type="REQUIRE" filename="a.cpp" line="5"><Original>x == 1</Original><Expanded>0 == 1</Expanded></Expression></Section><OverallResult success="false" durationInSeconds="0.5"/></TestCase><TestCase name="ok" filename="a.cpp" line="9"><OverallResult success="true"/></TestCase><TestCase name="off" filename="a.cpp" line="12"><Skip>no</Skip><OverallResult success="true" skips="1"/></TestCase><TestCase name="gone" filename="a.cpp" line="15"></Catch2TestRun>`, `
failed unit: adds (a.cpp:5) 0.5s "REQUIRE(x == 1) expands to 0 == 1" +math +fast
passed unit: ok (a.cpp:9)
skipped unit: off (a.cpp:12)
error unit: gone (a.cpp:15) "it did not come to its end"
= 1 passed, 2 failed, 1 skipped, 0 flaky
! line 1: </Catch2TestRun> comes before the end of <TestCase>`},
	{"doctest", "catch2", `<doctest binary="unit"><TestSuite name="S"><TestCase name="a" filename="a.cpp" line="3"><Exception crash="true">SIGSEGV</Exception><OverallResultsAsserts successes="0" failures="0" test_case_success="false" duration="0.1"/></TestCase><TestCase name="b" skipped="true"/></TestSuite></doctest>`, `
error S: a (a.cpp:3) 0.1s "SIGSEGV"
skipped S: b
= 0 passed, 1 failed, 1 skipped, 0 flaky`},
	{"Qt Test", "qtest", `<TestCase name="tst_A"><Environment><QtVersion>6</QtVersion></Environment><TestFunction name="adds"><Incident type="pass"><DataTag><![CDATA[one]]></DataTag></Incident><Incident type="fail" file="a.cpp" line="7"><DataTag><![CDATA[two]]></DataTag><Description><![CDATA[no]]></Description></Incident><Duration msecs="250"/></TestFunction><TestFunction name="known"><Incident type="xfail" file="a.cpp" line="9"><Description>later</Description></Incident><Incident type="pass"/></TestFunction><TestFunction name="off"><Message type="skip"><Description>no</Description></Message></TestFunction></TestCase>`, `
passed tst_A: adds {one} 0.25s
failed tst_A: adds {two} (a.cpp:7) "no"
xfail tst_A: known (a.cpp:9) "later"
skipped tst_A: off "no"
= 2 passed, 1 failed, 1 skipped, 0 flaky`},
	{"UnitTest++", "unittest++", `<unittest-results tests="2" failures="1"><test suite="S" name="A" time="0.5"/><test suite="S" name="B"><failure message="a.cpp(12) : error: Expected 4 but was 5"/></test></unittest-results>`, `
passed S: A 0.5s
failed S: B (a.cpp:12) "Expected 4 but was 5"
= 1 passed, 1 failed, 0 skipped, 0 flaky`},
	{"googletest JSON", "googletest", `{"tests":2,"name":"AllTests","testsuites":[{"name":"I/S","testsuite":[{"name":"A/0","value_param":"3","file":"a.cc","line":4,"status":"RUN","result":"COMPLETED","time":"0.5s","classname":"I/S","failures":[{"failure":"a.cc:6\nno","type":""}]},{"name":"DISABLED_B","status":"NOTRUN","result":"SUPPRESSED","time":"0s"}]}]}`, `
failed I/S: A {0: 3} (a.cc:4) 0.5s "a.cc:6"
skipped I/S: DISABLED_B
= 0 passed, 1 failed, 1 skipped, 0 flaky`},
	{"TestNG", "testng", `<testng-results><suite name="s"><test name="t"><class name="com.x.T"><test-method name="setUp" is-config="true" status="PASS"/><test-method name="a" status="SKIP" retried="true" duration-ms="5"><exception class="E"><message>once</message></exception></test-method><test-method name="a" status="PASS" duration-ms="250"/><test-method name="b" status="FAIL"><params><param index="0"><value><![CDATA[1]]></value></param></params><exception class="java.lang.AssertionError"><message>no</message><full-stacktrace>at com.x.T.b(T.java:9)</full-stacktrace></exception></test-method><test-method name="tearDown" is-config="true" status="FAIL"/></class></test></suite></testng-results>`, `
failed #1 com.x.T: a 0.005s "once"
passed #2 com.x.T: a 0.25s
failed com.x.T: b {1} (T.java:9) "no"
error com.x.T: tearDown
= 1 passed, 2 failed, 0 skipped, 1 flaky`},
	{"TUSAR", "tusar", `<tusar><tests><testsuite name="S"><testcase testname="a"/><testcase testname="b"><failure message="no"/></testcase></testsuite></tests></tusar>`, `
passed S: a
failed S: b "no"
= 1 passed, 1 failed, 0 skipped, 0 flaky`},
	{"Valgrind", "valgrind", `<valgrindoutput><protocoltool>memcheck</protocoltool><args><argv><exe>/w/t</exe><arg>-x</arg></argv></args><status><state>RUNNING</state><time>00:00:00:01.000</time></status><error><kind>UninitCondition</kind><what>depends on uninitialised values</what><stack><frame><fn>f</fn><dir>/w</dir><file>t.c</file><line>8</line></frame></stack></error><status><state>FINISHED</state><time>00:00:00:03.500</time></status></valgrindoutput>`, `
failed valgrind-memcheck: t {-x} (/w/t.c:8) 2.5s "depends on uninitialised values"
= 0 passed, 1 failed, 0 skipped, 0 flaky`},
	{"CTest", "ctest", `<Site Name="m"><Testing><TestList><Test>./a</Test></TestList><Test Status="passed"><Name>a</Name><Path>./sub</Path><Results><NamedMeasurement type="numeric/double" name="Execution Time"><Value>0.25</Value></NamedMeasurement></Results><Labels><Label>unit</Label></Labels></Test>
<Test Status="failed"><Name>b</Name><Path>.</Path><Results><NamedMeasurement name="Exit Code"><Value>Timeout</Value></NamedMeasurement><Measurement><Value>said
last words</Value></Measurement></Results></Test>
<Test Status="notrun"><Name>c</Name><Path>.</Path><Results><NamedMeasurement name="Completion Status"><Value>Disabled</Value></NamedMeasurement></Results></Test></Testing></Site>`, `
passed sub: a 0.25s +unit
error b "last words"
skipped c "Disabled"
= 1 passed, 1 failed, 1 skipped, 0 flaky`},
	{"Android CTS", "cts", `<Result suite_plan="cts"><Module name="M" abi="arm"><TestCase name="C"><Test result="pass" name="a[1]"/><Test result="fail" name="b"><Failure message="no"><StackTrace>at C.b(C.java:4)</StackTrace></Failure></Test><Test result="ASSUMPTION_FAILURE" name="c"/></TestCase></Module></Result>`, `
passed M › C: a {1}
failed M › C: b (C.java:4) "no"
skipped M › C: c
= 1 passed, 1 failed, 1 skipped, 0 flaky`},
	{"Robot Framework", "robot", `<robot><suite name="Dir"><suite name="S" source="/w/s.robot"><test name="a" line="3"><kw name="K"><status status="FAIL">inner</status></kw><tag>slow</tag><status status="FAIL" starttime="20210319 11:34:50.000" endtime="20210319 11:34:51.500">no</status></test><test name="b"><status status="PASS" elapsed="0.25"/></test><test name="c"><status status="SKIP">later</status></test></suite></suite></robot>`, `
failed S: a (/w/s.robot:3) 1.5s "no" +slow
passed S: b (/w/s.robot) 0.25s
skipped S: c (/w/s.robot) "later"
= 1 passed, 1 failed, 1 skipped, 0 flaky`},
	{"go test -json, rerun", "go-test", `{"Action":"start","Package":"p"}
{"Action":"run","Package":"p","Test":"TestA"}
{"Action":"output","Package":"p","Test":"TestA","Output":"    a_test.go:7: \u003cno\u003e\n"}
{"Action":"fail","Package":"p","Test":"TestA","Elapsed":0.5}
{"Action":"run","Package":"p","Test":"TestB"}
{"Action":"run","Package":"p","Test":"TestB/case"}
{"Action":"pass","Package":"p","Test":"TestB/case"}
{"Action":"pass","Package":"p","Test":"TestB"}
{"Action":"fail","Package":"p","Elapsed":1}
{"Action":"start","Package":"p"}
{"Action":"run","Package":"p","Test":"TestA"}
{"Action":"pass","Package":"p","Test":"TestA"}
{"Action":"pass","Package":"p","Elapsed":1}
{"Action":"run","Package":"q","Test":"TestC"}
{"Action":"output","Package":"q","Test"`, `
failed p: TestA (a_test.go:7) 0.5s "a_test.go:7: <no>"
passed p › TestB: case
passed p: TestB
passed #2 p: TestA
error q: TestC "it did not come to its end"
= 3 passed, 1 failed, 0 skipped, 1 flaky
! line 15: it is no whole event`},
	{"go test, the same test twice", "go-test", `{"Action":"run","Package":"p","Test":"TestA"}
{"Action":"fail","Package":"p","Test":"TestA"}
{"Action":"run","Package":"p","Test":"TestA"}
{"Action":"pass","Package":"p","Test":"TestA"}
{"Action":"fail","Package":"p"}`, `
failed p: TestA
passed p: TestA
= 1 passed, 1 failed, 0 skipped, 0 flaky`},
	{"go test -v", "go-test", `=== RUN   TestA
=== RUN   TestA/b
--- PASS: TestA (0.10s)
    --- PASS: TestA/b (0.05s)
=== RUN   TestC
    c_test.go:4: later
--- SKIP: TestC (0.00s)
ok  	example.com/p	0.2s`, `
passed example.com/p: TestA 0.1s
passed example.com/p › TestA: b 0.05s
skipped example.com/p: TestC (c_test.go:4) "c_test.go:4: later"
= 2 passed, 0 failed, 1 skipped, 0 flaky`},
	{"TAP with subtests", "tap", `TAP version 14
# Subtest: math
    # Subtest: adds
        ok 1 - one # time=5ms
        not ok 2 - two
          ---
          message: "no"
          at:
          location: '/w/a.js:3:1'
          stack: |-
            at f (/w/a.js:3:1)
          ...
        1..2
    not ok 1 - adds
    ok 2 - later # SKIP not now
    not ok 3 - some day # TODO write it
    1..3
not ok 1 - math
ok 2 - a \# sign
1..3`, `
passed math › adds: one 0.005s
failed math › adds: two (/w/a.js:3) "no"
skipped math: later "not now"
xfail math: some day "write it"
passed a # sign
error plan "3 tests were planned, and 2 ran"
= 3 passed, 2 failed, 1 skipped, 0 flaky`},
	{"TAP with subtests by two spaces", "tap", "TAP version 14\n# Subtest: a\n  ok 1 - b\n  not ok 2 - c\n  1..2\nnot ok 1 - a\n1..1\n", `
passed a: b
failed a: c
= 1 passed, 1 failed, 0 skipped, 0 flaky`},
	{"TAP that bails out", "tap", "1..3\nok 1 - a\nBail out! no database\nok 2 - b\n", `
passed a
error Bail out! "no database"
= 1 passed, 1 failed, 0 skipped, 0 flaky`},
	{"CTRF", "ctrf", `{"results":{"tool":{"name":"x"},"tests":[{"name":"a","status":"passed","duration":1500,"suite":"S > in","retries":1,"flaky":true},
{"name":"b","status":"failed","message":"no","trace":"t","filePath":"b.ts","line":4,"tags":["slow"]},{"name":"c","status":"pending"},{"name":"d","status":"other"}]}}`, `
failed #1 S › in: a
passed #2 S › in: a 1.5s
failed b.ts: b (b.ts:4) "no" +slow
skipped c
error d
= 1 passed, 2 failed, 1 skipped, 1 flaky`},
	{"Playwright", "playwright", `{"config":{"rootDir":"/w"},"suites":[{"title":"a.spec.ts","file":"a.spec.ts","specs":[],"suites":[{"title":"menu","file":"a.spec.ts","specs":[
{"title":"opens","file":"a.spec.ts","line":5,"tags":["ui"],"tests":[{"projectName":"chromium","expectedStatus":"passed","results":[{"status":"failed","duration":100,"error":{"message":"\u001b[31mno\u001b[39m","stack":"s"},"attachments":[{"path":"t.zip"}]},{"status":"passed","duration":50}]}]},
{"title":"known","file":"a.spec.ts","line":9,"tests":[{"expectedStatus":"failed","results":[{"status":"failed"}]},{"expectedStatus":"failed","results":[{"status":"passed"}]},{"expectedStatus":"skipped","results":[]},{"results":[{"status":"timedOut"}]}]}]}]}],
"errors":[{"message":"does not load"}]}`, `
failed #1 a.spec.ts › menu: opens {chromium} (a.spec.ts:5) 0.1s "no" +ui [t.zip]
passed #2 a.spec.ts › menu: opens {chromium} (a.spec.ts:5) 0.05s +ui
xfail a.spec.ts › menu: known (a.spec.ts:9)
failed a.spec.ts › menu: known (a.spec.ts:9) "it passed, and was expected to fail"
skipped a.spec.ts › menu: known (a.spec.ts:9)
error a.spec.ts › menu: known (a.spec.ts:9) "it was ended: timedOut"
error playwright: error "does not load"
= 2 passed, 3 failed, 1 skipped, 1 flaky`},
	{"Jest", "jest", `{"numTotalTests":3,"testResults":[{"name":"/w/a.test.js","status":"failed","assertionResults":[{"ancestorTitles":["sum"],"title":"adds","status":"passed","duration":3,"location":{"line":4,"column":1},"retryReasons":["first"]},{"ancestorTitles":["sum"],"title":"fails","status":"failed","failureMessages":["Error: no\n    at f (/w/a.test.js:9:3)"]},{"ancestorTitles":[],"title":"later","status":"todo"}]},{"name":"/w/b.test.js","status":"failed","message":"does not parse","assertionResults":[]}]}`, `
failed #1 /w/a.test.js › sum: adds (/w/a.test.js:4) "first"
passed #2 /w/a.test.js › sum: adds (/w/a.test.js:4) 0.003s
failed /w/a.test.js › sum: fails (/w/a.test.js:9) "Error: no"
skipped /w/a.test.js: later (/w/a.test.js)
error /w/b.test.js: /w/b.test.js (/w/b.test.js) "does not parse"
= 1 passed, 2 failed, 1 skipped, 1 flaky`},
	{"Jest, after what npm prints", "jest", "\n> test\n> jest --json\n\n" + `{"numTotalTests":1,"testResults":[{"name":"a.js","assertionResults":[{"title":"a","status":"passed"}]},
{"name":"b.js","assertionResults":[{"title":"b","status":7}]}]}
Done in 2 s`, `
passed a.js: a (a.js)
skipped b.js: b (b.js)
= 1 passed, 0 failed, 1 skipped, 0 flaky
! line 5: the report begins here, after other text
! line 6: AssertionResults.Status is a number
! line 7: something follows the report's end`},
	{"Karma", "karma", `{"browsers":{"1":{"name":"Chrome"}},"result":{"1":[{"description":"adds","suite":["A","in"],"success":true,"time":250},{"description":"b","suite":["A"],"success":false,"log":["no\n at a.js:7"]}]},"summary":{}}`, `
passed A › in: adds 0.25s
failed A: b (a.js:7) "no"
= 1 passed, 1 failed, 0 skipped, 0 flaky`},
	{"Mocha", "mocha", `{"stats":{"tests":3},"tests":[{"title":"a"}],"pending":[{"title":"later","fullTitle":"S later","file":"/w/a.js"}],"failures":[{"title":"b","fullTitle":"S b","file":"/w/a.js","duration":5,"err":{"message":"no","name":"AssertionError","stack":"AssertionError: no\n at /w/a.js:7:1"}},{"title":"c","fullTitle":"c","err":{"name":"TypeError","message":"x"}}],"passes":[{"title":"a","fullTitle":"S a","file":"/w/a.js","currentRetry":1}]}`, `
skipped /w/a.js › S: later (/w/a.js)
failed /w/a.js › S: b (/w/a.js:7) 0.005s "no"
error c "x"
failed #1 /w/a.js › S: a (/w/a.js)
passed #2 /w/a.js › S: a (/w/a.js)
= 1 passed, 2 failed, 1 skipped, 1 flaky`},
	{"Mochawesome", "mochawesome", `{"stats":{"suites":1},"results":[{"title":"","fullFile":"/w/a.js","suites":[{"title":"S","tests":[{"title":"a","duration":10,"state":"passed","pass":true},{"title":"b","fail":true,"err":{"message":"no","estack":"no\n at /w/a.js:3:1"}},{"title":"c","pending":true}],"beforeHooks":[{"title":"hook","fail":true,"err":{"message":"x"}}],"suites":[]}]}]}`, `
passed w/a.js › S: a (w/a.js) 0.01s
failed w/a.js › S: b (w/a.js:3) "no"
skipped w/a.js › S: c (w/a.js)
failed w/a.js › S: hook (w/a.js) "x"
= 1 passed, 2 failed, 1 skipped, 0 flaky`},
	{"Cucumber", "cucumber", `[{"uri":"f/a.feature","name":"A","keyword":"Feature","tags":[{"name":"@slow"}],"elements":[
{"type":"background","name":"","steps":[{"keyword":"Given ","name":"x","result":{"status":"passed","duration":500000000}}]},
{"type":"scenario","id":"a;s","name":"s","line":4,"steps":[{"keyword":"When ","name":"y","result":{"status":"passed","duration":1000000000}}]},
{"type":"scenario","id":"a;o;;2","name":"o","line":9,"steps":[{"keyword":"When ","name":"z","result":{"status":"failed","error_message":"no"}},{"result":{"status":"skipped"}}]},
{"type":"scenario","id":"a;o;;3","name":"o","line":10,"steps":[{"keyword":"When ","name":"z","result":{"status":"undefined"}}]}]}]`, `
passed f/a.feature › A: s (f/a.feature:4) 1.5s +@slow
failed f/a.feature › A: o {2} (f/a.feature:9) "no" +@slow
error f/a.feature › A: o {3} (f/a.feature:10) "When z: undefined" +@slow
= 1 passed, 2 failed, 0 skipped, 0 flaky`},
	{"Cucumber messages", "cucumber-messages", `{"meta":{"protocolVersion":"24"}}
{"gherkinDocument":{"uri":"f/a.feature","feature":{"name":"A"}}}
{"pickle":{"id":"1","uri":"f/a.feature","name":"s","astNodeIds":["x"],"tags":[{"name":"@slow"}]}}
{"pickle":{"id":"2","uri":"f/a.feature","name":"o","astNodeIds":["y","z"]}}
{"testCase":{"id":"11","pickleId":"1"}}
{"testCase":{"id":"12","pickleId":"2"}}
{"testCaseStarted":{"id":"21","testCaseId":"11","attempt":0}}
{"testStepFinished":{"testCaseStartedId":"21","testStepResult":{"status":"FAILED","message":"no","duration":{"seconds":0,"nanos":500000000}}}}
{"testCaseFinished":{"testCaseStartedId":"21","willBeRetried":true}}
{"testCaseStarted":{"id":"22","testCaseId":"11","attempt":1}}
{"testStepFinished":{"testCaseStartedId":"22","testStepResult":{"status":"PASSED","duration":{"seconds":1,"nanos":0}}}}
{"testCaseFinished":{"testCaseStartedId":"22","willBeRetried":false}}
{"testCaseStarted":{"id":"23","testCaseId":"12","attempt":0}}`, `
failed #1 f/a.feature › A: s (f/a.feature) 0.5s "no" +@slow
passed #2 f/a.feature › A: s (f/a.feature) 1s +@slow
error f/a.feature › A: o {1} (f/a.feature) "it did not come to its end"
= 1 passed, 1 failed, 0 skipped, 1 flaky`},
	{"pytest-reportlog", "pytest-reportlog", `{"pytest_version":"8","$report_type":"SessionStart"}
{"nodeid":"t/a.py","outcome":"failed","longrepr":"SyntaxError","$report_type":"CollectReport"}
{"nodeid":"t/b.py::T::test_x[1-2]","location":["t/b.py",4,"T.test_x[1-2]"],"outcome":"passed","when":"setup","duration":0.25,"$report_type":"TestReport"}
{"nodeid":"t/b.py::T::test_x[1-2]","location":["t/b.py",4,"x"],"outcome":"rerun","when":"call","longrepr":"once","duration":0.25,"$report_type":"TestReport"}
{"nodeid":"t/b.py::T::test_x[1-2]","location":["t/b.py",4,"x"],"outcome":"passed","when":"teardown","$report_type":"TestReport"}
{"nodeid":"t/b.py::T::test_x[1-2]","location":["t/b.py",4,"x"],"outcome":"passed","when":"call","duration":1,"$report_type":"TestReport"}
{"nodeid":"t/b.py::T::test_x[1-2]","location":["t/b.py",4,"x"],"outcome":"passed","when":"teardown","$report_type":"TestReport"}
{"nodeid":"t/b.py::test_y","outcome":"failed","when":"setup","longrepr":{"reprcrash":{"path":"/w/t/b.py","lineno":3,"message":"no database"},"reprtraceback":{"reprentries":[{"data":{"lines":["    connect()"]}}]}},"$report_type":"TestReport"}
{"nodeid":"t/b.py::test_y","outcome":"passed","when":"teardown","$report_type":"TestReport"}
{"nodeid":"t/b.py::test_z","outcome":"skipped","when":"call","wasxfail":"known","$report_type":"TestReport"}
{"nodeid":"t/b.py::test_z","outcome":"passed","when":"teardown","$report_type":"TestReport"}
{"nodeid":"t/b.py::test_w","outcome":"passed","when":"setup","$report_type":"TestReport"}`, `
error t/a.py: t/a.py (t/a.py) "SyntaxError"
failed #1 t/b.py › T: test_x {1-2} (t/b.py:5) 0.5s "once"
passed #2 t/b.py › T: test_x {1-2} (t/b.py:5) 1s
error t/b.py: test_y (t/b.py) "no database"
xfail t/b.py: test_z (t/b.py) "known"
error t/b.py: test_w (t/b.py) "it did not come to its end"
= 2 passed, 3 failed, 0 skipped, 1 flaky`},
	{"pytest-json-report", "pytest-json", `{"created":1,"exitcode":1,"root":"/w","summary":{},"tests":[{"nodeid":"a.py::test_a","lineno":3,"outcome":"passed","setup":{"duration":0.5,"outcome":"passed"},"call":{"duration":1,"outcome":"passed"}},{"nodeid":"a.py::test_b[x]","lineno":0,"outcome":"failed","call":{"outcome":"failed","crash":{"message":"no"},"longrepr":"trace"}},{"nodeid":"a.py::test_c","outcome":"xpassed"},{"nodeid":"a.py::test_d","outcome":"error"}]}`, `
passed a.py: test_a (a.py:4) 1.5s
failed a.py: test_b {x} (a.py:1) "no"
xpass a.py: test_c (a.py)
error a.py: test_d (a.py)
= 2 passed, 2 failed, 0 skipped, 0 flaky`},
	{"collectors", "collector", `[{"id":"1","scope":"a.py","name":"test_a[1]","location":"a.py:7","file_name":"a.py","result":"failed","failure_reason":"no","history":{"duration":0.5}},{"scope":"a.py","name":"test_b","result":"unknown"}]`, `
failed a.py: test_a {1} (a.py:7) 0.5s "no"
error a.py: test_b
= 0 passed, 2 failed, 0 skipped, 0 flaky`},
	{"RSpec", "rspec", `{"version":"3.13","examples":[{"description":"adds","full_description":"Sum adds","status":"passed","file_path":"./spec/a_spec.rb","line_number":4,"run_time":0.5},{"description":"b","full_description":"Sum b","status":"failed","file_path":"./spec/a_spec.rb","line_number":8,"exception":{"class":"RSpec::Expectations::ExpectationNotMetError","message":"no","backtrace":["x"]}},{"description":"c","full_description":"Sum c","status":"failed","exception":{"class":"NoMethodError","message":"nil"}},{"description":"d","full_description":"Sum d","status":"pending","pending_message":"later"}]}`, `
passed spec/a_spec.rb › Sum: adds (spec/a_spec.rb:4) 0.5s
failed spec/a_spec.rb › Sum: b (spec/a_spec.rb:8) "no"
error Sum: c "nil"
skipped Sum: d "later"
= 1 passed, 2 failed, 1 skipped, 0 flaky`},
	{"Allure", "allure", `{"uuid":"1","historyId":"2","name":"adds","fullName":"com.x.T.adds","status":"broken","statusDetails":{"message":"no","trace":"t"},"start":1000,"stop":2500,"labels":[{"name":"testClass","value":"com.x.T"},{"name":"testMethod","value":"adds"},{"name":"owner","value":"me"},{"name":"tag","value":"slow"}],"parameters":[{"name":"x","value":"1"},{"name":"seed","value":"9","excluded":true}],"attachments":[{"source":"a.png"}]}`, `
error com.x.T: adds {1} 1.5s "no" @me +slow [a.png]
= 0 passed, 1 failed, 0 skipped, 0 flaky`},
	{"Dart", "dart", `{"protocolVersion":"0.1.1","runnerVersion":"1","type":"start","time":0}
{"suite":{"id":0,"platform":"vm","path":"test/a_test.dart"},"type":"suite","time":0}
{"test":{"id":1,"name":"loading test/a_test.dart","suiteID":0,"groupIDs":[]},"type":"testStart","time":1}
{"testID":1,"result":"success","skipped":false,"hidden":true,"type":"testDone","time":10}
{"group":{"id":2,"suiteID":0,"name":""},"type":"group","time":10}
{"group":{"id":3,"suiteID":0,"name":"sum"},"type":"group","time":10}
{"test":{"id":4,"name":"sum adds","suiteID":0,"groupIDs":[2,3],"line":5},"type":"testStart","time":100}
{"testID":4,"error":"no","stackTrace":"s","isFailure":true,"type":"error","time":200}
{"testID":4,"result":"failure","skipped":false,"hidden":false,"type":"testDone","time":600}
{"test":{"id":5,"name":"sum later","suiteID":0,"groupIDs":[2,3]},"type":"testStart","time":700}
{"testID":5,"result":"success","skipped":true,"hidden":false,"type":"testDone","time":700}
{"test":{"id":6,"name":"hangs","suiteID":0,"groupIDs":[2]},"type":"testStart","time":700}`, `
failed test/a_test.dart › sum: adds (test/a_test.dart:5) 0.5s "no"
skipped test/a_test.dart › sum: later (test/a_test.dart)
error test/a_test.dart: hangs (test/a_test.dart) "it did not come to its end"
= 0 passed, 2 failed, 1 skipped, 0 flaky`},
	{"libtest", "libtest", `{ "type": "suite", "event": "started", "test_count": 3 }
{ "type": "test", "event": "started", "name": "my::bin$mod::a" }
{ "type": "test", "name": "my::bin$mod::a", "event": "ok", "exec_time": 0.5 }
{ "type": "test", "event": "started", "name": "mod::b" }
{ "type": "test", "name": "mod::b", "event": "failed", "stdout": "thread 'mod::b' panicked at src/lib.rs:7:5:\nno\n" }
{ "type": "test", "name": "c", "event": "ignored" }
{ "type": "test", "event": "started", "name": "d" }`, `
passed my::bin › mod: a 0.5s
failed mod: b (src/lib.rs:7) "thread 'mod::b' panicked at src/lib.rs:7:5:"
skipped c
error d "it did not come to its end"
= 1 passed, 2 failed, 1 skipped, 0 flaky`},
	{"Bazel", "bazel", `{"id":{"started":{}},"started":{}}
{"id":{"testResult":{"label":"//a/b:c","run":1,"shard":1,"attempt":1}},"testResult":{"status":"FAILED","testAttemptDuration":"0.5s","testActionOutput":[{"name":"test.xml","uri":"file:///o/test.xml"}]}}
{"id":{"testResult":{"label":"//a/b:c","run":1,"shard":1,"attempt":2}},"testResult":{"status":"PASSED","testAttemptDurationMillis":"250"}}
{"id":{"testSummary":{"label":"//a/b:c"}},"testSummary":{"overallStatus":"FLAKY"}}
{"id":{"testResult":{"label":"//a:d"}},"testResult":{"status":"TIMEOUT"}}`, `
failed #1 a/b: c 0.5s [/o/test.xml]
passed #2 a/b: c 0.25s
error a: d "TIMEOUT"
= 1 passed, 1 failed, 0 skipped, 1 flaky`},
}

// shown is a result in a line.
func shown(r record.TestResult) string {
	var b strings.Builder
	b.WriteString(r.Status)
	if r.Attempt > 0 {
		fmt.Fprintf(&b, " #%d", r.Attempt)
	}
	if where := strings.Join(append(slices.DeleteFunc([]string{r.Suite}, func(s string) bool { return s == "" }), r.Groups...), " › "); where != "" {
		b.WriteString(" " + where + ":")
	}
	b.WriteString(" " + r.Name)
	if r.Params != "" {
		b.WriteString(" {" + r.Params + "}")
	}
	switch {
	case r.File != "" && r.Line > 0:
		fmt.Fprintf(&b, " (%s:%d)", r.File, r.Line)
	case r.File != "":
		fmt.Fprintf(&b, " (%s)", r.File)
	}
	if r.Seconds > 0 {
		fmt.Fprintf(&b, " %gs", r.Seconds)
	}
	if r.Message != "" {
		fmt.Fprintf(&b, " \"%s\"", r.Message)
	}
	if r.Owner != "" {
		b.WriteString(" @" + r.Owner)
	}
	for _, tag := range r.Tags {
		b.WriteString(" +" + tag)
	}
	if len(r.Attachments) > 0 {
		b.WriteString(" [" + strings.Join(r.Attachments, " ") + "]")
	}
	return b.String()
}

func TestFormats(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for _, c := range samples {
		seen[c.format] = true
		for _, text := range []string{c.text, "\xef\xbb\xbf" + c.text, strings.ReplaceAll(c.text, "\n", "\r\n")} {
			var got strings.Builder
			report, err := Read(strings.NewReader(text), "report", func(r record.TestResult) error {
				got.WriteString("\n" + shown(r))
				return nil
			})
			fmt.Fprintf(&got, "\n= %d passed, %d failed, %d skipped, %d flaky", report.Passed, report.Failed, report.Skipped, report.Flaky)
			for _, s := range report.Salvaged {
				got.WriteString("\n! " + s)
			}
			if err != nil || report.Format != c.format || got.String() != c.want {
				t.Errorf("%s: %q, %v\ngot%s\nwant%s", c.name, report.Format, err, got.String(), c.want)
				break
			}
		}
	}
	for _, f := range formats {
		if !seen[f.name] {
			t.Errorf("there is no sample of %s", f.name)
		}
	}
}

// TestCutOff ends each sample at many places: what is read then is never more
// than what was there, but for a test in which it ends, or a plan that was not
// kept; and never a panic.
func TestCutOff(t *testing.T) {
	t.Parallel()
	for _, c := range samples {
		whole, err := Read(strings.NewReader(c.text), "r", nil)
		if err != nil {
			t.Fatal(err)
		}
		for n := 0; n < len(c.text); n += 7 {
			report, err := Read(strings.NewReader(c.text[:n]), "r", nil)
			if err == nil && report.Passed+report.Failed+report.Skipped > whole.Passed+whole.Failed+whole.Skipped+1 {
				t.Errorf("%s, cut at %d: %+v", c.name, n, report)
			}
		}
	}
}

func TestReadErrors(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ text, want string }{
		{"", "it is empty"},
		{"hello", "no test report that is known here"},
		{"<html><body/></html>", "its first element is <html>"},
		{`{"name":"x","version":"1"}`, "it is JSON"},
		{`{"numTotalTests":1,"x":` + strings.Repeat("[", 200), "nested deeper"},
		{`{"numTotalTests":1,"testResults":[{"name":x}]}`, "line 1"},
	} {
		_, err := Read(strings.NewReader(c.text), "dir/r.json", nil)
		if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "dir/r.json") {
			t.Errorf("%.40q: %v, want %q", c.text, err, c.want)
		}
	}
	stop := fmt.Errorf("enough")
	for _, c := range samples {
		if _, err := Read(strings.NewReader(c.text), "r", func(record.TestResult) error { return stop }); err != stop {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

// TestKey is about what makes a test the same.
func TestKey(t *testing.T) {
	t.Parallel()
	base := record.TestResult{Suite: "com.x.T", Groups: []string{"In"}, Name: "adds", Params: "1", File: "T.java", Line: 3, Status: passed}
	same := base
	same.Params, same.Line, same.File, same.Status, same.Attempt, same.Tags = "2", 9, "/w/T.java", failed, 2, []string{"x"}
	if base.Key() != same.Key() || len(base.Key()) != 16 {
		t.Errorf("%s, %s", base.Key(), same.Key())
	}
	for _, other := range []record.TestResult{{Suite: "com.x.U", Groups: base.Groups, Name: "adds"}, {Suite: "com.x.T", Name: "adds"}, {Suite: "com.x.T", Groups: base.Groups, Name: "add"}, {Suite: "com.x.T", Groups: []string{"In", "adds"}}} {
		if other.Key() == base.Key() {
			t.Errorf("%+v has the same key", other)
		}
	}
	// The same test of go, as go test says it and as gotestsum's JUnit does.
	keys := map[string]bool{}
	for _, text := range []string{
		`{"Action":"pass","Package":"example.com/a/util","Test":"TestA/b"}`,
		`<testsuites><testsuite name="example.com/a/util"><testcase classname="util" name="TestA/b"/></testsuite></testsuites>`,
		`<testsuites><testsuite name="example.com/a/util"><testcase classname="example.com/a/util" name="TestA/b"/></testsuite></testsuites>`,
		"--- PASS: TestA/b (0.00s)\nok  \texample.com/a/util\t0.1s\n",
	} {
		if _, err := Read(strings.NewReader(text), "r", func(r record.TestResult) error { keys[r.Key()] = true; return nil }); err != nil {
			t.Error(err)
		}
	}
	if len(keys) != 1 {
		t.Errorf("one test has the keys %v", keys)
	}
}

func TestRelative(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ root, file, want string }{
		{"/w", "/w/src/a.test.js", "src/a.test.js"},
		{"/w/", "/w/a.js", "a.js"},
		{"/w", "/wide/a.js", "/wide/a.js"},
		{`C:\w`, `C:\w\src\a.js`, "src/a.js"},
		{"", "/a.js", "/a.js"},
		{"/w", "src/a.js", "src/a.js"},
	} {
		r := record.TestResult{Suite: c.file, Name: c.file, File: c.file}
		if Relative(&r, c.root); r.File != c.want || r.Suite != c.want || r.Name != c.want {
			t.Errorf("%s in %s: %+v", c.file, c.root, r)
		}
	}
}

func TestLikely(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]bool{
		"TEST-a.XML": true, "results.trx": true, "out.tap": true, "playwright-report.json": true, "1a-result.json": true,
		"cucumber.json": true, "build-events.json": true, ".report.json": true,
		"package.json": false, "main.go": false, "pom.xml": false, "data.json": false,
	} {
		if likely(name) != want {
			t.Errorf("%s: %v", name, !want)
		}
	}
}

// TestReference compares docs/reference/test-formats.md with the table of
// formats.
func TestReference(t *testing.T) {
	const name = "../../docs/reference/test-formats.md"
	var b strings.Builder
	b.WriteString(`# Formats of test results

Fairlead reads the results of tests in these formats. It finds them among the
files that a step has written, and tells them by their content: how a file is
called only decides whether it is looked at. Nothing has to be declared.

A report that was cut off, or is spoilt in places, is read as far as that goes,
and what was wrong is said with its line. Whatever the format, a test is known
by what it is in and its name; its parameters, its file's line and the machine
it ran on do not make it another test.

| Format | Written by | Looked for | How it is read |
|---|---|---|---|
`)
	for _, f := range formats {
		files := make([]string, 0, len(f.files))
		for _, p := range f.files {
			files = append(files, "`"+p+"`")
		}
		if len(files) == 0 && !f.named {
			files = []string{"`*.xml`"}
		}
		fmt.Fprintf(&b, "| %s (`%s`) | %s | %s | %s |\n", f.title, f.name, f.of, strings.Join(files, " "), f.note)
	}
	b.WriteString("\nThis page is made from the table of formats: `go test ./internal/harvest -run Reference -update`.\n")
	if *update {
		if err := os.WriteFile(name, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	have, err := os.ReadFile(name)
	if err != nil || !bytes.Equal(have, []byte(b.String())) {
		t.Errorf("%s is not what the table says (%v); run: go test ./internal/harvest -run Reference -update", name, err)
	}
}

func FuzzRead(f *testing.F) {
	for _, c := range samples {
		f.Add([]byte(c.text))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		sound(t, func(each func(record.TestResult) error) (record.TestsReported, error) {
			return Read(bytes.NewReader(data), "r", each)
		})
	})
}

// FuzzFormat gives any input to any of the readers.
func FuzzFormat(f *testing.F) {
	for _, c := range samples {
		for n := range formats {
			if formats[n].name == c.format {
				f.Add(byte(n), []byte(c.text))
			}
		}
	}
	f.Fuzz(func(t *testing.T, which byte, data []byte) {
		format := &formats[int(which)%len(formats)]
		sound(t, func(each func(record.TestResult) error) (record.TestsReported, error) {
			return format.run(newInput(bytes.NewReader(data), "r"), each)
		})
	})
}

// sound checks what holds for whatever is read.
func sound(t *testing.T, read func(func(record.TestResult) error) (record.TestsReported, error)) {
	results := 0
	report, err := read(func(r record.TestResult) error {
		results++
		switch r.Status {
		case passed, failed, skipped, broken, xfail, xpass:
		default:
			t.Errorf("the status is %q", r.Status)
		}
		if r.Seconds < 0 || r.Line < 0 || len(r.Name) > maxName || len(r.Message) > maxMessage || len(r.Stack) > maxText || len(r.Groups) > maxList {
			t.Errorf("%+v", r)
		}
		return nil
	})
	if err == nil && (report.Passed < 0 || report.Failed < 0 || report.Skipped < 0 || report.Flaky > report.Passed || len(report.Bad) > report.Failed || report.Seconds < 0) {
		t.Errorf("%+v", report)
	}
}

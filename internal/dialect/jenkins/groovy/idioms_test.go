package groovy

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// TestIdioms are things that real pipelines and their libraries do.
func TestIdioms(t *testing.T) {
	t.Parallel()
	table(t, `
def call(body) { def config = [:]; body.resolveStrategy = Closure.DELEGATE_FIRST; body.delegate = config; body(); config }
call { name = 'x'; count = 2 } ==> ['name':'x', 'count':2]
def branches = [:]
for (x in ['a', 'b']) { def y = x; branches["run-${y}"] = { "ran $y" } }
branches.collect { k, v -> "$k: ${v()}" } ==> ['run-a: ran a', 'run-b: ran b']
def branches = ['a', 'b'].collectEntries { n -> ["build ${n}", { n * 2 }] }
branches.values()*.call() ==> ['aa', 'bb']
def branches = [failFast: true]
branches.failFast ==> true
def m = [x: [1, 2]]
m.x[1] + m['x'][0] ==> 3
def name = 'length'
'abc'."$name"() ==> 3
def foo(x) { x + 1 }
def n = 'foo'
"$n"(2) + this."$n"(3) ==> 7
def cfg = [a: 1]
cfg = [a: 0, b: 2] + cfg
cfg ==> ['a':1, 'b':2]
def f(Map args) { args.x ?: 'none' }
f([:]) + f(x: 'y') ==> 'noney'
def v = '1.2.3'
def (major, minor) = v.tokenize('.').take(2)*.toInteger()
major + minor ==> 3
def v = '1.2.3-SNAPSHOT'
def m = v =~ /^(\d+)\.(\d+)/
m ? m[0][2] : null ==> '2'
def v = 'v1.2'
def m = (v =~ /v(\d+)/)
if (m) { m.group(1) } ==> '1'
def branch = 'feature/JIRA-123-x'
branch.find(/[A-Z]+-\d+/) ==> 'JIRA-123'
def branch = 'origin/main'
branch.replaceFirst('^origin/', '') ==> 'main'
def list = ['b', 'a']
list.sort().each { println it }
list ==> ['a', 'b']
def x = [a: 1].collect { k, v -> [name: k, value: v] }
x[0].name ==> 'a'
def lines = 'a=1\nb=2'.readLines().collectEntries { it.split('=') as List }
lines ==> ['a':'1', 'b':'2']
def props = [:]
'a=1\nb=2'.split('\n').each { line -> def (k, v) = line.split('='); props[k] = v }
props ==> ['a':'1', 'b':'2']
def result = [1, 2, 3].stream().filter { it > 1 }.collect()
result ==> [2, 3]
for (Map.Entry<String, String> e : [a: '1'].entrySet()) { println e.key + e.value } ==> null
def c = { Map.Entry e -> e.key }
[a: 1].collect(c) ==> ['a']
int[] a = [3, 1, 2]
a.sort()
a.toList() ==> [1, 2, 3]
List<String> l = new ArrayList<>()
l.add('x')
l ==> ['x']
Map<String, List<String>> m = [:]
m.get('a', []) << 'x'
m ==> ['a':['x']]
final String X = 'x'
X ==> 'x'
def x = y = 5
x + y ==> 10
def s = """
  a
    b
""".stripIndent().trim()
s ==> 'a\n  b'
def s = "a \${b} \$c"
s ==> 'a ${b} $c'
def s = 'awk \'{print $1}\''
s ==> 'awk \'{print $1}\''
"${'a' + "${1 + 1}"}" ==> 'a2'
"${[1, 2].collect { "<${it}>" }.join('')}" ==> '<1><2>'
"${true ? 'a' : "b"}" ==> 'a'
"a${'$'}b" ==> 'a$b'
def x = 5; "${x}%" ==> '5%'
"$x.y.z" !!> No such property: x
def o = [a: [b: 'c']]; "$o.a.b" ==> 'c'
def o = [a: 1]; "$o.a." ==> '1.'
def f(String a, Closure c) { a + c() }
f('x') { 'y' } ==> 'xy'
def f(String a, Closure c) { a + c() }
f 'x', { 'y' } ==> 'xy'
def f(Closure c) { c() }
f({ 'y' }) + f { 'z' } ==> 'yz'
def f(a) { a }
f({ it }).call(3) ==> 3
def outer(c) { c() }
def inner(c) { c() + 1 }
outer { inner { 5 } } ==> 6
def f(Map m, Closure c) { m.toString() + c() }
f(a: 1, b: 2) {
  'x'
} ==> '[a:1, b:2]x'
def f(m) { m }
f(
  a: 1,
  b: [
    2,
    3,
  ],
) ==> ['a':1, 'b':[2, 3]]
def f(m) { m }
f a: 1,
  b: 2 ==> ['a':1, 'b':2]
def f(m) { m }
f if: 1, class: 2, in: 3, default: 4 ==> ['if':1, 'class':2, 'in':3, 'default':4]
[if: 1, 'a-b': 2, "c$d": 3].if !!> No such property: d
def (int a, String b) = [1, 2]; b ==> '2'
def x = null
x?.foo()?.bar ?: 'd' ==> 'd'
[null, [a: 1]]*.a ==> [null, 1]
!!'x' ==> true
def f() { return [a: 1] }
f().a ==> 1
def f() { [1, 2] }
f()[1] ==> 2
def f = [{ 1 }, { 2 }]
f[1]() ==> 2
def m = [run: { a, b -> a + b }]
m.run(1, 2) + m['run'](3, 4) ==> 10
(1..3).each { i -> if (i == 2) { return } }
 ==> 1..3
def found = null
[1, 2].each { if (it == 2) { found = it } }
found ==> 2
def e = null
try { error() } catch (MissingMethodException ex) { e = ex.class.simpleName }
e ==> 'MissingMethodException'
try { throw new hudson.AbortException('x') } catch (hudson.AbortException e) { e.getMessage() } ==> 'x'
try { throw new IOException('x') } catch (e) { "${e}" } ==> 'java.io.IOException: x'
try { [].get(0) } catch (IndexOutOfBoundsException e) { 'out' } ==> 'out'
def e = new Exception('a'); e.addSuppressed(new Exception('b')); e.suppressed[0].message ==> 'b'
def r = 0
try { r = 1; throw new Exception() } catch (Exception ignored) { r += 10 } finally { r += 100 }
r ==> 111
def retry(n, c) { for (i in 1..n) { try { return c(i) } catch (e) { if (i == n) throw e } } }
retry(3) { if (it < 3) throw new Exception("try $it"); "ok $it" } ==> 'ok 3'
def a = [1, 2, 3]
a[0], a[1] !!> unexpected token
Integer i = null
i ==> null
def f(boolean b = false) { b }
f() ==> false
static int add(int a, int b) { a + b }
add(1, 2) ==> 3
def f(List<Map<String, Object>> l) { l*.a }
f([[a: 1]]) ==> [1]
def <T> T id(T x) { x }
id(5) ==> 5
private String f() { 'p' }
f() ==> 'p'
def getVersion() { '1.0' }
version ==> '1.0'
def isOk() { true }
ok ==> true
class Conf { String a; int b = 2; Map m = [:]; def methodMissing(String n, args) { m[n] = args[0] } }
def c = new Conf(a: 'x')
c.with { color 'red' }
c.m ==> ['color':'red']
class Ctx implements Serializable { def steps; Ctx(steps) { this.steps = steps }; def go() { steps.hi('x') { 'body' } } }
def hi(a, c) { a + c() }
new Ctx(this).go() ==> 'xbody'
class Semver implements Comparable<Semver> { int major, minor
  static Semver parse(String s) { def p = s.split('\\.'); new Semver(major: p[0] as int, minor: p[1] as int) }
  int compareTo(Semver o) { major <=> o.major ?: minor <=> o.minor }
  String toString() { "$major.$minor" } }
['1.10', '1.9', '0.5'].collect { Semver.parse(it) }.sort()*.toString() ==> ['0.5', '1.9', '1.10']
abstract class Base { def run() { before(); go(); log }; List log = []; def before() { log << 'before' }; abstract def go() }
class Impl extends Base { def go() { log << 'go' } }
new Impl().run() ==> ['before', 'go']
interface Shape { double area() }
class Sq implements Shape { double s; double area() { s * s } }
new Sq(s: 2).area() ==> 4.0
def x = 3
def s = switchName(x)
def switchName(n) { switch (n) { case 1: return 'a'; case { it > 2 }: return 'big' } }
s ==> 'big'
def i = 0
while (true) { if (++i > 5) break }
i ==> 6
def text = ''
for (int i = 0, n = 3; i < n; i++) { text += i }
text ==> '012'
String[] parts = 'a b'.split(' ')
parts.length + parts[1] ==> '2b'
'a,b'.split(',').collect { it.toUpperCase() } ==> ['A', 'B']
def (x, y) = 'a-b'.split('-')
y ==> 'b'
def s = new HashSet(['a']); s.add('a'); s.add('b'); s.size() ==> 2
def q = [] as Queue; q.add(1); q.add(2); q.poll() ==> 1
def sw = new StringBuilder()
sw << 'a'
sw << "${1}"
sw.toString().length() ==> 2
new Date(1700000000000L).format('yyyy-MM-dd HH:mm', TimeZone.getTimeZone('UTC')) ==> '2023-11-14 22:13'
java.time.Instant.now() !!> No such property: java for class: WorkflowScript
def t = System.currentTimeMillis() - 5; t ==> -5
(x = 5) + x ==> 10
1.0 / 3 * 3 ==> 0.9999999999
String.valueOf(5) + 5.toString() ==> '55'
[1, 2, 3].join(',').split(',')*.toInteger().sum() ==> 6
['x': 1].with { it.x } ==> 1
def closure = { a, b = 2, ... }
 !!> unexpected token
[(1 + 1): 'two'] ==> [2:'two']
['a', 'b'].eachWithIndex { it, i -> println "$i: $it" } ==> ['a', 'b']
def f(... a) { a.size() }
f(1, 2) ==> 2
def x = 1; x = x == 1 ? 2 : 3; x ==> 2
null ?: false ?: 'c' ==> 'c'
1 in [1] ? 'y' : 'n' ==> 'y'
'b' in ['a': 1, b: 2] ==> true
def f(x) { x * 2 }; def g = this.&f; [1, 2].collect(g) ==> [2, 4]
def m = [a: 1, b: 2]; m.findAll { it.value > 1 }.keySet() as List ==> ['b']
def m = [b: 1, a: 2]; m.sort { a, b -> a.value <=> b.value }*.key ==> ['b', 'a']
def m = [a: [1, 2], b: [3]]; m.values().flatten().sum() ==> 6
def m = [a: 1]; m.each { it.value = 5 }; m ==> ['a':5]
[1, 3, 2].sort(Collections.reverseOrder()) ==> [3, 2, 1]
['b', 'A'].sort(String.CASE_INSENSITIVE_ORDER) ==> ['A', 'b']
def f(x) { x }; "${this.&f}".size() > 0 ==> true
def c = { x }; for (i in 1..60) { def o = c; c = o.rehydrate(o, { -> o }, this) }; c() !!> No such property: x
def c = { run() }; c() !!> No signature of method: WorkflowScript.run()
node { 1 } !!> No signature of method: WorkflowScript.node() is applicable for argument types: (WorkflowScript$_run_closure1)
`)
}

// TestMoreIdioms go on with TestIdioms.
func TestMoreIdioms(t *testing.T) {
	t.Parallel()
	table(t, `
def sh(m) { m.script }
sh(script: '''
  a
''').trim() ==> 'a'
def sh(x) { x }
sh """#!/bin/bash
echo ${1 + 1}
""" ==> '#!/bin/bash\necho 2\n'
def s(n, c) { c() }
def stages = [:]
['a', 'b'].each { p ->
  stages[p] = {
    s("build ${p}") {
      p.toUpperCase()
    }
  }
}
stages.collect { k, v -> v() } ==> ['A', 'B']
def transform(list) { list.collect { it ->
    return { ->
      "x${it}"
    }
  }
}
transform([1, 2])*.call() ==> ['x1', 'x2']
def f() {
  return [
    a: 1,
    b: { it }
  ]
}
f().b(3) ==> 3
def isPr = false, name = 'x'
isPr ? 'pr' : name ==> 'x'
def v = [a: 1, b: [c: 2]]
[v?.b?.c, v?.d?.e] ==> [2, null]
def getLabel(os) { return (os == 'linux') ? 'l' : (os == 'win' ? 'w' : 'o') }
['linux', 'win', 'x'].collect { getLabel(it) } ==> ['l', 'w', 'o']
def m = [:]
m['a'] = m['a'] ?: []
m['a'] += 1
m ==> ['a':[1]]
def list = []
list += ['a']
list.addAll(['b', 'c'])
list -= 'a'
list ==> ['b', 'c']
def x = 'abc'
x == 'abc' && x != 'd' || false ==> true
def x = 5
switch (x) {
  case 1:
  case 5:
    x = 'five'
    break
  default:
    x = 'none'
}
x ==> 'five'
if (!(1 in [2, 3])) { 'no' } ==> 'no'
def d = [debug: true, release: false]
d.findAll { it.value }.collect { it.key } ==> ['debug']
d = ['x': ['y', 'z']]
d.each { k, vs -> vs.each { println "$k/$it" } } ==> ['x':['y', 'z']]
def cartesian(a, b) { [a, b].combinations { x, y -> x + y } }
1 ==> 1
def cfg = [
  'linux'  : [jdks: [11, 17]],
  'windows': [jdks: [17]],
]
cfg.collectMany { os, c -> c.jdks.collect { "${os}-${it}".toString() } } ==> ['linux-11', 'linux-17', 'windows-17']
cfg = [a: 1]
for (def e in cfg) { e.value } ; for (String k : cfg.keySet()) { k } ==> null
try {
  throw new RuntimeException("x")
} catch (err) {
  "${err}"
} finally {
  println 'f'
} ==> 'java.lang.RuntimeException: x'
def s = 'a/b/c'
s.substring(s.lastIndexOf('/') + 1) ==> 'c'
'Hello'.toLowerCase().tr('a-z', 'b-za') ==> 'ifmmp'
new Date(0).format("yyyy-MM-dd HH:mm:ss.SSS") ==> '1970-01-01 00:00:00.000'
"${new Date(0)}" ==> 'Thu Jan 01 00:00:00 UTC 1970'
Calendar.getInstance() !!> RejectedAccess
def a = [3, 1, 2] as int[]
a.max() ==> 3
def text = 'k1=v1;k2=v2'
text.split(';').collectEntries { def kv = it.split('='); [(kv[0]): kv[1]] } ==> ['k1':'v1', 'k2':'v2']
'%s is %d'.format('a', 1) ==> 'a is 1'
String.format("%-10s|%6.2f%%", 'x', 12.345) ==> 'x         | 12.35%'
1.toString().padLeft(3, '0') ==> '001'
[1, [a: 'b']].toString() ==> '[1, [a:b]]'
def r = (1..5).findAll { it % 2 }
r ==> [1, 3, 5]
(1..5).every { it < 6 } && (1..5).any { it == 3 } ==> true
def c = 0
10.downto(8) { c += it }
c ==> 27
def outer = 'o'
def fn = { inner = 'i' -> outer + inner }
fn() + fn('x') ==> 'oiox'
def compose = { f, g -> { x -> g(f(x)) } }
compose({ it + 1 }, { it * 2 })(3) ==> 8
this.getClass().getSimpleName() ==> 'WorkflowScript'
x = 1; binding.x ==> 1
binding.hasVariable('nope') ==> false
x = 1; binding.hasVariable('x') ==> true
x = 1; getBinding().getVariable('x') ==> 1
binding.setVariable('q', 3); q ==> 3
binding.variables.size() ==> 0
['a', 'b', 'c'].subList(1, 3) ==> ['b', 'c']
['a', 'b'].join('\n') ==> 'a\nb'
'a,b;c'.split('[,;]').size() ==> 3
[[1, 2], [3]].sum() ==> [1, 2, 3]
[a: 1].toMapString() ==> '[a:1]'
[1, 2].toListString() ==> '[1, 2]'
'a' as char ==> 'a'
[1, 2, 3].permutations().size() ==> 6
'abc'.md5() ==> '900150983cd24fb0d6963f7d28e17f72'
'abc'.sha256() ==> 'ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad'
def s = [] as SortedSet; s << 3; s << 1; s.first() ==> 1
[5, 3].sort { a, b -> a <=> b }.first() ==> 3
[1, 2, 3, 4].max { a, b -> a <=> b } ==> 4
def n = null; n.toString() ==> 'null'
def m = [a: 1].asImmutable(); m.b = 2 !!> UnsupportedOperationException
[a: 1].any { it.value == 1 } ==> true
def l = ['a', 'b', 'c']; l[1..-1] ==> ['b', 'c']
def l = [1]; l[0] += 5; l ==> [6]
[1, 2, 3].each { n -> println n }.size() ==> 3
def x = 10; def f = { -> x }; x = 20; f() ==> 20
`)
}

// TestParseErrors: what is wrong, and where.
func TestParseErrors(t *testing.T) {
	t.Parallel()
	for src, want := range map[string]string{
		"node {":                               "1:7: unexpected end of file, expecting '}'",
		"node { }\n}":                          "2:1: unexpected token: }",
		"foo(1":                                "1:6: unexpected end of file, expecting ')'",
		"foo(]":                                "1:5: unexpected token: ], expecting ')'",
		"def x = \n":                           "2:1: unexpected end of file",
		"x = 1 +":                              "1:8: unexpected end of file",
		"if (x {":                              "1:8: unexpected end of file, expecting '}'",
		"if x == 1 { }":                        "1:4: unexpected token: x, expecting '('",
		"try { }":                              "1:8: unexpected end of file, expecting 'catch' or 'finally'",
		"'abc":                                 "1:1: a string that never ends: close it with '",
		"'''abc":                               "1:1: a string that never ends: close it with '''",
		"\"a ${b\"":                            "1:7: a string that never ends",
		"echo 'a'\necho \"it's ${":             "unexpected end of file inside ${ in a string",
		"def a = 5 b = 6":                      "1:11: unexpected token: b",
		"foo 'a' 'b'":                          "1:9: unexpected token: 'b'",
		"a\n&& b":                              "2:1: unexpected token: &&: the line before ended the statement: an operator stands at the end of its line",
		"@Library('x')\npipeline { }":          "2:1: unexpected token: pipeline: the annotation @Library has nothing that it annotates: write an underscore behind it: @Library(…) _",
		"'a'\n{ 1 }":                           "2:1: ambiguous",
		"class { }":                            "1:7: unexpected token: {, expecting a name",
		"class A { foo }":                      "1:11: unexpected token: foo, expecting a field or a method",
		"if (x) { def f() { } }":               "1:14: a method cannot be declared here",
		"x = [1, a: 2]":                        "1:6: items with and without a key in one list",
		"“x”":                                  "1:1: unexpected char: '“': a typographic quote; write ' or \"",
		"# comment":                            "1:1: unexpected char: '#': comments begin with //",
		"/* x":                                 "1:1: a comment that never ends",
		"1abc":                                 "1:1: unexpected token: 1abc",
		"switch (x) { foo }":                   "1:14: unexpected token: foo, expecting 'case' or 'default'",
		"new 5":                                "1:5: unexpected token: 5, expecting the name of a class",
		"x.":                                   "1:3: unexpected end of file, expecting the name of a property or a method",
		"äö = 'ü' )":                           "1:10: unexpected token: )",
		strings.Repeat("(", 10000):             "nested more than",
		strings.Repeat("[", 10000):             "nested more than",
		strings.Repeat("{", 10000):             "nested more than",
		strings.Repeat("!", 10000):             "nested more than",
		strings.Repeat("x ? ", 10000):          "nested more than",
		strings.Repeat("x = ", 10000) + "1":    "nested more than",
		strings.Repeat("if (x) ", 10000) + "1": "nested more than",
		strings.Repeat(`"${`, 1000):            "nested more than",
		strings.Repeat("class A { ", 1000):     "nested more than",
		"a\xff":                                "1:2: text that is not UTF-8",
		"foo(a: 1\n  b: 2)":                    "2:3: unexpected token: b, expecting ')'",
		"timeout(time: 5 unit: 'MINUTES') { }": "1:17: unexpected token: unit, expecting ')'",
	} {
		_, problems := Parse("f", src)
		switch {
		case len(problems) != 1:
			t.Errorf("%.40q: %d problems, want %s", src, len(problems), want)
		case !strings.Contains(problems[0].Error(), want):
			t.Errorf("%.40q: %v, want %s", src, problems[0], want)
		}
	}
}

// TestLongInputs: what is long and flat is parsed in linear time, and running
// it ends in an error at worst.
func TestLongInputs(t *testing.T) {
	t.Parallel()
	const n = 30_000
	for name, src := range map[string]string{
		"sum":        strings.Repeat("1+", n) + "1",
		"properties": "a" + strings.Repeat(".a", n),
		"calls":      "a" + strings.Repeat("()", n),
		"indexes":    "a" + strings.Repeat("[0]", n),
		"closures":   "a" + strings.Repeat("{}", n),
		"comparison": strings.Repeat("A<", n) + "A",
		"command":    strings.Repeat("a ", n),
		"holes":      `"` + strings.Repeat("${1}", n) + `"`,
		"list":       "[" + strings.Repeat("1,", n) + "]",
		"parameters": "{ " + strings.Repeat("a, ", n) + "b -> 1 }",
	} {
		script, problems := Parse("f", src)
		if len(problems) > 0 {
			t.Errorf("%s: %v", name, problems[0])
			continue
		}
		if _, err := New(Config{}).Run(t.Context(), script); err != nil && strings.Contains(err.Error(), "fault") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestPositions: every node knows its text.
func TestPositions(t *testing.T) {
	t.Parallel()
	src := `@Library('a') _
def x = sh script: "é ${y.z}", returnStdout: true
pipeline {
  agent { label 'l' }
  stage("s") { a -> echo 'e' }
}
class C { int f; def m(p = 1) { p } }
x?.y*.z(1)[2] += -3 ?: [k: v]
`
	s := mustParse(t, "f", src)
	var got []string
	Walk(s, func(n Node) bool {
		text, _, more := strings.Cut(s.Text(n), "\n")
		if more {
			text += "…"
		}
		at := s.At(n)
		got = append(got, fmt.Sprintf("%d:%d %s %s", at.Line, at.Column, strings.TrimPrefix(fmt.Sprintf("%T", n), "*groovy."), text))
		return true
	})
	want := strings.Split(strings.TrimSpace(`
1:1 VarDecl @Library('a') _
2:1 VarDecl def x = sh script: "é ${y.z}", returnStdout: true
2:9 CallExpr sh script: "é ${y.z}", returnStdout: true
2:12 MapExpr script: "é ${y.z}", returnStdout: true
2:12 Literal script
2:20 GStringExpr "é ${y.z}"
2:25 PropertyExpr y.z
2:25 Ident y
2:32 Literal returnStdout
2:46 Literal true
3:1 ExprStmt pipeline {…
3:1 CallExpr pipeline {…
3:10 ClosureExpr {…
4:3 Block agent { label 'l' }…
4:3 ExprStmt agent { label 'l' }
4:3 CallExpr agent { label 'l' }
4:9 ClosureExpr { label 'l' }
4:11 Block label 'l'
4:11 ExprStmt label 'l'
4:11 CallExpr label 'l'
4:17 Literal 'l'
5:3 ExprStmt stage("s") { a -> echo 'e' }
5:3 CallExpr stage("s") { a -> echo 'e' }
5:9 Literal "s"
5:14 ClosureExpr { a -> echo 'e' }
5:21 Block echo 'e'
5:21 ExprStmt echo 'e'
5:21 CallExpr echo 'e'
5:26 Literal 'e'
7:1 ClassDecl class C { int f; def m(p = 1) { p } }
7:11 VarDecl int f
7:18 MethodDecl def m(p = 1) { p }
7:28 Literal 1
7:31 Block { p }
7:33 ExprStmt p
7:33 Ident p
8:1 ExprStmt x?.y*.z(1)[2] += -3 ?: [k: v]
8:1 AssignExpr x?.y*.z(1)[2] += -3 ?: [k: v]
8:1 IndexExpr x?.y*.z(1)[2]
8:1 CallExpr x?.y*.z(1)
8:1 PropertyExpr x?.y
8:1 Ident x
8:9 Literal 1
8:12 Literal 2
8:18 TernaryExpr -3 ?: [k: v]
8:18 Literal -3
8:24 MapExpr [k: v]
8:25 Literal k
8:28 Ident v`), "\n")
	if !slices.Equal(got, want) {
		for i := range max(len(got), len(want)) {
			g, w := "", ""
			if i < len(got) {
				g = got[i]
			}
			if i < len(want) {
				w = want[i]
			}
			if g != w {
				t.Errorf("%d: got %q, want %q", i, g, w)
			}
		}
	}
}

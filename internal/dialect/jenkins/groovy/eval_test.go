package groovy

import (
	"context"
	"strings"
	"testing"
)

// run runs a script and returns what it printed and how inspect() shows its
// value, or the error.
func run(t testing.TB, src string) (printed, value string, err error) {
	t.Helper()
	script, problems := Parse("Jenkinsfile", src)
	if len(problems) > 0 {
		return "", "", problems[0]
	}
	var out strings.Builder
	in := New(Config{Print: func(s string) { out.WriteString(s) }})
	err = in.Do(context.Background(), func(th *Thread) error {
		v, err := th.Run(script)
		if err != nil {
			return err
		}
		value, err = th.inspect(v)
		return err
	})
	return out.String(), value, err
}

// table runs lines of the form "code ==> value", or "code !!> part of the
// error". A line that begins with white space goes on with the code before.
func table(t *testing.T, text string) {
	t.Helper()
	n := 0
	code := ""
	for line := range strings.SplitSeq(text, "\n") {
		if strings.TrimSpace(line) == "" {
			continue
		}
		code += line + "\n"
		src, want, isValue := strings.Cut(code, " ==> ")
		if !isValue {
			var isError bool
			if src, want, isError = strings.Cut(code, " !!> "); !isError {
				continue
			}
		}
		code = ""
		want = strings.TrimSpace(want)
		n++
		_, got, err := run(t, src)
		switch {
		case isValue && err != nil:
			t.Errorf("%s\n  error %v\n  want  %s", src, err, want)
		case isValue && got != want:
			t.Errorf("%s\n  got   %s\n  want  %s", src, got, want)
		case !isValue && err == nil:
			t.Errorf("%s\n  got   %s\n  want an error with %s", src, got, want)
		case !isValue && !strings.Contains(err.Error(), want):
			t.Errorf("%s\n  error %v\n  want  %s", src, err, want)
		}
	}
	if code != "" {
		t.Errorf("no result: %s", code)
	}
	t.Logf("%d snippets", n)
}

func TestNumbers(t *testing.T) {
	t.Parallel()
	table(t, `
1 + 2 * 3 ==> 7
1/2 ==> 0.5
1/3 ==> 0.3333333333
2/3 ==> 0.6666666667
10/2 ==> 5
10/4 ==> 2.5
1.10 + 2.20 ==> 3.30
1.5 * 1.5 ==> 2.25
100000.0/3 ==> 33333.3333333333
7 % 3 ==> 1
-7 % 3 ==> -1
7.intdiv(2) ==> 3
-7.intdiv(2) ==> -3
2 ** 10 ==> 1024
2 ** 40 ==> 1099511627776
2 ** -1 ==> 0.5
-2 ** 2 ==> -4
2147483647 + 1 ==> -2147483648
2147483647L + 1 ==> 2147483648
9223372036854775807L + 1 ==> -9223372036854775808
2147483648.class.name ==> 'java.lang.Long'
(-2147483648).class.name ==> 'java.lang.Integer'
12345678901234567890.class.simpleName ==> 'BigInteger'
1.0.class.name ==> 'java.math.BigDecimal'
1.0d.class.name ==> 'java.lang.Double'
1.0f + 1 ==> 2.0
0x1F ==> 31
0xFFFFFFFF ==> -1
0b101 ==> 5
017 ==> 15
1_000_000 ==> 1000000
1e3 ==> 1E+3
1.5e3.toString() ==> '1.5E+3'
1e3d ==> 1000.0
1e10d ==> 1.0E10
0.1 + 0.2 == 0.3 ==> true
0.1d + 0.2d ==> 0.30000000000000004
1 == 1.0 ==> true
1 == 1L ==> true
1.0.equals(1) ==> true
5 <=> 3 ==> 1
1 <=> 1.5 ==> -1
5 & 3 ==> 1
5 | 3 ==> 7
5 ^ 3 ==> 6
~5 ==> -6
1 << 4 ==> 16
-16 >> 2 ==> -4
-1 >>> 28 ==> 15
1 << 33 ==> 2
1L << 33 ==> 8589934592
"5".toInteger() + 1 ==> 6
'5' as int ==> 5
(int) 3.9 ==> 3
(int) '5' ==> 53
3.7 as Integer ==> 3
3.75.round(1) ==> 3.8
3.5.round() ==> 4
2.5d.round() ==> 3
10.toString().padLeft(4, '0') ==> '0010'
3.times { it } ==> null
def s = 0; 3.times { s += it }; s ==> 3
def s = []; 1.upto(3) { s << it }; s ==> [1, 2, 3]
def s = []; 1.step(7, 2) { s << it }; s ==> [1, 3, 5]
Math.max(1, 2) ==> 2
Math.abs(-5) ==> 5
Math.round(2.5) ==> 3
Math.sqrt(16) ==> 4.0
Math.ceil(1.2) as int ==> 2
Integer.MAX_VALUE ==> 2147483647
Integer.parseInt('42') ==> 42
Integer.valueOf('42') ==> 42
Long.parseLong('42').class.simpleName ==> 'Long'
Integer.toHexString(255) ==> 'ff'
1.0.toString() ==> '1.0'
1.50.toString() ==> '1.50'
0.0000001.toString() ==> '1E-7'
-5.abs() ==> -5
(-5).abs() ==> 5
def i = 5; i++; ++i; i-- ==> 7
def i = 1; i += 2; i *= 3; i -= 1; i ==> 8
def i = 8; i /= 2; i ==> 4
def i = 2; i **= 3; i ==> 8
def i = 1; i <<= 3; i ==> 8
int x = 3.7; x ==> 3
long x = 5; x.class.simpleName ==> 'Long'
double x = 1; x ==> 1.0
BigDecimal x = 1; x.class.simpleName ==> 'BigDecimal'
1 / 0 !!> java.lang.ArithmeticException: Division by zero
1 % 0 !!> Division by zero
'abc'.toInteger() !!> java.lang.NumberFormatException: For input string: "abc"
int x = 'abc' !!> Cannot cast object 'abc' with class 'java.lang.String' to class
int x = null !!> Cannot cast object 'null' with class 'null' to class 'int'. Try 'java.lang.Integer' instead
1 + null !!> Exception
10000000000000000000000000 * 2 ==> 20000000000000000000000000
new BigDecimal('1.23') + 1 ==> 2.23
5.compareTo(3) ==> 1
[1.5, 2].sum() ==> 3.5
'1.5'.toBigDecimal() * 2 ==> 3.0
'12'.isNumber() ==> true
'1x'.isInteger() ==> false
1.0d / 0 ==> Infinity
100.div(8) ==> 12.5
+5 ==> 5
- 5 ==> -5
5 in 1..10 ==> true
4.5 in 1..10 ==> false
`)
}

func TestStrings(t *testing.T) {
	t.Parallel()
	table(t, `
'a' + 1 ==> 'a1'
1 + 'a' ==> '1a'
"a" * 3 ==> 'aaa'
'hello world' - 'world' ==> 'hello '
'it\'s' ==> 'it\'s'
'a\nb' ==> 'a\nb'
'\u0041' ==> 'A'
'\101' ==> 'A'
'\$x' ==> '$x'
"\$x" ==> '$x'
'a\\b' ==> 'a\\b'
/a\d+/ ==> 'a\\d+'
/a\/b/ ==> 'a/b'
/foo$/ ==> 'foo$'
$/a/b $$x /$ ==> 'a/b $x '
'''a
  b''' ==> 'a\n  b'
"""a\
b""" ==> 'ab'
def x = 5; "v=$x" ==> 'v=5'
def x = [a: [b: 1]]; "v=$x.a.b!" ==> 'v=1!'
def x = 5; "v=${x + 1}" ==> 'v=6'
def x = 5; "${x}${x}" ==> '55'
def x = 5; "$x.y" !!> No such property: y for class: java.lang.Integer
def x = 'a'; "${x ? "yes ${x}" : 'no'}" ==> 'yes a'
"${}" ==> 'null'
def n = 1; def g = "${-> n}"; n = 2; g.toString() ==> '2'
def n = 1; def g = "${n}"; n = 2; g.toString() ==> '1'
"a${1}".class.simpleName ==> 'GStringImpl'
("a${1}" as String).class.simpleName ==> 'String'
String s = "a${1}"; s.class.simpleName ==> 'String'
"a${1}" == 'a1' ==> true
'a1' == "a${1}" ==> true
['a1'].contains("a${1}") ==> true
[a1: 5]["a${1}"] ==> null
def m = [:]; m["a${1}" as String] = 2; m.a1 ==> 2
def k = 'x'; [(k): 1] ==> ['x':1]
def k = 'x'; [k: 1] ==> ['k':1]
def k = 'x'; def m = [x: 1]; m."$k" ==> 1
'hello'.capitalize() ==> 'Hello'
'Hello World'.toLowerCase().replace(' ', '-') ==> 'hello-world'
' a b '.trim() ==> 'a b'
'a,b,,c,,'.split(',') ==> ['a', 'b', '', 'c']
'a,b,,c,,'.split(',', -1).size() ==> 6
'a b  c'.split() ==> ['a', 'b', 'c']
'a.b.c'.split('\\.')[1] ==> 'b'
'a.b.c'.tokenize('.') ==> ['a', 'b', 'c']
'/a/b/'.tokenize('/')[-1] ==> 'b'
def (a, b) = 'x:y'.tokenize(':'); b + a ==> 'yx'
'abc'[0] ==> 'a'
'abc'[-1] ==> 'c'
'abcdef'[1..3] ==> 'bcd'
'abcdef'[-3..-1] ==> 'def'
'abcdef'[0..-2] ==> 'abcde'
'abcdef'[1..<3] ==> 'bc'
'abc'[3..1] !!> StringIndexOutOfBounds
'abcdef'[4..2] ==> 'edc'
'abc'.substring(1) ==> 'bc'
'abc'.substring(0, 2) ==> 'ab'
'abc'.substring(5) !!> java.lang.StringIndexOutOfBoundsException
'abc'[5] !!> StringIndexOutOfBoundsException
'abcabc'.indexOf('c') ==> 2
'abcabc'.lastIndexOf('c') ==> 5
'abc'.indexOf('z') ==> -1
'abc'.contains('b') ==> true
'abc'.startsWith('ab') ==> true
'abc'.length() ==> 3
'abc'.size() ==> 3
'äöü'.size() ==> 3
'äöü'[1] ==> 'ö'
'abc'.reverse() ==> 'cba'
'a-b-c'.replaceAll('-', '+') ==> 'a+b+c'
'a1b22'.replaceAll(/\d+/, '#') ==> 'a#b#'
'foo bar'.replaceAll(/(\w+) (\w+)/, '$2 $1') ==> 'bar foo'
'a1b2'.replaceAll(/\d/) { (it as int) * 2 } ==> 'a2b4'
'a1b2'.replaceAll(/([a-z])(\d)/) { all, l, d -> d + l } ==> '1a2b'
'a.b'.replaceFirst(/\./, '/') ==> 'a/b'
'x'.replaceAll('x', '\\$') ==> '$'
'abc'.padLeft(5) ==> '  abc'
'abc'.padRight(5, '*') ==> 'abc**'
'abc'.center(7, '-') ==> '--abc--'
'%05d|%-5s|%.2f|%x|%s'.format(42, 'a', 1.005, 255, null) ==> '00042|a    |1.01|ff|null'
String.format('%s-%s', 'a', 'b') ==> 'a-b'
String.format('%,d', 1234567) ==> '1,234,567'
sprintf('%03d', 7) ==> '007'
'a\nb\nc'.readLines() ==> ['a', 'b', 'c']
def r = []; 'a\nb'.eachLine { r << it }; r ==> ['a', 'b']
'  a\n    b'.stripIndent() ==> 'a\n  b'
'''  |a
  |b'''.stripMargin() ==> 'a\nb'
'abc'.toList() ==> ['a', 'b', 'c']
'abc' as List ==> ['a', 'b', 'c']
'abc'.collect { it.toUpperCase() }.join('') ==> 'ABC'
'abc'.each { } ==> 'abc'
'b' > 'a' ==> true
'a'.compareTo('b') ==> -1
'abc'.equalsIgnoreCase('ABC') ==> true
'a'..'e' ==> a..e
('a'..'e').toList() ==> ['a', 'b', 'c', 'd', 'e']
'abc'.find(/b./) ==> 'bc'
'a1b2'.findAll(/\d/) ==> ['1', '2']
'abc'.count('b') ==> 1
'ab'.multiply(2) ==> 'abab'
'abc'.take(2) ==> 'ab'
'abc'.drop(1) ==> 'bc'
'hello'.tr('el', 'ip') ==> 'hippo'
'abc'.bytes.size() ==> 3
'aGk='.decodeBase64() ==> 'hi'
new String('aGk='.decodeBase64()) ==> 'hi'
'hi'.bytes.encodeBase64().toString() ==> 'aGk='
'true'.toBoolean() ==> true
'abc'.isEmpty() ==> false
''.isEmpty() ==> true
'abc'.hashCode() ==> 96354
'abc'.next() ==> 'abd'
'abc' =~ /b/ ? 'y' : 'n' ==> 'y'
def sb = new StringBuilder(); sb << 'a' << 1; sb.append('x'); sb.toString() ==> 'a1x'
"a" "b" !!> unexpected token
'abc
def' !!> unexpected end of line
"a $ b" !!> illegal string body character after dollar sign
'a\qb' !!> unexpected char: '\'
'abc'.foo() !!> No signature of method: java.lang.String.foo() is applicable for argument types: () values: []
'abc'.foo(1, 'x') !!> No signature of method: java.lang.String.foo() is applicable for argument types: (java.lang.Integer, java.lang.String) values: [1, x]
'abc'.bar !!> No such property: bar for class: java.lang.String
URLEncoder.encode('a b&c/d', 'UTF-8') ==> 'a+b%26c%2Fd'
'feature/x-1'.replaceAll('[^a-zA-Z0-9]', '_') ==> 'feature_x_1'
null + 'a' ==> 'nulla'
'a' + null ==> 'anull'
"$this".startsWith('WorkflowScript@') ==> true
'ab'.concat('c') ==> 'abc'
'a' == null ==> false
null == null ==> true
'x'.with { it + 'y' } ==> 'xy'
'a-b_c'.split(/[-_]/) as List ==> ['a', 'b', 'c']
"line1\r\nline2".readLines() ==> ['line1', 'line2']
`)
}

func TestCollections(t *testing.T) {
	t.Parallel()
	table(t, `
[1, 2, 3] ==> [1, 2, 3]
[] ==> []
[:] ==> [:]
[a: 1, 'b c': 2, 3: 4] ==> ['a':1, 'b c':2, 3:4]
[a: 1] + [b: 2] ==> ['a':1, 'b':2]
[*[1, 2], 3] ==> [1, 2, 3]
[a: 1, *: [b: 2]] ==> ['a':1, 'b':2]
[1, 2] + 3 ==> [1, 2, 3]
[1, 2] + [3] ==> [1, 2, 3]
[1, 2, 2, 3] - 2 ==> [1, 3]
[1, 2, 3] - [1, 3] ==> [2]
[1, 2] * 2 ==> [1, 2, 1, 2]
def l = []; l << 1 << 2; l ==> [1, 2]
def l = [1]; l += 2; l ==> [1, 2]
def l = [1, 2, 3]; l[1] ==> 2
[1, 2, 3][-1] ==> 3
[1, 2, 3][5] ==> null
[1, 2, 3][-5] !!> ArrayIndexOutOfBoundsException
[1, 2, 3][0..1] ==> [1, 2]
[1, 2, 3][0, 2] ==> [1, 3]
[1, 2, 3].get(5) !!> java.lang.IndexOutOfBoundsException: Index 5 out of bounds for length 3
def l = []; l[2] = 'x'; l ==> [null, null, 'x']
[3, 1, 2].sort() ==> [1, 2, 3]
def l = [3, 1, 2]; l.sort(); l ==> [1, 2, 3]
def l = [3, 1, 2]; l.sort(false); l ==> [3, 1, 2]
[3, 1, 2].toSorted { -it } ==> [3, 2, 1]
['bb', 'a', 'ccc'].sort { it.size() } ==> ['a', 'bb', 'ccc']
[3, 1, 2].sort { a, b -> b <=> a } ==> [3, 2, 1]
[1, 2, 3].reverse() ==> [3, 2, 1]
[1, 1, 2].unique() ==> [1, 2]
[1, 2, 3].collect { it * 2 } ==> [2, 4, 6]
[1, 2, 3]*.toString() ==> ['1', '2', '3']
[[a: 1], [a: 2]].a ==> [1, 2]
[[a: 1], [a: 2]]*.a ==> [1, 2]
['a', 'b']*.toUpperCase() ==> ['A', 'B']
[1, 2, 3].find { it > 1 } ==> 2
[1, 2, 3].findAll { it > 1 } ==> [2, 3]
[0, null, 1, ''].findAll() ==> [1]
[1, 2, 3].any { it > 2 } ==> true
[1, 2, 3].every { it > 2 } ==> false
[1, 2, 3].inject(0) { a, b -> a + b } ==> 6
[1, 2, 3].inject { a, b -> a * b } ==> 6
[1, 2, 3].sum() ==> 6
[1, 2, 3].sum { it * 2 } ==> 12
['a', 'b'].sum() ==> 'ab'
[].sum() ==> null
[1, 3, 2].max() ==> 3
['a', 'bbb', 'cc'].max { it.size() } ==> 'bbb'
[1, 2, 3].min() ==> 1
[1, 2, 3].join(', ') ==> '1, 2, 3'
[1, 2, 3].contains(2) ==> true
2 in [1, 2] ==> true
5 !in [1, 2] ==> true
[1, 2, 3].indexOf(3) ==> 2
[1, 2, 3].first() ==> 1
[1, 2, 3].last() ==> 3
[].first() !!> java.util.NoSuchElementException
[1, 2, 3].head() ==> 1
[1, 2, 3].tail() ==> [2, 3]
[1, 2, 3].take(2) ==> [1, 2]
[1, 2, 3].drop(2) ==> [3]
[1, [2, [3]]].flatten() ==> [1, 2, 3]
[1, 2, 3, 4].groupBy { it % 2 ? 'odd' : 'even' } ==> ['odd':[1, 3], 'even':[2, 4]]
[1, 2, 3].countBy { it > 1 } ==> [false:1, true:2]
['a', 'b'].withIndex() ==> [['a', 0], ['b', 1]]
['a', 'b'].withIndex().collect { v, i -> "$i$v" } ==> ['0a', '1b']
def r = []; ['a', 'b'].eachWithIndex { v, i -> r << v + i }; r ==> ['a0', 'b1']
['a', 'b'].collectEntries { [(it): it * 2] } ==> ['a':'aa', 'b':'bb']
['a', 'b'].collectEntries { [it, 1] } ==> ['a':1, 'b':1]
[1, 2, 3, 4, 5].collate(2) ==> [[1, 2], [3, 4], [5]]
[[1, 2], [3, 4]].transpose() ==> [[1, 3], [2, 4]]
[[1, 2], ['a', 'b']].combinations() ==> [[1, 'a'], [2, 'a'], [1, 'b'], [2, 'b']]
[1, 2, 3].count { it > 1 } ==> 2
[1, 2] == [1, 2] ==> true
[1, 2] == [1.0, 2L] ==> true
[1, 2, 3].subList(0, 2) ==> [1, 2]
def l = [1, 2, 3]; l.remove(0); l ==> [2, 3]
def l = ['a', 'b']; l.remove('a'); l ==> ['b']
def l = [1, 2, 3]; l.removeAll { it > 1 }; l ==> [1]
def l = [1, 2, 3]; l.retainAll { it > 1 }; l ==> [2, 3]
def l = [1, 2]; l.add(0, 9); l ==> [9, 1, 2]
def l = [1]; l.addAll([2, 3]); l ==> [1, 2, 3]
[1, 2, 3].split { it > 1 } ==> [[2, 3], [1]]
[1, 2, 3].collectMany { [it, it] } ==> [1, 1, 2, 2, 3, 3]
['x', 'y'].indexed() ==> [0:'x', 1:'y']
[1, null, 2].findResults { it } ==> [1, 2]
['a', 'b', 'a'].toSet().size() ==> 2
['a', 'b', 'a'] as Set ==> ['a', 'b']
([1, 2] as Set) + 2 ==> [1, 2]
Set s = [1, 1, 2]; s ==> [1, 2]
[1, 2, 3].intersect([2, 3, 4]) ==> [2, 3]
[b: 1, a: 2].sort() ==> ['a':2, 'b':1]
[b: 1, a: 2].sort { it.value } ==> ['b':1, 'a':2]
[b: 1, a: 2].sort { x, y -> x.key <=> y.key } ==> ['a':2, 'b':1]
[a: 1, b: 2].collect { k, v -> "$k=$v" }.join('&') ==> 'a=1&b=2'
[a: 1, b: 2].collect { it.key + it.value } ==> ['a1', 'b2']
[a: 1, b: 2].findAll { k, v -> v > 1 } ==> ['b':2]
[a: 1, b: 2].find { it.value == 2 }.key ==> 'b'
[a: 1, b: 2].any { k, v -> v > 1 } ==> true
[a: 1, b: 2].collectEntries { k, v -> [(v): k] } ==> [1:'a', 2:'b']
[a: 1].each { k, v -> } ==> ['a':1]
def r = []; for (e in [a: 1, b: 2]) { r << e.key }; r ==> ['a', 'b']
[a: 1].a ==> 1
[a: 1].b ==> null
[a: 1]['a'] ==> 1
[a: 1].get('b', 5) ==> 5
[a: 1].getOrDefault('b', 7) ==> 7
[a: 1].containsKey('a') ==> true
[a: 1, b: 2].keySet() ==> ['a', 'b']
[a: 1, b: 2].values() ==> [1, 2]
[a: 1, b: 2].keySet().join(',') ==> 'a,b'
[a: 1, b: 2].subMap(['a']) ==> ['a':1]
def m = [a: 1]; m << [b: 2]; m ==> ['a':1, 'b':2]
def m = [a: 1]; m.remove('a'); m ==> [:]
def m = [:]; m.a = 1; m['b'] = 2; m.put('c', 3); m ==> ['a':1, 'b':2, 'c':3]
def m = [:].withDefault { [] }; m.x << 1; m ==> ['x':[1]]
[a: 1, b: 2].inject(0) { s, k, v -> s + v } ==> 3
[a: 1, b: 2].max { it.value }.key ==> 'b'
[a: 1, b: 3].sum { it.value } ==> 4
[a: [b: [c: 1]]].a.b.c ==> 1
[a: null]?.a?.b ==> null
def m = null; m?.a?.b ==> null
def m = null; m.a !!> Cannot get property 'a' on null object
def m = null; m.foo() !!> Cannot invoke method foo() on null object
[a: 1].foo() !!> No signature of method: java.util.LinkedHashMap.foo()
[a: { x -> x + 1 }].a(4) ==> 5
(1..3).toList() ==> [1, 2, 3]
(1..<3).toList() ==> [1, 2]
(3..1).toList() ==> [3, 2, 1]
(0..<0).toList() ==> []
(1..3).sum() ==> 6
(1..3).collect { it * it } ==> [1, 4, 9]
def s = 0; for (i in 1..4) s += i; s ==> 10
(1..10).step(3) ==> [1, 4, 7, 10]
(1..10).size() ==> 10
2 in 1..3 ==> true
[1, 2, 3].toString() ==> '[1, 2, 3]'
"${[a: 1, b: 'x']}" ==> '[a:1, b:x]'
[a: 1].toString() ==> '[a:1]'
['a', "b"].inspect() ==> '[\'a\', \'b\']'
new ArrayList([1, 2]) ==> [1, 2]
new HashMap() ==> [:]
new TreeMap([b: 1, a: 2]) ==> ['a':2, 'b':1]
[1, 2, 3] as int[] ==> [1, 2, 3]
def a = new int[3]; a[0] = 5; a ==> [5, 0, 0]
def a = new String[2]; a.length ==> 2
['a', 'b'] as String[] ==> ['a', 'b']
String[] a = ['x', 'y']; a.length ==> 2
def a = ['x'] as String[]; a.join('-') ==> 'x'
Arrays.asList(1, 2) ==> [1, 2]
Collections.emptyList() ==> []
Collections.emptyList() << 1 !!> UnsupportedOperationException
def (a, b, c) = [1, 2]; [a, b, c] ==> [1, 2, null]
def a, b; (a, b) = [1, 2]; a + b ==> 3
def a = 1, b = 2; (a, b) = [b, a]; [a, b] ==> [2, 1]
[1, 2, 3].iterator().next() ==> 1
def l = [1, 2, 3]; for (x in l) { l.remove(0) } !!> ConcurrentModificationException
[a: 1].equals([a: 1]) ==> true
[1, 2, 3].stream().map { it + 1 }.collect() ==> [2, 3, 4]
[1, 2, 3, 4].partition { it % 2 == 0 } ==> [[2, 4], [1, 3]]
[[1, 'a'], [2, 'b']].each { n, s -> } ==> [[1, 'a'], [2, 'b']]
[[1, 'a'], [2, 'b']].collect { n, s -> s * n } ==> ['a', 'bb']
[3, 5].findIndexOf { it == 5 } ==> 1
[1, 2, 3].reverseEach { } ==> [1, 2, 3]
[a: 1, b: 2].eachWithIndex { e, i -> } ==> ['a':1, 'b':2]
[a: 1].entrySet().collect { it.key } ==> ['a']
[1, 2].permutations2() !!> No signature of method
[x: 1, y: 2].collectEntries { k, v -> [(k.toUpperCase()): v] } ==> ['X':1, 'Y':2]
['b', 'a'].sort().join() ==> 'ab'
[1, 2, 3].asImmutable() << 4 !!> UnsupportedOperationException
def m = [a: 1]; m.a++; m.a += 5; m ==> ['a':7]
def m = [n: [:]]; m.n.x = 1; m['n']['y'] = 2; m ==> ['n':['x':1, 'y':2]]
`)
}

func TestControl(t *testing.T) {
	t.Parallel()
	table(t, `
if (1) 'a' else 'b' ==> 'a'
if ('') 'a' else 'b' ==> 'b'
if (true) { 1 } ==> 1
def x = 3; if (x > 5) { 'big' } else if (x > 2) { 'mid' } else { 'small' } ==> 'mid'
def r = []; for (int i = 0; i < 3; i++) { r << i }; r ==> [0, 1, 2]
def r = []; for (i in [1, 2, 3]) { if (i == 2) continue; r << i }; r ==> [1, 3]
def r = []; for (i in [1, 2, 3]) { if (i == 2) break; r << i }; r ==> [1]
def i = 0; while (i < 5) i++; i ==> 5
def i = 0; do { i++ } while (i < 3); i ==> 3
def r = []; outer: for (i in 1..3) { for (j in 1..3) { if (j == 2) continue outer; r << i * j } }; r ==> [1, 2, 3]
def r = []; outer: for (i in 1..3) { for (j in 1..3) { if (i == 2) break outer; r << i * j } }; r ==> [1, 2, 3]
def f(x) { switch (x) { case 1: return 'one'; case 2..5: return 'few'; case 'a': return 'A'; case ~/b+/: return 'bs'; case Integer: return 'int'; case [10L, 'z']: return 'list'; case { it == null }: return 'null'; default: return 'other' } }; [1, 3, 'a', 'bbb', 99, 'z', null, 1.5].collect { f(it) } ==> ['one', 'few', 'A', 'bs', 'int', 'list', 'null', 'other']
def r = []; switch (1) { case 1: r << 1; case 2: r << 2; break; case 3: r << 3 }; r ==> [1, 2]
switch ('x') { case 'x': 5; break; default: 6 } ==> 5
try { throw new Exception('x') } catch (e) { e.message } ==> 'x'
try { 1 / 0 } catch (ArithmeticException e) { 'math' } finally { } ==> 'math'
try { null.foo() } catch (NullPointerException | IllegalStateException e) { e.class.simpleName } ==> 'NullPointerException'
try { throw new IllegalStateException('a') } catch (IllegalArgumentException e) { 1 } catch (RuntimeException e) { 2 } ==> 2
try { throw new Error('x') } catch (e) { 1 } !!> java.lang.Error: x
try { throw new Error('x') } catch (Throwable e) { 1 } ==> 1
def r = []; try { try { throw new Exception('a') } finally { r << 'f' } } catch (e) { r << e.message }; r ==> ['f', 'a']
def f() { try { return 1 } finally { println 'x' } }; f() ==> 1
def f() { try { return 1 } finally { return 2 } }; f() ==> 2
def f() { for (i in 1..3) { try { continue } finally { if (i == 3) return 'done' } } }; f() ==> 'done'
try { throw new RuntimeException('a', new Exception('b')) } catch (e) { e.cause.message } ==> 'b'
new Exception('x').toString() ==> 'java.lang.Exception: x'
new RuntimeException(new Exception('b')).message ==> 'java.lang.Exception: b'
throw new Exception('boom') !!> java.lang.Exception: boom (Jenkinsfile:1:1)
assert 1 == 1 ==> null
assert 1 == 2 !!> assert 1 == 2
assert 1 == 2 : 'no' !!> no. Expression: 1 == 2
def x = null; x ?: 'default' ==> 'default'
def x = 'a'; x ?: 'default' ==> 'a'
true ? 1 : 2 ==> 1
true && false || true ==> true
!true ==> false
!'' ==> true
![] ==> true
[null] ? 1 : 2 ==> 1
'false' ? 1 : 2 ==> 1
0.0 ? 1 : 2 ==> 2
def x = true
  ? 1 : 2 !!> unexpected token: ?
def x = 5
x += 1
x ==> 6
def x = [1,
  2,
  3]
x.size() ==> 3
[1, 2, 3]
  .collect { it + 1 }
  .findAll { it > 2 } ==> [3, 4]
def x = 1 +
  2
x ==> 3
(1
 + 2) ==> 3
println('a'); return 5 ==> 5
return ==> null
def f = { -> return 1; 2 }; f() ==> 1
[1, 2, 3].each { if (it == 2) return; it }; 'ok' ==> 'ok'
def x = 10; { -> x = 20 }(); x ==> 20
def x; if (true) { x = 1 }; x ==> 1
if (true) { def y = 1 }; y !!> No such property: y for class: WorkflowScript
y = 5; y + 1 ==> 6
def x = 1; def f = { x++ }; f(); f(); x ==> 3
def fs = []; for (i in 0..2) { fs << { i } }; fs.collect { it() } ==> [2, 2, 2]
def fs = []; [0, 1, 2].each { i -> fs << { i } }; fs.collect { it() } ==> [0, 1, 2]
for (i in 0..2) { break foo } ==> null
5 instanceof Integer ==> true
5 instanceof Number ==> true
'a' instanceof CharSequence ==> true
null instanceof Object ==> false
[] instanceof List ==> true
[:] instanceof Map ==> true
'a' !instanceof Integer ==> true
{ -> } instanceof Closure ==> true
"${1}" instanceof String ==> false
"${1}" instanceof GString ==> true
synchronized (this) { 5 } ==> 5
1.with { it + 1 } ==> 2
foo: 5 ==> 5
;;;1 ==> 1
/* c */ 1 // d ==> 1
def x = 1 // c
x ==> 1
`)
}

func TestClosures(t *testing.T) {
	t.Parallel()
	table(t, `
def f = { it + 1 }; f(1) ==> 2
def f = { it }; f() ==> null
def f = { -> 5 }; f() ==> 5
def f = { -> 5 }; f(1) !!> is applicable for argument types: (java.lang.Integer) values: [1]
def f = { a, b -> a + b }; f(1, 2) ==> 3
def f = { a, b -> a + b }; f([1, 2]) ==> 3
def f = { a, b -> a + b }; f(1) !!> No signature of method
def f = { a, b = 5 -> a + b }; f(1) ==> 6
def f = { int a -> a }; f(3L) ==> 3
def f = { String... a -> a.size() }; f('a', 'b') ==> 2
def f = { Object[] a -> a.size() }; f(1, 2, 3) ==> 3
def f = { a, Object... r -> r.size() }; f(1, 2, 3) ==> 2
def f = { a -> a }; f() ==> null
def f = { it * 2 }; [1, 2].collect(f) ==> [2, 4]
def add = { a, b -> a + b }; add.curry(1)(2) ==> 3
def f = { a, b -> a - b }; f.rcurry(1)(5) ==> 4
def f = { it + 1 } >> { it * 2 }; f(3) ==> 8
def f = { it + 1 } << { it * 2 }; f(3) ==> 7
def f = String.&valueOf; f(5) ==> '5'
['a', 'b'].collect('x'.&concat) ==> ['xa', 'xb']
def twice(x) { x * 2 }; [1, 2].collect(this.&twice) ==> [2, 4]
def f(Map m, Closure c) { c(m.a) }; f(a: 3) { it + 1 } ==> 4
def f(x, Closure c) { c(x) }; f(3) { it + 1 } ==> 4
def f(Closure c) { c() }; f { 7 } ==> 7
def f(Map m) { m }; f(a: 1, b: 2) ==> ['a':1, 'b':2]
def f(Map m) { m }; f a: 1, b: 2 ==> ['a':1, 'b':2]
def f(Map m, x) { [m, x] }; f(5, a: 1) ==> [['a':1], 5]
def f(x) { x }; f 5 ==> 5
def f(x) { x }; f 'a' + 'b' ==> 'ab'
def f(x) { x }; f([1, 2]) ==> [1, 2]
def f(x) { x }; f [:] ==> [:]
def f(x) { x }; f [a: 1] ==> ['a':1]
def f(x) { x }; def y = f 5; y ==> 5
def f(m) { m }; def y = f a: 1; y ==> ['a':1]
def f(x, y) { x + y }; f 1, 2 ==> 3
def f(x = 1, y = 2) { "$x$y" }; [f(), f(5), f(5, 6)] ==> ['12', '52', '56']
def f(x, y = x + 1) { y }; f(3) ==> 4
def f(Object... a) { a.size() }; [f(), f(1), f(1, 2)] ==> [0, 1, 2]
def f(String a) { 'str' }; def f(Integer a) { 'int' }; def f(Object a) { 'obj' }; [f('x'), f(1), f([]), f("${1}")] ==> ['str', 'int', 'obj', 'str']
def f(int a) { 'int' }; def f(List a) { 'list' }; [f(1), f([1])] ==> ['int', 'list']
int f() { 3.7 }; f() ==> 3
String f() { "${1}" }; f().class.simpleName ==> 'String'
void f() { 5 }; f() ==> null
boolean f() { 'x' }; f() ==> true
def f() { }; f() ==> null
def f() { if (true) { 5 } }; f() ==> 5
def fib(n) { n < 2 ? n : fib(n - 1) + fib(n - 2) }; fib(15) ==> 610
def f(n) { n == 0 ? 0 : 1 + f(n - 1) }; f(200) ==> 200
def f(n) { f(n + 1) }; f(0) !!> java.lang.StackOverflowError
def f(n) { f(n + 1) }; try { f(0) } catch (StackOverflowError e) { 'deep' } ==> 'deep'
f(1) !!> No signature of method: WorkflowScript.f() is applicable for argument types: (java.lang.Integer) values: [1]
def f(int x) { x }; f('a') !!> No signature of method: WorkflowScript.f() is applicable for argument types: (java.lang.String) values: [a]
x !!> groovy.lang.MissingPropertyException: No such property: x for class: WorkflowScript (Jenkinsfile:1:1)
def m = [:]; def c = { a = 1; b = 2 }; c.delegate = m; c.resolveStrategy = Closure.DELEGATE_FIRST; c(); m ==> ['a':1, 'b':2]
def c = { size() }; c.delegate = [1, 2]; c.resolveStrategy = Closure.DELEGATE_FIRST; c() ==> 2
def c = { size() }; c.setDelegate('abc'); c() ==> 3
def cl = { owner.is(this) }; cl() ==> true
[1, 2].with { size() } ==> 2
[a: 1].with { a } ==> 1
def m = [a: 1]; m.with { b = 2; a = 5 }; m ==> ['a':5, 'b':2]
def l = [].tap { add(1); add(2) }; l ==> [1, 2]
def make(n) { return { n++ } }; def c = make(5); c(); c() ==> 6
{ a -> { b -> a + b } }(1)(2) ==> 3
def f = { a -> { b -> a + b } }; f(1)(2) ==> 3
def m = [f: { it + 1 }]; m.f(1) ==> 2
def m = [f: { it + 1 }]; m.f.call(1) ==> 2
def f = { throw new Exception('x') }; try { f() } catch (e) { e.message } ==> 'x'
def f = { a, b -> }; f.maximumNumberOfParameters ==> 2
def x = { 5 }(); x ==> 5
def list = [1, 2, 3]; def sum = 0; list.each { sum += it }; sum ==> 6
def fact; fact = { n -> n <= 1 ? 1 : n * fact(n - 1) }; fact(5) ==> 120
def args = [1, 2]; Math.max(*args) ==> 2
def f(a, b, c) { "$a$b$c" }; f(*[1, 2], 3) ==> '123'
def f(Map m = [:], String s) { s + m }; f('a') ==> 'a[:]'
def call(Closure body) { body.delegate = [x: 5]; body.resolveStrategy = Closure.DELEGATE_FIRST; body() }; call { x } ==> 5
(1..3).each { println it } ==> 1..3
[1,2].each { println(it) }
 ==> [1, 2]
def c = { 'a' }
c() + 'b' ==> 'ab'
println({ 1 }()) ==> null
['a', 'b'].each { name ->
  println name
} ==> ['a', 'b']
def method(String a, Map o = [:], Closure c = null) { [a, o, c == null] }; method('x', [y: 1]) ==> ['x', ['y':1], true]
`)
}

func TestClasses(t *testing.T) {
	t.Parallel()
	table(t, `
class P { String name; int age }; def p = new P(name: 'a', age: 3); "${p.name}${p.age}" ==> 'a3'
class P { String name; P(String n) { this.name = n } }; new P('x').name ==> 'x'
class P { String name; String toString() { "P($name)" } }; "${new P(name: 'a')}" ==> 'P(a)'
class P { def x = 5; def getY() { x * 2 } }; new P().y ==> 10
class P { def x; void setX(v) { this.x = v * 2 } }; def p = new P(); p.x = 4; p.x ==> 8
class A { def f() { 'A' } }; class B extends A { def f() { super.f() + 'B' } }; new B().f() ==> 'AB'
class A { A(x) { this.x = x }; def x }; class B extends A { B() { super(7) } }; new B().x ==> 7
class A { def f() { g() }; def g() { 'A' } }; class B extends A { def g() { 'B' } }; new B().f() ==> 'B'
class A { static int n = 0; static next() { ++n } }; A.next(); A.next(); A.n ==> 2
class A { static final String X = 'x' }; A.X ==> 'x'
class A { static f(x) { x + 1 } }; A.f(1) ==> 2
class A { private int n = 1; def inc() { n++; this } }; new A().inc().inc().n ==> 3
interface I { def f() }; class A implements I { def f() { 1 } }; new A() instanceof I ==> true
enum E { A, B; def next2() { 'n' } }; [E.A, E.values().size(), E.B.ordinal(), E.A.name(), E.valueOf('B'), E.A.next2()] ==> [A, 2, 1, 'A', B, 'n']
enum E { A('x'), B('y'); final String v; E(String v) { this.v = v } }; E.B.v ==> 'y'
enum E { A, B }; switch (E.B) { case E.A: 1; break; case E.B: 2 } ==> 2
enum E { A, B }; E.A < E.B ==> true
enum E { A, B }; E.C !!> No such property: C for class
class MyEx extends Exception { MyEx(String m) { super(m) } }; try { throw new MyEx('x') } catch (MyEx e) { e.message } ==> 'x'
class MyEx extends RuntimeException { }; try { throw new MyEx() } catch (Exception e) { e.class.name } ==> 'MyEx'
class A { def methodMissing(String n, args) { "$n${args.size()}" } }; new A().foo(1, 2) ==> 'foo2'
class A { def propertyMissing(String n) { n + '!' } }; new A().foo ==> 'foo!'
class A implements Serializable { def script; A(s) { script = s }; def f() { script.hello() } }; def hello() { 'hi' }; new A(this).f() ==> 'hi'
class A { int n; boolean equals(o) { o.n == n }; int hashCode() { n } }; new A(n: 1) == new A(n: 1) ==> true
class A implements Comparable { int n; int compareTo(o) { n <=> o.n } }; [new A(n: 2), new A(n: 1)].sort()*.n ==> [1, 2]
class A { def plus(o) { 'plus' + o }; def getAt(i) { 'at' + i }; def call(x) { x } }; def a = new A(); [a + 1, a[2], a(3)] ==> ['plus1', 'at2', 3]
class A { def f() { env } }; new A().f() !!> No such property: env for class: A
class A { def f() { foo() } }; new A().f() !!> No signature of method: A.f
class A { }; new A().x = 1 !!> No such property: x for class: A
class A { def x }; new A(y: 1) !!> No such property: y for class: A
class A { A(int x) { } }; new A('a') !!> Could not find matching constructor for: A(java.lang.String)
new Foo() !!> unable to resolve class Foo
class A { def c = { x }; def x = 5 }; new A().c() ==> 5
class A { List l = []; def add(x) { l << x; this } }; new A().add(1).add(2).l ==> [1, 2]
class A { class B { def f() { 'in' } } }; new A.B().f() ==> 'in'
class A { static class B { static f() { 'in' } }; def g() { B.f() } }; new A().g() ==> 'in'
class A { String n; A() { n = 'd' } }; new A(n: 'x').n ==> 'x'
class A { def a; def b; A(a) { this(a, 2) }; A(a, b) { this.a = a; this.b = b } }; new A(1).b ==> 2
abstract class A { abstract f(); def g() { f() } }; class B extends A { def f() { 3 } }; new B().g() ==> 3
abstract class A { }; new A() !!> InstantiationException
trait T { def hi() { 'hi' + n() } }; class A implements T { def n() { 1 } }; new A().hi() ==> 'hi1'
def r = new Runnable() { void run() { } }; r instanceof Runnable ==> true
def x = 5; def o = new Object() { def f() { x } }; o.f() ==> 5
class A { static { } ; { n = 3 }; int n }; new A().n ==> 3
import groovy.transform.Field
@Field def x = 5
def f() { x }
f() ==> 5
@groovy.transform.Field int x = 5
x = 6
this.x ==> 6
def x = 5
def f() { x }
f() !!> No such property: x for class: WorkflowScript
x = 5
def f() { x }
f() ==> 5
import static java.lang.Math.max
max(1, 2) ==> 2
import static java.lang.Math.*
abs(-3) ==> 3
import java.util.regex.Pattern
Pattern.compile('a+').matcher('aa').matches() ==> true
java.util.UUID.randomUUID().toString().size() ==> 36
import java.text.SimpleDateFormat
new SimpleDateFormat('yyyy-MM-dd').format(new Date(0)) ==> '1970-01-01'
new Date(0).format('yyyyMMdd-HHmmss') ==> '19700101-000000'
new Date(0).format("yyyy-MM-dd'T'HH:mm:ss'Z'") ==> '1970-01-01T00:00:00Z'
new Date().time ==> 0
System.currentTimeMillis() ==> 0
System.exit(1) !!> RejectedAccessException
System.getenv('HOME') !!> RejectedAccessException
Thread.sleep(5) !!> RejectedAccessException
'x'.class.forName('y') !!> RejectedAccessException
new File('/etc/passwd') !!> unable to resolve class File
'ls'.execute() !!> No signature of method
new URL('http://x') !!> unable to resolve class URL
this.class.classLoader !!> RejectedAccess
String.metaClass !!> RejectedAccess
def r = new Random(42); [r.nextInt(10), r.nextInt(10), r.nextInt(10)] ==> [0, 3, 8]
new Random(42).nextInt(10) ==> 0
@Library('x') _
1 ==> 1
@NonCPS
def f() { 1 }
f() ==> 1
class A { @Override String toString() { 'x' } }; new A().toString() ==> 'x'
@groovy.transform.EqualsAndHashCode class A { int x }; new A(x: 1) == new A(x: 1) ==> true
@groovy.transform.ToString class A { int x; String y }; new A(x: 1, y: 'b').toString() ==> 'A(1, b)'
def x = [1, 2] as LinkedList; x.size() ==> 2
class A { def x = 1; def f() { def x = 2; this.x + x } }; new A().f() ==> 3
class A { def f() { [1, 2].collect { g(it) } }; def g(x) { x * 10 } }; new A().f() ==> [10, 20]
class A { def n = 0; def f() { [1, 2].each { n += it }; n } }; new A().f() ==> 3
class Outer { static final Map M = [a: 1]; static get2(k) { M[k] } }; Outer.get2('a') ==> 1
class A { int x; A plus(A o) { new A(x: x + o.x) } }; (new A(x: 1) + new A(x: 2)).x ==> 3
class A { String a; String getB() { "b$a" } }; [new A(a: '1'), new A(a: '2')]*.b.join(',') ==> 'b1,b2'
`)
}

func TestPatterns(t *testing.T) {
	t.Parallel()
	table(t, `
'abc' ==~ /a.c/ ==> true
'abcd' ==~ /a.c/ ==> false
('v1.2.3' =~ /v(\d+)\.(\d+)/)[0] ==> ['v1.2', '1', '2']
('v1.2.3' =~ /v(\d+)\.(\d+)/)[0][1] ==> '1'
('a1b2' =~ /\d/)[1] ==> '2'
('a1b2' =~ /\d/).count ==> 2
('abc' =~ /x/)[0] !!> IndexOutOfBoundsException
def m = 'k=v' =~ /(\w)=(\w)/; m.find() ? m.group(2) : '' ==> 'v'
def m = 'k=v' =~ /(\w)=(\w)/; m.matches(); m.group(1) ==> 'k'
def m = 'k=v' =~ /(?<key>\w)=(?<val>\w)/; m.matches(); m.group('val') ==> 'v'
def m = 'x' =~ /y/; m.matches() ==> false
def m = 'x' =~ /y/; m.group() !!> No match found
def m = ('ab' =~ /(a)(b)/); def (all, a, b) = m[0]; b ==> 'b'
('a1b2' =~ /([a-z])(\d)/).collect { it[1] } ==> ['a', 'b']
def r = []; ('a1b2' =~ /([a-z])(\d)/).each { all, l, d -> r << d + l }; r ==> ['1a', '2b']
def r = []; def m = 'a1b2' =~ /\d/; while (m.find()) { r << m.group() }; r ==> ['1', '2']
'foobar' ==~ /foo(?=bar).*/ ==> true
'foobaz' =~ /foo(?!bar)/ ? 1 : 2 ==> 1
'abab' ==~ /(ab)\1/ ==> true
'abc\n' =~ /abc$/ ? 1 : 2 ==> 1
'a.b' ==~ /a\.b/ ==> true
'x-1.2-SNAPSHOT'.replaceAll(/-SNAPSHOT$/, '') ==> 'x-1.2'
~/a+/ ==> a+
(~/a+/).matcher('aa').matches() ==> true
'A' ==~ /(?i)a/ ==> true
'a\nb' ==~ /(?s)a.b/ ==> true
'abc'.matches('[a-c]+') ==> true
'(' =~ /(/ !!> PatternSyntaxException
'a|b'.split('\\|') ==> ['a', 'b']
'2023-01-02' ==~ /\d{4}-\d\d-\d\d/ ==> true
java.util.regex.Pattern.quote('a.b') ==> 'a\\.b'
['a1', 'b', 'c2'].grep(~/.\d/) ==> ['a1', 'c2']
'release/1.0' =~ '^release/' ? true : false ==> true
`)
}

func TestJSON(t *testing.T) {
	t.Parallel()
	table(t, `
import groovy.json.*
new JsonSlurper().parseText('{"a": [1, 2.5, null, true, "x"], "b": {}}') ==> ['a':[1, 2.5, null, true, 'x'], 'b':[:]]
import groovy.json.JsonSlurperClassic
new JsonSlurperClassic().parseText('{"a": {"b": 1}}').a.b ==> 1
groovy.json.JsonOutput.toJson([a: 1, b: ['x', null], c: "${1}", d: 1.5]) ==> '{"a":1,"b":["x",null],"c":"1","d":1.5}'
groovy.json.JsonOutput.prettyPrint('{"a":[1,2]}') ==> '{\n    "a": [\n        1,\n        2\n    ]\n}'
groovy.json.JsonOutput.toJson('é"') ==> '"\\u00e9\\""'
new groovy.json.JsonSlurper().parseText('{') !!> groovy.json.JsonException
new groovy.json.JsonSlurper().parseText('') !!> IllegalArgumentException
new groovy.json.JsonBuilder([a: 1]).toString() ==> '{"a":1}'
class A { int x; String y }; groovy.json.JsonOutput.toJson(new A(x: 1, y: 'b')) ==> '{"x":1,"y":"b"}'
`)
}

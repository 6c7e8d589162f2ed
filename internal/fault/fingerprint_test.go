package fault

import (
	"fmt"
	"strings"
	"testing"
)

func TestFrames(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ stack, want string }{
		"python": {"Traceback (most recent call last):\n  File \"app/main.py\", line 3, in <module>\n    run()\n  File \"/usr/lib/python3.12/json/decoder.py\", line 355, in raw_decode\n    raise X\nValueError: x\n",
			"raw_decode /usr/lib/python3.12/json/decoder.py:355|<module> app/main.py:3"},
		"java": {"java.lang.IllegalStateException: x\n\tat com.acme.shop.Cart.total(Cart.java:42)\n\tat java.base/java.lang.Thread.run(Thread.java:840)\n",
			"com.acme.shop.Cart.total com/acme/shop/Cart.java:42|java.lang.Thread.run java/lang/Thread.java:840"},
		"node": {"TypeError: x\n    at load (/w/src/a.js:3:5)\n    at async run (file:///w/src/b.mjs:9:1)\n    at node:internal/main/run_main_module:28:49\n    at Object.<anonymous> (/w/t.js:1:1)\n",
			"load /w/src/a.js:3|run /w/src/b.mjs:9| node:internal/main/run_main_module:28|Object.<anonymous> /w/t.js:1"},
		"go": {"panic: x\n\ngoroutine 1 [running]:\nmain.load(0x1, {0xc0, 0x2})\n\t/w/main.go:12 +0x1d\nmain.main()\n\t/w/main.go:5 +0x20\n",
			"main.load(0x1, {0xc0, 0x2}) /w/main.go:12|main.main() /w/main.go:5"},
		"go test": {"    sum_test.go:21: got 3, want 1\n", " sum_test.go:21"},
		"rust":    {"   0: std::panicking::begin\n             at /rustc/abc/library/std/src/panicking.rs:5:1\n   1: app::load\n             at ./src/main.rs:7:9\n", "std::panicking::begin /rustc/abc/library/std/src/panicking.rs:5|app::load ./src/main.rs:7"},
		"ruby":    {"a.rb:3:in `load': x (RuntimeError)\n\tfrom lib/b.rb:9:in 'run'\n", "load a.rb:3|run lib/b.rb:9"},
		".NET":    {"   at Shop.Cart.Total(Int32 n) in /w/Cart.cs:line 9\n", "Shop.Cart.Total(Int32 n) /w/Cart.cs:9"},
		"php":     {"#0 /w/src/a.php(12): load()\n#1 {main}\n", "load() /w/src/a.php:12"},
		"gdb":     {"#0  0x0000555 in crash (p=0x0) at crash.c:4\n#1  main () at crash.c:9\n", "crash crash.c:4|main crash.c:9"},
		"asan":    {"    #0 0x4f in frob /w/src/a.cc:3:5\n", "frob /w/src/a.cc:3"},
		"nothing": {"hello\nworld", ""},
	} {
		var got []string
		for _, f := range Frames(c.stack) {
			got = append(got, fmt.Sprintf("%s %s:%d", f.Func, f.File, f.Line))
		}
		if s := strings.Join(got, "|"); s != c.want {
			t.Errorf("%s: %s\nwant %s", name, s, c.want)
		}
	}
}

func TestFingerprint(t *testing.T) {
	t.Parallel()
	ours := func(path string) bool { return strings.HasPrefix(path, "/w/") || strings.HasPrefix(path, "com/acme/") }
	type failure struct{ typ, message, stack string }
	java := func(line int, fn string) string {
		return fmt.Sprintf("\tat org.junit.Assert.fail(Assert.java:%d)\n\tat com.acme.Cart.%s(Cart.java:%d)\n\tat com.acme.CartTest.empty(CartTest.java:9)\n", line*3, fn, line)
	}
	same := [][2]failure{
		{{"AssertionError", "expected:<5> but was:<7>", java(42, "total")}, {"org.junit.AssertionError", "expected:<50> but was:<12>", java(57, "total")}},
		{{"", "got 3, want 1", ""}, {"", "got 17, want 18", ""}},
		{{"", `open "/tmp/a1/x": no such file`, ""}, {"", `open "/tmp/b2/y": no such file`, ""}},
		{{"", "dial tcp 127.0.0.1:4242: connect: connection refused", ""}, {"", "dial tcp 127.0.0.1:39117: connect: connection refused", ""}},
		{{"E", "assert 'a' == 'b'\n\n  - b\n  + a", ""}, {"E", "assert 'c' == 'd'\n\n  - d\n  + c", ""}},
		{{"E", "\x1b[31mtimeout after 100 ms\x1b[0m", ""}, {"E", "timeout after 2 s", ""}},
		{{"panic", "boom", "main.load(0x1)\n\t/w/a.go:12 +0x1\n"}, {"panic", "boom", "main.load(0x7)\n\t/w/a.go:99 +0x55\n"}},
	}
	for _, p := range same {
		if Fingerprint(p[0].typ, p[0].message, p[0].stack, ours) != Fingerprint(p[1].typ, p[1].message, p[1].stack, ours) {
			t.Errorf("%+v\nand %+v\nshould be the same (%q, %q)", p[0], p[1], reason(p[0].message), reason(p[1].message))
		}
	}
	other := []failure{
		{"AssertionError", "expected:<5> but was:<7>", java(42, "total")},
		{"AssertionError", "expected:<5> but was:<7>", java(42, "add")},
		{"IOException", "expected:<5> but was:<7>", java(42, "total")},
		{"", "no such file", ""}, {"", "permission denied", ""}, {"", "", ""},
		{"", "error TS2304: x", ""}, {"", "error TS2551: x", ""},
		{"", "", java(1, "total")}, {"", "", java(1, "add")},
	}
	seen := map[uint64]failure{}
	for _, f := range other {
		p := Fingerprint(f.typ, f.message, f.stack, ours)
		if before, ok := seen[p]; ok || p == 0 {
			t.Errorf("%+v and %+v should differ", before, f)
		}
		seen[p] = f
	}
	if Fingerprint("E", "x", java(1, "total"), nil) != Fingerprint("E", "x", java(2, "total"), nil) {
		t.Error("guessing which files are ours is not stable")
	}
}

func FuzzFingerprint(f *testing.F) {
	f.Add("E", "expected 5 got 6", "\tat a.b.C.d(C.java:1)\n")
	f.Add("", "", "goroutine 1 [running]:\nmain.f()\n\t/w/a.go:1 +0x1\n")
	f.Fuzz(func(t *testing.T, typ, message, stack string) {
		p := Fingerprint(typ, message, stack, nil)
		if p == 0 || p != Fingerprint(typ, message, stack, nil) {
			t.Errorf("fingerprint %d", p)
		}
		if len(Frames(stack)) > maxFrames {
			t.Error("too many frames")
		}
	})
}

func BenchmarkFingerprint(b *testing.B) {
	var stack strings.Builder
	for n := range 40 {
		fmt.Fprintf(&stack, "\tat com.acme.shop.Part%d.run(Part%d.java:%d)\n", n, n, n)
	}
	for b.Loop() {
		Fingerprint("AssertionError", "expected:<5> but was:<7>", stack.String(), nil)
	}
}

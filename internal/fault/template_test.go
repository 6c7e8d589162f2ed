package fault

import (
	"bufio"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

func TestMask(t *testing.T) {
	t.Parallel()
	for line, want := range map[string]string{
		"":                            "",
		"plain words":                 "plain words",
		"took 12 ms":                  "took <*>",
		"took 1.5s, then 3":           "took <*>, then <*>",
		"at 2026-11-23T10:00:00Z end": "at <*> end",
		"at Mon Jul 18 03:26:49 2005": "at <*>",
		"[10:00:01] hello":            "[<*>] hello",
		"id c62f4f25-982c-4ea2-b5e4-93000edfcfbf gone": "id <*> gone",
		"cannot open /tmp/x/y: Permission denied":      "cannot open <*>: Permission denied",
		"a.c:12:5: error: 'x' undeclared":              "<*>: error: 'x' undeclared",
		"src/main.rs: read/write":                      "<*>: read/write",
		`C:\Users\a\b.txt missing`:                     "<*> missing",
		"GET https://example.com/a?b=c failed":         "GET <*> failed",
		"connect to db.example.com:5432 refused":       "connect to <*> refused",
		"org.apache.thing failed":                      "org.apache.thing failed",
		"uid=0 euid= user=root":                        "uid=<*> euid= user=<*>",
		"error TS2304: Cannot find name":               "error TS2304: Cannot find name",
		"5248 bytes (5.12 KB) sent":                    "<*> sent",
		"channels 1 2 3 4 5":                           "channels <*>",
		"nodes node-1 <ok> node-2 <ok> node-3 <ok>":    "nodes <*> <ok>",
		"-------- 12":                                  "-------- <*>",
		"instruction.........0":                        "instruction.........<*>",
		"fe80::1 and 00:1a:2b:3c:4d:5e":                "<*> and <*>",
		"mail to a.b@example.com":                      "mail to <*>",
		"isOn true":                                    "isOn <*>",
		"deadbeef and cafe":                            "<*> and cafe",
	} {
		if got := Mask(line); got != want {
			t.Errorf("Mask(%q) = %q, want %q", line, got, want)
		}
	}
}

// labelled is a line, and which instruction printed it.
type labelled struct{ line, label string }

// families makes 2,000 lines of each family in testdata: fixed by the seed.
func families(t testing.TB) map[string][]labelled {
	f, err := os.Open("testdata/templates/families.txt")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	type instruction struct {
		weight      int
		label, text string
	}
	var name string
	all := map[string][]instruction{}
	for sc := bufio.NewScanner(f); sc.Scan(); {
		line := sc.Text()
		if strings.HasPrefix(line, "#") {
			continue
		}
		if n, ok := strings.CutPrefix(line, "== "); ok {
			name = n
			continue
		}
		weight, text, _ := strings.Cut(line, " ")
		in := instruction{text: text, label: text}
		if in.weight, err = strconv.Atoi(weight); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		if m := regexp.MustCompile(`^\[(\w)\] (.*)`).FindStringSubmatch(text); m != nil && name != "" && len(m[1]) == 1 {
			in.label, in.text = name+m[1], m[2]
		}
		all[name] = append(all[name], in)
	}
	out := map[string][]labelled{}
	for name, instructions := range all {
		r := rand.New(rand.NewPCG(1, hashOf(name)))
		// What is printed by "[g]" is printed by the instruction before it, too.
		for i := range instructions {
			if i > 0 && strings.HasPrefix(instructions[i].label, name) && !strings.HasPrefix(instructions[i-1].label, name) && instructions[i].label != name+"c" {
				instructions[i].label = instructions[i-1].label
			}
		}
		total := 0
		for _, in := range instructions {
			total += in.weight
		}
		for range 2000 {
			n := r.IntN(total)
			for _, in := range instructions {
				if n -= in.weight; n < 0 {
					out[name] = append(out[name], labelled{fill(in.text, r), in.label})
					break
				}
			}
		}
	}
	return out
}

var holes = regexp.MustCompile(`\{\{|\}\}|\{\w+\}`)

// fill fills the values of an instruction.
func fill(text string, r *rand.Rand) string {
	pick := func(words string) string {
		w := strings.Fields(words)
		return w[min(r.IntN(len(w)), r.IntN(len(w)))] // the first ones more often
	}
	var value func(kind string) string
	repeat := func(n int, kind, sep string) string {
		var parts []string
		for range n {
			parts = append(parts, value(kind))
		}
		return strings.Join(parts, sep)
	}
	names := "alice bob carol dave erin frank grace heidi ivan judy mallory oscar peggy trent victor walter www-data build_agent Zoe.K"
	value = func(kind string) string {
		switch kind {
		case "user":
			return pick("root admin test guest mysql nobody ftp")
		case "name", "daemon":
			return pick(names + " cupsd syslogd sshd portmap crond")
		case "int":
			return strconv.Itoa(r.IntN(1 << (4 + r.IntN(12))))
		case "digit":
			return strconv.Itoa(r.IntN(4))
		case "big":
			return strconv.FormatInt(r.Int64(), 10)
		case "float":
			return fmt.Sprintf("%.*f", 2+r.IntN(3), r.Float64()*100)
		case "ip":
			return fmt.Sprintf("%d.%d.%d.%d", 10+r.IntN(200), r.IntN(256), r.IntN(256), r.IntN(256))
		case "iplist":
			return repeat(1+r.IntN(3), "ip", " ")
		case "intlist":
			return repeat(4+r.IntN(4), "int", " ")
		case "host":
			return pick("www mail db-3 node17 cp-1.slow n203-45.adsl api") + "." + pick("example.com corp.example.net ttn.example.org lab.example.edu")
		case "hex":
			return fmt.Sprintf("%016x", r.Uint64()>>r.IntN(40))
		case "hex2":
			return fmt.Sprintf("%02x", r.IntN(256))
		case "hex32":
			return fmt.Sprintf("%016x%016x", r.Uint64(), r.Uint64())
		case "uuid":
			return fmt.Sprintf("%08x-%04x-4%03x-a%03x-%012x", r.Uint32(), r.IntN(1<<16), r.IntN(1<<12), r.IntN(1<<12), r.Uint64()>>16)
		case "path":
			return "/" + pick("var home tmp srv mnt") + "/" + pick(names) + "/" + value("ident") + pick(" .log .tmp /x .d")
		case "relpath":
			return pick("src lib pkg test") + "/" + value("ident") + "/" + value("ident")
		case "pkg":
			return "example.com/" + pick(names) + "/" + value("ident")
		case "url":
			return "https://" + value("host") + value("path")
		case "ident":
			return pick("parse Load count store Widget Reader index user_id Total open close next") + pick("Line File Table Empty All Name Key Twice")
		case "ver":
			return fmt.Sprintf("%d.%d.%d", r.IntN(9), r.IntN(30), r.IntN(9))
		case "mmss":
			return fmt.Sprintf("%02d:%02d", r.IntN(60), r.IntN(60))
		case "date":
			return fmt.Sprintf("%s %s %2d %02d:%02d:%02d 2026", pick("Mon Tue Wed Thu Fri Sat Sun"), pick("Jan Feb Mar May Jul Nov"), 1+r.IntN(28), r.IntN(24), r.IntN(60), r.IntN(60))
		case "ts":
			return fmt.Sprintf("2026-%02d-%02dT%02d:%02d:%02d.%03dZ", 1+r.IntN(12), 1+r.IntN(28), r.IntN(24), r.IntN(60), r.IntN(60), r.IntN(1000))
		case "clf":
			return fmt.Sprintf("%02d/Nov/2026:%02d:%02d:%02d +0000", 1+r.IntN(28), r.IntN(24), r.IntN(60), r.IntN(60))
		case "status":
			return pick("200 204 302 404 500")
		case "bool":
			return pick("true false")
		case "vmstate":
			return pick("Started Paused Resumed Stopped")
		case "tstate":
			return pick("NEW UNASSIGNED ASSIGNED RUNNING SUCCEEDED SCHEDULED COMMIT_PENDING FAIL_CONTAINER_CLEANUP")
		case "intent":
			return pick("TIME_TICK SCREEN_ON SCREEN_OFF BATTERY_CHANGED")
		case "cache":
			return pick("Dentry Inode Mount PID TCP")
		case "disk":
			return pick("sda1 sdb2 nvme0n1p1")
		case "perm":
			return pick("read write getattr search")
		case "ctx":
			return "system_u:system_r:" + pick("httpd_t init_t")
		case "thread":
			return pick("main http-nio-8080-exec-3 pool-2-thread-14 scheduler")
		case "agent":
			return pick("curl/8.1 Mozilla/5.0 kube-probe/1.29")
		}
		panic("no value " + kind)
	}
	return holes.ReplaceAllStringFunc(text, func(h string) string {
		switch h {
		case "{{":
			return "{"
		case "}}":
			return "}"
		}
		return value(strings.Trim(h, "{}"))
	})
}

// accuracy is how well groups agree with labels: the share of lines whose
// group is exactly the lines of their label (GA), and the F1 of groups (FGA).
func accuracy(lines []labelled, group func(i int) string) (ga, fga float64) {
	byLabel, byGroup := map[string][]int{}, map[string][]int{}
	for i, l := range lines {
		byLabel[l.label] = append(byLabel[l.label], i)
		byGroup[group(i)] = append(byGroup[group(i)], i)
	}
	right, whole := 0, 0
	for _, g := range byGroup {
		if l := byLabel[lines[g[0]].label]; slices.Equal(l, g) {
			right += len(g)
			whole++
		}
	}
	p, r := float64(whole)/float64(len(byGroup)), float64(whole)/float64(len(byLabel))
	if whole > 0 {
		fga = 2 * p * r / (p + r)
	}
	return float64(right) / float64(len(lines)), fga
}

// digits is the trivial way: what looks like a number is masked.
var digits = regexp.MustCompile(`[0-9a-fA-F]*[0-9]+[0-9a-fA-F]*`)

// drain is Drain as it is published, with words between spaces, numbers masked,
// depth 4 and a similarity of 0.4: what our way has to be better than.
func drain(lines []labelled) func(i int) string {
	number := regexp.MustCompile(`^[^\w]*(?:0x)?[\d.:/,-]+[^\w]*$`)
	leaves := map[string][][]string{}
	ids := make([]string, len(lines))
	for i, l := range lines {
		tokens := strings.Fields(l.line)
		key := strconv.Itoa(len(tokens))
		for j, tok := range tokens {
			if number.MatchString(tok) {
				tokens[j] = wild
			}
			if j < 2 {
				if strings.ContainsAny(tokens[j], "0123456789") {
					tok = wild
				}
				key += " " + tok
			}
		}
		best, at := -1.0, -1
		for g, group := range leaves[key] {
			same := 0
			for j := range tokens {
				if group[j] == tokens[j] && tokens[j] != wild {
					same++
				}
			}
			if s := float64(same) / float64(max(len(tokens), 1)); s > best {
				best, at = s, g
			}
		}
		if best < 0.4 {
			leaves[key] = append(leaves[key], tokens)
			at = len(leaves[key]) - 1
		}
		group := leaves[key][at]
		for j := range tokens {
			if group[j] != tokens[j] {
				group[j] = wild
			}
		}
		ids[i] = key + "#" + strconv.Itoa(at)
	}
	return func(i int) string { return ids[i] }
}

func score(t *testing.T, sets map[string][]labelled) (ga, fga, plainGA, plainFGA float64) {
	t.Helper()
	var drainGA, drainFGA float64
	names := []string{}
	for name := range sets {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		lines := sets[name]
		var tree Templates
		ids := make([]int, len(lines))
		for i, l := range lines {
			ids[i] = tree.Add(l.line)
		}
		g, f := accuracy(lines, func(i int) string { return strconv.Itoa(tree.Of(ids[i])) })
		pg, pf := accuracy(lines, func(i int) string { return digits.ReplaceAllString(lines[i].line, "%") })
		dg, df := accuracy(lines, drain(lines))
		drainGA, drainFGA = drainGA+dg, drainFGA+df
		t.Logf("%-14s GA %.3f FGA %.3f (digits masked: %.3f %.3f; Drain: %.3f %.3f)", name, g, f, pg, pf, dg, df)
		if os.Getenv("FAIRLEAD_TEMPLATES") == name { // to see what goes wrong
			seen := map[string]bool{}
			for i, l := range lines {
				if k := l.label + " => " + tree.Text(ids[i]); !seen[k] {
					seen[k] = true
					t.Log(k)
				}
			}
		}
		ga, fga, plainGA, plainFGA = ga+g, fga+f, plainGA+pg, plainFGA+pf
	}
	n := float64(len(names))
	t.Logf("Drain with one setting: GA %.3f FGA %.3f", drainGA/n, drainFGA/n)
	return ga / n, fga / n, plainGA / n, plainFGA / n
}

// TestGrouping sorts lines that we know the instructions of.
func TestGrouping(t *testing.T) {
	t.Parallel()
	ga, fga, plainGA, plainFGA := score(t, families(t))
	t.Logf("one setting, %d families of 2000 lines: GA %.3f FGA %.3f; digits masked: %.3f %.3f", len(families(t)), ga, fga, plainGA, plainFGA)
	if ga < 0.90 || fga < 0.85 {
		t.Errorf("GA %.3f, FGA %.3f: it was better", ga, fga)
	}
}

// TestLoghub sorts the lines of loghub's samples, when they are there: files
// NAME_2k.log_structured*.csv with columns Content and EventId.
func TestLoghub(t *testing.T) {
	t.Parallel()
	dir := os.Getenv("FAIRLEAD_LOGHUB")
	if dir == "" {
		dir = "../../../shared/corpus/loghub"
	}
	files, _ := filepath.Glob(filepath.Join(dir, "*", "*_2k.log_structured*.csv"))
	flat, _ := filepath.Glob(filepath.Join(dir, "*_2k.log_structured*.csv"))
	if files = append(files, flat...); len(files) == 0 {
		t.Skipf("SKIPPED: no loghub samples in %s (FAIRLEAD_LOGHUB names another folder)", dir)
	}
	sets := map[string][]labelled{}
	for _, file := range files {
		f, err := os.Open(file)
		if err != nil {
			t.Fatal(err)
		}
		rows, err := csv.NewReader(f).ReadAll()
		f.Close()
		if err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		content, event := slices.Index(rows[0], "Content"), slices.Index(rows[0], "EventId")
		for _, row := range rows[1:] {
			sets[filepath.Base(file)] = append(sets[filepath.Base(file)], labelled{row[content], row[event]})
		}
	}
	ga, fga, plainGA, plainFGA := score(t, sets)
	t.Logf("%d of %d sets: GA %.3f FGA %.3f; digits masked: %.3f %.3f", len(sets), len(files), ga, fga, plainGA, plainFGA)
	if ga < 0.85 || fga < 0.80 {
		t.Errorf("GA %.3f, FGA %.3f", ga, fga)
	}
}

func TestTemplatesKept(t *testing.T) {
	t.Parallel()
	var whole, half Templates
	lines := families(t)["system"]
	for i, l := range lines {
		whole.Add(l.line)
		half.Add(l.line)
		if i == len(lines)/2 {
			b, err := json.Marshal(&half)
			if err != nil {
				t.Fatal(err)
			}
			half = Templates{}
			if err := json.Unmarshal(b, &half); err != nil {
				t.Fatal(err)
			}
		}
	}
	if whole.Len() != half.Len() {
		t.Fatalf("%d templates, and %d after a restart", whole.Len(), half.Len())
	}
	for id := range whole.Len() {
		if whole.Text(id) != half.Text(id) || whole.Count(id) != half.Count(id) {
			t.Errorf("%d: %q %d, and after a restart %q %d", id, whole.Text(id), whole.Count(id), half.Text(id), half.Count(id))
		}
	}
	for _, damaged := range []string{`{`, `[{"h":[1],"t":[],"n":1,"i":0}]`, `[{"h":[],"t":[],"n":1,"i":7}]`, `[{"h":[],"t":[],"n":1,"i":-1}]`} {
		if err := json.Unmarshal([]byte(damaged), new(Templates)); err == nil {
			t.Errorf("%s was read", damaged)
		}
	}
}

// TestTemplatesBounded gives them lines that have nothing in common.
func TestTemplatesBounded(t *testing.T) {
	t.Parallel()
	var tree Templates
	r := rand.New(rand.NewPCG(3, 4))
	letters := func() string {
		b := make([]byte, 5+r.IntN(3))
		for i := range b {
			b[i] = byte('g' + r.IntN(20))
		}
		return string(b)
	}
	refused := 0
	for range maxTemplates + 5000 {
		if tree.Add(letters()+" "+letters()+" "+letters()+" "+letters()) < 0 {
			refused++
		}
	}
	if tree.Len() > maxTemplates || refused == 0 {
		t.Errorf("%d templates, %d lines of none", tree.Len(), refused)
	}
	if tree.Of(-1) != -1 || tree.Of(maxTemplates) != -1 || tree.Text(-1) != "" || tree.Count(-1) != 0 {
		t.Error("a template that is not there has something")
	}
}

func FuzzTemplates(f *testing.F) {
	for _, lines := range families(f) {
		f.Add(lines[0].line + "\n" + lines[1].line + "\n" + lines[2].line)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var tree Templates
		for line := range strings.SplitSeq(text, "\n") {
			id := tree.Add(line)
			if id < 0 || tree.Of(id) < 0 || tree.Count(id) < 1 {
				t.Fatalf("%q: template %d, now %d, of %d lines", line, id, tree.Of(id), tree.Count(id))
			}
			if again := tree.Add(line); tree.Of(again) != tree.Of(id) {
				t.Fatalf("%q: templates %d and %d", line, id, again)
			}
			if masked := Mask(line); len(masked) > 5*len(line)+8 {
				t.Fatalf("Mask(%q) = %q", line, masked)
			}
		}
	})
}

func BenchmarkTemplates(b *testing.B) {
	var lines []string
	bytes := 0
	for _, l := range families(b) {
		for _, x := range l {
			lines = append(lines, x.line)
			bytes += len(x.line)
		}
	}
	rand.New(rand.NewPCG(1, 2)).Shuffle(len(lines), func(i, j int) { lines[i], lines[j] = lines[j], lines[i] })
	b.SetBytes(int64(bytes / len(lines)))
	b.ReportAllocs()
	var tree Templates
	n := 0
	for b.Loop() {
		tree.Add(lines[n%len(lines)])
		n++
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "lines/s")
}

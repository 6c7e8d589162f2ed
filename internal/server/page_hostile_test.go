package server

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/record"
)

// hostile are texts that want to become more than text on a page. Each holds the
// canary, so that it is seen where it came through.
var hostile = hostileTexts()

func hostileTexts() (all []string) {
	const act = "canary(1)"
	for _, tag := range []string{"script", "ScRiPt", "svg/onload=" + act, "img src=x onerror=" + act, "iframe srcdoc='<script>" + act + "</script>'", "body onload=" + act,
		"details open ontoggle=" + act, "video><source onerror=" + act, "math><mtext></mtext><script>" + act, "style>@import'//canary'", "base href=//canary/", "meta http-equiv=refresh content=0;url=//canary",
		"object data=javascript:" + act, "embed src=javascript:" + act, "form action=javascript:" + act + "><button", "input autofocus onfocus=" + act, "a href=javascript:" + act, "link rel=stylesheet href=//canary"} {
		for _, before := range []string{"", `"`, "'", `">`, "'>", "-->", "</title>", "</textarea>", "</script>", "</svg>", "\x00"} {
			all = append(all, before+"<"+tag+">"+act)
		}
	}
	return append(all,
		"javascript:"+act, "JaVaScRiPt:"+act, "\tjavascript:"+act, "java\nscript:"+act, "data:text/html,<script>"+act+"</script>", "vbscript:"+act,
		"{{"+act+"}}", "${"+act+"}", "`"+act+"`", "\u2028"+act, "\u202e"+act, `\u003cscript\u003e`+act, "&lt;script&gt;"+act, "%3Cscript%3E"+act,
		"\x1b]8;;javascript:"+act+"\x07x\x1b]8;;\x07", "\x1b[31m<b onmouseover="+act+">", "::group::<img src=x onerror="+act+">", `" onmouseover="`+act, "' onfocus='"+act, " autofocus onfocus="+act+" x=")
}

// poison puts a text into every string there is in a value.
func poison(v reflect.Value, s string, depth int) {
	if depth > 12 {
		return
	}
	switch v.Kind() {
	case reflect.String:
		v.SetString(s)
	case reflect.Pointer:
		if v.IsNil() && v.CanSet() && depth < 8 {
			v.Set(reflect.New(v.Type().Elem()))
		}
		if !v.IsNil() {
			poison(v.Elem(), s, depth+1)
		}
	case reflect.Slice:
		if v.Len() == 0 && v.CanSet() && depth < 9 {
			v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		}
		for i := range v.Len() {
			poison(v.Index(i), s, depth+1)
		}
	case reflect.Map:
		if v.Type().Key().Kind() == reflect.String && v.Type().Elem().Kind() == reflect.String && v.CanSet() {
			v.Set(reflect.MakeMap(v.Type()))
			v.SetMapIndex(reflect.ValueOf(s).Convert(v.Type().Key()), reflect.ValueOf(s).Convert(v.Type().Elem()))
		}
	case reflect.Struct:
		if v.Type() == reflect.TypeFor[time.Time]() {
			return
		}
		for i := range v.NumField() {
			if f := v.Field(i); f.CanSet() {
				poison(f, s, depth+1)
			}
		}
	case reflect.Int, reflect.Int64:
		v.SetInt(3)
	case reflect.Float64:
		v.SetFloat(3)
	case reflect.Bool:
		v.SetBool(true)
	}
}

// TestHostileViews fills every text of every view with what wants to be more than
// text, and finds none of it on the page as more than that.
func TestHostileViews(t *testing.T) {
	t.Parallel()
	sc := newScene(t)
	who := sc.principal()
	p, ok := sc.s.html.(*pages)
	if !ok {
		t.Fatal("no pages")
	}
	rows := map[string]reflect.Type{}
	for _, row := range sc.s.rows {
		if row.Template != "" {
			rows[row.Template] = row.Do.out
		}
	}
	for name := range p.byName {
		if rows[name] == nil && name != "error" {
			t.Errorf("the template %q is of no row", name)
		}
	}
	rows["error"] = reflect.TypeFor[nothing]()
	for template, view := range rows {
		for i, text := range hostile {
			if testing.Short() && i%7 != 0 {
				continue
			}
			v := reflect.New(view)
			poison(v.Elem(), text, 0)
			if run, ok := v.Interface().(*RunView); ok {
				run.timeline, run.graph = newTimeline(run, noon), newGraph(run.Jobs)
			}
			r := sc.s.request(nil, sc.request("/runs"))
			r.Who = who
			page := sc.s.page(r, v.Elem().Interface())
			page.Flash = &Flash{Text: text}
			page.Problem = &Problem{Status: 500, Code: text, Message: text, Hint: text, Request: text}
			page.Query.Set("q", text)
			page.Query.Set("repository", text)
			var out strings.Builder
			if err := p.Render(&out, template, page); err != nil {
				t.Fatalf("%s with %q: %v", template, text, err)
			}
			if why := alive(out.String()); why != "" {
				t.Fatalf("%s with %q: %s", template, text, why)
			}
		}
	}
}

// alive says where a canary is anything but text.
func alive(page string) (found string) {
	doc, err := parsePage(page)
	if err != nil {
		return err.Error()
	}
	known := map[string]bool{}
	for tag := range strings.FieldsSeq("html head meta title link script body svg symbol circle path rect polyline use line text defs pattern header div a nav ul li form label span input button main p footer kbd dialog h1 h2 h3 dl dt dd section article table colgroup col thead tr th tbody td time code details summary pre strong b i select option output fieldset legend textarea small ol br") {
		known[tag] = true
	}
	each(doc, func(n *element) {
		if !known[n.Tag] {
			found = fmt.Sprintf("there is a <%s>", n.Tag)
		}
		for _, a := range n.Attr {
			name, value := strings.ToLower(a.Name.Local), strings.ToLower(strings.TrimSpace(a.Value))
			if strings.HasPrefix(name, "on") || name == "style" || name == "srcdoc" || strings.Contains(name, "canary") {
				found = fmt.Sprintf("<%s> has the attribute %s", n.Tag, name)
			}
			if name == "href" || name == "src" || name == "action" {
				value = strings.NewReplacer("\t", "", "\n", "").Replace(value)
				for _, scheme := range []string{"javascript:", "data:", "vbscript:", "//"} {
					if strings.HasPrefix(value, scheme) {
						found = fmt.Sprintf("<%s %s=%q>", n.Tag, name, value)
					}
				}
			}
		}
		if n.Tag == "script" && strings.Contains(text(n), "canary") {
			found = "a script holds it"
		}
	})
	return found
}

// TestHostileRun is a run whose author is up to something: names, titles, files, and
// what its jobs print.
func TestHostileRun(t *testing.T) {
	t.Parallel()
	sc := newScene(t)
	for i := 0; i < len(hostile); i += 23 {
		bad := strings.ToValidUTF8(strings.ReplaceAll(hostile[i], "\x00", ""), "")
		p := &plan.Pipeline{Dialect: "github", Name: bad, File: "ci.yml", Jobs: []plan.Job{{ID: "test", Name: bad}, {ID: bad, Name: bad, Needs: []string{"test", bad}}}}
		tell := sc.tell(noon, p, plan.Change{Event: bad, Ref: bad, HeadRef: bad, SHA: bad, Actor: bad}, &record.Origin{Repository: "team/app", Title: bad, Change: bad, Trust: record.Untrusted}, "")
		tell.say("", "", &record.RunStarted{Host: bad})
		tell.say("test", "", &record.JobStarted{Attempt: 1, Place: bad, Workspace: bad})
		tell.step("test", bad, bad, 0, 2, time.Second, plan.Failure, func(f *record.StepFinished) {
			f.Why, f.Signal = bad, bad
			f.Fault = &record.Diagnosis{Title: bad, Hint: bad, Lines: []string{bad}, Verdict: plan.Failure}
			f.Effects = plan.Effects{Notes: []plan.Annotation{{Level: plan.Level(bad), Title: bad, Message: bad, File: bad}}, Summary: []byte(bad)}
		})
		tell.say("test", bad, &record.TestsReported{Failed: 1, Source: bad, Bad: []record.TestResult{{Name: bad, Suite: bad, Message: bad, File: bad}}})
		tell.say("test", bad, &record.ArtifactSaved{Artifact: plan.Artifact{Name: bad, Digest: bad}})
		tell.say("test", "", &record.JobFinished{Verdict: plan.Failure, Result: plan.Failure, Why: bad})
		tell.say(bad, "", &record.JobFinished{Verdict: plan.Skipped, Result: plan.Skipped, Why: bad})
		tell.say("", "", &record.RunFinished{Verdict: plan.Failure, Why: bad})
		run := tell.write()
		tell.log("test", [][2]string{{bad, bad}, {bad, "\x1b[31m" + bad}}, true)
		for _, path := range []string{"/runs", "/runs/" + run, "/runs/" + run + "/log/test", "/runs/" + run + "/why"} {
			w := sc.call("GET", path, "", session(sc.admin))
			if w.Code != 200 {
				t.Fatalf("%s with %q: %d %s\n%s", path, bad, w.Code, w.Body, sc.log)
			}
			if why := alive(w.Body.String()); why != "" {
				t.Errorf("%s with %q: %s", path, bad, why)
			}
		}
	}
}

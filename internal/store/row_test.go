package store_test

import (
	"math"
	"reflect"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/record"
	"github.com/fairlead-dev/fairlead/internal/store"
	"github.com/fairlead-dev/fairlead/internal/suite"
)

func FuzzPrefixEnd(f *testing.F) {
	for _, s := range [][2]string{{"a", "ab"}, {"", "x"}, {"a%2F_", "a%2F_x"}, {"a\U0010FFFF", "b"}, {"\uD7FF", "\uE000"}, {"\U0010FFFF", "\U0010FFFF\U0010FFFF"}} {
		f.Add(s[0], s[1])
	}
	f.Fuzz(func(t *testing.T, prefix, s string) {
		if !utf8.ValidString(prefix) || !utf8.ValidString(s) {
			t.Skip()
		}
		end := store.PrefixEnd(prefix)
		if !utf8.ValidString(end) {
			t.Fatalf("%q: the end %q is no text", prefix, end)
		}
		if in := s >= prefix && (end == "" || s < end); in != strings.HasPrefix(s, prefix) {
			t.Fatalf("%q begins with %q: %v, from it to %q: %v", s, prefix, !in, end, in)
		}
	})
}

func FuzzDecode(f *testing.F) {
	codec := store.NewCodec()
	row, err := codec.Encode(record.Event{Run: "1", Body: &record.JobQueued{Why: strings.Repeat("x", 20_000)}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add("job.queued", `{"why":"x"}`, []byte(nil))
	f.Add("job.queued", "", row.Packed)
	f.Add("no such kind", "null", []byte("junk"))
	f.Fuzz(func(t *testing.T, kind, text string, packed []byte) {
		e, err := codec.Decode(store.Row{Event: record.Event{Seq: 7}, Run: 1, Kind: record.Kind(kind), Text: text, Packed: packed})
		if e.Seq != 7 || e.Run != "1" || (err == nil) != (e.Body != nil) {
			t.Errorf("got %+v, %v", e, err)
		}
	})
}

func TestCodec(t *testing.T) {
	t.Parallel()
	codec := store.NewCodec()
	at := time.Date(2031, 5, 6, 7, 8, 9, 123456000, time.UTC)
	for _, e := range []record.Event{
		{Body: &record.JobQueued{Why: "a \x00 \u2028"}},
		{Time: at, Run: "7", Job: "j", Step: "s", Body: &record.JobQueued{Why: strings.Repeat("long ", 10_000)}},
	} {
		row, err := codec.Encode(e)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := codec.Decode(row); err != nil || !reflect.DeepEqual(got, e) {
			t.Errorf("got %+v, %v; want %+v", got, err, e)
		}
		if long := len(row.Text) == 0; long != (len(row.Packed) > 0) || row.Size() > 5000 {
			t.Errorf("%d bytes of text, %d packed", len(row.Text), len(row.Packed))
		}
	}
}

func TestPlannedHead(t *testing.T) {
	t.Parallel()
	if h := store.PlannedHead(&record.RunPlanned{}); h != (store.RunHead{}) {
		t.Errorf("of nothing: %+v", h)
	}
	h := store.PlannedHead(&record.RunPlanned{Number: 3, Change: &plan.Change{Ref: "refs/pull/7/merge", HeadRef: "fix\x00", Actor: "a\xff"}})
	if h.Branch != "fix\uFFFD" || h.Ref != "refs/pull/7/merge" || h.Actor != "a\uFFFD" || h.Number != 3 {
		t.Errorf("got %+v", h)
	}
}

func FuzzUnpack(f *testing.F) {
	lessons, _, err := store.Lessons([]suite.Learned{
		{Result: suite.Result{Run: "7", Outcome: suite.Failed, Seconds: 1.5, Fault: 1 << 63, Unreachable: true}},
		{Result: suite.Result{Run: "8", Outcome: suite.Skipped, Seconds: math.Inf(1)}},
		{Result: suite.Result{Run: "9", Outcome: suite.Passed, Seconds: math.NaN()}},
	}, 300)
	if err != nil || len(lessons) != 1 {
		f.Fatal(lessons, err)
	}
	f.Add(lessons[0].Pack)
	f.Fuzz(func(t *testing.T, chunk []byte) {
		list, err := store.Unpack(chunk)
		for _, p := range list {
			if p.Outcome < suite.Skipped || p.Outcome > suite.Errored || p.Run < 0 || p.Report < 0 || !(p.Seconds >= 0) {
				t.Errorf("%+v", p)
			}
		}
		if err == nil && len(chunk) > 0 && len(list) == 0 {
			t.Error("nothing was read")
		}
	})
}

package builtin

import (
	"slices"
	"strings"
	"testing"
)

func TestParseVersion(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"1.22.3": "1.22.3", "v20.20.2": "20.20.2", "1.22": "1.22.0", "17": "17.0.0",
		"1.22rc1": "1.22.0-rc.1", "3.13.0b2": "3.13.0-b.2", "3.15.0-beta.3": "3.15.0-beta.3",
		"17.0.13+11": "17.0.13", "17.0.4.1": "17.0.4", "1.8.0_392": "8.0.392", "21-ea": "21.0.0-ea", "21-ea+35": "21.0.0-ea",
		"17.0.13-11": "17.0.13-11",
		"":           "", "x": "", "1.2.3.x": "", "go1.2": "", "1..2": "", "99999999999": "", "1.2-": "",
	} {
		v, ok := parseVersion(in)
		if got := v.String(); ok != (want != "") || ok && got != want {
			t.Errorf("parseVersion(%q) = %s, %v; want %q", in, got, ok, want)
		}
	}
}

func TestVersionOrder(t *testing.T) {
	t.Parallel()
	want := strings.Fields("1.2.0-alpha 1.2.0-alpha.1 1.2.0-rc.2 1.2.0-rc.10 1.2.0 1.2.1 1.10.0 2.0.0")
	got := slices.Clone(want)
	slices.Reverse(got)
	slices.SortFunc(got, func(a, b string) int {
		x, _ := parseVersion(a)
		y, _ := parseVersion(b)
		return x.compare(y)
	})
	if !slices.Equal(got, want) {
		t.Errorf("sorted %v, want %v", got, want)
	}
}

func TestRange(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ in, has, not string }{
		{"1.22", "1.22.0 1.22.9", "1.21.9 1.23.0 1.22.0-rc.1"},
		{"1.22.x", "1.22.0 1.22.9", "1.23.0"},
		{"1.x", "1.0.0 1.99.0", "2.0.0"},
		{"1.22.3", "1.22.3", "1.22.4"},
		{"=1.22.3", "1.22.3", "1.22.4"},
		{"v1.22.3", "1.22.3", "1.22.4"},
		{"*", "0.0.1 9.9.9", "9.9.9-rc.1"},
		{"", "0.0.1 9.9.9", ""},
		{"^20", "20.0.0 20.9.9", "19.9.9 21.0.0 21.0.0-rc.1"},
		{"^20.3.1", "20.3.1 20.9.0", "20.3.0 21.0.0"},
		{"^0.2.3", "0.2.3 0.2.9", "0.3.0 0.2.2"},
		{"^0.0.3", "0.0.3", "0.0.4"},
		{"^0.0", "0.0.3", "0.1.0"},
		{"~1.2", "1.2.0 1.2.9", "1.3.0"},
		{"~1.2.3", "1.2.3 1.2.9", "1.2.2 1.3.0"},
		{"~1", "1.0.0 1.9.0", "2.0.0"},
		{"~>1.2", "1.2.0", "1.3.0"},
		{">=1.20", "1.20.0 9.0.0", "1.19.9"},
		{">= 1.20 < 1.22", "1.20.0 1.21.9", "1.19.9 1.22.0"},
		{">1.20", "1.21.0", "1.20.5"},
		{">1.20.1", "1.20.2", "1.20.1"},
		{"<=1.20", "1.20.9", "1.21.0"},
		{"<1.20", "1.19.9", "1.20.0 1.20.0-rc.1"},
		{"1.2 - 1.4", "1.2.0 1.4.9", "1.1.9 1.5.0"},
		{"14 || >=16 <18", "14.1.0 16.0.0", "15.0.0 18.0.0"},
		{"1.22.0-rc.1", "1.22.0-rc.1", "1.22.0 1.22.0-rc.2"},
		{">=1.22.0-rc.1", "1.22.0-rc.2 1.22.0 1.23.0", "1.23.0-rc.1"},
		{"1.22rc1", "1.22.0-rc.1", "1.22.0"},
		{"<*", "", "0.0.0 1.0.0"},
	} {
		r, err := parseRange(tt.in)
		if err != nil {
			t.Errorf("parseRange(%q): %v", tt.in, err)
			continue
		}
		for want, list := range map[bool]string{true: tt.has, false: tt.not} {
			for _, text := range strings.Fields(list) {
				v, ok := parseVersion(text)
				if !ok || r.has(v) != want {
					t.Errorf("%q has %s: %v, want %v", tt.in, text, !want, want)
				}
			}
		}
	}
	for _, in := range []string{"x.y", "latest", ">", "1.2.3.4.x", "a || 1", "^", strings.Repeat("1 ", 200)} {
		if r, err := parseRange(in); err == nil {
			t.Errorf("parseRange(%q) = %v, want an error", in, r)
		}
	}
}

func FuzzRange(f *testing.F) {
	f.Add("^1.2 || >=3 <4.x", "1.2.3")
	f.Add("1 - 2", "1.0.0-rc.1+5")
	f.Add(">=999999999.999999999.999999999", "1.8.0_392")
	f.Fuzz(func(t *testing.T, in, of string) {
		r, err := parseRange(in)
		if err != nil {
			return
		}
		v, ok := parseVersion(of)
		if !ok {
			return
		}
		r.has(v)
		again, ok := parseVersion(v.String())
		if !ok || again.compare(v) != 0 {
			t.Errorf("%q is written %s, which is not the same", of, v)
		}
	})
}

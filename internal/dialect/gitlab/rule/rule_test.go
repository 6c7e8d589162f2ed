package rule

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"testing"
)

var vars = map[string]string{
	"BRANCH":  "feature/login",
	"TAG":     "v1.20.3",
	"EMPTY":   "",
	"BLANK":   "  ",
	"YES":     "true",
	"FORM":    "/^v\\d+/",
	"ICASE":   "/FEATURE/i",
	"BROKEN":  "/(/",
	"SLASHES": "/srv/www/app",
}

func lookup(name string) (string, bool) {
	v, ok := vars[name]
	return v, ok
}

func TestValue(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]any{
		// operands
		`$BRANCH`: "feature/login", `$NONE`: nil, `$EMPTY`: "", `"x"`: "x", `'it is "so"'`: `it is "so"`, `null`: nil, `true`: true, `false`: false,
		`"$BRANCH"`: "$BRANCH", `""`: "", `"a\"`: `a\`,
		// equality knows types
		`$TAG == "v1.20.3"`: true, `"v1.20.3" == $TAG`: true, `$TAG != "v1"`: true, `$NONE == null`: true, `null != $NONE`: false, `$EMPTY == null`: false,
		`$EMPTY == ""`: true, `$EMPTY != null`: true, `$YES == true`: false, `$YES == "true"`: true, `null == null`: true, `"a" == null`: false,
		`$FORM == "/^v\d+/"`: true, `/abc/ == /abc/`: true, `/abc/ == /abd/`: false, `/abc/ == "abc"`: false,
		// patterns
		`$TAG =~ /^v\d+/`: true, `$TAG !~ /^v\d+/`: false, `$TAG =~ /^1/`: false, `$BRANCH =~ /FEATURE/`: false, `$BRANCH =~ /FEATURE/i`: true,
		`$BRANCH =~ /^feature\/log/`: true, `$SLASHES =~ /^\/srv\/www\/app$/`: true, `$NONE =~ /x?/`: true, `$NONE =~ /xy/`: false, `$NONE !~ /xy/`: true, `$EMPTY =~ /xy/`: false, `$EMPTY !~ /xy/`: true,
		`$TAG =~ $FORM`: true, `$BRANCH =~ $FORM`: false, `$BRANCH =~ $ICASE`: true, `$TAG =~ $NONE`: false, `$TAG !~ $NONE`: true, `$TAG =~ null`: false,
		`$TAG =~ "v1.20.3"`: true, `$TAG =~ "is v1.20.3 new"`: true, `$TAG =~ "v1"`: false, `$TAG =~ $TAG`: true, `$TAG =~ $BROKEN`: false,
		`$TAG =~ /v1\.2+0\.3$/`: true, `$TAG =~ /V1.*3/sim`: true, `$TAG =~ /\d$/`: true, `$TAG =~ /(?i)V1/`: true, `$TAG =~ /a/`: false,
		// what decides is the value
		`$TAG && "x"`: "x", `$EMPTY && "x"`: "x", `$NONE && "x"`: nil, `"x" && $EMPTY`: "", `"x" && null`: nil, `false && "x"`: false,
		`$TAG || "x"`: "v1.20.3", `$NONE || "x"`: "x", `$EMPTY || "x"`: "", `false || null`: nil, `null || false`: false, `$NONE && $TAG || $EMPTY == ""`: true,
		// precedence and parentheses
		`$NONE == null || $TAG`: true, `$TAG || $NONE == null`: "v1.20.3", `"a" == "a" && "b" == "b"`: true, `"a" == "b" || "b" == "b" && "c" == "c"`: true,
		`("a" == "b" || "b" == "b") && "c" == "d"`: false, `"a" == "b" && "c" == "d" || "e" == "e"`: true, `"e" == "e" || "a" == "b" && "c" == "d"`: true,
		`("x")`: "x", `((("x")))`: "x", `("x" || "y") == "x"`: true, `"y" == ("x" && "y")`: true, `"y" == ("x" || "y")`: false, `"a" == "b" == false`: true,
		// spelling
		"  $TAG\n&&\t\"x\"  ": "x", `$TAG=="v1.20.3"`: true, `$TAG&&$BRANCH`: "feature/login", `nullx == 1`: errors.New("nullx"),
	} {
		e, err := Parse(text)
		if failure, bad := want.(error); bad {
			if err == nil || !strings.Contains(err.Error(), failure.Error()) {
				t.Errorf("Parse(%s): %v, want an error that names %v", text, err, failure)
			}
			continue
		}
		if err != nil {
			t.Errorf("Parse(%s): %v", text, err)
			continue
		}
		if got := e.Value(lookup); got != want {
			t.Errorf("%s = %#v, want %#v", text, got, want)
		}
	}
}

func TestHolds(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]bool{
		`$TAG`: true, `$NONE`: false, `$EMPTY`: false, `$BLANK`: false, `"0"`: true, `"false"`: true, `true`: true, `false`: false, `null`: false, `/ab/`: true,
		`$EMPTY && "x"`: true, `"x" && $EMPTY`: false, `$EMPTY || "x"`: false, `$NONE || "x"`: true, `$TAG == "v1.20.3"`: true,
	} {
		e, err := Parse(text)
		if err != nil {
			t.Errorf("Parse(%s): %v", text, err)
			continue
		}
		if got := e.Holds(lookup); got != want {
			t.Errorf("%s holds: %t, want %t", text, got, want)
		}
	}
}

func TestSyntaxErrors(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]struct {
		at   int
		says string
	}{
		``:                       {0, "empty"},
		`$A =`:                   {3, "'='"},
		`$A = 1`:                 {3, "'='"},
		`$A == `:                 {6, "missing before the end"},
		`== $A`:                  {0, "missing before =="},
		`$A $B`:                  {3, "should end"},
		`($A`:                    {0, "not closed"},
		`$A)`:                    {2, "should end"},
		`"abc`:                   {0, "closing"},
		`$A =~ /ab`:              {6, "closing /"},
		`$A =~ /(/`:              {6, "cannot be read"},
		`$A =~ /(?=x)y/`:         {6, "cannot be read"},
		`${A} == "x"`:            {0, "without braces"},
		`$ == "x"`:               {0, "without a name"},
		`main == $A`:             {0, "main is neither"},
		`$A & $B`:                {3, "'&'"},
		`$A =~ /ab/x`:            {10, "no meaning"},
		`!$A`:                    {0, "'!'"},
		`$A == "x" && `:          {13, "missing before the end"},
		`$A == ü`:                {6, "'ü'"},
		"$A == \xff":             {6, "no meaning"},
		`$A && || $B`:            {6, "missing before ||"},
		`()`:                     {1, "missing before )"},
		strings.Repeat("(", 500): {200, "inside one another"},
	} {
		_, err := Parse(text)
		var syntax *SyntaxError
		if !errors.As(err, &syntax) {
			t.Errorf("Parse(%.40q): %v, want a SyntaxError", text, err)
			continue
		}
		if syntax.Offset != want.at || !strings.Contains(syntax.Message, want.says) {
			t.Errorf("Parse(%.40q): %d: %s, want %d: …%s…", text, syntax.Offset, syntax.Message, want.at, want.says)
		}
	}
	if _, err := Parse(strings.Repeat(" ", maxLength+1)); err == nil {
		t.Error("a text beyond the limit is read")
	}
}

func ExampleExpression_Holds() {
	e, err := Parse(`$CI_COMMIT_BRANCH == "main" && $DEPLOY =~ /^prod/i`)
	if err != nil {
		panic(err)
	}
	vars := map[string]string{"CI_COMMIT_BRANCH": "main", "DEPLOY": "Production"}
	fmt.Println(e.Holds(func(name string) (string, bool) { v, ok := vars[name]; return v, ok }))
	// Output: true
}

func FuzzParse(f *testing.F) {
	for _, text := range []string{`$A == "b" && ($C =~ /x\/y/i || !~ null)`, `$A =~ $B`, `((`, `"`, `/`, `true`, "$\xff"} {
		f.Add(text, "value")
	}
	f.Fuzz(func(t *testing.T, text, value string) {
		e, err := Parse(text)
		if err != nil {
			var syntax *SyntaxError
			if !errors.As(err, &syntax) || syntax.Offset < 0 || syntax.Offset > len(text) {
				t.Fatalf("Parse(%q): %#v", text, err)
			}
			return
		}
		all := func(string) (string, bool) { return value, true }
		switch v := e.Value(all).(type) {
		case nil, bool, string, *regexp.Regexp:
		default:
			t.Fatalf("%q comes to a %T", text, v)
		}
		if first := e.Holds(all); first != e.Holds(all) {
			t.Fatalf("%q gives two answers", text)
		}
	})
}

package secret

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"
	"testing"

	"github.com/fairlead-dev/fairlead/internal/plan"
)

func TestParse(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		text     string
		want     map[string]string
		problems []string
	}{
		{text: ""},
		{text: "\ufeff# comment\n\n  \t\r\n"},
		{text: "A=1\nexport B = two words  # comment\n\tC=a#b\nD=\nE= # empty\nexport=x\nexported=y", want: map[string]string{"A": "1", "B": "two words", "C": "a#b", "D": "", "E": "", "export": "x", "exported": "y"}},
		{text: "A=1\r\nB='x'\r\nC=\"a\r\nb\"\r\n", want: map[string]string{"A": "1", "B": "x", "C": "a\nb"}},
		{text: `A='it\n "is" # $x' # why` + "\nB=\"a \\\"b\\\" \\\\ \\$c \\n \\d\"", want: map[string]string{"A": `it\n "is" # $x`, "B": "a \"b\" \\ $c \n \\d"}},
		{text: "KEY=\"-----BEGIN-----\nabc=\n-----END-----\n\"\nB='1\n2'\nC", want: map[string]string{"KEY": "-----BEGIN-----\nabc=\n-----END-----\n", "B": "1\n2"},
			problems: []string{"f:7:1: the line is not NAME=value [secret-file]: values of several lines need double quotes"}},
		{text: "A=1\nA=2", want: map[string]string{"A": "2"}},
		{text: "A=1\nsecret stuff\n2B=1\n=x\nC=3", want: map[string]string{"A": "1", "C": "3"}, problems: []string{
			"f:2:1: the line is not NAME=value [secret-file]: values of several lines need double quotes",
			"f:3:1: what stands before the = is not a name of letters, digits and _ [secret-file]: values of several lines need double quotes",
			"f:4:1: what stands before the = is not a name of letters, digits and _ [secret-file]: values of several lines need double quotes"}},
		{text: "A=1\nB=\"x\nC=2", want: map[string]string{"A": "1"}, problems: []string{`f:2:1: the value of B has no closing " [secret-file]`}},
		{text: "A='x'y\nB=1", want: map[string]string{"B": "1"}, problems: []string{`f:1:1: something stands after the closing ' of the value of A [secret-file]`}},
		{text: ` {"A": "x\ny", "b-c": "1", "N": 1.50, "T": true}`, want: map[string]string{"A": "x\ny", "b-c": "1", "N": "1.50", "T": "true"}},
		{text: "{\n \"A\": \"secret\",\n}", problems: []string{"f:3:1: the file begins with { but is not JSON from here on [secret-file]"}},
		{text: `{"A": {"b": 1}}`, problems: []string{`f:1: the value of "A" is not a string [secret-file]: write it as a string`}},
		{text: `{"A": null, "B": "x"}`, want: map[string]string{"B": "x"}, problems: []string{`f:1: the value of "A" is not a string [secret-file]: write it as a string`}},
		{text: "A=\xff", problems: []string{"f:1: the file is not UTF-8 text [secret-file]"}},
	} {
		got, problems := parse("f", []byte(test.text))
		if test.want == nil {
			test.want = map[string]string{}
		}
		if !reflect.DeepEqual(got, test.want) {
			t.Errorf("%q:\n got %q\nwant %q", test.text, got, test.want)
		}
		var told []string
		for _, p := range problems {
			told = append(told, p.String())
		}
		if !reflect.DeepEqual(told, test.problems) {
			t.Errorf("%q:\n got %q\nwant %q", test.text, told, test.problems)
		}
	}
}

func TestReadFile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "secrets.env")
	if err := os.WriteFile(path, []byte("A=1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	got, problems, err := ReadFile(path)
	if err != nil || len(problems) != 0 || got["A"] != "1" {
		t.Errorf("%v, %v, %v", got, problems, err)
	}
	if runtime.GOOS != "windows" {
		if err := os.Chmod(path, 0o640); err != nil {
			t.Fatal(err)
		}
		got, problems, err = ReadFile(path)
		if err != nil || len(problems) != 1 || problems[0].Severity != plan.Warning || !strings.Contains(problems[0].Hint, "chmod 600") || got["A"] != "1" {
			t.Errorf("%v, %v, %v", got, problems, err)
		}
	}
	if _, _, err := ReadFile(filepath.Join(dir, "missing")); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
	if _, _, err := ReadFile(dir); err == nil {
		t.Error("a directory was read")
	}
	if err := os.Truncate(path, maxFile+1); err != nil {
		t.Fatal(err)
	}
	if _, _, err := ReadFile(path); err == nil {
		t.Error("a file that is too large was read")
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{"A=1\n", "export A='x'#", "A=\"\\n\n\"", `{"A":"b"}`, "{", "A=\"\r\n\\", "\xff"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		values, problems := parse("f", text)
		for name := range values {
			if name == "" && text[0] != '{' && len(problems) == 0 && !strings.Contains(string(text), "{") {
				t.Fatal("a secret without a name")
			}
		}
		lines := strings.Count(string(text), "\n") + 1
		for _, p := range problems {
			if p.Line < 1 || p.Line > lines || p.Message == "" {
				t.Fatalf("%v in a text of %d lines", p, lines)
			}
		}
	})
}

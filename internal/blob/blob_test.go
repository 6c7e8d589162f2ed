package blob_test

import (
	"strings"
	"testing"

	"github.com/fairlead-dev/fairlead/internal/blob"
)

const empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

func TestParse(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		in   string
		want blob.Digest
	}{
		{"sha256:" + empty, "sha256:" + empty},
		{empty, "sha256:" + empty},
		{strings.ToUpper("sha256:" + empty), "sha256:" + empty},
		{"", ""},
		{"sha256:", ""},
		{"sha256:" + empty[1:], ""},
		{"sha256:" + empty + "0", ""},
		{"md5:" + empty, ""},
		{"sha256:../../../../../../../../etc/passwd" + empty[:33], ""},
		{"sha256:g" + empty[1:], ""},
	} {
		got, err := blob.Parse(tt.in)
		if got != tt.want || (err == nil) != (tt.want != "") {
			t.Errorf("Parse(%q) = %q, %v; want %q", tt.in, got, err, tt.want)
		}
		if err == nil && !got.Valid() {
			t.Errorf("Parse(%q) is not valid", tt.in)
		}
	}
	if got := blob.Of(nil); got.Hex() != empty {
		t.Errorf("Of(nil) = %s", got)
	}
	if blob.Digest(empty).Valid() {
		t.Error("a digest without its algorithm is valid")
	}
}

func FuzzParse(f *testing.F) {
	f.Add("sha256:" + empty)
	f.Add("SHA256:\x00")
	f.Fuzz(func(t *testing.T, s string) {
		d, err := blob.Parse(s)
		if err != nil {
			return
		}
		if again, err := blob.Parse(string(d)); err != nil || again != d || !d.Valid() {
			t.Errorf("Parse(%q) = %q, which parses as %q, %v", s, d, again, err)
		}
	})
}

package server

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/fairlead-dev/fairlead/internal/publish"
	"github.com/fairlead-dev/fairlead/internal/record"
)

// tellReleases publishes three releases of team/app, the last of which was broken off.
func (sc *scene) tellReleases() map[string]string {
	sc.t.Helper()
	keep := func(text string) string {
		d, _, err := sc.blobs.Put(sc.t.Context(), strings.NewReader(text))
		if err != nil {
			sc.t.Fatal(err)
		}
		return string(d)
	}
	notes := "Read *this* first.\n\n### Breaking changes\n\n- **api:** take JSON alone ([#12](https://git.example.org/team/app/pull/12)) ([4711abc](https://git.example.org/team/app/commit/4711abc))\n  - clients have to send `application/json`\n\n### Fixed\n\n- a \\<b\\> and <script>alert(1)</script> [x](javascript:alert(1))\n\nMade by Ada, Grace.\n"
	for i, p := range []publish.Publication{
		{ReleasePublishing: record.ReleasePublishing{Tag: "v1.0.0", Version: "1.0.0", Why: "it is the first release"}, Done: &record.ReleasePublished{Commit: strings.Repeat("a", 40)}},
		{ReleasePublishing: record.ReleasePublishing{
			Tag: "v2.0.0", Version: "2.0.0", Since: "v1.0.0", Branch: "main", Why: "a breaking change: 4711abc (take JSON alone)", Notes: notes,
			Assets: []record.ReleaseAsset{
				{Name: "app.tar.gz", Digest: keep("bytes"), Size: 5, From: "run 2, job build", Run: "2", Job: "build", Provenance: keep(`{"payloadType":"application/vnd.in-toto+json"}`)},
				{Name: "LICENSE", Digest: keep("free"), Size: 4, From: "file LICENSE"}, {Name: "provenance.intoto.jsonl", Digest: keep("{}\n"), Size: 3}, {Name: "SHA256SUMS", Digest: keep("sums"), Size: 4},
			},
		}, Done: &record.ReleasePublished{Commit: strings.Repeat("b", 40), URL: "https://git.example.org/team/app/releases/v2.0.0"}},
		{ReleasePublishing: record.ReleasePublishing{Tag: "v2.1.0-rc.1", Version: "2.1.0-rc.1", Prerelease: true, Since: "v2.0.0", Why: "feat: 0123456 (more)", Notes: "### Added\n\n- more\n"}},
	} {
		p.Repository, p.By, p.At = "team/app", "ada", noon.Add(time.Duration(i-30)*time.Hour)
		p.Key = "team/app@" + p.Tag
		body, err := json.Marshal(p)
		if err != nil {
			sc.t.Fatal(err)
		}
		if _, err := sc.store.Change(sc.t.Context(), []record.Register{{Kind: "publication", ID: p.Key, Body: body}}); err != nil {
			sc.t.Fatal(err)
		}
	}
	return map[string]string{"releases": "/releases/team/app?tag=v2.0.0", "releases-newest": "/releases/team/app", "releases-none": "/releases/team/other"}
}

func TestReleasePages(t *testing.T) {
	t.Parallel()
	sc := newScene(t)
	sc.still()
	says := map[string][]string{
		"releases": {"<h1>v2.0.0</h1>", "<strong>api:</strong> take JSON alone (<a href=\"https://git.example.org/team/app/pull/12\" rel=\"noreferrer\">#12</a>)", "<code>application/json</code>", "a &lt;b&gt; and &lt;script&gt;",
			"nobody saw", "run 2</a>", "277089d91c0bdf4f2e6862ba7e4a07605119431f5d13f726dd352b06f1b206a9", "/api/v1/provenance/team/app?file=app.tar.gz&amp;tag=v2.0.0", "since <a href=\"/releases/team/app?tag=v1.0.0\"", "At the code host"},
		"releases-newest": {"<h1>v2.1.0-rc.1</h1>", "begun, not published", "fairlead release abandon v2.1.0-rc.1", "It has no files"},
		"releases-none":   {"No releases", "Nothing was released yet"},
	}
	for name, path := range sc.tellReleases() {
		w := sc.call("GET", path, "", session(sc.admin))
		if w.Code != 200 {
			t.Fatalf("%s: %d %s\n%s", path, w.Code, w.Body, sc.log)
		}
		page := w.Body.String()
		for _, want := range says[name] {
			if !strings.Contains(page, want) {
				t.Errorf("%s does not say %q:\n%s", path, want, page)
			}
		}
		if strings.Contains(page, `href="javascript`) || strings.Contains(page, "<script>alert") {
			t.Errorf("%s: what somebody wrote acts", path)
		}
	}
	v := answered[ReleasesView](t, sc.call("GET", "/api/v1/releases/team/app?tag=v2.0.0", "", session(sc.admin)), 200)
	if len(v.Releases) != 3 || v.Releases[0].Tag != "v2.1.0-rc.1" || v.Release == nil || len(v.Release.Assets) != 4 {
		t.Fatalf("%+v", v)
	}
	for path, want := range map[string]string{v.Release.Assets[0].URL: "bytes", v.Release.Assets[0].Provenance: `{"payloadType":"application/vnd.in-toto+json"}`} {
		if w := sc.call("GET", path, "", session(sc.admin)); w.Code != 200 || w.Body.String() != want {
			t.Errorf("%s: %d %q", path, w.Code, w.Body)
		}
	}
	for _, path := range []string{"/api/v1/release-files/team/app?tag=v9&file=app.tar.gz", "/api/v1/release-files/team/app?tag=v2.0.0&file=none", "/api/v1/provenance/team/app?tag=v2.0.0&file=LICENSE", "/api/v1/releases/team/app?tag=v9"} {
		if w := sc.call("GET", path, "", session(sc.admin)); w.Code != 404 {
			t.Errorf("%s: %d", path, w.Code)
		}
	}
}

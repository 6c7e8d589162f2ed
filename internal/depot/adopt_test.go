package depot

import (
	"testing"
	"time"
)

// TestAdopt: what was saved on one machine is found on another, as it was.
func TestAdopt(t *testing.T) {
	t.Parallel()
	one, two := newDepot(t, t.TempDir()), newDepot(t, t.TempDir())
	digest, n := put(t, one, "x")
	adopt := func(a *Artifact) {
		t.Helper()
		for range 2 { // again, as after a crash
			if err := two.Adopt(t.Context(), *a); err != nil {
				t.Fatal(err)
			}
		}
	}
	saved := &Artifact{Run: "1", Job: "build", Name: "docs", Digest: digest, Size: n, Type: "text/html"}
	own := &Artifact{Run: "1", Job: "build", Name: "docs", Digest: digest, Size: n, Type: ZipType, Own: true, Kind: "stash"}
	for _, a := range []*Artifact{saved, own} {
		if err := one.AddArtifact(a, false); err != nil {
			t.Fatal(err)
		}
		adopt(a)
	}
	if got, err := two.Artifact("1", "docs"); err != nil || got == nil || got.ID != saved.ID || got.Type != "text/html" || !got.Created.Equal(saved.Created) {
		t.Errorf("found %+v (%v)", got, err)
	}
	if got, err := two.Own("1", "build", "docs"); err != nil || got == nil || got.ID != own.ID || got.Kind != "stash" {
		t.Errorf("found %+v (%v)", got, err)
	}

	older := *saved
	older.ID, older.Created = 1, saved.Created.Add(-time.Minute)
	adopt(&older)
	if got, err := two.Artifact("1", "docs"); err != nil || got.ID != saved.ID {
		t.Errorf("an older one took its place: %+v (%v)", got, err)
	}
	newer := *saved
	newer.ID, newer.Created = 3, saved.Created.Add(time.Minute)
	adopt(&newer)
	if got, err := two.Artifact("1", "docs"); err != nil || got.ID != 3 {
		t.Errorf("a newer one did not take its place: %+v (%v)", got, err)
	}

	for _, bad := range []Artifact{
		{Run: "1", ID: 1, Name: "x", Digest: "sha256:x"}, {Run: "1", ID: 1, Digest: digest}, {Run: "../1", ID: 1, Name: "x", Digest: digest},
		{Run: "1", ID: 1, Name: "\xff", Digest: digest}, {Run: "1", Name: "x", Digest: digest},
	} {
		if err := two.Adopt(t.Context(), bad); err == nil {
			t.Errorf("%+v was taken over", bad)
		}
	}
}

// TestAdoptCache: what was saved on one machine is found on another by its key, from where it
// may be seen.
func TestAdoptCache(t *testing.T) {
	t.Parallel()
	one, two := newDepot(t, t.TempDir()), newDepot(t, t.TempDir())
	digest, n := put(t, one, "x")
	put(t, two, "x")
	main := Scope{Repository: "Team/App", Refs: []string{"refs/heads/main"}, Run: "1", Job: "build"}
	if err := one.AddCache(t.Context(), main, "v1", "deps-1", digest, n, false); err != nil {
		t.Fatal(err)
	}
	if err := one.AddCache(t.Context(), Scope{Repository: "team/other", Refs: main.Refs}, "v1", "deps-2", digest, n, false); err != nil {
		t.Fatal(err)
	}
	all, err := one.Caches(t.Context(), "team/app")
	if err != nil || len(all) != 1 || all[0].Key != "deps-1" || all[0].Run != "1" {
		t.Fatalf("caches %+v (%v)", all, err)
	}
	for range 2 {
		if err := two.AdoptCache(t.Context(), "team/app", all[0]); err != nil {
			t.Fatal(err)
		}
	}
	older := all[0]
	older.Created, older.Job = older.Created.Add(-time.Hour), "older"
	if err := two.AdoptCache(t.Context(), "team/app", older); err != nil {
		t.Fatal(err)
	}
	found, err := two.FindCache(t.Context(), Scope{Repository: "team/app", Refs: []string{"refs/heads/x", "refs/heads/main"}}, "v1", []string{"deps-"})
	if err != nil || found == nil || found.Job != "build" {
		t.Errorf("found %+v (%v)", found, err)
	}
	if found, err := two.FindCache(t.Context(), Scope{Repository: "team/app", Refs: []string{"refs/heads/x"}}, "v1", []string{"deps-"}); err != nil || found != nil {
		t.Errorf("seen from another branch: %+v (%v)", found, err)
	}
	for _, bad := range []Cache{{Key: "x", Digest: "sha256:x"}, {Digest: digest}, {Key: "\xff", Digest: digest}} {
		if err := two.AdoptCache(t.Context(), "team/app", bad); err == nil {
			t.Errorf("%+v was taken over", bad)
		}
	}
	if list, err := newDepot(t, t.TempDir()).Caches(t.Context(), "team/app"); err != nil || list != nil {
		t.Errorf("of nothing: %v (%v)", list, err)
	}
}

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

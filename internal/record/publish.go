package record

import "time"

// ReleasePublishing says that a release is about to be published: everything that
// it will be, written down before anything of it is done. Whoever finds it without
// its [ReleasePublished] goes on with it as it stands here: the same time, the same
// notes, the same bytes.
type ReleasePublishing struct {
	Key        string    `json:"key"` // unique: repository and tag
	Repository string    `json:"repository"`
	Component  string    `json:"component,omitempty"`
	Version    string    `json:"version"`
	Tag        string    `json:"tag"`
	Message    string    `json:"message"`          // of the tag
	Commit     string    `json:"commit"`           // what is released
	Branch     string    `json:"branch,omitempty"` // it stood on
	Since      string    `json:"since,omitempty"`  // the tag of the release before
	Why        string    `json:"why"`              // this version
	At         time.Time `json:"at"`
	By         string    `json:"by"`
	Notes      string    `json:"notes"` // Markdown
	Prerelease bool      `json:"prerelease,omitempty"`

	Changelog *ReleaseChangelog `json:"changelog,omitempty"`
	Remote    string            `json:"remote,omitempty"` // git's name of where it is pushed to; "" for nowhere
	Host      *ReleaseHost      `json:"host,omitempty"`   // nil: no code host is told
	Assets    []ReleaseAsset    `json:"assets,omitempty"`
}

// ReleaseChangelog is the commit of a changelog, which then is what the tag names.
type ReleaseChangelog struct {
	Path    string `json:"path"`
	Text    string `json:"text"` // digest of the blob of the whole file
	Message string `json:"message"`
}

// ReleaseHost is the code host that a release is made at.
type ReleaseHost struct {
	Forge      string `json:"forge"` // "github"
	API        string `json:"api,omitempty"`
	URL        string `json:"url,omitempty"` // of the repository, without credentials
	Repository string `json:"repository"`
	Draft      bool   `json:"draft,omitempty"`
}

// ReleaseAsset is a file of a release.
type ReleaseAsset struct {
	Name   string `json:"name"`
	Digest string `json:"digest"` // of its blob: sha256:…
	Size   int64  `json:"size"`
	Type   string `json:"type,omitempty"`
	// From says where it came from: "file", "run 12, job build", "command"; "" for
	// what the release itself made: checksums, provenance.
	From string `json:"from,omitempty"`
	Run  string `json:"run,omitempty"` // that kept it
	Job  string `json:"job,omitempty"`
	// Provenance is the blob of the statement that says how it was made; "" when
	// nobody saw that.
	Provenance string `json:"provenance,omitempty"`
}

// ReleasePublished ends a publication.
type ReleasePublished struct {
	Key    string `json:"key"`
	Commit string `json:"commit,omitempty"` // that the tag names
	URL    string `json:"url,omitempty"`    // its page at the code host
	Error  string `json:"error,omitempty"`  // it was given up: why
	By     string `json:"by,omitempty"`
}

func (*ReleasePublishing) kind() Kind { return "release.publishing" }
func (*ReleasePublished) kind() Kind  { return "release.published" }

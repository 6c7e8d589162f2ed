package server

import (
	"cmp"
	"errors"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/fairlead-dev/fairlead/internal/access"
	"github.com/fairlead-dev/fairlead/internal/blob"
	"github.com/fairlead-dev/fairlead/internal/publish"
	"github.com/fairlead-dev/fairlead/internal/record"
)

// maxReleases is how many releases a page lists.
const maxReleases = 200

// releaseRoutes are the rows about releases.
func (s *Server) releaseRoutes() []route {
	tag := param{Name: "tag", Says: "of this release; else of the newest"}
	return []route{
		{Method: "GET", Path: "/releases/{repository...}", Verb: access.SeeRuns, Object: inPath, Template: "releases", Do: view(s.pageReleases),
			Says: "The releases of a repository, newest first, and one of them whole: its notes and its files.", Query: []param{tag}},
		{Method: "GET", Path: "/release-files/{repository...}", Verb: access.SeeRuns, Object: inPath, Untimed: true, Faces: apiOnly, Do: stream(s.releaseFile), Media: "application/octet-stream",
			Says: "One file of a release.", Query: []param{tag, {Name: "file", Says: "its name; else its checksums"}}},
		{Method: "GET", Path: "/provenance/{repository...}", Verb: access.SeeRuns, Object: inPath, Faces: apiOnly, Do: stream(s.releaseProvenance), Media: "application/json",
			Says: "How a file of a release was made: a DSSE envelope with an in-toto statement.", Query: []param{tag, {Name: "file", Says: "its name; else all statements of the release, one a line"}}},
	}
}

// ReleasesView are the releases of a repository.
type ReleasesView struct {
	Repository string         `json:"repository"`
	Releases   []ReleaseRow   `json:"releases"` // newest first
	More       int            `json:"more,omitempty"`
	Release    *ReleaseDetail `json:"release,omitempty"` // that was asked for, or the newest
}

// ReleaseRow is a release in a list.
type ReleaseRow struct {
	Tag        string    `json:"tag"`
	Component  string    `json:"component,omitempty"`
	Version    string    `json:"version"`
	Prerelease bool      `json:"prerelease,omitempty"`
	Commit     string    `json:"commit"`
	At         time.Time `json:"at"`
	By         string    `json:"by"`
	Files      int       `json:"files"`
	Unfinished bool      `json:"unfinished,omitempty"` // it was begun and is not published
	Page       string    `json:"page,omitempty"`       // at the code host
}

// ReleaseDetail is a whole release.
type ReleaseDetail struct {
	ReleaseRow
	Why    string         `json:"why"`
	Since  string         `json:"since,omitempty"`
	Branch string         `json:"branch,omitempty"`
	Notes  string         `json:"notes"` // Markdown
	Assets []ReleaseAsset `json:"assets"`
}

// ReleaseAsset is a file of a release.
type ReleaseAsset struct {
	Name       string `json:"name"`
	Size       int64  `json:"size"`
	Digest     string `json:"digest"`
	From       string `json:"from,omitempty"` // "file dist/app", "command make"; "" for what the release itself made
	Run        string `json:"run,omitempty"`  // that kept it
	Job        string `json:"job,omitempty"`
	URL        string `json:"url"`
	Provenance string `json:"provenance,omitempty"` // address of the statement that says how it was made
}

// Sum is the file's SHA-256 as checksums have it: digits alone.
func (a ReleaseAsset) Sum() string { return strings.TrimPrefix(a.Digest, "sha256:") }

func releaseRow(p *publish.Publication) ReleaseRow {
	row := ReleaseRow{Tag: p.Tag, Component: p.Component, Version: p.Version, Prerelease: p.Prerelease, Commit: p.Commit, At: p.At, By: p.By, Files: len(p.Assets), Unfinished: p.Done == nil}
	if p.Done != nil {
		row.Commit, row.Page = p.Done.Commit, p.Done.URL
	}
	return row
}

// publications are those of the repository that a path names, newest first.
func (s *Server) publications(r *request) ([]publish.Publication, error) {
	if s.Publications == nil {
		return nil, lacking("releases")
	}
	list, err := publish.Publications(r.Context(), s.Publications, r.PathValue("repository"))
	if err != nil {
		return nil, err
	}
	slices.SortStableFunc(list, func(a, b publish.Publication) int { return b.At.Compare(a.At) })
	return list, nil
}

func (s *Server) pageReleases(r *request) (v ReleasesView, err error) {
	v.Repository, v.Releases = r.PathValue("repository"), []ReleaseRow{}
	list, err := s.publications(r)
	if err != nil {
		return v, err
	}
	v.More = max(len(list)-maxReleases, 0)
	for i := range list[:len(list)-v.More] {
		v.Releases = append(v.Releases, releaseRow(&list[i]))
	}
	tag := r.URL.Query().Get("tag")
	at := slices.IndexFunc(list, func(p publish.Publication) bool { return tag == "" || p.Tag == tag })
	if at < 0 {
		if tag != "" {
			return v, missing("release")
		}
		return v, nil
	}
	v.Release = releaseDetail(v.Repository, &list[at])
	return v, nil
}

func releaseDetail(repository string, p *publish.Publication) *ReleaseDetail {
	d := &ReleaseDetail{ReleaseRow: releaseRow(p), Why: p.Why, Since: p.Since, Branch: p.Branch, Notes: p.Notes, Assets: []ReleaseAsset{}}
	for _, a := range p.Assets {
		row := ReleaseAsset{Name: a.Name, Size: a.Size, Digest: a.Digest, From: a.From, Run: a.Run, Job: a.Job, URL: releaseURL("release-files", repository, p.Tag, a.Name)}
		if a.Provenance != "" {
			row.Provenance = releaseURL("provenance", repository, p.Tag, a.Name)
		}
		d.Assets = append(d.Assets, row)
	}
	return d
}

// releaseURL is where a file of a release, or what is said of it, can be had.
func releaseURL(what, repository, tag, file string) string {
	return apiRoot + "/" + what + "/" + escapePath(repository) + "?" + url.Values{"tag": {tag}, "file": {file}}.Encode()
}

// asset is the file of a release that a request names, or else the one called other. With no
// release named it is of the newest that is published.
func (s *Server) asset(r *request, other string) (*record.ReleaseAsset, error) {
	list, err := s.publications(r)
	if err != nil {
		return nil, err
	}
	q := r.URL.Query()
	name := cmp.Or(q.Get("file"), other)
	for i := range list {
		if tag := q.Get("tag"); tag != "" && list[i].Tag != tag || tag == "" && list[i].Done == nil {
			continue
		}
		for k := range list[i].Assets {
			if list[i].Assets[k].Name == name {
				return &list[i].Assets[k], nil
			}
		}
		break
	}
	return nil, missing("file of a release")
}

// releaseFile sends a file of a release. Like an artifact, it is a file to be saved.
func (s *Server) releaseFile(w http.ResponseWriter, r *request) error {
	a, err := s.asset(r, publish.SumsName)
	if err != nil {
		return err
	}
	if s.Blobs == nil {
		return lacking("files of releases")
	}
	return s.sendBlob(w, r, blob.Digest(a.Digest), a.Size, a.Name)
}

// maxEnvelope bounds the bytes of a statement that is sent.
const maxEnvelope = 128 << 20

func (s *Server) releaseProvenance(w http.ResponseWriter, r *request) error {
	a, err := s.asset(r, publish.ProvenanceName)
	if err != nil {
		return err
	}
	if a.Name == publish.ProvenanceName && a.From == "" {
		a.Provenance = a.Digest // all statements, one a line
	}
	if a.Provenance == "" || s.Blobs == nil {
		return missing("statement about that file")
	}
	body, err := s.Blobs.Open(r.Context(), blob.Digest(a.Provenance))
	if errors.Is(err, blob.ErrNotFound) {
		return missing("statement about that file")
	}
	if err != nil {
		return err
	}
	defer body.Close()
	w.Header().Set("Content-Type", "application/json")
	_, err = io.Copy(w, io.LimitReader(body, maxEnvelope))
	return err
}

// noteBlock is a heading, an item of a list, or a paragraph of notes.
type noteBlock struct {
	Kind  string // "heading", "item", "inner", "text", "code"
	Spans []noteSpan
	First bool // of a list
	Last  bool
}

// noteSpan is a piece of a line.
type noteSpan struct {
	Text string
	Href string // "" for none; https, http
	Bold bool
	Code bool
}

// noteInline finds what is more than text in a line: an escape, code, bold, a link.
var noteInline = regexp.MustCompile("\\\\([\\\\<>\\[\\]*_`#])|`([^`]+)`|\\*\\*([^*]+)\\*\\*|\\[([^\\]]+)\\]\\((https?://[^\\s)]+)\\)")

// Blocks reads the Markdown of notes, as much of it as notes are written in. What is not
// understood is shown as it is written.
func (d ReleaseDetail) Blocks() (list []noteBlock) {
	fenced := false
	for line := range strings.Lines(d.Notes) {
		line = strings.TrimRight(line, "\n")
		b := noteBlock{Kind: "text"}
		trimmed := strings.TrimSpace(line)
		switch {
		case strings.HasPrefix(trimmed, "```"):
			fenced = !fenced
			continue
		case fenced:
			b.Kind, b.Spans = "code", []noteSpan{{Text: line}}
		case trimmed == "":
			continue
		case strings.HasPrefix(trimmed, "#"):
			b.Kind, trimmed = "heading", strings.TrimLeft(trimmed, "# ")
		case strings.HasPrefix(trimmed, "- ") || strings.HasPrefix(trimmed, "* "):
			b.Kind = "item"
			if line != trimmed {
				b.Kind = "inner"
			}
			trimmed = trimmed[2:]
		}
		if b.Spans == nil {
			b.Spans = spans(trimmed)
		}
		list = append(list, b)
	}
	listed := func(i int) bool {
		return i >= 0 && i < len(list) && (list[i].Kind == "item" || list[i].Kind == "inner")
	}
	for i := range list {
		list[i].First, list[i].Last = listed(i) && !listed(i-1), listed(i) && !listed(i+1)
	}
	return list
}

func spans(line string) (list []noteSpan) {
	plain := ""
	flush := func() {
		if plain != "" {
			list, plain = append(list, noteSpan{Text: plain}), ""
		}
	}
	for line != "" {
		m := noteInline.FindStringSubmatchIndex(line)
		if m == nil {
			plain += line
			break
		}
		part := func(i int) string {
			if m[2*i] < 0 {
				return ""
			}
			return line[m[2*i]:m[2*i+1]]
		}
		plain += line[:m[0]]
		switch {
		case part(1) != "":
			plain += part(1)
		case part(2) != "":
			flush()
			list = append(list, noteSpan{Text: part(2), Code: true})
		case part(3) != "":
			flush()
			list = append(list, noteSpan{Text: part(3), Bold: true})
		default:
			flush()
			list = append(list, noteSpan{Text: part(4), Href: part(5)})
		}
		line = line[m[1]:]
	}
	flush()
	return list
}

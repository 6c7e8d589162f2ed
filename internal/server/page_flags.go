package server

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/fairlead-dev/fairlead/internal/access"
	"github.com/fairlead-dev/fairlead/internal/feature"
	"github.com/fairlead-dev/fairlead/internal/launch"
	"github.com/fairlead-dev/fairlead/internal/plan"
)

// flagRoutes are the rows of feature flags, for people and their tools. Programs ask elsewhere:
// see [Server.flagClientRoutes].
func (s *Server) flagRoutes() []route {
	environment := param{Name: "environment", Says: "of which environment; the first there is, if none is named"}
	flag := param{Name: "flag", Says: "its key"}
	changed := func(what string) func(*request, any) (string, string) {
		return func(*request, any) (string, string) { return "", "The flag was " + what + "." }
	}
	return []route{
		{Method: "GET", Path: "/flags", Verb: access.SeeFlags, Somewhere: true, Template: "flag-places", Do: view(s.flagPlaces), Says: "The repositories of which one may see feature flags."},
		{Method: "GET", Path: "/flags/{repository...}", Verb: access.SeeFlags, Object: inPath, Template: "flags", Do: view(s.flags), Says: "The feature flags of an environment.",
			Query: []param{environment, {Name: "text", Says: "only flags whose key, owner, description or tags have this text"}, {Name: "state", Says: "only those that are killed, guarded, stale, or partly on"}}},
		{Method: "GET", Path: "/flag/{repository...}", Verb: access.SeeFlags, Object: inPath, Template: "flag", Do: view(s.flag), Says: "One of them: its rules in words, and its history.", Query: []param{environment, flag}},
		{Method: "GET", Path: "/flags-file/{repository...}", Verb: access.SeeFlags, Object: inPath, Faces: apiOnly, Do: stream(s.flagsFile), Media: "application/json", Says: "The flags of an environment as a file in flagd's format.",
			Query: []param{environment, {Name: "plain", Says: "in flagd's words alone", Kind: "boolean"}, {Name: "format", Says: "unleash: as Unleash's clients are answered"}}},
		{Method: "PUT", Path: "/flags/{repository...}", Verb: access.SetFlags, Object: inPath, Form: "/flags/{repository...}", Do: act(s.setFlag), Then: changed("set"), Says: "Say what a flag is from now on: all of it is given."},
		{Method: "DELETE", Path: "/flags/{repository...}", Verb: access.SetFlags, Object: inPath, Form: "/remove-flag/{repository...}", Do: act(s.removeFlag), Then: changed("removed"), Says: "Remove a flag."},
		{Method: "POST", Path: "/flags-file/{repository...}", Verb: access.SetFlags, Object: inPath, MaxBody: 2 * feature.MaxFile, Do: act(s.importFlags), Says: "Take over a file of definitions, of flagd or of Unleash, in one transaction."},
		{Method: "POST", Path: "/kill-flag/{repository...}", Verb: access.KillFlag, Object: inPath, Form: "/kill-flag/{repository...}", Do: act(s.killFlag), Then: changed("killed"), Says: "Turn a flag off for everybody, at once."},
		{Method: "POST", Path: "/revive-flag/{repository...}", Verb: access.SetFlags, Object: inPath, Form: "/revive-flag/{repository...}", Do: act(s.reviveFlag), Then: changed("revived"), Says: "Take back the kill switch of a flag."},
		{Method: "POST", Path: "/share-flag/{repository...}", Verb: access.SetFlags, Object: inPath, Form: "/share-flag/{repository...}", Do: act(s.shareFlag), Then: changed("changed"), Says: "Set the share of the users that a variant has."},
	}
}

// FlagPlacesView lists repositories.
type FlagPlacesView struct {
	Repositories []FlagPlace `json:"repositories"`
}

// FlagPlace is a repository and the environments of it that have flags.
type FlagPlace struct {
	Repository   string   `json:"repository"`
	Environments []string `json:"environments"`
}

func (s *Server) flagPlaces(r *request) (FlagPlacesView, error) {
	v := FlagPlacesView{Repositories: []FlagPlace{}}
	if s.Flags == nil || s.Desk == nil {
		return v, lacking("feature flags")
	}
	list, err := s.Desk.Repositories(r.Context())
	if err != nil {
		return v, err
	}
	for _, repo := range list {
		if !r.May(access.SeeFlags, access.Object{Repository: repo.Name}) {
			continue
		}
		names, err := s.Flags.Environments(r.Context(), repo.Name)
		if err != nil {
			return v, err
		}
		v.Repositories = append(v.Repositories, FlagPlace{repo.Name, names})
	}
	slices.SortFunc(v.Repositories, func(a, b FlagPlace) int { return cmp.Compare(a.Repository, b.Repository) })
	return v, nil
}

// FlagsView is what an environment's flags are.
type FlagsView struct {
	Repository   string    `json:"repository"`
	Environment  string    `json:"environment"`  // "" when there is none with flags
	Environments []string  `json:"environments"` // with flags
	Base         string    `json:"base"`         // what OpenFeature's providers are given as their base URL
	Flags        []FlagRow `json:"flags"`
	Of           int       `json:"of"` // flags, chosen or not
	Killed       int       `json:"killed"`
	Text         string    `json:"-"`
	State        string    `json:"-"`
}

// FlagRow is a flag in a list.
type FlagRow struct {
	Key         string          `json:"key"`
	State       string          `json:"state"` // "on", "off", "killed", "partly", "rules", "scheduled", "over"
	Description string          `json:"description,omitempty"`
	Owner       string          `json:"owner,omitempty"`
	Tags        []string        `json:"tags,omitempty"`
	Killed      string          `json:"killed,omitempty"` // why
	Default     string          `json:"default,omitempty"`
	Value       json.RawMessage `json:"value,omitempty"` // of the default
	Shares      []feature.Share `json:"shares,omitempty"`
	Guarded     bool            `json:"guarded,omitempty"`
	Stale       string          `json:"stale,omitempty"` // why it may be removed
	Changed     time.Time       `json:"changed,omitzero"`
	By          string          `json:"by,omitempty"`
	Why         string          `json:"why,omitempty"`
	Definition  json.RawMessage `json:"definition"` // as it stands in a file
}

// flagPlace is the environment that is asked for, and those that there are.
func (s *Server) flagPlace(r *request) (repository, environment string, all []string, err error) {
	repository = r.PathValue("repository")
	if s.Flags == nil || s.Desk == nil {
		return "", "", nil, lacking("feature flags")
	}
	if _, err := s.Desk.Repository(r.Context(), repository); err != nil {
		return "", "", nil, err
	}
	if all, err = s.Flags.Environments(r.Context(), repository); err != nil {
		return "", "", nil, err
	}
	environment = strings.ToLower(r.URL.Query().Get("environment"))
	if environment == "" && len(all) > 0 {
		environment = all[0]
		if slices.Contains(all, "production") {
			environment = "production"
		}
	}
	return repository, environment, all, nil
}

func (s *Server) flags(r *request) (v FlagsView, err error) {
	if v.Repository, v.Environment, v.Environments, err = s.flagPlace(r); err != nil {
		return v, err
	}
	v.Flags = []FlagRow{}
	v.Text, v.State = r.URL.Query().Get("text"), r.URL.Query().Get("state")
	if v.Environment == "" {
		return v, nil
	}
	v.Base = s.flagBase(r, v.Repository, v.Environment)
	list, err := s.Flags.List(r.Context(), v.Repository, v.Environment)
	if err != nil {
		return v, err
	}
	now := s.Now()
	stale := staleFlags(list, now)
	for i := range list {
		row := flagRow(&list[i], now)
		row.Stale = stale[row.Key]
		v.Of++
		if row.State == "killed" {
			v.Killed++
		}
		if row.fits(v.Text, v.State) {
			v.Flags = append(v.Flags, row)
		}
	}
	return v, nil
}

// flagBase is the base URL of programs.
func (s *Server) flagBase(r *request, repository, environment string) string {
	root := "http://" + r.Host
	if s.URL != "" {
		root = strings.TrimRight(s.URL, "/")
	}
	return root + clientRoot + escapePath(repository) + "/" + escapePath(environment)
}

func staleFlags(list []launch.KeptFlag, now time.Time) map[string]string {
	d := &feature.Definitions{}
	changed := map[string]time.Time{}
	for _, k := range list {
		d.Flags = append(d.Flags, k.Flag)
		changed[k.Key] = k.Changed
	}
	stale := map[string]string{}
	for _, x := range feature.FindStale(d, nil, false, func(flag string) time.Time { return changed[flag] }, now) {
		stale[x.Flag] = x.Why
	}
	return stale
}

func (f FlagRow) fits(text, state string) bool {
	text = strings.ToLower(text)
	if text != "" && !strings.Contains(strings.ToLower(f.Key+"\n"+f.Owner+"\n"+f.Description+"\n"+strings.Join(f.Tags, "\n")), text) {
		return false
	}
	switch state {
	case "":
		return true
	case "guarded":
		return f.Guarded
	case "stale":
		return f.Stale != ""
	}
	return f.State == state
}

func flagRow(k *launch.KeptFlag, now time.Time) FlagRow {
	row := FlagRow{Key: k.Key, State: k.Standing(now), Description: k.Care.Description, Owner: k.Care.Owner, Tags: k.Care.Tags, Killed: k.Care.Killed, Default: k.Default,
		Shares: k.Shares(), Guarded: k.Care.Guard != nil, Changed: k.Changed, By: k.By, Why: k.Why}
	for _, v := range k.Variants {
		if v.Name == k.Default {
			row.Value = v.Value
		}
	}
	row.Definition, _ = k.MarshalJSON() // never fails
	return row
}

// FlagView is one flag.
type FlagView struct {
	Repository   string             `json:"repository"`
	Environment  string             `json:"environment"`
	Environments []string           `json:"environments"` // that have this flag
	Row          FlagRow            `json:"flag"`
	Variants     []FlagVariant      `json:"variants"`
	Words        []feature.Sentence `json:"words"`
	Off          string             `json:"off,omitempty"`
	Guard        *feature.Guard     `json:"guard,omitempty"`
	Definition   json.RawMessage    `json:"definition"` // as it stands in a file
	History      []FlagHistoryRow   `json:"history"`    // the newest first
	// References are the lines of the code that name it, Commit the one that was searched; ""
	// when none was.
	References []feature.Reference    `json:"references,omitempty"`
	Commit     string                 `json:"commit,omitempty"`
	Metadata   map[string]any         `json:"metadata,omitempty"`
	Needs      []feature.Prerequisite `json:"needs,omitempty"`
}

// FlagVariant is a variant of a flag.
type FlagVariant struct {
	Name  string          `json:"name"`
	Value json.RawMessage `json:"value"`
}

// FlagHistoryRow is a change of a flag.
type FlagHistoryRow struct {
	Seq  int64     `json:"seq"`
	Time time.Time `json:"time"`
	Act  string    `json:"act"`
	What string    `json:"what"`
	By   string    `json:"by"`
	Why  string    `json:"why"`
}

// shownHistory is how many changes of a flag its page has.
const shownHistory = 50

func (s *Server) flag(r *request) (v FlagView, err error) {
	var all []string
	if v.Repository, v.Environment, all, err = s.flagPlace(r); err != nil {
		return v, err
	}
	ref := launch.FlagRef{Repository: v.Repository, Environment: v.Environment, Flag: r.URL.Query().Get("flag")}
	k, err := s.Flags.Find(r.Context(), ref)
	if err != nil {
		return v, missing("flag")
	}
	now := s.Now()
	v.Row = flagRow(&k, now)
	v.Row.Stale = staleFlags([]launch.KeptFlag{k}, now)[k.Key]
	v.Words, v.Off, v.Guard, v.Metadata, v.Needs = k.Words(), k.Care.Off, k.Care.Guard, k.Metadata, k.Care.Needs
	for _, x := range k.Variants {
		v.Variants = append(v.Variants, FlagVariant{x.Name, x.Value})
	}
	if v.Definition, err = k.MarshalJSON(); err != nil {
		return v, err
	}
	for _, name := range all {
		if live, err := s.Flags.List(r.Context(), v.Repository, name); err == nil && slices.ContainsFunc(live, func(o launch.KeptFlag) bool { return o.Key == k.Key }) {
			v.Environments = append(v.Environments, name)
		}
	}
	changes, err := s.Flags.History(r.Context(), ref, shownHistory)
	if err != nil {
		return v, err
	}
	v.References, v.Commit = s.Flags.References(r.Context(), v.Repository, k.Key)
	v.History = []FlagHistoryRow{}
	for i := range changes {
		c := &changes[i]
		v.History = append(v.History, FlagHistoryRow{c.Seq, c.Time, c.Act, c.Summary(), c.By, c.Why})
	}
	return v, nil
}

// Pretty is the definition with a line for each part.
func (v FlagView) Pretty() string {
	var x any
	if json.Unmarshal(v.Definition, &x) != nil {
		return string(v.Definition)
	}
	b, err := json.MarshalIndent(x, "", "  ")
	if err != nil {
		return string(v.Definition)
	}
	return string(b)
}

func (s *Server) flagsFile(w http.ResponseWriter, r *request) error {
	repository, environment, _, err := s.flagPlace(r)
	if err != nil {
		return err
	}
	list, err := s.Flags.List(r.Context(), repository, environment)
	if err != nil {
		return err
	}
	d := &feature.Definitions{}
	for _, k := range list {
		d.Flags = append(d.Flags, k.Flag)
	}
	body := feature.Write(d, r.URL.Query().Get("plain") == "true")
	if r.URL.Query().Get("format") == "unleash" {
		body, _ = feature.WriteUnleash(d, s.Now())
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	_, _ = w.Write(body)
	return nil
}

// SettingFlag says what a flag is to be.
type SettingFlag struct {
	Environment string `json:"environment"`
	Flag        string `json:"flag"`
	Definition  string `json:"definition"` // as it stands in a file of definitions
	Why         string `json:"why"`
}

// flagAct finds where an act is done, and whether it may be.
func (s *Server) flagAct(r *request, v access.Verb, environment, flag string) (launch.FlagRef, error) {
	ref := launch.FlagRef{Repository: r.PathValue("repository"), Environment: environment, Flag: flag}
	if s.Flags == nil {
		return ref, lacking("feature flags")
	}
	return ref, r.may(v, access.Object{Repository: ref.Repository, Environment: strings.ToLower(environment)})
}

func (s *Server) setFlag(r *request, in *SettingFlag) (nothing, error) {
	ref, err := s.flagAct(r, access.SetFlags, in.Environment, in.Flag)
	if err != nil {
		return nothing{}, err
	}
	flag, problems := feature.ReadFlag("the definition", in.Flag, []byte(in.Definition))
	if err := firstProblem(problems); err != nil {
		return nothing{}, err
	}
	flag.Source = plan.Source{}
	return nothing{}, s.Flags.Set(r.Context(), r.by(), ref.Repository, ref.Environment, flag, in.Why)
}

// firstProblem is the first thing that is wrong with definitions, as an error.
func firstProblem(problems []plan.Problem) error {
	for _, p := range problems {
		if p.Severity == plan.Error {
			return &plan.UsageError{Message: fmt.Sprintf("%s: %s", p.Source, p.Message), Hint: p.Hint}
		}
	}
	return nil
}

// FlagAct names a flag that something is done to, and why.
type FlagAct struct {
	Environment string  `json:"environment"`
	Flag        string  `json:"flag"`
	Why         string  `json:"why"`
	Variant     string  `json:"variant,omitempty"` // of a share
	Percent     float64 `json:"percent,omitempty"`
}

func (s *Server) removeFlag(r *request, in *FlagAct) (nothing, error) {
	ref, err := s.flagAct(r, access.SetFlags, in.Environment, in.Flag)
	if err != nil {
		return nothing{}, err
	}
	return nothing{}, s.Flags.Remove(r.Context(), r.by(), ref, in.Why)
}

func (s *Server) killFlag(r *request, in *FlagAct) (nothing, error) {
	ref, err := s.flagAct(r, access.KillFlag, in.Environment, in.Flag)
	if err != nil {
		return nothing{}, err
	}
	return nothing{}, s.Flags.Kill(r.Context(), r.by(), ref, in.Why)
}

func (s *Server) reviveFlag(r *request, in *FlagAct) (nothing, error) {
	ref, err := s.flagAct(r, access.SetFlags, in.Environment, in.Flag)
	if err != nil {
		return nothing{}, err
	}
	return nothing{}, s.Flags.Revive(r.Context(), r.by(), ref, in.Why)
}

func (s *Server) shareFlag(r *request, in *FlagAct) (nothing, error) {
	ref, err := s.flagAct(r, access.SetFlags, in.Environment, in.Flag)
	if err != nil {
		return nothing{}, err
	}
	return nothing{}, s.Flags.Share(r.Context(), r.by(), ref, in.Variant, in.Percent, in.Why)
}

// ImportingFlags is a file of definitions.
type ImportingFlags struct {
	Environment string `json:"environment"`
	Name        string `json:"name,omitempty"`   // of the file: YAML, if it ends so
	Format      string `json:"format,omitempty"` // "unleash"; "" for flagd's
	Definitions string `json:"definitions"`
	Prune       bool   `json:"prune,omitempty"` // remove flags that the file does not have
	Why         string `json:"why"`
}

// ImportedFlags says what came of it.
type ImportedFlags struct {
	Changed int `json:"changed"` // flags that are different now
}

func (s *Server) importFlags(r *request, in *ImportingFlags) (v ImportedFlags, err error) {
	ref, err := s.flagAct(r, access.SetFlags, in.Environment, "")
	if err != nil {
		return v, err
	}
	read := feature.Read
	if in.Format == "unleash" {
		read = feature.ReadUnleash
	}
	d, problems := read(cmp.Or(in.Name, feature.Name), []byte(in.Definitions))
	if err := firstProblem(problems); err != nil {
		return v, err
	}
	v.Changed, err = s.Flags.Import(r.Context(), r.by(), ref.Repository, ref.Environment, d, in.Prune, in.Why)
	return v, err
}

// flagStates are the choices of the list of flags.
var flagStates = []choice{{"", "all"}, {"on", "on for all"}, {"partly", "partly on"}, {"rules", "by rules"}, {"killed", "killed"}, {"off", "disabled"}, {"scheduled", "not yet"}, {"over", "over"}, {"guarded", "guarded"}, {"stale", "stale"}}

// flagMark is how the state of a flag is shown.
type flagMark struct{ Name, Class string }

func flagWord(state string) flagMark {
	switch state {
	case "killed":
		return flagMark{"killed", "bad"}
	case "on":
		return flagMark{"same for all", "good"}
	case "partly":
		return flagMark{"partly on", "wait"}
	case "rules":
		return flagMark{"by rules", "wait"}
	case "scheduled":
		return flagMark{"not yet", ""}
	case "over":
		return flagMark{"over", "warn"}
	}
	return flagMark{"disabled", ""}
}

// newFlag is what the form for a new flag begins with.
const newFlag = `{
  "state": "ENABLED",
  "variants": {"on": true, "off": false},
  "defaultVariant": "off",
  "fairlead": {
    "owner": "",
    "off": "off",
    "split": {"shares": [{"variant": "on", "percent": 0}]}
  }
}`

// flagBar is the shares of a flag as a bar: places in percent, and the words for them.
type flagBar struct {
	Title string
	Parts []flagPart
	Rest  string
}

type flagPart struct {
	At, Width float64
	Class     string // "a" to "d", in turn
	Words     string
}

func newFlagBar(f FlagRow) flagBar {
	var b flagBar
	rest := 100.0
	for i, s := range f.Shares {
		p := flagPart{At: 100 - rest, Width: s.Percent, Class: string("abcd"[i%4]), Words: fmt.Sprintf("%g %% %s", s.Percent, s.Variant)}
		rest -= s.Percent
		b.Parts = append(b.Parts, p)
		b.Title += p.Words + ", "
	}
	byDefault := cmp.Or(f.Default, "the program’s default")
	switch {
	case f.State == "killed", f.State == "off", f.State == "scheduled", f.State == "over":
		b.Parts, b.Rest = nil, "off for everybody"
	case f.State == "rules" && len(b.Parts) == 0:
		b.Rest = "by its rules, else " + byDefault
	case len(b.Parts) == 0:
		b.Rest = byDefault + " for everybody"
	case rest > 1e-9:
		b.Rest = fmt.Sprintf("%g %% %s", rest, byDefault)
	}
	b.Title = strings.TrimSuffix(b.Title+b.Rest, ", ")
	return b
}

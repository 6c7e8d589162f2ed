package cli

import (
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/fairlead-dev/fairlead/internal/cache"
	"github.com/fairlead-dev/fairlead/internal/launch"
	"github.com/fairlead-dev/fairlead/internal/project"
	"github.com/fairlead-dev/fairlead/internal/store"
	"github.com/fairlead-dev/fairlead/internal/workspace"
)

// cacheCommand is `fairlead cache`.
func (g *global) cacheCommand() *cobra.Command {
	return verbs("cache", "Look after what is kept for reuse",
		`Look after what is kept of steps so that they can be reused: how much it is,
whether it is whole, and what of it goes.`,
		g.cacheDuCommand(), g.cacheGCCommand(), g.cacheVerifyCommand(), g.cacheDistrustCommand())
}

type usageJSON struct {
	Bytes        int64                 `json:"bytes"` // of all that follows
	Records      int                   `json:"records"`
	RecordBytes  int64                 `json:"record_bytes"`
	Blobs        int64                 `json:"blobs"`
	BlobBytes    int64                 `json:"blob_bytes"`
	DigestBytes  int64                 `json:"digest_bytes"` // remembered digests of files
	Repositories []repositoryUsageJSON `json:"repositories"`
}

type repositoryUsageJSON struct {
	Repository string    `json:"repository"`
	Records    int       `json:"records"`
	Bytes      int64     `json:"bytes"`
	Oldest     time.Time `json:"oldest"`
	Newest     time.Time `json:"newest"`
}

func (g *global) cacheDuCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "du",
		Short: "Say how much is kept",
		Long: `Say how much is kept for reuse: records of what steps did, by repository, and the
files and logs that they left, which repositories share.`,
		Example: `  fairlead cache du`,
		Args:    args(),
	}
	c.RunE = func(cmd *cobra.Command, _ []string) error {
		ctx := cmd.Context()
		tools, err := g.open(ctx)
		if err != nil {
			return err
		}
		defer tools.Close()
		u, err := tools.Cache.Usage(ctx)
		if err != nil {
			return err
		}
		files, err := tools.Outputs.Usage(ctx)
		if err != nil {
			return err
		}
		d := usageJSON{
			Bytes: u.Bytes + u.Facts + files.Bytes, Records: u.Records, RecordBytes: u.Bytes,
			Blobs: files.Blobs, BlobBytes: files.Bytes, DigestBytes: u.Facts, Repositories: []repositoryUsageJSON{},
		}
		for _, r := range u.Repositories {
			d.Repositories = append(d.Repositories, repositoryUsageJSON(r))
		}
		if g.json() {
			return writeJSON(g.Stdout, d)
		}
		g.kept(d)
		return nil
	}
	return c
}

// kept writes how much is kept.
func (g *global) kept(d usageJSON) {
	if d.Records == 0 && d.Blobs == 0 {
		fmt.Fprintln(g.Stderr, "nothing is kept yet: `fairlead run` keeps what steps do")
		return
	}
	st, cols := g.style(g.Stdout), columns(g.Stdout)
	now := time.Now()
	var rows [][]string
	for _, r := range d.Repositories {
		rows = append(rows, []string{shown(r.Repository), plural(r.Records, "record"), bytesText(r.Bytes), st.dim("last " + ago(now.Sub(r.Newest)))})
	}
	rows = append(rows, []string{"files and logs", plural(int(d.Blobs), "blob"), bytesText(d.BlobBytes), ""})
	if d.DigestBytes > 0 {
		rows = append(rows, []string{"digests of files", "", bytesText(d.DigestBytes), ""})
	}
	rows = append(rows, []string{st.bold("all"), "", st.bold(bytesText(d.Bytes)), ""})
	table(g.Stdout, rows, map[int]bool{1: true, 2: true}, st, cols)
}

// collectedJSON is what was removed, and what is left.
type collectedJSON struct {
	Limit     int64 `json:"limit"`
	Blobs     int64 `json:"blobs"`
	Bytes     int64 `json:"bytes"`
	Records   int   `json:"records"`
	BlobsLeft int64 `json:"blobs_left"`
	BytesLeft int64 `json:"bytes_left"`
	BlobsHeld int64 `json:"blobs_held"` // of the left ones: used too lately to go
	BytesHeld int64 `json:"bytes_held"`
}

func (g *global) cacheGCCommand() *cobra.Command {
	var limit, dir string
	c := &cobra.Command{
		Use:   "gc",
		Short: "Remove what was not used for longest",
		Long: `Remove what was not used for longest, until no more is kept than allowed:
reuse.size of fairlead.yaml, or --size. Runs do this by themselves now and then.
Steps whose files are gone run again.`,
		Example: `  fairlead cache gc
  fairlead cache gc --size 2GB
  fairlead cache gc --size 0B   all but what was used just now`,
		Args: args(),
	}
	c.Flags().StringVar(&limit, "size", "", "keep at most so `much`, such as 500MB")
	c.Flags().StringVarP(&dir, "dir", "C", ".", "`directory` of the repository whose fairlead.yaml counts")
	c.RunE = func(cmd *cobra.Command, _ []string) error {
		ctx := cmd.Context()
		most, err := cacheLimit(cmd, limit, dir)
		if err != nil {
			return err
		}
		tools, err := g.open(ctx)
		if err != nil {
			return err
		}
		defer tools.Close()
		got, err := tools.CollectCache(ctx, most)
		if err != nil {
			return err
		}
		if g.json() {
			return writeJSON(g.Stdout, collectedJSON{
				Limit: most, Blobs: got.Files.Removed.Blobs, Bytes: got.Files.Removed.Bytes, Records: got.Records,
				BlobsLeft: got.Files.Left.Blobs, BytesLeft: got.Files.Left.Bytes, BlobsHeld: got.Files.Held.Blobs, BytesHeld: got.Files.Held.Bytes,
			})
		}
		left := fmt.Sprintf("%s kept, of %s allowed", bytesText(got.Files.Left.Bytes), bytesText(most))
		if got.Files.Held.Blobs > 0 {
			left += fmt.Sprintf("; of that, %s were used just now, and stay for some minutes", bytesText(got.Files.Held.Bytes))
		}
		if got.Files.Removed.Blobs == 0 && got.Records == 0 {
			fmt.Fprintf(g.Stdout, "nothing to remove: %s\n", left)
			return nil
		}
		fmt.Fprintf(g.Stdout, "removed %s (%s) and %s: %s\n",
			plural(int(got.Files.Removed.Blobs), "blob"), bytesText(got.Files.Removed.Bytes), plural(got.Records, "record"), left)
		return nil
	}
	return c
}

// cacheLimit is how many bytes may be kept: as said, or what the project says.
func cacheLimit(cmd *cobra.Command, limit, dir string) (int64, error) {
	if cmd.Flags().Changed("size") {
		n, err := project.ParseSize(limit)
		if err != nil {
			return 0, usage("write a number and a unit, such as 500MB or 0B", "--size: %q %v", limit, err)
		}
		return n, nil
	}
	tree, err := workspace.Open(cmd.Context(), dir)
	if err != nil {
		return 0, err
	}
	defer tree.Close()
	return launch.CacheSize(tree.FS())
}

func (g *global) cacheVerifyCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "verify",
		Short: "Check that what is kept is whole",
		Long: `Read all that is kept for reuse and drop what is damaged. The exit code is 4 if
anything was. Nothing is lost by that but time: the step runs again.

This checks what is kept, not whether steps do the same again: that is
` + "`fairlead run --verify`" + `.`,
		Example: `  fairlead cache verify`,
		Args:    args(),
	}
	c.RunE = func(cmd *cobra.Command, _ []string) error {
		ctx := cmd.Context()
		tools, err := g.open(ctx)
		if err != nil {
			return err
		}
		defer tools.Close()
		files, err := tools.Outputs.Verify(ctx, nil)
		if err != nil {
			return err
		}
		records, err := tools.Cache.Check(ctx)
		if err != nil {
			return err
		}
		corrupt := make([]string, len(files.Corrupt))
		for i, d := range files.Corrupt {
			corrupt[i] = string(d)
		}
		if err := g.verified(files.Blobs, files.Bytes, corrupt, records); err != nil {
			return err
		}
		if len(corrupt) > 0 || records.Damaged > 0 {
			return exit(ExitError)
		}
		return nil
	}
	return c
}

// verified says what a check has found.
func (g *global) verified(blobs, size int64, corrupt []string, records cache.Checked) error {
	if g.json() {
		problems := make([]string, len(records.Problems))
		for i, p := range records.Problems {
			problems[i] = p.Error()
		}
		return writeJSON(g.Stdout, struct {
			Blobs    int64    `json:"blobs"`
			Bytes    int64    `json:"bytes"`
			Corrupt  []string `json:"corrupt"`
			Records  int      `json:"records"` // that are whole
			Damaged  int      `json:"damaged"`
			Lacking  int      `json:"lacking"` // records whose blobs are gone
			Problems []string `json:"problems"`
		}{blobs, size, corrupt, records.Records, records.Damaged, records.Lacking, problems})
	}
	st := g.style(g.Stdout)
	fmt.Fprintf(g.Stdout, "%s whole: %s, %s (%s)\n", st.glyph("success"), plural(records.Records, "record"),
		plural(int(blobs)-len(corrupt), "blob"), bytesText(size))
	bad := func(n int, noun, what string) {
		if n > 0 {
			fmt.Fprintf(g.Stdout, "%s %s %s\n", st.red(st.pick("✗", "x")), plural(n, noun), what)
		}
	}
	bad(len(corrupt), "blob", "damaged, and set aside")
	bad(records.Damaged, "record", "damaged, and dropped")
	if records.Lacking > 0 {
		fmt.Fprintf(g.Stdout, "%s %s dropped, as files of theirs are gone\n", st.dim(st.pick("○", "o")), plural(records.Lacking, "record"))
	}
	return nil
}

func (g *global) cacheDistrustCommand() *cobra.Command {
	var dir string
	c := &cobra.Command{
		Use:   "distrust RUN",
		Short: "Drop all that a run has kept",
		Long: `Drop all that a run has kept for reuse, as when it turns out that a change which
it ran, or the machine that it ran on, was not to be trusted. Nothing that it did
is reused from then on.`,
		Example:           `  fairlead cache distrust 17`,
		Args:              args("RUN"),
		ValidArgsFunction: g.completeRuns,
	}
	c.Flags().StringVarP(&dir, "dir", "C", ".", "`directory` of the repository")
	c.RunE = func(cmd *cobra.Command, a []string) error {
		ctx := cmd.Context()
		tools, err := g.open(ctx)
		if err != nil {
			return err
		}
		defer tools.Close()
		run, err := g.runID(ctx, near{tools}, a[0], dir)
		if err != nil {
			return err
		}
		n, err := tools.Cache.Distrust(ctx, run)
		if err != nil {
			return fmt.Errorf("%s of run %s dropped, but not all: %w", plural(n, "record"), run, err)
		}
		if n == 0 {
			// What a run has kept may outlive what is known of it, but a number
			// that never was one is a slip of the hand.
			if _, err := tools.Runs.Head(ctx, run); errors.Is(err, store.ErrNotFound) {
				return err
			}
		}
		if g.json() {
			return writeJSON(g.Stdout, struct {
				Run     string `json:"run"`
				Records int    `json:"records"`
			}{run, n})
		}
		if n == 0 {
			fmt.Fprintf(g.Stdout, "run %s keeps nothing\n", run)
			return nil
		}
		fmt.Fprintf(g.Stdout, "dropped %s of run %s: nothing that it did is reused any more\n", plural(n, "record"), run)
		return nil
	}
	return c
}

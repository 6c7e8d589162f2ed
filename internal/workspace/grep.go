package workspace

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os/exec"
	"strconv"
	"strings"
)

// Found is a line of a file that has a text.
type Found struct {
	File string
	Line int // from 1
	Text string
}

// maxFound is how many lines are looked at of one file, and given out in all.
const maxFound = 500

// Grep finds the lines of a commit's text files that have the text, as it is written.
func (p Past) Grep(ctx context.Context, commit, text string) ([]Found, error) {
	if !isSHA(commit) {
		return nil, fmt.Errorf("commit %.80q: %w", commit, fs.ErrNotExist)
	}
	out, err := p.git().output(ctx, "grep", "--no-color", "-I", "-n", "-z", "--full-name", "--fixed-strings", "--max-count="+strconv.Itoa(maxFound), "-e", text, commit)
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) && exit.ExitCode() == 1 {
			return nil, nil // there is none
		}
		return nil, p.absent(ctx, "commit "+commit, err)
	}
	var all []Found
	for line := range bytes.Lines(out) {
		// COMMIT:FILE \0 LINE \0 TEXT
		file, rest, ok := strings.Cut(strings.TrimSuffix(string(line), "\n"), "\x00")
		number, text, is := strings.Cut(rest, "\x00")
		n, err := strconv.Atoi(number)
		if !ok || !is || err != nil {
			continue
		}
		if all = append(all, Found{strings.TrimPrefix(file, commit+":"), n, text}); len(all) == maxFound {
			break
		}
	}
	return all, nil
}

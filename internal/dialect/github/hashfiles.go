package github

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/bmatcuk/doublestar/v4"

	"github.com/fairlead-dev/fairlead/internal/dialect"
	"github.com/fairlead-dev/fairlead/internal/dialect/github/expression"
)

// maxHashed bounds how many files and directories one hashFiles() may look at.
const maxHashed = 1_000_000

// followLinks is the first argument of hashFiles() that makes it look behind
// links to directories.
const followLinks = "--follow-symbolic-links"

// hashFiles is the function: the SHA-256 over the SHA-256 of every file that
// the patterns match, in the order of a walk that takes names in byte order;
// empty when none does. The digest equals GitHub's for the same files, so that
// keys of caches made elsewhere can be compared.
func (e *evaluator) hashFiles(args []any) (any, error) {
	root := e.s.Dirs.Workspace
	if root == "" {
		return "", fmt.Errorf("hashFiles can be used only inside a job, when there is a workspace")
	}
	if e.s.Paper {
		e.err = fmt.Errorf("hashFiles: %w", dialect.ErrPaper)
		return "", e.err
	}
	var lines []string
	follow := false
	for i, a := range args {
		text := expression.String(a)
		switch {
		case i == 0 && strings.EqualFold(text, followLinks):
			follow = true
		case strings.HasPrefix(text, "--"):
			return "", fmt.Errorf("hashFiles does not know the option %q; it knows %s", text, followLinks)
		default:
			lines = append(lines, strings.Split(text, "\n")...)
		}
	}
	patterns, err := fileGlobs(lines, root)
	if err != nil {
		return "", err
	}
	dir, err := os.OpenRoot(root)
	if err != nil {
		return "", fmt.Errorf("hashFiles: %w", err)
	}
	defer dir.Close()
	h := hasher{root: dir, patterns: patterns, follow: follow}
	all := sha256.New()
	var starts []string
	for _, p := range patterns {
		if !p.negate {
			starts = append(starts, p.start())
		}
	}
	for i, start := range starts {
		if slices.ContainsFunc(starts[:i], func(s string) bool { return s == start }) ||
			slices.ContainsFunc(starts, func(s string) bool { return s != start && within(start, s) }) {
			continue // walked as a part of another
		}
		if err := h.walk(start, nil, all); err != nil {
			return "", fmt.Errorf("hashFiles: %w", err)
		}
	}
	if h.hashed == 0 {
		return "", nil
	}
	return hex.EncodeToString(all.Sum(nil)), nil
}

// within reports whether the path lies below dir.
func within(p, dir string) bool { return dir == "." || strings.HasPrefix(p, dir+"/") }

// fileGlob is one line of hashFiles(): a pattern for paths below the workspace.
type fileGlob struct {
	elements []string
	negate   bool
}

func fileGlobs(lines []string, root string) ([]fileGlob, error) {
	var out []fileGlob
	for _, line := range lines {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		var g fileGlob
		for strings.HasPrefix(line, "!") {
			g.negate = !g.negate
			line = strings.TrimSpace(line[1:])
		}
		if filepath.IsAbs(line) {
			rest, ok := strings.CutPrefix(line, strings.TrimSuffix(root, "/")+"/")
			if !ok && line != root {
				continue // files outside of the workspace never count
			}
			line = rest
		}
		// Braces are ordinary characters here.
		line = strings.NewReplacer("{", `\{`, "}", `\}`).Replace(strings.TrimSuffix(line, "/"))
		for i, el := range strings.Split(line, "/") {
			switch {
			case el == "" || el == "." && i == 0:
			case el == "." || el == "..":
				return nil, fmt.Errorf("hashFiles: the pattern %q may not hold the elements . and .. anywhere", line)
			case !doublestar.ValidatePattern(el):
				return nil, fmt.Errorf("hashFiles: the pattern %q cannot be read", line)
			default:
				g.elements = append(g.elements, el)
			}
		}
		out = append(out, g)
	}
	return out, nil
}

// start is the directory or file below which everything the glob matches lies.
func (g fileGlob) start() string {
	n := 0
	for n < len(g.elements) && !strings.ContainsAny(g.elements[n], `*?[\`) {
		n++
	}
	if n == 0 {
		return "."
	}
	return path.Join(g.elements[:n]...)
}

// match reports whether the glob matches the path, or a directory above it: what
// lies below a match is matched too. After a mismatch only the last ** can still
// take more, so the time is at most the product of the lengths.
func (g fileGlob) match(p []string) bool {
	i, star, taken := 0, -1, 0
	for j := 0; i < len(g.elements); {
		switch {
		case g.elements[i] == "**":
			star, taken = i, j
			i++
		case j < len(p) && matchElement(g.elements[i], p[j]):
			i, j = i+1, j+1
		case star >= 0 && taken < len(p):
			taken++
			i, j = star+1, taken
		default:
			return false
		}
	}
	return true
}

// leads reports whether something below the directory could match.
func (g fileGlob) leads(p []string) bool {
	for i, el := range g.elements {
		switch {
		case el == "**" || i == len(p):
			return true
		case !matchElement(el, p[i]):
			return false
		}
	}
	return false // what lies below a match is matched by match
}

func matchElement(pattern, name string) bool {
	ok, _ := doublestar.Match(pattern, name)
	return ok
}

type hasher struct {
	root     *os.Root
	patterns []fileGlob
	follow   bool
	seen     int
	hashed   int
}

// walk hashes what matches at and below the path. above are the directories
// that the walk came through, to find links that lead in circles.
func (h *hasher) walk(p string, above []fs.FileInfo, to io.Writer) error {
	if h.seen++; h.seen > maxHashed {
		return fmt.Errorf("more than %d files to look at; make the patterns narrower", maxHashed)
	}
	var elements []string
	if p != "." {
		elements = strings.Split(p, "/")
	}
	matched, leads := false, p == "."
	for _, g := range h.patterns {
		if g.negate {
			matched = matched && !g.match(elements)
			continue
		}
		matched = matched || g.match(elements)
		leads = leads || g.leads(elements)
	}
	if !matched && !leads {
		return nil
	}
	stat := h.root.Lstat
	if h.follow {
		stat = h.root.Stat
	}
	info, err := stat(p)
	if err != nil {
		if os.IsNotExist(err) {
			return nil
		}
		return err
	}
	if info.IsDir() {
		if slices.ContainsFunc(above, func(a fs.FileInfo) bool { return os.SameFile(a, info) }) {
			return nil
		}
		dir, err := h.root.Open(p)
		if err != nil {
			return err
		}
		names, err := dir.Readdirnames(-1)
		dir.Close()
		if err != nil {
			return err
		}
		slices.Sort(names)
		above = append(slices.Clip(above), info)
		for _, name := range names {
			if err := h.walk(path.Join(p, name), above, to); err != nil {
				return err
			}
		}
		return nil
	}
	if !matched {
		return nil
	}
	if info.Mode()&fs.ModeSymlink != 0 {
		if info, err = h.root.Stat(p); os.IsNotExist(err) || err == nil && info.IsDir() {
			return nil
		} else if err != nil {
			return err
		}
	}
	if !info.Mode().IsRegular() {
		return nil
	}
	f, err := h.root.Open(p)
	if err != nil {
		return err
	}
	defer f.Close()
	one := sha256.New()
	if _, err := io.Copy(one, f); err != nil {
		return err
	}
	h.hashed++
	_, err = to.Write(one.Sum(nil))
	return err
}

//go:build unix

package host

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// lookUp finds the program of a command in the PATH that the command will
// have, as a shell would.
func lookUp(argv []string, dir, path string) (string, error) {
	if len(argv) == 0 || argv[0] == "" {
		return "", errors.New("the command is empty")
	}
	name := argv[0]
	if strings.Contains(name, "/") {
		return name, nil
	}
	var denied string
	for in := range strings.SplitSeq(path, ":") {
		if in == "" {
			in = "."
		}
		file := in + "/" + name
		at := file
		if !filepath.IsAbs(at) {
			at = filepath.Join(dir, at)
		}
		err := unix.Access(at, unix.X_OK)
		if err != nil && err != unix.EACCES {
			continue
		}
		if info, serr := os.Stat(at); serr != nil || info.IsDir() {
			continue
		}
		if err == nil {
			return file, nil
		}
		denied = file
	}
	if denied != "" {
		return "", fmt.Errorf("%s: %w: the file is not executable", denied, fs.ErrPermission)
	}
	return "", fmt.Errorf("%s: %w in PATH (%s)", name, &notFound{}, path)
}

// notFound is fs.ErrNotExist in the words of a shell.
type notFound struct{}

func (*notFound) Error() string        { return "command not found" }
func (*notFound) Is(target error) bool { return target == fs.ErrNotExist }

// explain says what the kernel meant when it refused to start a command. The
// same few codes stand for many causes.
func explain(err error, file, dir string, argv, env []string) error {
	at := file
	if !filepath.IsAbs(at) {
		at = filepath.Join(dir, at)
	}
	if dir != "" {
		switch info, derr := os.Stat(dir); {
		case derr != nil:
			return fmt.Errorf("working directory %s: %w", dir, cause(derr))
		case !info.IsDir():
			return fmt.Errorf("working directory %s: %w", dir, syscall.ENOTDIR)
		case unix.Access(dir, unix.X_OK) != nil:
			return fmt.Errorf("working directory %s: %w", dir, fs.ErrPermission)
		}
	}
	switch {
	case errors.Is(err, syscall.E2BIG):
		return tooBig(err, file, argv, env)
	case errors.Is(err, syscall.EINVAL):
		for _, s := range argv {
			if strings.IndexByte(s, 0) >= 0 {
				return fmt.Errorf("start %s: an argument holds a NUL byte: %w", file, err)
			}
		}
		for _, s := range env {
			if strings.IndexByte(s, 0) >= 0 {
				name, _, _ := strings.Cut(s, "=")
				return fmt.Errorf("start %s: the variable %q holds a NUL byte: %w", file, name, err)
			}
		}
	case errors.Is(err, syscall.ENOEXEC):
		return fmt.Errorf("start %s: %w: it is neither a program for %s nor a script that begins with #! and its interpreter", file, err, machine())
	case errors.Is(err, syscall.ENOENT):
		if _, serr := os.Stat(at); serr != nil {
			return fmt.Errorf("start %s: %w", file, cause(serr))
		}
		if in := interpreter(at); in != "" {
			return fmt.Errorf("start %s: its interpreter %q: %w", file, in, err)
		}
		return fmt.Errorf("start %s: the loader or a library that it names is missing: %w", file, err)
	case errors.Is(err, syscall.EACCES):
		info, serr := os.Stat(at)
		switch {
		case serr != nil:
			return fmt.Errorf("start %s: %w", file, cause(serr))
		case info.IsDir():
			return fmt.Errorf("start %s: it is a directory: %w", file, err)
		case info.Mode()&0o111 == 0:
			return fmt.Errorf("start %s: the file is not executable: %w", file, err)
		}
		if in := interpreter(at); in != "" {
			return fmt.Errorf("start %s: the file, or its interpreter %q: %w", file, in, err)
		}
	case errors.Is(err, syscall.EAGAIN), errors.Is(err, syscall.ENOMEM):
		return fmt.Errorf("start %s: the machine has no room for another process: %w", file, err)
	}
	return fmt.Errorf("start %s: %w", file, err)
}

// cause takes the operation and the path off an error that will be told with them.
func cause(err error) error {
	var p *fs.PathError
	if errors.As(err, &p) {
		return p.Err
	}
	return err
}

// interpreter is what the first line of a script names, "" for other files.
func interpreter(file string) string {
	f, err := os.Open(file)
	if err != nil {
		return ""
	}
	defer f.Close()
	line, _ := bufio.NewReaderSize(f, 512).ReadSlice('\n')
	rest, ok := bytes.CutPrefix(line, []byte("#!"))
	if !ok {
		return ""
	}
	// A carriage return at the end is a cause of its own: keep it visible.
	rest = bytes.Trim(rest, " \t\n")
	if i := bytes.IndexAny(rest, " \t"); i >= 0 {
		rest = rest[:i]
	}
	return string(rest)
}

// tooBig names what takes the most.
func tooBig(err error, file string, argv, env []string) error {
	var args, vars, most int
	what := ""
	for _, s := range argv {
		if args += len(s) + 1; len(s) > most {
			most, what = len(s), "an argument"
		}
	}
	for _, s := range env {
		if vars += len(s) + 1; len(s) > most {
			name, _, _ := strings.Cut(s, "=")
			most, what = len(s), "the variable "+name
		}
	}
	return fmt.Errorf("start %s: %w: the arguments take %d bytes and the environment %d, the most of it %s with %d",
		file, err, args, vars, what, most)
}

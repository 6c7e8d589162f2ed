package supervise

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// An instance writes to logs/<name>.log itself, so that nothing stands between it and
// the disk that could end. The host only takes the older part off when it has grown.
const (
	logBytes = 16 << 20 // of a log; the part before it is kept in <name>.log.1
	logAge   = 14 * 24 * time.Hour
	block    = 4096 // bytes; what file systems take off a file by
)

func (h *Host) logFile(instance string) string {
	return filepath.Join(h.dir, "logs", instance+".log")
}

// openLog opens an instance's log to append to.
func (h *Host) openLog(instance string) (*os.File, error) {
	return os.OpenFile(h.logFile(instance), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
}

// rotate moves the older part of a log into a second file, when it is large. Nothing is
// lost that the instance writes meanwhile.
func rotate(name string, most int64) (err error) {
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	from := firstByte(f)
	to := info.Size() / block * block
	if to-from < most {
		return nil
	}
	old, err := os.OpenFile(name+".new", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(old, io.NewSectionReader(f, from, to-from))
	if err = errors.Join(err, old.Close()); err == nil {
		err = os.Rename(name+".new", name+".1")
	}
	if err != nil {
		return err
	}
	return cutFront(f, to)
}

// tend keeps logs small, and removes those of instances that are gone for long.
func (h *Host) tend(known map[string]bool) error {
	dir := filepath.Join(h.dir, "logs")
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	var errs []error
	for _, e := range entries {
		instance, isLog := strings.CutSuffix(strings.TrimSuffix(e.Name(), ".1"), ".log")
		info, err := e.Info()
		switch {
		case err != nil || !isLog:
		case !known[instance] && time.Since(info.ModTime()) > logAge:
			errs = append(errs, os.Remove(filepath.Join(dir, e.Name())))
		case known[instance] && info.Size() > logBytes && strings.HasSuffix(e.Name(), ".log"):
			errs = append(errs, rotate(filepath.Join(dir, e.Name()), logBytes))
		}
	}
	return errors.Join(errs...)
}

// Logs writes the last bytes of what an instance has printed, from the beginning of
// a line on.
func (h *Host) Logs(to io.Writer, instance string, last int64) error {
	if !plainName(instance) {
		return fs.ErrNotExist
	}
	for i, name := range []string{h.logFile(instance) + ".1", h.logFile(instance)} {
		f, err := os.Open(name)
		if errors.Is(err, fs.ErrNotExist) && i == 0 {
			continue
		}
		if err != nil {
			return err
		}
		defer f.Close()
		info, err := f.Stat()
		if err != nil {
			return err
		}
		begin := firstByte(f)
		if i == 0 {
			// The rest of what is wanted, after what the newer file has.
			newer, err := os.Stat(h.logFile(instance))
			if err != nil || newer.Size() >= last {
				continue
			}
			begin = max(begin, info.Size()-(last-newer.Size()))
		} else {
			begin = max(begin, info.Size()-last)
		}
		if err := fromLine(to, f, begin, info.Size()); err != nil {
			return err
		}
	}
	return nil
}

// fromLine copies a part of a file, without the rest of a line at its beginning.
func fromLine(to io.Writer, f *os.File, from, end int64) error {
	part := io.NewSectionReader(f, from, end-from)
	if from > 0 {
		const most = 64 << 10
		head := make([]byte, min(most, end-from))
		n, err := part.ReadAt(head, 0)
		if err != nil && err != io.EOF {
			return err
		}
		if i := strings.IndexByte(string(head[:n]), '\n'); i >= 0 {
			if _, err := part.Seek(int64(i+1), io.SeekStart); err != nil {
				return err
			}
		}
	}
	_, err := io.Copy(to, part)
	return err
}

//go:build !linux

package supervise

import (
	"errors"
	"os/exec"
)

// cage limits nothing here: the host looks from time to time.
type cage struct{ limit int64 }

func newCage(_ string, limit int64) (*cage, error) {
	if limit <= 0 {
		return nil, nil
	}
	return nil, errors.New("there are no control groups here")
}

func (c *cage) enter(*exec.Cmd) error { return nil }
func (c *cage) take(int)              {}
func (c *cage) exceeded() bool        { return false }
func (c *cage) remove()               {}

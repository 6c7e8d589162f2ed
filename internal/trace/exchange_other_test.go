//go:build !linux

package trace

import "errors"

func exchange(*actor, string, string) error { return errors.ErrUnsupported }

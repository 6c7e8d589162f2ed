package cache

import (
	"bufio"
	"context"
	"errors"
	"io"

	"github.com/fairlead-dev/fairlead/internal/blob"
)

// Printed calls line for each line of a log that a record refers to, without
// its end; the text is valid only during the call. No line is told of before
// all of them were proved. The digest "" stands for no lines.
func (c *Cache) Printed(ctx context.Context, log blob.Digest, line func(text []byte) error) error {
	if log == "" {
		return nil
	}
	proof, err := c.blobs.Open(ctx, log)
	if err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, proof)
	if err = errors.Join(err, proof.Close()); err != nil {
		return err
	}
	text, err := c.blobs.Open(ctx, log)
	if err != nil {
		return err
	}
	defer text.Close()
	for lines := bufio.NewReaderSize(text, 64<<10); ; {
		one, err := lines.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := line(one[:len(one)-1]); err != nil {
			return err
		}
	}
}

package document

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"strings"

	"github.com/fairlead-dev/fairlead/internal/plan"
)

// integrity reports a file that is not the one whose digest was given, as
// sha256-BASE64.
func integrity(body []byte, want string, at plan.Source) *plan.Problem {
	text, ok := strings.CutPrefix(want, "sha256-")
	digest, err := base64.StdEncoding.DecodeString(text)
	if !ok || err != nil || len(digest) != sha256.Size {
		return problemAt(at, "include", "integrity is not sha256- and a digest in base64", "write what the publisher of the file gives")
	}
	have := sha256.Sum256(body)
	if subtle.ConstantTimeCompare(have[:], digest) != 1 {
		return problemAt(at, "include", "the included file is not the one whose digest is given here: it was changed", "look at what changed before you write the new digest")
	}
	return nil
}

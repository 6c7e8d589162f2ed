package declarative

import (
	"fmt"
	"strings"
	"time"

	"github.com/dlclark/regexp2"
)

// matchTime bounds one match of a regular expression.
const matchTime = time.Second

// Pattern reads a regular expression as Java writes it. Its time is bounded.
func Pattern(text string) (*regexp2.Regexp, error) {
	for i := range len(text) {
		// A brace that stands for itself is escaped in Java.
		if text[i] == '{' && (i == 0 || strings.IndexByte("(|", text[i-1]) >= 0) {
			return nil, fmt.Errorf("illegal repetition near index %d", i)
		}
	}
	re, err := regexp2.Compile(text, regexp2.None)
	if err != nil {
		return nil, err
	}
	re.MatchTimeout = matchTime
	return re, nil
}

// Matches reports whether all of a text matches.
func Matches(re *regexp2.Regexp, text string) bool {
	m, err := re.FindStringMatch(text)
	return err == nil && m != nil && m.Index == 0 && m.Length == len([]rune(text))
}

package plan

// UsageError is a wish that cannot be fulfilled as it was said.
type UsageError struct{ Message, Hint string }

func (e *UsageError) Error() string {
	if e.Hint == "" {
		return e.Message
	}
	return e.Message + "; " + e.Hint
}

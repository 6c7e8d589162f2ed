package suite

// Weights are how likely each of the suspected changes is to be the culprit, as the hunt
// believes now, and how likely it is that there is none: together 1.
func (h *Hunt) Weights() (changes []float64, none float64) {
	b := h.belief()
	n := len(b.weight)
	return b.weight[1 : n-1], b.weight[n-1]
}

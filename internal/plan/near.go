package plan

import "strings"

// Nearest is the name that was probably meant by a word, for a Problem's hint:
// the one that is few slips away, or that the word begins. It is "" when
// none is near.
func Nearest(word string, names []string) string {
	const longest = 100 // the distance takes quadratic time
	if len(word) > longest {
		return ""
	}
	lower := strings.ToLower(word)
	best, least := "", max(len(word)/3, 1)+1
	for _, name := range names {
		n := strings.ToLower(name[:min(len(name), 2*longest)])
		if d := distance(lower, n); d < least {
			best, least = name, d
		}
		if len(word) > 2 && strings.HasPrefix(n, lower) && least > 1 {
			best, least = name, 1
		}
	}
	return best
}

// distance is the Levenshtein distance of two texts, with a swap of two
// neighbours counting as one change.
func distance(a, b string) int {
	x, y := []rune(a), []rune(b)
	before, row := make([]int, len(y)+1), make([]int, len(y)+1)
	var two []int
	for j := range row {
		row[j] = j
	}
	for i := range x {
		two, before, row = before, row, make([]int, len(y)+1)
		row[0] = i + 1
		for j := range y {
			cost := 1
			if x[i] == y[j] {
				cost = 0
			}
			row[j+1] = min(row[j]+1, before[j+1]+1, before[j]+cost)
			if i > 0 && j > 0 && x[i] == y[j-1] && x[i-1] == y[j] {
				row[j+1] = min(row[j+1], two[j-1]+1)
			}
		}
	}
	return row[len(y)]
}

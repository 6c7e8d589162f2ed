package groovy

import "fmt"

func score(n, of int) string { return fmt.Sprintf("%d of %d", n, of) }

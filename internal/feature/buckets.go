package feature

import "math"

// A fraction divides users among variants. A user's bucket is the hash of the
// flag's key and the user's, so the same user always gets the same variant, users are
// divided anew by each flag, and a share that grows keeps those whom it had:
//
//	0        hash × total weight / 2³²                   total
//	├─────────────── on ──────────────┼───────── off ────────┤

// bucket is a share of a fraction.
type bucket struct {
	variant any
	weight  uint64
}

const maxWeight = math.MaxInt32 // of all buckets together

// readBuckets reads the buckets of a fraction from its operands; ok is false when it is
// none.
func readBuckets(args []any) (by any, list []bucket, total uint64, ok bool) {
	if len(args) < 1 {
		return nil, nil, 0, false
	}
	if s, is := args[0].(string); is {
		by, args = s, args[1:]
	}
	list = make([]bucket, 0, len(args))
	for _, a := range args {
		entry, is := a.([]any)
		if !is || len(entry) == 0 || len(entry) > 2 || composite(entry[0]) {
			return nil, nil, 0, false
		}
		b := bucket{entry[0], 1}
		if len(entry) == 2 {
			w, is := entry[1].(float64)
			if !is || w != math.Trunc(w) || w > maxWeight {
				return nil, nil, 0, false
			}
			b.weight = uint64(max(w, 0)) // a weight may be worked out, and come below 0
		}
		total += b.weight
		list = append(list, b)
	}
	return by, list, total, total <= maxWeight
}

// choose is the variant of whom the hash belongs to; nil when there is none.
func choose(hash uint32, list []bucket, total uint64) any {
	place, sum := uint64(hash)*total>>32, uint64(0)
	for i := range list {
		if sum += list[i].weight; sum > place {
			return list[i].variant
		}
	}
	return nil
}

// fractional is the operator with operands that hang on the user.
func fractional(s *scope, args []any) (any, error) {
	by, list, total, ok := readBuckets(args)
	if !ok {
		return nil, nil
	}
	return s.divide(by, list, total), nil
}

// divide finds the user's variant. by is what users are told apart by; nil for the flag's key
// and the context's targeting key.
func (s *scope) divide(by any, list []bucket, total uint64) any {
	if text, ok := by.(string); ok {
		return choose(murmur(0, text), list, total)
	}
	context, _ := s.data.(map[string]any)
	user := context[targetingKey]
	if falsy(user) {
		return nil
	}
	return choose(murmur(0, s.flag, text(user)), list, total)
}

// buildBuckets compiles a fraction that is written out.
func buildBuckets(terms []term) term {
	args := make([]any, len(terms))
	for i := range terms {
		args[i] = terms[i].value
	}
	by, list, total, ok := readBuckets(args)
	return term{run: func(s *scope) (any, error) {
		switch {
		case !s.top:
			return nil, errInside
		case !ok:
			return nil, nil
		}
		return s.divide(by, list, total), nil
	}}
}

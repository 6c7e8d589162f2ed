// Package insight keeps what the record teaches, and answers what people ask
// of it: which tests can be trusted, why something failed and whether it has
// failed before, what a change covered.
//
// Nothing here is reported by anybody. A reader follows the log, folds what it
// finds into what is known (packages suite, fault and coverage say how), and
// writes that down together with how far it has read; so a crash loses nothing
// and a new reader begins with all of history. Questions are answered from what
// was written down, and from the blobs that events name.
//
//	log ──► readers ──► ledger, registers ──► answers ──► pages, verbs, comments
//	                          │
//	                          └──► what the next run is told: quarantine, order, retries
package insight

// Package testrun runs a project's tests by itself, outside of any pipeline: shared out
// among machines, again and again, at one commit after another, or only where a change
// can matter.
//
// It does what packages suite and cache have worked out. Suite says which tests to run
// where (a plan, a queue), whether one more run is worth its time, and which commit to
// try next; all of that is plain data. This package lists the tests, runs the commands,
// reads what they leave behind, and writes down how far it has come, so that whoever is
// interrupted goes on.
//
//	           ┌── Split: a queue that machines share, on a Shelf
//	command ──►├── Hunt: which commit broke a test
//	   │       ├── Repeat: can a test be trusted
//	   │       └── Affected: what passed before with the same inputs
//	   ▼
//	 Exec ──► output, reports ──► harvest ──► results ──► suite
//
// Commands are a person's own: they run with that person's environment and rights, in
// the directories that they are told.
package testrun

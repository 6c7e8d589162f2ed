// Package coverage says which lines of a project its tests ran, and which of a
// change's lines they did not.
package coverage

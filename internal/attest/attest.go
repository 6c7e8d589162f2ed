// Package attest says how a file was made, so that who gets the file can check
// it: what run and step made it, from which commit, out of which files, talking to whom.
//
//	record.Run, record.Observation ──► Build ── Statement ──► in-toto Statement v1, SLSA Provenance v1
//	                                                               │ Seal: ed25519
//	                                                               ▼
//	                                       DSSE envelope ── Open, keys ──► Statement, offline
//
// Other tools ask a build to declare its materials. Here they are what the
// steps were seen to read (package trace), with the digest that each file had
// when it was first read; where that is not all, the statement says so and why.
//
// The same facts make the same bytes: nothing is drawn by lot, no clock is read, and
// all lists are sorted.
package attest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
)

// The types of the specifications that statements follow.
const (
	StatementType = "https://in-toto.io/Statement/v1"
	PredicateType = "https://slsa.dev/provenance/v1"
	payloadType   = "application/vnd.in-toto+json"

	// BuildTypeRun and BuildTypeCommand tell how to read the parameters: of a
	// run of a pipeline, and of a command of a release.
	BuildTypeRun     = "https://github.com/fairlead-dev/fairlead/provenance/run/v1"
	BuildTypeCommand = "https://github.com/fairlead-dev/fairlead/provenance/command/v1"
)

// Statement is an in-toto statement whose predicate is SLSA's provenance.
type Statement struct {
	Type          string     `json:"_type"`
	Subject       []Resource `json:"subject"`
	PredicateType string     `json:"predicateType"`
	Predicate     Provenance `json:"predicate"`
}

// Provenance is the predicate of SLSA Provenance v1.
type Provenance struct {
	BuildDefinition BuildDefinition `json:"buildDefinition"`
	RunDetails      RunDetails      `json:"runDetails"`
}

// BuildDefinition is what went in.
type BuildDefinition struct {
	BuildType            string         `json:"buildType"`
	ExternalParameters   map[string]any `json:"externalParameters"`
	InternalParameters   map[string]any `json:"internalParameters,omitempty"`
	ResolvedDependencies []Resource     `json:"resolvedDependencies,omitempty"`
}

// RunDetails is how it was done.
type RunDetails struct {
	Builder    BuilderID  `json:"builder"`
	Metadata   Metadata   `json:"metadata"`
	Byproducts []Resource `json:"byproducts,omitempty"`
}

// BuilderID is who did it.
type BuilderID struct {
	ID      string            `json:"id"`
	Version map[string]string `json:"version,omitempty"`
}

// Metadata is when it was done.
type Metadata struct {
	InvocationID string     `json:"invocationId,omitempty"`
	StartedOn    *time.Time `json:"startedOn,omitempty"`
	FinishedOn   *time.Time `json:"finishedOn,omitempty"`
}

// Resource is in-toto's ResourceDescriptor.
type Resource struct {
	Name        string            `json:"name,omitempty"`
	URI         string            `json:"uri,omitempty"`
	Digest      map[string]string `json:"digest,omitempty"` // algorithm -> lower-case hexadecimal
	MediaType   string            `json:"mediaType,omitempty"`
	Annotations map[string]any    `json:"annotations,omitempty"`
}

// JSON is the statement's one text, without a line end.
func (s *Statement) JSON() ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(s); err != nil {
		return nil, fmt.Errorf("write a statement: %w", err)
	}
	return bytes.TrimRight(b.Bytes(), "\n"), nil
}

// Has reports whether the statement is about the file with that SHA-256, in hexadecimal
// digits with or without "sha256:" before them.
func (s *Statement) Has(digest string) bool {
	digest = strings.ToLower(strings.TrimPrefix(digest, "sha256:"))
	for _, r := range s.Subject {
		if digest != "" && r.Digest["sha256"] == digest {
			return true
		}
	}
	return false
}

// Limits of what is read.
const (
	maxStatement = 64 << 20 // bytes
	maxSubjects  = 10_000
)

// Parse reads a statement and checks that it has the shape of the two
// specifications.
func Parse(text []byte) (*Statement, error) {
	if len(text) > maxStatement {
		return nil, fmt.Errorf("the statement is larger than %d MiB", maxStatement>>20)
	}
	var s Statement
	if err := json.Unmarshal(text, &s); err != nil {
		return nil, errors.New("it is no statement: not the JSON that was expected")
	}
	if err := s.check(); err != nil {
		return nil, err
	}
	return &s, nil
}

// check says what the specifications want and the statement has not.
func (s *Statement) check() error {
	p := &s.Predicate
	switch {
	case s.Type != StatementType:
		return fmt.Errorf("it is no in-toto statement of version 1: _type is %.80q", s.Type)
	case s.PredicateType != PredicateType:
		return fmt.Errorf("it is no provenance of SLSA's version 1: predicateType is %.80q", s.PredicateType)
	case len(s.Subject) == 0 || len(s.Subject) > maxSubjects:
		return fmt.Errorf("it is about %d files", len(s.Subject))
	case p.BuildDefinition.BuildType == "" || p.BuildDefinition.ExternalParameters == nil:
		return errors.New("its buildDefinition has no buildType or no externalParameters")
	case p.RunDetails.Builder.ID == "":
		return errors.New("its runDetails name no builder")
	}
	for _, r := range s.Subject {
		if len(r.Digest["sha256"]) != 64 || r.Name == "" {
			return fmt.Errorf("its subject %.80q has no name or no SHA-256", r.Name)
		}
	}
	for _, r := range p.BuildDefinition.ResolvedDependencies {
		if r.URI == "" && len(r.Digest) == 0 && r.Name == "" {
			return errors.New("one of its resolvedDependencies says nothing")
		}
	}
	return nil
}

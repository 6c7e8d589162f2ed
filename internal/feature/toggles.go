package feature

import (
	"encoding/json"
	"math"
	"strconv"
	"time"
)

// WriteUnleash writes what Unleash's API answers its clients (GET client/features): the flags
// that came from Unleash as they were, and of the others those whose meaning Unleash's words can
// hold: those that are the same for everybody, and those whose share hangs on the user. Such a share is
// found by Unleash's own hash, so its users are others than those of OFREP, though as many. Flags
// with rules in JSON Logic or needs are left out; their keys are returned.
func WriteUnleash(d *Definitions, now time.Time) (body []byte, left []string) {
	type answer struct {
		Version  int               `json:"version"`
		Features []json.RawMessage `json:"features"`
		Segments []struct{}        `json:"segments"`
	}
	a := answer{Version: 2, Features: []json.RawMessage{}, Segments: []struct{}{}}
	for i := range d.Flags {
		f := &d.Flags[i]
		if feature, ok := f.unleash(now); ok {
			a.Features = append(a.Features, feature)
		} else {
			left = append(left, f.Key)
		}
	}
	return appendValue(nil, a), left
}

// feature is a flag in Unleash's words.
type unleashFeature struct {
	Name        string            `json:"name"`
	Type        string            `json:"type"`
	Description string            `json:"description,omitempty"`
	Enabled     bool              `json:"enabled"`
	Strategies  []unleashStrategy `json:"strategies"`
	Variants    []unleashVariant  `json:"variants"`
}

type unleashStrategy struct {
	Name        string            `json:"name"`
	Parameters  map[string]string `json:"parameters"`
	Constraints []rawConstraint   `json:"constraints"`
}

type unleashVariant struct {
	Name       string         `json:"name"`
	Weight     int            `json:"weight"`
	Stickiness string         `json:"stickiness"`
	Payload    unleashPayload `json:"payload"`
}

type unleashPayload struct {
	Type  string `json:"type"`
	Value string `json:"value"`
}

// counts reports whether a flag counts at all at a time.
func (f *Flag) counts(now time.Time) bool {
	c := &f.Care
	return f.State == Enabled && c.Killed == "" && (c.From.IsZero() || !now.Before(c.From)) && (c.Until.IsZero() || now.Before(c.Until))
}

func (f *Flag) unleash(now time.Time) (json.RawMessage, bool) {
	if f.Care.Unleash != nil {
		var whole map[string]json.RawMessage
		if json.Unmarshal(f.Care.Unleash, &whole) != nil {
			return nil, false
		}
		whole["enabled"] = strconv.AppendBool(nil, f.counts(now))
		return appendValue(nil, whole), true
	}
	if f.Rule != nil || len(f.Care.Needs) > 0 || len(f.Variants) == 0 {
		return nil, false
	}
	x := unleashFeature{Name: f.Key, Type: "release", Description: f.Care.Description, Enabled: f.counts(now), Variants: []unleashVariant{}}
	everybody := unleashStrategy{Name: "default", Parameters: map[string]string{}, Constraints: []rawConstraint{}}
	x.Strategies = []unleashStrategy{everybody}
	byDefault := f.value(f.Default)
	if string(f.Variants[0].Value) != "true" && string(f.Variants[0].Value) != "false" {
		if f.Care.Split != nil || byDefault == nil {
			return nil, false
		}
		x.Variants = []unleashVariant{{Name: f.Default, Weight: 1000, Stickiness: "default", Payload: payloadOf(byDefault)}}
		return appendValue(nil, x), true
	}
	switch shares := f.Shares(); {
	case len(shares) == 0:
		x.Enabled = x.Enabled && string(byDefault) == "true"
	case len(shares) == 1 && string(byDefault) != "true" && string(f.value(shares[0].Variant)) == "true":
		stickiness := "default"
		if by := f.Care.Split.By; by != "" {
			stickiness = by
		}
		x.Strategies = []unleashStrategy{{Name: "flexibleRollout", Constraints: []rawConstraint{},
			Parameters: map[string]string{"rollout": strconv.Itoa(int(math.Round(shares[0].Percent))), "stickiness": stickiness, "groupId": f.Key}}}
	default:
		return nil, false
	}
	return appendValue(nil, x), true
}

// value is the value of a variant as JSON; nil when there is none.
func (f *Flag) value(variant string) json.RawMessage {
	for _, v := range f.Variants {
		if v.Name == variant {
			return v.Value
		}
	}
	return nil
}

func payloadOf(value json.RawMessage) unleashPayload {
	var s string
	if json.Unmarshal(value, &s) == nil {
		return unleashPayload{"string", s}
	}
	if len(value) > 0 && (value[0] == '-' || value[0] >= '0' && value[0] <= '9') {
		return unleashPayload{"number", string(value)}
	}
	return unleashPayload{"json", string(value)}
}

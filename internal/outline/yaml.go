package outline

import (
	"bytes"
	"maps"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"
)

// Mapping is a YAML mapping while it is written. Entries keep their order;
// those without a value are left out, so that a composer can set what there
// may be.
type Mapping struct{ node yaml.Node }

// Set adds an entry: a string, bool, int, []string, map[string]string, *Mapping
// or []*Mapping. Zero values are left out; [Mapping.Say] writes them.
func (m *Mapping) Set(key string, value any) *Mapping {
	switch v := value.(type) {
	case string:
		if v == "" {
			return m
		}
	case bool:
		if !v {
			return m
		}
	case int:
		if v == 0 {
			return m
		}
	case []string:
		if len(v) == 0 {
			return m
		}
	case map[string]string:
		if len(v) == 0 {
			return m
		}
	case *Mapping:
		if v == nil || len(v.node.Content) == 0 {
			return m
		}
	case []*Mapping:
		if len(v) == 0 {
			return m
		}
	}
	return m.Say(key, value)
}

// Say adds an entry whatever its value.
func (m *Mapping) Say(key string, value any) *Mapping {
	m.node.Kind = yaml.MappingNode
	m.node.Content = append(m.node.Content, text(key), node(value))
	return m
}

// Remark puts a comment above the entry that was added last.
func (m *Mapping) Remark(comment string) *Mapping {
	if n := len(m.node.Content); n > 0 {
		m.node.Content[n-2].HeadComment = comment
	}
	return m
}

// File is the text of a file that holds the mapping, below a comment.
func (m *Mapping) File(comment string) []byte {
	var b bytes.Buffer
	for line := range strings.Lines(comment) {
		b.WriteString("# " + strings.TrimRight(line, "\n") + "\n")
	}
	e := yaml.NewEncoder(&b)
	e.SetIndent(2)
	n := m.node
	if n.Kind == 0 {
		n.Kind = yaml.MappingNode
	}
	// Nodes of these kinds alone are always written.
	_ = e.Encode(&n)
	_ = e.Close()
	return b.Bytes()
}

func text(s string) *yaml.Node {
	n := new(yaml.Node)
	n.SetString(s)
	switch strings.ToLower(s) {
	case "y", "n", "yes", "no", "on", "off": // booleans to readers of YAML 1.1
		if s != "on" { // a key of GitHub's
			n.Style = yaml.DoubleQuotedStyle
		}
	}
	return n
}

func node(value any) *yaml.Node {
	switch v := value.(type) {
	case string:
		return text(v)
	case []string:
		list := &yaml.Node{Kind: yaml.SequenceNode}
		short := len(v) < 6
		for _, s := range v {
			list.Content = append(list.Content, text(s))
			short = short && len(s) < 24 && !strings.Contains(s, "\n")
		}
		if short {
			list.Style = yaml.FlowStyle
		}
		return list
	case map[string]string:
		m := new(Mapping)
		for _, key := range slices.Sorted(maps.Keys(v)) {
			m.Say(key, v[key])
		}
		return node(m)
	case *Mapping:
		n := v.node
		if n.Kind == 0 {
			n.Kind, n.Style = yaml.MappingNode, yaml.FlowStyle
		}
		return &n
	case []*Mapping:
		list := &yaml.Node{Kind: yaml.SequenceNode}
		for _, m := range v {
			list.Content = append(list.Content, node(m))
		}
		return list
	}
	n := new(yaml.Node)
	_ = n.Encode(value) // bools and numbers
	return n
}

// Empty reports whether nothing was set.
func (m *Mapping) Empty() bool { return len(m.node.Content) == 0 }

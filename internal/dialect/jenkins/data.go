package jenkins

import (
	"fmt"
	"strings"

	"go.yaml.in/yaml/v4"

	"github.com/fairlead-dev/fairlead/internal/dialect/jenkins/builtin"
	"github.com/fairlead-dev/fairlead/internal/dialect/jenkins/groovy"
)

// dataSteps are the steps that read and write JSON, YAML and their like.
func (b *build) dataSteps(step func(string, func(*build, *groovy.Call, *frame) (groovy.Value, error))) {
	read := func(name string, parse func(c *groovy.Call, text string) (groovy.Value, error)) {
		step(name, func(b *build, c *groovy.Call, f *frame) (groovy.Value, error) {
			a, err := b.args(c, "file")
			if err != nil {
				return nil, err
			}
			text := a.text("text")
			if a.has("file") {
				if err := b.needNode(c.Thread, f, name); err != nil {
					return nil, err
				}
				out, err := b.builtin(c, f, "readFile", name+" "+a.text("file"), map[string]string{"file": a.text("file")})
				if err != nil {
					return nil, err
				}
				text = out[builtin.OutText]
			}
			return parse(c, text)
		})
	}
	read("readJSON", func(c *groovy.Call, text string) (groovy.Value, error) {
		v, err := groovy.ParseJSON(text)
		if err != nil {
			return nil, c.Throw("net.sf.json.JSONException", "%v", err)
		}
		return v, nil
	})
	read("readYaml", readYAML)
	read("readYAML", readYAML)
	read("readProperties", func(_ *groovy.Call, text string) (groovy.Value, error) { return parseProperties(text), nil })
	step("readTrusted", readTrusted)
	read("readCSV", func(_ *groovy.Call, text string) (groovy.Value, error) {
		rows := groovy.NewList()
		for line := range strings.Lines(text) {
			row := groovy.NewList()
			for _, cell := range strings.Split(strings.TrimRight(line, "\r\n"), ",") {
				row.Items = append(row.Items, strings.Trim(cell, `"`))
			}
			rows.Items = append(rows.Items, row)
		}
		return rows, nil
	})
	step("writeJSON", func(b *build, c *groovy.Call, f *frame) (groovy.Value, error) {
		a, err := b.args(c, "file")
		if err != nil {
			return nil, err
		}
		text, err := c.FormatJSON(a.value("json"), a.number("pretty", 0) > 0)
		if err != nil || a.flag("returnText", false) {
			return text, err
		}
		return b.write(c, f, a.text("file"), text)
	})
	for _, name := range []string{"writeYaml", "writeYAML"} {
		step(name, func(b *build, c *groovy.Call, f *frame) (groovy.Value, error) {
			a, err := b.args(c, "file")
			if err != nil {
				return nil, err
			}
			text, err := formatYAML(c, a.value("data"))
			if err != nil || a.flag("returnText", false) {
				return text, err
			}
			return b.write(c, f, a.text("file"), text)
		})
	}
	step("libraryResource", resource)
}

// readTrusted reads a file of the tree, in a node or not.
func readTrusted(b *build, c *groovy.Call, f *frame) (groovy.Value, error) {
	a, err := b.args(c, "path")
	if err != nil {
		return nil, err
	}
	g := f.inner()
	g.dir = b.scope.Dirs.Workspace
	out, err := b.builtin(c, g, "readFile", "readTrusted "+a.text("path"), map[string]string{"file": a.text("path")})
	return out[builtin.OutText], err
}

func (b *build) write(c *groovy.Call, f *frame, file, text string) (groovy.Value, error) {
	if err := b.needNode(c.Thread, f, c.Name); err != nil {
		return nil, err
	}
	_, err := b.builtin(c, f, "writeFile", c.Name+" "+file, map[string]string{"file": file, "text": text})
	return nil, err
}

// Limits of YAML that a pipeline reads.
const (
	maxYAMLNodes = 200_000
	maxYAMLDepth = 200
)

// readYAML reads one document, or a list of several.
func readYAML(c *groovy.Call, text string) (groovy.Value, error) {
	d := yaml.NewDecoder(strings.NewReader(text))
	var docs []groovy.Value
	left := maxYAMLNodes
	for {
		var n yaml.Node
		err := d.Decode(&n)
		if err != nil {
			if err.Error() == "EOF" {
				break
			}
			return nil, c.Throw("org.yaml.snakeyaml.error.YAMLException", "%v", err)
		}
		v, err := yamlValue(&n, &left, 0)
		if err != nil {
			return nil, c.Throw("org.yaml.snakeyaml.error.YAMLException", "%v", err)
		}
		docs = append(docs, v)
	}
	switch len(docs) {
	case 0:
		return nil, nil
	case 1:
		return docs[0], nil
	}
	return groovy.NewList(docs...), nil
}

// yamlValue is the value of a node. What aliases repeat is counted each time.
func yamlValue(n *yaml.Node, left *int, depth int) (groovy.Value, error) {
	if *left--; *left < 0 || depth > maxYAMLDepth {
		return nil, fmt.Errorf("the document is larger or deeper than a pipeline reads")
	}
	switch n.Kind {
	case yaml.DocumentNode:
		if len(n.Content) == 0 {
			return nil, nil
		}
		return yamlValue(n.Content[0], left, depth+1)
	case yaml.AliasNode:
		return yamlValue(n.Alias, left, depth+1)
	case yaml.SequenceNode:
		list := groovy.NewList()
		for _, in := range n.Content {
			v, err := yamlValue(in, left, depth+1)
			if err != nil {
				return nil, err
			}
			list.Items = append(list.Items, v)
		}
		return list, nil
	case yaml.MappingNode:
		m := groovy.NewMap()
		for i := 0; i+1 < len(n.Content); i += 2 {
			k, err := yamlValue(n.Content[i], left, depth+1)
			if err != nil {
				return nil, err
			}
			v, err := yamlValue(n.Content[i+1], left, depth+1)
			if err != nil {
				return nil, err
			}
			if under, ok := v.(*groovy.Map); ok && n.Content[i].Tag == "!!merge" {
				for k, v := range under.All() {
					if _, have := m.Get(k); !have {
						m.Put(k, v)
					}
				}
				continue
			}
			m.Put(k, v)
		}
		return m, nil
	}
	var v any
	if err := n.Decode(&v); err != nil {
		return nil, err
	}
	switch v := v.(type) {
	case int:
		if int(int32(v)) == v {
			return int32(v), nil
		}
		return int64(v), nil
	case nil, bool, string, int64, float64:
		return v, nil
	}
	return n.Value, nil
}

// formatYAML writes a value as YAML.
func formatYAML(c *groovy.Call, v groovy.Value) (string, error) {
	left := maxYAMLNodes
	n, err := yamlNode(c, v, &left, 0)
	if err != nil {
		return "", err
	}
	text, err := yaml.Marshal(n)
	return string(text), err
}

func yamlNode(c *groovy.Call, v groovy.Value, left *int, depth int) (*yaml.Node, error) {
	if *left--; *left < 0 || depth > maxYAMLDepth {
		return nil, c.Throw(illegalArgument, "the value is larger or deeper than a pipeline writes")
	}
	switch v := v.(type) {
	case *groovy.List:
		n := &yaml.Node{Kind: yaml.SequenceNode}
		for _, item := range v.Items {
			in, err := yamlNode(c, item, left, depth+1)
			if err != nil {
				return nil, err
			}
			n.Content = append(n.Content, in)
		}
		return n, nil
	case *groovy.Map:
		n := &yaml.Node{Kind: yaml.MappingNode}
		for k, item := range v.All() {
			key, err := yamlNode(c, k, left, depth+1)
			if err != nil {
				return nil, err
			}
			in, err := yamlNode(c, item, left, depth+1)
			if err != nil {
				return nil, err
			}
			n.Content = append(n.Content, key, in)
		}
		return n, nil
	}
	n := &yaml.Node{}
	switch v := v.(type) {
	case nil, bool, int32, int64, float64, string:
		return n, n.Encode(v)
	}
	text, err := c.Text(v)
	if err != nil {
		return nil, err
	}
	return n, n.Encode(text)
}

// parseProperties reads a file of Java properties.
func parseProperties(text string) *groovy.Map {
	m := groovy.NewMap()
	var logical strings.Builder
	flush := func() {
		line := logical.String()
		logical.Reset()
		if line == "" {
			return
		}
		key, value := splitProperty(line)
		m.Put(unescape(key), unescape(value))
	}
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\r\n")
		line = strings.TrimLeft(line, " \t\f")
		if logical.Len() == 0 && (line == "" || line[0] == '#' || line[0] == '!') {
			continue
		}
		slashes := len(line) - len(strings.TrimRight(line, `\`))
		if slashes%2 == 1 {
			logical.WriteString(line[:len(line)-1])
			continue
		}
		logical.WriteString(line)
		flush()
	}
	flush()
	return m
}

// splitProperty cuts a line at the first = or : or blank that is not escaped.
func splitProperty(line string) (key, value string) {
	for i := 0; i < len(line); i++ {
		switch line[i] {
		case '\\':
			i++
		case '=', ':':
			return strings.TrimRight(line[:i], " \t\f"), strings.TrimLeft(line[i+1:], " \t\f")
		case ' ', '\t', '\f':
			rest := strings.TrimLeft(line[i:], " \t\f")
			if rest != "" && (rest[0] == '=' || rest[0] == ':') {
				rest = strings.TrimLeft(rest[1:], " \t\f")
			}
			return line[:i], rest
		}
	}
	return line, ""
}

// unescape takes the backslashes out of a property.
func unescape(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '\\' || i+1 == len(s) {
			b.WriteByte(s[i])
			continue
		}
		i++
		switch s[i] {
		case 'n':
			b.WriteByte('\n')
		case 't':
			b.WriteByte('\t')
		case 'r':
			b.WriteByte('\r')
		case 'f':
			b.WriteByte('\f')
		case 'u':
			var r rune
			if i+4 < len(s) {
				if _, err := fmt.Sscanf(s[i+1:i+5], "%04x", &r); err == nil {
					b.WriteRune(r)
					i += 4
					continue
				}
			}
			b.WriteByte('u')
		default:
			b.WriteByte(s[i])
		}
	}
	return b.String()
}

package jenkins

import (
	"fmt"
	"path"
	"strconv"
	"strings"

	"github.com/fairlead-dev/fairlead/internal/dialect/jenkins/declarative"
	"github.com/fairlead-dev/fairlead/internal/dialect/jenkins/groovy"
	"github.com/fairlead-dev/fairlead/internal/plan"
	"github.com/fairlead-dev/fairlead/internal/project"
)

// settings are what fairlead.yaml says of the installation, by name.
type settings struct {
	Libraries map[string]project.JenkinsLibrary
	Steps     map[string]string            // name -> script
	Tools     map[string]map[string]string // type -> name -> home
	Agents    map[string][]string          // name -> options
	Nodes     map[string]map[string]string // label -> variables
	Throttle  map[string]int               // category -> builds at a time
	Jobs      map[string]string            // name -> file of the tree
}

func settingsOf(said *project.Jenkins) *settings {
	s := &settings{Libraries: map[string]project.JenkinsLibrary{}, Steps: map[string]string{}, Tools: map[string]map[string]string{}, Agents: map[string][]string{}, Nodes: map[string]map[string]string{}, Throttle: map[string]int{}, Jobs: map[string]string{}}
	for _, l := range said.Libraries {
		s.Libraries[l.Name] = l
	}
	for _, x := range said.Steps {
		s.Steps[x.Name] = x.Script
	}
	for _, t := range said.Tools {
		if s.Tools[t.Type] == nil {
			s.Tools[t.Type] = map[string]string{}
		}
		s.Tools[t.Type][t.Name] = t.Home
	}
	for _, a := range said.Agents {
		s.Agents[a.Name] = append([]string{}, a.Options...)
	}
	for _, j := range said.Jobs {
		s.Jobs[strings.Trim(j.Name, "/")] = path.Clean(j.File)
	}
	for _, t := range said.Throttle {
		s.Throttle[t.Category] = t.Most
	}
	for _, n := range said.Nodes {
		if s.Nodes[n.Label] == nil {
			s.Nodes[n.Label] = map[string]string{}
		}
		for _, v := range n.Variables {
			s.Nodes[n.Label][v.Name] = v.Value
		}
	}
	return s
}

// encode is the settings as values of a job, so that a stored plan has them.
func (s *settings) encode() map[string]any {
	values := map[string]any{}
	put := func(kind, name string, v map[string]any) {
		m, _ := values[kind].(map[string]any)
		if m == nil {
			m = map[string]any{}
			values[kind] = m
		}
		m[name] = v
	}
	for name, l := range s.Libraries {
		put("libraries", name, map[string]any{"path": l.Path, "repository": l.Repository, "ref": l.Ref, "implicit": l.Implicit})
	}
	for name, script := range s.Steps {
		put("steps", name, map[string]any{"script": script})
	}
	for kind, tools := range s.Tools {
		homes := map[string]any{}
		for name, home := range tools {
			homes[name] = home
		}
		put("tools", kind, homes)
	}
	for label, variables := range s.Nodes {
		env := map[string]any{}
		for name, v := range variables {
			env[name] = v
		}
		put("nodes", label, env)
	}
	for name, file := range s.Jobs {
		put("jobs", name, map[string]any{"file": file})
	}
	for category, most := range s.Throttle {
		put("throttle", category, map[string]any{"most": strconv.Itoa(most)})
	}
	for name, options := range s.Agents {
		put("agents", name, map[string]any{"options": strings.Join(options, ",")})
	}
	if len(values) == 0 {
		return nil
	}
	return values
}

// decodeSettings is the reverse of encode.
func decodeSettings(values map[string]any) *settings {
	s := settingsOf(&project.Jenkins{})
	each := func(kind string, f func(name string, v map[string]any)) {
		m, _ := values[kind].(map[string]any)
		for name, v := range m {
			inner, _ := v.(map[string]any)
			f(name, inner)
		}
	}
	text := func(v map[string]any, name string) string { t, _ := v[name].(string); return t }
	each("libraries", func(name string, v map[string]any) {
		implicit, _ := v["implicit"].(bool)
		s.Libraries[name] = project.JenkinsLibrary{Name: name, Path: text(v, "path"), Repository: text(v, "repository"), Ref: text(v, "ref"), Implicit: implicit}
	})
	each("steps", func(name string, v map[string]any) { s.Steps[name] = text(v, "script") })
	each("tools", func(kind string, v map[string]any) {
		s.Tools[kind] = map[string]string{}
		for name := range v {
			s.Tools[kind][name] = text(v, name)
		}
	})
	each("nodes", func(label string, v map[string]any) {
		s.Nodes[label] = map[string]string{}
		for name := range v {
			s.Nodes[label][name] = text(v, name)
		}
	})
	each("jobs", func(name string, v map[string]any) { s.Jobs[name] = text(v, "file") })
	each("throttle", func(category string, v map[string]any) {
		s.Throttle[category], _ = strconv.Atoi(text(v, "most")) // 0 is none
	})
	each("agents", func(name string, v map[string]any) {
		s.Agents[name] = strings.FieldsFunc(text(v, "options"), func(r rune) bool { return r == ',' })
	})
	return s
}

// known is what the validator is to know of the installation.
func (s *settings) known() declarative.Known {
	k := declarative.Known{Agents: s.Agents, Tools: map[string][]string{}}
	for kind, tools := range s.Tools {
		k.Tools[kind] = sortedKeys(tools)
	}
	return k
}

// missing warns of libraries that a Jenkinsfile names and nothing says where
// they are: the rest of it may still be shown, and run until it needs them.
func (s *settings) missing(script *groovy.Script) []plan.Problem {
	var problems []plan.Problem
	for _, a := range libraryAnnotations(script) {
		for _, identifier := range a.names {
			name, _, _ := strings.Cut(identifier, "@")
			if _, ok := s.Libraries[name]; ok {
				continue
			}
			at := script.At(a.node)
			p := unknownLibrary(name, source(at))
			p.Severity = plan.Warning
			problems = append(problems, p)
		}
	}
	return problems
}

// said is what fairlead.yaml said when the plan was made.
func (b *build) said() *settings {
	if b.settings == nil {
		var values map[string]any
		if b.scope.Job != nil {
			values = b.scope.Job.Values
		}
		b.settings = decodeSettings(values)
	}
	return b.settings
}

// knownHere is what the validator is to know while a build runs.
func (b *build) knownHere() declarative.Known { return b.said().known() }

// standIn is the script that stands for a step.
func (b *build) standIn(name string) (string, bool) {
	text, ok := b.said().Steps[name]
	return text, ok
}

// runStandIn runs the script that stands for a step. Its arguments are in its
// environment, its output is its value.
func (b *build) runStandIn(c *groovy.Call, f *frame, script string) (groovy.Value, error) {
	f.say("[Pipeline] " + c.Name)
	if err := b.needNode(c.Thread, f, c.Name); err != nil {
		return nil, err
	}
	var vars []plan.Setting
	var body groovy.Value
	for i, v := range c.Args {
		switch v := v.(type) {
		case *groovy.Closure:
			body = v
			continue
		case *groovy.Map:
			if i == 0 && c.Named {
				for k, item := range v.All() {
					text, err := c.Text(item)
					if err != nil {
						return nil, err
					}
					vars = append(vars, plan.Setting{Name: "ARG_" + strings.ToUpper(fmt.Sprint(k)), Value: text})
				}
				continue
			}
		}
		text, err := c.Text(v)
		if err != nil {
			return nil, err
		}
		vars = append(vars, plan.Setting{Name: "ARG", Value: text})
	}
	g := f.inner()
	g.set(b, vars)
	in := *c
	in.Name = "sh"
	out, err := b.shell(&in, g, script, c.Name, true, false)
	if err != nil || body == nil {
		text, _ := out.(string)
		return strings.TrimRight(text, "\n"), err
	}
	return b.block(c, f, body)
}

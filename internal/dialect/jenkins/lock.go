package jenkins

import (
	"fmt"
	"slices"
	"strings"

	"github.com/fairlead-dev/fairlead/internal/dialect"
	"github.com/fairlead-dev/fairlead/internal/dialect/jenkins/groovy"
	"github.com/fairlead-dev/fairlead/internal/plan"
)

// A resource of lock belongs to the repository: its runs, and the branches of one, wait for
// each other. Of the resources that an installation of Jenkins declares nothing is known
// here, so a label is one resource of that name.

// lockStep is lock: its block runs while nobody else has its resources.
func lockStep(b *build, c *groovy.Call, f *frame) (groovy.Value, error) {
	a, err := b.args(c, "resource")
	if err != nil {
		return nil, err
	}
	wants, err := resources(c, a)
	if err != nil {
		return nil, err
	}
	if len(wants) == 0 {
		return nil, c.Throw(illegalArgument, "lock needs a resource or a label")
	}
	g := f.inner()
	if name := a.text("variable"); name != "" {
		g.setResources(b, name, wants)
	}
	return b.held(c, f, g, wants, a.flag("skipIfLocked", false), a.body)
}

// setResources tells the block which resources it has, as the plug-in does.
func (f *frame) setResources(b *build, variable string, wants []dialect.Want) {
	names := make([]string, len(wants))
	for i, w := range wants {
		names[i] = plainName(w.Name)
	}
	vars := []plan.Setting{{Name: variable, Value: strings.Join(names, ",")}}
	for i, name := range names {
		vars = append(vars, plan.Setting{Name: fmt.Sprintf("%s%d", variable, i), Value: name})
	}
	f.set(b, vars)
}

// resources are those that a lock asks for.
func resources(c *groovy.Call, a *arguments) (wants []dialect.Want, err error) {
	add := func(resource, label string) {
		switch {
		case resource != "":
			wants = append(wants, dialect.Want{Name: "lock " + resource, Of: 1})
		case label != "":
			wants = append(wants, dialect.Want{Name: "label " + label, Of: 1})
		}
	}
	add(a.text("resource"), a.text("label"))
	extra, _ := a.value("extra").(*groovy.List)
	if extra == nil {
		return wants, nil
	}
	for _, item := range extra.Items {
		m, ok := item.(*groovy.Map)
		if !ok {
			return nil, c.Throw(illegalArgument, "extra of lock is a list of maps with resource or label")
		}
		text := func(name string) string {
			v, _ := m.Text(name)
			if v == nil {
				return ""
			}
			s, _ := c.Text(v)
			return s
		}
		add(text("resource"), text("label"))
	}
	return wants, nil
}

// throttleStep is throttle: its block runs while no more builds of its categories do than
// fairlead.yaml allows.
func throttleStep(b *build, c *groovy.Call, f *frame) (groovy.Value, error) {
	a, err := b.args(c, "categories")
	if err != nil {
		return nil, err
	}
	list, _ := a.value("categories").(*groovy.List)
	if list == nil {
		return nil, c.Throw(illegalArgument, "throttle needs a list of categories and a block")
	}
	var wants []dialect.Want
	for _, item := range list.Items {
		name, err := c.Text(item)
		if err != nil {
			return nil, err
		}
		most := b.settings.Throttle[name]
		if most == 0 {
			f.sayf("[Fairlead] fairlead.yaml says not how many builds of %s may run at a time (jenkins: throttle): it holds nothing back", name)
			continue
		}
		wants = append(wants, dialect.Want{Name: "throttle " + name, Of: most})
	}
	return b.held(c, f, f.inner(), wants, false, a.body)
}

// held runs a block while what it wants is ours alone. What a block around it has is not
// waited for.
func (b *build) held(c *groovy.Call, f, g *frame, wants []dialect.Want, skip bool, body groovy.Value) (groovy.Value, error) {
	wants = slices.DeleteFunc(wants, func(w dialect.Want) bool { return slices.Contains(f.held, w.Name) })
	holder, ok := f.do.(dialect.Holder)
	if len(wants) == 0 || !ok {
		return b.block(c, g, body)
	}
	names := make([]string, len(wants))
	for i, w := range wants {
		names[i] = plainName(w.Name)
		g.held = append(slices.Clip(g.held), w.Name)
	}
	title := strings.Join(names, ", ")
	f.sayf("Trying to acquire lock on [%s]", title)
	hold := func(wait func(name, by string) bool) (release func(), err error) {
		c.Thread.Unlocked(func() { release, err = holder.Hold(f.ctx, wants, wait) })
		if f.ctx.Err() != nil {
			return nil, b.interrupt(c.Thread, f.ctx.Err())
		}
		return release, err
	}
	told := false
	wait := func(name, by string) bool {
		if !told {
			told = true
			f.sayf("[%s] is held by %s: it is waited for", plainName(name), by)
		}
		return true
	}
	var release func()
	var err error
	if skip {
		// Whether it was free then is a fact that a run that goes on has to find again.
		if release, err = hold(func(string, string) bool { return false }); err != nil {
			return nil, ofLock(err)
		}
		out, err := b.builtin(c, f, "answer", "is "+title+" free", map[string]string{"answer": fmt.Sprint(release != nil)})
		if err != nil || out["answer"] != "true" {
			if release != nil {
				release()
			}
			if err == nil {
				f.sayf("[%s] is held by another build: its block is skipped", title)
			}
			return nil, err
		}
	}
	if release == nil {
		if release, err = hold(wait); err != nil {
			return nil, ofLock(err)
		}
	}
	defer release()
	f.sayf("Lock acquired on [%s]", title)
	v, err := b.block(c, g, body)
	f.sayf("Lock released on resource [%s]", title)
	return v, err
}

// ofLock is an error of the engine, which no script may catch, unless it is the script's
// own.
func ofLock(err error) error {
	if _, ok := failed(err); ok {
		return err
	}
	return fatal{err}
}

// plainName is what the user calls what is held.
func plainName(name string) string {
	_, name, _ = strings.Cut(name, " ")
	return name
}

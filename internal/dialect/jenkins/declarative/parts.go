package declarative

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/fairlead-dev/fairlead/internal/dialect/jenkins/groovy"
	"github.com/fairlead-dev/fairlead/internal/plan"
)

// near is a hint for a name that is close to one of names.
func near(name string, names []string) string {
	if n := plan.Nearest(name, names); n != "" && n != name {
		return "did you mean " + n + "?"
	}
	return ""
}

// literal is the text of a string without holes.
func literal(e groovy.Expr) (string, bool) {
	l, ok := e.(*groovy.Literal)
	if !ok {
		return "", false
	}
	s, ok := l.Value.(string)
	return s, ok
}

// constant is the value of a literal.
func constant(e groovy.Expr) (groovy.Value, bool) {
	l, ok := e.(*groovy.Literal)
	if !ok {
		return nil, false
	}
	return l.Value, true
}

// literalText is the text of any literal.
func literalText(e groovy.Expr) (string, bool) {
	v, ok := constant(e)
	if !ok || v == nil {
		return "", false
	}
	return fmt.Sprint(v), true
}

// only is the argument of a call that has one and no name for it, or nil.
func only(call *groovy.CallExpr) groovy.Expr {
	if len(call.Args) != 1 || call.Named != nil {
		return nil
	}
	return call.Args[0]
}

// onlyCall is the one statement of a block, if it is a call.
func onlyCall(b *groovy.ClosureExpr) *groovy.CallExpr {
	if len(b.Body.Stmts) != 1 {
		return nil
	}
	call, _ := callOf(b.Body.Stmts[0])
	return call
}

var (
	identifiers = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)
	dollarCurly = regexp.MustCompile(`^\$\s*\{`)
)

func identifier(name string) bool { return identifiers.MatchString(name) }

func badIdentifier(name string) string {
	return fmt.Sprintf("%q is not a valid identifier and cannot be used for an environment variable. "+
		"Identifiers must start with a letter or underscore and can contain only letters, numbers or underscores.", name)
}

// bare reports ${x} without quotes, which Groovy reads as a call of $.
func (r *reader) bare(e groovy.Expr) bool {
	call, ok := e.(*groovy.CallExpr)
	if !ok || call.Name != "$" || !dollarCurly.MatchString(r.s.Text(e)) {
		return false
	}
	shown := strings.ReplaceAll(r.s.Text(e), " ", "")
	r.report(e, "environment", fmt.Sprintf("%s cannot be used as a value directly. Did you mean %q? (add quotes)", clip(shown), clip(shown)), "")
	return true
}

// agent reads agent any, agent none and agent { … }.
func (r *reader) agent(s section) *Agent {
	a := &Agent{Source: r.source(s.call)}
	const allowed = `Only "agent none", "agent any" or "agent {...}" are allowed.`
	if s.body == nil {
		id, ok := only(s.call).(*groovy.Ident)
		if !ok || id.Name != "any" && id.Name != "none" {
			r.report(s.call, "agent", allowed, "")
			return nil
		}
		a.Type = id.Name
		return a
	}
	types := agentTypes()
	for name, options := range r.known.Agents {
		types[name] = agentType{required: options[:min(len(options), 1)], options: options, single: true}
	}
	names := sortedNames(types)
	for i, stmt := range s.body.Body.Stmts {
		if i == 1 {
			r.report(stmt, "agent", "Only one agent type is allowed per agent section", "")
			return a
		}
		call, ok := callOf(stmt)
		if !ok {
			if e, is := stmt.(*groovy.ExprStmt); is {
				if id, is := e.X.(*groovy.Ident); is && slices.Contains([]string{"any", "none", "dockerfile", "label"}, id.Name) {
					a.Type = id.Name
					continue
				}
			}
			r.report(stmt, "agent", "Expected to find ‘key \"value\"’", allowed)
			return nil
		}
		a.Type = call.Name
		kind, known := types[call.Name]
		if !known {
			r.report(call, "agent", fmt.Sprintf("Invalid agent type %q specified. Must be one of %s", call.Name, bracketed(names)), near(call.Name, names))
			return nil
		}
		r.agentArguments(a, call, kind)
	}
	if len(s.body.Body.Stmts) == 0 {
		r.report(s.call, "agent", fmt.Sprintf("No agent type specified. Must be one of %s", bracketed(names)), "")
		return nil
	}
	return a
}

func (r *reader) agentArguments(a *Agent, call *groovy.CallExpr, kind agentType) {
	body := closureOf(call)
	if body == nil {
		switch {
		case call.Named != nil:
			a.Options = r.named(call)
		case len(call.Args) == 0:
			r.report(call, "agent", fmt.Sprintf("No argument for agent key %q", call.Name), "")
		case len(call.Args) > 1:
			r.report(call, "agent", fmt.Sprintf("Too many arguments for agent key %q", call.Name), "")
		case !kind.single || len(r.known.Agents[call.Name]) > 1:
			needed := kind.required
			if own := r.known.Agents[call.Name]; len(own) > 1 {
				needed = own[:2]
			}
			r.report(call, "agent", fmt.Sprintf("Multiple parameters are required for agent type %q - %s. Please use a block instead.", call.Name, bracketed(needed)), "")
		default:
			if !r.bare(call.Args[0]) {
				a.Value = call.Args[0]
			}
		}
		return
	}
	for _, o := range r.sections(body, func(n groovy.Node, name string) {
		r.report(n, "agent", fmt.Sprintf("No argument for agent key %q", name), "")
	}, func(n groovy.Node) {
		r.report(n, "agent", "Expected to find ‘key \"value\"’", "")
	}) {
		switch {
		case o.call == nil:
			continue
		case !slices.Contains(kind.options, o.name):
			r.report(o.call, "agent", fmt.Sprintf("Invalid config option %q for agent type %q. Valid config options are %s", o.name, call.Name, bracketed(kind.options)), near(o.name, kind.options))
			continue
		case len(o.call.Args) == 0 && o.call.Named == nil:
			r.report(o.call, "agent", fmt.Sprintf("No argument for agent key %q", o.name), "")
			continue
		}
		var value groovy.Expr = o.call
		if len(o.call.Args) > 0 {
			value = o.call.Args[0]
		}
		if call.Name == "dockerfile" && o.name == "filename" {
			if name, ok := literal(value); ok && strings.ContainsAny(name, `/\`) {
				r.report(o.call, "agent", "Dockerfile filename cannot contain directory separators.", "name the directory with dir")
			}
		}
		a.Options = append(a.Options, Option{o.name, value, r.source(o.call)})
	}
	for _, need := range kind.required {
		if a.Get(need) == nil && len(r.known.Agents[call.Name]) == 0 {
			r.report(call, "agent", fmt.Sprintf("Missing required parameter for agent type %q: %s", call.Name, need), "")
		}
	}
}

// environment reads NAME = value.
func (r *reader) environment(call *groovy.CallExpr, b *groovy.ClosureExpr) []Variable {
	var list []Variable
	seen := map[string]bool{}
	if len(b.Body.Stmts) == 0 {
		r.report(call, "environment", "No variables specified for environment", "")
	}
	for _, stmt := range b.Body.Stmts {
		e, _ := stmt.(*groovy.ExprStmt)
		var assign *groovy.AssignExpr
		if e != nil {
			assign, _ = e.X.(*groovy.AssignExpr)
		}
		if assign == nil || assign.Op != "=" {
			if e == nil || !r.bare(e.X) {
				r.report(stmt, "environment", fmt.Sprintf("%q is not a valid environment expression. Use \"key = value\" pairs with valid Java/shell keys.", clip(r.s.Text(stmt))), "")
			}
			continue
		}
		var name string
		switch target := assign.Target.(type) {
		case *groovy.Ident:
			name = target.Name
		case *groovy.Literal:
			r.report(target, "environment", fmt.Sprintf("[%v] is a constant expression, but it should be a variable expression", target.Value), "write the name without quotes")
			continue
		case *groovy.BinaryExpr:
			r.report(target, "environment", fmt.Sprintf("(%s %s %s) is a binary expression, but it should be a variable expression",
				clip(r.s.Text(target.X)), target.Op, clip(r.s.Text(target.Y))), "a name has letters, digits and _")
			continue
		default:
			r.report(stmt, "environment", fmt.Sprintf("%q is not a valid environment expression. Use \"key = value\" pairs with valid Java/shell keys.", clip(r.s.Text(stmt))), "")
			continue
		}
		switch {
		case !identifier(name):
			r.report(assign, "environment", badIdentifier(name), "")
			continue
		case seen[name]:
			r.report(assign, "environment", fmt.Sprintf("Duplicate environment variable name: %q", name), "")
			continue
		}
		seen[name] = true
		if r.value(assign.Value) {
			list = append(list, Variable{name, assign.Value, r.source(assign)})
		}
	}
	return list
}

// value checks the value of a variable: a string, strings put together, a
// call, or something with a name.
func (r *reader) value(e groovy.Expr) bool {
	if r.bare(e) {
		return false
	}
	switch e := e.(type) {
	case *groovy.Literal, *groovy.GStringExpr, *groovy.CallExpr, *groovy.PropertyExpr:
		return true
	case *groovy.BinaryExpr:
		return r.joined(e)
	default:
		r.report(e, "environment", "Environment variable values must either be single quoted, double quoted, or function calls.",
			"put the expression into a string: \"${…}\"")
		return false
	}
}

// joined checks strings with + between them.
func (r *reader) joined(e *groovy.BinaryExpr) bool {
	ok := true
	if e.Op != "+" {
		r.report(e, "environment", "Environment variable values can only be joined together with ‘+’s.", "put the expression into a string: \"${…}\"")
		ok = false
	}
	for _, side := range []groovy.Expr{e.X, e.Y} {
		switch side := side.(type) {
		case *groovy.BinaryExpr:
			ok = r.joined(side) && ok
		case *groovy.GStringExpr:
		case *groovy.Literal:
			if _, text := side.Value.(string); !text {
				r.report(side, "environment", "Environment variable values to be concatenated together must be single or double quoted.", "")
				ok = false
			}
		case *groovy.PropertyExpr:
		default:
			r.report(side, "environment", "Environment variable values to be concatenated together must be single or double quoted.", "")
			ok = false
		}
	}
	return ok
}

// tools reads type 'name'.
func (r *reader) tools(call *groovy.CallExpr, b *groovy.ClosureExpr) []Tool {
	var list []Tool
	if len(b.Body.Stmts) == 0 {
		r.report(call, "tool", "No tools specified", "")
	}
	for _, stmt := range b.Body.Stmts {
		c, ok := callOf(stmt)
		if !ok || c.X != nil {
			r.report(stmt, "tool", "Expected to find ‘someTool \"someVersion\"’", "write maven 'name'")
			continue
		}
		known := toolTypes()
		for _, name := range sortedNames(r.known.Tools) {
			if !slices.Contains(known, name) {
				known = append(known, name)
			}
		}
		switch {
		case len(c.Args) == 0 && c.Named == nil:
			r.report(c, "tool", fmt.Sprintf("No argument for tool %q", c.Name), "")
			continue
		case len(c.Args) > 1:
			r.report(c, "tool", fmt.Sprintf("Too many arguments for tool %q", c.Name), "")
			continue
		case !slices.Contains(known, c.Name) && !strings.Contains(c.Name, "."):
			r.unknown(c, "tool", c.Name, known)
			continue
		}
		var name groovy.Expr
		switch {
		case len(c.Args) > 0:
			name = c.Args[0]
		default:
			for _, o := range r.named(c) {
				if o.Name == "name" {
					name = o.Value
				}
			}
		}
		if name == nil {
			r.report(c, "tool", "Expected to find ‘someTool \"someVersion\"’", "")
			continue
		}
		if version, ok := literal(name); ok && len(r.known.Tools[c.Name]) > 0 && !slices.Contains(r.known.Tools[c.Name], version) {
			r.report(c, "tool", fmt.Sprintf("Tool type %q does not have an install of %q configured - did you mean %q?", c.Name, version, nearest(version, r.known.Tools[c.Name])), "")
			continue
		}
		list = append(list, Tool{c.Name, name, r.source(c)})
	}
	return list
}

// libraries reads lib('name@version').
func (r *reader) libraries(s section) []groovy.Expr {
	b := r.block(s)
	if b == nil {
		return nil
	}
	var list []groovy.Expr
	for _, stmt := range b.Body.Stmts {
		c, ok := callOf(stmt)
		if !ok || c.Name != "lib" || c.X != nil || only(c) == nil {
			got := r.s.Text(stmt)
			if e, is := stmt.(*groovy.ExprStmt); is {
				if text, is := literal(e.X); is {
					got = `"` + text + `"`
				}
			}
			r.report(stmt, "library", "Expected a \"lib(...)\" but got "+clip(got), "write lib('name@version')")
			continue
		}
		list = append(list, c.Args[0])
	}
	if len(list) == 0 {
		r.report(s.call, "library", "libraries can not be empty", "")
	}
	return list
}

// calls reads a section whose statements are calls; title is what they are
// called all together, expected what is said of a statement that is none.
func (r *reader) calls(s section, title, expected string) []Call {
	b := r.block(s)
	if b == nil {
		return nil
	}
	if len(b.Body.Stmts) == 0 {
		r.report(s.call, "section", s.name+" can not be empty", "")
	}
	var list []Call
	for _, stmt := range b.Body.Stmts {
		if e, is := stmt.(*groovy.ExprStmt); is {
			switch e.X.(type) {
			case *groovy.MapExpr:
				r.report(stmt, "section", title+" cannot be defined as maps", "use the name of its kind: cron('@daily')")
				continue
			case *groovy.ListExpr:
				r.report(stmt, "section", expected, "")
				continue
			}
		}
		c, ok := callOf(stmt)
		if !ok || c.Name == "" {
			r.report(stmt, "section", expected, "")
			continue
		}
		if closureOf(c) != nil {
			r.report(c, "section", title+" definitions cannot have blocks", "")
			continue
		}
		list = append(list, Call{c.Name, c, r.source(c)})
	}
	return list
}

// types checks that calls have one of the known names, and their arguments.
func (r *reader) types(calls []Call, what string, known map[string]symbol) {
	for _, c := range calls {
		sym, ok := known[c.Name]
		if !ok {
			r.unknown(c.Expr, what, c.Name, sortedNames(known))
			continue
		}
		r.arguments(c.Expr, sym, what)
	}
}

// unknown reports the name of a kind that is not known. It may be a plug-in's:
// an option, a trigger or a tool that nobody knows keeps no pipeline from
// running, unless it looks like a slip.
func (r *reader) unknown(n groovy.Node, what, name string, known []string) {
	hint := near(name, known)
	r.report(n, what, fmt.Sprintf("Invalid %s type %q. Valid %s types: %s", what, name, what, bracketed(known)), hint)
	if last := &r.problems[len(r.problems)-1]; hint == "" && what != "parameter" {
		last.Severity = plan.Warning
		last.Hint = "if it is a plug-in's, it has no effect here"
	}
}

// repeated reports calls of the same name.
func (r *reader) repeated(calls []Call, what string) {
	seen := map[string]bool{}
	for _, c := range calls {
		if seen[c.Name] {
			r.report(c.Expr, what, fmt.Sprintf("Duplicate %s name: %q", what, c.Name), "")
		}
		seen[c.Name] = true
	}
}

// options reads options { … } of the pipeline or of a stage.
func (r *reader) options(s section, stage bool) []Call {
	list := r.calls(s, "Options", "Expected an option")
	known := optionTypes()
	kept := list[:0]
	for _, c := range list {
		switch c.Name {
		case "parameters", "triggers":
			r.report(c.Expr, "option", fmt.Sprintf("The %q job property can't be used in the \"options\" directive. Use the \"%s {...}\" directive instead.", c.Name, c.Name), "")
			continue
		}
		if stage && slices.Contains(jobOnly(), c.Name) {
			valid := stageOptions()
			r.report(c.Expr, "option", fmt.Sprintf("Invalid option type %q. Valid option types: %s", c.Name, bracketed(valid)), "this option is one of the whole pipeline")
			continue
		}
		kept = append(kept, c)
	}
	r.types(kept, "option", known)
	for _, c := range kept {
		if n, ok := constant(namedArgument(c.Expr, "buildCount")); ok && c.Name == "preserveStashes" {
			if n, is := n.(int32); !is || n < 1 || n > maxStashes {
				r.report(c.Expr, "option", fmt.Sprintf("The buildCount of preserveStashes must be between 1 and %d.", maxStashes), "")
			}
		}
	}
	r.repeated(kept, "option")
	return kept
}

// maxStashes is for how many builds stashes may be kept.
const maxStashes = 50

// namedArgument is an argument of a call by its name, or nil.
func namedArgument(call *groovy.CallExpr, name string) groovy.Expr {
	if call.Named == nil {
		return nil
	}
	for _, e := range call.Named.Entries {
		if key, ok := literal(e.Key); ok && key == name {
			return e.Value
		}
	}
	return nil
}

// named are the named arguments of a call.
func (r *reader) named(call *groovy.CallExpr) []Option {
	if call.Named == nil {
		return nil
	}
	var list []Option
	for _, e := range call.Named.Entries {
		if e.Key == nil {
			continue
		}
		if name, ok := literal(e.Key); ok {
			list = append(list, Option{name, e.Value, r.source(e)})
		}
	}
	return list
}

// arguments checks a call against what its symbol takes.
func (r *reader) arguments(call *groovy.CallExpr, sym symbol, rule string) {
	args := call.Args
	if c := closureOf(call); c != nil {
		args = args[:len(args)-1]
	}
	bad := false
	for _, a := range args {
		bad = r.argument(a, rule) || bad
	}
	given := map[string]groovy.Expr{}
	for _, o := range r.named(call) {
		if given[o.Name] != nil {
			r.report(call, rule, fmt.Sprintf("Duplicate named parameter '%s' found", o.Name), "")
		}
		given[o.Name] = o.Value
		bad = r.argument(o.Value, rule) || bad
	}
	if bad || sym.open {
		return
	}
	names := make([]string, len(sym.params))
	for i, p := range sym.params {
		names[i] = p.name
	}
	switch {
	case call.Named != nil && len(args) > 0:
		r.report(call, rule, "Cannot mix named and unnamed arguments", "")
	case call.Named != nil:
		for _, o := range r.named(call) {
			i := slices.Index(names, o.Name)
			if i < 0 {
				r.report(call, rule, fmt.Sprintf("Invalid parameter %q, did you mean %q?", o.Name, nearest(o.Name, names)), "")
				continue
			}
			if want := sym.params[i].kind; !fits(o.Value, want) {
				r.report(o.Value, rule, fmt.Sprintf("Expecting %q for parameter %q but got %q of type class %s instead", want, o.Name, valueText(o.Value), javaType(o.Value)), "")
			}
		}
		for _, p := range sym.params {
			if p.required && given[p.name] == nil && !spread(call.Named) {
				r.report(call, rule, fmt.Sprintf("Missing required parameter: %q", p.name), "")
			}
		}
	case len(args) == 0:
		for _, p := range sym.params {
			if !p.required {
				continue
			}
			if rule == "step" || rule == "when" {
				r.report(call, rule, fmt.Sprintf("Missing required parameter: %q", p.name), "")
			} else {
				r.report(call, rule, fmt.Sprintf("%q should have %d arguments but has %d arguments instead.", call.Name, 1, 0), "")
			}
			break
		}
	case len(args) == 1:
		if _, isMap := args[0].(*groovy.MapExpr); isMap {
			return
		}
		p, ok := sym.sole()
		switch {
		case !ok && len(sym.params) > 1 && sym.params[0].kind != anything && rule == "step":
			// The first parameter is meant by steps that take none by force.
		case !ok && len(sym.params) == 0:
			r.report(call, rule, fmt.Sprintf("%q should have %d arguments but has %d arguments instead.", call.Name, 0, 1), "")
		case ok && !fits(args[0], p.kind):
			r.report(args[0], rule, fmt.Sprintf("Expecting %q but got %q of type class %s instead", p.kind, valueText(args[0]), javaType(args[0])), "")
		}
	default:
		r.report(call, rule, fmt.Sprintf("Arguments to %q must be explicitly named.", call.Name), "")
	}
}

// argument checks one argument of a call, and reports whether it is wrong in
// itself.
func (r *reader) argument(e groovy.Expr, rule string) bool {
	if r.bare(e) {
		return true
	}
	call, ok := e.(*groovy.CallExpr)
	if !ok {
		return false
	}
	if why, no := blocked()[call.Name]; no && call.X == nil && rule != "step" {
		r.report(call, rule, fmt.Sprintf("Invalid step %q used - not allowed in this context - %s", call.Name, why), "")
		return true
	}
	if rule != "step" && call.X == nil && slices.ContainsFunc(call.Args, func(a groovy.Expr) bool { _, is := a.(*groovy.ClosureExpr); return is }) {
		r.report(call, rule, "Method call arguments cannot have blocks", "")
		return true
	}
	return false
}

// spread reports whether a map has entries that are known only when it runs.
func spread(m *groovy.MapExpr) bool {
	return slices.ContainsFunc(m.Entries, func(e *groovy.MapEntry) bool { _, ok := e.Key.(*groovy.Literal); return !ok })
}

// fits reports whether a literal can be of a kind; what is no literal can.
func fits(e groovy.Expr, k kind) bool {
	v, ok := constant(e)
	if !ok || v == nil {
		return true
	}
	_, isText := v.(string)
	_, isBool := v.(bool)
	switch k {
	case text:
		return isText
	case boolean:
		return isBool
	case number, long:
		return !isText && !isBool
	}
	return true
}

// javaType is the class of a literal's value.
func javaType(e groovy.Expr) string {
	v, _ := constant(e)
	switch v.(type) {
	case string:
		return "java.lang.String"
	case bool:
		return "java.lang.Boolean"
	case int32:
		return "java.lang.Integer"
	case int64:
		return "java.lang.Long"
	}
	return "java.math.BigDecimal"
}

func valueText(e groovy.Expr) string {
	s, _ := literalText(e)
	return clip(s)
}

// nearest is the name that is the fewest slips away; there is always one when
// there are names.
func nearest(word string, names []string) string {
	best, least := "", -1
	for _, n := range names {
		if d := slips(clip(word), n); least < 0 || d < least {
			best, least = n, d
		}
	}
	return best
}

// slips is the edit distance between two short texts.
func slips(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, diagonal+1)
		}
	}
	return row[len(b)]
}

// steps checks the statements of a steps section: calls of steps, and nothing
// of Groovy's own but in script { }.
func (r *reader) steps(b *groovy.ClosureExpr) {
	for _, stmt := range b.Body.Stmts {
		if _, empty := stmt.(*groovy.EmptyStmt); empty {
			continue
		}
		call, ok := callOf(stmt)
		switch {
		case !ok:
			if e, is := stmt.(*groovy.ExprStmt); is && r.bare(e.X) {
				continue
			}
			r.report(stmt, "step", "Expected a step", "Groovy beside steps belongs into script { … }")
		case r.bare(call):
		case call.X != nil:
			r.report(call, "step", `Method calls on objects not allowed outside "script" blocks.`, "put it into script { … }")
		case call.Name == "":
			r.report(call, "step", "Expected a symbol", "")
		case call.Name == "script":
			if closureOf(call) == nil {
				r.report(call, "step", "Expected a block with the \"script\" step", "write script { … }")
			}
		default:
			r.step(call)
		}
	}
}

func (r *reader) step(call *groovy.CallExpr) {
	if why, no := blocked()[call.Name]; no {
		r.report(call, "step", fmt.Sprintf("Invalid step %q used - not allowed in this context - %s", call.Name, why), "")
		return
	}
	if sym, known := steps()[call.Name]; known && !(r.known.Steps != nil && r.known.Steps(call.Name)) {
		r.arguments(call, sym, "step")
	} else {
		r.arguments(call, symbol{open: true}, "step")
	}
	r.metaStep(call)
	if body := closureOf(call); body != nil {
		r.deeper(call, func() { r.steps(body) })
	}
}

// metaStep checks step([$class: …]), the older way to call some steps.
func (r *reader) metaStep(call *groovy.CallExpr) {
	if call.Name != "step" || len(call.Args) != 1 {
		return
	}
	m, ok := call.Args[0].(*groovy.MapExpr)
	if !ok {
		return
	}
	of := ""
	for _, e := range m.Entries {
		if key, ok := literal(e.Key); ok && key == "$class" {
			of, _ = literal(e.Value)
		}
	}
	if of != "ArtifactArchiver" && of != "hudson.tasks.ArtifactArchiver" {
		return
	}
	var names []string
	for _, p := range steps()["archiveArtifacts"].params {
		names = append(names, p.name)
	}
	for _, e := range m.Entries {
		if key, ok := literal(e.Key); ok && key != "$class" && !slices.Contains(names, key) {
			r.report(e, "step", fmt.Sprintf("Invalid parameter %q, did you mean %q?", key, nearest(key, names)), "")
		}
	}
}

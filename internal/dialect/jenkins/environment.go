package jenkins

import (
	"fmt"
	"path/filepath"
	"strings"

	"github.com/fairlead-dev/fairlead/internal/dialect/jenkins/declarative"
	"github.com/fairlead-dev/fairlead/internal/dialect/jenkins/groovy"
	"github.com/fairlead-dev/fairlead/internal/plan"
)

// inEnvironment runs body inside of an environment block. Its values may refer
// to each other in any order, and to what the name was before.
func (m *model) inEnvironment(c *groovy.Call, f *frame, vars []declarative.Variable, body func(c *groovy.Call, f *frame) error) error {
	if len(vars) == 0 {
		return body(m.callIn(c, f.within(c.Thread)), f)
	}
	f = f.inner()
	// Credentials come first: their variables are there for all others.
	var plain []declarative.Variable
	var cleanups []func(c *groovy.Call) error
	lazy := &lazyEnv{outer: f.lazy, values: map[string]string{}, making: map[string]bool{}, where: m.where}
	lazy.vars = vars
	f.lazy = lazy
	for _, v := range vars {
		call, ok := v.Value.(*groovy.CallExpr)
		if !ok || call.Name != "credentials" || call.X != nil || len(call.Args) != 1 {
			plain = append(plain, v)
			continue
		}
		id, err := m.evalText(c.Thread, f, m.where, call.Args[0])
		if err != nil {
			return err
		}
		bound, cleanup, err := m.bindCredential(m.callIn(c, f.within(c.Thread)), f, "auto", id, v.Name)
		if err != nil {
			return err
		}
		if cleanup != nil {
			cleanups = append(cleanups, cleanup)
		}
		f.set(m.build, bound)
		for _, b := range bound {
			lazy.values[b.Name] = b.Value
		}
	}
	var made []plan.Setting
	for _, v := range plain {
		text, _, err := m.lazyValue(c.Thread, f, lazy, v.Name)
		if err != nil {
			return err
		}
		made = append(made, plan.Setting{Name: v.Name, Value: text})
	}
	f.lazy = lazy.outer
	f.set(m.build, made)
	err := body(m.callIn(c, f.within(c.Thread)), f)
	for _, cleanup := range cleanups {
		if failed := cleanup(m.callIn(c, f.within(c.Thread))); err == nil {
			err = failed
		}
	}
	return err
}

// lazyValue is the value of a variable of the environment block, made when it
// is first asked for. While it is being made its name means what it meant
// before the block.
func (b *build) lazyValue(t *groovy.Thread, f *frame, l *lazyEnv, name string) (string, bool, error) {
	if v, ok := l.values[name]; ok {
		return v, true, nil
	}
	if l.making[name] {
		return "", false, nil
	}
	for _, v := range l.vars {
		if v.Name != name {
			continue
		}
		if call, ok := v.Value.(*groovy.CallExpr); ok && call.Name == "credentials" {
			return "", false, nil // its turn has not come
		}
		l.making[name] = true
		defer delete(l.making, name)
		in := f.within(t)
		value, err := in.Eval(l.where, v.Value, nil)
		if err != nil {
			return "", false, err
		}
		if value == nil {
			return "", false, t.Throw(illegalArgument, "One or more variables have some issues with their values: %s", name)
		}
		text, err := in.Text(value)
		if err != nil {
			return "", false, err
		}
		l.values[name] = text
		return text, true, nil
	}
	return "", false, nil
}

// secretName is the name under which a credential's secret is kept: names of
// secrets have letters, digits and _.
func secretName(id string) string {
	var b strings.Builder
	for _, r := range id {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' {
			b.WriteRune(r)
		} else {
			b.WriteByte('_')
		}
	}
	name := b.String()
	if name == "" || name[0] >= '0' && name[0] <= '9' {
		name = "_" + name
	}
	return strings.ToUpper(name)
}

// secret is the value of a secret by its name, in any case.
func (b *build) secret(name string) (value, as string, ok bool) {
	for _, as := range []string{name, strings.ToUpper(name), strings.ToLower(name)} {
		if v, ok := b.scope.Secrets[as]; ok {
			return v, as, true
		}
	}
	for as, v := range b.scope.Secrets {
		if strings.EqualFold(as, name) {
			return v, as, true
		}
	}
	return "", "", false
}

// bindCredential gives the variables of a credential. Credentials are secrets
// by name: ID for a text, ID_USR and ID_PSW for a user with a password (or one
// secret user:password), ID_FILE for a file's content, ID_KEY with ID_USR and
// ID_PASSPHRASE for a key of ssh, ID_KEYSTORE in base64 with ID_PASSPHRASE for a
// certificate. kind is the binding that is wanted, "auto"
// for what there is. What was written to a file is taken away by cleanup.
func (b *build) bindCredential(c *groovy.Call, f *frame, kind, id, variable string) (vars []plan.Setting, cleanup func(*groovy.Call) error, err error) {
	name := secretName(id)
	set := func(suffix, value string) {
		vars = append(vars, plan.Setting{Name: variable + suffix, Value: value})
		if value != "" {
			f.masks = append(f.masks, value)
		}
	}
	user, _, hasUser := b.secret(name + "_USR")
	password, _, hasPassword := b.secret(name + "_PSW")
	_, fileAs, hasFile := b.secret(name + "_FILE")
	_, keyAs, hasKey := b.secret(name + "_KEY")
	_, storeAs, hasStore := b.secret(name + "_KEYSTORE")
	text, textAs, hasText := b.secret(name)
	if kind == "auto" {
		switch {
		case hasKey:
			kind = "ssh"
		case hasStore:
			// In environment there is no place for its three variables.
			return nil, nil, c.Throw(illegalArgument, "No suitable binding handler could be found for type %s. Bind it with withCredentials([certificate(…)])", certificateClass)
		case hasUser && hasPassword:
			kind = "user"
		case hasFile:
			kind = "file"
		case hasText && strings.Contains(text, ":") && b.splits(variable):
			kind = "user"
		default:
			kind = "text"
		}
	}
	if kind == "user" && !(hasUser && hasPassword) && hasText {
		user, password, hasUser = strings.Cut(text, ":")
		hasPassword = hasUser
		if hasUser {
			if err := b.mask(c, f, id, password); err != nil {
				return nil, nil, err
			}
		} else {
			return nil, nil, c.Throw(noCredentials, "Credentials '%s' are of one text, where a user and a password are required; give %s_USR and %s_PSW", id, name, name)
		}
	}
	missing := c.Throw(noCredentials, "Could not find credentials entry with ID '%s'; give it with --secret %s or fairlead secret set %s", id, name, name)
	switch kind {
	case "text":
		if !hasText {
			return nil, nil, missing
		}
		set("", text)
	case "user":
		if !hasUser || !hasPassword {
			return nil, nil, missing
		}
		f.masks = append(f.masks, password)
		vars = append(vars, plan.Setting{Name: variable, Value: user + ":" + password}, plan.Setting{Name: variable + "_USR", Value: user}, plan.Setting{Name: variable + "_PSW", Value: password})
	case "file", "ssh", "certificate":
		as := fileAs
		switch kind {
		case "ssh":
			as = keyAs
		case "certificate":
			as, textAs = storeAs, ""
		}
		if as == "" {
			as = textAs
		}
		if as == "" {
			return nil, nil, missing
		}
		file := filepath.Join(b.scope.Dirs.Temp, "credentials", fileName(f.keys.next("credential")), slug(id))
		inputs := map[string]string{"file": file, "secret": as, "line": fmt.Sprint(kind == "ssh"), "base64": fmt.Sprint(kind == "certificate")}
		if _, err := b.builtin(c, f, "credential", "credential "+id, inputs); err != nil {
			return nil, nil, err
		}
		cleanup = func(c *groovy.Call) error {
			_, err := b.builtin(c, f, "credential", "remove credential "+id, map[string]string{"file": file, "remove": "true"})
			return err
		}
		if err := b.mask(c, f, id, file); err != nil {
			return nil, cleanup, err
		}
		vars = append(vars, plan.Setting{Name: variable, Value: file})
		if kind == "certificate" {
			user = id // Jenkins names it by its description, or else by its ID
		}
		if kind != "file" {
			vars = append(vars, plan.Setting{Name: variable + "_USR", Value: user})
			passphrase, _, _ := b.secret(name + "_PASSPHRASE")
			set("_PSW", passphrase)
		}
	}
	return vars, cleanup, nil
}

// certificateClass is what Jenkins calls a credential that is a certificate.
const certificateClass = "com.cloudbees.plugins.credentials.impl.CertificateCredentialsImpl"

// splits reports whether the Jenkinsfile uses the parts of a credential that has
// a user and a password.
func (b *build) splits(variable string) bool {
	text := b.script.Source()
	return strings.Contains(text, variable+"_USR") || strings.Contains(text, variable+"_PSW")
}

// mask keeps a value from being shown that is no secret by itself: a part of
// one, or the place of its file.
func (b *build) mask(c *groovy.Call, f *frame, id, value string) error {
	f.masks = append(f.masks, value)
	_, err := b.step(c.Thread, f, f.keys.next("mask"), "mask credential "+id, c.At, &ask{act: func(*plan.Scope) (*plan.Act, error) {
		return &plan.Act{Name: "mask credential " + id, Masks: []string{value}, Builtin: &plan.Builtin{Name: "mask", Aloof: true}}, nil
	}})
	return err
}

// withCredentials is the step of that name.
func withCredentials(b *build, c *groovy.Call, f *frame) (groovy.Value, error) {
	a, err := b.args(c, "bindings")
	if err != nil {
		return nil, err
	}
	list, ok := a.value("bindings").(*groovy.List)
	if !ok || a.body == nil {
		return nil, c.Throw(illegalArgument, "withCredentials needs a list of bindings and a block")
	}
	g := f.inner()
	in := *c
	in.Thread = g.within(c.Thread)
	var cleanups []func(*groovy.Call) error
	var names []string
	for _, item := range list.Items {
		m, ok := item.(*groovy.Map)
		if !ok {
			return nil, c.Throw(illegalArgument, "a binding of withCredentials must be made by string, usernamePassword, file, sshUserPrivateKey or their like")
		}
		text := func(name string) string {
			v, _ := m.Text(name)
			s, _ := c.Text(v)
			if v == nil {
				return ""
			}
			return s
		}
		id := text("credentialsId")
		bind := func(kind string, wanted map[string]string) error {
			const own = "\x00"
			vars, cleanup, err := b.bindCredential(&in, g, kind, id, own)
			if err != nil {
				return err
			}
			if cleanup != nil {
				cleanups = append(cleanups, cleanup)
			}
			var out []plan.Setting
			for _, v := range vars {
				if name := wanted[strings.TrimPrefix(v.Name, own)]; name != "" {
					out = append(out, plan.Setting{Name: name, Value: v.Value})
					names = append(names, "$"+name)
				}
			}
			g.set(b, out)
			return nil
		}
		switch class := text(symbolKey); class {
		case "string", "StringBinding":
			err = bind("text", map[string]string{"": text("variable")})
		case "usernamePassword", "UsernamePasswordMultiBinding":
			err = bind("user", map[string]string{"_USR": text("usernameVariable"), "_PSW": text("passwordVariable")})
		case "usernameColonPassword", "UsernamePasswordBinding", "gitUsernamePassword":
			err = bind("user", map[string]string{"": text("variable")})
		case "file", "FileBinding", "zip", "ZipFileBinding":
			err = bind("file", map[string]string{"": text("variable")})
		case "sshUserPrivateKey", "SSHUserPrivateKeyBinding":
			err = bind("ssh", map[string]string{"": text("keyFileVariable"), "_USR": text("usernameVariable"), "_PSW": text("passphraseVariable")})
		case "certificate", "CertificateMultiBinding":
			err = bind("certificate", map[string]string{"": text("keystoreVariable"), "_USR": text("aliasVariable"), "_PSW": text("passwordVariable")})
		default:
			err = c.Throw(illegalArgument, "No suitable binding handler could be found for type %s", class)
		}
		if err != nil {
			break
		}
	}
	if err == nil && len(names) > 0 {
		f.sayf("Masking supported pattern matches of %s", strings.Join(names, " or "))
	}
	var v groovy.Value
	if err == nil {
		v, err = b.block(c, g, a.body)
	}
	for _, cleanup := range cleanups {
		if failed := cleanup(&in); err == nil {
			err = failed
		}
	}
	return v, err
}

// inTools runs body with tools on PATH. What is installed where is said in
// fairlead.yaml; a tool that is not there is looked for on PATH, as it is.
func (m *model) inTools(c *groovy.Call, f *frame, tools []declarative.Tool, body func(c *groovy.Call, f *frame) error) error {
	if len(tools) == 0 {
		return body(m.callIn(c, f.within(c.Thread)), f)
	}
	g := f.inner()
	for _, t := range tools {
		name, err := m.evalText(c.Thread, f, m.where, t.Name)
		if err != nil {
			return err
		}
		home := m.toolHome(t.Type, name)
		if home == "" {
			f.sayf("[Fairlead] the tool %s %q is not named in fairlead.yaml (jenkins: tools): what is on PATH is used", t.Type, name)
			continue
		}
		g.set(m.build, toolVariables(t.Type, home))
	}
	return body(m.callIn(c, g.within(c.Thread)), g)
}

// toolVariables are what a tool adds to the environment.
func toolVariables(kind, home string) []plan.Setting {
	vars := []plan.Setting{{Name: "PATH+" + strings.ToUpper(kind), Value: filepath.Join(home, "bin")}}
	switch kind {
	case "jdk":
		vars = append(vars, plan.Setting{Name: "JAVA_HOME", Value: home})
	case "maven":
		vars = append(vars, plan.Setting{Name: "M2_HOME", Value: home}, plan.Setting{Name: "MAVEN_HOME", Value: home})
	case "ant":
		vars = append(vars, plan.Setting{Name: "ANT_HOME", Value: home})
	case "gradle":
		vars = append(vars, plan.Setting{Name: "GRADLE_HOME", Value: home})
	case "nodejs":
		vars = append(vars, plan.Setting{Name: "NODEJS_HOME", Value: home})
	case "go":
		vars = append(vars, plan.Setting{Name: "GOROOT", Value: home})
	}
	return vars
}

// toolHome is where a tool is installed; "" when that is not said.
func (b *build) toolHome(kind, name string) string {
	all := b.said().Tools
	if kind != "" {
		return all[kind][name]
	}
	for _, kind := range sortedKeys(all) {
		if home := all[kind][name]; home != "" {
			return home
		}
	}
	return ""
}

package server

import (
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
)

// element is an element of a page, or a text in one.
type element struct {
	Tag      string // "" for a text
	Text     string
	Attr     []xml.Attr
	Parent   *element
	Children []*element
}

// parsePage reads a page of ours, in which every element but the void ones is
// closed.
func parsePage(page string) (*element, error) {
	// XML has no control characters; HTML does not mind them in texts.
	page = strings.Map(func(r rune) rune {
		if r < ' ' && r != '\t' && r != '\n' && r != '\r' || r == 0xfffe || r == 0xffff {
			return '?'
		}
		return r
	}, page)
	d := xml.NewDecoder(strings.NewReader(page))
	d.Strict, d.AutoClose, d.Entity = false, xml.HTMLAutoClose, xml.HTMLEntity
	root := &element{}
	at := root
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			if at != root {
				return nil, fmt.Errorf("<%s> is never closed", at.Tag)
			}
			return root, nil
		}
		if err != nil {
			return nil, err
		}
		switch token := token.(type) {
		case xml.StartElement:
			e := &element{Tag: token.Name.Local, Attr: slices.Clone(token.Attr), Parent: at}
			at.Children = append(at.Children, e)
			at = e
		case xml.EndElement:
			if at.Tag != token.Name.Local {
				return nil, fmt.Errorf("<%s> is closed by </%s>", at.Tag, token.Name.Local)
			}
			at = at.Parent
		case xml.CharData:
			at.Children = append(at.Children, &element{Text: string(token), Parent: at})
		}
	}
}

// unfit says what of a page breaks the rules of accessibility, and of the content
// policy, that can be seen in its HTML.
func unfit(page string) (wrong []string) {
	say := func(format string, args ...any) { wrong = append(wrong, fmt.Sprintf(format, args...)) }
	doc, err := parsePage(page)
	if err != nil {
		return []string{err.Error()}
	}
	ids, labels, headings := map[string]bool{}, map[string]bool{}, 0
	var refs [][2]string
	level := 0
	each(doc, func(n *element) {
		if id, ok := attr(n, "id"); ok {
			if ids[id] {
				say("the id %q is there twice", id)
			}
			ids[id] = true
		}
		for _, name := range []string{"aria-labelledby", "aria-controls"} {
			if v, ok := attr(n, name); ok {
				refs = append(refs, [2]string{name, v})
			}
		}
		if v, ok := attr(n, "for"); ok {
			labels[v] = true
			refs = append(refs, [2]string{"for", v})
		}
		for _, a := range n.Attr {
			if strings.HasPrefix(a.Name.Local, "on") || a.Name.Local == "style" {
				say("<%s> has the attribute %s", n.Tag, a.Name.Local)
			}
			if a.Name.Local == "href" || a.Name.Local == "src" || a.Name.Local == "action" {
				if scheme, _, ok := strings.Cut(strings.ToLower(strings.TrimSpace(a.Value)), ":"); ok && !strings.ContainsAny(scheme, "/?#") && scheme != "http" && scheme != "https" {
					say("<%s %s=%q>", n.Tag, a.Name.Local, a.Value)
				}
			}
		}
		switch n.Tag {
		case "html":
			if v, _ := attr(n, "lang"); v != "en" {
				say("no lang")
			}
		case "h1", "h2", "h3", "h4":
			now := int(n.Tag[1] - '0')
			if now == 1 {
				headings++
			}
			if text(n) == "" {
				say("an empty %s", n.Tag)
			}
			if now > level+1 && inside(n, "main") && level > 0 {
				say("%s %q comes after an h%d", n.Tag, text(n), level)
			}
			level = now
		case "style":
			say("an inline style sheet")
		case "script":
			if _, ok := attr(n, "src"); !ok {
				say("an inline script")
			}
		case "img":
			if _, ok := attr(n, "alt"); !ok {
				say("an image without alt")
			}
		case "a", "button", "summary":
			if name(n) == "" {
				say("<%s> without a name: %s", n.Tag, outer(n))
			}
		case "th":
			if _, ok := attr(n, "scope"); !ok {
				say("a table's header without scope: %s", text(n))
			}
		case "nav":
			if name(n) == "" || !named(n) {
				say("a nav without a name")
			}
		case "form":
			method, _ := attr(n, "method")
			if action, _ := attr(n, "action"); method == "post" && action != "/sign-in" && action != "/join" && !strings.Contains(outer(n), `name="csrf"`) {
				say("the form for %s has no CSRF token", action)
			}
		case "svg":
			_, hidden := attr(n, "aria-hidden")
			if _, role := attr(n, "role"); !hidden && !role {
				say("a drawing is neither named nor hidden")
			}
		}
	})
	each(doc, func(n *element) {
		if n.Tag == "input" || n.Tag == "select" || n.Tag == "textarea" {
			kind, _ := attr(n, "type")
			id, _ := attr(n, "id")
			if kind != "hidden" && !labels[id] && !inside(n, "label") && !named(n) {
				say("a field without a label: %s", outer(n))
			}
		}
	})
	for _, r := range refs {
		if !ids[r[1]] {
			say("%s names %q, which is not there", r[0], r[1])
		}
	}
	if headings != 1 {
		say("%d h1", headings)
	}
	return slices.Compact(wrong)
}

func each(n *element, fn func(*element)) {
	if n.Tag != "" {
		fn(n)
	}
	for _, c := range n.Children {
		each(c, fn)
	}
}

func attr(n *element, key string) (string, bool) {
	for _, a := range n.Attr {
		if a.Name.Local == key {
			return a.Value, true
		}
	}
	return "", false
}

func named(n *element) bool {
	label, a := attr(n, "aria-label")
	_, b := attr(n, "aria-labelledby")
	return a && label != "" || b
}

func name(n *element) string {
	if v, ok := attr(n, "aria-label"); ok {
		return v
	}
	return text(n)
}

func text(n *element) string {
	var b strings.Builder
	var walk func(*element)
	walk = func(n *element) {
		b.WriteString(n.Text)
		for _, c := range n.Children {
			walk(c)
		}
	}
	walk(n)
	return strings.TrimSpace(b.String())
}

func inside(n *element, tag string) bool {
	for p := n.Parent; p != nil; p = p.Parent {
		if p.Tag == tag {
			return true
		}
	}
	return false
}

// outer is an element as it is written, more or less.
func outer(n *element) string {
	if n.Tag == "" {
		return n.Text
	}
	var b strings.Builder
	b.WriteString("<" + n.Tag)
	for _, a := range n.Attr {
		fmt.Fprintf(&b, " %s=%q", a.Name.Local, a.Value)
	}
	b.WriteString(">")
	for _, c := range n.Children {
		b.WriteString(outer(c))
	}
	return b.String()
}

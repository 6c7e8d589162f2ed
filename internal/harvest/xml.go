package harvest

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/fairlead-dev/fairlead/internal/record"
)

const (
	// maxDepth is how deep elements, or the values of JSON, may be nested.
	maxDepth = 100
	// maxNodes and maxNodeText limit the part of a report that is held at
	// once: how many elements, how many bytes of text.
	maxNodes    = 20_000
	maxNodeText = 1 << 20
)

// xmlNode is an element.
type xmlNode struct {
	name  string
	attrs []xmlAttr
	line  int
	text  string // what stands directly in it
	kids  []*xmlNode
	cut   bool // the file ends in it
	// What a reader notes of an element that is open.
	note any
}

// attr is the first of the attributes that has a value.
func (n *xmlNode) attr(names ...string) string {
	for _, name := range names {
		for i := range n.attrs {
			if a := &n.attrs[i]; a.name == name && a.value != "" {
				return a.value
			}
		}
	}
	return ""
}

// kid is the first element of one of the names that stands in n; an empty one
// when there is none.
func (n *xmlNode) kid(names ...string) *xmlNode {
	for _, name := range names {
		for _, k := range n.kids {
			if k.name == name {
				return k
			}
		}
	}
	return &xmlNode{}
}

// all is the elements of a name that stand in n.
func (n *xmlNode) all(name string) (found []*xmlNode) {
	for _, k := range n.kids {
		if k.name == name {
			found = append(found, k)
		}
	}
	return found
}

// words is all text in n and what stands in it.
func (n *xmlNode) words() string {
	if len(n.kids) == 0 {
		return strings.TrimSpace(n.text)
	}
	parts := []string{strings.TrimSpace(n.text)}
	for _, k := range n.kids {
		parts = append(parts, k.words())
	}
	return strings.TrimSpace(strings.Join(parts, "\n"))
}

// xmlReader is what knows a format of XML.
type xmlReader interface {
	// open is asked about an element that begins, the last of the path:
	// whether it is to be held whole. Of others only the attributes are.
	open(path []*xmlNode) (whole bool)
	// close is given an element that has ended, the last of the path, unless
	// it stands in one that is held whole.
	close(path []*xmlNode) error
}

// walkXML gives the elements of a report to the reader of its format.
func walkXML(in *input, t *tally, to xmlReader) error {
	x := newXMLScanner(in.Reader)
	x.lines = in.before
	w := xmlWalk{x: x, t: t, to: to}
	for {
		kind, err := x.next()
		if err != nil {
			return w.cut(err.Error(), err)
		}
		switch kind {
		case xmlStart:
			if len(w.path) >= maxDepth {
				err := fmt.Errorf("line %d: elements are nested deeper than %d", x.line(), maxDepth)
				return w.cut("", err)
			}
			w.start()
		case xmlEnd:
			if err := w.ends(x.name); err != nil {
				return err
			}
		case xmlChars:
			w.chars()
		case xmlCut:
			return w.cut("the file ends in the middle of a tag", nil)
		case xmlEOF:
			if len(w.path) > 0 {
				return w.cut("the file ends in the middle of <"+w.path[len(w.path)-1].name+">", nil)
			}
			return nil
		}
	}
}

// xmlWalk is where walkXML is.
type xmlWalk struct {
	x    *xmlScanner
	t    *tally
	to   xmlReader
	path []*xmlNode
	// whole is the length of the path at which an element is held whole; 0
	// when none is. nodes and text are what is held of it.
	whole, nodes, bytes int
}

func (w *xmlWalk) start() {
	n := &xmlNode{name: w.x.name, line: w.x.line(), attrs: append([]xmlAttr(nil), w.x.attrs...)}
	if w.whole > 0 {
		// The ends of a test often come last: what stands directly in it is kept.
		if w.nodes++; w.nodes < maxNodes || len(w.path) == w.whole {
			up := w.path[len(w.path)-1]
			up.kids = append(up.kids, n)
		}
	}
	w.path = append(w.path, n)
	if w.whole == 0 && w.to.open(w.path) {
		w.whole, w.nodes, w.bytes = len(w.path), 0, 0
	}
}

func (w *xmlWalk) chars() {
	if w.whole == 0 {
		return
	}
	n := w.path[len(w.path)-1]
	room := min(maxText-len(n.text), maxNodeText-w.bytes)
	if text := w.x.text; room > 0 && len(text) > 0 {
		text = text[:min(len(text), room)]
		if n.text == "" && len(bytes.TrimSpace(text)) == 0 {
			return
		}
		n.text += string(text)
		w.bytes += len(text)
	}
}

// ends closes the innermost element of the name, and those in it that were
// left open.
func (w *xmlWalk) ends(name string) error {
	at := len(w.path) - 1
	for at >= 0 && w.path[at].name != name {
		at--
	}
	if at < 0 {
		w.t.warn(w.x.line(), "</%s> ends nothing", name)
		return nil
	}
	if at < len(w.path)-1 {
		w.t.warn(w.x.line(), "</%s> comes before the end of <%s>", name, w.path[len(w.path)-1].name)
	}
	for len(w.path) > at {
		if err := w.close(); err != nil {
			return err
		}
	}
	return nil
}

func (w *xmlWalk) close() (err error) {
	if w.whole == 0 || w.whole == len(w.path) {
		w.whole = 0
		err = w.to.close(w.path)
	}
	w.path = w.path[:len(w.path)-1]
	return err
}

// cut closes everything: the report ends here, for a reason.
func (w *xmlWalk) cut(why string, err error) error {
	if why != "" && err == nil {
		w.t.warn(w.x.line(), "%s", why)
	}
	for _, n := range w.path {
		n.cut = true
	}
	for len(w.path) > 0 {
		if err := w.close(); err != nil {
			return err
		}
	}
	return err
}

// xmlCases reads the formats in which a test is one element, and what it is
// part of is told by the elements around it.
type xmlCases struct {
	t *tally
	// cases are the names of the elements that are tests, or break a suite.
	cases []string
	// group is what an element is called that tests can be part of; "" when it
	// is none.
	group func(n *xmlNode) string
	// title is an element whose text is the name of the group that it is in.
	title string
	// results is all attempts at a test; none when the element is no test.
	results func(groups []string, path []*xmlNode, n *xmlNode) []record.TestResult
}

func (c *xmlCases) open(path []*xmlNode) bool {
	name := path[len(path)-1].name
	return slices.Contains(c.cases, name) || name == c.title
}

func (c *xmlCases) close(path []*xmlNode) error {
	n, above := path[len(path)-1], path[:len(path)-1]
	if n.name == c.title && c.title != "" {
		if len(above) > 0 {
			above[len(above)-1].note = clip(n.words(), maxName)
		}
		return nil
	}
	if !slices.Contains(c.cases, n.name) {
		return nil
	}
	var groups []string
	for _, up := range above {
		name, _ := up.note.(string)
		if c.group != nil {
			name = cmp.Or(name, c.group(up))
		}
		if name != "" {
			groups = append(groups, name)
		}
	}
	return c.emit(groups, above, n)
}

// emit gives on a test, and those that stand in it: a test can hold suites.
func (c *xmlCases) emit(groups []string, above []*xmlNode, n *xmlNode) error {
	results := c.results(groups, above, n)
	if len(results) > 0 {
		if last := &results[len(results)-1]; n.cut && !bad(last.Status) {
			last.Status, last.Message = broken, cutMessage
		}
		if err := c.t.add(results...); err != nil {
			return err
		}
	}
	return c.within(groups, append(above[:len(above):len(above)], n))
}

func (c *xmlCases) within(groups []string, path []*xmlNode) error {
	if c.group == nil {
		return nil
	}
	for _, k := range path[len(path)-1].kids {
		var err error
		if slices.Contains(c.cases, k.name) {
			err = c.emit(groups, path, k)
		} else if name := c.group(k); name != "" {
			err = c.within(append(groups[:len(groups):len(groups)], name), append(path[:len(path):len(path)], k))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// cutMessage is what is said of a test in which a report ends.
const cutMessage = "the report ends in the middle of this test"

package cluster

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/fairlead-dev/fairlead/internal/deploy/kubernetes/object"
)

// Manager is the name under which the cluster remembers what we have set.
const Manager = "fairlead"

// Get reads one thing. See [NotFound].
func (c *Client) Get(ctx context.Context, r Resource, namespace, name string) (object.Object, error) {
	data, err := c.do(ctx, request{method: http.MethodGet, path: r.path(namespace, name)})
	if err != nil {
		return nil, fmt.Errorf("read %s %s: %w", r.Kind.Kind, name, err)
	}
	return parsed(data, "read", r, name)
}

func parsed(data []byte, verb string, r Resource, name string) (object.Object, error) {
	o, err := object.Parse(data)
	if err != nil {
		return nil, fmt.Errorf("%s %s %s: the answer makes no sense: %w", verb, r.Kind.Kind, name, err)
	}
	return o, nil
}

// Query says which things of a kind are meant. The zero one means all.
type Query struct {
	Namespace string // "" is every namespace
	Labels    string // app=web,fairlead.dev/service
	Fields    string // involvedObject.name=web
}

func (q Query) values() url.Values {
	v := url.Values{}
	if q.Labels != "" {
		v.Set("labelSelector", q.Labels)
	}
	if q.Fields != "" {
		v.Set("fieldSelector", q.Fields)
	}
	return v
}

// List reads all things that a query means, page by page, and the version of the
// cluster's state that they are of. When the server forgets that state between
// two pages, it begins again.
func (c *Client) List(ctx context.Context, r Resource, q Query) (list []object.Object, version string, err error) {
	for attempt := 1; ; attempt++ {
		list, version, err = c.pages(ctx, r, q)
		if !Gone(err) || attempt == maxAttempts {
			break
		}
	}
	if err != nil {
		return nil, "", fmt.Errorf("list %s: %w", r.Plural, err)
	}
	return list, version, nil
}

func (c *Client) pages(ctx context.Context, r Resource, q Query) (list []object.Object, version string, err error) {
	values := q.values()
	values.Set("limit", strconv.Itoa(pageSize))
	for {
		data, err := c.do(ctx, request{method: http.MethodGet, path: r.path(q.Namespace, ""), query: values})
		if err != nil {
			return nil, "", err
		}
		page, err := object.Parse(data)
		if err != nil {
			return nil, "", fmt.Errorf("the answer makes no sense: %w", err)
		}
		for _, item := range page.List("items") {
			// Lists say it once, in their own kind.
			item["apiVersion"], item["kind"] = r.APIVersion(), r.Kind.Kind
			list = append(list, item)
		}
		if len(list) > maxListed {
			return nil, "", fmt.Errorf("there are more than %d", maxListed)
		}
		next := page.Text("metadata", "continue")
		if next == "" {
			return list, page.Text("metadata", "resourceVersion"), nil
		}
		values.Set("continue", next)
	}
}

// Apply says how something is applied.
type Apply struct {
	// Manager is who sets the fields; "" is [Manager].
	Manager string
	// Force takes fields that others hold.
	Force bool
	// Dry asks what would become of it, and changes nothing.
	Dry bool
	// Part is a part of the thing that is served by itself: "scale", "status".
	Part string
}

// Apply declares the fields of a thing that we set: those that are given become so,
// those that we had set before and that are not given any more are taken back.
// See [Claims] for the error when others hold one of them.
func (c *Client) Apply(ctx context.Context, r Resource, o object.Object, how Apply) (object.Object, error) {
	o = o.Clone()
	o.Drop("metadata", "managedFields") // may not be sent
	o.Drop("status")
	body, err := json.Marshal(o)
	if err != nil {
		return nil, fmt.Errorf("apply %s %s: %w", r.Kind.Kind, o.Name(), err)
	}
	values := url.Values{
		"fieldManager":    {cmp.Or(how.Manager, Manager)},
		"force":           {strconv.FormatBool(how.Force)},
		"fieldValidation": {"Strict"},
	}
	if how.Dry {
		values.Set("dryRun", "All")
	}
	path := r.path(o.Namespace(), o.Name())
	if how.Part != "" {
		path += "/" + how.Part
	}
	// YAML is a superset of JSON.
	data, err := c.do(ctx, request{method: http.MethodPatch, path: path, query: values, contentType: "application/apply-patch+yaml", body: body})
	if err != nil {
		return nil, fmt.Errorf("apply %s %s: %w", r.Kind.Kind, o.Name(), err)
	}
	return parsed(data, "apply", r, o.Name())
}

// Merge changes the fields of a thing that the patch gives (null takes one out). With a
// metadata.resourceVersion in the patch it is done only if the thing is
// still in that version; otherwise the error's [Reason] is Conflict.
func (c *Client) Merge(ctx context.Context, r Resource, namespace, name string, patch object.Object) (object.Object, error) {
	body, err := json.Marshal(patch)
	if err != nil {
		return nil, fmt.Errorf("change %s %s: %w", r.Kind.Kind, name, err)
	}
	data, err := c.do(ctx, request{
		method: http.MethodPatch, path: r.path(namespace, name), query: url.Values{"fieldManager": {Manager}},
		contentType: "application/merge-patch+json", body: body,
	})
	if err != nil {
		return nil, fmt.Errorf("change %s %s: %w", r.Kind.Kind, name, err)
	}
	return parsed(data, "change", r, name)
}

// Cut takes fields out of a thing, if it is still in the version that is given. Each is named
// by the keys and places that lead to it.
func (c *Client) Cut(ctx context.Context, r Resource, o object.Object, fields [][]string) (object.Object, error) {
	patch := []map[string]any{{"op": "test", "path": "/metadata/resourceVersion", "value": o.Text("metadata", "resourceVersion")}}
	// Later items of a list first: the places of those before them stay.
	for _, f := range slices.Backward(slices.SortedFunc(slices.Values(fields), byPlace)) {
		var b strings.Builder
		for _, part := range f {
			b.WriteString("/" + strings.NewReplacer("~", "~0", "/", "~1").Replace(part))
		}
		patch = append(patch, map[string]any{"op": "remove", "path": b.String()})
	}
	body, err := json.Marshal(patch)
	if err != nil {
		return nil, fmt.Errorf("change %s %s: %w", r.Kind.Kind, o.Name(), err)
	}
	data, err := c.do(ctx, request{
		method: http.MethodPatch, path: r.path(o.Namespace(), o.Name()), query: url.Values{"fieldManager": {Manager}},
		contentType: "application/json-patch+json", body: body,
	})
	if err != nil {
		return nil, fmt.Errorf("change %s %s: %w", r.Kind.Kind, o.Name(), err)
	}
	return parsed(data, "change", r, o.Name())
}

// byPlace compares paths, places in lists as numbers.
func byPlace(x, y []string) int {
	return slices.CompareFunc(x, y, func(a, b string) int {
		i, err := strconv.Atoi(a)
		j, other := strconv.Atoi(b)
		if err == nil && other == nil {
			return i - j
		}
		return strings.Compare(a, b)
	})
}

// Create makes a thing that may not be there yet; otherwise the error's [Reason] is
// AlreadyExists.
func (c *Client) Create(ctx context.Context, r Resource, o object.Object) (object.Object, error) {
	body, err := json.Marshal(o)
	if err != nil {
		return nil, fmt.Errorf("create %s %s: %w", r.Kind.Kind, o.Name(), err)
	}
	data, err := c.do(ctx, request{
		method: http.MethodPost, path: r.path(o.Namespace(), ""), query: url.Values{"fieldManager": {Manager}},
		contentType: "application/json", body: body,
	})
	if err != nil {
		return nil, fmt.Errorf("create %s %s: %w", r.Kind.Kind, o.Name(), err)
	}
	return parsed(data, "create", r, o.Name())
}

// Propagation says what becomes of the things that belong to one that is deleted.
type Propagation string

// The propagations.
const (
	Background Propagation = "Background" // they go after it
	Foreground Propagation = "Foreground" // it goes after them
	Orphan     Propagation = "Orphan"     // they stay
)

// Delete deletes one thing, if it is still the one with this UID ("" for whatever has
// the name). That it is not there any more is no error.
func (c *Client) Delete(ctx context.Context, r Resource, namespace, name, uid string, p Propagation) error {
	options := map[string]any{"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": string(p)}
	if uid != "" {
		options["preconditions"] = map[string]any{"uid": uid}
	}
	body, err := json.Marshal(options)
	if err != nil {
		return fmt.Errorf("delete %s %s: %w", r.Kind.Kind, name, err)
	}
	_, err = c.do(ctx, request{method: http.MethodDelete, path: r.path(namespace, name), contentType: "application/json", body: body})
	// A conflict says that another thing has the name by now.
	if err != nil && !NotFound(err) && (uid == "" || code(err) != http.StatusConflict) {
		return fmt.Errorf("delete %s %s: %w", r.Kind.Kind, name, err)
	}
	return nil
}

// Turn is what became of a thing.
type Turn string

// The turns.
const (
	Added    Turn = "ADDED"
	Modified Turn = "MODIFIED"
	Deleted  Turn = "DELETED"
)

// Change is a thing and what became of it.
type Change struct {
	Turn   Turn
	Object object.Object
}

// maxEvent is how many bytes a change may have.
const maxEvent = 16 << 20

// Watch follows what becomes of things after a version of the cluster's state, until
// the server ends it (without an error), ctx ends, or something goes wrong.
// [Gone] says that the version is too old: list them again.
func (c *Client) Watch(ctx context.Context, r Resource, q Query, version string) iter.Seq2[Change, error] {
	return func(yield func(Change, error) bool) {
		values := q.values()
		values.Set("watch", "true")
		values.Set("resourceVersion", version)
		values.Set("allowWatchBookmarks", "true")
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		answer, err := c.send(ctx, request{method: http.MethodGet, path: r.path(q.Namespace, ""), query: values})
		if err != nil {
			yield(Change{}, fmt.Errorf("watch %s: %w", r.Plural, err))
			return
		}
		defer answer.Body.Close()
		for line, err := range lines(answer.Body) {
			if err != nil {
				yield(Change{}, fmt.Errorf("watch %s: %w", r.Plural, err))
				return
			}
			event, err := object.Parse(line)
			if err != nil {
				yield(Change{}, fmt.Errorf("watch %s: an event makes no sense: %w", r.Plural, err))
				return
			}
			switch turn := Turn(event.Text("type")); turn {
			case "BOOKMARK":
			case "ERROR":
				data, _ := json.Marshal(event["object"]) // it came out of JSON
				e := failure(int(event.Int(0, "object", "code")), data)
				e.Method, e.Path = http.MethodGet, r.path(q.Namespace, "")
				yield(Change{}, fmt.Errorf("watch %s: %w", r.Plural, e))
				return
			default:
				if !yield(Change{Turn: turn, Object: event.Map("object")}, nil) {
					return
				}
			}
		}
	}
}

// lines reads the documents of a stream, one a line.
func lines(from io.Reader) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		s := bufio.NewScanner(from)
		s.Buffer(make([]byte, 64<<10), maxEvent)
		for s.Scan() {
			if len(s.Bytes()) > 0 && !yield(s.Bytes(), nil) {
				return
			}
		}
		err := s.Err()
		if errors.Is(err, bufio.ErrTooLong) {
			err = fmt.Errorf("an event has more than %d bytes", maxEvent)
		}
		if err != nil {
			yield(nil, err)
		}
	}
}

// Follow hands over all things that a query means, and again each time one of them
// changes: all of them, by [object.Ref.Key]. It lists anew when the server has forgotten
// what it was asked about, and ends with ctx or with an error.
func (c *Client) Follow(ctx context.Context, r Resource, q Query) iter.Seq2[map[string]object.Object, error] {
	return func(yield func(map[string]object.Object, error) bool) {
		for barren := 1; ; barren++ { // lists after which nothing was heard
			list, version, err := c.List(ctx, r, q)
			if err != nil {
				yield(nil, err)
				return
			}
			all := make(map[string]object.Object, len(list))
			for _, o := range list {
				all[o.Ref().Key()] = o
			}
			if !yield(all, nil) {
				return
			}
			var pause time.Duration
			for change, err := range c.Watch(ctx, r, q, version) {
				if Gone(err) {
					break
				}
				if err != nil {
					wait, again := c.again(ctx, err, min(max(barren, 1), maxAttempts-1))
					if !again && (ctx.Err() != nil || code(err) != 0) {
						yield(nil, err)
						return
					}
					// The connection was cut, or the server is busy: begin with a list.
					pause = wait
					break
				}
				barren = 0
				if change.Turn == Deleted {
					delete(all, change.Object.Ref().Key())
				} else {
					all[change.Object.Ref().Key()] = change.Object
				}
				if !yield(all, nil) {
					return
				}
			}
			if barren > 0 && pause == 0 {
				pause = 100 * time.Millisecond // a server that ends each watch at once
			}
			select {
			case <-ctx.Done():
				yield(nil, ctx.Err())
				return
			case <-time.After(pause):
			}
		}
	}
}

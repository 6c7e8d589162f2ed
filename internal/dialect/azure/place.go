package azure

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/fairlead-dev/fairlead/internal/dialect/azure/expression"
	"github.com/fairlead-dev/fairlead/internal/dialect/azure/template"
	"github.com/fairlead-dev/fairlead/internal/plan"
)

// image is a container as a file says it.
type image struct {
	Image   string            `json:"image"`
	Env     map[string]string `json:"env,omitempty"`
	Ports   []string          `json:"ports,omitempty"`
	Volumes []string          `json:"volumes,omitempty"`
	Options string            `json:"options,omitempty"`
	Source  plan.Source       `json:"source,omitzero"`
	// Known are the containers of resources:, when Image may be the name of one.
	Known map[string]any `json:"known,omitempty"`
}

// pool is where a job wants to run: an image, or labels of a pool of one's
// own, one a line.
func (b *builder) pool(n *node) plan.Expr {
	if n == nil {
		return plan.Expr{}
	}
	if n.Kind == template.Scalar {
		return expr(n)
	}
	x := plan.Expr{Text: cmp.Or(n.Get("vmImage").String(), n.Get("name").String()), Source: n.Source}
	demands := items(n.Get("demands"))
	if d := n.Get("demands"); d != nil && d.Kind == template.Scalar {
		demands = append(demands, d)
	}
	for _, d := range demands {
		if name, value, ok := strings.Cut(d.String(), " -equals "); ok && strings.EqualFold(strings.TrimSpace(name), "Agent.OS") {
			x.Text += "\n" + map[string]string{"windows_nt": "windows-latest", "darwin": "macos-latest", "linux": "ubuntu-latest"}[strings.ToLower(strings.TrimSpace(value))]
		}
	}
	return x
}

// container is the image that a job runs in: a name of resources.containers,
// or the image itself.
func (b *builder) container(n *node) *image {
	if n.IsNull() {
		return nil
	}
	if n.Kind == template.Scalar {
		i := &image{Image: n.Text, Source: n.Source}
		if _, have := b.images[n.Text]; have || runtime(n.Text) {
			i.Known = b.images
		}
		return i
	}
	if alias := n.Get("alias").String(); alias != "" && n.Get("image") == nil {
		return &image{Image: alias, Source: n.Source, Known: b.images}
	}
	return b.image(n)
}

func (b *builder) image(n *node) *image {
	i := &image{Image: n.Get("image").String(), Options: n.Get("options").String(), Source: n.Source}
	i.Ports, i.Volumes = texts(n.Get("ports")), texts(n.Get("volumes"))
	if env := n.Get("env"); env != nil {
		i.Env = map[string]string{}
		for _, f := range env.Fields {
			i.Env[f.Key.Text] = f.Value.String()
		}
	}
	if n.Get("type").String() == "ACR" {
		i.Image = fmt.Sprintf("%s.azurecr.io/%s:latest", n.Get("registry").String(), n.Get("repository").String())
	}
	return i
}

func (b *builder) services(n *node) map[string]*image {
	if n == nil {
		return nil
	}
	m := map[string]*image{}
	for _, f := range n.Fields {
		if i := b.container(f.Value); i != nil {
			m[f.Key.Text] = i
		}
	}
	return m
}

// texts are the items of a list, or the one text that stands for it.
func texts(n *node) []string {
	if n.IsNull() {
		return nil
	}
	if n.Kind == template.Scalar {
		return []string{n.Text}
	}
	var list []string
	for _, item := range n.Items {
		list = append(list, item.String())
	}
	return list
}

func expr(n *node) plan.Expr {
	if n.IsNull() || n.Kind != template.Scalar {
		return plan.Expr{}
	}
	return plan.Expr{Text: n.Text, Source: n.Source}
}

// fill makes the fields of a job of the sketch; value computes them.
func (s *sketch) fill(job *plan.Job, value func(plan.Expr) (string, error)) error {
	if !s.Name.IsZero() {
		name, err := value(s.Name)
		if err != nil {
			return err
		}
		job.Name = name
	}
	labels, err := value(s.Pool)
	if err != nil {
		return err
	}
	job.Place = plan.Place{Source: s.Pool.Source}
	for label := range strings.SplitSeq(labels, "\n") {
		if label = strings.TrimSpace(label); label != "" {
			job.Place.Labels = append(job.Place.Labels, label)
		}
	}
	limit, err := value(s.Timeout)
	if err != nil {
		return err
	}
	if limit = strings.TrimSpace(limit); limit != "" {
		n, ok := expression.Number(limit)
		if !ok {
			return wrong(s.Timeout.Source, "type", fmt.Sprintf("timeoutInMinutes comes to %s and must be a number", plan.Clip(limit)), "")
		}
		job.Timeout = minutes(n)
	}
	onError, err := value(s.ContinueOnError)
	if err != nil {
		return err
	}
	if job.ContinueOnError, _ = boolean(strings.TrimSpace(onError)); s.Container != nil {
		if job.Place.Container, err = s.Container.fill(value); err != nil {
			return err
		}
	}
	for _, name := range slices.Sorted(maps.Keys(s.Services)) {
		c, err := s.Services[name].fill(value)
		if err != nil {
			return err
		}
		if c == nil {
			continue // an empty image leaves the service out
		}
		if job.Place.Services == nil {
			job.Place.Services = map[string]plan.Container{}
		}
		job.Place.Services[name] = *c
	}
	return nil
}

// fill makes a container of an image; nil when it comes to none.
func (i *image) fill(value func(plan.Expr) (string, error)) (*plan.Container, error) {
	var failed error
	text := func(s string) string {
		v, err := value(plan.Expr{Text: s, Source: i.Source})
		if err != nil {
			failed = err
		}
		return v
	}
	name := strings.TrimSpace(text(i.Image))
	if failed != nil || name == "" {
		return nil, failed
	}
	if known, ok := i.Known[name]; ok {
		var named image
		if err := decode(known, &named); err != nil {
			return nil, fmt.Errorf("read the container %s of the plan: %w", name, err)
		}
		return named.fill(value)
	}
	c := &plan.Container{Image: name, Options: text(i.Options), Source: i.Source}
	for _, p := range i.Ports {
		c.Ports = append(c.Ports, text(p))
	}
	for _, v := range i.Volumes {
		c.Volumes = append(c.Volumes, text(v))
	}
	for k, v := range i.Env {
		if c.Env == nil {
			c.Env = map[string]string{}
		}
		c.Env[k] = text(v)
	}
	return c, failed
}

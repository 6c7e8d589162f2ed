package teams

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/fairlead-dev/fairlead/internal/notify"
	"github.com/fairlead-dev/fairlead/internal/notify/notifytest"
)

func TestTeams(t *testing.T) {
	notifytest.Run(t, notifytest.Suite{
		Open: func(t *testing.T) (notify.Channel, notifytest.Far) {
			far := notifytest.HTTP(t)
			return Channel{Client: far.Client()}, far
		},
		Bad:      []string{"https://team.webhook.office.com/webhookb2/x"},
		Harmless: harmless,
	})
}

// harmless checks that text stands where no Markdown is read, and that nothing
// mentions anybody.
func harmless(got string) error {
	var m message
	if err := notifytest.Body(got, &m); err != nil {
		return err
	}
	if strings.Contains(got, "\u202e") {
		return fmt.Errorf("the direction of writing is turned round")
	}
	if len(m.Attachments) != 1 || m.Type != "message" {
		return fmt.Errorf("not one card")
	}
	if strings.Contains(got, "entities") {
		return fmt.Errorf("somebody is mentioned")
	}
	if len(got) > 28<<10 {
		return fmt.Errorf("%d bytes; Teams takes 28 KB", len(got))
	}
	c := m.Attachments[0].Content
	var walk func(list []element) error
	walk = func(list []element) error {
		for _, e := range list {
			if e.Type != "Container" && e.Type != "RichTextBlock" {
				return fmt.Errorf("element %s", e.Type)
			}
			for _, r := range e.Inlines {
				if r.Type != "TextRun" || r.Text == "" || strings.Contains(r.Text, "\n") {
					return fmt.Errorf("run %s %q", r.Type, r.Text)
				}
			}
			if err := walk(e.Items); err != nil {
				return err
			}
		}
		return nil
	}
	return walk(c.Body)
}

func FuzzRender(f *testing.F) {
	f.Add("[x](https://evil.example)", "<at>all</at>", "main")
	f.Fuzz(func(t *testing.T, title, pipeline, branch string) {
		data, err := json.Marshal(render(&notify.Message{Edge: notify.Still, Title: title, Pipeline: pipeline, Branch: branch, URL: title}))
		if err != nil {
			t.Fatal(err)
		}
		if err := harmless("\n\n" + string(data)); err != nil {
			t.Error(err)
		}
	})
}

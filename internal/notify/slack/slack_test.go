package slack

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/fairlead-dev/fairlead/internal/notify"
	"github.com/fairlead-dev/fairlead/internal/notify/notifytest"
)

func TestSlack(t *testing.T) {
	notifytest.Run(t, notifytest.Suite{
		Open: func(t *testing.T) (notify.Channel, notifytest.Far) {
			far := notifytest.HTTP(t)
			return Channel{Client: far.Client()}, far
		},
		Harmless: harmless,
	})
}

// bare is an ampersand that escapes nothing.
var bare = regexp.MustCompile(`&(?:[^agl]|$|a[^m]|g[^t]|l[^t])`)

// harmless checks every text of a message against what Slack reads into texts, and
// against its limits.
func harmless(got string) error {
	var m message
	if err := notifytest.Body(got, &m); err != nil {
		return err
	}
	if strings.Contains(got, "\u202e") {
		return fmt.Errorf("the direction of writing is turned round")
	}
	if m.Format || m.Unfurl || m.Media {
		return fmt.Errorf("the text is formatted or unfurled")
	}
	if n := utf8.RuneCountInString(m.Text); n > 3000 {
		return fmt.Errorf("text of %d characters", n)
	}
	var walk func(v any, path string) error
	walk = func(v any, path string) error {
		switch v := v.(type) {
		case map[string]any:
			kind, _ := v["type"].(string)
			text, isText := v["text"].(string)
			if isText && kind == "mrkdwn" && !regexp.MustCompile(`^\*[A-Z][a-z ]+\*$`).MatchString(text) {
				return fmt.Errorf("%s: formatted text %q", path, text)
			}
			if isText && text == "" {
				return fmt.Errorf("%s: an empty text is refused by Slack", path)
			}
			for k, w := range v {
				if err := walk(w, path+"."+k); err != nil {
					return err
				}
			}
		case []any:
			for _, w := range v {
				if err := walk(w, path); err != nil {
					return err
				}
			}
		case string:
			if strings.ContainsAny(v, "<>\n") || bare.MatchString(v) {
				return fmt.Errorf("%s: %q is not escaped", path, v)
			}
		}
		return nil
	}
	data, err := json.Marshal(m)
	if err != nil {
		return err
	}
	var tree any
	if err := json.Unmarshal(data, &tree); err != nil {
		return err
	}
	for _, b := range m.Blocks {
		if b.Type == "header" && utf8.RuneCountInString(b.Text.Text) > 150 {
			return fmt.Errorf("header of %d characters", utf8.RuneCountInString(b.Text.Text))
		}
		if len(b.Fields) > 10 {
			return fmt.Errorf("%d fields", len(b.Fields))
		}
		for _, f := range b.Fields {
			if utf8.RuneCountInString(f.Text) > 2000 {
				return fmt.Errorf("field of %d characters", utf8.RuneCountInString(f.Text))
			}
		}
	}
	return walk(tree, "")
}

func FuzzRender(f *testing.F) {
	f.Add("<!channel>", "a & b", "main")
	f.Add(strings.Repeat("&", 200), "\xff\x00\x1b", "*x* _y_ `z`")
	f.Fuzz(func(t *testing.T, title, pipeline, branch string) {
		data, err := json.Marshal(render(&notify.Message{Edge: notify.Broke, Title: title, Pipeline: pipeline, Branch: branch, URL: title}))
		if err != nil {
			t.Fatal(err)
		}
		if err := harmless("\n\n" + string(data)); err != nil {
			t.Error(err)
		}
	})
}

// Package teams sends messages to Microsoft Teams through the webhook of a
// workflow ("When a Teams webhook request is received"). The target is the
// webhook's URL, which is a secret: whoever has it can write there.
//
// A message is an Adaptive Card. Its text blocks would read Markdown, so what
// somebody else wrote stands in text runs, which do not.
package teams

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/fairlead-dev/fairlead/internal/notify"
)

// Channel is the way to Teams.
type Channel struct {
	Client *http.Client // says which addresses may be reached
}

// Name implements [notify.Channel].
func (Channel) Name() string { return "teams" }

// Check implements [notify.Channel].
func (Channel) Check(target string) error {
	_, err := parse(target)
	return err
}

func parse(target string) (*url.URL, error) {
	u, err := notify.ParseURL(strings.TrimSpace(target))
	if err != nil {
		return nil, fmt.Errorf("%w. It is the URL that the workflow \"When a Teams webhook request is received\" shows", err)
	}
	if strings.HasSuffix(u.Hostname(), ".webhook.office.com") {
		return nil, fmt.Errorf("%s is an address of a connector, which Microsoft has retired; make a workflow \"When a Teams webhook request is received\" and take its URL", u.Hostname())
	}
	return u, nil
}

// Send implements [notify.Channel].
func (c Channel) Send(ctx context.Context, target string, m *notify.Message) error {
	u, err := parse(target)
	if err != nil {
		return fmt.Errorf("send to teams: %w: %w", err, notify.ErrRefused)
	}
	body, err := json.Marshal(render(m))
	if err != nil {
		return fmt.Errorf("send to teams: %w", err)
	}
	return notify.Post(ctx, c.Client, u, http.Header{"Content-Type": {"application/json; charset=utf-8"}}, body)
}

type message struct {
	Type        string       `json:"type"`
	Attachments []attachment `json:"attachments"`
}

type attachment struct {
	ContentType string  `json:"contentType"`
	ContentURL  *string `json:"contentUrl"` // there is none, which must be said
	Content     card    `json:"content"`
}

type card struct {
	Schema       string    `json:"$schema"`
	Type         string    `json:"type"`
	Version      string    `json:"version"`
	FallbackText string    `json:"fallbackText"`
	MSTeams      width     `json:"msteams"`
	Body         []element `json:"body"`
	Actions      []action  `json:"actions,omitempty"`
}

type width struct {
	Width string `json:"width"`
}

type element struct {
	Type    string    `json:"type"`
	Style   string    `json:"style,omitempty"`
	Bleed   bool      `json:"bleed,omitempty"`
	Spacing string    `json:"spacing,omitempty"`
	Items   []element `json:"items,omitempty"`   // of a Container
	Inlines []run     `json:"inlines,omitempty"` // of a RichTextBlock
}

type run struct {
	Type   string `json:"type"`
	Text   string `json:"text"`
	Size   string `json:"size,omitempty"`
	Weight string `json:"weight,omitempty"`
	Subtle bool   `json:"isSubtle,omitempty"`
}

type action struct {
	Type  string `json:"type"`
	Title string `json:"title"`
	URL   string `json:"url"`
}

// render is a message as a card: a headline on a ground of its colour, a line for
// each fact, a button.
func render(m *notify.Message) message {
	headline := m.Headline()
	c := card{
		Schema: "http://adaptivecards.io/schemas/adaptive-card.json", Type: "AdaptiveCard", Version: "1.4",
		FallbackText: headline, MSTeams: width{"Full"},
		Body: []element{{
			Type: "Container", Style: style(m), Bleed: true,
			Items: []element{line("", run{Type: "TextRun", Text: headline, Size: "Medium", Weight: "Bolder"})},
		}},
	}
	for _, f := range m.Facts() {
		c.Body = append(c.Body, line("Small",
			run{Type: "TextRun", Text: f.Name + ": ", Subtle: true},
			run{Type: "TextRun", Text: f.Value}))
	}
	if link := m.Link(); link != "" {
		c.Actions = []action{{"Action.OpenUrl", "Open the run", link}}
	}
	return message{"message", []attachment{{ContentType: "application/vnd.microsoft.card.adaptive", Content: c}}}
}

func line(spacing string, runs ...run) element {
	return element{Type: "RichTextBlock", Spacing: spacing, Inlines: runs}
}

// style is the ground's colour; the words say the same.
func style(m *notify.Message) string {
	switch {
	case m.Bad():
		return "attention"
	case m.Good():
		return "good"
	case m.Edge == notify.Approval:
		return "warning"
	}
	return "emphasis"
}

// Package slack sends messages to Slack, and to what speaks its language
// (Mattermost, Rocket.Chat, Discord's /slack addresses), through an incoming webhook. The target is
// the webhook's URL, which is a secret: whoever has it can write there.
//
// A message is Block Kit, with a text for notifications and for those who cannot
// show blocks. What somebody else wrote stands in plain-text elements, which
// format nothing and mention nobody, and is escaped as Slack wants it everywhere.
package slack

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"unicode/utf8"

	"github.com/fairlead-dev/fairlead/internal/notify"
)

// Limits of Block Kit, in characters, and how many facts a section shows (two
// fields each).
const (
	maxHeader = 150
	maxField  = 1000
	maxFacts  = 5
)

// Channel is the way to Slack.
type Channel struct {
	Client *http.Client // says which addresses may be reached
}

// Name implements [notify.Channel].
func (Channel) Name() string { return "slack" }

// Check implements [notify.Channel].
func (Channel) Check(target string) error {
	if _, err := notify.ParseURL(strings.TrimSpace(target)); err != nil {
		return fmt.Errorf("%w. It is the URL of an incoming webhook, like https://hooks.slack.com/services/…", err)
	}
	return nil
}

// Send implements [notify.Channel].
func (c Channel) Send(ctx context.Context, target string, m *notify.Message) error {
	u, err := notify.ParseURL(strings.TrimSpace(target))
	if err != nil {
		return fmt.Errorf("send to slack: %w: %w", err, notify.ErrRefused)
	}
	body, err := json.Marshal(render(m))
	if err != nil {
		return fmt.Errorf("send to slack: %w", err)
	}
	return notify.Post(ctx, c.Client, u, http.Header{"Content-Type": {"application/json; charset=utf-8"}}, body)
}

type message struct {
	Text   string  `json:"text"`
	Format bool    `json:"mrkdwn"` // whether Text is formatted
	Unfurl bool    `json:"unfurl_links"`
	Media  bool    `json:"unfurl_media"`
	Blocks []block `json:"blocks"`
}

type block struct {
	Type     string `json:"type"`
	Text     *text  `json:"text,omitempty"`
	Fields   []text `json:"fields,omitempty"`
	Elements []any  `json:"elements,omitempty"`
}

type text struct {
	Type string `json:"type"`
	Text string `json:"text"`
}

type button struct {
	Type string `json:"type"`
	Text text   `json:"text"`
	URL  string `json:"url"`
}

// render is a message in Block Kit: a headline, the facts in two columns, where
// it comes from, and a button.
func render(m *notify.Message) message {
	headline := sign(m) + m.Headline()
	out := message{
		Text:   escape(headline),
		Blocks: []block{{Type: "header", Text: plain(headline, maxHeader)}},
	}
	section := block{Type: "section"}
	facts := m.Facts()
	for _, f := range facts[:min(len(facts), maxFacts)] {
		section.Fields = append(section.Fields, text{"mrkdwn", "*" + f.Name + "*"}, *plain(f.Value, maxField))
	}
	if len(section.Fields) > 0 {
		out.Blocks = append(out.Blocks, section)
	}
	if len(facts) > maxFacts {
		var rest []string
		for _, f := range facts[maxFacts:] {
			rest = append(rest, f.Name+": "+f.Value)
		}
		out.Blocks = append(out.Blocks, block{Type: "context", Elements: []any{*plain(strings.Join(rest, " · "), maxField)}})
	}
	if link := m.Link(); link != "" {
		out.Blocks = append(out.Blocks, block{Type: "actions", Elements: []any{button{"button", text{"plain_text", "Open the run"}, link}}})
	}
	return out
}

// sign is seen before the text is read, and says the same.
func sign(m *notify.Message) string {
	switch {
	case m.Bad():
		return "✘ "
	case m.Good():
		return "✔ "
	case m.Edge == notify.Approval:
		return "✋ "
	}
	return ""
}

// plain is an element that formats nothing, at most limit characters long once
// it is escaped.
func plain(s string, limit int) *text {
	escaped := escape(s)
	for n := limit; utf8.RuneCountInString(escaped) > limit; n -= 1 + n/8 {
		escaped = escape(notify.Clean(s, n-1)) // room for its …
	}
	return &text{"plain_text", escaped}
}

// escape is what Slack asks for in all texts. Without < there is no mention and no
// link.
func escape(s string) string {
	return strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;").Replace(s)
}

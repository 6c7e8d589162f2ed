// Package shoutrrr sends messages to the many services that the library of that
// name knows: Discord, Telegram, Matrix, Mattermost, ntfy, Gotify, PagerDuty and others. The target
// is one of its URLs, which holds tokens: ntfy://ntfy.sh/topic.
//
// It is the catch-all: messages are plain text. What people of the library can be talked to in
// better ways has a channel of its own (Slack, Teams, mail, webhooks) and is refused
// here.
//
// The library opens its connections itself. A Permit function says before which hosts
// may be talked to; it cannot see where a name leads at the moment of the
// connection, as the clients of the other channels do.
package shoutrrr

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"maps"
	"net/url"
	"slices"
	"strings"

	"github.com/nicholas-fedor/shoutrrr/pkg/router"
	"github.com/nicholas-fedor/shoutrrr/pkg/types"

	"github.com/fairlead-dev/fairlead/internal/notify"
	"github.com/fairlead-dev/fairlead/internal/secret"
)

// Channel is the way to the library's services.
type Channel struct {
	// Permit says why a host, which somebody has named in a target, may not be
	// talked to; nil: all may.
	Permit func(ctx context.Context, host string) error
}

// Name implements [notify.Channel].
func (Channel) Name() string { return "shoutrrr" }

// service says whether the host of a service's URLs is one to talk to. That of the
// others is part of a token, and they talk to their makers' hosts.
var services = map[string]struct{ host bool }{
	"bark": {true}, "discord": {}, "googlechat": {true}, "gotify": {true}, "ifttt": {}, "join": {},
	"lark": {}, "matrix": {true}, "mattermost": {true}, "notifiarr": {}, "ntfy": {true},
	"opsgenie": {true}, "pagerduty": {true}, "pushbullet": {}, "pushover": {}, "rocketchat": {true},
	"signal": {true}, "telegram": {}, "wecom": {}, "zulip": {true},
}

// instead names the channel for what has one.
func instead(scheme string) string {
	switch scheme {
	case "slack", "teams", "smtp":
		return scheme
	case "generic":
		return "webhook"
	}
	return ""
}

// parse reads a target. The error holds nothing of it but the service's name.
func parse(target string) (*url.URL, error) {
	target = strings.TrimSpace(target)
	u, err := url.Parse(target)
	if err != nil || u.Scheme == "" || len(target) > notify.MaxTarget {
		return nil, errors.New("the target is not a URL of shoutrrr, like ntfy://ntfy.sh/topic")
	}
	scheme, custom, _ := strings.Cut(u.Scheme, "+")
	if other := instead(scheme); other != "" {
		return nil, fmt.Errorf("take the channel %s for this", other)
	}
	if _, ok := services[scheme]; !ok || custom != "" {
		return nil, fmt.Errorf("there is no service %.20q; there are %s", u.Scheme, names())
	}
	return u, nil
}

// locate makes the service of a target, which reads and checks it. The library does
// not survive every target.
func locate(u *url.URL) (s types.Service, err error) {
	defer func() {
		if p := recover(); p != nil {
			s, err = nil, errors.New("the service cannot read it")
		}
	}()
	silent := log.New(io.Discard, "", 0)
	sr, err := router.New(silent)
	if err != nil {
		return nil, err
	}
	return sr.Locate(u.String())
}

// Check implements [notify.Channel].
func (c Channel) Check(target string) error {
	u, err := parse(target)
	if err != nil {
		return err
	}
	if _, err := locate(u); err != nil {
		return fmt.Errorf("the target is not one of %s: %s", u.Scheme, masker(u).String(notify.Clean(err.Error(), 300)))
	}
	return nil
}

// Send implements [notify.Channel]. When it takes too long nobody knows whether
// the message arrived, as the library cannot be interrupted.
func (c Channel) Send(ctx context.Context, target string, m *notify.Message) error {
	u, err := parse(target)
	if err != nil {
		return fmt.Errorf("send by shoutrrr: %w: %w", err, notify.ErrRefused)
	}
	hide := masker(u)
	fail := func(err error) error {
		return &notify.Fault{Text: "send to " + u.Scheme + ": " + hide.String(notify.Clean(err.Error(), 300)), Err: err}
	}
	ctx, cancel := context.WithTimeout(ctx, notify.Patience)
	defer cancel()
	if c.Permit != nil && services[u.Scheme].host {
		if err := c.Permit(ctx, u.Hostname()); err != nil {
			return fail(fmt.Errorf("%w: %w", err, notify.ErrRefused))
		}
	}
	s, err := locate(u)
	if err != nil {
		return fail(fmt.Errorf("%w: %w", err, notify.ErrRefused))
	}
	done := make(chan error, 1)
	go func() {
		defer func() {
			if p := recover(); p != nil {
				done <- fmt.Errorf("the service's code failed: %v", p)
			}
		}()
		done <- s.Send(text(m), &types.Params{})
	}()
	select {
	case err = <-done:
	case <-ctx.Done():
		err = ctx.Err()
	}
	if err != nil {
		return fail(err)
	}
	return nil
}

// masker hides what a target holds besides its service.
func masker(u *url.URL) *secret.Masker {
	m := new(secret.Masker)
	m.Add(notify.Parts(u)...)
	m.Add(u.String())
	if !services[u.Scheme].host {
		m.Add(u.Hostname())
	}
	return m
}

// text is the message in plain text that no service reads anything into: mentions
// and links of what somebody else wrote are broken by a character of no width.
func text(m *notify.Message) string {
	s := m.Text()
	link := m.Link()
	if link != "" {
		s = strings.TrimSuffix(s, link+"\n")
	}
	s = strings.NewReplacer("@", "@\u200b", "](", "]\u200b(", "<!", "<\u200b!", "<#", "<\u200b#", "://", ":\u200b//").Replace(s)
	return s + link
}

// names are the services that can be used, for people.
func names() string { return strings.Join(slices.Sorted(maps.Keys(services)), ", ") }

package shoutrrr

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/fairlead-dev/fairlead/internal/notify"
	"github.com/fairlead-dev/fairlead/internal/notify/notifytest"
)

func TestShoutrrr(t *testing.T) {
	notifytest.Run(t, notifytest.Suite{
		Open: func(t *testing.T) (notify.Channel, notifytest.Far) {
			far := notifytest.HTTP(t)
			far.To = func(address string) string {
				return "ntfy://someuser:pa55w0rd-of-ntfy@" + strings.TrimPrefix(address, "http://") + "/t0pic-s3cr3t?scheme=http"
			}
			far.Hidden = []string{"pa55w0rd-of-ntfy", "t0pic-s3cr3t"}
			return Channel{}, far
		},
		Bad: []string{
			"slack://hook:AAAAAAAAA-BBBBBBBBB-123456789123456789123456@webhook", "smtp://user:pw@host:25/?from=a@x&to=b@x",
			"generic://host/path", "generic+https://host/path", "teams://x", "logger://", "nosuch://host/path", "telegram://",
			"discord://token-without-a-channel-id", "ntfy+https://host/x",
		},
		Vague:    true,
		Harmless: harmless,
	})
}

func harmless(got string) error {
	for _, bad := range []string{"@channel", "@everyone", "@here", "<!", "](", "https://evil", "\u202e"} {
		if strings.Contains(got, bad) {
			return fmt.Errorf("%q arrived", bad)
		}
	}
	return nil
}

// TestPermit: the hosts that a target names are asked about, and only those.
func TestPermit(t *testing.T) {
	t.Parallel()
	inside := errors.New("it is inside")
	var asked []string
	c := Channel{Permit: func(_ context.Context, host string) error {
		asked = append(asked, host)
		return inside
	}}
	m := notifytest.Samples()[4]
	for _, target := range []string{"ntfy://169.254.169.254/topic", "gotify://localhost/AzyoeNS.D4iJLVa", "mattermost://user@127.0.0.1/token/channel"} {
		if err := c.Send(t.Context(), target, &m); !errors.Is(err, inside) || !errors.Is(err, notify.ErrRefused) {
			t.Errorf("%s: %v", target, err)
		}
	}
	if got := strings.Join(asked, " "); got != "169.254.169.254 localhost 127.0.0.1" {
		t.Errorf("asked about %s", got)
	}
}

// TestServicesExist makes sure that the library has what we list.
func TestServicesExist(t *testing.T) {
	t.Parallel()
	for name := range services {
		u, err := parse(name + "://host/path")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := locate(u); err != nil && strings.Contains(err.Error(), "unknown service") {
			t.Error(name, err)
		}
	}
}

func FuzzTarget(f *testing.F) {
	for _, s := range []string{
		"ntfy://ntfy.sh/topic", "discord://token@123", "telegram://1:a@telegram?chats=@x", "matrix://u:p@h?rooms=!r:h", "zulip://b@x:k@h?stream=s",
		"bark://k@h", "gotify://h/AzyoeNS.D4iJLVa", "opsgenie://h/k", "pushover://s:t@u", "rocketchat://h/a/b", "signal://h/+1/+2", "lark://h/t",
		"mAtriX:?room", // the library panics
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, target string) {
		Channel{}.Check(target)
	})
}

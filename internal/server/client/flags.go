package client

import (
	"context"
	"net/http"
	"net/url"

	"github.com/fairlead-dev/fairlead/internal/feature"
	"github.com/fairlead-dev/fairlead/internal/launch"
	"github.com/fairlead-dev/fairlead/internal/server"
)

// Flags lists the feature flags of an environment.
func (c *Client) Flags(ctx context.Context, repository, environment string) (server.FlagsView, error) {
	return get[server.FlagsView](ctx, c, "/flags/"+escape(repository), url.Values{"environment": {environment}})
}

// Flag is one of them, with its history.
func (c *Client) Flag(ctx context.Context, ref launch.FlagRef) (server.FlagView, error) {
	return get[server.FlagView](ctx, c, "/flag/"+escape(ref.Repository), url.Values{"environment": {ref.Environment}, "flag": {ref.Flag}})
}

// SetFlag says what a flag is from now on.
func (c *Client) SetFlag(ctx context.Context, repository, environment string, f *feature.Flag, why string) error {
	definition, err := f.MarshalJSON()
	if err != nil {
		return err
	}
	return c.ask(ctx, http.MethodPut, "/flags/"+escape(repository), nil, server.SettingFlag{Environment: environment, Flag: f.Key, Definition: string(definition), Why: why}, nil)
}

// RemoveFlag takes a flag away.
func (c *Client) RemoveFlag(ctx context.Context, ref launch.FlagRef, why string) error {
	return c.ask(ctx, http.MethodDelete, "/flags/"+escape(ref.Repository), nil, server.FlagAct{Environment: ref.Environment, Flag: ref.Flag, Why: why}, nil)
}

// KillFlag turns a flag off for everybody.
func (c *Client) KillFlag(ctx context.Context, ref launch.FlagRef, why string) error {
	return c.flagAct(ctx, "kill", ref, server.FlagAct{Why: why})
}

// ReviveFlag takes that back.
func (c *Client) ReviveFlag(ctx context.Context, ref launch.FlagRef, why string) error {
	return c.flagAct(ctx, "revive", ref, server.FlagAct{Why: why})
}

// ShareFlag sets the share of the users that a variant has.
func (c *Client) ShareFlag(ctx context.Context, ref launch.FlagRef, variant string, percent float64, why string) error {
	return c.flagAct(ctx, "share", ref, server.FlagAct{Variant: variant, Percent: percent, Why: why})
}

func (c *Client) flagAct(ctx context.Context, act string, ref launch.FlagRef, in server.FlagAct) error {
	in.Environment, in.Flag = ref.Environment, ref.Flag
	return c.ask(ctx, http.MethodPost, "/"+act+"-flag/"+escape(ref.Repository), nil, in, nil)
}

// ImportFlags takes over definitions, and returns how many flags are different now.
func (c *Client) ImportFlags(ctx context.Context, repository string, in server.ImportingFlags) (int, error) {
	v, err := post[server.ImportedFlags](ctx, c, "/flags-file/"+escape(repository), in)
	return v.Changed, err
}

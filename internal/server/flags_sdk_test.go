package server

import (
	"encoding/json"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/fairlead-dev/fairlead/internal/access"
	"github.com/fairlead-dev/fairlead/internal/feature"
	"github.com/fairlead-dev/fairlead/internal/feature/featuretest"
	"github.com/fairlead-dev/fairlead/internal/launch"
)

// sdks asks by the SDKs that programs use, and prints what they got. Each ask is followed by a kill
// switch, pulled by way of the API, and another.
const sdks = `
const base = process.env.FLAGS_BASE, token = process.env.FLAGS_TOKEN, admin = process.env.FLAGS_KILL;
const headers = [['Authorization', 'Bearer ' + token]];
const out = {};
const pause = ms => new Promise(r => setTimeout(r, ms));
async function until(what, fn) { for (let i = 0; i < 600; i++) { if (await fn()) return true; await pause(50); } throw new Error('waited in vain: ' + what); }
const api = new URL(base).origin + '/api/v1';
const act = async (verb, flag) => {
  const r = await fetch(api + '/' + verb + '-flag/team/app', { method: 'POST', headers: { 'Content-Type': 'application/json', Authorization: 'Bearer ' + admin }, body: JSON.stringify({ environment: 'production', flag, why: 'by the test' }) });
  if (r.status !== 204) throw new Error(verb + ': ' + r.status + ' ' + await r.text());
};
async function server() {
  const { OpenFeature } = require('@openfeature/server-sdk');
  const { OFREPProvider } = require('@openfeature/ofrep-provider');
  await OpenFeature.setProviderAndWait(new OFREPProvider({ baseUrl: base, headers }));
  const c = OpenFeature.getClient();
  out.server = {
    bool: await c.getBooleanDetails('checkout', false, { targetingKey: 'u', email: 'a@example.com' }),
    text: await c.getStringDetails('banner', 'x'),
    number: await c.getNumberDetails('timeout', 1),
    object: await c.getObjectDetails('limits', {}, { orders: 9 }),
    unknown: await c.getBooleanDetails('nothing', true),
    type: await c.getNumberDetails('banner', 7),
    disabled: await c.getBooleanDetails('old', true),
  };
  await act('kill', 'checkout');
  out.server.killed = await c.getBooleanDetails('checkout', true, { email: 'a@example.com' });
  await act('revive', 'checkout');
  await OpenFeature.close();
}
async function web() {
  globalThis.EventSource = globalThis.EventSource || require('launchdarkly-eventsource').EventSource;
  const { OpenFeature } = require('@openfeature/web-sdk');
  const { OFREPWebProvider } = require('@openfeature/ofrep-web-provider');
  await OpenFeature.setContext({ targetingKey: 'u', email: 'a@example.com' });
  await OpenFeature.setProviderAndWait(new OFREPWebProvider({ baseUrl: base, headers, pollInterval: 0 }));
  const c = OpenFeature.getClient();
  out.web = { before: c.getBooleanDetails('checkout', false), text: c.getStringDetails('banner', 'x') };
  await pause(500); // its stream opens after the first answer
  const at = Date.now();
  await act('kill', 'checkout');
  await until('the web provider hears of the kill', () => c.getBooleanValue('checkout', true) === false);
  out.web.heardAfter = Date.now() - at;
  out.web.after = c.getBooleanDetails('checkout', true);
  await act('revive', 'checkout');
  await OpenFeature.close();
}
async function unleash() {
  const { initialize } = require('unleash-client');
  const u = initialize({ url: base + '/unleash/api', appName: 'shop', instanceId: 'i', refreshInterval: 200, customHeaders: { Authorization: token }, backupPath: require('os').tmpdir(), disableMetrics: false, metricsInterval: 300 });
  u.on('error', e => { out.unleashError = String(e); });
  await new Promise(r => u.once('synchronized', r));
  out.unleash = {
    german: u.isEnabled('imported', { userId: '7', properties: { country: 'DE' } }), french: u.isEnabled('imported', { userId: '7', properties: { country: 'FR' } }),
    shares: [0, 0], banner: u.getVariant('banner'), killed: u.isEnabled('broken-payment'), rules: u.isEnabled('checkout'),
  };
  for (let i = 0; i < 1000; i++) out.unleash.shares[u.isEnabled('half', { userId: 'u' + i }) ? 1 : 0]++;
  await act('kill', 'imported');
  await until('the Unleash client hears of the kill', () => !u.isEnabled('imported', { userId: '7', properties: { country: 'DE' } }));
  out.unleash.after = u.isEnabled('imported', { userId: '7', properties: { country: 'DE' } });
  await pause(400); // its metrics go out
  u.destroy();
}
(async () => { await server(); await web(); await unleash(); console.log(JSON.stringify(out)); process.exit(0); })().catch(e => { console.error(e); process.exit(1); });
`

// TestSDKs has the SDKs and providers that programs use ask a server.
func TestSDKs(t *testing.T) {
	t.Parallel()
	modules := featuretest.Install(t, "@openfeature/server-sdk@1.23.0", "@openfeature/core@1.12.0", "@openfeature/ofrep-provider@0.1.3", "@openfeature/ofrep-core@0.1.4",
		"@openfeature/web-sdk@1.10.0", "@openfeature/ofrep-web-provider@0.4.3", "unleash-client@6.12.1", "launchdarkly-eventsource@2.2.0")
	sc := newScene(t)
	sc.tellFlags()
	go sc.s.Flags.Serve(t.Context())
	imported, problems := feature.ReadUnleash("features.json", []byte(`{"version":2,"features":[{"name":"imported","enabled":true,"strategies":[
		{"name":"flexibleRollout","parameters":{"rollout":"100","stickiness":"default","groupId":"imported"},"constraints":[{"contextName":"country","operator":"IN","values":["DE"]}]}],"variants":[]}]}`))
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	half, _ := feature.ReadFlag("f", "half", []byte(`{"state":"ENABLED","variants":{"on":true,"off":false},"defaultVariant":"off","fairlead":{"split":{"shares":[{"variant":"on","percent":50}]}}}`))
	imported.Flags = append(imported.Flags, half)
	if _, err := sc.s.Flags.Import(t.Context(), launch.By{Name: "ada"}, "team/app", "production", imported, false, "from Unleash"); err != nil {
		t.Fatal(err)
	}
	site := httptest.NewServer(sc.s)
	t.Cleanup(site.Close)
	t.Cleanup(sc.s.Close)
	token := sc.programToken()
	lines := modules.Run(t, sdks, nil, "FLAGS_BASE="+site.URL+"/client/flags/team/app/production", "FLAGS_TOKEN="+token, "FLAGS_KILL="+sc.token(access.TokenSpec{Name: "people"}))
	type details struct {
		Value                      any
		Variant, Reason, ErrorCode string
	}
	var got struct {
		Server map[string]details
		Web    struct {
			Before, Text, After details
			HeardAfter          int
		}
		Unleash struct {
			German, French, Killed, Rules, After bool
			Shares                               [2]int
			Banner                               struct {
				Name    string
				Payload struct{ Type, Value string }
			}
		}
		UnleashError string
	}
	if err := json.Unmarshal(lines[len(lines)-1], &got); err != nil {
		t.Fatalf("%v: %s", err, lines)
	}
	for name, want := range map[string]string{
		"bool": `{"Value":true,"Variant":"on","Reason":"TARGETING_MATCH","ErrorCode":""}`, "text": `{"Value":"50 %","Variant":"sale","Reason":"STATIC","ErrorCode":""}`,
		"number": `{"Value":2.5,"Variant":"short","Reason":"DEFAULT","ErrorCode":""}`, "object": `{"Value":{"items":100},"Variant":"large","Reason":"TARGETING_MATCH","ErrorCode":""}`,
		"unknown": `{"Value":true,"Variant":"","Reason":"ERROR","ErrorCode":"FLAG_NOT_FOUND"}`, "type": `{"Value":7,"Variant":"","Reason":"ERROR","ErrorCode":"TYPE_MISMATCH"}`,
		"killed": `{"Value":false,"Variant":"off","Reason":"DISABLED","ErrorCode":""}`,
	} {
		if b, _ := json.Marshal(got.Server[name]); string(b) != want {
			t.Errorf("server SDK, %s: %s", name, b)
		}
	}
	if got.Server["disabled"].Value != true {
		t.Errorf("a flag that is disabled without a value: %+v", got.Server["disabled"])
	}
	if got.Web.Before.Value != true || got.Web.Text.Value != "50 %" || got.Web.After.Value != false {
		t.Errorf("web SDK: %+v", got.Web)
	}
	t.Logf("the web SDK heard of the kill switch after %d ms", got.Web.HeardAfter)
	u := got.Unleash
	if !u.German || u.French || u.Killed || u.Rules || u.After || u.Shares[1] < 430 || u.Shares[1] > 570 || u.Banner.Name != "sale" || u.Banner.Payload.Value != "50 %" {
		t.Errorf("Unleash client: %+v %s", u, got.UnleashError)
	}
	if strings.Contains(sc.log.String(), token) {
		t.Error("a token is in the log")
	}
}

const fs = require('fs');
const e = process.env;
const [owner, repo] = e.GITHUB_REPOSITORY.split('/');
const context = { repo: { owner, repo }, ref: e.GITHUB_REF, sha: e.GITHUB_SHA, eventName: e.GITHUB_EVENT_NAME };
const summary = {
  text: '',
  addRaw(text) { this.text += text; return this; },
  async write() { fs.appendFileSync(e.GITHUB_STEP_SUMMARY, this.text); },
};
const AsyncFunction = (async () => {}).constructor;
new AsyncFunction('context', 'core', e.INPUT_SCRIPT)(context, { summary }).catch((err) => {
  console.log(`::error::${err}`);
  process.exit(1);
});

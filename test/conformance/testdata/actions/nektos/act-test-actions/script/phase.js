const { spawnSync } = require('child_process');

module.exports = (phase) => {
  const script = process.env['INPUT_' + phase.toUpperCase()];
  if (!script) return;
  const { status } = spawnSync('bash', ['--noprofile', '--norc', '-e', '-o', 'pipefail', '-c', script], { stdio: 'inherit' });
  process.exit(status === null ? 1 : status);
};

import {Flags} from '@oclif/core';
import {CliError, EXIT} from '../roles/cli-error.js';
import {alignedRows, CpfsCommand, metaFlag, metas, outputFlag, timeoutFlag} from './_base.js';

export default class Health extends CpfsCommand {
  static override summary =
    'Show what is wrong with the cluster, the worst first, each with a code.';
  static override description =
    "'cpfs explain CODE' says what a code means, what is at risk and what to do. Codes keep their meaning.";
  static override examples = [
    '<%= config.bin %> health --meta 127.0.0.1:7400',
    '<%= config.bin %> health -o json --exit-code',
  ];
  static override flags = {
    meta: metaFlag,
    output: outputFlag,
    'exit-code': Flags.boolean({summary: `exit with ${EXIT.degraded} when something is wrong`}),
    timeout: timeoutFlag,
  };

  async run(): Promise<void> {
    const {flags} = await this.parse(Health);
    const {fetchStatus} = await import('../roles/admin.js');
    const {metaStatus} = await import('../roles/meta/nodes.js');
    const {healthOf} = await import('../roles/health/findings.js');
    const meta = metas(flags.meta);
    const timeoutMs = flags.timeout * 1000;
    const nodes = await metaStatus(meta, timeoutMs).catch(() => null);
    const status = await fetchStatus(meta, timeoutMs).catch((error: unknown) => {
      if (error instanceof CliError && error.exit === EXIT.unavailable) return null;
      throw error;
    });
    const health = healthOf(status, nodes);
    if (flags.output === 'json') this.log(JSON.stringify(health, null, 2));
    else {
      this.log(`health: ${health.state}`);
      const rows = health.findings.map((one) => [one.code, one.severity, one.subject, one.text]);
      if (rows.length > 0) this.log(alignedRows(rows));
    }
    if (flags['exit-code'] && health.state !== 'ok') process.exitCode = EXIT.degraded;
  }
}

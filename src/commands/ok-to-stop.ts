import {Args} from '@oclif/core';
import {EXIT} from '../roles/cli-error.js';
import {CpfsCommand, metaFlag, metas, outputFlag, timeoutFlag} from './_base.js';

export default class OkToStop extends CpfsCommand {
  static override summary =
    'Say whether a server may be stopped now, without anybody waiting for it.';
  static override description =
    `Exit code ${EXIT.ok}: it may; ${EXIT.refused}: it may not; others: not known.`;
  static override examples = [
    '<%= config.bin %> ok-to-stop 1.2 --meta 127.0.0.1:7400 && systemctl stop cpfs-data',
    '<%= config.bin %> ok-to-stop 10.0.0.1:7400',
  ];
  static override args = {
    server: Args.string({
      required: true,
      description:
        'a data server as GROUP.SLOT, its address or its id; or a meta server by its address',
    }),
  };
  static override flags = {meta: metaFlag, output: outputFlag, timeout: timeoutFlag};

  async run(): Promise<void> {
    const {args, flags} = await this.parse(OkToStop);
    const {fetchStatus} = await import('../roles/admin.js');
    const {metaStatus} = await import('../roles/meta/nodes.js');
    const {okToStop} = await import('../roles/health/ok-to-stop.js');
    const meta = metas(flags.meta);
    const timeoutMs = flags.timeout * 1000;
    const status = await fetchStatus(meta, timeoutMs);
    const nodes = await metaStatus(meta, timeoutMs).catch(() => null);
    const verdict = okToStop(status, nodes, args.server);
    if (flags.output === 'json') this.log(JSON.stringify(verdict, null, 2));
    else
      this.log(
        `${verdict.server}: ${verdict.ok ? 'ok to stop' : 'not ok to stop'}: ${verdict.why}`,
      );
    if (!verdict.ok) process.exitCode = EXIT.refused;
  }
}

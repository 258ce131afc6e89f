import {EXIT} from '../../roles/cli-error.js';
import {alignedRows, CpfsCommand, metas} from '../_base.js';
import {levelFlags} from '../log/_levels.js';

export default class SupportWaiting extends CpfsCommand {
  static override summary =
    'Show which requests servers have not answered yet, and which ones they wait for.';
  static override description =
    'The oldest ones first: how long, at which server, what, and whose it is. Those of clients that wait for a lock are there, too. A mount has no port: ' +
    'send SIGUSR1 to its process, and look into its log.';
  static override examples = ['<%= config.bin %> support waiting --meta 10.0.0.1:7400'];
  static override flags = levelFlags;

  async run(): Promise<void> {
    const {flags} = await this.parse(SupportWaiting);
    const {steerAll} = await import('../../roles/support/servers.js');
    const request = {waiting: true};
    const asked = await steerAll(metas(flags.meta), flags.timeout * 1000, flags.server, request);
    const away = asked.filter(({reply}) => reply === null);
    if (away.length > 0) process.exitCode = EXIT.degraded;
    const waiting = asked
      .flatMap(({address, reply}) =>
        (reply?.waiting ?? []).map(({operation, peer, own, ms}) => ({
          server: address,
          operation,
          from: own ? null : peer,
          to: own ? peer : null,
          ms,
        })),
      )
      .sort((a, b) => b.ms - a.ms);
    const total = asked.reduce((sum, {reply}) => sum + (reply?.total ?? 0), 0);
    if (flags.output === 'json') {
      const noAnswer = away.map(({address, why}) => ({address, why}));
      this.log(JSON.stringify({version: 1, total, waiting, noAnswer}, null, 2));
      return;
    }
    const rows = waiting.map(({server, operation, from, to, ms}) => [
      `${(ms / 1000).toFixed(1)} s`,
      server,
      operation,
      from === null ? `to ${to}` : `from ${from}`,
    ]);
    if (rows.length > 0) this.log(alignedRows(rows));
    this.log(
      total === rows.length
        ? `${total} requests wait`
        : `${total} requests wait; these are the oldest`,
    );
    for (const {address, why} of away) this.log(`${address} did not answer: ${why}`);
  }
}

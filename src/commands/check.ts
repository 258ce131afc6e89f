import {Flags} from '@oclif/core';
import type {CheckResult} from '../roles/check/main.js';
import {CpfsCommand, metaFlag, metas, outputFlag} from './_base.js';
import {setting} from './_settings.js';

export default class Check extends CpfsCommand {
  static override summary =
    'Look for damage: names, columns, sums, redundancy, and columns that are nobody’s.';
  static override description =
    'With --meta it checks a running cluster, under load, too: what looks wrong is looked at again while nobody may change it. Every block of every ' +
    'file is read. With --state it checks the folder of a data server or a meta server that does not run, and changes nothing. ' +
    'Each finding is one line, with what to do. Exit code 0: nothing is wrong; 1: something is, and was not mended; 8: not everything could be looked at.';
  static override examples = [
    '<%= config.bin %> check --meta 127.0.0.1:7400',
    '<%= config.bin %> check --repair --meta 127.0.0.1:7400',
    '<%= config.bin %> check --state /var/lib/cpfs/data',
  ];
  static override flags = {
    meta: metaFlag,
    state: Flags.string({summary: 'folder of a server that does not run'}),
    repair: Flags.boolean({summary: 'mend what can be mended, and say what was'}),
    data: Flags.boolean({
      summary: 'read what columns have; without, only names and inventories are compared',
      default: true,
      allowNo: true,
    }),
    output: outputFlag,
    timeout: setting('client.timeout', {default: 10}),
  };

  async run(): Promise<void> {
    const {flags} = await this.parse(Check);
    const {check, checkFolder} = await import('../roles/check/main.js');
    const json = flags.output === 'json';
    const say = json ? () => {} : (line: string) => this.log(line);
    const {state, repair, data, timeout} = flags;
    const result =
      state === undefined
        ? await check({meta: metas(flags.meta), repair, data, timeoutMs: timeout * 1000}, say)
        : await checkFolder(state, repair, say);
    if (json) this.log(JSON.stringify(result, null, 2));
    else for (const line of summary(result)) this.log(line);
    process.exitCode = result.exit;
  }
}

function summary({found, mended, looked, unlooked}: CheckResult): string[] {
  const {names, inodes, chunks, columns} = looked;
  const lines = unlooked.map(({reason, times}) => `not looked at: ${reason} (${times})`);
  lines.push(`looked at ${names} names, ${inodes} inodes, ${chunks} chunks, ${columns} columns`);
  if (found === 0)
    lines.push(unlooked.length === 0 ? 'nothing is wrong' : 'nothing wrong was found');
  else lines.push(`${found} found, ${mended} mended, ${found - mended} left`);
  return lines;
}

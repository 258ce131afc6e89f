import {Args, Flags} from '@oclif/core';
import type {DoctorResult} from '../roles/doctor/main.js';
import type {DoctorRole} from '../roles/doctor/system.js';
import {CpfsCommand, metaFlag, metas, outputFlag} from './_base.js';
import {setting} from './_settings.js';

const ROLES = ['meta', 'data', 'mount'] as const;

export default class Doctor extends CpfsCommand {
  static override summary = 'Look whether this machine has what a server or a mount needs.';
  static override description =
    'Run it before the first start, as the user that will run it, and when something is odd: kernel and FUSE, limits, memory, io_uring, ' +
    'the disk of the state folder (its kind, space, direct I/O, what fdatasync takes), ports, names, the clock, and with --meta the meta servers, ' +
    'their release and their clock. It changes nothing; a small file is written to the state folder and removed again. ' +
    'Exit code 0: nothing is wrong; 8: warnings; 1: errors.';
  static override examples = [
    '<%= config.bin %> doctor data --state /srv/disk1 --meta 10.0.0.1:7400',
    '<%= config.bin %> doctor mount --meta 10.0.0.1:7400',
    '<%= config.bin %> doctor -o json',
  ];
  static override args = {
    role: Args.string({
      options: [...ROLES],
      description: 'what is to run here; default: all of them',
    }),
  };
  static override flags = {
    meta: metaFlag,
    state: Flags.string({
      summary: 'folder of the server; else, for a role that is named, the one of its settings',
    }),
    listen: Flags.string({summary: 'where it is to listen, HOST:PORT; else that of its settings'}),
    output: outputFlag,
    timeout: setting('client.timeout', {default: 5}),
  };

  async run(): Promise<void> {
    const {args, flags} = await this.parse(Doctor);
    const {examine} = await import('../roles/doctor/main.js');
    const {doctorSystem} = await import('../roles/doctor/real.js');
    const role = args.role as DoctorRole | undefined;
    const settings = await this.settings();
    const state = (of: 'meta' | 'data') =>
      flags.state ?? (role === of ? settings.get(`${of}.state`) : null);
    const listen = (of: 'meta' | 'data') => flags.listen ?? settings.get(`${of}.listen`);
    const result = await examine(
      {
        roles: role === undefined ? ROLES : [role],
        states: {meta: state('meta'), data: state('data')},
        listen: {meta: listen('meta'), data: listen('data')},
        meta: flags.meta === undefined ? null : metas(flags.meta),
        direct: settings.get('data.direct'),
      },
      doctorSystem(flags.timeout * 1000),
    );
    this.log(flags.output === 'json' ? JSON.stringify(result, null, 2) : text(result));
    process.exitCode = result.exit;
  }
}

/** For people. */
function text({findings}: DoctorResult): string {
  const width = Math.max(...findings.map(({check}) => check.length));
  const lines = findings.flatMap(({check, level, says, mend}) => {
    const line = `${level.padEnd(7)}  ${check.padEnd(width)}  ${says}`;
    return mend === null ? [line] : [line, `${' '.repeat(11 + width)}mend: ${mend}`];
  });
  const count = (level: string) => findings.filter((one) => one.level === level).length;
  const [errors, warnings] = [count('error'), count('warning')];
  lines.push(
    errors + warnings === 0 ? 'nothing is wrong' : `${errors} errors, ${warnings} warnings`,
  );
  return lines.join('\n');
}

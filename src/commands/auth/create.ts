import {Args, Flags} from '@oclif/core';
import {isRights, type Limits, RIGHTS} from '../../core/base/identity.js';
import {parseSize} from '../../core/base/units.js';
import {CliError, EXIT} from '../../roles/cli-error.js';
import {CpfsCommand, keysFile, keysFlag} from '../_base.js';

const DAY_SECONDS = 86_400;

export default class AuthCreate extends CpfsCommand {
  static override summary = 'Make a credential for a client, and print it.';
  static override description =
    'What is printed is the file of keys of that client: it goes to /etc/cpfs/keys there, with the mode 0600. Whoever has it may read (ro), or read and write ' +
    '(rw), or use all commands (admin). No server is asked, and none has a list of them.';
  static override examples = [
    '<%= config.bin %> auth create backup --rights ro > backup.keys',
    '<%= config.bin %> auth create alice --rights rw --days 90 > alice.keys',
    '<%= config.bin %> auth create shop --path /projects/shop --squash-root 1000:1000 > shop.keys',
  ];
  static override args = {name: Args.string({required: true, description: 'whose it is'})};
  static override flags = {
    keys: keysFlag,
    rights: Flags.string({
      summary: 'what its holder may do',
      options: [...RIGHTS],
      default: 'rw',
    }),
    path: Flags.string({summary: 'the folder of the cluster that is all that its holder sees'}),
    'squash-root': Flags.string({
      summary: 'what its root makes belongs to this user and group, and it gives nothing to root',
      helpValue: 'UID:GID',
    }),
    size: Flags.string({summary: 'what df shows at most, such as 10G; nothing is held to it'}),
    days: Flags.integer({summary: 'days until it expires; 0: it does not', default: 0, min: 0}),
  };

  async run(): Promise<void> {
    const {args, flags} = await this.parse(AuthCreate);
    const {issue} = await import('../../roles/keys.js');
    if (!isRights(flags.rights)) throw new CliError('no such rights', EXIT.usage);
    const limits = limitsOf(flags);
    if (limits !== undefined && flags.rights === 'admin')
      throw new CliError('an administrator has no limits; use --rights rw or ro', EXIT.usage);
    const seconds = flags.days * DAY_SECONDS;
    const text = issue(keysFile(flags.keys), args.name, flags.rights, seconds, limits);
    process.stdout.write(text);
  }
}

function limitsOf(flags: {
  path?: string;
  'squash-root'?: string;
  size?: string;
}): Limits | undefined {
  const {path = '', 'squash-root': squash, size} = flags;
  if (path === '' && squash === undefined && size === undefined) return undefined;
  const ids = squash === undefined ? null : /^(\d{1,10}):(\d{1,10})$/.exec(squash);
  if (squash !== undefined && ids === null)
    throw new CliError(`--squash-root is UID:GID, not '${squash}'`, EXIT.usage);
  const bytes = size === undefined ? 0 : parseSize(size);
  if (bytes === null)
    throw new CliError(`--size is a number of bytes such as 10G, not '${size}'`, EXIT.usage);
  return {
    path: path.replace(/\/+$/, ''),
    squash: ids === null ? null : {uid: Number(ids[1]), gid: Number(ids[2])},
    bytes,
  };
}

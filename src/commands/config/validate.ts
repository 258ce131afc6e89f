import {Args} from '@oclif/core';
import {CliError, EXIT} from '../../roles/cli-error.js';
import {environmentLayer, fileLayer, Resolved, systemFiles} from '../../roles/config/load.js';
import {CpfsCommand} from '../_base.js';

export default class ConfigValidate extends CpfsCommand {
  static override summary = 'Look at files of settings, and at the environment, and start nothing.';
  static override description =
    'Without a name: /etc/cpfs/cpfs.toml, /etc/cpfs/conf.d, --config and the environment. Each thing that is wrong is a line. Exit code 2: something is.';
  static override examples = [
    '<%= config.bin %> config validate',
    '<%= config.bin %> config validate new.toml',
  ];
  static override args = {file: Args.string({description: 'a file of settings, alone'})};
  static override flags = {};

  async run(): Promise<void> {
    const {args, flags} = await this.parse(ConfigValidate);
    const problems: string[] = [];
    const say = ({message}: CliError) => problems.push(message);
    const more = flags.config === undefined ? [] : [flags.config];
    const paths = args.file === undefined ? [...systemFiles(process.env), ...more] : [args.file];
    const layers = [];
    for (const path of paths) layers.push(await fileLayer(path, 'file', say));
    if (args.file === undefined) layers.push(environmentLayer(process.env, say));
    try {
      new Resolved(layers);
    } catch (error) {
      if (!(error instanceof CliError)) throw error;
      say(error);
    }
    for (const problem of problems) process.stderr.write(`cpfs: ${problem}\n`);
    if (problems.length > 0) process.exit(EXIT.usage);
    this.log(paths.length === 0 ? 'there are no files' : `nothing is wrong: ${paths.join(' ')}`);
  }
}

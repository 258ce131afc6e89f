import {Args} from '@oclif/core';
import {CliError, EXIT} from '../roles/cli-error.js';
import {CpfsCommand, outputFlag} from './_base.js';

export default class Explain extends CpfsCommand {
  static override summary =
    "Explain a code of 'cpfs health': what it means, what is at risk, what to do.";
  static override examples = ['<%= config.bin %> explain CPFS-1001'];
  static override args = {code: Args.string({required: true, description: 'CPFS-nnnn'})};
  static override flags = {output: outputFlag};

  async run(): Promise<void> {
    const {args, flags} = await this.parse(Explain);
    const {CODES, meaningOf} = await import('../roles/health/codes.js');
    const found = meaningOf(args.code);
    if (found === null) {
      throw new CliError(
        `there is no code '${args.code}'; those that are: ${Object.keys(CODES).join(', ')}`,
        EXIT.notFound,
      );
    }
    if (flags.output === 'json') {
      this.log(JSON.stringify({version: 1, ...found}, null, 2));
      return;
    }
    const {code, severity, title, means, risk, act} = found;
    this.log(
      [
        `${code} (${severity}): ${title}`,
        '',
        means,
        '',
        `At risk: ${risk}`,
        '',
        `To do: ${act}`,
      ].join('\n'),
    );
  }
}

import {Args} from '@oclif/core';
import {CpfsCommand} from './_base.js';

export default class Completion extends CpfsCommand {
  static override summary = 'Print what a shell needs to complete the words of cpfs.';
  static override description =
    'The packages have it installed for all users. For one user: put the line of the examples into the file that the shell reads at its start.';
  static override examples = [
    'eval "$(<%= config.bin %> completion bash)"',
    '<%= config.bin %> completion zsh > ~/.zfunc/_cpfs',
    '<%= config.bin %> completion fish > ~/.config/fish/completions/cpfs.fish',
  ];
  static override args = {
    shell: Args.string({
      required: true,
      options: ['bash', 'zsh', 'fish'],
      description: 'which shell',
    }),
  };

  async run(): Promise<void> {
    const {args} = await this.parse(Completion);
    const {completionFor} = await import('../roles/completion.js');
    const {commands, topics} = this.config;
    this.log(completionFor(args.shell as 'bash' | 'zsh' | 'fish', commands, topics));
  }
}

import {CpfsCommand, metaFlag, metas, outputFlag, timeoutFlag} from '../_base.js';

export default class TokenList extends CpfsCommand {
  static override summary = 'List tokens, without their secrets.';
  static override examples = ['<%= config.bin %> token list --meta 127.0.0.1:7400'];
  static override flags = {meta: metaFlag, output: outputFlag, timeout: timeoutFlag};

  async run(): Promise<void> {
    const {flags} = await this.parse(TokenList);
    const {listTokens} = await import('../../roles/tokens.js');
    const tokens = await listTokens(metas(flags.meta), flags.timeout * 1000);
    if (flags.output === 'json') {
      this.log(JSON.stringify(tokens, null, 2));
      return;
    }
    for (const {id, role, name, rights, path, until, uses, used, state} of tokens) {
      const what = role === 'client' ? `client ${name} ${rights} ${path}` : role;
      this.log(
        `${id}  ${what.trim().replace(/ +/g, ' ')}  ${state}  used ${used} of ${uses}  until ${until}`,
      );
    }
  }
}

import {Flags} from '@oclif/core';
import {envOf, KEYS, type Key, settingOf} from '../../roles/config/schema.js';
import {formatValue} from '../../roles/config/values.js';
import {alignedRows, CpfsCommand, outputFlag} from '../_base.js';

export default class ConfigShow extends CpfsCommand {
  static override summary = 'Show the settings that hold, of all servers, mounts and commands.';
  static override description =
    'What the environment, --config FILE, /etc/cpfs/cpfs.toml and /etc/cpfs/conf.d say together; flags of a command count above. docs/config.md has all of them.';
  static override examples = [
    '<%= config.bin %> config show --origin',
    '<%= config.bin %> config show --config new.toml -o json',
  ];
  static override flags = {
    origin: Flags.boolean({summary: 'also where each value comes from'}),
    output: outputFlag,
  };

  async run(): Promise<void> {
    const {flags} = await this.parse(ConfigShow);
    const resolved = await this.settings();
    const text = (key: Key) => {
      const {value} = resolved.of(key);
      return value === undefined ? null : formatValue(settingOf(key), value);
    };
    if (flags.output === 'json') {
      const settings = KEYS.map((key) => {
        const {level, origin} = resolved.of(key);
        return {key, value: text(key), level, origin, environment: envOf(key)};
      });
      this.log(JSON.stringify({version: 1, settings}, null, 2));
      return;
    }
    const rows = KEYS.map((key) => [
      key,
      text(key) ?? '-',
      ...(flags.origin ? [resolved.of(key).origin] : []),
    ]);
    this.log(alignedRows(rows));
  }
}

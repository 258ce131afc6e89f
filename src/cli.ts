import {basename} from 'node:path';
import {type Command, execute, type Interfaces, Plugin} from '@oclif/core';
import {COMMANDS, neededCommands} from './command-table.js';
import {PACKAGE} from './roles/release.js';

/** oclif with a table of classes in place of a folder to look through. */
class Commands extends Plugin {
  constructor(pjson: Interfaces.PJSON, classes: Record<string, Command.Class>) {
    super({root: '/', isRoot: true, ignoreManifest: true, pjson});
    // Where the strategy 'explicit' keeps what it would have loaded.
    Object.assign(this, {commandCache: classes});
  }
}

async function main(words: readonly string[]): Promise<void> {
  const load = async (id: string) => [id, (await COMMANDS[id]!()).default] as const;
  const classes = Object.fromEntries(await Promise.all(neededCommands(words).map(load)));
  const commands = {strategy: 'explicit', target: 'command-table.js', identifier: 'COMMANDS'};
  const pjson = {...PACKAGE, oclif: {...PACKAGE.oclif, commands}} as Interfaces.PJSON;
  const plugin = new Commands(pjson, classes);
  await plugin.load();
  const plugins = new Map([[plugin.name, plugin]]);
  await execute({args: [...words], loadOptions: {root: '/', pjson, plugins}});
}

// mount(8) calls a link to the executable.
const calledAs = basename(process.argv0) === 'mount.cpfs' ? ['mount-helper'] : [];
// Not awaited: the executable's program is CommonJS, which has no await on top.
void main([...calledAs, ...process.argv.slice(2)]);

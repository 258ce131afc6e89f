import {existsSync, readFileSync} from 'node:fs';
import {join} from 'node:path';

/** What systemd would do to start a service. */
export interface Unit {
  command: string[];
  /** NAME=VALUE. */
  environment: string[];
  user: string;
  group: string;
  /** To be made, and to belong to the user. */
  folders: {path: string; mode: string}[];
}

/** As far as ours use it: quotes around a whole value. */
function environmentFile(text: string): string[] {
  return text
    .split('\n')
    .filter((line) => /^\w+=/.test(line))
    .map((line) => line.replace(/^(\w+)="(.*)"$/, '$1=$2'));
}

/** The unit of a service (`cpfs-data@1`) that is installed in `root`. */
export function readUnit(root: string, service: string): Unit {
  const [, name, instance = ''] = /^([^@]+@?)(.*)$/.exec(service)!;
  const text = readFileSync(join(root, `usr/lib/systemd/system/${name}.service`), 'utf8');
  const lines = text.replaceAll('%i', instance).split('\n');
  const all = (key: string) =>
    lines.filter((line) => line.startsWith(`${key}=`)).map((line) => line.slice(key.length + 1));
  const one = (key: string): string => {
    const [value, ...more] = all(key);
    if (value === undefined || more.length > 0) throw new Error(`${service} has no one ${key}`);
    return value;
  };
  const files = all('EnvironmentFile').map((path) => join(root, path));
  const missing = files.find((path) => !existsSync(path));
  if (missing !== undefined) throw new Error(`${service} wants ${missing}`);
  const environment = [
    ...all('Environment'),
    ...files.flatMap((path) => environmentFile(readFileSync(path, 'utf8'))),
  ];
  const variable = (name: string): string =>
    environment.findLast((pair) => pair.startsWith(`${name}=`))?.slice(name.length + 1) ?? '';
  return {
    // A variable that stands alone is as many words as it has.
    command: one('ExecStart')
      .split(' ')
      .flatMap((word) => (word.startsWith('$') ? variable(word.slice(1)).split(' ') : [word])),
    environment,
    user: one('User'),
    group: one('Group'),
    folders: [
      {path: `/var/lib/${one('StateDirectory')}`, mode: one('StateDirectoryMode')},
      {path: `/var/cache/${one('CacheDirectory')}`, mode: one('CacheDirectoryMode')},
    ],
  };
}

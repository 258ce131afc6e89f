import {existsSync, readFileSync} from 'node:fs';
import {dirname, join} from 'node:path';
import {getAsset, isSea} from 'node:sea';
import {fileURLToPath} from 'node:url';

/**
 * Where this program's own files are: in the tree that it was built in, or in the executable that it is
 * (packaging/executable.mjs puts them there as assets, under the same names).
 */
export const IN_EXECUTABLE = isSea();

/** The folder that holds package.json: four up from dist/src/core/os. Only outside of an executable. */
function tree(): string {
  let folder = dirname(fileURLToPath(import.meta.url));
  while (!existsSync(join(folder, 'package.json'))) {
    const parent = dirname(folder);
    if (parent === folder) throw new Error('there is no package.json above the program');
    folder = parent;
  }
  return folder;
}

/** The path of a file of the tree. */
export const inTree = (...path: string[]): string => join(tree(), ...path);

/** The text of a file that is part of the program. */
export const ownText = (name: string): string =>
  IN_EXECUTABLE ? getAsset(name, 'utf8') : readFileSync(inTree(name), 'utf8');

/** What starts another process of this same program, before its arguments. */
export const ownCommand = (): [string, ...string[]] =>
  IN_EXECUTABLE ? [process.execPath] : [process.execPath, inTree('dist/src/cli.js')];

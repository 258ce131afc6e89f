import {existsSync} from 'node:fs';
import {createRequire} from 'node:module';
import {homedir} from 'node:os';
import {join} from 'node:path';
import {getRawAsset} from 'node:sea';
import {messageOf} from '../base/errors.js';
import {IN_EXECUTABLE, inTree, ownText} from './program.js';
import {unpack} from './unpack.js';

const require = createRequire(IN_EXECUTABLE ? '/' : import.meta.url);

/** The asset that lists the other ones: what is written to files to be loaded. */
const LIST = 'native.json';

/** Where an executable writes its native modules. */
function cacheFolder(): string {
  const named = process.env.CPFS_CACHE_DIR;
  if (named !== undefined && named !== '') return named;
  if (process.getuid!() === 0) return '/var/cache/cpfs';
  return join(process.env.XDG_CACHE_HOME || join(homedir(), '.cache'), 'cpfs');
}

let unpacked: string | undefined;

function fromExecutable(name: string): string {
  if (unpacked === undefined) {
    const cache = cacheFolder();
    const names = JSON.parse(ownText(LIST)) as string[];
    const files = new Map(names.map((file) => [file, new Uint8Array(getRawAsset(file))]));
    try {
      unpacked = unpack(cache, files);
    } catch (cause) {
      throw new Error(
        `cannot write native modules to ${cache}: ${messageOf(cause)}; or name another folder with CPFS_CACHE_DIR`,
        {cause},
      );
    }
  }
  return join(unpacked, `${name}.node`);
}

function fromTree(name: string): string {
  const file = inTree('native/build/Release', `${name}.node`);
  if (!existsSync(file)) {
    throw new Error(`the native module ${name} is not built (${file}); run: npm run setup`);
  }
  return file;
}

/**
 * The exports of the native module `name`: native/build/Release/<name>.node, or what an executable holds. Throws Error with one
 * sentence that names the next step when it is not there, or was built for another runtime. `T` is the caller's word for what
 * native/<name> exports.
 */
export function loadNative<T>(name: string): T {
  const file = IN_EXECUTABLE ? fromExecutable(name) : fromTree(name);
  try {
    return require(file) as T;
  } catch (cause) {
    const next = IN_EXECUTABLE
      ? 'is its folder mounted noexec? name another one with CPFS_CACHE_DIR'
      : 'run: npm run setup';
    throw new Error(`the native module ${name} cannot be loaded (${messageOf(cause)}); ${next}`, {
      cause,
    });
  }
}

import {existsSync} from 'node:fs';
import {createRequire} from 'node:module';
import {constants} from 'node:os';
import {dirname, join} from 'node:path';
import {messageOf} from '../base/errors.js';
import {IN_EXECUTABLE} from './program.js';

/**
 * The native half of the package fuse-native. Its JavaScript half is not used: it loses the number of an open file in fstat(2) and the
 * size of the buffer in getxattr(2), and gives every request up after a time.
 */
export interface PortableNative {
  readonly sizeof_fuse_thread_t: number;
  /** `fuse_native_signal_NAME` answers a request, `op_NAME` is its number. */
  readonly [name: string]: unknown;
  fuse_native_mount(
    dir: string,
    options: string,
    thread: Buffer,
    self: object,
    malloc: (bytes: number) => Buffer,
    handlers: readonly unknown[],
    implemented: Uint32Array,
  ): void;
}

const PACKAGE = 'fuse-native';
/** dlopen(3): it stays loaded although it is no module of Node. */
const RTLD_NODELETE = 0x1000;

let loaded: PortableNative | undefined;

function folder(): string {
  if (IN_EXECUTABLE)
    throw new Error(
      `the package ${PACKAGE} is not part of the executable; run cpfs from its source tree to use it`,
    );
  try {
    return dirname(createRequire(import.meta.url).resolve(`${PACKAGE}/package.json`));
  } catch {
    throw new Error(`the package ${PACKAGE} is not installed; run: npm run setup`);
  }
}

/** Throws Error with one sentence that names the next step. */
export function portableNative(): PortableNative {
  if (loaded !== undefined) return loaded;
  const built = join(folder(), 'prebuilds', `${process.platform}-${process.arch}`);
  const file = join(built, 'node.napi.node');
  if (!existsSync(file))
    throw new Error(
      `the package ${PACKAGE} has nothing for processors of the kind ${process.arch}; use --engine kernel`,
    );
  const {RTLD_NOW, RTLD_GLOBAL} = constants.dlopen;
  try {
    // Of libfuse 2, which few systems have; found by the module under the name that it has inside.
    process.dlopen(
      {exports: {}},
      join(built, 'libfuse.so'),
      RTLD_NOW | RTLD_GLOBAL | RTLD_NODELETE,
    );
  } catch {
    // It is no module of Node, says Node, and has loaded it.
  }
  const module: {exports: unknown} = {exports: {}};
  try {
    process.dlopen(module, file, RTLD_NOW);
  } catch (cause) {
    throw new Error(
      `the package ${PACKAGE} cannot be loaded (${messageOf(cause)}); run: npm run setup`,
      {cause},
    );
  }
  loaded = module.exports as PortableNative;
  return loaded;
}

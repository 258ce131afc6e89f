import {existsSync} from 'node:fs';
import {createRequire} from 'node:module';
import {dirname, join} from 'node:path';
import {fileURLToPath} from 'node:url';

const require = createRequire(import.meta.url);

/** The folder that holds package.json: four up from dist/src/core/os, three from src/core/os. */
function packageRoot(): string {
  let folder = dirname(fileURLToPath(import.meta.url));
  while (!existsSync(join(folder, 'package.json'))) {
    const parent = dirname(folder);
    if (parent === folder) throw new Error('there is no package.json above the program');
    folder = parent;
  }
  return folder;
}

/**
 * The exports of native/build/Release/<name>.node. Throws Error with one sentence that names the next step when
 * it has not been built, or was built for another runtime. `T` is the caller's word for what native/<name> exports.
 */
export function loadNative<T>(name: string): T {
  const file = join(packageRoot(), 'native/build/Release', `${name}.node`);
  if (!existsSync(file)) {
    throw new Error(`the native module ${name} is not built (${file}); run: npm run setup`);
  }
  try {
    return require(file) as T;
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new Error(`the native module ${name} cannot be loaded (${reason}); run: npm run setup`, {
      cause,
    });
  }
}

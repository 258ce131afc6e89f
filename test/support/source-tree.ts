import {readdirSync, readFileSync} from 'node:fs';
import {dirname, join, relative} from 'node:path';
import {fileURLToPath} from 'node:url';

/** The project's folder; tests run from dist/test/…. */
export const ROOT = join(dirname(fileURLToPath(import.meta.url)), '../../..');

export interface SourceFile {
  /** From the project's folder, such as `src/core/base/pool.ts`. */
  path: string;
  text: string;
}

/** Made by the build, not by people. */
const BUILT = /protocol\/gen$|native\/build(\/|$)/;

/** Every file below `folder` whose name matches. Generated code is left out. */
export function sourceFiles(folder: string, name: RegExp): SourceFile[] {
  return readdirSync(join(ROOT, folder), {withFileTypes: true, recursive: true})
    .filter((e) => e.isFile() && name.test(e.name) && !BUILT.test(e.parentPath))
    .map((e) => {
      const path = join(e.parentPath, e.name);
      return {path: relative(ROOT, path), text: readFileSync(path, 'utf8')};
    });
}

/** Modules that a file imports, as written. */
export function importsOf(text: string): string[] {
  return [...text.matchAll(/(?:^|\n)\s*(?:import|export)\b[^;'"]*?from\s+['"]([^'"]+)['"]/g)]
    .map((m) => m[1]!)
    .concat([...text.matchAll(/\bimport\(\s*['"]([^'"]+)['"]\s*\)/g)].map((m) => m[1]!));
}

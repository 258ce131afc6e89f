// Goal: every file can be read in one sitting. Method: count lines.
import {describe, expect, test} from '@jest/globals';
import {sourceFiles} from '../support/source-tree.js';

const LINES_MAX = 500;

describe('sizes', () => {
  test(`no source file has more than ${LINES_MAX} lines`, () => {
    const files = [...sourceFiles('src', /\.tsx?$/), ...sourceFiles('native', /\.(cpp|hpp)$/)];
    const long = files
      .map((f) => [f.path, f.text.split('\n').length] as const)
      .filter(([, lines]) => lines > LINES_MAX);
    expect(long).toEqual([]);
  });

  test('no path of a machine is in the tree', () => {
    const files = ['src', 'native', 'test', 'docs', 'scripts'].flatMap((f) => sourceFiles(f, /./));
    const pattern = new RegExp(`/(${['work', 'farm', 'root', 'home'].join('|')})/`);
    expect(files.filter((f) => pattern.test(f.text)).map((f) => f.path)).toEqual([]);
  });
});

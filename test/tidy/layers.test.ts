// Goal: who may import whom is data (src/layers.json) and holds. Method: resolve every import of every source file.
import {readFileSync} from 'node:fs';
import {dirname, join, normalize} from 'node:path';
import {describe, expect, test} from '@jest/globals';
import {importsOf, ROOT, sourceFiles} from '../support/source-tree.js';

const layers = JSON.parse(readFileSync(join(ROOT, 'src/layers.json'), 'utf8')) as Record<
  string,
  string[]
>;

/** `core/base` of `core/base/pool.ts`; the longest layer that holds a path. */
function layerOf(path: string): string | undefined {
  return Object.keys(layers)
    .filter((l) => path === l || path.startsWith(`${l}/`))
    .sort((a, b) => b.length - a.length)[0];
}

const allowed = (layer: string, target: string): boolean =>
  layers[layer]!.some(
    (a) =>
      target === a || target.startsWith(`${a}/`) || (a === 'node:' && target.startsWith('node:')),
  );

function violations(): string[] {
  return sourceFiles('src', /\.tsx?$/).flatMap(({path, text}) => {
    const inside = path.replace(/^src\//, '');
    const layer = layerOf(inside);
    if (layer === undefined) return inside.includes('/') ? [`${path} is in no layer`] : [];
    return importsOf(text).flatMap((name) => {
      if (!name.startsWith('.')) {
        return name.startsWith('node:') && !allowed(layer, name) ? [`${path} imports ${name}`] : [];
      }
      const target = layerOf(normalize(join(dirname(inside), name)));
      if (target === undefined)
        return name.endsWith('layers.json')
          ? []
          : [`${path} imports ${name}, which is in no layer`];
      return target === layer || allowed(layer, target)
        ? []
        : [`${path} (${layer}) imports ${name} (${target})`];
    });
  });
}

describe('layers', () => {
  test('imports go only where src/layers.json lets them', () => {
    expect(violations()).toEqual([]);
  });

  test('the table itself has no way back: core never imports roles or commands', () => {
    for (const [layer, targets] of Object.entries(layers)) {
      if (layer.startsWith('core'))
        expect(targets.filter((t) => /^(roles|commands)/.test(t))).toEqual([]);
    }
  });

  test('commands import roles that do work only when they run: oclif loads all commands for whatever is asked', () => {
    const light =
      /roles\/(cli-error|process|ready|mount\/options|dev\/state|config\/(schema|values|load|security-settings))\.js/;
    const heavy = sourceFiles('src/commands', /\.ts$/).flatMap(({path, text}) =>
      text
        .split('\n')
        .filter((line) => /^import (?!type ).*(\/roles\/|core\/os)/.test(line) && !light.test(line))
        .map((line) => `${path}: ${line}`),
    );
    expect(heavy).toEqual([]);
  });

  test('an import that is not allowed would be seen', () => {
    expect(importsOf("import {a} from '../os/clock.js';")).toEqual(['../os/clock.js']);
    expect(allowed('core/base', 'core/os')).toBe(false);
  });
});

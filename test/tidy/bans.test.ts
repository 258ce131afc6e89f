// Goal: deciding code gets the outside world as parameters, and no promise is left in the tree. Method: search.
import {describe, expect, test} from '@jest/globals';
import {sourceFiles} from '../support/source-tree.js';

interface Ban {
  pattern: RegExp;
  instead: string;
  /** Folders in which it is allowed. */
  except: RegExp;
}

const outside = /^src\/(core\/os|roles|commands|cli\.ts)/;
const bans: Ban[] = [
  {pattern: /\bDate\.now\(|\bnew Date\(/, instead: 'env.clock.wall()', except: outside},
  {pattern: /\bMath\.random\(/, instead: 'env.random', except: outside},
  {
    pattern: /\bset(Timeout|Interval|Immediate)\(/,
    instead: 'env.clock.timer() or soon()',
    except: outside,
  },
  {pattern: /\bperformance\./, instead: 'env.clock.now()', except: outside},
  {pattern: /\bprocess\./, instead: 'a parameter', except: outside},
  {pattern: /\bconsole\./, instead: 'env.log', except: /^$/},
  {pattern: /\bas any\b|: any\b|<any>/, instead: 'a type', except: /^$/},
  {pattern: /\b(TODO|FIXME|XXX)\b/, instead: 'doing it', except: /^$/},
  {pattern: /@ts-(ignore|nocheck|expect-error)/, instead: 'a type', except: /^$/},
  {pattern: /biome-ignore|eslint-disable/, instead: 'code that passes', except: /^$/},
];
const testBans: Ban[] = [
  {
    pattern: /\b(describe|test|it)\.(skip|only|todo)\(|\bxit\(|\bxtest\(/,
    instead: 'a test',
    except: /^$/,
  },
  {pattern: /jest\.mock\(/, instead: 'a parameter', except: /^$/},
];

/** Code without comments and string contents would be better; the patterns are chosen not to need it. */
function found(list: Ban[], folder: string): string[] {
  return sourceFiles(folder, /\.tsx?$/).flatMap(({path, text}) =>
    list.flatMap(({pattern, instead, except}) =>
      except.test(path) || path.endsWith('tidy/bans.test.ts')
        ? []
        : text
            .split('\n')
            .flatMap((line, i) =>
              pattern.test(line) && !/^\s*(\*|\/\/|\/\*)/.test(line)
                ? [`${path}:${i + 1}: ${pattern.source}; use ${instead}`]
                : [],
            ),
    ),
  );
}

describe('bans', () => {
  test('source: the outside world comes in as parameters, no escape hatches', () => {
    expect(found(bans, 'src')).toEqual([]);
  });
  test('tests: none is skipped, no module is mocked', () => {
    expect(found(testBans, 'test')).toEqual([]);
  });
});

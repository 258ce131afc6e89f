// The order of the test files. Those that wait for processes most of the time run beside those that compute, so that no core is idle;
// of each kind the long ones come first, so that no worker ends with one of them alone.
import {createRequire} from 'node:module';

const Sequencer = createRequire(import.meta.url)('@jest/test-sequencer').default;

const WAITING = ['/test/posix/', '/test/fault/', '/test/cli/'];
const COMPUTING = ['/test/sim/worlds', '/test/sim/', ''];

const ofKind = (parts, tests) => {
  const rank = ({path}) => parts.findIndex((part) => path.includes(part));
  return tests.filter((one) => rank(one) >= 0).sort((a, b) => rank(a) - rank(b));
};

export default class Interleaved extends Sequencer {
  sort(tests) {
    const sorted = super.sort(tests);
    const waiting = ofKind(WAITING, sorted);
    const computing = ofKind(
      COMPUTING,
      sorted.filter((one) => !waiting.includes(one)),
    );
    const at = (list) => list.map((test, i) => ({test, at: i / list.length}));
    return [...at(computing), ...at(waiting)].sort((a, b) => a.at - b.at).map(({test}) => test);
  }
}

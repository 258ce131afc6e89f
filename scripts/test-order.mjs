// The order of the test files: long ones first, so that no worker ends with one of them alone.
import {createRequire} from 'node:module';

const Sequencer = createRequire(import.meta.url)('@jest/test-sequencer').default;

const LONG = ['/test/sim/worlds', '/test/sim/', '/test/posix/', '/test/fault/', '/test/cli/'];
const rank = ({path}) => {
  const found = LONG.findIndex((part) => path.includes(part));
  return found < 0 ? LONG.length : found;
};

export default class LongFirst extends Sequencer {
  sort(tests) {
    return super.sort(tests).sort((a, b) => rank(a) - rank(b));
  }
}

// Jest's environment of Node, but with an ordinary global object: behind Jest's proxy each `Math` or `Buffer` in a hot loop is a call, and
// whole simulated clusters take twice the time.
import {createRequire} from 'node:module';
import vm from 'node:vm';

const {TestEnvironment} = createRequire(import.meta.url)('jest-environment-node');

export default class PlainEnvironment extends TestEnvironment {
  constructor(...args) {
    const {createContext} = vm;
    vm.createContext = () => createContext(vm.constants.DONT_CONTEXTIFY);
    try {
      super(...args);
    } finally {
      vm.createContext = createContext;
    }
  }
}

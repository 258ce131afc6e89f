// What is tested is what ships: jest runs the compiled output, without a transformer.
export default {
  rootDir: '.',
  roots: ['<rootDir>/dist/test'],
  testMatch: ['**/*.test.js'],
  transform: {},
  testEnvironment: '<rootDir>/scripts/test-environment.mjs',
  testTimeout: 60_000,
  testSequencer: '<rootDir>/scripts/test-order.mjs',
  maxWorkers: 2,
};

// What is tested is what ships: jest runs the compiled output, without a transformer.
export default {
  rootDir: '.',
  roots: ['<rootDir>/dist/test'],
  testMatch: ['**/*.test.js'],
  transform: {},
  testEnvironment: 'node',
  testTimeout: 60_000,
  testSequencer: '<rootDir>/scripts/test-order.mjs',
  // Of two cores: see the order.
  maxWorkers: 3,
};

#!/bin/sh
# The whole test suite: lint, then every jest test. `npm test` runs the set-up first.
set -eu
cd "$(dirname "$0")/.."
PATH="$PWD/node_modules/.bin:$PATH"
export PATH
biome check .
exec node --experimental-vm-modules --no-warnings node_modules/jest/bin/jest.js "$@"

#!/bin/sh
# Makes dist/cpfs, the program as one executable. With the runtime of the lock file, since pkg wants one that is as new.
set -eu
cd "$(dirname "$0")/.."
"node_modules/node-linux-$(node -p process.arch)/bin/node" packaging/executable.mjs

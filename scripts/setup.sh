#!/bin/sh
# Everything that `npm start` and `npm test` need, done once: Debian packages, npm dependencies from the
# lock file, native modules, the TypeScript build. Each step is skipped while what it was made from is unchanged.
set -eu
cd "$(dirname "$0")/.."

say() { echo "setup: $*" >&2; }

# What a step was made from, as one number. The stamp lies beside what it describes, so that removing a
# result also removes its stamp.
sum_of() { find "$@" -type f ! -path '*/build/*' ! -path '*/gen/*' -print0 | sort -z | xargs -0 sha256sum | sha256sum | cut -d' ' -f1; }
fresh() { [ -f "$1" ] && [ "$(cat "$1")" = "$2" ]; }

missing=''
for package in g++ make python3 libisal-dev liburing-dev fuse3 rsync git procps iproute2 etcd-server openssl; do
  dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing="$missing $package"
done
if [ -n "$missing" ]; then
  if ! command -v apt-get >/dev/null; then
    say "these Debian packages are missing and apt-get is not here:$missing; install their likes by hand"; exit 1
  fi
  if [ "$(id -u)" != 0 ]; then
    say "these Debian packages are missing:$missing; run as root, or: sudo apt-get install$missing"; exit 1
  fi
  say "installing Debian packages:$missing"
  # A list that is too old names files that are gone; so the second try comes after an update.
  export DEBIAN_FRONTEND=noninteractive
  # Packages are for programs that we start ourselves: no service of theirs begins to run here (etcd's would).
  policy=/usr/sbin/policy-rc.d
  if [ ! -e "$policy" ]; then
    trap 'rm -f "$policy"' EXIT
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod 755 "$policy"
  fi
  # shellcheck disable=SC2086
  apt-get install -y -qq $missing >/dev/null 2>&1 || { apt-get update -qq && apt-get install -y -qq $missing >/dev/null; }
  case $(trap) in *policy*) rm -f "$policy"; trap - EXIT ;; esac
fi

lock=$(cat package.json package-lock.json | sha256sum | cut -d' ' -f1)
if ! fresh node_modules/.cpfs-stamp "$lock"; then
  say 'installing npm dependencies from the lock file'
  # fuse-native looks whether its own build can be loaded, cannot without libfuse 2, and would compile one that cannot either.
  FUSE_NATIVE=1 npm ci --no-audit --no-fund --loglevel=error
  echo "$lock" >node_modules/.cpfs-stamp
fi
PATH="$PWD/node_modules/.bin:$PATH"
export PATH

native=$(sum_of native scripts/native.mjs node_modules/node-linux-*/package.json)
if ! fresh native/build/.cpfs-stamp "$native"; then
  say 'building the native modules'
  node scripts/native.mjs
  echo "$native" >native/build/.cpfs-stamp
fi

source=$(sum_of src test tsconfig.json package.json scripts/protocol.mjs)
if ! fresh dist/.cpfs-stamp "$source"; then
  say 'building TypeScript'
  rm -rf dist
  node scripts/protocol.mjs
  tsc -p .
  echo "$source" >dist/.cpfs-stamp
fi

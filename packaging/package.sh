#!/bin/sh
# Makes dist/cpfs, the program as one executable, and packages of it: `npm run package -- [executable] [deb] [rpm] [--release VERSION] [--out FOLDER]`;
# without names all of them. With the runtime of the lock file, since pkg wants one that is as new.
set -eu
cd "$(dirname "$0")/.."
need() {
  command -v "$1" >/dev/null && return
  if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
    echo "package: $1 is missing; install the package $2" >&2; exit 1
  fi
  echo "package: installing $2" >&2
  export DEBIAN_FRONTEND=noninteractive
  apt-get install -y -qq --no-install-recommends "$2" >/dev/null 2>&1 || { apt-get update -qq && apt-get install -y -qq --no-install-recommends "$2" >/dev/null; }
}
case " $* " in *' deb '*|*' rpm '*) all=no ;; *' executable '*) all=none ;; *) all=yes ;; esac
case "$all $*" in yes*|*deb*) need dpkg-shlibdeps dpkg-dev ;; esac
case "$all $*" in yes*|*rpm*) need rpmbuild rpm ;; esac
exec "node_modules/node-linux-$(node -p process.arch)/bin/node" packaging/main.mjs "$@"

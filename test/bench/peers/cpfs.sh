#!/bin/bash
# A dev cluster for scripts that compare file systems: cpfs.sh start|stop|remount|cpu|pids|info WORKDIR
#   start     one meta server, five data servers, a mount; the last line is the mount point
#   stop      ends and removes everything
#   remount   a new mount process: nothing is cached by the client
#   cpu       "USER_US SYS_US TOTAL_US" that all processes have used since start
#   info      version and configuration, one "key: value" a line
# CPFS_BASE_PORT (17400) chooses the ports.
set -u
root=$(cd "$(dirname "$0")/../../.." && pwd)
cpfs=$root/bin/cpfs
[ $# -eq 2 ] || { echo "usage: $(basename "$0") start|stop|remount|cpu|pids|info WORKDIR" >&2; exit 2; }
verb=$1
mkdir -p "$2" && work=$(cd "$2" && pwd) || exit 1
state=$work/state
mnt=$work/mnt
port=${CPFS_BASE_PORT:-17400}

pids() { grep -o '"pid": *[0-9]*' "$state/dev.json" 2>/dev/null | grep -o '[0-9]*$'; }
ticks() { sed 's/.*) //' "/proc/$1/stat" 2>/dev/null | cut -d' ' -f12,13; }
# What processes of earlier mounts used is kept: they are gone.
cpu() {
    { cat "$work/ended" 2>/dev/null; for p in $(pids); do ticks "$p"; done; } |
        awk -v hz="$(getconf CLK_TCK)" '{u+=$1; s+=$2} END {printf "%d %d %d\n", u*1e6/hz, s*1e6/hz, (u+s)*1e6/hz}'
}

case "$verb" in
start)
    "$cpfs" dev up --state "$state" --mount "$mnt" --base-port "$port" --detach >&2 || exit 1
    echo "$mnt"
    ;;
stop) "$cpfs" dev down --state "$state" --purge >&2 ;;
remount)
    before=$(for p in $(pids); do echo "$p $(ticks "$p")"; done)
    "$cpfs" umount "$mnt" >&2
    "$cpfs" dev start mount --state "$state" >&2
    now=" $(pids | tr '\n' ' ')"
    echo "$before" | while read -r p used; do
        case "$now" in *" $p "*) ;; *) echo "$used" >> "$work/ended" ;; esac
    done
    ;;
cpu) cpu ;;
pids) pids ;;
info)
    echo "what: cpfs, 1 meta server, 5 data servers (4+1), 1 mount"
    echo "version: $("$cpfs" --version)"
    echo "durability: fsync reaches the disk of every server that has some of it"
    ;;
*) echo "cpfs.sh: unknown verb $verb" >&2; exit 2 ;;
esac

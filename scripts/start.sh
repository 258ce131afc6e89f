#!/bin/sh
# Starts a whole cluster on this machine and mounts it; where it runs already, says so. CPFS_MOUNT and CPFS_DEV_STATE choose the folders.
set -eu
cd "$(dirname "$0")/.."
mount=${CPFS_MOUNT:-/mnt/cpfs}
state=${CPFS_DEV_STATE:-/var/tmp/cpfs-dev}
bin/cpfs dev up --if-needed --detach --state "$state" --mount "$mount"
cat <<TXT

Files in $mount are striped with parity over five data servers (data in $state). Try:
  cp -a /usr/include $mount/ && ls $mount/include
  bin/cpfs dev kill data 3 --state $state     # nothing changes but a line of:
  bin/cpfs dev status --state $state
  bin/cpfs dev start data 3 --state $state
  bin/cpfs dev down --state $state            # stop; 'npm start' goes on where it was
TXT

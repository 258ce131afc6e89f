# What the scripts of the .deb and of the .rpm do, in plain sh. Nothing is started or restarted by them: which server may stop when is for
# the administrator to say ('cpfs upgrade status').
has_systemd() { [ -d /run/systemd/system ] && command -v systemctl >/dev/null; }

reload_units() { if has_systemd; then systemctl daemon-reload || true; fi; }

add_user() {
  if command -v systemd-sysusers >/dev/null; then
    systemd-sysusers cpfs.conf
  elif ! getent passwd cpfs >/dev/null; then
    useradd --system --user-group --home-dir /var/lib/cpfs --no-create-home --shell /usr/sbin/nologin --comment 'cpfs servers' cpfs
  fi
}

# $1: empty: there was no other release before.
installed() {
  add_user
  reload_units
  if [ -z "$1" ]; then
    echo "cpfs: nothing is started; /usr/share/doc/cpfs/install.md says how a cluster begins" >&2
  else
    echo "cpfs: servers and mounts that run go on with the release that they were started with; 'cpfs upgrade status' says which one to restart next, one at a time:" >&2
    echo "cpfs: 'systemctl restart cpfs-meta', then each 'systemctl restart cpfs-data@N', then the mounts (/usr/share/doc/cpfs/upgrade.md)" >&2
  fi
}

# Before the program goes.
stop_servers() {
  if has_systemd; then systemctl stop cpfs-meta.service 'cpfs-data@*.service' || true; fi
  if grep -q ' fuse\.cpfs ' /proc/mounts 2>/dev/null; then
    echo "cpfs: these mounts go on until they are unmounted with umount(8): $(sed -n 's/^[^ ]* \([^ ]*\) fuse\.cpfs .*/\1/p' /proc/mounts | tr '\n' ' ')" >&2
  fi
}

# After it has gone: what it can make again.
removed() {
  rm -rf /var/cache/cpfs /var/cache/cpfs-server
  reload_units
}

# Which units were enabled.
forget_units() {
  rm -f /etc/systemd/system/*.wants/cpfs-meta.service /etc/systemd/system/*.wants/cpfs-data@*.service
}

say_what_is_left() {
  for path in /var/lib/cpfs /etc/cpfs/keys; do
    [ -e "$path" ] && left="${left:-} $path"
  done
  [ -z "${left:-}" ] || echo "cpfs: left as it is, since nobody else may have it:$left (the data of its servers, the key of the cluster); so are other folders that --state named" >&2
}

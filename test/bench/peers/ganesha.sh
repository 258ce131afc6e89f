#!/bin/bash
# NFS over loopback: nfs-ganesha (user space server, VFS back end) over a directory.
#
# `mount -t nfs4` where the kernel has an NFS client. Where it has none, fuse-nfs (a FUSE client over libnfs; not in Debian 12),
# named by $FUSE_NFS; without that the script stops and says so. Figures through fuse-nfs are bound by fuse-nfs (one request
# at a time, synchronous), not by the server: read them as such.
# Debian: nfs-ganesha nfs-ganesha-vfs rpcbind.
. "$(dirname "$0")/lib.sh"
NEED_PKG="nfs-ganesha nfs-ganesha-vfs rpcbind"
mount_it() {
    if grep -qw nfs4 /proc/filesystems || modprobe nfs 2>/dev/null; then
        inside mount -t nfs4 -o vers=4.1,port=2049,proto=tcp 127.0.0.1:/export "$MNT" || return 1
        echo "kernel client, NFSv4.1" > "$S/client"; return
    fi
    [ -x "${FUSE_NFS:=$(cat "$S/fuse_nfs" 2>/dev/null || command -v fuse-nfs)}" ] ||
        die "this kernel has no NFS client, and no fuse-nfs is named by FUSE_NFS"
    echo "$FUSE_NFS" > "$S/fuse_nfs"
    # libfuse 2 runs it in the foreground only with -f, which fuse-nfs does not pass on: it forks,
    # and stays in the control group
    inside "$FUSE_NFS" -a -t 0 -p 0 -U 0 -G 0 -n "nfs://127.0.0.1$W/export?nfsport=2049&mountport=20048&uid=0&gid=0" -m "$MNT" || return 1
    wait_for 10 mount mountpoint -q "$MNT"
    echo "fuse-nfs over libnfs $(dpkg-query -W -f '${Version}' libnfs13 2>/dev/null), NFSv3" > "$S/client"
}
peer_up() {
    PATH=$PATH:/usr/sbin:/sbin
    need ganesha.nfsd rpcbind
    mkdir -p "$W/export" "$W/run" "$W/recov"
    cat > "$W/ganesha.conf" <<C
NFS_CORE_PARAM { Bind_addr = 127.0.0.1; NFS_Port = 2049; MNT_Port = 20048; Protocols = 3, 4; Enable_NLM = false; Enable_RQUOTA = false; fsid_device = true; }
NFSv4 { Graceless = true; RecoveryBackend = fs; RecoveryRoot = "$W/recov"; }
EXPORT { Export_Id = 1; Path = "$W/export"; Pseudo = "/export"; Access_Type = RW; Squash = No_Root_Squash; SecType = sys; Protocols = 3, 4; Transports = TCP; FSAL { Name = VFS; } }
C
    spawn rpcbind rpcbind -f          # with -h it dies of a double free; the namespace keeps it private
    wait_for 5 rpcbind port_open 127.0.0.1 111
    spawn ganesha ganesha.nfsd -F -f "$W/ganesha.conf" -L "$W/log/ganesha.log" -p "$W/run/ganesha.pid" -N NIV_WARN
    wait_for 20 ganesha port_open 127.0.0.1 2049
    mount_it
}
peer_remount() { do_umount; sleep 0.5; mount_it; }
peer_info() {
    echo "what: NFS, nfs-ganesha with its VFS back end over a directory; client: $(cat "$S/client" 2>/dev/null)"
    echo "version: $(ganesha.nfsd -v 2>&1 | head -1)"
    echo "durability: fsync is a COMMIT, which fsyncs the file on the server"
}
peer_main "$@"

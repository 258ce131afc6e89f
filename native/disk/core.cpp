#include "core.hpp"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/statvfs.h>
#include <sys/uio.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace cpfs::disk {
namespace {

int64_t read_all(const Op& op, int flags) {
  size_t done = 0;
  while (done < op.length) {
    const iovec part{op.bytes + done, op.length - done};
    const ssize_t got = preadv2(op.fd, &part, 1, op.offset + static_cast<int64_t>(done), flags);
    if (got < 0) {
      if (errno == EINTR) continue;
      if (errno == EOPNOTSUPP && flags != 0) return -EAGAIN;  // A file system that cannot tell.
      return -errno;
    }
    if (got == 0) break;  // The end of the file.
    done += static_cast<size_t>(got);
  }
  std::memset(op.bytes + done, 0, op.length - done);
  return static_cast<int64_t>(op.length);
}

int64_t write_all(const Op& op) {
  size_t done = 0;
  while (done < op.length) {
    const ssize_t put = pwrite(op.fd, op.bytes + done, op.length - done, op.offset + static_cast<int64_t>(done));
    if (put < 0) {
      if (errno == EINTR) continue;
      return -errno;
    }
    if (put == 0) return -EIO;  // No regular file does this; going on would never end.
    done += static_cast<size_t>(put);
  }
  return static_cast<int64_t>(op.length);
}

template <typename Call>
int64_t again(Call call) {
  while (call() != 0) {
    if (errno != EINTR) return -errno;
  }
  return 0;
}

int64_t run_one(const Op& op) {
  const auto length = static_cast<int64_t>(op.length);
  switch (op.code) {
    case Code::kRead: return read_all(op, 0);
    case Code::kReadCached: return read_all(op, RWF_NOWAIT);
    case Code::kWrite: return write_all(op);
    case Code::kDataSync: return again([&] { return fdatasync(op.fd); });
    case Code::kPunch:
      return again([&] { return fallocate(op.fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, op.offset, length); });
    case Code::kTruncate: return again([&] { return ftruncate(op.fd, op.offset); });
    case Code::kSyncFs: return again([&] { return syncfs(op.fd); });
  }
  return -EINVAL;
}

}  // namespace

void run(Op* ops, size_t count, bool keep_going) {
  bool stopped = false;
  for (size_t i = 0; i < count; i++) {
    ops[i].result = stopped ? -ECANCELED : run_one(ops[i]);
    stopped = stopped || (ops[i].result < 0 && !keep_going);
  }
}

int space(const char* path, Space* out) {
  struct statvfs found;
  while (statvfs(path, &found) != 0) {
    if (errno != EINTR) return errno;
  }
  const uint64_t block = found.f_frsize;
  *out = Space{block, found.f_blocks * block, found.f_bfree * block, found.f_bavail * block, found.f_files,
               found.f_ffree};
  return 0;
}

int lock_file(int fd) {
  while (flock(fd, LOCK_EX | LOCK_NB) != 0) {
    if (errno != EINTR) return errno;
  }
  return 0;
}

}  // namespace cpfs::disk

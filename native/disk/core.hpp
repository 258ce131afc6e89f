// Batches of file operations as plain system calls. Knows no JavaScript and no threads: a batch is run by
// whoever calls run(). Nothing is allocated.
#pragma once

#include <cstddef>
#include <cstdint>

namespace cpfs::disk {

enum class Code : uint8_t {
  kRead = 1,        // length bytes at offset into bytes; what lies beyond the end of the file is zeros
  kWrite = 2,       // length bytes from bytes to offset
  kDataSync = 3,    // fdatasync
  kPunch = 4,       // [offset, offset + length) becomes a hole; the size stays
  kTruncate = 5,    // the size becomes offset
  kSyncFs = 6,      // syncfs of the file system of fd
  kReadCached = 7,  // kRead, or EAGAIN where that would wait for the disk; bytes are then undefined
};
constexpr unsigned kCodeMax = 7;

inline bool moves_bytes(Code code) { return code == Code::kRead || code == Code::kWrite || code == Code::kReadCached; }

struct Op {
  Code code;
  int fd;
  int64_t offset;
  size_t length;
  uint8_t* bytes;
  int64_t result;  // Bytes moved (0 if none were to be moved), or -errno.
};

// In order. After the first failure the rest get -ECANCELED, unless keep_going. EINTR and short transfers are
// continued; a write that fails after part of it was written reports the errno.
void run(Op* ops, size_t count, bool keep_going);

struct Space {
  uint64_t block_bytes, total_bytes, free_bytes, available_bytes, files, files_free;
};

// Both return 0 or an errno.
int space(const char* path, Space* out);
// Exclusive lock of the open file for this process, without waiting: EWOULDBLOCK if another has it. It goes when the
// last descriptor of the open file is closed.
int lock_file(int fd);

}  // namespace cpfs::disk

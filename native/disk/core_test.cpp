// Built with -fsanitize=address,undefined and run by test/native/io-core.test.ts in a folder of its own. Prints the first
// law that is broken.
#include "core.hpp"
#include "ring.hpp"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

using namespace cpfs::disk;

namespace {

#define LAW(condition)                                                \
  do {                                                                \
    if (!(condition)) {                                               \
      std::printf("broken, line %d: %s\n", __LINE__, #condition);     \
      std::exit(1);                                                   \
    }                                                                 \
  } while (0)

int64_t one(Code code, int fd, int64_t offset, size_t length, uint8_t* bytes) {
  Op op{code, fd, offset, length, bytes, 0};
  run(&op, 1, false);
  return op.result;
}

int64_t size_of(int fd) {
  struct stat found;
  LAW(fstat(fd, &found) == 0);
  return found.st_size;
}

void reads_end_in_zeros(int fd) {
  std::vector<uint8_t> bytes(8192, 0xee);  // Exactly as long as is written: the sanitizer watches both ends.
  std::memset(bytes.data(), 7, 100);
  LAW(one(Code::kWrite, fd, 8192, 100, bytes.data()) == 100);
  LAW(one(Code::kRead, fd, 4096, 8192, bytes.data()) == 8192);
  LAW(bytes[0] == 0 && bytes[4095] == 0 && bytes[4096] == 7 && bytes[4195] == 7 && bytes[4196] == 0 && bytes[8191] == 0);
  LAW(one(Code::kRead, fd, int64_t{1} << 52, 8192, bytes.data()) == 8192 && bytes[4096] == 0);
  LAW(one(Code::kRead, fd, 0, 0, bytes.data() + 8192) == 0);
  const int64_t cached = one(Code::kReadCached, fd, 8192, 4096, bytes.data());
  LAW(cached == -EAGAIN || (cached == 4096 && bytes[99] == 7 && bytes[100] == 0));
}

void a_batch_stops_or_goes_on(int fd) {
  uint8_t bytes[16] = {};
  Op ops[] = {{Code::kWrite, fd, 0, 16, bytes, 1}, {Code::kRead, -1, 0, 16, bytes, 1}, {Code::kDataSync, fd, 0, 0, nullptr, 1}};
  run(ops, 3, false);
  LAW(ops[0].result == 16 && ops[1].result == -EBADF && ops[2].result == -ECANCELED);
  run(ops, 3, true);
  LAW(ops[0].result == 16 && ops[1].result == -EBADF && ops[2].result == 0);
  LAW(one(static_cast<Code>(99), fd, 0, 0, nullptr) == -EINVAL);
}

// A write that the limit cuts short is continued, and then reports the errno: half a block is no success.
void a_short_write_is_continued_to_its_errno(int fd) {
  signal(SIGXFSZ, SIG_IGN);
  rlimit limit{};
  LAW(getrlimit(RLIMIT_FSIZE, &limit) == 0);
  const rlimit low{100'000, limit.rlim_max};
  LAW(setrlimit(RLIMIT_FSIZE, &low) == 0);
  std::vector<uint8_t> bytes(8192, 1);
  LAW(one(Code::kTruncate, fd, 0, 0, nullptr) == 0);
  LAW(one(Code::kWrite, fd, 98'304, 8192, bytes.data()) == -EFBIG);
  LAW(size_of(fd) == 100'000);
  LAW(one(Code::kWrite, fd, 0, 8192, bytes.data()) == 8192);
  LAW(setrlimit(RLIMIT_FSIZE, &limit) == 0);
}

void holes_sizes_and_syncs(int fd) {
  std::vector<uint8_t> bytes(65536, 3);
  LAW(one(Code::kTruncate, fd, 0, 0, nullptr) == 0 && size_of(fd) == 0);
  LAW(one(Code::kWrite, fd, 0, bytes.size(), bytes.data()) == 65536);
  LAW(one(Code::kPunch, fd, 4096, 8192, nullptr) == 0 && size_of(fd) == 65536);
  LAW(one(Code::kRead, fd, 0, bytes.size(), bytes.data()) == 65536);
  LAW(bytes[4095] == 3 && bytes[4096] == 0 && bytes[12287] == 0 && bytes[12288] == 3);
  LAW(one(Code::kPunch, fd, 0, 0, nullptr) == -EINVAL);
  LAW(one(Code::kTruncate, fd, 123, 0, nullptr) == 0 && size_of(fd) == 123);
  LAW(one(Code::kDataSync, fd, 0, 0, nullptr) == 0 && one(Code::kSyncFs, fd, 0, 0, nullptr) == 0);
}

// All of a batch by the ring; false: one of them is to be done again.
bool by_ring(Ring* ring, Op* ops, size_t count) {
  LAW(Ring::can(ops, count));
  ring->submit(ops, count, 7);
  bool all = true;
  for (size_t left = count; left > 0; left--) {
    pollfd ready{ring->fd(), POLLIN, 0};
    uint32_t batch = 0, op = 99;
    int32_t result = 0;
    while (!ring->next(&batch, &op, &result)) LAW(poll(&ready, 1, 5000) == 1);
    LAW(batch == 7 && op < count);
    all = settle(&ops[op], result) && all;
  }
  return all;
}

void a_ring_does_what_a_batch_does(int fd) {
  Ring ring;
  uint32_t batch = 0, op = 0;
  int32_t result = 0;
  LAW(!ring.next(&batch, &op, &result));
  const int error = ring.open(256);
  if (error != 0) {
    std::fprintf(stderr, "no ring here: %s\n", std::strerror(error));
    LAW(error == ENOSYS || error == EPERM || error == ENOMEM);
    return;
  }
  LAW(one(Code::kTruncate, fd, 0, 0, nullptr) == 0);
  std::vector<uint8_t> bytes(65536, 5), read(65536, 0xee);
  Op write[] = {{Code::kWrite, fd, 8192, 65536, bytes.data(), 0}, {Code::kWrite, fd, 8192 + 65536, 100, bytes.data(), 0}};
  LAW(by_ring(&ring, write, 2) && write[0].result == 65536 && write[1].result == 100);
  Op reads[] = {{Code::kRead, fd, 4096, 8192, read.data(), 0},
                {Code::kRead, fd, 8192, 50000, read.data() + 8192, 0},
                {Code::kRead, fd, 1000000, 4096, read.data() + 61440, 0}};
  LAW(by_ring(&ring, reads, 3));
  LAW(read[0] == 0 && read[4095] == 0 && read[4096] == 5 && read[8192 + 49999] == 5 && read[8192 + 50000] == 0xee);
  LAW(read[61440] == 0 && read[65535] == 0);
  // The end of the file in the middle: the plain way knows what to do.
  Op end{Code::kRead, fd, 8192 + 65536, 4096, read.data(), 0};
  LAW(!by_ring(&ring, &end, 1));
  run(&end, 1, false);
  LAW(end.result == 4096 && read[99] == 5 && read[100] == 0);
  Op bad[] = {{Code::kWrite, -1, 0, 16, bytes.data(), 0}, {Code::kWrite, fd, 0, 16, bytes.data(), 0}};
  LAW(!by_ring(&ring, bad, 2));
  LAW(one(Code::kRead, fd, 0, 16, read.data()) == 16 && read[0] == 0);  // What follows a failure has not been begun.
  Op mixed[] = {{Code::kWrite, fd, 0, 16, bytes.data(), 0}, {Code::kRead, fd, 0, 16, bytes.data(), 0}};
  Op sync{Code::kDataSync, fd, 0, 0, nullptr, 0};
  LAW(by_ring(&ring, &sync, 1) && sync.result == 0);
  sync.fd = -1;
  LAW(by_ring(&ring, &sync, 1) && sync.result == -EBADF);  // Not to be tried again.
  Op syncs[] = {{Code::kDataSync, fd, 0, 0, nullptr, 0}, {Code::kDataSync, fd, 0, 0, nullptr, 0}};
  LAW(!Ring::can(mixed, 2) && !Ring::can(syncs, 2) && !Ring::can(mixed, 0));
  std::vector<Op> many(Ring::kOpsMax + 1, mixed[0]);
  LAW(!Ring::can(many.data(), many.size()) && by_ring(&ring, many.data(), Ring::kOpsMax));
  ring.submit(reads, 3, 1);
  ring.close();  // Waits for them.
  LAW(!ring.is_open() && !ring.next(&batch, &op, &result));
}

void volumes() {
  Space found{};
  LAW(space(".", &found) == 0 && found.total_bytes > 0 && found.free_bytes <= found.total_bytes);
  LAW(space("./nothing", &found) == ENOENT);
  const int first = open("lock", O_RDWR | O_CREAT, 0600);
  const int second = open("lock", O_RDWR);
  LAW(lock_file(first) == 0 && lock_file(second) == EWOULDBLOCK);
  close(first);
  LAW(lock_file(second) == 0 && lock_file(-1) == EBADF);
  close(second);
}

}  // namespace

int main() {
  const int fd = open("file", O_RDWR | O_CREAT | O_TRUNC, 0600);
  LAW(fd >= 0);
  reads_end_in_zeros(fd);
  a_batch_stops_or_goes_on(fd);
  a_short_write_is_continued_to_its_errno(fd);
  holes_sizes_and_syncs(fd);
  a_ring_does_what_a_batch_does(fd);
  volumes();
  close(fd);
  std::puts("ok");
}

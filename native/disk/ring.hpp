// Reads, writes and syncs that the kernel carries out by itself (io_uring), without a thread of ours that waits. Knows no
// JavaScript; all of one ring is used by one thread.
#pragma once

#include <liburing.h>

#include "core.hpp"

namespace cpfs::disk {

class Ring {
 public:
  Ring() = default;
  ~Ring() { close(); }
  Ring(const Ring&) = delete;
  Ring& operator=(const Ring&) = delete;

  // 0, or an errno: ENOSYS or EPERM where the kernel has none, or none for us. `completions`: so many may be under way.
  int open(unsigned completions);
  // Waits for what is under way: the memory is nobody's afterwards.
  void close();
  bool is_open() const { return open_; }
  // Readable while `next` has something to give.
  int fd() const { return ring_.ring_fd; }

  // Reads in any order, or writes one after the other, or one fdatasync; no more than kOpsMax.
  static bool can(const Op* ops, size_t count);
  // Gives a batch that it can to the kernel before it returns. Ops and memory stay until `next` has given all of it.
  void submit(const Op* ops, size_t count, uint32_t batch);
  // One result, bytes or -errno, of one operation; false: there is none now.
  bool next(uint32_t* batch, uint32_t* op, int32_t* result);

  static constexpr size_t kOpsMax = 64;

 private:
  io_uring ring_{};
  bool open_ = false;
  size_t under_way_ = 0;
};

// Puts a result of the ring into the operation. False: it is to be carried out again in the plain way, which continues short
// transfers and knows which failure was first.
bool settle(Op* op, int32_t result);

}  // namespace cpfs::disk

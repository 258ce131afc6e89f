#include "ring.hpp"

#include <sched.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace cpfs::disk {
namespace {

bool knows(io_uring* ring) {
  io_uring_probe* const probe = io_uring_get_probe_ring(ring);
  if (probe == nullptr) return false;
  bool all = true;
  for (const int code : {IORING_OP_READ, IORING_OP_WRITE, IORING_OP_FSYNC}) all = all && io_uring_opcode_supported(probe, code);
  io_uring_free_probe(probe);
  return all;
}

}  // namespace

int Ring::open(unsigned completions) {
  io_uring_params params{};
  params.flags = IORING_SETUP_CQSIZE | IORING_SETUP_CLAMP;
  params.cq_entries = completions;
  const int error = io_uring_queue_init_params(static_cast<unsigned>(kOpsMax), &ring_, &params);
  if (error != 0) return -error;
  // Completions that do not fit into the ring must wait for room and not be lost.
  if (!knows(&ring_) || (params.features & IORING_FEAT_NODROP) == 0) {
    io_uring_queue_exit(&ring_);
    return ENOSYS;
  }
  open_ = true;
  return 0;
}

void Ring::close() {
  if (!open_) return;
  while (under_way_ > 0) {
    io_uring_cqe* done = nullptr;
    const int error = io_uring_wait_cqe(&ring_, &done);
    if (error == -EINTR) continue;
    if (error != 0) break;
    io_uring_cqe_seen(&ring_, done);
    under_way_--;
  }
  io_uring_queue_exit(&ring_);
  open_ = false;
}

bool Ring::can(const Op* ops, size_t count) {
  if (count == 0 || count > kOpsMax) return false;
  const Code code = ops[0].code;
  if (code == Code::kDataSync) return count == 1;
  if (code != Code::kRead && code != Code::kWrite) return false;
  return std::all_of(ops, ops + count, [code](const Op& op) {
    return op.code == code && op.length > 0 && op.length <= INT32_MAX;
  });
}

void Ring::submit(const Op* ops, size_t count, uint32_t batch) {
  for (size_t i = 0; i < count; i++) {
    io_uring_sqe* const entry = io_uring_get_sqe(&ring_);  // There is one: nothing is left in it below.
    const auto length = static_cast<unsigned>(ops[i].length);
    if (ops[i].code == Code::kDataSync) {
      io_uring_prep_fsync(entry, ops[i].fd, IORING_FSYNC_DATASYNC);
    } else if (ops[i].code == Code::kRead) {
      io_uring_prep_read(entry, ops[i].fd, ops[i].bytes, length, static_cast<uint64_t>(ops[i].offset));
    } else {
      io_uring_prep_write(entry, ops[i].fd, ops[i].bytes, length, static_cast<uint64_t>(ops[i].offset));
      if (i + 1 < count) entry->flags |= IOSQE_IO_LINK;
    }
    under_way_++;
    entry->user_data = (static_cast<uint64_t>(batch) << 32) | i;
  }
  // Nobody would give the kernel what is left here: the loop sleeps until something completes.
  for (unsigned tries = 0; io_uring_sq_ready(&ring_) > 0; tries++) {
    const int given = io_uring_submit(&ring_);
    if (given >= 0 || given == -EINTR) continue;
    if (tries == 1000000 || (given != -EAGAIN && given != -EBUSY)) {
      std::fprintf(stderr, "cpfs: the kernel refuses disk operations: %s\n", std::strerror(-given));
      std::abort();
    }
    sched_yield();  // It has no memory for them at the moment.
  }
}

bool Ring::next(uint32_t* batch, uint32_t* op, int32_t* result) {
  io_uring_cqe* done = nullptr;
  if (!open_ || io_uring_peek_cqe(&ring_, &done) != 0) return false;
  *batch = static_cast<uint32_t>(done->user_data >> 32);
  *op = static_cast<uint32_t>(done->user_data);
  *result = done->res;
  io_uring_cqe_seen(&ring_, done);
  under_way_--;
  return true;
}

bool settle(Op* op, int32_t result) {
  if (op->code == Code::kDataSync) {
    op->result = result;
    // The kernel tells of a failure once: a second sync would say that all is well.
    return result != -EINTR && result != -EAGAIN;
  }
  if (result < 0 || static_cast<size_t>(result) > op->length) return false;
  if (static_cast<size_t>(result) < op->length) {
    if (op->code != Code::kRead || result != 0) return false;
    std::memset(op->bytes, 0, op->length);  // The end of the file.
  }
  op->result = static_cast<int64_t>(op->length);
  return true;
}

}  // namespace cpfs::disk

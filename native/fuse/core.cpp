#include "core.hpp"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstring>

namespace cpfs::fuse {
namespace {

// The parts of the protocol that this file reads by itself. Checked against the kernel's header in core_test.cpp.
struct InHeader {
  uint32_t len, opcode;
  uint64_t unique, nodeid;
  uint32_t uid, gid, pid;
  uint16_t total_extlen, padding;
};
struct OutHeader {
  uint32_t len;
  int32_t error;
  uint64_t unique;
};
static_assert(sizeof(InHeader) == 40 && sizeof(OutHeader) == 16, "as the kernel has them");

constexpr uint32_t kOpForget = 2, kOpInterrupt = 36, kOpNotifyReply = 41, kOpBatchForget = 42;
constexpr uint64_t kUniqueResend = 1ULL << 63;  // FUSE_UNIQUE_RESEND
constexpr double kSafeMax = 9007199254740992.0;
constexpr uint32_t kTicketBits = 16;
constexpr uint32_t kGenerationMask = 0x7fff;  // 16 + 15 bits: a ticket is a small integer in JavaScript.
// Bounds the reads of one wake, of which FORGET and INTERRUPT give no request, so that sockets get their turn.
constexpr uint32_t kReadsMax = 256;
// A batch may grow after this many full ones: at depth 1 it saves four of five reads that find nothing.
constexpr uint32_t kFullBatchesToGrow = 4;

uint64_t load64(const uint8_t* at) {
  uint64_t value;
  memcpy(&value, at, sizeof value);
  return value;
}

bool whole(double value, double max) { return value >= 0 && value <= max && value == std::floor(value); }

}  // namespace

Descriptor::~Descriptor() { close(fd); }

Channel::Channel(std::shared_ptr<Descriptor> device, uint8_t* memory, size_t memory_bytes, double* control)
    : device_(std::move(device)), memory_(memory), memory_bytes_(memory_bytes), control_(control),
      lent_(memory_bytes / kSlotBytes + 1) {}

int Channel::arm(double offset, bool reserve) {
  if (!whole(offset, static_cast<double>(memory_bytes_))) return EINVAL;
  const uint64_t at = static_cast<uint64_t>(offset);
  if (at % kPageBytes != 0 || memory_bytes_ < kSlotBytes || at > memory_bytes_ - kSlotBytes) return EINVAL;
  uint8_t& lent = lent_[at / kSlotBytes];
  if (lent) return EBUSY;
  lent = 1;
  (reserve ? reserve_ : slots_).push_back(at);
  return 0;
}

Batch Channel::read_batch() {
  Batch batch;
  uint32_t reads = 0;
  bool empty = false;
  stat(kWakes)++;
  while (batch.requests < batch_limit_ && reads < kReadsMax) {
    if (!can_read()) {
      batch.starved = true;
      stat(kStarved)++;
      break;
    }
    const bool reserve = slots_.empty();
    const uint64_t slot = reserve ? reserve_.back() : slots_.back();
    uint8_t* const request = memory_ + slot + kRequestOffset;
    const ssize_t bytes = read(device_->fd, request, kRequestBytesMax);
    if (bytes < 0) {
      // ENOENT: the request was interrupted before it was read; the next one may be there.
      if (errno == EINTR || errno == ENOENT) { reads++; continue; }
      if (errno == EAGAIN) { empty = true; stat(kEmptyReads)++; break; }
      batch.error = errno == ECONNABORTED ? ENODEV : errno;
      break;
    }
    reads++;
    stat(kReads)++;
    if (bytes == 0) { batch.error = ENODEV; break; }
    take(request, static_cast<size_t>(bytes), slot, reserve, &batch);
    if (batch.error != 0) break;
  }
  if (empty) {
    batch_limit_ = std::max(1u, batch.requests);
    full_batches_ = 0;
  } else if (batch.requests == batch_limit_ && ++full_batches_ >= kFullBatchesToGrow) {
    batch_limit_ = std::min(kRequestsMax, batch_limit_ * 2);
    full_batches_ = 0;
  }
  return batch;
}

bool Channel::linger(uint64_t ns) {
  if (stat(kPending) != 0 || !can_read()) return false;
  using std::chrono::steady_clock;
  stat(kLingers)++;
  const auto end = steady_clock::now() + std::chrono::nanoseconds(ns);
  do {
    pollfd device{device_->fd, POLLIN, 0};
    if (poll(&device, 1, 0) > 0) { stat(kLingerHits)++; return true; }
    sched_yield();
  } while (steady_clock::now() < end);
  return false;
}

bool Channel::empty() const {
  pollfd device{device_->fd, POLLIN, 0};
  return poll(&device, 1, 0) == 0;
}

void Channel::take(const uint8_t* request, size_t bytes, uint64_t slot, bool reserve, Batch* batch) {
  InHeader header;
  if (bytes < sizeof header) { batch->error = EPROTO; return; }
  memcpy(&header, request, sizeof header);
  if (header.len != bytes) { batch->error = EPROTO; return; }
  control_[kOpcodes + std::min(header.opcode, kOpcodesCount - 1)]++;
  const uint8_t* const body = request + sizeof header;
  const size_t body_bytes = bytes - sizeof header;
  switch (header.opcode) {
    case kOpForget:
    case kOpBatchForget:
      if (body_bytes < 8) { batch->error = EPROTO; return; }
      return forget(body, header.nodeid, header.opcode == kOpBatchForget, body_bytes);
    case kOpInterrupt:
      if (body_bytes < 8) { batch->error = EPROTO; return; }
      return interrupt(body, batch);
    case kOpNotifyReply:
      return;  // The answer to NOTIFY_RETRIEVE, which is never sent; it has no reply.
    default:
      break;
  }
  (reserve ? reserve_ : slots_).pop_back();
  lent_[slot / kSlotBytes] = 0;
  double* const record = control_ + kRequests + batch->requests++ * kRequestWords;
  record[0] = issue_ticket(header.unique, header.opcode);
  record[1] = static_cast<double>(slot);
  uint32_t flags = 0;
  if (reserve) flags |= kFromReserve;
  if (header.unique & kUniqueResend) flags |= kResent;
  record[2] = flags;
  if (reserve) stat(kReserveUsed)++;
}

void Channel::interrupt(const uint8_t* body, Batch* batch) {
  // A scan: interrupts are rare, and a table by unique would cost every request.
  const uint64_t unique = load64(body);
  for (uint32_t i = 0; i < pending_.size(); i++) {
    if (!pending_[i].live || pending_[i].unique != unique) continue;
    double* const record = control_ + kRequests + batch->requests++ * kRequestWords;
    record[0] = pending_[i].generation << kTicketBits | i;
    record[1] = -1;
    record[2] = kInterrupt;
    stat(kInterrupts)++;
    return;
  }
  // Answered already: a killed process interrupts the FLUSH that follows its READ, too. Nothing waits for a reply.
  stat(kDroppedInterrupts)++;
}

void Channel::forget(const uint8_t* body, uint64_t nodeid, bool many, size_t bytes) {
  if (!many) return add_forget(nodeid, load64(body));
  uint32_t count;
  memcpy(&count, body, sizeof count);
  const size_t fit = (bytes - 8) / 16;
  for (size_t i = 0; i < std::min<size_t>(count, fit); i++) {
    add_forget(load64(body + 8 + i * 16), load64(body + 16 + i * 16));
  }
}

void Channel::add_forget(uint64_t nodeid, uint64_t count) {
  stat(kForgetCount)++;
  if (!forgets_.empty() && forgets_.back().first == nodeid) forgets_.back().second += count;
  else forgets_.emplace_back(nodeid, count);
}

uint32_t Channel::take_forgets() {
  uint32_t n = 0;
  for (; n < kForgetsMax && !forgets_.empty(); n++, forgets_.pop_front()) {
    control_[kForgets + n * 2] = static_cast<double>(forgets_.front().first);
    control_[kForgets + n * 2 + 1] = static_cast<double>(forgets_.front().second);
  }
  return n;
}

uint32_t Channel::issue_ticket(uint64_t unique, uint32_t opcode) {
  uint32_t index;
  if (free_.empty()) {
    index = static_cast<uint32_t>(pending_.size());
    pending_.emplace_back();
  } else {
    index = free_.back();
    free_.pop_back();
  }
  Pending& p = pending_[index];
  p.unique = unique;
  p.opcode = opcode;
  p.live = true;
  stat(kPending)++;
  return p.generation << kTicketBits | index;
}

Channel::Pending* Channel::find(double ticket) {
  if (!whole(ticket, 0x7fffffff)) return nullptr;
  const uint32_t value = static_cast<uint32_t>(ticket);
  const uint32_t index = value & (kPendingMax - 1);
  if (index >= pending_.size()) return nullptr;
  Pending& p = pending_[index];
  return p.live && p.generation == value >> kTicketBits ? &p : nullptr;
}

bool Channel::inside(double offset, double length, uint8_t** at) const {
  if (offset < 0) {
    const double head = -1 - offset;
    if (!whole(head, kHeadBytes) || !whole(length, kHeadBytes - head)) return false;
    *at = reinterpret_cast<uint8_t*>(control_ + kHeads) + static_cast<size_t>(head);
    return true;
  }
  const double all = static_cast<double>(memory_bytes_);
  if (!whole(offset, all) || !whole(length, all - offset)) return false;
  *at = memory_ + static_cast<size_t>(offset);
  return true;
}

uint32_t Channel::flush(uint32_t count) {
  double* record = control_ + kReplies;
  double* const end = record + kRepliesCount;
  uint32_t failed = 0;
  for (uint32_t i = 0; i < count; i++) {
    if (end - record < kReplyWords) return failed + (count - i);
    uint32_t words = 0;
    const int error = reply(record, end, &words);
    record[5] = error;
    if (error != 0) failed++;
    if (words == 0) return failed + (count - i - 1);  // Where the next record starts is not known.
    record += words;
  }
  return failed;
}

int Channel::reply(double* record, double* end, uint32_t* words) {
  Pending* const request = find(record[0]);
  if (!whole(record[4], kSegmentsMax) || end - record < kReplyWords + 2 * record[4]) {
    if (request != nullptr) send(request, EIO, 1, 0);
    return EINVAL;
  }
  const uint32_t segments = static_cast<uint32_t>(record[4]);
  *words = kReplyWords + 2 * segments;
  if (request == nullptr) return EBADF;
  // A number outside 0..511 would be refused by the kernel and leave the caller waiting for ever.
  if (!whole(record[1], 511)) { send(request, EIO, 1, 0); return EINVAL; }
  if (record[1] != 0) return send(request, static_cast<int>(record[1]), 1, 0);
  int parts = 1;
  size_t bytes = 0;
  for (uint32_t i = 0; i <= segments; i++) {
    const double offset = i == 0 ? record[2] : record[kReplyWords + 2 * (i - 1)];
    const double length = i == 0 ? record[3] : record[kReplyWords + 2 * (i - 1) + 1];
    if (length == 0) continue;
    uint8_t* at = nullptr;
    if (!inside(offset, length, &at)) { send(request, EIO, 1, 0); return EFAULT; }
    parts_[parts++] = {at, static_cast<size_t>(length)};
    bytes += static_cast<size_t>(length);
  }
  return send(request, 0, parts, bytes);
}

int Channel::send(Pending* request, int error, int parts, size_t bytes) {
  OutHeader header{static_cast<uint32_t>(sizeof(OutHeader) + bytes), -error, request->unique};
  parts_[0] = {&header, sizeof header};
  stat(kReplyCount)++;
  stat(kPending)--;
  int result = writev(device_->fd, parts_, parts) < 0 ? errno : 0;
  if (result == ENOENT || result == ENODEV) {
    stat(kGoneReplies)++;  // Aborted or unmounted meanwhile; the caller undoes what the reply would have given.
  } else if (result != 0) {
    stat(kFailedReplies)++;
    stat(kLastFailedErrno) = result;
    stat(kLastFailedOpcode) = request->opcode;
    // Most refusals end the request with EIO, some leave it: this answers those, and is ENOENT for the others.
    header = {sizeof header, -EIO, request->unique};
    if (write(device_->fd, &header, sizeof header) < 0 && errno != ENOENT) stat(kLastFailedErrno) = errno;
  }
  request->live = false;
  request->generation = (request->generation + 1) & kGenerationMask;
  free_.push_back(static_cast<uint32_t>(request - pending_.data()));
  return result;
}

int mount_direct(const std::string& dir, const std::string& type, const std::string& source, uint64_t flags,
                 const std::string& options) {
  const int fd = open("/dev/fuse", O_RDWR | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) return -errno;
  const std::string data = "fd=" + std::to_string(fd) + (options.empty() ? "" : "," + options);
  if (mount(source.c_str(), dir.c_str(), type.c_str(), flags, data.c_str()) == 0) return fd;
  const int error = errno;
  close(fd);
  return -error;
}

int receive_descriptor(int socket) {
  char byte;
  iovec part{&byte, 1};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))];
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  const ssize_t got = recvmsg(socket, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
  if (got < 0) return -errno;
  const cmsghdr* const c = CMSG_FIRSTHDR(&message);
  if (got == 0 || c == nullptr || c->cmsg_type != SCM_RIGHTS || c->cmsg_len != CMSG_LEN(sizeof(int))) return -ENOMSG;
  int fd;
  memcpy(&fd, CMSG_DATA(c), sizeof fd);
  const int status = fcntl(fd, F_GETFL);
  if (status < 0 || fcntl(fd, F_SETFL, status | O_NONBLOCK) < 0) {
    const int error = errno;
    close(fd);
    return -error;
  }
  return fd;
}

}  // namespace cpfs::fuse

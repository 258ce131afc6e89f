// The kernel's end of a mount: reads requests from /dev/fuse into slots that the caller lends, writes replies, and
// sends notifications from a thread of their own. Knows the header of the protocol, FORGET and INTERRUPT; every other
// request is bytes to it. No JavaScript here, and no policy.
//
// Sources: include/uapi/linux/fuse.h and fs/fuse/dev.c of Linux; the measured reasons are in README.md.
#ifndef CPFS_NATIVE_FUSE_CORE_HPP
#define CPFS_NATIVE_FUSE_CORE_HPP

#include <sys/uio.h>

#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

namespace cpfs::fuse {

// A slot: one control page that belongs to the caller, 1 MiB of payload, one page of slack for replies that need a
// little more. The request is read so that the payload of a WRITE (in_header 40 + write_in 40) starts on the page.
constexpr size_t kPageBytes = 4096;
constexpr size_t kPayloadBytes = 1 << 20;
constexpr size_t kSlotBytes = kPageBytes + kPayloadBytes + kPageBytes;
constexpr size_t kRequestOffset = kPageBytes - 80;
constexpr size_t kRequestBytesMax = kSlotBytes - kRequestOffset;

// The control block is shared with the caller: doubles first (all numbers of ours are below 2^53), then bytes for the
// heads of replies. Indices count doubles.
constexpr uint32_t kStats = 0;
constexpr uint32_t kStatsCount = 64;
constexpr uint32_t kOpcodes = kStats + kStatsCount;  // Requests read, by opcode; the last one counts all others.
constexpr uint32_t kOpcodesCount = 64;
constexpr uint32_t kRequests = kOpcodes + kOpcodesCount;  // (ticket, slot offset, flags)
constexpr uint32_t kRequestsMax = 32;
constexpr uint32_t kRequestWords = 3;
constexpr uint32_t kForgets = kRequests + kRequestsMax * kRequestWords;  // (nodeid, count)
constexpr uint32_t kForgetsMax = 512;
constexpr uint32_t kNotified = kForgets + kForgetsMax * 2;  // (id, errno)
constexpr uint32_t kNotifiedMax = 256;
// (ticket, errno, head offset, head length, segment count, result), then (offset, length) of each segment. A negative
// head offset h means byte -1 - h of the heads in this block instead of the memory.
constexpr uint32_t kReplies = kNotified + kNotifiedMax * 2;
constexpr uint32_t kRepliesCount = 8192;
constexpr uint32_t kReplyWords = 6;
constexpr uint32_t kSegmentsMax = 256;  // 1 MiB in pages.
constexpr uint32_t kHeads = kReplies + kRepliesCount;
constexpr uint32_t kHeadBytes = 64 << 10;
constexpr size_t kControlBytes = kHeads * sizeof(double) + kHeadBytes;

enum Flag : uint32_t { kFromReserve = 1, kInterrupt = 2, kResent = 4 };

enum Stat : uint32_t {
  kWakes, kReads, kEmptyReads, kReplyCount, kFailedReplies, kGoneReplies, kLastFailedErrno, kLastFailedOpcode,
  kForgetCount, kInterrupts, kDroppedInterrupts, kStarved, kReserveUsed, kNotices, kFailedNotices, kPending,
  kLingers, kLingerHits
};

// Requests that may wait for a reply at one time. Reaching it stops reading, as the lack of slots does.
constexpr uint32_t kPendingMax = 1 << 16;
constexpr uint32_t kNoticesMax = 1 << 16;
constexpr uint32_t kStoreBytesMax = 64 << 10;

/** Owns a descriptor; closed when the last of channel and notify thread lets go. */
struct Descriptor {
  explicit Descriptor(int fd) : fd(fd) {}
  ~Descriptor();
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  const int fd;
};

struct Batch {
  uint32_t requests = 0;
  int error = 0;         // ENODEV: unmounted. Anything else but 0 is a broken channel.
  bool starved = false;  // No slot or no ticket was left; reading again is useless before arm() or flush().
};

class Channel {
 public:
  /** `memory` and `control` (kControlBytes) are the caller's and must outlive the channel. */
  Channel(std::shared_ptr<Descriptor> device, uint8_t* memory, size_t memory_bytes, double* control);

  /** Lends one slot; it is the channel's until a batch names it. EINVAL: not a page offset inside; EBUSY: lent already. */
  int arm(double offset, bool reserve);
  /** Reads until the device is empty, kRequestsMax requests, or the learned size of a batch. */
  Batch read_batch();
  /**
   * Looks for the next request for `ns` instead of sleeping; others that want the processor get it meanwhile. True: it is there. Not while a
   * request waits for its reply, since whoever made it will not make another one.
   */
  bool linger(uint64_t ns);
  /** Moves up to kForgetsMax merged forgets into the control block. Call until it returns 0. */
  uint32_t take_forgets();
  /** Writes `count` replies from the control block, each with its errno in `result`; returns how many failed. */
  uint32_t flush(uint32_t count);
  /** Does no request wait in the device? Also false if that cannot be told. */
  bool empty() const;
  bool can_read() const { return !(slots_.empty() && reserve_.empty()) && !tickets_full(); }

 private:
  struct Pending {
    uint64_t unique = 0;
    uint32_t opcode = 0;
    uint32_t generation = 0;
    bool live = false;
  };

  bool tickets_full() const { return free_.empty() && pending_.size() >= kPendingMax; }
  void take(const uint8_t* request, size_t bytes, uint64_t slot, bool reserve, Batch* batch);
  void interrupt(const uint8_t* body, Batch* batch);
  void forget(const uint8_t* body, uint64_t nodeid, bool many, size_t bytes);
  void add_forget(uint64_t nodeid, uint64_t count);
  uint32_t issue_ticket(uint64_t unique, uint32_t opcode);
  Pending* find(double ticket);
  int reply(double* record, double* end, uint32_t* words);
  int send(Pending* request, int error, int parts, size_t bytes);
  bool inside(double offset, double length, uint8_t** at) const;
  double& stat(Stat s) { return control_[kStats + s]; }

  const std::shared_ptr<Descriptor> device_;
  uint8_t* const memory_;
  const size_t memory_bytes_;
  double* const control_;
  std::vector<uint8_t> lent_;      // By offset / kSlotBytes: slots do not overlap, so no two share a number.
  std::vector<uint64_t> slots_;    // A stack: the slot used last is the warmest in the cache.
  std::vector<uint64_t> reserve_;
  std::vector<Pending> pending_;
  std::vector<uint32_t> free_;
  std::deque<std::pair<uint64_t, uint64_t>> forgets_;
  uint32_t batch_limit_ = 1;
  uint32_t full_batches_ = 0;
  iovec parts_[2 + kSegmentsMax];
};

/** Sends notifications from one thread, because the kernel may need us to answer a request before it returns. */
class Notifier {
 public:
  using Wake = void (*)(void*);
  Notifier(std::shared_ptr<Descriptor> device, Wake wake, void* context);
  ~Notifier() { stop(0); }

  /** `body` is what follows the out header. False: the queue is full. */
  bool push(double id, int code, std::string body);
  /** The last notice that the thread has begun to write; 0: none yet. */
  double begun() const;
  /** Moves up to kNotifiedMax (id, errno) to `into`; returns their number. */
  uint32_t take_done(double* into);
  /** After this `wake` is not called again. Waits at most `wait_ms` for a write that the kernel holds up. */
  void stop(int wait_ms);

 private:
  struct State;
  std::shared_ptr<State> state_;
};

/** Opens /dev/fuse and mounts it with mount(2); `options` lacks only fd. Returns the descriptor or -errno. */
int mount_direct(const std::string& dir, const std::string& type, const std::string& source, uint64_t flags,
                 const std::string& options);
/** Takes the descriptor that fusermount3 has sent to `socket`. Does not wait. Returns it or -errno. */
int receive_descriptor(int socket);

}  // namespace cpfs::fuse
#endif

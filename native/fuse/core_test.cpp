// The core against a kernel played by a socket pair of packets: every read is one request, every write one reply.
// Built with -fsanitize=address,undefined and run by test/native/fuse-core.test.ts. Prints the first law that is broken.
#include "core_test.hpp"

#include <cmath>

namespace {
using namespace cpfs::fuse;

constexpr uint32_t kSlots = 4;

struct World {
  World() : memory(static_cast<uint8_t*>(aligned_alloc(kPageBytes, kSlotBytes * kSlots))), control(kControlBytes / 8),
            channel(kernel.device, memory, kSlotBytes * kSlots, control.data()) {}
  ~World() { free(memory); }

  double* request(uint32_t i) { return control.data() + kRequests + i * kRequestWords; }
  double stat(Stat s) { return control[kStats + s]; }

  // One reply at the start of the ring; segments as (offset, length).
  uint32_t reply(double ticket, double error, double head, double length, std::vector<double> segments = {}) {
    double* r = control.data() + kReplies;
    const double record[] = {ticket, error, head, length, static_cast<double>(segments.size() / 2), -1};
    std::copy(std::begin(record), std::end(record), r);
    std::copy(segments.begin(), segments.end(), r + kReplyWords);
    return channel.flush(1);
  }
  int result() { return static_cast<int>(control[kReplies + 5]); }

  // Reads until something was handed over: the learned batch may be shorter than what waits.
  Batch read() { return channel.read_batch(); }

  Kernel kernel;
  uint8_t* memory;
  std::vector<double> control;
  Channel channel;
};

template <typename T>
std::string bytes(const T& value) { return std::string(reinterpret_cast<const char*>(&value), sizeof value); }

void slots_are_lent_once() {
  World w;
  CHECK(w.channel.arm(0, false) == 0);
  CHECK(w.channel.arm(0, false) == EBUSY);
  CHECK(w.channel.arm(0, true) == EBUSY);
  for (const double wrong : {-4096.0, 1.0, 4096.5, std::nan(""), double{INFINITY}, kSlotBytes * 3.0 + 4096, kSlotBytes * 4.0, 1e300}) {
    CHECK(w.channel.arm(wrong, false) == EINVAL);
  }
  CHECK(w.channel.arm(kSlotBytes * 3.0, false) == 0);
  Channel tiny(w.kernel.device, w.memory, kSlotBytes - 1, w.control.data());
  CHECK(tiny.arm(0, false) == EINVAL);
}

void a_write_starts_on_a_page() {
  World w;
  CHECK(w.read().starved);
  CHECK(w.channel.arm(kSlotBytes, false) == 0);
  CHECK(w.read().requests == 0);
  fuse_write_in in{};
  in.size = 5;
  w.kernel.send(FUSE_WRITE, 7, 1, bytes(in) + "hello");
  const Batch batch = w.read();
  CHECK(batch.requests == 1 && batch.error == 0);
  CHECK(w.request(0)[1] == kSlotBytes && w.request(0)[2] == 0);
  CHECK(memcmp(w.memory + kSlotBytes + kPageBytes, "hello", 5) == 0);
  CHECK(!w.channel.can_read());
  CHECK(w.channel.arm(kSlotBytes, false) == 0);  // Given back before the reply: a ticket needs no slot.
  memcpy(reinterpret_cast<uint8_t*>(w.control.data() + kHeads) + 8, "size", 4);
  memcpy(w.memory + 100, "tail", 4);
  CHECK(w.reply(w.request(0)[0], 0, -1 - 8, 4, {100, 4, 100, 0, 101, 2}) == 0);
  fuse_out_header out;
  CHECK(w.kernel.receive(&out) == "sizetailai");
  CHECK(out.unique == 7 && out.error == 0);
  CHECK(w.stat(kPending) == 0);
}

void tickets_are_answered_once() {
  World w;
  w.channel.arm(0, false);
  w.kernel.send(FUSE_GETATTR, 9, 1, std::string(16, 0));
  CHECK(w.read().requests == 1);
  const double ticket = w.request(0)[0];
  for (const double wrong : {ticket + 1, -1.0, 0.5, std::nan(""), 1e300, 65536.0}) {
    CHECK(w.reply(wrong, 0, 0, 0) == 1 && w.result() == EBADF);
  }
  CHECK(w.reply(ticket, 2, 0, 0) == 0 && w.result() == 0);
  CHECK(w.reply(ticket, 2, 0, 0) == 1 && w.result() == EBADF);
  fuse_out_header out;
  w.kernel.receive(&out);
  CHECK(out.unique == 9 && out.error == -2);
  w.kernel.receive(&out);
  CHECK(out.len == 0);  // Nothing was sent for the wrong ones.
  w.channel.arm(0, false);
  w.kernel.send(FUSE_GETATTR, 11, 1, std::string(16, 0));
  CHECK(w.read().requests == 1);
  CHECK(w.request(0)[0] != ticket);
}

void a_wrong_reply_becomes_eio() {
  const double end = kSlotBytes * kSlots;
  const struct { double error, head, length; std::vector<double> segments; int result; } wrong[] = {
    {512, 0, 0, {}, EINVAL}, {-2, 0, 0, {}, EINVAL}, {1.5, 0, 0, {}, EINVAL},
    {0, end - 3, 4, {}, EFAULT}, {0, 0, -1, {}, EFAULT}, {0, 0.5, 1, {}, EFAULT}, {0, end, 1, {}, EFAULT},
    {0, -1.0 - kHeadBytes, 1, {}, EFAULT}, {0, -1, kHeadBytes + 1.0, {}, EFAULT}, {0, std::nan(""), 1, {}, EFAULT},
    {0, 0, 4, {0, end + 1}, EFAULT}, {0, 0, 4, {end, 1}, EFAULT}, {0, 0, INFINITY, {}, EFAULT},
  };
  uint64_t unique = 100;
  for (const auto& w : wrong) {
    World world;
    world.channel.arm(0, false);
    world.kernel.send(FUSE_READ, unique, 1, std::string(40, 0));
    CHECK(world.read().requests == 1);
    CHECK(world.reply(world.request(0)[0], w.error, w.head, w.length, w.segments) == 1);
    CHECK(world.result() == w.result);
    fuse_out_header out;
    world.kernel.receive(&out);
    CHECK(out.unique == unique++ && out.error == -EIO);
  }
}

void a_wrong_segment_count_ends_the_ring() {
  World w;
  w.channel.arm(0, false);
  w.kernel.send(FUSE_READ, 3, 1, std::string(40, 0));
  CHECK(w.read().requests == 1);
  double* r = w.control.data() + kReplies;
  const double record[] = {w.request(0)[0], 0, 0, 0, kSegmentsMax + 1.0, 0};
  std::copy(std::begin(record), std::end(record), r);
  CHECK(w.channel.flush(2) == 2);
  fuse_out_header out;
  w.kernel.receive(&out);
  CHECK(out.unique == 3 && out.error == -EIO);
  CHECK(w.channel.flush(1u << 31) > 0);  // A count beyond the ring stops at its end.
}

void a_mebibyte_in_pages_is_one_reply() {
  World w;
  w.channel.arm(0, false);
  w.kernel.send(FUSE_READ, 21, 1, std::string(40, 0));
  CHECK(w.read().requests == 1);
  std::vector<double> segments;
  for (uint32_t i = 0; i < kSegmentsMax; i++) {
    const uint32_t at = static_cast<uint32_t>(kSlotBytes) + (kSegmentsMax - 1 - i) * 4096;
    memset(w.memory + at, static_cast<int>(i), 4096);
    segments.insert(segments.end(), {static_cast<double>(at), 4096});
  }
  CHECK(w.reply(w.request(0)[0], 0, 0, 0, segments) == 0);
  fuse_out_header out;
  const std::string data = w.kernel.receive(&out);
  CHECK(out.unique == 21 && data.size() == kPayloadBytes);
  for (uint32_t i = 0; i < kSegmentsMax; i++) CHECK(static_cast<uint8_t>(data[i * 4096 + 4095]) == i);
}

void the_reserve_comes_last_and_forgets_take_nothing() {
  World w;
  w.channel.arm(0, true);
  w.channel.arm(kSlotBytes, false);
  w.kernel.send(FUSE_FORGET, 0, 5, bytes(uint64_t{3}));
  w.kernel.send(FUSE_FORGET, 0, 5, bytes(uint64_t{4}));
  std::string many = bytes(fuse_batch_forget_in{3, 0});
  for (uint64_t n = 6; n < 8; n++) many += bytes(fuse_forget_one{n, n * 10});
  w.kernel.send(FUSE_BATCH_FORGET, 0, 0, many);  // Says three and carries two: the third is not read.
  for (uint64_t unique = 1; unique <= 2; unique++) w.kernel.send(FUSE_LOOKUP, unique << 1, 1, std::string("x\0", 2));
  uint32_t requests = 0;
  std::vector<double> seen;
  while (requests < 2) {
    const Batch batch = w.read();
    CHECK(batch.error == 0 && batch.requests > 0);
    for (uint32_t i = 0; i < batch.requests; i++) seen.insert(seen.end(), {w.request(i)[1], w.request(i)[2]});
    requests += batch.requests;
  }
  CHECK((seen == std::vector<double>{kSlotBytes, 0, 0, kFromReserve}));
  CHECK(w.channel.take_forgets() == 3);
  const double* f = w.control.data() + kForgets;
  CHECK(f[0] == 5 && f[1] == 7 && f[2] == 6 && f[3] == 60 && f[4] == 7 && f[5] == 70);
  CHECK(w.channel.take_forgets() == 0);
  CHECK(w.read().starved);
}

void many_forgets_come_in_parts() {
  World w;
  w.channel.arm(0, false);
  constexpr uint32_t kMany = 2000;
  std::string many = bytes(fuse_batch_forget_in{kMany, 0});
  for (uint64_t n = 0; n < kMany; n++) many += bytes(fuse_forget_one{n + 2, 1});
  w.kernel.send(FUSE_BATCH_FORGET, 0, 0, many);
  CHECK(w.read().requests == 0);
  double next = 2;
  for (uint32_t n; (n = w.channel.take_forgets()) != 0;) {
    CHECK(n <= kForgetsMax);
    for (uint32_t i = 0; i < n; i++) CHECK(w.control[kForgets + i * 2] == next++);
  }
  CHECK(next == kMany + 2);
}

void interrupts_find_their_request() {
  World w;
  w.channel.arm(0, false);
  w.channel.arm(kSlotBytes, false);
  w.kernel.send(FUSE_READ, 40, 1, std::string(40, 0));
  CHECK(w.read().requests == 1);
  const double ticket = w.request(0)[0];
  w.kernel.send(FUSE_INTERRUPT, 41, 0, bytes(uint64_t{999}));
  CHECK(w.read().requests == 0);
  CHECK(w.stat(kDroppedInterrupts) == 1);
  w.kernel.send(FUSE_INTERRUPT, 41, 0, bytes(uint64_t{40}));
  CHECK(w.read().requests == 1);
  CHECK(w.request(0)[0] == ticket && w.request(0)[2] == kInterrupt);
  CHECK(w.reply(ticket, EINTR, 0, 0) == 0);
  w.kernel.send(FUSE_INTERRUPT, 41, 0, bytes(uint64_t{40}));
  CHECK(w.read().requests == 0);
  CHECK(w.channel.can_read());
}

void resent_requests_say_so() {
  World w;
  w.channel.arm(0, false);
  w.kernel.send(FUSE_MKDIR, 1ULL << 63 | 8, 1, std::string(8, 0));
  CHECK(w.read().requests == 1);
  CHECK(w.request(0)[2] == kResent);
  CHECK(w.reply(w.request(0)[0], 1, 0, 0) == 0);
  fuse_out_header out;
  w.kernel.receive(&out);
  CHECK(out.unique == (1ULL << 63 | 8));
}

void broken_requests_end_the_channel() {
  const std::string none;
  World w;
  w.channel.arm(0, false);
  w.kernel.send(FUSE_LOOKUP, 2, 1, "x", 1);
  CHECK(w.read().error == EPROTO);
  w.kernel.send(FUSE_FORGET, 0, 1, none);
  CHECK(w.read().error == EPROTO);
  w.kernel.send(FUSE_INTERRUPT, 0, 1, none);
  CHECK(w.read().error == EPROTO);
  CHECK(write(w.kernel.fd, "short", 5) == 5);
  CHECK(w.read().error == EPROTO);
  close(w.kernel.fd);
  w.kernel.fd = -1;
  CHECK(w.read().error == ENODEV);
}

void batches_grow_and_shrink() {
  World w;
  uint32_t largest = 0;
  for (int round = 0; round < 40; round++) {
    for (uint32_t i = 0; i < kSlots; i++) w.channel.arm(i * double{kSlotBytes}, false);
    for (uint32_t i = 0; i < kSlots; i++) w.kernel.send(FUSE_STATFS, 2 + i * 2, 1, "");
    for (uint32_t n = 0; n < kSlots;) {
      const Batch batch = w.read();
      CHECK(batch.requests > 0);
      largest = std::max(largest, batch.requests);
      n += batch.requests;
      for (uint32_t i = 0; i < batch.requests; i++) CHECK(w.reply(w.request(i)[0], 38, 0, 0) == 0);
    }
    fuse_out_header out;
    for (uint32_t i = 0; i < kSlots; i++) w.kernel.receive(&out);
  }
  CHECK(largest == kSlots);
  w.channel.arm(0, false);
  CHECK(w.read().requests == 0);  // Empty: the next batch is one request again.
}

void lingering_ends_when_a_request_comes_and_never_while_one_waits() {
  World w;
  CHECK(!w.channel.linger(1000000));  // No slot to read into.
  w.channel.arm(0, false);
  w.channel.arm(double{kSlotBytes}, false);
  CHECK(!w.channel.linger(1000000));
  CHECK(w.stat(kLingers) == 1);
  w.kernel.send(FUSE_STATFS, 2, 1, "");
  CHECK(w.channel.linger(1000000));
  CHECK(w.stat(kLingerHits) == 1);
  CHECK(w.read().requests == 1);
  w.kernel.send(FUSE_STATFS, 4, 1, "");
  CHECK(!w.channel.linger(1000000));  // The first one waits for its reply.
  CHECK(w.reply(w.request(0)[0], 38, 0, 0) == 0);
  CHECK(w.channel.linger(1000000));
}

}  // namespace

int main() {
  static_assert(kRequestOffset + sizeof(fuse_in_header) + sizeof(fuse_write_in) == kPageBytes, "payload on a page");
  static_assert(kRequestBytesMax >= sizeof(fuse_in_header) + sizeof(fuse_write_in) + kPayloadBytes, "the kernel's least");
  slots_are_lent_once();
  a_write_starts_on_a_page();
  tickets_are_answered_once();
  a_wrong_reply_becomes_eio();
  a_wrong_segment_count_ends_the_ring();
  a_mebibyte_in_pages_is_one_reply();
  the_reserve_comes_last_and_forgets_take_nothing();
  many_forgets_come_in_parts();
  interrupts_find_their_request();
  resent_requests_say_so();
  broken_requests_end_the_channel();
  batches_grow_and_shrink();
  lingering_ends_when_a_request_comes_and_never_while_one_waits();
  puts("ok");
}

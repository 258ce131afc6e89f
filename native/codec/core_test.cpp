// Built with -fsanitize=address,undefined and run by test/native/io-core.test.ts. Prints the first law that is broken.
//
// ISA-L's kernels are assembly that no sanitizer sees, so every column ends at a page that may not be touched, or begins
// after one.
#include "core.hpp"

#include <sys/mman.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <initializer_list>

using namespace cpfs::codec;

namespace {

constexpr size_t kPage = 4096;
constexpr size_t kLengthTop = 3 * kPage;

#define LAW(condition)                                                \
  do {                                                                \
    if (!(condition)) {                                               \
      std::printf("broken, line %d: %s\n", __LINE__, #condition);     \
      std::exit(1);                                                   \
    }                                                                 \
  } while (0)

// Columns with a forbidden page before and behind each.
struct Fenced {
  uint8_t* starts[kColumnsMax];

  Fenced() {
    const size_t stride = kLengthTop + 2 * kPage;
    void* memory = mmap(nullptr, stride * kColumnsMax, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    LAW(memory != MAP_FAILED);
    for (unsigned i = 0; i < kColumnsMax; i++) {
      starts[i] = static_cast<uint8_t*>(memory) + i * stride + kPage;
      LAW(mprotect(starts[i], kLengthTop, PROT_READ | PROT_WRITE) == 0);
    }
  }

  uint8_t* column(unsigned i, size_t length, bool at_end) { return starts[i] + (at_end ? kLengthTop - length : 0); }
};

unsigned random_state = 1;
unsigned random_below(unsigned bound) {
  random_state = random_state * 1664525u + 1013904223u;
  return (random_state >> 8) % bound;
}

void any_k_give_back_all(Fenced& memory, Coder& coder, unsigned k, unsigned m, size_t length, bool at_end) {
  uint8_t* columns[kColumnsMax];
  uint8_t before[kColumnsMax][64];
  for (unsigned i = 0; i < k + m; i++) {
    columns[i] = memory.column(i, length, at_end);
    if (i < k) {
      for (size_t at = 0; at < length; at++) columns[i][at] = static_cast<uint8_t>(random_below(256));
    }
  }
  coder.encode(k, m, columns, columns + k, length);
  for (unsigned i = 0; i < k + m && length > 0; i++) std::memcpy(before[i], columns[i] + length - 64, 64);
  unsigned order[kColumnsMax];
  for (unsigned i = 0; i < k + m; i++) order[i] = i;
  for (unsigned i = k + m - 1; i > 0; i--) {
    const unsigned other = random_below(i + 1);
    const unsigned kept = order[i];
    order[i] = order[other];
    order[other] = kept;
  }
  Column present[kColumnsMax], missing[kColumnsMax];
  for (unsigned i = 0; i < k; i++) present[i] = Column{order[i], columns[order[i]]};
  for (unsigned i = 0; i < m; i++) {
    missing[i] = Column{order[k + i], columns[order[k + i]]};
    std::memset(missing[i].bytes, 0xee, length);
  }
  LAW(coder.reconstruct(k, m, present, missing, m, length));
  for (unsigned i = 0; i < k + m && length > 0; i++) LAW(std::memcmp(before[i], columns[i] + length - 64, 64) == 0);
}

// Which columns are lost is drawn anew for each.
void every_scheme(Fenced& memory) {
  Coder coder;
  for (unsigned k = 1; k <= kColumnsMax; k++) {
    for (unsigned m = 0; m <= kColumnsMax - k; m++) {
      LAW(valid_scheme(k, m));
      any_k_give_back_all(memory, coder, k, m, 64, true);
    }
  }
  LAW(!valid_scheme(0, 1) && !valid_scheme(33, 0) && !valid_scheme(4, 29) && !valid_scheme(1, 4294967295u));
}

void every_length_at_both_fences(Fenced& memory) {
  Coder coder;
  const unsigned schemes[][2] = {{4, 1}, {4, 2}, {1, 2}, {8, 3}, {3, 8}};
  for (const auto& scheme : schemes) {
    for (size_t length = 0; length <= kLengthTop; length += length < 1024 ? 64 : 2048) {
      any_k_give_back_all(memory, coder, scheme[0], scheme[1], length, true);
      any_k_give_back_all(memory, coder, scheme[0], scheme[1], length, false);
    }
  }
}

void sums(Fenced& memory) {
  LAW(crc32c(reinterpret_cast<const uint8_t*>("123456789"), 9, 0) == 0xe3069283u);
  uint8_t* all = memory.column(0, kLengthTop, true);
  for (size_t at = 0; at < kLengthTop; at++) all[at] = static_cast<uint8_t>(random_below(256));
  for (size_t length = 0; length < 600; length++) {
    const uint8_t* last = memory.column(0, length, true);
    LAW(crc32c(last, length, 0) == crc32c(last + length / 2, length - length / 2, crc32c(last, length / 2, 0)));
    crc32c(memory.column(0, length, false), length, 0);
  }
  uint32_t out[4] = {7, 7, 7, 7};
  crc32c_blocks(all, kLengthTop, kPage, out);
  for (size_t i = 0; i < 3; i++) LAW(out[i] == crc32c(all + i * kPage, kPage, 0));
  LAW(out[3] == 7);
}

void memory_is_aligned_and_zero() {
  auto* memory = static_cast<uint8_t*>(create_memory(5000));
  LAW(memory != nullptr && reinterpret_cast<uintptr_t>(memory) % kPage == 0);
  for (size_t at = 0; at < 5000; at++) LAW(memory[at] == 0);
  LAW(create_memory(size_t{1} << 62) == nullptr);
}

}  // namespace

int main() {
  Fenced memory;
  every_scheme(memory);
  every_length_at_both_fences(memory);
  sums(memory);
  memory_is_aligned_and_zero();
  std::puts("ok");
}

// Erasure code and checksums on ISA-L, over plain memory. Knows no JavaScript; allocates only when a scheme or
// a pattern of lost columns is met for the first time (or has left the cache). One Coder is used by one thread.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace cpfs::codec {

constexpr unsigned kColumnsMax = 32;
// ISA-L takes lengths as int; a column unit is at most 1 MiB, so this is far above any call.
constexpr size_t kLengthMax = size_t{1} << 30;
// Kernels work in 64-byte steps; blocks are 4096.
constexpr size_t kLengthStep = 64;

inline bool valid_scheme(unsigned k, unsigned m) { return k >= 1 && k <= kColumnsMax && m <= kColumnsMax - k; }

// CRC32C (Castagnoli), the usual result: crc32c("123456789") == 0xe3069283. `seed` continues an earlier result.
uint32_t crc32c(const uint8_t* bytes, size_t length, uint32_t seed);
void crc32c_blocks(const uint8_t* bytes, size_t length, size_t block_bytes, uint32_t* out);

// Anonymous, page-aligned, zeroed memory that a forked child does not inherit; null with errno set on failure.
// It is never unmapped: whoever has its address may use it until the process ends.
void* create_memory(size_t bytes);

// A column: its index in the scheme (data 0..k-1, redundancy k..k+m-1) and where its bytes are.
struct Column {
  unsigned index;
  uint8_t* bytes;
};

// The code of k+m. Redundancy row r is, over the data columns c:
//   m == 1 or k == 1   all ones: plain XOR (RAID-5), plain copies
//   otherwise          1 / ((k + r) xor c) in GF(2^8), polynomial 0x11d: a Cauchy matrix, so every square part of
//                      it can be inverted and any k of k+m columns are enough, for all k+m <= 32
class Coder {
 public:
  // data: k columns, parity: m columns. length is a multiple of kLengthStep, <= kLengthMax. Outputs do not
  // overlap anything else.
  void encode(unsigned k, unsigned m, uint8_t* const* data, uint8_t* const* parity, size_t length);

  // present: k columns, any order; missing: `count` other columns. All indices differ. False only if the matrix
  // could not be inverted, which the choice of the matrix rules out.
  bool reconstruct(unsigned k, unsigned m, Column* present, Column* missing, unsigned count, size_t length);

 private:
  // Expanded multiplication tables of ISA-L for one matrix of `rows` x k.
  struct Tables {
    uint64_t key = 0;
    uint64_t scheme = 0;
    uint64_t used = 0;
    std::vector<uint8_t> bytes;
  };
  static constexpr size_t kPatternsMax = 128;  // Of at most 8 KiB each (16 x 16 x 32 bytes).

  Tables& tables_of(uint64_t scheme, uint64_t key, bool* found);

  std::array<Tables, kPatternsMax> tables_{};
  uint64_t clock_ = 0;
};

}  // namespace cpfs::codec

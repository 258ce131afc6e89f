#include "core.hpp"

#include <isa-l.h>
#include <sys/mman.h>

#include <algorithm>
#include <cstring>

namespace cpfs::codec {
namespace {

// xor_gen reads and writes whole vector registers: the widest are 64 bytes, its contract asks for 32.
constexpr uintptr_t kXorAlign = 64;

uint8_t coefficient(unsigned k, unsigned m, unsigned row, unsigned column) {
  if (k == 1 || m == 1) return 1;
  return gf_inv(static_cast<unsigned char>((k + row) ^ column));
}

// The row of the whole generator matrix (identity above redundancy) that makes column `index` out of the data.
void generator_row(unsigned k, unsigned m, unsigned index, uint8_t* row) {
  for (unsigned c = 0; c < k; c++) {
    row[c] = index < k ? static_cast<uint8_t>(index == c) : coefficient(k, m, index - k, c);
  }
}

// out = sum of the sources in GF(2^8), which is XOR.
void xor_columns(unsigned k, uint8_t* const* sources, uint8_t* out, size_t length) {
  if (k == 1) {
    std::memcpy(out, sources[0], length);
    return;
  }
  void* vectors[kColumnsMax + 1];
  uintptr_t bits = reinterpret_cast<uintptr_t>(out);
  for (unsigned i = 0; i < k; i++) {
    vectors[i] = sources[i];
    bits |= reinterpret_cast<uintptr_t>(sources[i]);
  }
  vectors[k] = out;
  if (bits % kXorAlign == 0) {
    xor_gen(static_cast<int>(k + 1), static_cast<int>(length), vectors);
    return;
  }
  std::memcpy(out, sources[0], length);
  for (unsigned i = 1; i < k; i++) {
    const uint8_t* from = sources[i];
    for (size_t at = 0; at < length; at++) out[at] ^= from[at];
  }
}

void multiply(unsigned k, unsigned rows, std::vector<uint8_t>& tables, uint8_t* const* sources, uint8_t* const* out,
              size_t length) {
  ec_encode_data(static_cast<int>(length), static_cast<int>(k), static_cast<int>(rows), tables.data(),
                 const_cast<uint8_t**>(sources), const_cast<uint8_t**>(out));
}

void by_index(Column* columns, unsigned count) {
  std::sort(columns, columns + count, [](const Column& a, const Column& b) { return a.index < b.index; });
}

uint64_t mask_of(const Column* columns, unsigned count) {
  uint64_t mask = 0;
  for (unsigned i = 0; i < count; i++) mask |= uint64_t{1} << columns[i].index;
  return mask;
}

// The rows that make each missing column out of the present ones: G[missing] * inverse(G[present]).
bool recovery_matrix(unsigned k, unsigned m, const Column* present, const Column* missing, unsigned count,
                     uint8_t* rows) {
  uint8_t square[kColumnsMax * kColumnsMax];
  uint8_t inverse[kColumnsMax * kColumnsMax];
  uint8_t wanted[kColumnsMax];
  for (unsigned i = 0; i < k; i++) generator_row(k, m, present[i].index, square + i * k);
  if (gf_invert_matrix(square, inverse, static_cast<int>(k)) != 0) return false;
  for (unsigned i = 0; i < count; i++) {
    generator_row(k, m, missing[i].index, wanted);
    for (unsigned c = 0; c < k; c++) {
      uint8_t sum = 0;
      for (unsigned j = 0; j < k; j++) sum ^= gf_mul(wanted[j], inverse[j * k + c]);
      rows[i * k + c] = sum;
    }
  }
  return true;
}

}  // namespace

uint32_t crc32c(const uint8_t* bytes, size_t length, uint32_t seed) {
  uint32_t crc = ~seed;  // crc32_iscsi takes and gives the register, not its complement.
  while (length > 0) {
    const size_t part = std::min(length, kLengthMax);
    crc = crc32_iscsi(const_cast<unsigned char*>(bytes), static_cast<int>(part), crc);
    bytes += part;
    length -= part;
  }
  return ~crc;
}

void crc32c_blocks(const uint8_t* bytes, size_t length, size_t block_bytes, uint32_t* out) {
  for (size_t at = 0; at < length; at += block_bytes) *out++ = crc32c(bytes + at, block_bytes, 0);
}

void* create_memory(size_t bytes) {
  void* memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) return nullptr;
  // A child between fork and exec would otherwise share the pages, and the first write of the parent copy them.
  madvise(memory, bytes, MADV_DONTFORK);
  return memory;
}

Coder::Tables& Coder::tables_of(uint64_t scheme, uint64_t key, bool* found) {
  Tables* oldest = &tables_[0];
  clock_++;
  for (Tables& tables : tables_) {
    if (tables.used != 0 && tables.key == key && tables.scheme == scheme) {
      tables.used = clock_;
      *found = true;
      return tables;
    }
    if (tables.used < oldest->used) oldest = &tables;
  }
  oldest->key = key;
  oldest->scheme = scheme;
  oldest->used = clock_;
  *found = false;
  return *oldest;
}

void Coder::encode(unsigned k, unsigned m, uint8_t* const* data, uint8_t* const* parity, size_t length) {
  if (m == 0 || length == 0) return;
  if (k == 1 || m == 1) {
    for (unsigned r = 0; r < m; r++) xor_columns(k, data, parity[r], length);
    return;
  }
  bool found = false;
  Tables& tables = tables_of(k * 64 + m, 0, &found);  // No pattern of lost columns has the key 0.
  if (!found) {
    uint8_t rows[kColumnsMax * kColumnsMax];
    for (unsigned r = 0; r < m; r++) generator_row(k, m, k + r, rows + r * k);
    tables.bytes.resize(size_t{32} * k * m);
    ec_init_tables(static_cast<int>(k), static_cast<int>(m), rows, tables.bytes.data());
  }
  multiply(k, m, tables.bytes, data, parity, length);
}

bool Coder::reconstruct(unsigned k, unsigned m, Column* present, Column* missing, unsigned count, size_t length) {
  if (count == 0 || length == 0) return true;
  by_index(present, k);
  by_index(missing, count);
  uint8_t* sources[kColumnsMax];
  uint8_t* out[kColumnsMax];
  for (unsigned i = 0; i < k; i++) sources[i] = present[i].bytes;
  for (unsigned i = 0; i < count; i++) out[i] = missing[i].bytes;
  if (k == 1 || m == 1) {
    for (unsigned i = 0; i < count; i++) xor_columns(k, sources, out[i], length);
    return true;
  }
  bool found = false;
  Tables& tables = tables_of(k * 64 + m, mask_of(present, k) << 32 | mask_of(missing, count), &found);
  if (!found) {
    uint8_t rows[kColumnsMax * kColumnsMax];
    if (!recovery_matrix(k, m, present, missing, count, rows)) {
      tables.used = 0;
      return false;
    }
    tables.bytes.resize(size_t{32} * k * count);
    ec_init_tables(static_cast<int>(k), static_cast<int>(count), rows, tables.bytes.data());
  }
  multiply(k, count, tables.bytes, sources, out, length);
  return true;
}

}  // namespace cpfs::codec

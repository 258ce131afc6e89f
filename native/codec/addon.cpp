// The JavaScript face of core.hpp: guard ladders, then one call. Nothing is kept of an argument; every offset is
// checked against the memory it points into. Misuse throws TypeError (kinds) or RangeError (values).
#include <napi.h>

#include <cerrno>
#include <cmath>
#include <cstring>

#include "core.hpp"

namespace {

using cpfs::codec::Coder;
using cpfs::codec::Column;
using cpfs::codec::kColumnsMax;

constexpr double kMemoryBytesMax = 64.0 * 1024 * 1024 * 1024;

struct Bytes {
  uint8_t* data = nullptr;
  size_t length = 0;
};

Napi::Value Range(Napi::Env env, const char* what) {
  Napi::RangeError::New(env, what).ThrowAsJavaScriptException();
  return env.Undefined();
}

Napi::Value Kind(Napi::Env env, const char* what) {
  Napi::TypeError::New(env, what).ThrowAsJavaScriptException();
  return env.Undefined();
}

// A whole number 0..max.
bool Whole(const Napi::Value& value, double max, size_t* out) {
  if (!value.IsNumber()) return false;
  const double number = value.As<Napi::Number>().DoubleValue();
  if (!(number >= 0 && number <= max) || std::floor(number) != number) return false;
  *out = static_cast<size_t>(number);
  return true;
}

bool Memory(const Napi::Value& value, Bytes* out) {
  if (value.IsArrayBuffer()) {
    auto buffer = value.As<Napi::ArrayBuffer>();
    *out = Bytes{static_cast<uint8_t*>(buffer.Data()), buffer.ByteLength()};
    return true;
  }
  if (!value.IsTypedArray() || value.As<Napi::TypedArray>().TypedArrayType() != napi_uint8_array) return false;
  auto array = value.As<Napi::Uint8Array>();
  *out = Bytes{array.Data(), array.ByteLength()};
  return true;
}

// [offset, offset + length) of the memory.
bool Inside(const Bytes& memory, double offset, size_t length, uint8_t** out) {
  if (!(offset >= 0 && offset <= static_cast<double>(memory.length)) || std::floor(offset) != offset) return false;
  const auto at = static_cast<size_t>(offset);
  if (length > memory.length - at) return false;
  *out = memory.data + at;
  return true;
}

bool Numbers(const Napi::Value& value, size_t count, const double** out) {
  if (!value.IsTypedArray() || value.As<Napi::TypedArray>().TypedArrayType() != napi_float64_array) return false;
  auto array = value.As<Napi::Float64Array>();
  *out = array.Data();
  return array.ElementLength() >= count;
}

class CodecAddon : public Napi::Addon<CodecAddon> {
 public:
  CodecAddon(Napi::Env env, Napi::Object exports) {
    DefineAddon(exports, {InstanceMethod("createMemory", &CodecAddon::CreateMemory),
                          InstanceMethod("crc32c", &CodecAddon::Crc32c),
                          InstanceMethod("crc32cBlocks", &CodecAddon::Crc32cBlocks),
                          InstanceMethod("encode", &CodecAddon::Encode),
                          InstanceMethod("reconstruct", &CodecAddon::Reconstruct)});
  }

 private:
  // createMemory(bytes): ArrayBuffer
  Napi::Value CreateMemory(const Napi::CallbackInfo& info) {
    const Napi::Env env = info.Env();
    size_t bytes = 0;
    if (!Whole(info[0], kMemoryBytesMax, &bytes) || bytes == 0) return Range(env, "bytes is not 1 to 64 GiB");
    void* memory = cpfs::codec::create_memory(bytes);
    if (memory == nullptr) {
      auto error = Napi::Error::New(env, std::string("cannot map the memory: ") + std::strerror(errno));
      error.Set("code", "ENOMEM");
      error.ThrowAsJavaScriptException();
      return env.Undefined();
    }
    // The finalizer does nothing: the kernel or a worker thread may still have the address.
    return Napi::ArrayBuffer::New(env, memory, bytes, [](Napi::BasicEnv, void*) {});
  }

  // crc32c(memory, offset, length, seed): number
  Napi::Value Crc32c(const Napi::CallbackInfo& info) {
    const Napi::Env env = info.Env();
    Bytes memory;
    size_t offset = 0, length = 0, seed = 0;
    uint8_t* at = nullptr;
    if (!Memory(info[0], &memory)) return Kind(env, "memory is no ArrayBuffer or Uint8Array");
    if (!Whole(info[1], 9e15, &offset) || !Whole(info[2], 9e15, &length) || !Inside(memory, offset, length, &at))
      return Range(env, "offset and length are outside the memory");
    if (!Whole(info[3], UINT32_MAX, &seed)) return Range(env, "seed is no 32-bit number");
    return Napi::Number::New(env, cpfs::codec::crc32c(at, length, static_cast<uint32_t>(seed)));
  }

  // crc32cBlocks(memory, offset, length, blockBytes, out: Uint32Array, outIndex)
  Napi::Value Crc32cBlocks(const Napi::CallbackInfo& info) {
    const Napi::Env env = info.Env();
    Bytes memory;
    size_t offset = 0, length = 0, block = 0, index = 0;
    uint8_t* at = nullptr;
    if (!Memory(info[0], &memory)) return Kind(env, "memory is no ArrayBuffer or Uint8Array");
    if (!info[4].IsTypedArray() || info[4].As<Napi::TypedArray>().TypedArrayType() != napi_uint32_array)
      return Kind(env, "out is no Uint32Array");
    auto out = info[4].As<Napi::Uint32Array>();
    if (!Whole(info[1], 9e15, &offset) || !Whole(info[2], 9e15, &length) || !Inside(memory, offset, length, &at))
      return Range(env, "offset and length are outside the memory");
    if (!Whole(info[3], cpfs::codec::kLengthMax, &block) || block == 0 || length % block != 0)
      return Range(env, "length is no multiple of blockBytes");
    if (!Whole(info[5], 9e15, &index) || index > out.ElementLength() ||
        length / block > out.ElementLength() - index)
      return Range(env, "out has no room for the sums");
    cpfs::codec::crc32c_blocks(at, length, block, out.Data() + index);
    return env.Undefined();
  }

  // encode(memory, k, m, offsets: Float64Array(k data, m redundancy), length)
  Napi::Value Encode(const Napi::CallbackInfo& info) {
    const Napi::Env env = info.Env();
    Bytes memory;
    size_t k = 0, m = 0, length = 0;
    const double* offsets = nullptr;
    uint8_t* columns[kColumnsMax];
    if (!Memory(info[0], &memory)) return Kind(env, "memory is no ArrayBuffer or Uint8Array");
    if (!Scheme(info, &k, &m)) return Range(env, "k and m are no scheme");
    if (!Numbers(info[3], k + m, &offsets)) return Kind(env, "offsets is no Float64Array of k + m");
    if (!Length(info[4], &length)) return Range(env, "length is no multiple of 64, or above 1 GiB");
    for (size_t i = 0; i < k + m; i++) {
      if (!Inside(memory, offsets[i], length, &columns[i])) return Range(env, "a column is outside the memory");
    }
    coder_.encode(k, m, columns, columns + k, length);
    return env.Undefined();
  }

  // reconstruct(memory, k, m, columns: Float64Array((index, offset) of k present, then of the missing), count, length)
  Napi::Value Reconstruct(const Napi::CallbackInfo& info) {
    const Napi::Env env = info.Env();
    Bytes memory;
    size_t k = 0, m = 0, count = 0, length = 0;
    const double* pairs = nullptr;
    Column columns[kColumnsMax];
    uint64_t seen = 0;
    if (!Memory(info[0], &memory)) return Kind(env, "memory is no ArrayBuffer or Uint8Array");
    if (!Scheme(info, &k, &m)) return Range(env, "k and m are no scheme");
    if (!Whole(info[4], m, &count)) return Range(env, "more than m columns are missing");
    if (!Numbers(info[3], 2 * (k + count), &pairs)) return Kind(env, "columns is no Float64Array of pairs");
    if (!Length(info[5], &length)) return Range(env, "length is no multiple of 64, or above 1 GiB");
    for (size_t i = 0; i < k + count; i++) {
      const double index = pairs[2 * i];
      if (!(index >= 0 && index < k + m) || std::floor(index) != index) return Range(env, "no such column");
      columns[i].index = static_cast<unsigned>(index);
      if ((seen >> columns[i].index & 1) != 0) return Range(env, "a column is named twice");
      seen |= uint64_t{1} << columns[i].index;
      if (!Inside(memory, pairs[2 * i + 1], length, &columns[i].bytes))
        return Range(env, "a column is outside the memory");
    }
    if (!coder_.reconstruct(k, m, columns, columns + k, count, length)) return Range(env, "the matrix is singular");
    return env.Undefined();
  }

  static bool Scheme(const Napi::CallbackInfo& info, size_t* k, size_t* m) {
    return Whole(info[1], kColumnsMax, k) && Whole(info[2], kColumnsMax, m) && cpfs::codec::valid_scheme(*k, *m);
  }

  static bool Length(const Napi::Value& value, size_t* length) {
    return Whole(value, cpfs::codec::kLengthMax, length) && *length % cpfs::codec::kLengthStep == 0;
  }

  Coder coder_;
};

NODE_API_ADDON(CodecAddon)

}  // namespace

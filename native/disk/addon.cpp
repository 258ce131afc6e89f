// The JavaScript face of core.hpp: guard ladders, then one call. Misuse throws TypeError (kinds), RangeError
// (values) or Error with a code (closed, busy); what a system call answers is a number.
#include <napi.h>
#include <uv.h>

#include <cerrno>
#include <cmath>
#include <memory>
#include <vector>

#include "core.hpp"
#include "ring.hpp"

namespace {

using cpfs::disk::Code;
using cpfs::disk::Op;
using cpfs::disk::Ring;

constexpr double kSlotsMax = 1024;
constexpr double kOpsMax = 4096;
constexpr double kSafeInteger = 9007199254740991.0;
constexpr size_t kStride = 5;  // Doubles in an op: code, fd, file offset, memory offset, length.

Napi::Value Range(Napi::Env env, const char* what) {
  Napi::RangeError::New(env, what).ThrowAsJavaScriptException();
  return env.Undefined();
}

Napi::Value Kind(Napi::Env env, const char* what) {
  Napi::TypeError::New(env, what).ThrowAsJavaScriptException();
  return env.Undefined();
}

Napi::Value Refuse(Napi::Env env, const char* code, const char* what) {
  auto error = Napi::Error::New(env, what);
  error.Set("code", code);
  error.ThrowAsJavaScriptException();
  return env.Undefined();
}

bool IsWhole(double number, double max) { return number >= 0 && number <= max && std::floor(number) == number; }

bool Whole(const Napi::Value& value, double max, size_t* out) {
  if (!value.IsNumber()) return false;
  const double number = value.As<Napi::Number>().DoubleValue();
  if (!IsWhole(number, max)) return false;
  *out = static_cast<size_t>(number);
  return true;
}

struct Doubles {
  double* data = nullptr;
  size_t length = 0;
};

// One call each instead of napi.h's several: this is on the path of every small read.
bool DoublesOf(napi_env env, napi_value value, Doubles* out) {
  napi_typedarray_type type = napi_int8_array;
  void* data = nullptr;
  if (napi_get_typedarray_info(env, value, &type, &out->length, &data, nullptr, nullptr) != napi_ok) return false;
  out->data = static_cast<double*>(data);
  return type == napi_float64_array;
}

class Batches;

// The ring's place on the event loop of an environment, which waits for its end. Freed when libuv has let it go.
struct Watch {
  uv_poll_t poll;
  Batches* owner = nullptr;
  napi_async_cleanup_hook_handle hook = nullptr;
};

// Batches over one memory. A slot holds one batch that a libuv worker runs, or the kernel by itself (the ring); the last
// row of results is that of runSync. The memory is held from construction until close() has been called and no batch is in flight.
class Batches : public Napi::ObjectWrap<Batches> {
 public:
  static Napi::Function Define(Napi::Env env) {
    return DefineClass(env, "Batches", {InstanceMethod("submit", &Batches::Submit),
                                        InstanceMethod("runSync", &Batches::RunSync),
                                        InstanceMethod("openRing", &Batches::OpenRing),
                                        InstanceMethod("close", &Batches::Close)});
  }

  // new Batches(memory: ArrayBuffer, slots, opsMax, results: Float64Array((slots + 1) * opsMax), onDone: (slot) => void)
  explicit Batches(const Napi::CallbackInfo& info) : Napi::ObjectWrap<Batches>(info) { Open(info); }

  ~Batches() override {
    Unwatch();
    for (Slot& slot : slots_) {
      if (slot.work != nullptr) napi_delete_async_work(Env(), slot.work);
    }
  }

 private:
  struct Slot {
    Batches* owner = nullptr;
    size_t index = 0;
    size_t count = 0;
    bool busy = false;
    bool keep_going = false;
    size_t left = 0;    // Operations that the ring has.
    bool redo = false;  // The ring has not done all of some operation.
    napi_async_work work = nullptr;
    std::vector<Op> ops;
  };

  // Leaves the batches closed if it throws.
  Napi::Value Open(const Napi::CallbackInfo& info) {
    const Napi::Env env = info.Env();
    size_t slots = 0;
    if (!info[0].IsArrayBuffer()) return Kind(env, "memory is no ArrayBuffer");
    if (!Whole(info[1], kSlotsMax, &slots) || slots == 0) return Range(env, "slots is not 1 to 1024");
    if (!Whole(info[2], kOpsMax, &ops_max_) || ops_max_ == 0) return Range(env, "opsMax is not 1 to 4096");
    Doubles results;
    if (!DoublesOf(env, info[3], &results)) return Kind(env, "results is no Float64Array");
    if (results.length < (slots + 1) * ops_max_) return Range(env, "results is too small");
    if (!info[4].IsFunction()) return Kind(env, "onDone is no function");
    sync_.resize(ops_max_);
    slots_.resize(slots);
    for (size_t i = 0; i < slots; i++) {
      slots_[i].owner = this;
      slots_[i].index = i;
      slots_[i].ops.resize(ops_max_);
      const auto name = Napi::String::New(env, "cpfs:disk");
      if (napi_create_async_work(env, nullptr, name, Work, Done, &slots_[i], &slots_[i].work) != napi_ok)
        return Refuse(env, "ENOMEM", "cannot create the work items");
    }
    memory_ = Napi::Persistent(info[0].As<Napi::ArrayBuffer>());
    results_ = Napi::Persistent(info[3].As<Napi::Float64Array>());
    on_done_ = Napi::Persistent(info[4].As<Napi::Function>());
    open_ = true;
    return env.Undefined();
  }

  // openRing(): errno; 0: submit may be told to use it. At most once, and not without a loop.
  Napi::Value OpenRing(const Napi::CallbackInfo& info) {
    const Napi::Env env = info.Env();
    if (!open_ || ring_.is_open()) return Napi::Number::New(env, EBADF);
    const int error = ring_.open(static_cast<unsigned>(slots_.size() * Ring::kOpsMax));
    if (error != 0) return Napi::Number::New(env, error);
    uv_loop_t* loop = nullptr;
    auto watch = std::make_unique<Watch>();
    watch->owner = this;
    if (napi_get_uv_event_loop(env, &loop) != napi_ok || uv_poll_init(loop, &watch->poll, ring_.fd()) != 0) {
      ring_.close();
      return Napi::Number::New(env, EMFILE);
    }
    watch_ = watch.release();
    watch_->poll.data = watch_;
    napi_add_async_cleanup_hook(env, Leave, watch_, &watch_->hook);
    uv_poll_start(&watch_->poll, UV_READABLE, Readable);
    uv_unref(reinterpret_cast<uv_handle_t*>(&watch_->poll));  // Only what is under way keeps the loop going.
    context_ = std::make_unique<Napi::AsyncContext>(env, "cpfs:disk");
    return Napi::Number::New(env, 0);
  }

  // submit(slot, ops: Float64Array, count, keepGoing, ring): undefined. onDone(slot) comes later, exactly once.
  Napi::Value Submit(const Napi::CallbackInfo& info) {
    const Napi::Env env = info.Env();
    size_t index = 0;
    if (!open_) return Refuse(env, "EBADF", "the batches are closed");
    if (!Whole(info[0], static_cast<double>(slots_.size() - 1), &index)) return Range(env, "no such slot");
    Slot& slot = slots_[index];
    if (slot.busy) return Refuse(env, "EBUSY", "the slot is in flight");
    if (const char* wrong = Decode(info[1], info[2], slot.ops, &slot.count)) return Range(env, wrong);
    if (!info[3].IsBoolean()) return Kind(env, "keepGoing is no boolean");
    if (!info[4].IsBoolean()) return Kind(env, "ring is no boolean");
    slot.keep_going = info[3].As<Napi::Boolean>().Value();
    const bool ring = info[4].As<Napi::Boolean>().Value() && ring_.is_open() && Ring::can(slot.ops.data(), slot.count);
    if (ring) {
      slot.left = slot.count;
      slot.redo = false;
      if (on_ring_++ == 0) uv_ref(reinterpret_cast<uv_handle_t*>(&watch_->poll));
      ring_.submit(slot.ops.data(), slot.count, static_cast<uint32_t>(index));
    } else if (napi_queue_async_work(env, slot.work) != napi_ok) {
      return Refuse(env, "EAGAIN", "cannot queue the batch");
    }
    slot.busy = true;
    if (in_flight_++ == 0) Ref();  // Neither this nor the memory may go while a worker, or the kernel, has the address.
    return env.Undefined();
  }

  // runSync(ops: Float64Array, count, keepGoing): undefined. The results are in the last row.
  Napi::Value RunSync(const Napi::CallbackInfo& info) {
    const Napi::Env env = info.Env();
    size_t count = 0;
    if (!open_) return Refuse(env, "EBADF", "the batches are closed");
    if (const char* wrong = Decode(info[0], info[1], sync_, &count)) return Range(env, wrong);
    if (!info[2].IsBoolean()) return Kind(env, "keepGoing is no boolean");
    cpfs::disk::run(sync_.data(), count, info[2].As<Napi::Boolean>().Value());
    Report(sync_, count, slots_.size());
    return env.Undefined();
  }

  // close(): undefined. Batches in flight still complete. Closing twice is nothing.
  Napi::Value Close(const Napi::CallbackInfo& info) {
    open_ = false;
    if (in_flight_ == 0) Drop();
    return info.Env().Undefined();
  }

  // Checks every op before the first is carried out; returns the reason, or null.
  const char* Decode(const Napi::Value& value, const Napi::Value& count_value, std::vector<Op>& ops, size_t* count) {
    Doubles array;
    void* bytes = nullptr;
    size_t size = 0;
    if (!DoublesOf(Env(), value, &array)) return "ops is no Float64Array";
    if (!Whole(count_value, static_cast<double>(ops_max_), count) || array.length / kStride < *count)
      return "count is above opsMax or the length of ops";
    if (napi_get_arraybuffer_info(Env(), memory_.Value(), &bytes, &size) != napi_ok) return "the memory is gone";
    for (size_t i = 0; i < *count; i++) {
      const double* op = array.data + i * kStride;
      if (!IsWhole(op[0], cpfs::disk::kCodeMax) || op[0] < 1) return "no such operation";
      if (!IsWhole(op[1], INT32_MAX)) return "fd is no file descriptor";
      if (!IsWhole(op[2], kSafeInteger) || !IsWhole(op[4], kSafeInteger) || op[2] + op[4] > kSafeInteger)
        return "offset and length are no range of a file";
      const auto code = static_cast<Code>(static_cast<uint8_t>(op[0]));
      const auto length = static_cast<size_t>(op[4]);
      uint8_t* at = nullptr;
      if (cpfs::disk::moves_bytes(code)) {
        if (!IsWhole(op[3], static_cast<double>(size)) || length > size - static_cast<size_t>(op[3]))
          return "memory offset and length are outside the memory";
        at = static_cast<uint8_t*>(bytes) + static_cast<size_t>(op[3]);
      }
      ops[i] = Op{code, static_cast<int>(op[1]), static_cast<int64_t>(op[2]), length, at, 0};
    }
    return nullptr;
  }

  void Report(const std::vector<Op>& ops, size_t count, size_t row) {
    Doubles results;
    if (!DoublesOf(Env(), results_.Value(), &results) || results.length < (row + 1) * ops_max_) return;  // Detached.
    double* out = results.data + row * ops_max_;
    for (size_t i = 0; i < count; i++) out[i] = static_cast<double>(ops[i].result);
  }

  static void Readable(uv_poll_t* poll, int, int) {
    Batches* const self = static_cast<Watch*>(poll->data)->owner;
    if (self == nullptr) return;
    const Napi::Env env = self->Env();
    const Napi::HandleScope scope(env);
    const Napi::Value alive = self->Value();  // While this frame uses it.
    const Napi::CallbackScope ticks(env, *self->context_);
    uint32_t index = 0, op = 0;
    int32_t result = 0;
    while (self->ring_.next(&index, &op, &result)) {
      Slot& slot = self->slots_[index];
      slot.redo = !cpfs::disk::settle(&slot.ops[op], result) || slot.redo;
      if (--slot.left > 0) continue;
      if (--self->on_ring_ == 0) uv_unref(reinterpret_cast<uv_handle_t*>(poll));
      if (slot.redo && napi_queue_async_work(env, slot.work) == napi_ok) continue;
      if (slot.redo) slot.ops[op].result = -EAGAIN;
      const bool ended = self->Finish(slot);
      if (env.IsExceptionPending()) napi_fatal_exception(env, env.GetAndClearPendingException().Value());
      if (ended) return;
    }
  }

  static void Leave(napi_async_cleanup_hook_handle, void* data) {
    auto* const watch = static_cast<Watch*>(data);
    if (watch->owner != nullptr) watch->owner->Unwatch();
  }

  // The ring ends, when what the kernel still has of it is done.
  void Unwatch() {
    if (watch_ == nullptr) return;
    Watch* const watch = watch_;
    watch_ = nullptr;
    watch->owner = nullptr;
    uv_poll_stop(&watch->poll);
    uv_close(reinterpret_cast<uv_handle_t*>(&watch->poll), [](uv_handle_t* handle) {
      auto* const gone = static_cast<Watch*>(handle->data);
      if (gone->hook != nullptr) napi_remove_async_cleanup_hook(gone->hook);
      delete gone;
    });
    ring_.close();
  }

  void Drop() {
    Unwatch();
    memory_.Reset();
    results_.Reset();
    on_done_.Reset();
  }

  static void Work(napi_env, void* data) {
    auto* slot = static_cast<Slot*>(data);
    cpfs::disk::run(slot->ops.data(), slot->count, slot->keep_going);
  }

  static void Done(napi_env env, napi_status status, void* data) {
    auto* slot = static_cast<Slot*>(data);
    const Napi::HandleScope scope(env);
    if (status == napi_cancelled) {  // Never begun: the environment ends.
      for (size_t i = 0; i < slot->count; i++) slot->ops[i].result = -ECANCELED;
    }
    slot->owner->Finish(*slot);
  }

  // Tells of a batch that is done. True: that was the last one, and this is closed.
  bool Finish(Slot& slot) {
    const napi_env env = Env();
    slot.busy = false;
    const Napi::Function on_done = on_done_.Value();
    Report(slot.ops, slot.count, slot.index);
    const napi_value argument = Napi::Number::New(env, static_cast<double>(slot.index));
    bool ended = false;
    if (--in_flight_ == 0) {
      ended = !open_;
      if (ended) Drop();
      Unref();
    }
    // Raw, because the environment may be going: then there is nobody to tell. What the callback throws is the
    // environment's uncaught exception.
    napi_call_function(env, Napi::Env(env).Undefined(), on_done, 1, &argument, nullptr);
    return ended;
  }

  bool open_ = false;
  size_t ops_max_ = 0;
  size_t in_flight_ = 0;
  size_t on_ring_ = 0;
  Ring ring_;
  Watch* watch_ = nullptr;
  std::unique_ptr<Napi::AsyncContext> context_;
  std::vector<Op> sync_;
  std::vector<Slot> slots_;
  Napi::Reference<Napi::ArrayBuffer> memory_;
  Napi::Reference<Napi::TypedArrayOf<double>> results_;
  Napi::FunctionReference on_done_;
};

// space(path, out: Float64Array(6)): errno; block bytes, total, free and available bytes, files, free files
Napi::Value SpaceOf(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  Doubles out;
  if (!info[0].IsString() || !DoublesOf(env, info[1], &out)) return Kind(env, "(string, Float64Array)");
  if (out.length < 6) return Range(env, "out has no room for six numbers");
  cpfs::disk::Space space{};
  const int error = cpfs::disk::space(info[0].As<Napi::String>().Utf8Value().c_str(), &space);
  const uint64_t values[] = {space.block_bytes,     space.total_bytes, space.free_bytes,
                             space.available_bytes, space.files,       space.files_free};
  for (size_t i = 0; i < 6; i++) out.data[i] = static_cast<double>(values[i]);
  return Napi::Number::New(env, error);
}

// lockFile(fd): errno
Napi::Value LockFile(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  size_t fd = 0;
  if (!Whole(info[0], INT32_MAX, &fd)) return Range(env, "fd is no file descriptor");
  return Napi::Number::New(env, cpfs::disk::lock_file(static_cast<int>(fd)));
}

Napi::Object Init(Napi::Env env, Napi::Object exports) {
  exports.Set("Batches", Batches::Define(env));
  exports.Set("space", Napi::Function::New(env, SpaceOf, "space"));
  exports.Set("lockFile", Napi::Function::New(env, LockFile, "lockFile"));
  return exports;
}

NODE_API_MODULE(disk, Init)

}  // namespace

// What JavaScript sees of the channel. The only file here that knows Node-API.
#include <napi.h>
#include <sys/socket.h>
#include <unistd.h>
#include <uv.h>

#include <algorithm>
#include <memory>
#include <set>
#include <string>

#include "core.hpp"

namespace {
using namespace cpfs::fuse;

Napi::Value Throw(const Napi::Env env, const char* code, const char* message) {
  Napi::Error error = Napi::Error::New(env, message);
  error.Set("code", code);
  error.ThrowAsJavaScriptException();
  return env.Undefined();
}

class Door;

// Of one environment. Lives until its last handle is closed, which is after the finalizers have run.
struct Instance {
  Napi::FunctionReference door;
  std::set<Door*> open;
  napi_async_cleanup_hook_handle hook = nullptr;
  bool leaving = false;
  uint32_t handles = 0;  // libuv handles that are open or closing; the environment waits for them.
};

/** One mount: the device on the loop of its environment, and the thread of its notifications. */
class Door : public Napi::ObjectWrap<Door> {
 public:
  static Napi::Function Define(Napi::Env env) {
    return DefineClass(env, "Channel", {
      InstanceMethod<&Door::Arm>("arm"), InstanceMethod<&Door::Flush>("flush"), InstanceMethod<&Door::Notify>("notify"),
      InstanceMethod<&Door::Empty>("empty"), InstanceMethod<&Door::Begun>("begun"),
      InstanceMethod<&Door::Close>("close"),
    });
  }

  // new Channel(fd, memory: ArrayBuffer, control: ArrayBuffer, onBatch, onNotified, onEnd, lingerNs): takes fd over.
  explicit Door(const Napi::CallbackInfo& info) : Napi::ObjectWrap<Door>(info) {
    const Napi::Env env = info.Env();
    if (info.Length() != 7 || !info[0].IsNumber() || !info[1].IsArrayBuffer() || !info[2].IsArrayBuffer() ||
        !info[3].IsFunction() || !info[4].IsFunction() || !info[5].IsFunction() || !info[6].IsNumber()) {
      Throw(env, "EINVAL", "(fd, memory, control, onBatch, onNotified, onEnd, lingerNs)");
      return;
    }
    linger_ns_ = static_cast<uint64_t>(std::clamp(info[6].As<Napi::Number>().DoubleValue(), 0.0, 1e6));
    auto memory = info[1].As<Napi::ArrayBuffer>();
    auto control = info[2].As<Napi::ArrayBuffer>();
    if (control.ByteLength() != kControlBytes) { Throw(env, "EINVAL", "control has the wrong size"); return; }
    const int fd = info[0].As<Napi::Number>().Int32Value();
    instance_ = env.GetInstanceData<Instance>();
    uv_loop_t* loop = nullptr;
    if (instance_->leaving || napi_get_uv_event_loop(env, &loop) != napi_ok) {
      Throw(env, "ECANCELED", "the environment is closing");
      return;
    }
    poll_ = new uv_poll_t;
    const int status = uv_poll_init(loop, poll_, fd);
    if (status != 0) {
      delete poll_;
      Throw(env, uv_err_name(status), "the device cannot be polled");
      return;
    }
    notified_ = new uv_async_t;
    if (uv_async_init(loop, notified_, OnNotified) != 0) {
      notified_ = nullptr;  // Out of descriptors: libuv has one wake-up for all async handles, so this is the first.
      uv_close(reinterpret_cast<uv_handle_t*>(poll_), [](uv_handle_t* h) { delete reinterpret_cast<uv_poll_t*>(h); });
      Throw(env, "EMFILE", "no wake-up for the notify thread");
      return;
    }
    poll_->data = notified_->data = this;
    uv_unref(reinterpret_cast<uv_handle_t*>(notified_));
    instance_->handles += 2;
    instance_->open.insert(this);
    memory_ = Napi::Persistent(memory);
    control_ = Napi::Persistent(control);
    on_batch_ = Napi::Persistent(info[3].As<Napi::Function>());
    on_notified_ = Napi::Persistent(info[4].As<Napi::Function>());
    on_end_ = Napi::Persistent(info[5].As<Napi::Function>());
    doubles_ = static_cast<double*>(control.Data());
    device_ = std::make_shared<Descriptor>(fd);
    core_ = std::make_unique<Channel>(device_, static_cast<uint8_t*>(memory.Data()), memory.ByteLength(), doubles_);
    notifier_ = std::make_unique<Notifier>(
        device_, [](void* async) { uv_async_send(static_cast<uv_async_t*>(async)); }, notified_);
    Ref();  // Until closed: a mount without a JavaScript reference still has callers in the kernel.
  }

  // Closing twice is nothing. `wait_ms` lets an idle notify thread drop its descriptor before the environment is gone.
  void Shut(int wait_ms) {
    if (!core_) return;
    notifier_->stop(wait_ms);
    core_.reset();
    notifier_.reset();
    uv_poll_stop(poll_);
    poll_->data = notified_->data = instance_;
    uv_close(reinterpret_cast<uv_handle_t*>(poll_), Closed<uv_poll_t>);
    uv_close(reinterpret_cast<uv_handle_t*>(notified_), Closed<uv_async_t>);
    // After uv_close, which takes the number out of the loop's epoll set.
    device_.reset();
    instance_->open.erase(this);
    for (auto* f : {&on_batch_, &on_notified_, &on_end_}) f->Reset();
    memory_.Reset();
    control_.Reset();
    Unref();
  }

  static void Leave(napi_async_cleanup_hook_handle, void* data) {
    auto* const instance = static_cast<Instance*>(data);
    instance->leaving = true;
    while (!instance->open.empty()) (*instance->open.begin())->Shut(100);
    if (instance->handles == 0) Left(instance);
  }

 private:
  template <typename Handle>
  static void Closed(uv_handle_t* handle) {
    auto* const instance = static_cast<Instance*>(handle->data);
    delete reinterpret_cast<Handle*>(handle);
    if (--instance->handles == 0 && instance->leaving) Left(instance);
  }

  static void Left(Instance* instance) {
    napi_remove_async_cleanup_hook(instance->hook);
    delete instance;
  }

  bool Detached() { return memory_.Value().IsDetached() || control_.Value().IsDetached(); }

  // Runs promise jobs and nextTick too. An exception there is the process's, not the kernel's caller's.
  void Call(Napi::FunctionReference& f, std::initializer_list<napi_value> arguments) {
    const Napi::Env env = Env();
    f.MakeCallback(env.Global(), arguments);
    if (env.IsExceptionPending()) {
      const Napi::Error error = env.GetAndClearPendingException();
      napi_fatal_exception(env, error.Value());
    }
  }

  static void OnReadable(uv_poll_t* handle, int status, int) { static_cast<Door*>(handle->data)->Readable(status); }

  void Readable(int status) {
    const Napi::Env env = Env();
    const Napi::HandleScope scope(env);
    if (Detached()) return End(EFAULT);
    // A status is epoll's EPOLLERR after an unmount or abort; the read says which.
    // A program that makes one request after the other makes the next one sooner than a sleep and a wake-up take.
    const bool soon = uv_hrtime() - idle_since_ < kSoonLingers * linger_ns_;
    streak_ = soon ? std::min(streak_ + 1, kStreakMin) : 0;
    Batch batch;
    for (uint32_t rounds = 0;;) {
      batch = core_->read_batch();
      uint32_t forgets = core_->take_forgets();
      if (batch.requests != 0 || forgets != 0) Batched(batch.requests, forgets);
      while (core_ && (forgets = core_->take_forgets()) != 0) Batched(0, forgets);
      if (!core_) return;
      if (status < 0 || batch.error != 0 || streak_ < kStreakMin || ++rounds == kRoundsMax) break;
      if (!core_->linger(linger_ns_)) { streak_ = 0; break; }
    }
    idle_since_ = uv_hrtime();
    if (batch.error != 0) return End(batch.error == ENODEV ? 0 : batch.error);
    if (status < 0 && batch.requests == 0 && !batch.starved) return End(-status);
    if (!core_->can_read()) Pause();
    else if (status < 0) Resume();  // libuv has stopped the poll before it reported.
  }

  // Sleeps of less than so many times the lingering count as short ones, and so many of them in a row make it worth while.
  static constexpr uint32_t kSoonLingers = 5, kStreakMin = 4;
  // The rest of the loop waits meanwhile.
  static constexpr uint32_t kRoundsMax = 16;

  void Batched(uint32_t requests, uint32_t forgets) {
    Call(on_batch_, {Napi::Number::New(Env(), requests), Napi::Number::New(Env(), forgets)});
  }

  void End(int error) {
    ended_ = true;
    Pause();
    Call(on_end_, {Napi::Number::New(Env(), error)});
  }

  void Pause() {
    uv_poll_stop(poll_);
    polling_ = false;
  }

  void Resume() {
    if (ended_ || !core_->can_read()) return;
    uv_poll_start(poll_, UV_READABLE, OnReadable);
    polling_ = true;
  }

  static void OnNotified(uv_async_t* handle) {
    auto* const door = static_cast<Door*>(handle->data);
    const Napi::HandleScope scope(door->Env());
    for (uint32_t n; door->core_ && !door->Detached() && (n = door->notifier_->take_done(door->doubles_ + kNotified)) != 0;) {
      for (uint32_t i = 0; i < n; i++) {
        if (door->doubles_[kNotified + i * 2 + 1] != 0) door->doubles_[kStats + kFailedNotices]++;
      }
      door->Call(door->on_notified_, {Napi::Number::New(door->Env(), n)});
    }
  }

  // arm(offset, reserve): errno
  Napi::Value Arm(const Napi::CallbackInfo& info) {
    const Napi::Env env = info.Env();
    if (!core_) return Throw(env, "EBADF", "the channel is closed");
    if (info.Length() != 2 || !info[0].IsNumber() || !info[1].IsBoolean()) return Throw(env, "EINVAL", "(number, boolean)");
    const int error = core_->arm(info[0].As<Napi::Number>().DoubleValue(), info[1].As<Napi::Boolean>().Value());
    if (error == 0 && !polling_) Resume();
    return Napi::Number::New(env, error);
  }

  // flush(count): how many replies failed
  Napi::Value Flush(const Napi::CallbackInfo& info) {
    const Napi::Env env = info.Env();
    if (!core_) return Throw(env, "EBADF", "the channel is closed");
    if (info.Length() != 1 || !info[0].IsNumber()) return Throw(env, "EINVAL", "(number)");
    if (Detached()) return Throw(env, "EFAULT", "the memory is detached");
    const uint32_t failed = core_->flush(info[0].As<Napi::Number>().Uint32Value());
    if (!polling_) Resume();
    return Napi::Number::New(env, failed);
  }

  // notify(id, code, body: Uint8Array): whether it was queued. The bytes are copied.
  Napi::Value Notify(const Napi::CallbackInfo& info) {
    const Napi::Env env = info.Env();
    if (!core_) return Throw(env, "EBADF", "the channel is closed");
    if (info.Length() != 3 || !info[0].IsNumber() || !info[1].IsNumber() || !info[2].IsTypedArray()) {
      return Throw(env, "EINVAL", "(number, number, Uint8Array)");
    }
    const auto body = info[2].As<Napi::Uint8Array>();
    if (body.TypedArrayType() != napi_uint8_array || body.ByteLength() > kStoreBytesMax + 256) {
      return Throw(env, "EINVAL", "a Uint8Array of at most 64 KiB and a header");
    }
    doubles_[kStats + kNotices]++;
    const bool queued = notifier_->push(info[0].As<Napi::Number>().DoubleValue(), info[1].As<Napi::Number>().Int32Value(),
                                        std::string(reinterpret_cast<const char*>(body.Data()), body.ByteLength()));
    return Napi::Boolean::New(env, queued);
  }

  // empty(): whether no request waits in the device
  Napi::Value Empty(const Napi::CallbackInfo& info) { return Napi::Boolean::New(info.Env(), core_ && core_->empty()); }

  // begun(): id of the last notice that is being, or has been, written
  Napi::Value Begun(const Napi::CallbackInfo& info) { return Napi::Number::New(info.Env(), notifier_ ? notifier_->begun() : 0); }

  Napi::Value Close(const Napi::CallbackInfo& info) {
    Shut(0);
    return info.Env().Undefined();
  }

  Instance* instance_ = nullptr;
  std::shared_ptr<Descriptor> device_;
  std::unique_ptr<Channel> core_;
  std::unique_ptr<Notifier> notifier_;
  uv_poll_t* poll_ = nullptr;
  uv_async_t* notified_ = nullptr;
  double* doubles_ = nullptr;
  bool polling_ = false, ended_ = false;
  uint64_t linger_ns_ = 0, idle_since_ = 0;
  uint32_t streak_ = 0;
  Napi::Reference<Napi::ArrayBuffer> memory_, control_;
  Napi::FunctionReference on_batch_, on_notified_, on_end_;
};

/** mount(2) on a pool thread: the path may lie in a file system that this very process serves. */
class MountWorker : public Napi::AsyncWorker {
 public:
  MountWorker(Napi::Function callback, std::string dir, std::string type, std::string source, uint64_t flags, std::string options)
      : Napi::AsyncWorker(callback), dir_(std::move(dir)), type_(std::move(type)), source_(std::move(source)),
        options_(std::move(options)), flags_(flags) {}
  ~MountWorker() override { if (result_ >= 0) close(result_); }
  void Execute() override { result_ = mount_direct(dir_, type_, source_, flags_, options_); }
  void OnOK() override {
    const int result = result_;
    result_ = -1;
    Callback().Call({Napi::Number::New(Env(), result)});
  }

 private:
  const std::string dir_, type_, source_, options_;
  const uint64_t flags_;
  int result_ = -1;
};

// mount(dir, type, source, flags, options, callback(fd or -errno))
Napi::Value Mount(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  if (info.Length() != 6 || !info[0].IsString() || !info[1].IsString() || !info[2].IsString() || !info[3].IsNumber() ||
      !info[4].IsString() || !info[5].IsFunction()) {
    return Throw(env, "EINVAL", "(dir, type, source, flags, options, callback)");
  }
  const auto text = [&info](size_t i) { return info[i].As<Napi::String>().Utf8Value(); };
  (new MountWorker(info[5].As<Napi::Function>(), text(0), text(1), text(2),
                   static_cast<uint64_t>(info[3].As<Napi::Number>().Int64Value()), text(4)))->Queue();
  return env.Undefined();
}

// socketPair(): [ours, the helper's] or a negative errno. Both close on exec; spawn() gives its copy to the helper.
Napi::Value SocketPair(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  int pair[2];
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0) return Napi::Number::New(env, -errno);
  const auto result = Napi::Array::New(env, 2);
  result.Set(0u, pair[0]);
  result.Set(1u, pair[1]);
  return result;
}

// receiveDescriptor(socket): fd or a negative errno
Napi::Value ReceiveDescriptor(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  if (info.Length() != 1 || !info[0].IsNumber()) return Throw(env, "EINVAL", "(number)");
  return Napi::Number::New(env, receive_descriptor(info[0].As<Napi::Number>().Int32Value()));
}

// closeDescriptor(fd): errno. For the two sockets, and for a device that no channel took over.
Napi::Value CloseDescriptor(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  if (info.Length() != 1 || !info[0].IsNumber()) return Throw(env, "EINVAL", "(number)");
  return Napi::Number::New(env, close(info[0].As<Napi::Number>().Int32Value()) == 0 ? 0 : errno);
}

Napi::Object Layout(Napi::Env env) {
  const auto layout = Napi::Object::New(env);
  const auto put = [&](const char* name, double value) { layout.Set(name, Napi::Number::New(env, value)); };
  put("controlBytes", kControlBytes);
  put("stats", kStats);
  put("opcodes", kOpcodes);
  put("opcodesCount", kOpcodesCount);
  put("requests", kRequests);
  put("forgets", kForgets);
  put("notified", kNotified);
  put("replies", kReplies);
  put("repliesCount", kRepliesCount);
  put("segmentsMax", kSegmentsMax);
  put("heads", kHeads);
  put("headBytes", kHeadBytes);
  put("slotBytes", kSlotBytes);
  put("requestOffset", kRequestOffset);
  return layout;
}

// The last handle's close callback deletes the instance, not the finalizer.
void Keep(Napi::Env, Instance*) {}

Napi::Object Init(Napi::Env env, Napi::Object exports) {
  auto* const instance = new Instance;
  env.SetInstanceData<Instance, Keep>(instance);
  napi_add_async_cleanup_hook(env, Door::Leave, instance, &instance->hook);
  exports.Set("Channel", Door::Define(env));
  exports.Set("layout", Layout(env));
  exports.Set("mount", Napi::Function::New(env, Mount, "mount"));
  exports.Set("socketPair", Napi::Function::New(env, SocketPair, "socketPair"));
  exports.Set("receiveDescriptor", Napi::Function::New(env, ReceiveDescriptor, "receiveDescriptor"));
  exports.Set("closeDescriptor", Napi::Function::New(env, CloseDescriptor, "closeDescriptor"));
  return exports;
}
}  // namespace

NODE_API_MODULE(fuse, Init)

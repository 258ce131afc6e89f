// The JavaScript face of core.hpp: guards, then one call.
#include <napi.h>

#include <string>

#include "core.hpp"

namespace {

// sendDatagram(path, text): 0 or an errno
Napi::Value SendDatagram(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  if (info.Length() != 2 || !info[0].IsString() || !info[1].IsString()) {
    Napi::TypeError::New(env, "(string, string)").ThrowAsJavaScriptException();
    return env.Undefined();
  }
  const std::string path = info[0].As<Napi::String>().Utf8Value();
  const std::string text = info[1].As<Napi::String>().Utf8Value();
  return Napi::Number::New(env, cpfs::system::send_datagram(path.data(), path.size(), text.data(), text.size()));
}

Napi::Object Init(Napi::Env env, Napi::Object exports) {
  exports.Set("sendDatagram", Napi::Function::New(env, SendDatagram, "sendDatagram"));
  return exports;
}

}  // namespace

NODE_API_MODULE(system, Init)

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <system_error>
#include <thread>

#include "core.hpp"

namespace cpfs::fuse {
namespace {
struct Notice {
  double id;
  int code;
  std::string body;
};
struct NoticeHeader {
  uint32_t len;
  int32_t code;     // In place of the error of a reply.
  uint64_t unique;  // 0 says that this is no reply.
};
}  // namespace

// Shared with the thread, which may outlive the channel: the kernel can hold a write up until somebody answers the
// request that it waits for. So nobody joins the thread, and what it uses lives as long as it does.
struct Notifier::State {
  State(std::shared_ptr<Descriptor> d, Wake w, void* c) : device(std::move(d)), wake(w), context(c) {}

  void run() {
    std::unique_lock<std::mutex> lock(mutex);
    for (;;) {
      changed.wait(lock, [this] { return stopping || !queue.empty(); });
      if (stopping) break;
      const Notice notice = std::move(queue.front());
      queue.pop_front();
      begun = notice.id;
      lock.unlock();
      const int error = write_out(notice);
      lock.lock();
      done.emplace_back(notice.id, error);
      if (wake != nullptr) wake(context);
    }
    finished = true;
    changed.notify_all();
  }

  int write_out(const Notice& notice) const {
    NoticeHeader header{static_cast<uint32_t>(sizeof header + notice.body.size()), notice.code, 0};
    iovec parts[2] = {{&header, sizeof header}, {const_cast<char*>(notice.body.data()), notice.body.size()}};
    ssize_t sent;
    do sent = writev(device->fd, parts, 2);
    while (sent < 0 && errno == EINTR);
    return sent < 0 ? errno : 0;
  }

  std::shared_ptr<Descriptor> device;
  std::mutex mutex;
  std::condition_variable changed;
  std::deque<Notice> queue;
  std::deque<std::pair<double, int>> done;
  Wake wake;
  void* context;
  double begun = 0;
  bool stopping = false, finished = false;
};

Notifier::Notifier(std::shared_ptr<Descriptor> device, Wake wake, void* context)
    : state_(std::make_shared<State>(std::move(device), wake, context)) {
  // Signals belong to the runtime's threads: block them here so that the new thread starts without any.
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  std::thread([state = state_] {
    state->run();
  }).detach();
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

bool Notifier::push(double id, int code, std::string body) {
  const std::lock_guard<std::mutex> lock(state_->mutex);
  if (state_->stopping || state_->queue.size() + state_->done.size() >= kNoticesMax) return false;
  state_->queue.push_back({id, code, std::move(body)});
  state_->changed.notify_one();
  return true;
}

double Notifier::begun() const {
  const std::lock_guard<std::mutex> lock(state_->mutex);
  return state_->begun;
}

uint32_t Notifier::take_done(double* into) {
  const std::lock_guard<std::mutex> lock(state_->mutex);
  uint32_t n = 0;
  for (; n < kNotifiedMax && !state_->done.empty(); n++, state_->done.pop_front()) {
    into[n * 2] = state_->done.front().first;
    into[n * 2 + 1] = state_->done.front().second;
  }
  return n;
}

void Notifier::stop(int wait_ms) {
  std::unique_lock<std::mutex> lock(state_->mutex);
  state_->stopping = true;
  state_->wake = nullptr;
  state_->changed.notify_all();
  if (wait_ms > 0) state_->changed.wait_for(lock, std::chrono::milliseconds(wait_ms), [this] { return state_->finished; });
}

}  // namespace cpfs::fuse

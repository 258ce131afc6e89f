// The notify thread, and descriptors that pass through a socket. Built and run as core_test.cpp is.
#include <condition_variable>

#include "core_test.hpp"

namespace {
using namespace cpfs::fuse;

struct Bell {
  std::mutex mutex;
  std::condition_variable rung;
  int count = 0;
  static void ring(void* bell) {
    auto* const b = static_cast<Bell*>(bell);
    const std::lock_guard<std::mutex> lock(b->mutex);
    b->count++;
    b->rung.notify_all();
  }
  void wait(int wanted) {
    std::unique_lock<std::mutex> lock(mutex);
    rung.wait(lock, [&] { return count >= wanted; });
  }
};

void notices_leave_in_order_from_their_thread() {
  Kernel kernel;
  Bell bell;
  Notifier notifier(kernel.device, Bell::ring, &bell);
  CHECK(notifier.begun() == 0);
  CHECK(notifier.push(1, FUSE_NOTIFY_INVAL_INODE, "first"));
  CHECK(notifier.push(2, FUSE_NOTIFY_INVAL_ENTRY, "second"));
  bell.wait(2);
  CHECK(notifier.begun() == 2);
  fuse_out_header out;
  CHECK(kernel.receive(&out) == "first" && out.error == FUSE_NOTIFY_INVAL_INODE && out.unique == 0);
  CHECK(kernel.receive(&out) == "second" && out.error == FUSE_NOTIFY_INVAL_ENTRY);
  close(kernel.fd);
  kernel.fd = -1;
  signal(SIGPIPE, SIG_IGN);
  CHECK(notifier.push(3, FUSE_NOTIFY_DELETE, ""));
  bell.wait(3);
  double done[2 * kNotifiedMax];
  CHECK(notifier.take_done(done) == 3);
  CHECK(done[0] == 1 && done[1] == 0 && done[2] == 2 && done[4] == 3 && done[5] == EPIPE);
  notifier.stop(1000);
  CHECK(!notifier.push(4, FUSE_NOTIFY_DELETE, ""));
  CHECK(kernel.device.use_count() <= 3);
  notifier.stop(0);
}

void descriptors_pass() {
  int pair[2];
  CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
  CHECK(receive_descriptor(pair[0]) == -EAGAIN);
  CHECK(write(pair[1], "x", 1) == 1);
  CHECK(receive_descriptor(pair[0]) == -ENOMSG);
  char byte = 0;
  iovec part{&byte, 1};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  cmsghdr* const c = CMSG_FIRSTHDR(&message);
  c->cmsg_level = SOL_SOCKET;
  c->cmsg_type = SCM_RIGHTS;
  c->cmsg_len = CMSG_LEN(sizeof(int));
  memcpy(CMSG_DATA(c), &pair[1], sizeof(int));
  CHECK(sendmsg(pair[1], &message, 0) == 1);
  const int got = receive_descriptor(pair[0]);
  CHECK(got >= 0 && (fcntl(got, F_GETFL) & O_NONBLOCK) && (fcntl(got, F_GETFD) & FD_CLOEXEC));
  close(got);
  close(pair[1]);
  CHECK(receive_descriptor(pair[0]) == -ENOMSG);
  close(pair[0]);
  CHECK(receive_descriptor(pair[0]) == -EBADF);
  CHECK(mount_direct("/nonexistent/dir", "fuse.cpfs", "x", 0, "rootmode=40000,user_id=0,group_id=0") < 0);
}

}  // namespace

int main() {
  notices_leave_in_order_from_their_thread();
  descriptors_pass();
  puts("ok");
}

#include "core.hpp"

#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstring>

namespace cpfs::system {

int send_datagram(const char* path, size_t path_length, const char* text, size_t length) {
  sockaddr_un address{};
  if (path_length < 2 || path_length > sizeof(address.sun_path)) return EINVAL;
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, path, path_length);
  if (path[0] == '@') address.sun_path[0] = '\0';
  const int descriptor = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (descriptor < 0) return errno;
  const auto size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + path_length);
  const ssize_t sent =
      sendto(descriptor, text, length, MSG_NOSIGNAL, reinterpret_cast<const sockaddr*>(&address), size);
  const int failure = sent < 0 ? errno : 0;
  close(descriptor);
  return failure;
}

}  // namespace cpfs::system

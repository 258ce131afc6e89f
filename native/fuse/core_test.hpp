// What the core's tests share: a check that stops with its place, and a kernel played by a socket pair of packets.
#ifndef CPFS_NATIVE_FUSE_CORE_TEST_HPP
#define CPFS_NATIVE_FUSE_CORE_TEST_HPP

#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdio>
#include <cstring>

#include "core.hpp"

namespace cpfs::fuse {

#define CHECK(condition)                                              \
  do {                                                                \
    if (!(condition)) {                                               \
      fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition); \
      exit(1);                                                        \
    }                                                                 \
  } while (0)

struct Kernel {
  Kernel() {
    int pair[2];
    CHECK(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair) == 0);
    // A reply of 1 MiB is one packet; as root the limit of the system does not hold.
    const int room = 4 << 20;
    for (const int fd : pair) setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &room, sizeof room);
    fd = pair[0];
    device = std::make_shared<Descriptor>(pair[1]);
  }
  ~Kernel() { if (fd >= 0) close(fd); }

  void send(uint32_t opcode, uint64_t unique, uint64_t nodeid, const std::string& body, uint32_t wrong_len = 0) {
    fuse_in_header header{};
    header.len = static_cast<uint32_t>(sizeof header + body.size()) + wrong_len;
    header.opcode = opcode;
    header.unique = unique;
    header.nodeid = nodeid;
    const std::string packet = std::string(reinterpret_cast<char*>(&header), sizeof header) + body;
    CHECK(write(fd, packet.data(), packet.size()) == static_cast<ssize_t>(packet.size()));
  }

  // The next reply or notification; an empty one if there is none.
  std::string receive(fuse_out_header* header) {
    std::string packet(2 << 20, 0);
    const ssize_t got = read(fd, packet.data(), packet.size());
    *header = {};
    if (got < 0) return "";
    CHECK(got >= static_cast<ssize_t>(sizeof *header));
    memcpy(header, packet.data(), sizeof *header);
    CHECK(header->len == static_cast<uint32_t>(got));
    return packet.substr(sizeof *header, static_cast<size_t>(got) - sizeof *header);
  }

  int fd;
  std::shared_ptr<Descriptor> device;
};

}  // namespace cpfs::fuse
#endif

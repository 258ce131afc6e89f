// What Node has no call for. Knows no JavaScript.
#pragma once

#include <cstddef>

namespace cpfs::system {

// Sends one datagram to the UNIX socket at `path` (@NAME: in the abstract namespace) and does not wait. 0 or an errno.
int send_datagram(const char* path, size_t path_length, const char* text, size_t length);

}  // namespace cpfs::system

/* Makes the system calls that it is told to, a command a line, and answers each with a line: `ok` and what came of it, or the errno.
 * Objects are named by descriptors that `find` and `create` opened (O_PATH), so that renames do not matter. Words have no blanks in them; bytes
 * are in hex. */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/xattr.h>
#include <unistd.h>

#define ROOM (1 << 20)
static char line[2 * ROOM + 4096];
static char bytes[ROOM];
static char text[2 * ROOM + 4096];
static char *words[8];

static int number(int i) { return words[i] ? atoi(words[i]) : -1; }

/* What an O_PATH descriptor stands for, for calls that take a path. */
static const char *path(int i) {
  static char name[64];
  snprintf(name, sizeof name, "/proc/self/fd/%d", number(i));
  return name;
}

static void hex(long length) {
  char *to = text + sprintf(text, "ok ");
  for (long i = 0; i < length; i++) {
    *to++ = "0123456789abcdef"[(unsigned char)bytes[i] >> 4];
    *to++ = "0123456789abcdef"[bytes[i] & 15];
  }
  *to = 0;
  puts(text);
}

static int digit(char c) { return c <= '9' ? c - '0' : c - 'a' + 10; }

static long unhex(const char *from) {
  long length = 0;
  for (; from[0] && from[1]; from += 2) bytes[length++] = (char)(digit(from[0]) << 4 | digit(from[1]));
  return length;
}

struct entry {
  unsigned long long ino;
  long long off;
  unsigned short length;
  unsigned char type;
  char name[];
};

/* One call of getdents64: one request of a small directory, so of one moment. */
static int entries(int fd) {
  lseek(fd, 0, SEEK_SET);
  long length = syscall(SYS_getdents64, fd, bytes, 65536L);
  int failed = errno;
  /* The end: with that the kernel keeps the listing. */
  static char rest[4096];
  if (length > 0) syscall(SYS_getdents64, fd, rest, sizeof rest);
  errno = failed;
  if (length < 0) return -1;
  char *to = text + sprintf(text, "ok");
  for (long at = 0; at < length;) {
    struct entry *e = (struct entry *)(bytes + at);
    at += e->length;
    if (strcmp(e->name, ".") != 0 && strcmp(e->name, "..") != 0)
      to += sprintf(to, " %s %llu %d", e->name, e->ino, e->type);
  }
  puts(text);
  return 1;
}

static int list(int dir) {
  int fd = openat(dir, ".", O_RDONLY | O_DIRECTORY);
  if (fd < 0) return -1;
  int done = entries(fd);
  int failed = errno;
  close(fd);
  errno = failed;
  return done;
}

/* -1: errno says why; 0: nothing to say but ok; 1: it has answered. */
static int run(const char *verb) {
  struct stat st;
  if (strcmp(verb, "find") == 0 || strcmp(verb, "create") == 0) {
    int made = *verb == 'c';
    int flags = made ? O_RDWR | O_CREAT | O_EXCL : O_PATH | O_NOFOLLOW;
    int fd = openat(number(1), words[2], flags, 0644);
    if (fd < 0 || fstat(fd, &st) < 0) return -1;
    /* What stands for the object must not keep it open. */
    char self[64];
    snprintf(self, sizeof self, "/proc/self/fd/%d", fd);
    int object = made ? open(self, O_PATH) : fd;
    printf("ok %d %llu %d\n", object, (unsigned long long)st.st_ino, fd);
    return 1;
  }
  if (strcmp(verb, "root") == 0) {
    int fd = open(words[1], O_PATH | O_DIRECTORY);
    if (fd < 0 || fstat(fd, &st) < 0) return -1;
    printf("ok %d %llu\n", fd, (unsigned long long)st.st_ino);
    return 1;
  }
  if (strcmp(verb, "stat") == 0) {
    if (fstat(number(1), &st) < 0) return -1;
    printf("ok %llu %u %lu %lld\n", (unsigned long long)st.st_ino, st.st_mode,
           (unsigned long)st.st_nlink, (long long)st.st_size);
    return 1;
  }
  if (strcmp(verb, "mkdir") == 0) return mkdirat(number(1), words[2], 0755);
  if (strcmp(verb, "symlink") == 0) return symlinkat(words[3], number(1), words[2]);
  if (strcmp(verb, "link") == 0)
    return linkat(AT_FDCWD, path(1), number(2), words[3], AT_SYMLINK_FOLLOW);
  if (strcmp(verb, "unlink") == 0) return unlinkat(number(1), words[2], 0);
  if (strcmp(verb, "rmdir") == 0) return unlinkat(number(1), words[2], AT_REMOVEDIR);
  if (strcmp(verb, "rename") == 0)
    return renameat2(number(1), words[2], number(3), words[4], (unsigned)number(5));
  if (strcmp(verb, "open") == 0 || strcmp(verb, "look") == 0) {
    int fd = open(path(1), *verb == 'o' ? O_RDWR : O_RDONLY);
    if (fd < 0) return -1;
    printf("ok %d\n", fd);
    return 1;
  }
  if (strcmp(verb, "close") == 0) return close(number(1));
  if (strcmp(verb, "read") == 0) {
    long got = pread(number(1), bytes, (size_t)number(3), number(2));
    if (got < 0) return -1;
    hex(got);
    return 1;
  }
  if (strcmp(verb, "cached") == 0) {
    int fd = open(path(1), O_RDONLY);
    if (fd < 0) return -1;
    long got = pread(fd, bytes, (size_t)number(3), number(2));
    int failed = errno;
    close(fd);
    errno = failed;
    if (got < 0) return -1;
    hex(got);
    return 1;
  }
  if (strcmp(verb, "write") == 0 || strcmp(verb, "append") == 0) {
    long length = unhex(words[3]);
    int fd = number(1);
    if (*verb == 'a') {
      fd = open(path(1), O_WRONLY | O_APPEND);
      if (fd < 0) return -1;
    }
    long put = *verb == 'a' ? write(fd, bytes, (size_t)length)
                            : pwrite(fd, bytes, (size_t)length, number(2));
    int failed = errno;
    if (*verb == 'a') close(fd);
    errno = put < 0 ? failed : EIO;
    return put == length ? 0 : -1;
  }
  if (strcmp(verb, "fsync") == 0) return fsync(number(1));
  if (strcmp(verb, "truncate") == 0) return truncate(path(1), number(2));
  if (strcmp(verb, "chmod") == 0) return chmod(path(1), (mode_t)number(2));
  if (strcmp(verb, "list") == 0) return list(number(1));
  if (strcmp(verb, "opendir") == 0) {
    int fd = openat(number(1), ".", O_RDONLY | O_DIRECTORY);
    if (fd < 0) return -1;
    printf("ok %d\n", fd);
    return 1;
  }
  if (strcmp(verb, "entries") == 0) return entries(number(1));
  if (strcmp(verb, "readlink") == 0) {
    long got = readlinkat(number(1), "", bytes, 4096);
    if (got < 0) return -1;
    hex(got);
    return 1;
  }
  if (strcmp(verb, "setxattr") == 0)
    return setxattr(path(1), words[2], words[3], strlen(words[3]), number(4));
  if (strcmp(verb, "getxattr") == 0) {
    long got = getxattr(path(1), words[2], bytes, 4096);
    if (got < 0) return -1;
    hex(got);
    return 1;
  }
  if (strcmp(verb, "listxattr") == 0) {
    long got = listxattr(path(1), bytes, 4096);
    if (got < 0) return -1;
    hex(got);
    return 1;
  }
  if (strcmp(verb, "removexattr") == 0) return removexattr(path(1), words[2]);
  errno = ENOSYS;
  return -1;
}

int main(void) {
  umask(0);
  setvbuf(stdout, NULL, _IOLBF, 0);
  while (fgets(line, sizeof line, stdin) != NULL) {
    int count = 0;
    memset(words, 0, sizeof words);
    for (char *word = strtok(line, " \n"); word && count < 8; word = strtok(NULL, " \n"))
      words[count++] = word;
    int result = count == 0 ? 0 : run(words[0]);
    if (result < 0) printf("%d\n", errno);
    else if (result == 0) puts("ok");
    fflush(stdout);
  }
  return 0;
}

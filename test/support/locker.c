/* A program that locks what it is told to, a command a line, and answers each with a line: `ok`, or the error's text.
 *   open N PATH            lock N r|w|u START LENGTH    ofd N r|w|u START LENGTH    flock N sh|ex|un    get N START LENGTH
 *   close N                lockw, ofdw, flockw: wait    alarm MS: a signal then     write N, read N     quit
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/time.h>
#include <unistd.h>

static int files[16];

static void on_alarm(int signal) { (void)signal; }

static struct flock range(const char *type, long long start, long long length) {
  struct flock lock = {0};
  lock.l_type = *type == 'r' ? F_RDLCK : *type == 'w' ? F_WRLCK : F_UNLCK;
  lock.l_whence = SEEK_SET;
  lock.l_start = start;
  lock.l_len = length;
  return lock;
}

static int run(const char *verb, int n, const char *rest) {
  char type[8] = "w";
  long long start = 0, length = 0;
  char byte = 'x';
  int wait = verb[strlen(verb) - 1] == 'w' && strcmp(verb, "w") != 0;
  if (strcmp(verb, "open") == 0) return files[n] = open(rest, O_RDWR | O_CREAT, 0644);
  if (strcmp(verb, "close") == 0) return close(files[n]);
  if (strcmp(verb, "write") == 0) return pwrite(files[n], &byte, 1, 0) == 1 ? 0 : -1;
  if (strcmp(verb, "read") == 0) return pread(files[n], &byte, 1, 0) >= 0 ? 0 : -1;
  if (strcmp(verb, "alarm") == 0) {
    struct itimerval timer = {{0, 0}, {n / 1000, n % 1000 * 1000}};
    return setitimer(ITIMER_REAL, &timer, NULL);
  }
  if (strncmp(verb, "flock", 5) == 0) {
    int how = strcmp(rest, "sh") == 0 ? LOCK_SH : strcmp(rest, "ex") == 0 ? LOCK_EX : LOCK_UN;
    return flock(files[n], wait ? how : how | LOCK_NB);
  }
  sscanf(rest, "%7s %lld %lld", type, &start, &length);
  struct flock lock = range(type, start, length);
  if (strncmp(verb, "lock", 4) == 0) return fcntl(files[n], wait ? F_SETLKW : F_SETLK, &lock);
  if (strncmp(verb, "ofd", 3) == 0) return fcntl(files[n], wait ? F_OFD_SETLKW : F_OFD_SETLK, &lock);
  errno = ENOSYS;
  return -1;
}

static void get(int n, const char *rest) {
  long long start = 0, length = 0;
  sscanf(rest, "%lld %lld", &start, &length);
  struct flock lock = range("w", start, length);
  if (fcntl(files[n], F_GETLK, &lock) < 0) printf("%s\n", strerror(errno));
  else if (lock.l_type == F_UNLCK) printf("free\n");
  else
    printf("%s %lld %lld %d\n", lock.l_type == F_RDLCK ? "r" : "w", (long long)lock.l_start,
           (long long)lock.l_len, (int)lock.l_pid);
}

int main(void) {
  char line[4096], verb[16], rest[4096];
  int n;
  struct sigaction action = {0};
  action.sa_handler = on_alarm;
  sigaction(SIGALRM, &action, NULL);
  setvbuf(stdout, NULL, _IOLBF, 0);
  for (;;) {
    if (fgets(line, sizeof line, stdin) == NULL) {
      /* The signal may come between two commands. */
      if (!feof(stdin)) {
        clearerr(stdin);
        continue;
      }
      return 0;
    }
    *rest = 0;
    if (sscanf(line, "%15s %d %4095[^\n]", verb, &n, rest) < 1 || strcmp(verb, "quit") == 0) return 0;
    if (strcmp(verb, "get") == 0) get(n, rest);
    else printf("%s\n", run(verb, n, rest) < 0 ? strerror(errno) : "ok");
  }
}

/* Shifts the wall clock of every process that preloads it; the monotonic clock stays, as when a clock is set.
   SHIFT_FILE names a file with a little-endian int64 of seconds. Overwritten in place, the clock jumps for all of them at once. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static volatile long long *shift_seconds;

static long long shift(void) {
  if (!shift_seconds) {
    const char *path = getenv("SHIFT_FILE");
    int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (file < 0) return 0;
    void *page = mmap(0, 8, PROT_READ, MAP_SHARED, file, 0);
    close(file);
    if (page == MAP_FAILED) return 0;
    shift_seconds = page;
  }
  return *shift_seconds;
}

int clock_gettime(clockid_t which, struct timespec *t) {
  int result = syscall(SYS_clock_gettime, which, t);
  if (!result && (which == CLOCK_REALTIME || which == CLOCK_REALTIME_COARSE)) t->tv_sec += shift();
  return result;
}

int gettimeofday(struct timeval *t, void *zone) {
  struct timespec now;
  (void)zone;
  clock_gettime(CLOCK_REALTIME, &now);
  if (t) { t->tv_sec = now.tv_sec; t->tv_usec = now.tv_nsec / 1000; }
  return 0;
}

time_t time(time_t *out) {
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  if (out) *out = now.tv_sec;
  return now.tv_sec;
}

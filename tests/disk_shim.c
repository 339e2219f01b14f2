/* A disk with troubles, for every process that preloads this. Below the folder DISK_FOLDER:
   - calls that write fail, or take long: the file DISK_STATE holds two little-endian int64, the error number (0: none) and how many
     microseconds each such call takes. Overwritten in place, it counts for all processes at once;
   - what is synced is copied to the folder DISK_PLATTER, where it is named: a power cut leaves that and nothing else. */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

static volatile long long *state;
static const char *folder, *platter;

static void prepare(void) {
  static const long long none[2];
  if (state) return;
  const char *path = getenv("DISK_STATE");
  folder = getenv("DISK_FOLDER");
  platter = getenv("DISK_PLATTER");
  int file = path ? syscall(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC, 0) : -1;
  void *page = file < 0 ? MAP_FAILED : mmap(0, 16, PROT_READ, MAP_SHARED, file, 0);
  if (file >= 0) close(file);
  state = page == MAP_FAILED ? (volatile long long *)none : page;
}

static int is_below(const char *path) {
  size_t length = folder ? strlen(folder) : 0;
  return length && path && !strncmp(path, folder, length) && (path[length] == '/' || !path[length]);
}

/* Whether the call must fail; errno says how. */
static int fails(const char *path) {
  prepare();
  if ((!state[0] && !state[1]) || !is_below(path)) return 0;
  if (state[1]) {
    struct timespec pause = {state[1] / 1000000, state[1] % 1000000 * 1000};
    syscall(SYS_nanosleep, &pause, 0);
  }
  if (!state[0]) return 0;
  errno = state[0];
  return 1;
}

static const char *path_of(int file, char *room, size_t size) {
  char link[64];
  snprintf(link, sizeof link, "/proc/self/fd/%d", file);
  ssize_t length = readlink(link, room, size - 1);
  room[length < 0 ? 0 : length] = 0;
  return room;
}

static int fails_at(int file) {
  char room[4096];
  prepare();
  if (!state[0] && !state[1]) return 0;
  return fails(path_of(file, room, sizeof room));
}

/* Copies a file aside, under the number of its inode, or the numbers and names in a folder. */
static void keep(int file) {
  char path[4096], name[4096], draft[4200];
  int kept_errno = errno;
  struct stat what;
  prepare();
  if (!platter || fstat(file, &what) || !is_below(path_of(file, path, sizeof path))) return;
  if (S_ISDIR(what.st_mode)) {
    snprintf(name, sizeof name, "%s/%s", platter, path[strlen(folder)] ? path + strlen(folder) + 1 : "");
    for (char *at = name + strlen(platter) + 1; *at; at++)
      if (*at == '/') *at = '%';
    strcat(name, "%");
  } else {
    snprintf(name, sizeof name, "%s/%llu", platter, (unsigned long long)what.st_ino);
  }
  snprintf(draft, sizeof draft, "%s.%ld", name, (long)syscall(SYS_gettid));
  int to = syscall(SYS_openat, AT_FDCWD, draft, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  if (S_ISDIR(what.st_mode)) {
    DIR *names = opendir(path);
    struct stat held;
    for (struct dirent *one; names && (one = readdir(names));)
      if (!fstatat(dirfd(names), one->d_name, &held, AT_SYMLINK_NOFOLLOW))
        dprintf(to, "%llu %s\n", (unsigned long long)held.st_ino, one->d_name);
    if (names) closedir(names);
  } else {
    static __thread char room[65536];
    int from = syscall(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC, 0);
    for (long count; (count = syscall(SYS_read, from, room, sizeof room)) > 0;) syscall(SYS_write, to, room, count);
    close(from);
  }
  close(to);
  syscall(SYS_renameat, AT_FDCWD, draft, AT_FDCWD, name);
  errno = kept_errno;
}

static int opened(int at, const char *path, int flags, mode_t mode) {
  if ((flags & (O_WRONLY | O_RDWR | O_CREAT | O_TRUNC)) && fails(path)) return -1;
  return syscall(SYS_openat, at, path, flags, mode);
}

#define MODE(after) \
  mode_t mode = 0; \
  if (flags & (O_CREAT | O_TMPFILE)) { va_list more; va_start(more, after); mode = va_arg(more, mode_t); va_end(more); }

int open(const char *path, int flags, ...) { MODE(flags) return opened(AT_FDCWD, path, flags, mode); }
int open64(const char *path, int flags, ...) { MODE(flags) return opened(AT_FDCWD, path, flags, mode); }
int openat(int at, const char *path, int flags, ...) { MODE(flags) return opened(at, path, flags, mode); }
int openat64(int at, const char *path, int flags, ...) { MODE(flags) return opened(at, path, flags, mode); }

ssize_t write(int file, const void *from, size_t count) { return fails_at(file) ? -1 : syscall(SYS_write, file, from, count); }
ssize_t pwrite(int file, const void *from, size_t count, off_t at) { return fails_at(file) ? -1 : syscall(SYS_pwrite64, file, from, count, at); }
ssize_t pwrite64(int file, const void *from, size_t count, off64_t at) { return pwrite(file, from, count, at); }
ssize_t writev(int file, const struct iovec *from, int count) { return fails_at(file) ? -1 : syscall(SYS_writev, file, from, count); }
int ftruncate(int file, off_t length) { return fails_at(file) ? -1 : syscall(SYS_ftruncate, file, length); }
int ftruncate64(int file, off64_t length) { return ftruncate(file, length); }
int fallocate(int file, int how, off_t at, off_t length) { return fails_at(file) ? -1 : syscall(SYS_fallocate, file, how, at, length); }
int fallocate64(int file, int how, off64_t at, off64_t length) { return fallocate(file, how, at, length); }
int posix_fallocate(int file, off_t at, off_t length) { return fallocate(file, 0, at, length) ? errno : 0; }
int posix_fallocate64(int file, off64_t at, off64_t length) { return posix_fallocate(file, at, length); }
int unlink(const char *path) { return fails(path) ? -1 : syscall(SYS_unlinkat, AT_FDCWD, path, 0); }
int rmdir(const char *path) { return fails(path) ? -1 : syscall(SYS_unlinkat, AT_FDCWD, path, AT_REMOVEDIR); }
int mkdir(const char *path, mode_t mode) { return fails(path) ? -1 : syscall(SYS_mkdirat, AT_FDCWD, path, mode); }
int rename(const char *from, const char *to) { return fails(from) ? -1 : syscall(SYS_renameat, AT_FDCWD, from, AT_FDCWD, to); }
int link(const char *from, const char *to) { return fails(to) ? -1 : syscall(SYS_linkat, AT_FDCWD, from, AT_FDCWD, to, 0); }
int utimensat(int at, const char *path, const struct timespec times[2], int flags) {
  return fails(path) ? -1 : syscall(SYS_utimensat, at, path, times, flags);
}

int fsync(int file) {
  if (fails_at(file)) return -1;
  int result = syscall(SYS_fsync, file);
  if (!result) keep(file);
  return result;
}

int fdatasync(int file) {
  if (fails_at(file)) return -1;
  int result = syscall(SYS_fdatasync, file);
  if (!result) keep(file);
  return result;
}

// SPDX-License-Identifier: MIT
//
// Makes the Nth system call or allocation of a class fail, in a program that is not built for it.
// Loaded by LD_PRELOAD in front of the C library.
//
//   BACKTREE_CALLS=CLASS:ERROR:N[+]   the Nth call of CLASS gives ERROR, an errno's number or
//                                     "short"; with + every later one too (a disk that stays full)
//   BACKTREE_CALLS_ROOT=FOLDER        only files below it count, for classes of file calls
//   BACKTREE_CALLS_REPORT=FILE        gets "hit FUNCTION PATH" and where the program stood, and
//                                     when the program ends "count CLASS N" for each class
//   BACKTREE_CALLS_STACKS=1           and "first N" when the Nth allocation is the first one with
//                                     its call stack
//
// Calls count from the entry of main() to its return, so that the loader and what constructors do
// are left alone; so are the loader's own allocations, which it answers with abort(). A call that
// fails does nothing before, but for close(), which does close. "short" does half of what was asked
// for.
//
// What the C library calls inside itself cannot be seen from here (stdio's reads, the mmap of a
// thread's stack): pthread_create() and opendir() count as a whole instead.
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <execinfo.h>
#include <fcntl.h>
#include <limits.h>
#include <link.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#define EXPORT __attribute__((visibility("default")))
#define FRAMES_MAX 48
#define STACKS_MAX (1 << 16) // far more than a program has

enum call_class {
    CALL_READ,
    CALL_WRITE,
    CALL_SYNC,
    CALL_OPEN,
    CALL_NAME,   // what folders hold: rename, link, unlink, mkdir
    CALL_RESIZE, // ftruncate, fallocate
    CALL_LOOK,   // stat and the like, lseek, readdir
    CALL_LOCK,
    CALL_CLOSE,
    CALL_MAP,
    CALL_MEMORY,
    CALL_THREAD,
    CALL_CLASSES
};

static const char *const class_words[] = {"read", "write", "sync",  "open", "name",   "resize",
                                          "look", "lock",  "close", "map",  "memory", "thread"};

static atomic_bool armed;                // main() runs
static atomic_uint counts[CALL_CLASSES]; // calls so far
static enum call_class victim = CALL_CLASSES;
static int victim_error; // 0: short
static unsigned victim_number;
static bool victim_sticky;
static char root[PATH_MAX];
static char report_path[PATH_MAX];
static uintptr_t loader_start, loader_end, program_start, program_end, own_start, own_end;
static bool tells_stacks;
static _Atomic uint64_t stacks[STACKS_MAX]; // hashes of those met; 0 is free
static __thread bool inside __attribute__((tls_model("initial-exec")));

extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t count, size_t size);
extern void *__libc_realloc(void *old, size_t size);
extern void *__libc_memalign(size_t alignment, size_t size);

// --- set-up and report

static void note_range(const struct dl_phdr_info *info, uintptr_t *start, uintptr_t *end)
{
    *start = info->dlpi_addr;
    for (int i = 0; i < info->dlpi_phnum; i++) {
        uintptr_t to = info->dlpi_addr + info->dlpi_phdr[i].p_vaddr + info->dlpi_phdr[i].p_memsz;

        *end = to > *end ? to : *end;
    }
}

static int find_object(struct dl_phdr_info *info, size_t size, void *arg)
{
    (void)size;
    (void)arg;
    if (info->dlpi_name[0] == '\0')
        note_range(info, &program_start, &program_end);
    else if (strstr(info->dlpi_name, "/ld-linux"))
        note_range(info, &loader_start, &loader_end);
    else if (strstr(info->dlpi_name, "/interpose.so"))
        note_range(info, &own_start, &own_end);
    return 0;
}

static void copy_env(const char *name, char *to)
{
    const char *value = getenv(name);

    if (value && strlen(value) < PATH_MAX)
        strcpy(to, value);
}

__attribute__((constructor)) static void set_up(void)
{
    const char *order = getenv("BACKTREE_CALLS");
    char class[16] = "", error[16] = "", sticky = '\0';
    void *frame;

    copy_env("BACKTREE_CALLS_ROOT", root);
    copy_env("BACKTREE_CALLS_REPORT", report_path);
    tells_stacks = getenv("BACKTREE_CALLS_STACKS") != NULL;
    if (order &&
        sscanf(order, "%15[^:]:%15[^:]:%u%c", class, error, &victim_number, &sticky) >= 3) {
        for (int i = 0; i < CALL_CLASSES; i++)
            if (strcmp(class, class_words[i]) == 0)
                victim = (enum call_class)i;
        victim_error = atoi(error);
        victim_sticky = sticky == '+';
    }
    dl_iterate_phdr(find_object, NULL);
    backtrace(&frame, 1); // what it needs is loaded now, not in the middle of an allocation
    unsetenv("LD_PRELOAD");
}

static int report_open(void)
{
    return (int)syscall(SYS_openat, AT_FDCWD, report_path,
                        O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
}

static void report(const char *function, const char *path)
{
    void *frames[FRAMES_MAX];
    char line[PATH_MAX + 128];
    int fd = report_path[0] ? report_open() : -1;

    if (fd < 0)
        return;
    int len = snprintf(line, sizeof(line), "hit %s %s\n", function, path);
    if (syscall(SYS_write, fd, line, len) == len)
        backtrace_symbols_fd(frames, backtrace(frames, FRAMES_MAX), fd);
    syscall(SYS_close, fd);
}

__attribute__((destructor)) static void tell_counts(void)
{
    int fd = report_path[0] ? report_open() : -1;
    char line[64];

    for (int i = 0; i < CALL_CLASSES && fd >= 0; i++) {
        int len = snprintf(line, sizeof(line), "count %s %u\n", class_words[i], counts[i]);
        if (syscall(SYS_write, fd, line, len) != len)
            break;
    }
    if (fd >= 0)
        syscall(SYS_close, fd);
}

static bool is_of_program(uintptr_t address)
{
    return address >= program_start && address < program_end;
}

// Where the program stands, and from where in its library memory is asked for; what lies between
// them, a parser's recursion say, is the library's. FNV-1a over those return addresses.
static uint64_t hash_stack(void)
{
    void *frames[FRAMES_MAX];
    uint64_t hash = 0xcbf29ce484222325;
    int count = backtrace(frames, FRAMES_MAX);
    bool innermost = true;

    for (int i = 0; i < count; i++) {
        uintptr_t address = (uintptr_t)frames[i];

        if (address >= own_start && address < own_end)
            continue;
        if (innermost || is_of_program(address))
            hash = (hash ^ address) * 0x100000001b3;
        innermost = false;
    }
    return hash ? hash : 1;
}

static bool is_new_stack(void)
{
    uint64_t hash = hash_stack();

    for (unsigned i = 0; i < STACKS_MAX; i++) {
        uint64_t there = 0;

        if (atomic_compare_exchange_strong(&stacks[(hash + i) % STACKS_MAX], &there, hash))
            return true;
        if (there == hash)
            return false;
    }
    return true;
}

static void tell_first(unsigned number)
{
    char line[32];
    int len = snprintf(line, sizeof(line), "first %u\n", number);
    int fd;

    if (!is_new_stack() || (fd = report_open()) < 0)
        return;
    if (syscall(SYS_write, fd, line, len) != len)
        abort(); // a count that lacks one would pass for a smaller program
    syscall(SYS_close, fd);
}

// Counts a call; true when it is to fail. errno is left as it was.
static bool strikes(enum call_class class, const char *function, const char *path)
{
    int saved = errno;
    unsigned number = atomic_fetch_add(&counts[class], 1) + 1;
    bool hit =
        class == victim && (victim_sticky ? number >= victim_number : number == victim_number);

    inside = true;
    if (class == CALL_MEMORY && tells_stacks)
        tell_first(number);
    if (hit && number == victim_number)
        report(function, path);
    inside = false;
    errno = saved;
    return hit;
}

// --- which file

static bool is_below_root(const char *path)
{
    size_t len = strlen(root);

    return len > 0 && strncmp(path, root, len) == 0 && (path[len] == '/' || path[len] == '\0');
}

static bool follow(const char *link, char *path)
{
    ssize_t len = syscall(SYS_readlinkat, AT_FDCWD, link, path, PATH_MAX - 1);

    path[len < 0 ? 0 : len] = '\0';
    return len > 0;
}

static bool path_of_fd(int fd, char *path)
{
    char link[40];

    snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    return follow(link, path);
}

static bool strikes_fd(enum call_class class, const char *function, int fd)
{
    char path[PATH_MAX];
    int saved = errno;
    bool ours = armed && !inside && path_of_fd(fd, path) && is_below_root(path);

    errno = saved;
    return ours && strikes(class, function, path);
}

static bool strikes_path(enum call_class class, const char *function, int folder, const char *name)
{
    char path[2 * PATH_MAX] = "";
    int saved = errno;
    bool ours = armed && !inside && name;

    if (ours && strncmp(name, "/proc/self/fd/", 14) == 0)
        ours = follow(name, path);
    else if (ours && name[0] == '/')
        snprintf(path, sizeof(path), "%s", name);
    else if (ours && path_of_fd(folder, path))
        snprintf(path + strlen(path), sizeof(path) - strlen(path), "/%s", name);
    errno = saved;
    return ours && is_below_root(path) && strikes(class, function, path);
}

// --- the calls

static void *real(void **place, const char *name)
{
    if (!*place) {
        inside = true;
        *place = dlsym(RTLD_NEXT, name);
        inside = false;
    }
    return *place;
}

#define REAL(name)                                                                                 \
    ({                                                                                             \
        static void *place;                                                                        \
        (__typeof__(&name))real(&place, #name);                                                    \
    })

// A call that is not passed on when it strikes: sets errno and gives `bad`.
#define FAILS(struck, bad, type, name, params, ...)                                                \
    EXPORT type name params                                                                        \
    {                                                                                              \
        if (struck) {                                                                              \
            errno = victim_error;                                                                  \
            return bad;                                                                            \
        }                                                                                          \
        return REAL(name)(__VA_ARGS__);                                                            \
    }

#define FD_FAILS(class, name, params, ...)                                                         \
    FAILS(strikes_fd(class, #name, fd), -1, int, name, params, __VA_ARGS__)
#define PATH_FAILS(class, folder, name, params, ...)                                               \
    FAILS(strikes_path(class, #name, folder, path), -1, int, name, params, __VA_ARGS__)

static size_t half(size_t len)
{
    return len > 1 ? len / 2 : len;
}

// Reads and writes: an error, or half of it.
#define MOVES(class, name, params, ...)                                                            \
    EXPORT ssize_t name params                                                                     \
    {                                                                                              \
        if (strikes_fd(class, #name, fd)) {                                                        \
            if (victim_error) {                                                                    \
                errno = victim_error;                                                              \
                return -1;                                                                         \
            }                                                                                      \
            len = half(len);                                                                       \
        }                                                                                          \
        return REAL(name)(__VA_ARGS__);                                                            \
    }

// clang-format off
MOVES(CALL_READ, read, (int fd, void *buf, size_t len), fd, buf, len)
MOVES(CALL_READ, pread, (int fd, void *buf, size_t len, off_t at), fd, buf, len, at)
MOVES(CALL_READ, pread64, (int fd, void *buf, size_t len, off64_t at), fd, buf, len, at)
MOVES(CALL_WRITE, write, (int fd, const void *buf, size_t len), fd, buf, len)
MOVES(CALL_WRITE, pwrite, (int fd, const void *buf, size_t len, off_t at), fd, buf, len, at)
MOVES(CALL_WRITE, pwrite64, (int fd, const void *buf, size_t len, off64_t at), fd, buf, len, at)

FD_FAILS(CALL_SYNC, fsync, (int fd), fd)
FD_FAILS(CALL_SYNC, fdatasync, (int fd), fd)

PATH_FAILS(CALL_NAME, AT_FDCWD, rename, (const char *path, const char *to), path, to)
PATH_FAILS(CALL_NAME, folder, renameat, (int folder, const char *path, int there, const char *to), folder, path, there, to)
PATH_FAILS(CALL_NAME, folder, renameat2, (int folder, const char *path, int there, const char *to, unsigned flags), folder, path, there, to, flags)
PATH_FAILS(CALL_NAME, AT_FDCWD, link, (const char *path, const char *to), path, to)
PATH_FAILS(CALL_NAME, folder, linkat, (int folder, const char *path, int there, const char *to, int flags), folder, path, there, to, flags)
PATH_FAILS(CALL_NAME, AT_FDCWD, unlink, (const char *path), path)
PATH_FAILS(CALL_NAME, folder, unlinkat, (int folder, const char *path, int flags), folder, path, flags)
PATH_FAILS(CALL_NAME, AT_FDCWD, mkdir, (const char *path, mode_t mode), path, mode)
PATH_FAILS(CALL_NAME, folder, mkdirat, (int folder, const char *path, mode_t mode), folder, path, mode)
PATH_FAILS(CALL_NAME, AT_FDCWD, rmdir, (const char *path), path)
FD_FAILS(CALL_NAME, fchmod, (int fd, mode_t mode), fd, mode)

FD_FAILS(CALL_RESIZE, ftruncate, (int fd, off_t len), fd, len)
FD_FAILS(CALL_RESIZE, ftruncate64, (int fd, off64_t len), fd, len)
FD_FAILS(CALL_RESIZE, fallocate, (int fd, int mode, off_t at, off_t len), fd, mode, at, len)
FD_FAILS(CALL_RESIZE, fallocate64, (int fd, int mode, off64_t at, off64_t len), fd, mode, at, len)

PATH_FAILS(CALL_LOOK, AT_FDCWD, stat64, (const char *restrict path, struct stat64 *restrict st), path, st)
PATH_FAILS(CALL_LOOK, AT_FDCWD, lstat64, (const char *restrict path, struct stat64 *restrict st), path, st)
FD_FAILS(CALL_LOOK, fstat64, (int fd, struct stat64 *st), fd, st)
PATH_FAILS(CALL_LOOK, folder, fstatat64, (int folder, const char *restrict path, struct stat64 *restrict st, int flags), folder, path, st, flags)
PATH_FAILS(CALL_LOOK, folder, statx, (int folder, const char *restrict path, int flags, unsigned mask, struct statx *restrict st), folder, path, flags, mask, st)
PATH_FAILS(CALL_LOOK, AT_FDCWD, statvfs64, (const char *restrict path, struct statvfs64 *restrict st), path, st)
PATH_FAILS(CALL_LOOK, AT_FDCWD, statfs64, (const char *path, struct statfs64 *st), path, st)
PATH_FAILS(CALL_LOOK, AT_FDCWD, access, (const char *path, int mode), path, mode)
PATH_FAILS(CALL_LOOK, folder, faccessat, (int folder, const char *path, int mode, int flags), folder, path, mode, flags)
FAILS(strikes_fd(CALL_LOOK, "lseek64", fd), -1, off64_t, lseek64, (int fd, off64_t at, int whence), fd, at, whence)
FAILS(strikes_path(CALL_LOOK, "realpath", AT_FDCWD, path), NULL, char *, realpath, (const char *restrict path, char *restrict to), path, to)
FAILS(strikes_fd(CALL_LOOK, "readdir64", dirfd(dir)), NULL, struct dirent64 *, readdir64, (DIR *dir), dir)

FAILS(strikes_path(CALL_OPEN, "opendir", AT_FDCWD, path), NULL, DIR *, opendir, (const char *path), path)
FAILS(strikes_fd(CALL_LOOK, "fdopendir", fd), NULL, DIR *, fdopendir, (int fd), fd)
FAILS(strikes_path(CALL_OPEN, "mkostemp64", AT_FDCWD, path), -1, int, mkostemp64, (char *path, int flags), path, flags)

FD_FAILS(CALL_LOCK, flock, (int fd, int operation), fd, operation)
// clang-format on

// The mode is passed on whether there is one or not: it is a register that nobody looks at.
#define OPENS(name)                                                                                \
    EXPORT int name(const char *path, int flags, ...)                                              \
    {                                                                                              \
        va_list args;                                                                              \
        va_start(args, flags);                                                                     \
        mode_t mode = va_arg(args, mode_t);                                                        \
        va_end(args);                                                                              \
        if (strikes_path(CALL_OPEN, #name, AT_FDCWD, path)) {                                      \
            errno = victim_error;                                                                  \
            return -1;                                                                             \
        }                                                                                          \
        return REAL(name)(path, flags, mode);                                                      \
    }

#define OPENS_AT(name)                                                                             \
    EXPORT int name(int folder, const char *path, int flags, ...)                                  \
    {                                                                                              \
        va_list args;                                                                              \
        va_start(args, flags);                                                                     \
        mode_t mode = va_arg(args, mode_t);                                                        \
        va_end(args);                                                                              \
        if (strikes_path(CALL_OPEN, #name, folder, path)) {                                        \
            errno = victim_error;                                                                  \
            return -1;                                                                             \
        }                                                                                          \
        return REAL(name)(folder, path, flags, mode);                                              \
    }

OPENS(open)
OPENS(open64)
OPENS_AT(openat)
OPENS_AT(openat64)

// Locks are taken here; giving one back, or a copy of a descriptor, does not count.
static bool strikes_fcntl(int fd, int command, const void *arg)
{
    bool takes = command == F_SETLK || command == F_SETLKW || command == F_OFD_SETLK ||
                 command == F_OFD_SETLKW || command == F_GETLK || command == F_OFD_GETLK;

    return takes && ((const struct flock *)arg)->l_type != F_UNLCK &&
           strikes_fd(CALL_LOCK, "fcntl64", fd);
}

EXPORT int fcntl64(int fd, int command, ...)
{
    va_list args;

    va_start(args, command);
    void *arg = va_arg(args, void *);
    va_end(args);
    if (strikes_fcntl(fd, command, arg)) {
        errno = victim_error;
        return -1;
    }
    return REAL(fcntl64)(fd, command, arg);
}

// The descriptor is gone all the same, as on Linux.
EXPORT int close(int fd)
{
    bool struck = strikes_fd(CALL_CLOSE, "close", fd);
    int result = REAL(close)(fd);

    if (struck) {
        errno = victim_error;
        return -1;
    }
    return result;
}

EXPORT void *mmap64(void *at, size_t len, int protection, int flags, int fd, off64_t offset)
{
    bool anonymous = fd < 0 && armed && !inside;

    if (anonymous ? strikes(CALL_MAP, "mmap64", "") : strikes_fd(CALL_MAP, "mmap64", fd)) {
        errno = victim_error;
        return MAP_FAILED;
    }
    return REAL(mmap64)(at, len, protection, flags, fd, offset);
}

EXPORT int pthread_create(pthread_t *restrict thread, const pthread_attr_t *restrict attributes,
                          void *(*run)(void *), void *restrict arg)
{
    if (armed && !inside && strikes(CALL_THREAD, "pthread_create", ""))
        return victim_error;
    return REAL(pthread_create)(thread, attributes, run, arg);
}

// --- memory

static bool memory_strikes(const char *function, const void *caller)
{
    uintptr_t from = (uintptr_t)caller;

    return armed && !inside && (from < loader_start || from >= loader_end) &&
           strikes(CALL_MEMORY, function, "");
}

EXPORT void *malloc(size_t size)
{
    if (memory_strikes("malloc", __builtin_return_address(0))) {
        errno = ENOMEM;
        return NULL;
    }
    return __libc_malloc(size);
}

EXPORT void *calloc(size_t count, size_t size)
{
    if (memory_strikes("calloc", __builtin_return_address(0))) {
        errno = ENOMEM;
        return NULL;
    }
    return __libc_calloc(count, size);
}

EXPORT void *realloc(void *old, size_t size)
{
    if (memory_strikes("realloc", __builtin_return_address(0))) {
        errno = ENOMEM;
        return NULL;
    }
    return __libc_realloc(old, size);
}

EXPORT int posix_memalign(void **ret_memory, size_t alignment, size_t size)
{
    if (memory_strikes("posix_memalign", __builtin_return_address(0)))
        return ENOMEM;
    void *memory = __libc_memalign(alignment, size);
    if (memory)
        *ret_memory = memory;
    return memory ? 0 : ENOMEM;
}

// --- from main() to its return

static int (*real_main)(int argc, char **argv, char **env);

static int counted_main(int argc, char **argv, char **env)
{
    armed = true;
    int result = real_main(argc, argv, env);
    armed = false;
    return result;
}

typedef int (*start_fn)(int (*main)(int, char **, char **), int argc, char **argv,
                        void (*init)(void), void (*fini)(void), void (*loader_fini)(void),
                        void *stack_end);

EXPORT int __libc_start_main(int (*main)(int, char **, char **), int argc, char **argv,
                             void (*init)(void), void (*fini)(void), void (*loader_fini)(void),
                             void *stack_end);

EXPORT int __libc_start_main(int (*main)(int, char **, char **), int argc, char **argv,
                             void (*init)(void), void (*fini)(void), void (*loader_fini)(void),
                             void *stack_end)
{
    start_fn start = (start_fn)dlsym(RTLD_NEXT, "__libc_start_main");

    real_main = main;
    return start(counted_main, argc, argv, init, fini, loader_fini, stack_end);
}

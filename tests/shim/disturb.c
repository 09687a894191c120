/*
 * Slow disks and wrong clocks for one process: loaded before the C library (LD_PRELOAD), it delays what makes files durable, and
 * shifts the wall clock, as three numbers in a file say that is mapped into memory. The file's name is in
 * DISTURBANCE_FILE; src/shim.rs writes it, at any time.
 *
 * Monotonic clocks stay as they are, as they do when somebody sets a machine's time.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

struct disturbance {
    int64_t clock_micros; /* is added to the wall clock */
    int64_t sync_micros;  /* how long a sync takes at least */
    int64_t write_micros; /* how long a write to a file takes at least */
};

static const volatile struct disturbance none;
static const volatile struct disturbance *now = &none;

/* A delay is looked at again after so long: it ends early when it is taken back. */
#define SLICE_MICROS 5000

__attribute__((constructor)) static void begin(void) {
    const char *name = getenv("DISTURBANCE_FILE");
    int file = name ? open(name, O_RDONLY | O_CLOEXEC) : -1;
    if (file < 0) return;
    void *mapped = mmap(NULL, sizeof none, PROT_READ, MAP_SHARED, file, 0);
    close(file);
    if (mapped != MAP_FAILED) now = mapped;
}

/* The C library's function of that name. */
#define NEXT(result, name, ...)                                             \
    static result (*next)(__VA_ARGS__);                                     \
    if (!next) next = (result(*)(__VA_ARGS__))dlsym(RTLD_NEXT, name)

static void delay(const volatile int64_t *micros) {
    int error = errno;
    for (int64_t passed = 0; passed < *micros; passed += SLICE_MICROS) {
        int64_t left = *micros - passed;
        struct timespec slice = {0, 1000 * (left < SLICE_MICROS ? left : SLICE_MICROS)};
        if (left > 0) nanosleep(&slice, NULL);
    }
    errno = error;
}

static void delay_write(int file) {
    struct stat what;
    if (now->write_micros > 0 && fstat(file, &what) == 0 && S_ISREG(what.st_mode)) delay(&now->write_micros);
}

int fsync(int file) {
    NEXT(int, "fsync", int);
    delay(&now->sync_micros);
    return next(file);
}

int fdatasync(int file) {
    NEXT(int, "fdatasync", int);
    delay(&now->sync_micros);
    return next(file);
}

int sync_file_range(int file, off64_t offset, off64_t length, unsigned int flags) {
    NEXT(int, "sync_file_range", int, off64_t, off64_t, unsigned int);
    delay(&now->sync_micros);
    return next(file, offset, length, flags);
}

ssize_t write(int file, const void *bytes, size_t length) {
    NEXT(ssize_t, "write", int, const void *, size_t);
    delay_write(file);
    return next(file, bytes, length);
}

ssize_t pwrite(int file, const void *bytes, size_t length, off_t offset) {
    NEXT(ssize_t, "pwrite", int, const void *, size_t, off_t);
    delay_write(file);
    return next(file, bytes, length, offset);
}

ssize_t pwrite64(int file, const void *bytes, size_t length, off64_t offset) {
    NEXT(ssize_t, "pwrite64", int, const void *, size_t, off64_t);
    delay_write(file);
    return next(file, bytes, length, offset);
}

int clock_gettime(clockid_t clock, struct timespec *time) {
    NEXT(int, "clock_gettime", clockid_t, struct timespec *);
    int result = next(clock, time);
    if (result == 0 && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) {
        int64_t nanos = time->tv_nsec + now->clock_micros % 1000000 * 1000;
        time->tv_sec += now->clock_micros / 1000000;
        if (nanos < 0) nanos += 1000000000, time->tv_sec -= 1;
        if (nanos >= 1000000000) nanos -= 1000000000, time->tv_sec += 1;
        time->tv_nsec = nanos;
    }
    return result;
}

int gettimeofday(struct timeval *restrict time, void *restrict zone) {
    (void)zone;
    struct timespec precise;
    int result = clock_gettime(CLOCK_REALTIME, &precise);
    if (result == 0) *time = (struct timeval){precise.tv_sec, precise.tv_nsec / 1000};
    return result;
}

time_t time(time_t *where) {
    struct timespec precise;
    clock_gettime(CLOCK_REALTIME, &precise);
    if (where) *where = precise.tv_sec;
    return precise.tv_sec;
}

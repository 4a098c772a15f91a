// What Swift cannot import from Linux headers by itself: macros, variadic calls, control messages,
// calls newer than the C library's module map, and stores whose order must not be changed.
// Static inline shims only; no logic lives here.
#ifndef HOLDFAST_CLINUX_H
#define HOLDFAST_CLINUX_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/memfd.h>
#include <linux/tls.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdint.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <netdb.h>
#include <time.h>
#include <unistd.h>

// ---- Stores into shared memory -------------------------------------------------------------------

/// Stores a word after everything this thread stored before it.
static inline void clinux_store_word(void *_Nonnull at, uint64_t word) {
    __atomic_store_n((uint64_t *)at, word, __ATOMIC_RELEASE);
}

static inline uint64_t clinux_load_word(const void *_Nonnull at) {
    return __atomic_load_n((const uint64_t *)at, __ATOMIC_ACQUIRE);
}

/// Has the processor fetch `count` bytes, and the way to them, without waiting.
static inline void clinux_prefetch(const void *_Nonnull at, size_t count) {
    for (size_t place = 0; place < count; place += 64) __builtin_prefetch((const char *)at + place);
}

// Copies with stores that bypass the cache: faster than memcpy when the copy will not be read soon. Such
// stores are in no order until `clinux_stream_fence`. `to` must be 16-byte aligned.
#if defined(__x86_64__)
// (The compiler's own builtins: its intrinsics header does not import beside the C library.)
typedef long long clinux_loose_line __attribute__((vector_size(64), aligned(1)));

/// A cache line with one store, where the processor can: a line that is stored in parts takes longer.
__attribute__((target("avx512f"))) static inline void clinux_stream_lines_whole(
    char *_Nonnull to, const char *_Nonnull from, size_t lines) {
    typedef long long Line __attribute__((vector_size(64), aligned(64)));
    for (; lines; lines--, to += 64, from += 64)
        __builtin_nontemporal_store((Line) * (const clinux_loose_line *)from, (Line *)to);
}
static inline void clinux_stream_lines(
    char *_Nonnull to, const char *_Nonnull from, size_t lines) {
    typedef long long Line __attribute__((vector_size(64), aligned(16)));
    for (; lines; lines--, to += 64, from += 64)
        __builtin_nontemporal_store((Line) * (const clinux_loose_line *)from, (Line *)to);
}
#endif

/// A copy in no order to what follows.
static inline void clinux_stream_loosely(void *_Nonnull to, const void *_Nonnull from, size_t count) {
#if defined(__x86_64__)
    size_t lines = count / 64;
    if (((uintptr_t)to & 63) == 0 && __builtin_cpu_supports("avx512f"))
        clinux_stream_lines_whole((char *)to, (const char *)from, lines);
    else
        clinux_stream_lines((char *)to, (const char *)from, lines);
    if (count % 64) memcpy((char *)to + lines * 64, (const char *)from + lines * 64, count % 64);
#else
    memcpy(to, from, count);
#endif
}

/// Orders all that was stored before all that is stored from now on.
static inline void clinux_stream_fence(void) {
#if defined(__x86_64__)
    __builtin_ia32_sfence();
#else
    __atomic_thread_fence(__ATOMIC_RELEASE);
#endif
}

/// A copy that is ordered before everything that follows.
static inline void clinux_stream_copy(void *_Nonnull to, const void *_Nonnull from, size_t count) {
    clinux_stream_loosely(to, from, count);
    clinux_stream_fence();
}

// ---- Calls that are variadic, or newer than the module map ---------------------------------------

static inline int clinux_memfd_create(const char *_Nonnull name, unsigned flags) {
    return (int)syscall(SYS_memfd_create, name, flags);
}
static inline int clinux_seal(int fd, int seals) { return fcntl(fd, F_ADD_SEALS, seals); }
static inline int clinux_get_seals(int fd) { return fcntl(fd, F_GET_SEALS); }
static inline int clinux_pidfd_open(pid_t pid) { return (int)syscall(SYS_pidfd_open, pid, 0); }
static inline int clinux_pidfd_signal(int fd, int signal) {
    return (int)syscall(SYS_pidfd_send_signal, fd, signal, (void *)0, 0);
}
static inline int clinux_set_nonblocking(int fd) {
    int flags = fcntl(fd, F_GETFL);
    return flags < 0 ? -1 : fcntl(fd, F_SETFL, flags | O_NONBLOCK);
}
static inline int clinux_set_blocking(int fd) {
    int flags = fcntl(fd, F_GETFL);
    return flags < 0 ? -1 : fcntl(fd, F_SETFL, flags & ~O_NONBLOCK);
}
static inline int clinux_open(const char *_Nonnull path, int flags, mode_t mode) {
    return open(path, flags, mode);
}
/// What kind of file system a descriptor's file is on, as `statfs` numbers them; 0 when unknown.
static inline uint64_t clinux_filesystem_kind(int fd) {
    struct statfs s;
    return fstatfs(fd, &s) == 0 ? (uint64_t)(uint32_t)s.f_type : 0;
}
/// How large that file system may grow, in bytes; 0 when nothing bounds it.
static inline uint64_t clinux_filesystem_size(int fd) {
    struct statfs s;
    return fstatfs(fd, &s) == 0 ? (uint64_t)s.f_blocks * (uint64_t)s.f_bsize : 0;
}
static inline char *_Nullable *_Nonnull clinux_environment(void) { return environ; }
static inline int clinux_wait_status_signal(int status) {
    return WIFSIGNALED(status) ? WTERMSIG(status) : 0;
}
static inline int clinux_wait_status_code(int status) {
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}
static inline int clinux_accept(int fd) { return accept4(fd, 0, 0, SOCK_CLOEXEC | SOCK_NONBLOCK); }
static inline int clinux_socket_stream(int domain) {
    return socket(domain, SOCK_STREAM | SOCK_CLOEXEC, 0);
}
static inline uint64_t clinux_monotonic_nanoseconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}
/// Keeps what is used of this process's memory from being paged out, and its own allocations from waiting
/// for pages to be written to a device that waits for this process.
static inline int clinux_lock_memory(void) {
    return mlockall(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT);
}
static inline int clinux_become_io_flusher(void) {
#ifdef PR_SET_IO_FLUSHER
    return prctl(PR_SET_IO_FLUSHER, 1, 0, 0, 0);
#else
    return (errno = ENOSYS, -1);
#endif
}
static inline void clinux_keep_memory(void) {
    clinux_lock_memory();
    clinux_become_io_flusher();
}
/// The flag of posix_spawn that makes the child the leader of a session of its own.
static inline short clinux_spawn_new_session(void) { return POSIX_SPAWN_SETSID; }
static inline int clinux_set_option(int fd, int level, int name, int value) {
    return setsockopt(fd, level, name, &value, sizeof value);
}

// ---- Unix sockets: addresses, peers, descriptors ---------------------------------------------------

/// Binds or connects to a path. -2: the path is too long for a socket address.
static inline int clinux_unix_address(struct sockaddr_un *_Nonnull a, const char *_Nonnull path) {
    memset(a, 0, sizeof *a);
    a->sun_family = AF_UNIX;
    if (strlen(path) >= sizeof a->sun_path) return -2;
    strcpy(a->sun_path, path);
    return 0;
}
static inline int clinux_unix_bind(int fd, const char *_Nonnull path) {
    struct sockaddr_un a;
    int e = clinux_unix_address(&a, path);
    return e ? e : bind(fd, (struct sockaddr *)&a, sizeof a);
}
static inline int clinux_unix_connect(int fd, const char *_Nonnull path) {
    struct sockaddr_un a;
    int e = clinux_unix_address(&a, path);
    return e ? e : connect(fd, (struct sockaddr *)&a, sizeof a);
}
/// The process on the other end of a Unix socket, as the kernel recorded it; -1 when unknown.
static inline pid_t clinux_peer_pid(int fd) {
    struct ucred c;
    socklen_t n = sizeof c;
    return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &c, &n) == 0 ? c.pid : -1;
}
static inline uid_t clinux_peer_uid(int fd) {
    struct ucred c;
    socklen_t n = sizeof c;
    return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &c, &n) == 0 ? c.uid : (uid_t)-1;
}
/// Sends bytes, with `passed` attached to the first of them unless it is negative.
static inline ssize_t clinux_send_descriptor(
    int fd, const void *_Nonnull bytes, size_t count, int passed) {
    struct iovec v = {(void *)bytes, count};
    union { struct cmsghdr h; char room[CMSG_SPACE(sizeof(int))]; } control;
    struct msghdr m = {0};
    m.msg_iov = &v;
    m.msg_iovlen = 1;
    if (passed >= 0) {
        memset(&control, 0, sizeof control);
        m.msg_control = control.room;
        m.msg_controllen = sizeof control.room;
        struct cmsghdr *c = CMSG_FIRSTHDR(&m);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(sizeof(int));
        memcpy(CMSG_DATA(c), &passed, sizeof(int));
    }
    return sendmsg(fd, &m, MSG_NOSIGNAL);
}
/// Receives bytes; `*passed` becomes a descriptor that came with them (close-on-exec), or -1.
static inline ssize_t clinux_receive_descriptor(
    int fd, void *_Nonnull bytes, size_t count, int *_Nonnull passed) {
    struct iovec v = {bytes, count};
    union { struct cmsghdr h; char room[CMSG_SPACE(sizeof(int))]; } control;
    struct msghdr m = {0};
    m.msg_iov = &v;
    m.msg_iovlen = 1;
    m.msg_control = control.room;
    m.msg_controllen = sizeof control.room;
    *passed = -1;
    ssize_t n = recvmsg(fd, &m, MSG_CMSG_CLOEXEC);
    if (n < 0) return n;
    for (struct cmsghdr *c = CMSG_FIRSTHDR(&m); c; c = CMSG_NXTHDR(&m, c))
        if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS)
            memcpy(passed, CMSG_DATA(c), sizeof(int));
    return n;
}

// ---- The kernel's TLS ------------------------------------------------------------------------------

/// Has the kernel seal what is sent at a TCP socket, as TLS 1.3 with this suite (RFC 8446 appendix B.4), from
/// the record of this number on; `vector` has 12 bytes. -1: it cannot, and the socket is as before.
static inline int clinux_kernel_tls_seal(
    int fd, int suite, const uint8_t *_Nonnull key, const uint8_t *_Nonnull vector, uint64_t number) {
    union {
        struct tls12_crypto_info_aes_gcm_128 aes128;
        struct tls12_crypto_info_aes_gcm_256 aes256;
        struct tls12_crypto_info_chacha20_poly1305 chacha20;
    } info;
    memset(&info, 0, sizeof info);
    uint64_t first = htobe64(number);
    socklen_t size = 0;
    // (What the kernel calls a salt is the nonce's first four bytes.)
    switch (suite) {
    case 0x1301:
        info.aes128.info.cipher_type = TLS_CIPHER_AES_GCM_128;
        memcpy(info.aes128.key, key, sizeof info.aes128.key);
        memcpy(info.aes128.salt, vector, sizeof info.aes128.salt);
        memcpy(info.aes128.iv, vector + sizeof info.aes128.salt, sizeof info.aes128.iv);
        memcpy(info.aes128.rec_seq, &first, sizeof first);
        size = sizeof info.aes128;
        break;
    case 0x1302:
        info.aes256.info.cipher_type = TLS_CIPHER_AES_GCM_256;
        memcpy(info.aes256.key, key, sizeof info.aes256.key);
        memcpy(info.aes256.salt, vector, sizeof info.aes256.salt);
        memcpy(info.aes256.iv, vector + sizeof info.aes256.salt, sizeof info.aes256.iv);
        memcpy(info.aes256.rec_seq, &first, sizeof first);
        size = sizeof info.aes256;
        break;
    case 0x1303:
        info.chacha20.info.cipher_type = TLS_CIPHER_CHACHA20_POLY1305;
        memcpy(info.chacha20.key, key, sizeof info.chacha20.key);
        memcpy(info.chacha20.iv, vector, sizeof info.chacha20.iv);
        memcpy(info.chacha20.rec_seq, &first, sizeof first);
        size = sizeof info.chacha20;
        break;
    default: return (errno = EINVAL, -1);
    }
    // (All three begin with the same.)
    info.aes128.info.version = TLS_1_3_VERSION;
    // (A socket that has the kernel's TLS and no key of it is still a plain one.)
    int done = setsockopt(fd, IPPROTO_TCP, TCP_ULP, "tls", sizeof "tls");
    if (done == 0) done = setsockopt(fd, SOL_TLS, TLS_TX, &info, size);
    explicit_bzero(&info, sizeof info);
    return done;
}
/// Sends a record of another type than data at a socket whose records the kernel seals.
static inline ssize_t clinux_kernel_tls_send(
    int fd, uint8_t type, const void *_Nonnull bytes, size_t count) {
    struct iovec v = {(void *)bytes, count};
    union { struct cmsghdr h; char room[CMSG_SPACE(sizeof type)]; } control;
    memset(&control, 0, sizeof control);
    struct msghdr m = {0};
    m.msg_iov = &v;
    m.msg_iovlen = 1;
    m.msg_control = control.room;
    m.msg_controllen = sizeof control.room;
    struct cmsghdr *c = CMSG_FIRSTHDR(&m);
    c->cmsg_level = SOL_TLS;
    c->cmsg_type = TLS_SET_RECORD_TYPE;
    c->cmsg_len = CMSG_LEN(sizeof type);
    memcpy(CMSG_DATA(c), &type, sizeof type);
    return sendmsg(fd, &m, MSG_NOSIGNAL | MSG_DONTWAIT);
}

#endif

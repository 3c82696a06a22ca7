/* Sees every system call of a process that changes files below one folder, whoever makes it: Python, SQLite, stdio, Rust.

   A seccomp filter turns these calls into a signal; the handler below counts, records, fails, shortens or carries them
   out. It asks for its own calls with MAGIC as the sixth argument, which the filter lets through. `arm` is called
   through ctypes by a child that has one thread; it holds for that process and its threads, for good. */

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <ucontext.h>
#include <unistd.h>

#if defined(__x86_64__)
#define ARCHITECTURE AUDIT_ARCH_X86_64
#define REGISTER(c, n) ((c)->uc_mcontext.gregs[(const int[]){REG_RDI, REG_RSI, REG_RDX, REG_R10, REG_R8, REG_R9}[n]])
#define RESULT(c) ((c)->uc_mcontext.gregs[REG_RAX])
#elif defined(__aarch64__)
#define ARCHITECTURE AUDIT_ARCH_AARCH64
#define REGISTER(c, n) ((c)->uc_mcontext.regs[n])
#define RESULT(c) ((c)->uc_mcontext.regs[0])
#else
#error "only x86-64 and arm64"
#endif

#define MAGIC 0x647269766521L
#define PATH 4096

/* The same numbers stand in syscalls.py. */
enum { NOTE, WRITE, SYNC, RENAME, UNLINK, TRUNCATE, CREATE, OPEN, MKDIR, RMDIR, LINK, MODE };
enum { WATCH, KILL, KILL_TORN, FAIL, FAIL_ON, SHORTEN };

struct plan {
    int64_t action, at, error, kinds;       /* what to do at the at-th call of these kinds (a bit each) */
    int64_t trace, calls, kind, happened;   /* where to record; then: calls so far, the kind at `at`, whether it came */
    char folder[PATH];
};

struct record {
    uint32_t kind, path, other, data;       /* the lengths of what follows: path, other path, bytes */
    uint64_t file;
    int64_t offset, result;
};

static struct plan *plan;

static long raw(long number, const long *a) {
    long result = syscall(number, a[0], a[1], a[2], a[3], a[4], MAGIC);
    return result == -1 ? -errno : result;
}

static int path_of(int fd, char *out) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t size = readlink(link, out, PATH - 1);
    out[size < 0 ? 0 : size] = 0;
    return size > 0;
}

static void path_at(int fd, const char *name, char *out) {
    size_t size = 0;
    if (name[0] != '/') {
        if (fd == AT_FDCWD) {
            if (!getcwd(out, PATH)) out[0] = 0;
        } else {
            path_of(fd, out);
        }
        size = strlen(out);
        if (size < PATH - 1) out[size++] = '/';
    }
    strncpy(out + size, name, PATH - size - 1);
    out[PATH - 1] = 0;
}

static int is_below(const char *path) {
    size_t size = strlen(plan->folder);
    return !strncmp(path, plan->folder, size) && (path[size] == 0 || path[size] == '/');
}

static void record(int kind, const char *path, const char *other, const struct iovec *data, int count, long file,
                   long offset, long result) {
    if (plan->trace < 0) return;
    struct iovec parts[20];
    struct record head = {.kind = kind, .path = strlen(path), .other = strlen(other), .file = file,
                          .offset = offset, .result = result};
    long left = result > 0 ? result : 0;
    int used = 3;
    parts[0] = (struct iovec){&head, sizeof head};
    parts[1] = (struct iovec){(void *)path, head.path};
    parts[2] = (struct iovec){(void *)other, head.other};
    for (int i = 0; i < count && left > 0 && used < 20; i++) {
        size_t size = data[i].iov_len < (size_t)left ? data[i].iov_len : (size_t)left;
        parts[used++] = (struct iovec){data[i].iov_base, size};
        left -= size;
        head.data += size;
    }
    raw(SYS_writev, (long[6]){plan->trace, (long)parts, used});
}

static void die(void) {
    for (;;) kill(getpid(), SIGKILL);
}

static long change(int kind, long number, long *a, const char *path, const char *other, int fd) {
    struct iovec one = {0};
    const struct iovec *data = &one;
    int count = 0;
    long offset = 0, result;
    struct stat state = {0};
    if (kind == WRITE) {
        int is_vector = number == SYS_writev || number == SYS_pwritev;
        if (is_vector) {
            data = (const struct iovec *)a[1], count = a[2];
        } else {
            one = (struct iovec){(void *)a[1], a[2]}, count = 1;
        }
        if (number == SYS_pwrite64 || number == SYS_pwritev)
            offset = a[3];
        else if (fcntl(fd, F_GETFL) & O_APPEND)
            offset = fstat(fd, &state) ? 0 : state.st_size;
        else
            offset = lseek(fd, 0, SEEK_CUR);
    }
    if (plan->kinds >> kind & 1) {
        long call = __atomic_add_fetch(&plan->calls, 1, __ATOMIC_SEQ_CST);
        if (call == plan->at || (call > plan->at && plan->action == FAIL_ON)) {
            int half = kind == WRITE && count > 0 && data[0].iov_len > 1;
            if (call == plan->at) plan->kind = kind, plan->happened = 1;
            if (plan->action == KILL) die();
            if (plan->action == FAIL || plan->action == FAIL_ON) {
                if (fd >= 0 && !fstat(fd, &state) && S_ISDIR(state.st_mode)) offset = 1;
                record(kind, path, other, data, 0, state.st_ino, offset, -plan->error);
                return -plan->error;
            }
            if ((plan->action == KILL_TORN || plan->action == SHORTEN) && half) {
                one = (struct iovec){data[0].iov_base, data[0].iov_len / 2};
                data = &one, count = 1;
                if (number == SYS_writev || number == SYS_pwritev)
                    a[1] = (long)&one, a[2] = 1;
                else
                    a[2] = one.iov_len;
            }
            if (plan->action == KILL_TORN) {
                if (half) raw(number, a);
                die();
            }
        }
    }
    result = raw(number, a);
    if (kind == CREATE || kind == OPEN) {
        if (result >= 0) fstat(result, &state);
        offset = number == SYS_openat ? a[2] : a[1];
#ifdef SYS_creat
        if (number == SYS_creat) offset = O_CREAT | O_TRUNC;
#endif
    } else if (kind == SYNC) {
        if (!fstat(fd, &state) && S_ISDIR(state.st_mode)) offset = 1;
    } else if (kind == TRUNCATE) {
        offset = number == SYS_ftruncate || number == SYS_truncate ? a[1] : -1;
        if (fd >= 0) fstat(fd, &state); else stat(path, &state);
    } else if (fd >= 0) {
        fstat(fd, &state);
    }
    if (kind != OPEN) record(kind, path, other, data, count, state.st_ino, offset, result);
    return result;
}

static long on_handle(int kind, long number, long *a) {
    char path[PATH];
    int fd = a[0];
    if (kind == WRITE && fd == 1 && plan->trace >= 0) { /* what the user is told, in its place among the calls */
        struct iovec said = {(void *)a[1], a[2]};
        record(NOTE, "", "", &said, 1, 0, 0, a[2]);
    }
    if (!path_of(fd, path) || !is_below(path)) return raw(number, a);
    return change(kind, number, a, path, "", fd);
}

static long on_path(int kind, long number, long *a, int fd, long name) {
    char path[PATH];
    path_at(fd, (const char *)name, path);
    if (!is_below(path)) return raw(number, a);
    return change(kind, number, a, path, "", -1);
}

static long on_paths(int kind, long number, long *a, int fd, long name, int fd2, long name2) {
    char path[PATH], other[PATH];
    path_at(fd, (const char *)name, path);
    path_at(fd2, (const char *)name2, other);
    if (!is_below(path) && !is_below(other)) return raw(number, a);
    return change(kind, number, a, path, other, -1);
}

static int opening(long flags) {
    return flags & (O_CREAT | O_TRUNC) ? CREATE : OPEN;
}

static long carry_out(long number, long *a) {
    switch (number) {
    case SYS_write: case SYS_pwrite64: case SYS_writev: case SYS_pwritev: return on_handle(WRITE, number, a);
    case SYS_fsync: case SYS_fdatasync: return on_handle(SYNC, number, a);
    case SYS_ftruncate: case SYS_fallocate: return on_handle(TRUNCATE, number, a);
    case SYS_fchmod: case SYS_fchown: return on_handle(MODE, number, a);
    case SYS_truncate: return on_path(TRUNCATE, number, a, AT_FDCWD, a[0]);
    case SYS_openat: return on_path(opening(a[2]), number, a, a[0], a[1]);
    case SYS_mkdirat: return on_path(MKDIR, number, a, a[0], a[1]);
    case SYS_unlinkat: return on_path(a[2] & AT_REMOVEDIR ? RMDIR : UNLINK, number, a, a[0], a[1]);
    case SYS_fchmodat: case SYS_fchownat: return on_path(MODE, number, a, a[0], a[1]);
    case SYS_utimensat: return a[1] ? on_path(MODE, number, a, a[0], a[1]) : on_handle(MODE, number, a);
    case SYS_symlinkat: return on_path(LINK, number, a, a[1], a[2]);
    case SYS_linkat: return on_paths(LINK, number, a, a[0], a[1], a[2], a[3]);
    case SYS_renameat2: return on_paths(RENAME, number, a, a[0], a[1], a[2], a[3]);
#ifdef SYS_renameat
    case SYS_renameat: return on_paths(RENAME, number, a, a[0], a[1], a[2], a[3]);
#endif
#ifdef SYS_open
    case SYS_open: return on_path(opening(a[1]), number, a, AT_FDCWD, a[0]);
    case SYS_creat: return on_path(CREATE, number, a, AT_FDCWD, a[0]);
    case SYS_mkdir: return on_path(MKDIR, number, a, AT_FDCWD, a[0]);
    case SYS_unlink: return on_path(UNLINK, number, a, AT_FDCWD, a[0]);
    case SYS_rmdir: return on_path(RMDIR, number, a, AT_FDCWD, a[0]);
    case SYS_chmod: case SYS_chown: case SYS_lchown: return on_path(MODE, number, a, AT_FDCWD, a[0]);
    case SYS_symlink: return on_path(LINK, number, a, AT_FDCWD, a[1]);
    case SYS_link: return on_paths(LINK, number, a, AT_FDCWD, a[0], AT_FDCWD, a[1]);
    case SYS_rename: return on_paths(RENAME, number, a, AT_FDCWD, a[0], AT_FDCWD, a[1]);
#endif
    default: return -ENOSYS; /* other ways to change a file, each with a fallback to those above */
    }
}

static void trapped(int signal, siginfo_t *info, void *given) {
    (void)signal;
    int kept = errno;
    ucontext_t *context = given;
    long a[6];
    for (int i = 0; i < 6; i++) a[i] = REGISTER(context, i);
    RESULT(context) = carry_out(info->si_syscall, a);
    errno = kept;
}

static const int numbers[] = {
    SYS_write, SYS_pwrite64, SYS_writev, SYS_pwritev, SYS_fsync, SYS_fdatasync, SYS_ftruncate, SYS_fallocate,
    SYS_fchmod, SYS_fchown, SYS_truncate, SYS_openat, SYS_mkdirat, SYS_unlinkat, SYS_fchmodat, SYS_fchownat,
    SYS_utimensat, SYS_symlinkat, SYS_linkat, SYS_renameat2,
#ifdef SYS_renameat
    SYS_renameat,
#endif
#ifdef SYS_open
    SYS_open, SYS_creat, SYS_mkdir, SYS_unlink, SYS_rmdir, SYS_chmod, SYS_chown, SYS_lchown, SYS_symlink, SYS_link,
    SYS_rename,
#endif
    SYS_pwritev2, SYS_copy_file_range, SYS_openat2, SYS_io_uring_setup,
};

#define COUNT (sizeof numbers / sizeof *numbers)

int arm(struct plan *given) {
    struct sock_filter filter[COUNT + 10], *next = filter;
    plan = given;
    struct sigaction action = {.sa_sigaction = trapped, .sa_flags = SA_SIGINFO | SA_NODEFER};
    if (sigaction(SIGSYS, &action, 0)) return errno;
    *next++ = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch));
    *next++ = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, ARCHITECTURE, 0, COUNT + 5);
    *next++ = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[5]));
    *next++ = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)MAGIC, 0, 2);
    *next++ = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[5]) + 4);
    *next++ = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)(MAGIC >> 32), COUNT + 1, 0);
    *next++ = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr));
    for (size_t i = 0; i < COUNT; i++)
        *next++ = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, numbers[i], COUNT - i, 0);
    *next++ = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    *next++ = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRAP);
    struct sock_fprog program = {next - filter, filter};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)) return errno;
    if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program)) return errno;
    return 0;
}

/*
 * Takes a system call away from the process that loads this: AURAIO_TEST_REFUSE is `setup:EPERM`, `setup:ENOSYS` or
 * `enter:EPERM`. Loaded with `process.dlopen`, at any moment; the filter holds for every thread and cannot be undone.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

/* The same on every architecture. */
#define IO_URING_SETUP 425
#define IO_URING_ENTER 426

__attribute__((constructor)) static void refuse(void) {
  const char *what = getenv("AURAIO_TEST_REFUSE");
  if (what == NULL) return;
  unsigned int number = strncmp(what, "setup:", 6) == 0 ? IO_URING_SETUP : IO_URING_ENTER;
  unsigned int error = strcmp(what + 6, "ENOSYS") == 0 ? ENOSYS : EPERM;
  struct sock_filter filter[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, number, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | error),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  };
  struct sock_fprog program = {sizeof filter / sizeof *filter, filter};
  prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
  if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &program) != 0) perror("seccomp");
}

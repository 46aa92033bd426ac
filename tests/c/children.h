/*
 * Other processes for the C tests: the test program starts itself again, as a process that opens a log and holds it,
 * or opens, appends and is gone. What it finds it says in one line on a pipe.
 */
#ifndef SEGLOG_TESTS_CHILDREN_H
#define SEGLOG_TESTS_CHILDREN_H

#include "logs.h"

#include <signal.h>
#include <sys/wait.h>

typedef struct {
  pid_t pid;
  int from; /* what it says */
} child_t;

/* Starts this program again as `PROGRAM --child VERB DIR`, by fork and exec. */
static inline child_t child_start(const char *verb, const char *dir) {
  child_t child;
  int pipe_ends[2];
  NEED(pipe(pipe_ends) == 0);
  fflush(stdout);
  child.pid = fork();
  NEED(child.pid >= 0);
  if (child.pid == 0) {
    char *arguments[5];
    arguments[0] = (char *)(uintptr_t)check_state.program; /* execv takes no const */
    arguments[1] = (char *)(uintptr_t)"--child";
    arguments[2] = (char *)(uintptr_t)verb;
    arguments[3] = (char *)(uintptr_t)dir;
    arguments[4] = NULL;
    if (dup2(pipe_ends[1], STDOUT_FILENO) >= 0 && close(pipe_ends[0]) == 0 && close(pipe_ends[1]) == 0)
      execv(check_state.program, arguments);
    _exit(127);
  }
  NEED(close(pipe_ends[1]) == 0);
  child.from = pipe_ends[0];
  return child;
}

/* Its next line without the line's end; empty once it has ended. */
static inline void child_line(const child_t *child, char *line, size_t capacity) {
  size_t length = 0;
  char byte;
  while (length + 1 < capacity && read(child->from, &byte, 1) == 1 && byte != '\n') line[length++] = byte;
  line[length] = '\0';
}

/* Waits for its end; the status of waitpid. */
static inline int child_wait(child_t *child) {
  int status = 0;
  pid_t waited;
  do waited = waitpid(child->pid, &status, 0);
  while (waited < 0 && errno == EINTR);
  NEED(waited == child->pid);
  NEED(close(child->from) == 0);
  return status;
}

/* SIGKILL, and its end. */
static inline void child_kill(child_t *child) {
  NEED(kill(child->pid, SIGKILL) == 0);
  (void)child_wait(child);
}

/*
 * The other side. Verbs: `try` opens, says the status and ends; `hold` opens, appends ten numbered records unsynced,
 * says the status and waits to be killed; `leave` does the same and ends without closing.
 */
static inline int child_main(const char *verb, const char *dir) {
  log_config_t config = quick_config(65536);
  log_error_t error;
  log_t *log = NULL;
  unsigned char data[300];
  log_status_t status;
  uint64_t number;
  mark_error(&error);
  status = log_open(dir, &config, &log, &error);
  if (status == LOG_OK && strcmp(verb, "try") != 0) {
    for (number = 0; number < 10 && status == LOG_OK; number++) {
      fill_record(data, length_of(number), number);
      status = log_append(log, data, length_of(number), NULL, &error);
    }
  }
  printf("%s\n", log_status_name(status));
  fflush(stdout);
  if (strcmp(verb, "hold") == 0)
    for (;;) pause();
  if (strcmp(verb, "leave") == 0) _exit(0);
  return log_close(log, NULL) == LOG_OK ? 0 : 1;
}

/* What main does first: whether it was started as a child, and then its exit status. */
static inline int child_is(int argc, char **argv, int *out_exit_status) {
  if (argc != 4 || strcmp(argv[1], "--child") != 0) return 0;
  *out_exit_status = child_main(argv[2], argv[3]);
  return 1;
}

#endif

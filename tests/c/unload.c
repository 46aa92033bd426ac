/* A plugin host: it loads the library, uses it, unloads it, and forks. Started as `unload LIBRARY LOG`. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <seglog.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

typedef log_status_t open_fn(const char *, const log_config_t *, log_t **, log_error_t *);
typedef log_status_t close_fn(log_t *, log_error_t *);

int main(int argc, char **argv) {
  int round, status;
  if (argc != 3) return 2;
  for (round = 0; round < 3; round++) {
    void *library = dlopen(argv[1], RTLD_NOW | RTLD_LOCAL);
    open_fn *open_log;
    close_fn *close_log;
    log_t *log;
    pid_t pid;
    if (library == NULL) return 3;
    *(void **)&open_log = dlsym(library, "log_open");
    *(void **)&close_log = dlsym(library, "log_close");
    if (open_log(argv[2], NULL, &log, NULL) != LOG_OK || close_log(log, NULL) != LOG_OK) return 4;
    if (dlclose(library) != 0) return 5;
    pid = fork();
    if (pid == 0) _exit(0);
    if (pid < 0 || waitpid(pid, &status, 0) != pid || status != 0) return 6;
  }
  puts("forked");
  return 0;
}

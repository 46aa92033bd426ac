/*
 * Bad input from the file system: paths that name no directory, files planted in the place of a log's own, logs of
 * another format, a log that somebody holds. Each gets its status, a sentence that helps, and nothing is lost,
 * followed or waited for. (Other users' directories: other_user.c. A full disk: disk_full.c.)
 */
#define CHECK_MAIN
#include "children.h"

#include <sys/socket.h>
#include <sys/un.h>

/* A log of ten numbered records, closed. */
static void make_log(const char *dir) {
  const log_config_t config = quick_config(65536);
  log_t *log = OPEN(dir, &config);
  APPEND_NUMBERED(log, 0, 10);
  CLOSE(log);
}

/* That log again, whole and in working order. */
static void check_log(const char *dir) {
  const log_config_t config = quick_config(65536);
  log_t *log = OPEN(dir, &config);
  CHECK_EQ(10, STAT(log).next_offset);
  CHECK_NUMBERED(log, 0, 10);
  CLOSE(log);
}

/* --- paths ----------------------------------------------------------------------------------------------------- */

static void a_path_that_is_a_file(void) {
  const check_path_t file = fresh_path(), with_slash = path_join(file.text, "");
  log_error_t error;
  log_t *log = NULL;
  size_t size;
  unsigned char *data;
  write_file(file.text, "precious", 8);
  CHECK_ERROR(LOG_E_NOT_FOUND, ENOTDIR, LOG_NO_OFFSET, log_open(file.text, NULL, &log, &error));
  CHECK_ERROR(LOG_E_NOT_FOUND, ENOTDIR, LOG_NO_OFFSET, log_open(with_slash.text, NULL, &log, &error));
  CHECK_ERROR(LOG_E_NOT_FOUND, ENOTDIR, LOG_NO_OFFSET, log_remove(file.text, &error));
  CHECK_STATUS(LOG_E_NOT_FOUND, log_open("/dev/null", NULL, &log, NULL));
  CHECK(log == NULL);
  data = file_bytes(file.text, &size);
  CHECK(size == 8 && memcmp(data, "precious", 8) == 0);
  free(data);
}

static void a_path_through_a_file(void) {
  const check_path_t file = fresh_path();
  log_error_t error;
  log_t *log = NULL;
  write_file(file.text, "precious", 8);
  CHECK_ERROR(LOG_E_NOT_FOUND, ENOTDIR, LOG_NO_OFFSET, log_open(path_join(file.text, "log").text, NULL, &log, &error));
  CHECK_ERROR(LOG_E_NOT_FOUND, ENOTDIR, LOG_NO_OFFSET, log_remove(path_join(file.text, "log").text, &error));
  CHECK(log == NULL);
}

static void a_path_that_is_a_fifo_does_not_hang(void) {
  const check_path_t fifo = fresh_path();
  log_error_t error;
  log_t *log = NULL;
  NEED(mkfifo(fifo.text, 0666) == 0);
  CHECK_ERROR(LOG_E_NOT_FOUND, ENOTDIR, LOG_NO_OFFSET, log_open(fifo.text, NULL, &log, &error));
  CHECK_ERROR(LOG_E_NOT_FOUND, ENOTDIR, LOG_NO_OFFSET, log_remove(fifo.text, &error));
}

/* A path is bytes, and so is a log's name. */
static void a_path_that_is_not_utf_8(void) {
  static const char *const names[] = {"\xFF\xFE\x80log", "caf\xE9", "line\nfeed", "\x01\x7F", "%s%n", "'\"\\"};
  size_t i;
  for (i = 0; i < sizeof names / sizeof names[0]; i++) {
    const check_path_t dir = path_join(fresh_dir().text, names[i]);
    const check_path_t file = path_join(dir.text, names[i]);
    log_error_t error;
    log_t *log, *second = NULL;
    make_log(dir.text);
    check_log(dir.text);
    log = OPEN(dir.text, NULL);
    /* The messages that name it are text all the same. */
    CHECK_ERROR(LOG_E_LOCKED, ANY_OS_ERROR, LOG_NO_OFFSET, log_open(dir.text, NULL, &second, &error));
    CLOSE(log);
    write_file(file.text, "", 0);
    CHECK_ERROR(LOG_E_NOT_FOUND, ENOTDIR, LOG_NO_OFFSET, log_open(file.text, NULL, &second, &error));
    NEED(unlink(file.text) == 0);
    CHECK_STATUS(LOG_OK, log_remove(dir.text, NULL));
    CHECK(!path_exists(dir.text));
  }
}

static void a_path_that_is_too_long(void) {
  static const size_t lengths[] = {PATH_MAX, PATH_MAX + 1, 100000, 1000000};
  const check_path_t parent = fresh_dir();
  char *path = (char *)malloc(1000001);
  char name[257];
  log_error_t error;
  log_t *log = NULL;
  size_t i, at;
  NEED(path != NULL);

  memset(name, 'n', sizeof name - 1); /* one part, of 256 */
  name[sizeof name - 1] = '\0';
  CHECK_ERROR(LOG_E_ARGUMENT, ENAMETOOLONG, LOG_NO_OFFSET,
              log_open(path_join(parent.text, name).text, NULL, &log, &error));
  CHECK_ERROR(LOG_E_ARGUMENT, ENAMETOOLONG, LOG_NO_OFFSET, log_remove(path_join(parent.text, name).text, &error));

  for (i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
    memset(path, 'p', lengths[i]);
    for (at = 0; at < lengths[i]; at += 200) path[at] = '/';
    path[lengths[i]] = '\0';
    CHECK_ERROR(LOG_E_ARGUMENT, ENAMETOOLONG, LOG_NO_OFFSET, log_open(path, NULL, &log, &error));
    CHECK_ERROR(LOG_E_ARGUMENT, ENAMETOOLONG, LOG_NO_OFFSET, log_remove(path, &error));
    CHECK_STATUS(LOG_E_ARGUMENT, log_open(path, NULL, &log, NULL));
  }
  CHECK(log == NULL);
  free(path);
}

/* As long as the system takes: the names of the log's files need no room behind it. */
static void the_longest_path_works(void) {
  check_path_t dir = fresh_dir();
  const log_config_t config = quick_config(4096);
  log_error_t error;
  log_t *log, *second = NULL;
  size_t length = strlen(dir.text), left, part;
  while ((left = PATH_MAX - 1 - length) > 0) {
    if (!path_exists(dir.text)) NEED(mkdir(dir.text, 0777) == 0);
    part = left <= 200 ? left - 1 : left == 201 ? 100 : 199; /* with its slash, and never a slash alone at the end */
    dir.text[length] = '/';
    memset(dir.text + length + 1, 'd', part);
    length += 1 + part;
    dir.text[length] = '\0';
  }
  CHECK_EQ(PATH_MAX - 1, strlen(dir.text));
  log = OPEN(dir.text, &config);
  APPEND_NUMBERED(log, 0, 100);
  CHECK_ERROR(LOG_E_LOCKED, ANY_OS_ERROR, LOG_NO_OFFSET, log_open(dir.text, NULL, &second, &error));
  CLOSE(log);
  log = OPEN(dir.text, &config);
  CHECK_NUMBERED(log, 0, 100);
  CLOSE(log);
  CHECK_STATUS(LOG_OK, log_remove(dir.text, NULL));
  CHECK(!path_exists(dir.text));
}

static void a_path_that_is_a_dangling_link(void) {
  const check_path_t link = fresh_path(), target = fresh_path();
  log_error_t error;
  log_t *log = NULL;
  NEED(symlink(target.text, link.text) == 0);
  CHECK_ERROR(LOG_E_NOT_FOUND, ANY_OS_ERROR, LOG_NO_OFFSET, log_open(link.text, NULL, &log, &error));
  CHECK_ERROR(LOG_E_NOT_FOUND, ANY_OS_ERROR, LOG_NO_OFFSET, log_remove(link.text, &error));
  CHECK(log == NULL);
  CHECK(!path_exists(target.text));
  CHECK(path_exists(link.text));
}

/* An administrator's link to another disk is not planted in the log: it is the way to it. */
static void a_path_that_is_a_link_to_a_directory(void) {
  const check_path_t link = fresh_path(), target = fresh_dir();
  NEED(symlink(target.text, link.text) == 0);
  make_log(link.text);
  check_log(link.text);
  check_log(target.text);
}

static void a_path_that_is_a_loop_of_links(void) {
  const check_path_t one = fresh_path(), two = fresh_path();
  log_error_t error;
  log_t *log = NULL;
  NEED(symlink(one.text, two.text) == 0 && symlink(two.text, one.text) == 0);
  CHECK_ERROR(LOG_E_IO, ELOOP, LOG_NO_OFFSET, log_open(one.text, NULL, &log, &error));
}

/* --- planted files --------------------------------------------------------------------------------------------- */

typedef enum { A_LINK, A_DANGLING_LINK, A_FIFO, A_DIRECTORY, A_SOCKET, PLANTED_KINDS } planted_t;

static const char *const planted_names[] = {"a link", "a dangling link", "a FIFO", "a directory", "a socket"};

/* What a link leads to: a file outside the log, which must never be opened, changed or made. */
typedef struct {
  check_path_t dir;    /* the log's */
  check_path_t place;  /* where it was planted */
  check_path_t target; /* what a link names */
} planting_t;

static void plant(const planting_t *planting, planted_t kind) {
  switch (kind) {
    case A_LINK:
      write_file(planting->target.text, "precious", 8);
      NEED(symlink(planting->target.text, planting->place.text) == 0);
      break;
    case A_DANGLING_LINK:
      NEED(symlink(planting->target.text, planting->place.text) == 0);
      break;
    case A_FIFO:
      NEED(mkfifo(planting->place.text, 0666) == 0);
      break;
    case A_DIRECTORY:
      NEED(mkdir(planting->place.text, 0777) == 0);
      write_file(path_join(planting->place.text, "precious").text, "precious", 8);
      break;
    case A_SOCKET: {
      struct sockaddr_un address;
      char before[PATH_MAX];
      int handle = socket(AF_UNIX, SOCK_STREAM, 0);
      memset(&address, 0, sizeof address);
      address.sun_family = AF_UNIX;
      strcpy(address.sun_path, "planted"); /* sun_path is short: made there, then moved */
      NEED(getcwd(before, sizeof before) != NULL && chdir(planting->dir.text) == 0);
      NEED(handle >= 0 && bind(handle, (const struct sockaddr *)&address, sizeof address) == 0);
      NEED(rename("planted", planting->place.text) == 0 && chdir(before) == 0 && close(handle) == 0);
      break;
    }
    case PLANTED_KINDS:
      break;
  }
}

/* What a link leads to, and what a directory holds, is as it was. */
static void check_not_followed(const planting_t *planting, planted_t kind) {
  if (kind == A_LINK) {
    size_t size;
    unsigned char *data = file_bytes(planting->target.text, &size);
    CHECK(size == 8 && memcmp(data, "precious", 8) == 0);
    free(data);
  } else {
    CHECK(!path_exists(planting->target.text));
  }
  if (kind == A_DIRECTORY) CHECK(path_exists(path_join(planting->place.text, "precious").text));
}

/* And what was planted still stands there. */
static void check_untouched(const planting_t *planting, planted_t kind) {
  static const mode_t kinds[] = {S_IFLNK, S_IFLNK, S_IFIFO, S_IFDIR, S_IFSOCK};
  struct stat status;
  check_not_followed(planting, kind);
  if (CHECK(lstat(planting->place.text, &status) == 0)) CHECK_EQ(kinds[kind], status.st_mode & S_IFMT);
}

/* Something that is no file stands under the name of a log's file: opening fails, nothing is followed or changed. */
static void planted_is_refused(const char *name, int in_a_log) {
  int kind;
  for (kind = 0; kind < PLANTED_KINDS; kind++) {
    planting_t planting;
    check_path_t aside;
    log_error_t error;
    log_t *log = NULL;
    log_status_t status;
    planting.dir = fresh_dir();
    planting.place = path_join(planting.dir.text, name);
    planting.target = fresh_path();
    aside = fresh_path();
    if (in_a_log) {
      make_log(planting.dir.text);
      NEED(rename(planting.place.text, aside.text) == 0);
    }
    plant(&planting, (planted_t)kind);
    mark_error(&error);
    status = log_open(planting.dir.text, NULL, &log, &error);
    if (!check_error(status, &error, LOG_E_IO, ANY_OS_ERROR, LOG_NO_OFFSET, __FILE__, __LINE__, "log_open"))
      printf("  with %s as %s\n", planted_names[kind], name);
    CHECK(strstr(error.message, name) != NULL);
    CHECK(strstr(error.message, "no regular file") != NULL);
    CHECK(log == NULL);
    if (log != NULL) (void)log_close(log, NULL);
    check_untouched(&planting, (planted_t)kind);
    if (in_a_log) { /* without it, the log is as it was */
      remove_tree(planting.place.text);
      NEED(rename(aside.text, planting.place.text) == 0);
      check_log(planting.dir.text);
    }
  }
}

static void live_is_planted_in_an_empty_directory(void) { planted_is_refused("LIVE", 0); }

static void live_is_planted_in_a_log(void) { planted_is_refused("LIVE", 1); }

static void a_store_is_planted_in_an_empty_directory(void) { planted_is_refused(FIRST_SEGMENT ".store", 0); }

static void a_store_is_planted_in_a_log(void) { planted_is_refused(FIRST_SEGMENT ".store", 1); }

/* An index is disposable: the log may refuse it or put another in its place, but it follows and loses nothing. */
static void an_index_is_planted_in_a_log(void) {
  int kind;
  for (kind = 0; kind < PLANTED_KINDS; kind++) {
    const log_config_t config = quick_config(65536);
    planting_t planting;
    log_t *log = NULL;
    log_status_t status;
    planting.dir = fresh_path();
    planting.place = path_join(planting.dir.text, FIRST_SEGMENT ".index");
    planting.target = fresh_path();
    make_log(planting.dir.text);
    NEED(unlink(planting.place.text) == 0);
    plant(&planting, (planted_t)kind);
    status = log_open(planting.dir.text, &config, &log, NULL);
    CHECK(status != LOG_E_BUG);
    if (status == LOG_OK) {
      CHECK_NUMBERED(log, 0, 10);
      CLOSE(log);
    }
    check_not_followed(&planting, (planted_t)kind);
    remove_tree(planting.place.text);
    check_log(planting.dir.text);
  }
}

/* Deleting a log deletes at most what stands under its files' names, never what that leads to or holds. */
static void remove_follows_nothing(void) {
  static const char *const names[] = {"LIVE", FIRST_SEGMENT ".store", FIRST_SEGMENT ".index", "next-store.tmp", "lost"};
  size_t i;
  int kind;
  for (i = 0; i < sizeof names / sizeof names[0]; i++) {
    for (kind = 0; kind < PLANTED_KINDS; kind++) {
      planting_t planting;
      log_status_t status;
      if (strcmp(names[i], "lost") == 0 && kind == A_DIRECTORY) continue; /* that one is the log's own */
      planting.dir = fresh_path();
      planting.place = path_join(planting.dir.text, names[i]);
      planting.target = fresh_path();
      make_log(planting.dir.text);
      NEED(unlink(planting.place.text) == 0 || errno == ENOENT);
      plant(&planting, (planted_t)kind);
      status = log_remove(planting.dir.text, NULL);
      CHECK(status == LOG_OK || status == LOG_E_IO);
      check_not_followed(&planting, (planted_t)kind);
    }
  }
}

/* What the library makes on its way (FORMAT.md) may be anything, left over or planted. */
static void the_next_segment_is_planted(void) {
  static const char *const names[] = {"next-store.tmp", "next-index.tmp"};
  size_t i;
  int kind;
  for (i = 0; i < sizeof names / sizeof names[0]; i++) {
    for (kind = 0; kind < PLANTED_KINDS; kind++) {
      const log_config_t config = quick_config(4096);
      planting_t planting;
      log_t *log = NULL;
      log_status_t status;
      planting.dir = fresh_path();
      planting.place = path_join(planting.dir.text, names[i]);
      planting.target = fresh_path();
      make_log(planting.dir.text);
      plant(&planting, (planted_t)kind);
      status = log_open(planting.dir.text, &config, &log, NULL);
      CHECK(status != LOG_E_BUG);
      if (status == LOG_OK) {
        CHECK_NUMBERED(log, 0, 10);
        CLOSE(log);
      }
      check_not_followed(&planting, (planted_t)kind);
      remove_tree(planting.place.text);
      check_log(planting.dir.text);
    }
  }
}

/* --- other formats --------------------------------------------------------------------------------------------- */

/* CRC-32C, bit by bit: the test's own, so that it shares no error with the library. */
static uint32_t crc32c(const unsigned char *data, size_t len) {
  uint32_t crc = UINT32_MAX;
  size_t i;
  int bit;
  for (i = 0; i < len; i++) {
    crc ^= data[i];
    for (bit = 0; bit < 8; bit++) crc = (crc >> 1) ^ ((crc & 1) != 0 ? UINT32_C(0x82F63B78) : 0);
  }
  return ~crc;
}

static void put_u32(unsigned char *at, uint32_t value) {
  int i;
  for (i = 0; i < 4; i++) at[i] = (unsigned char)(value >> (8 * i));
}

/* The places of FORMAT.md: two copies of a header of 80 bytes, the version at 8, the checksum at 76. */
enum { HEADER_COPY_AT = 1024, HEADER_BYTES = 80, VERSION_AT = 8, HEADER_CRC_AT = 76 };

static void set_version(unsigned char *store, uint32_t version) {
  static const size_t copies[] = {0, HEADER_COPY_AT};
  size_t i;
  for (i = 0; i < 2; i++) {
    put_u32(store + copies[i] + VERSION_AT, version);
    put_u32(store + copies[i] + HEADER_CRC_AT, crc32c(store + copies[i], HEADER_CRC_AT));
  }
}

/* A newer version's log is refused by name, left as it is, and works again with the library that wrote it. */
static void a_log_of_another_format_version(void) {
  static const uint32_t versions[] = {2, 3, UINT32_MAX}; /* 0 was never one: that is damage */
  const check_path_t dir = fresh_path(), store = path_join(dir.text, FIRST_SEGMENT ".store");
  log_error_t error;
  log_t *log = NULL;
  unsigned char *original, *data, *after;
  size_t size, size_after, i;
  make_log(dir.text);
  original = file_bytes(store.text, &size);
  data = file_bytes(store.text, &size);
  REQUIRE(CHECK(size >= STORE_HEADER_BYTES));
  set_version(data, 1);
  CHECK(memcmp(data, original, size) == 0); /* this test knows the header */
  for (i = 0; i < sizeof versions / sizeof versions[0]; i++) {
    set_version(data, versions[i]);
    write_file(store.text, data, size);
    CHECK_ERROR(LOG_E_FORMAT, 0, LOG_NO_OFFSET, log_open(dir.text, NULL, &log, &error));
    CHECK(strstr(error.message, FIRST_SEGMENT ".store") != NULL);
    CHECK_STATUS(LOG_E_FORMAT, log_open(dir.text, NULL, &log, NULL));
    after = file_bytes(store.text, &size_after);
    CHECK(size_after == size && memcmp(after, data, size) == 0);
    free(after);
  }
  CHECK(log == NULL);
  write_file(store.text, original, size);
  check_log(dir.text);
  free(original);
  free(data);
}

/* One rotten copy of a header costs nothing. */
static void one_header_of_two_is_enough(void) {
  static const long copies[] = {0, HEADER_COPY_AT};
  size_t i;
  long at;
  for (i = 0; i < 2; i++) {
    for (at = 0; at < HEADER_BYTES; at += 4) {
      const check_path_t dir = fresh_path();
      make_log(dir.text);
      flip_bit(path_join(dir.text, FIRST_SEGMENT ".store").text, copies[i] + at);
      check_log(dir.text);
    }
  }
}

/* Both copies: what was durable cannot be read any more, and is left as it is. */
static void two_rotten_headers_are_corrupt(void) {
  const check_path_t dir = fresh_path(), store = path_join(dir.text, FIRST_SEGMENT ".store");
  log_error_t error;
  log_t *log = NULL;
  unsigned char *damaged, *after;
  size_t size, size_after;
  make_log(dir.text);
  flip_bit(store.text, 40);
  flip_bit(store.text, HEADER_COPY_AT + 50);
  damaged = file_bytes(store.text, &size);
  CHECK_ERROR(LOG_E_CORRUPT, 0, ANY_OFFSET, log_open(dir.text, NULL, &log, &error));
  CHECK_STATUS(LOG_E_CORRUPT, log_open(dir.text, NULL, &log, NULL));
  CHECK(log == NULL);
  after = file_bytes(store.text, &size_after);
  CHECK(size_after == size && memcmp(after, damaged, size) == 0);
  free(damaged);
  free(after);
  flip_bit(store.text, HEADER_COPY_AT + 50);
  check_log(dir.text);
}

/* Somebody else's file under a store's name is not a seglog; one too short for a header may have been a log's. */
static void a_store_that_is_something_else(void) {
  static const size_t sizes[] = {0, 1, 79, 4096, 70000};
  size_t i, size_after;
  unsigned char data[70000], *after;
  log_error_t error;
  memset(data, 'x', sizeof data);
  for (i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
    const check_path_t dir = fresh_dir(), store = path_join(dir.text, FIRST_SEGMENT ".store");
    log_t *log = NULL;
    write_file(store.text, data, sizes[i]);
    CHECK_ERROR(sizes[i] < HEADER_BYTES ? LOG_E_CORRUPT : LOG_E_FORMAT, 0, ANY_OFFSET,
                log_open(dir.text, NULL, &log, &error));
    CHECK(strstr(error.message, FIRST_SEGMENT ".store") != NULL);
    CHECK(log == NULL);
    after = file_bytes(store.text, &size_after);
    CHECK(size_after == sizes[i] && memcmp(after, data, sizes[i]) == 0);
    free(after);
  }
}

/* An index and a LIVE file of nonsense, or of another version, cost a closed log nothing. */
static void a_closed_log_needs_neither_index_nor_live(void) {
  static const char *const names[] = {FIRST_SEGMENT ".index", "LIVE"};
  static const size_t sizes[] = {0, 1, 63, 4096, 2000000};
  unsigned char *nonsense = (unsigned char *)malloc(2000000);
  size_t name, i, size;
  NEED(nonsense != NULL);
  fill_record(nonsense, 2000000, 99);
  for (name = 0; name < 2; name++) {
    const check_path_t dir = fresh_path(), file = path_join(dir.text, names[name]);
    unsigned char *data;
    make_log(dir.text);
    for (i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
      write_file(file.text, nonsense, sizes[i]);
      check_log(dir.text);
    }
    data = file_bytes(file.text, &size);
    put_u32(data + VERSION_AT, 2);
    write_file(file.text, data, size);
    free(data);
    check_log(dir.text);
  }
  free(nonsense);
}

/* --- other processes ------------------------------------------------------------------------------------------- */

static void a_log_that_another_process_holds(void) {
  const check_path_t dir = fresh_path();
  child_t child = child_start("hold", dir.text);
  log_error_t error;
  log_t *log = NULL;
  char line[80];
  child_line(&child, line, sizeof line);
  CHECK(strcmp("LOG_OK", line) == 0);
  CHECK_ERROR(LOG_E_LOCKED, ANY_OS_ERROR, LOG_NO_OFFSET, log_open(dir.text, NULL, &log, &error));
  CHECK(strstr(error.message, "LIVE") != NULL || strstr(error.message, check_state.test) != NULL);
  CHECK_ERROR(LOG_E_LOCKED, ANY_OS_ERROR, LOG_NO_OFFSET, log_remove(dir.text, &error));
  CHECK(log == NULL);
  child_kill(&child);
  check_log(dir.text);
}

int main(int argc, char **argv) {
  static const check_test_t tests[] = {
      TEST(a_path_that_is_a_file),
      TEST(a_path_through_a_file),
      TEST(a_path_that_is_a_fifo_does_not_hang),
      TEST(a_path_that_is_not_utf_8),
      TEST(a_path_that_is_too_long),
      TEST(the_longest_path_works),
      TEST(a_path_that_is_a_dangling_link),
      TEST(a_path_that_is_a_link_to_a_directory),
      TEST(a_path_that_is_a_loop_of_links),
      TEST(live_is_planted_in_an_empty_directory),
      TEST(live_is_planted_in_a_log),
      TEST(a_store_is_planted_in_an_empty_directory),
      TEST(a_store_is_planted_in_a_log),
      TEST(an_index_is_planted_in_a_log),
      TEST(remove_follows_nothing),
      TEST(the_next_segment_is_planted),
      TEST(a_log_of_another_format_version),
      TEST(one_header_of_two_is_enough),
      TEST(two_rotten_headers_are_corrupt),
      TEST(a_store_that_is_something_else),
      TEST(a_closed_log_needs_neither_index_nor_live),
      TEST(a_log_that_another_process_holds),
  };
  const char *part;
  int exit_status;
  if (child_is(argc, argv, &exit_status)) return exit_status;
  part = check_arguments(argc, argv);
  return check_run(tests, sizeof tests / sizeof tests[0], part);
}

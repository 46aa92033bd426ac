/*
 * demo: kills a program in the middle of its work and shows that nothing it was promised is lost.
 *
 *     demo [--kill-after N] [FILE]
 *
 * 1. Starts `ingest --acks --sync always` on FILE (default: the earthquakes in data/) in a fresh directory and reads
 *    its acknowledgements. After the N-th, chosen by the clock unless given, it kills ingest with SIGKILL.
 * 2. Opens the log: every record that was acknowledged must be there, and equal its line.
 * 3. Runs `ingest --skip-existing`, which goes on where the killed one stopped.
 * 4. Compares the SHA-256 of `dump` with that of the file.
 *
 * ingest and dump are taken from the folder of this program, sha256sum from the path.
 *
 * Exit status: 0 all came back, 1 something is missing, differs or failed, 2 wrong usage.
 */
#define _GNU_SOURCE /* pipe2, F_SETPIPE_SZ */

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <seglog.h>

enum { SHA256_DIGITS = 64 };

/* What the steps share. */
struct demo {
    char programs[PATH_MAX];   /* the folder with ingest and dump */
    char file[PATH_MAX];       /* what is ingested */
    char parent_dir[PATH_MAX]; /* the temporary directory */
    char log_dir[PATH_MAX];    /* the log, in it */
    uint64_t lines;            /* in file */
    uint64_t kill_after;       /* acknowledgements */
    uint64_t acknowledged;     /* records, by the ingest that is killed; offsets begin at 0, so also the next offset */
};

static bool fail(const char *format, ...)
{
    va_list arguments;
    fflush(stdout); /* so that both streams stay in order */
    fputs("demo: ", stderr);
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fputc('\n', stderr);
    return false;
}

/* dir/name; false if it does not fit. */
static bool join(char out[PATH_MAX], const char *dir, const char *name)
{
    int length = snprintf(out, PATH_MAX, "%s/%s", dir, name);
    return (length >= 0 && length < PATH_MAX) || fail("the path %s/%s is too long", dir, name);
}

/* Starts a program with its standard input and output on these descriptors (-1: as they are). Every other descriptor
 * here is close-on-exec. Returns its process id, or -1. */
static pid_t start(char *const arguments[], int input, int output)
{
    fflush(stdout); /* or the child would inherit what is still in the buffer */
    pid_t child = fork();
    if (child < 0) fail("cannot fork: %s", strerror(errno));
    if (child != 0) return child;

    if ((input < 0 || dup2(input, STDIN_FILENO) >= 0) && (output < 0 || dup2(output, STDOUT_FILENO) >= 0))
        execvp(arguments[0], arguments);
    /* Only calls that are safe between fork and exec: no stdio. */
    static const char text[] = "demo: cannot start a program that it needs (ingest, dump or sha256sum)\n";
    ssize_t ignored = write(STDERR_FILENO, text, sizeof text - 1);
    (void)ignored;
    _exit(127);
}

static bool wait_for(pid_t child, int *out_state)
{
    while (waitpid(child, out_state, 0) < 0)
        if (errno != EINTR) return fail("cannot wait for process %ld: %s", (long)child, strerror(errno));
    return true;
}

/* Waits, and is content with exit status 0 only. */
static bool finish(pid_t child, const char *name)
{
    int state;
    if (!wait_for(child, &state)) return false;
    if (WIFSIGNALED(state)) return fail("%s was ended by signal %d", name, WTERMSIG(state));
    if (WEXITSTATUS(state) != 0) return fail("%s ended with status %d", name, WEXITSTATUS(state));
    return true;
}

static bool count_lines(struct demo *demo)
{
    FILE *file = fopen(demo->file, "re");
    if (file == NULL) return fail("cannot open %s: %s", demo->file, strerror(errno));
    int c, last = '\n';
    demo->lines = 0;
    while ((c = getc(file)) != EOF) {
        if (c == '\n') demo->lines++;
        last = c;
    }
    bool ok = ferror(file) == 0 || fail("cannot read %s: %s", demo->file, strerror(errno));
    if (ok && last != '\n') ok = fail("%s does not end with a line feed, so a dump would differ from it", demo->file);
    if (ok && demo->lines < 10) ok = fail("%s has fewer than 10 lines: too few to have a middle", demo->file);
    fclose(file); /* only read: nothing is lost if this fails */
    return ok;
}

/* Reads acknowledgements: until `until` of them have come, or to the end. */
static bool read_acknowledgements(FILE *acks, struct demo *demo, uint64_t until)
{
    uint64_t offset;
    while (demo->acknowledged < until && fscanf(acks, "%" SCNu64, &offset) == 1) {
        if (offset != demo->acknowledged)
            return fail("ingest acknowledged offset %" PRIu64 " where %" PRIu64 " was due", offset, demo->acknowledged);
        demo->acknowledged++;
    }
    return ferror(acks) == 0 || fail("cannot read the acknowledgements: %s", strerror(errno));
}

/* Reads N acknowledgements, kills at once, then reads what had been acknowledged by then. */
static bool kill_in_the_middle(struct demo *demo, pid_t child, FILE *acks)
{
    bool ok = read_acknowledgements(acks, demo, demo->kill_after);
    if (kill(child, SIGKILL) != 0) ok = fail("cannot kill ingest: %s", strerror(errno));
    int state;
    if (!wait_for(child, &state)) return false;
    ok = ok && read_acknowledgements(acks, demo, UINT64_MAX);
    if (!ok) return false;

    if (!WIFSIGNALED(state) || WTERMSIG(state) != SIGKILL)
        return fail("ingest was not killed: it ended by itself, with status %d", WEXITSTATUS(state));
    if (demo->acknowledged < demo->kill_after || demo->acknowledged >= demo->lines)
        return fail("ingest was not killed in the middle: it had acknowledged %" PRIu64 " records", demo->acknowledged);
    printf("   ingest died by signal %d (%s). It had acknowledged %" PRIu64 " of %" PRIu64 " records.\n",
           WTERMSIG(state), strsignal(WTERMSIG(state)), demo->acknowledged, demo->lines);
    return true;
}

static bool ingest_and_kill(struct demo *demo)
{
    char program[PATH_MAX];
    if (!join(program, demo->programs, "ingest")) return false;
    char *const arguments[] = {program, "--acks", "--sync", "always", demo->log_dir, demo->file, NULL};

    /* A pipe that holds one acknowledgement: a page, and O_DIRECT keeps one write a page. So ingest is at most two
     * records ahead of what is read here, and the kill falls into the middle however fast the disk is. */
    int ends[2];
    if (pipe2(ends, O_CLOEXEC | O_DIRECT) != 0) return fail("cannot make a pipe: %s", strerror(errno));
    FILE *acks = NULL;
    if (fcntl(ends[1], F_SETPIPE_SZ, 1) < 0 || (acks = fdopen(ends[0], "r")) == NULL) {
        fail("cannot set up a pipe: %s", strerror(errno));
        close(ends[0]);
        close(ends[1]);
        return false;
    }

    pid_t child = start(arguments, -1, ends[1]);
    close(ends[1]); /* the child has its copy; with ours open the pipe would never end */
    bool ok = child > 0 && kill_in_the_middle(demo, child, acks);
    fclose(acks); /* only read: nothing is lost if this fails */
    return ok;
}

/* Every record that is there must equal its line, and all that were acknowledged must be there. */
static bool check_records(log_t *log, const struct demo *demo, FILE *file)
{
    log_stat_t stat = {.struct_size = sizeof stat};
    log_cursor_t *cursor = NULL;
    log_record_t record;
    log_error_t error;
    log_status_t status = log_stat(log, &stat, &error);
    if (status == LOG_OK) status = log_cursor_open(log, 0, &cursor, &error);
    if (status != LOG_OK) return fail("%s", error.message);

    printf("   records in the log      %" PRIu64 "\n"
           "   acknowledged            %" PRIu64 "\n"
           "   recovered on this open  %" PRIu64 " records, %" PRIu64 " torn bytes dropped\n",
           stat.next_offset - stat.first_offset, demo->acknowledged, stat.recovered_records, stat.dropped_bytes);

    char *line = NULL;
    size_t capacity = 0;
    uint64_t next = 0;
    bool ok = true;
    while (ok && (status = log_cursor_next(cursor, &record, &error)) == LOG_OK) {
        ssize_t length = getline(&line, &capacity, file);
        if (length < 1 || record.offset != next || record.payload.len != (size_t)length - 1 ||
            memcmp(record.payload.data, line, (size_t)length - 1) != 0)
            ok = fail("the record at offset %" PRIu64 " is not line %" PRIu64 " of the file", record.offset, next + 1);
        next++;
    }
    if (ok && status != LOG_END) ok = fail("%s", error.message);
    if (ok && next < demo->acknowledged)
        ok = fail("the log holds %" PRIu64 " records, but %" PRIu64 " were acknowledged", next, demo->acknowledged);
    if (ok) {
        printf("   Each of the %" PRIu64 " acknowledged records is there, byte for byte", demo->acknowledged);
        if (next > demo->acknowledged)
            printf(",\n   and %" PRIu64 " more, appended but not yet acknowledged", next - demo->acknowledged);
        printf(".\n");
    }
    free(line);
    log_cursor_close(cursor);
    return ok;
}

static bool reopen_and_check(const struct demo *demo)
{
    FILE *file = fopen(demo->file, "re");
    if (file == NULL) return fail("cannot open %s: %s", demo->file, strerror(errno));

    log_t *log = NULL;
    log_error_t error;
    bool ok = log_open(demo->log_dir, NULL, &log, &error) == LOG_OK || fail("%s", error.message);
    ok = ok && check_records(log, demo, file);
    if (log_close(log, &error) != LOG_OK) ok = fail("%s", error.message);
    fclose(file); /* only read */
    return ok;
}

static bool ingest_the_rest(struct demo *demo)
{
    char program[PATH_MAX];
    if (!join(program, demo->programs, "ingest")) return false;
    char *const arguments[] = {program, "--skip-existing", "--sync", "always", demo->log_dir, demo->file, NULL};
    pid_t child = start(arguments, -1, -1);
    return child > 0 && finish(child, "ingest");
}

/* SHA-256 of what comes from `input`, by sha256sum. Takes `input` over. */
static bool sha256(int input, char out_digits[SHA256_DIGITS + 1])
{
    char *const arguments[] = {"sha256sum", NULL};
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0) {
        fail("cannot make a pipe: %s", strerror(errno));
        close(input);
        return false;
    }
    pid_t child = start(arguments, input, ends[1]);
    close(input);
    close(ends[1]);

    size_t length = 0;
    ssize_t got = 1;
    while (length < SHA256_DIGITS && got > 0) {
        got = read(ends[0], out_digits + length, SHA256_DIGITS - length);
        if (got > 0) length += (size_t)got;
        if (got < 0 && errno == EINTR) got = 1; /* once more */
    }
    out_digits[length] = '\0';
    close(ends[0]); /* what follows, "  -" and a line feed, may be lost: it fits into the pipe, so nobody waits */
    if (child < 0 || !finish(child, "sha256sum")) return false;
    return (length == SHA256_DIGITS && strspn(out_digits, "0123456789abcdef") == SHA256_DIGITS) ||
           fail("sha256sum printed something else than a checksum");
}

static bool compare_checksums(struct demo *demo)
{
    char of_file[SHA256_DIGITS + 1], of_log[SHA256_DIGITS + 1], program[PATH_MAX];

    int file = open(demo->file, O_RDONLY | O_CLOEXEC);
    if (file < 0) return fail("cannot open %s: %s", demo->file, strerror(errno));
    if (!sha256(file, of_file)) return false;

    if (!join(program, demo->programs, "dump")) return false;
    char *const arguments[] = {program, demo->log_dir, NULL};
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0) return fail("cannot make a pipe: %s", strerror(errno));
    pid_t child = start(arguments, -1, ends[1]);
    close(ends[1]);
    bool ok = sha256(ends[0], of_log);
    if (child < 0 || !finish(child, "dump") || !ok) return false;

    printf("   %s  %s\n   %s  dump of the log\n", of_file, demo->file, of_log);
    return strcmp(of_file, of_log) == 0 || fail("the checksums differ");
}

static bool run(struct demo *demo)
{
    printf("1. ingest writes %" PRIu64 " records, each durable before it is acknowledged, into\n   %s,\n"
           "   and is killed after acknowledgement %" PRIu64 ".\n",
           demo->lines, demo->log_dir, demo->kill_after);
    if (!ingest_and_kill(demo)) return false;
    printf("2. The log is opened again.\n");
    if (!reopen_and_check(demo)) return false;
    printf("3. ingest goes on where it stopped.\n");
    if (!ingest_the_rest(demo)) return false;
    printf("4. All records are dumped and compared with the file, by SHA-256.\n");
    if (!compare_checksums(demo)) return false;
    printf("All %" PRIu64 " records came back in order, byte for byte.\n", demo->lines);
    return true;
}

/* The folder that this program lies in: ingest and dump are its neighbours. */
static bool find_programs(char out[PATH_MAX])
{
    ssize_t length = readlink("/proc/self/exe", out, PATH_MAX - 1);
    if (length < 0) return fail("cannot read /proc/self/exe: %s", strerror(errno));
    out[length] = '\0';
    char *slash = strrchr(out, '/');
    if (slash == NULL) return fail("/proc/self/exe is no path: %s", out);
    *slash = '\0';
    return true;
}

static bool make_temporary_directory(struct demo *demo)
{
    const char *base = getenv("TMPDIR");
    if (!join(demo->parent_dir, base != NULL && base[0] != '\0' ? base : "/tmp", "seglog-demo-XXXXXX")) return false;
    if (mkdtemp(demo->parent_dir) == NULL) return fail("cannot make %s: %s", demo->parent_dir, strerror(errno));
    return join(demo->log_dir, demo->parent_dir, "log");
}

static bool remove_log(const struct demo *demo)
{
    log_error_t error;
    if (log_remove(demo->log_dir, &error) != LOG_OK) return fail("%s", error.message);
    return rmdir(demo->parent_dir) == 0 || fail("cannot remove %s: %s", demo->parent_dir, strerror(errno));
}

/* Another place each time: somewhere in the middle four fifths, by the clock. */
static uint64_t choose_kill_after(uint64_t lines)
{
    struct timespec now = {0, 0};
    clock_gettime(CLOCK_REALTIME, &now); /* if it failed, the place would be the same each time */
    return lines / 10 + (uint64_t)(now.tv_nsec / 1000) % (lines * 8 / 10);
}

int main(int argc, char **argv)
{
    static const struct option known[] = {{"kill-after", required_argument, NULL, 'k'}, {NULL, 0, NULL, 0}};
    static struct demo demo;
    bool usable = true, given = false;
    int option;
    while ((option = getopt_long(argc, argv, "", known, NULL)) != -1) {
        char *end = NULL;
        if (option == 'k' && optarg[0] >= '0' && optarg[0] <= '9') {
            errno = 0;
            demo.kill_after = strtoull(optarg, &end, 10);
            given = true;
        }
        if (end == NULL || *end != '\0' || errno != 0) usable = false;
    }
    if (!usable || argc - optind > 1) {
        fprintf(stderr, "usage: demo [--kill-after N] [FILE]\n");
        return 2;
    }

    if (!find_programs(demo.programs)) return 1;
    char file[PATH_MAX];
    if (!join(file, demo.programs, "../data/earthquakes.ndjson")) return 1;
    const char *named = optind < argc ? argv[optind] : file;
    if (realpath(named, demo.file) == NULL) {
        fail("cannot find %s: %s", named, strerror(errno));
        return 1;
    }
    if (!count_lines(&demo)) return 1;
    if (!given) demo.kill_after = choose_kill_after(demo.lines);
    if (demo.kill_after < 1 || demo.kill_after > demo.lines - 3) {
        fprintf(stderr, "demo: --kill-after takes 1 to %" PRIu64 ": three less than there are lines\n", demo.lines - 3);
        return 2;
    }

    if (!make_temporary_directory(&demo)) return 1;
    if (!run(&demo)) {
        fail("failed; what is there stays in %s", demo.parent_dir);
        return 1;
    }
    if (!remove_log(&demo)) return 1;
    return fflush(stdout) == 0 ? 0 : 1;
}

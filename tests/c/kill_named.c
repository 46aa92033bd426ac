/*
 * kill_named.c - saves positions and sets metas, to be killed at a system call; for tests/kill_named.rs.
 *
 *   kill_named run   DIR ACKS   does the steps below, and writes one byte to ACKS after each
 *   kill_named check DIR ACKS   what is left must be what the acknowledged steps made, or those and the one after them;
 *                               then it goes on from there
 */
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <seglog.h>

enum { RECORDS = 20, NAMES = 2, ABSENT = -1 };

enum verb { SAVE, SET, REMOVE_POSITION, REMOVE_META };

struct step {
    enum verb verb;
    int name, value;
};

static const char *const names[NAMES] = {"a", "b"};

static const struct step steps[] = {
    {SAVE, 0, 1},  {SET, 0, 3000}, {SAVE, 0, 2}, {SET, 0, 10}, {SAVE, 1, 7}, {SAVE, 0, 3}, {SET, 1, 0}, {SET, 0, 4096},
    {REMOVE_POSITION, 0, 0}, {REMOVE_META, 0, 0}, {SAVE, 0, 5}, {SET, 0, 1}, {SAVE, 1, 8}, {SAVE, 1, 9},
};
enum { STEPS = sizeof steps / sizeof steps[0] };

struct model {
    int position[NAMES], meta[NAMES];
};

static void do_step(struct model *model, unsigned n)
{
    const struct step *step = &steps[n];
    switch (step->verb) {
    case SAVE: model->position[step->name] = step->value; break;
    case SET: model->meta[step->name] = step->value; break;
    case REMOVE_POSITION: model->position[step->name] = ABSENT; break;
    case REMOVE_META: model->meta[step->name] = ABSENT; break;
    }
}

static void give_up(const char *what, const log_error_t *error)
{
    printf("%s: %s: %s\n", what, log_status_name(error->status), error->message);
    fflush(stdout);
    _exit(3);
}

static log_t *open_log(const char *dir)
{
    log_config_t config = {.struct_size = sizeof config, .sync = LOG_SYNC_NEVER, .flags = LOG_NO_THREAD};
    log_error_t error;
    log_t *log = NULL;
    if (log_open(dir, &config, &log, &error) != LOG_OK) give_up("log_open", &error);
    return log;
}

/* A meta of this length tells it in each byte. */
static const unsigned char *bytes_of(int length)
{
    static unsigned char bytes[4096];
    memset(bytes, 'a' + length % 23, sizeof bytes);
    return bytes;
}

static void run_step(log_t *log, const struct step *step)
{
    const char *name = names[step->name];
    log_status_t status = LOG_OK;
    log_error_t error;
    switch (step->verb) {
    case SAVE: status = log_position_save(log, name, (uint64_t)step->value, &error); break;
    case SET: status = log_meta_set(log, name, bytes_of(step->value), (size_t)step->value, &error); break;
    case REMOVE_POSITION: status = log_position_remove(log, name, &error); break;
    case REMOVE_META: status = log_meta_remove(log, name, &error); break;
    }
    if (status != LOG_OK) give_up("a step", &error);
}

static void run(const char *dir, const char *acks_path)
{
    int acks = open(acks_path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    log_error_t error;
    log_t *log = open_log(dir);
    if (acks < 0) _exit(5);
    for (unsigned n = 0; n < RECORDS; n++)
        if (log_append(log, "record", 6, NULL, &error) != LOG_OK) give_up("log_append", &error);
    if (write(acks, "+", 1) != 1) _exit(5);
    for (unsigned n = 0; n < STEPS; n++) {
        run_step(log, &steps[n]);
        if (write(acks, "+", 1) != 1) _exit(5);
    }
    if (log_close(log, &error) != LOG_OK) give_up("log_close", &error);
}

static int is_model(log_t *log, const struct model *model, int loud)
{
    static unsigned char buffer[4096];
    log_error_t error;
    int fine = 1;
    for (int n = 0; n < NAMES; n++) {
        uint64_t offset = 0;
        size_t length = 0;
        log_status_t status = log_position_load(log, names[n], &offset, &error);
        int found = status == LOG_OK ? (int)offset : ABSENT;
        if (status != LOG_OK && status != LOG_E_NOT_FOUND) give_up("log_position_load", &error);
        if (loud) printf("  position %s: wanted %d, found %d\n", names[n], model->position[n], found);
        fine &= found == model->position[n];
        status = log_meta_get(log, names[n], buffer, sizeof buffer, &length, &error);
        found = status == LOG_OK ? (int)length : ABSENT;
        if (status != LOG_OK && status != LOG_E_NOT_FOUND) give_up("log_meta_get", &error);
        if (loud) printf("  meta %s: wanted %d, found %d\n", names[n], model->meta[n], found);
        fine &= found == model->meta[n] && (found <= 0 || memcmp(buffer, bytes_of(found), length) == 0);
    }
    return fine;
}

static void check(const char *dir, const char *acks_path)
{
    struct stat about;
    struct model model = {{ABSENT, ABSENT}, {ABSENT, ABSENT}};
    unsigned done = stat(acks_path, &about) == 0 ? (unsigned)about.st_size : 0;
    log_error_t error;
    char litter[4096];
    log_t *log = open_log(dir);
    if (done == 0) { /* killed before the log was ready */
        if (log_close(log, &error) != LOG_OK) give_up("log_close", &error);
        return;
    }
    done--;
    for (unsigned n = 0; n < done; n++) do_step(&model, n);
    if (done < STEPS && !is_model(log, &model, 0)) do_step(&model, done);
    if (!is_model(log, &model, 0)) {
        printf("%u steps were acknowledged, and it is neither that nor one step more:\n", done);
        (void)is_model(log, &model, 1);
        fflush(stdout);
        _exit(6);
    }
    for (int folder = 0; folder < 2; folder++) {
        snprintf(litter, sizeof litter, "%s/%s/~new", dir, folder == 0 ? "positions" : "meta");
        if (access(litter, F_OK) == 0) {
            printf("%s is left\n", litter);
            fflush(stdout);
            _exit(7);
        }
    }
    /* Whoever was killed comes again. */
    for (unsigned n = 0; n < STEPS; n++) {
        if (steps[n].verb >= REMOVE_POSITION) continue;
        run_step(log, &steps[n]);
        do_step(&model, n);
        if (!is_model(log, &model, 1)) _exit(8);
    }
    if (log_close(log, &error) != LOG_OK) give_up("log_close", &error);
}

int main(int argc, char **argv)
{
    if (argc == 4 && strcmp(argv[1], "run") == 0) run(argv[2], argv[3]);
    else if (argc == 4 && strcmp(argv[1], "check") == 0) check(argv[2], argv[3]);
    else return 2;
    return 0;
}

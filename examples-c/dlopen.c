/*
 * dlopen: what quickstart does, with the library loaded at run time, as a plugin host would.
 *
 *     dlopen [LIBRARY [DIR]]
 *
 * This program is not linked with libseglog: it takes types and constants from the header, and the functions from the
 * library that it finds. LIBRARY may be a path. Without it the loader looks for libseglog.so.0.1, first in this
 * program's run path, which the Makefile sets to the build folder, then where it looks for every library.
 */
#include <dlfcn.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include <seglog.h>

/* The functions that this program uses. __typeof__ takes each signature from the header, so that none can be wrong;
 * it does not refer to the function itself, so nothing has to be linked. gcc and clang both know it. */
struct seglog {
    __typeof__(log_version) *version;
    __typeof__(log_open) *open;
    __typeof__(log_close) *close;
    __typeof__(log_append) *append;
    __typeof__(log_read) *read;
    __typeof__(log_stat) *stat;
    __typeof__(log_cursor_open) *cursor_open;
    __typeof__(log_cursor_next) *cursor_next;
    __typeof__(log_cursor_close) *cursor_close;
};

/* ISO C has no cast from an object pointer, which dlsym returns, to a function pointer. POSIX promises that both have
 * the same representation, so the bytes are copied. */
static bool find(void *library, const char *name, void *out_function, size_t size)
{
    void *symbol = dlsym(library, name);
    if (symbol == NULL || size != sizeof symbol) {
        fprintf(stderr, "dlopen: the library has no %s\n", name);
        return false;
    }
    memcpy(out_function, &symbol, size);
    return true;
}

static bool find_all(void *library, struct seglog *api)
{
    return find(library, "log_version", &api->version, sizeof api->version) &&
           find(library, "log_open", &api->open, sizeof api->open) &&
           find(library, "log_close", &api->close, sizeof api->close) &&
           find(library, "log_append", &api->append, sizeof api->append) &&
           find(library, "log_read", &api->read, sizeof api->read) &&
           find(library, "log_stat", &api->stat, sizeof api->stat) &&
           find(library, "log_cursor_open", &api->cursor_open, sizeof api->cursor_open) &&
           find(library, "log_cursor_next", &api->cursor_next, sizeof api->cursor_next) &&
           find(library, "log_cursor_close", &api->cursor_close, sizeof api->cursor_close);
}

/* quickstart.c, line by line, through the table. */
static bool run(const struct seglog *api, const char *dir)
{
    log_t *log = NULL;
    log_cursor_t *cursor = NULL;
    log_stat_t stat = {.struct_size = sizeof stat};
    log_record_t record;
    log_status_t status;
    log_error_t error;
    uint64_t offset;
    char text[64];
    size_t len;
    bool ok = false;

    if (api->open(dir, NULL, &log, &error) != LOG_OK) goto done;
    if (api->append(log, "hello", 5, &offset, &error) != LOG_OK) goto done;
    if (api->append(log, "world", 5, NULL, &error) != LOG_OK) goto done;
    if (api->read(log, offset, text, sizeof text, &len, &error) != LOG_OK) goto done;
    printf("appended and read back at offset %" PRIu64 ": %.*s\n", offset, (int)len, text);

    if (api->stat(log, &stat, &error) != LOG_OK) goto done;
    if (api->cursor_open(log, stat.first_offset, &cursor, &error) != LOG_OK) goto done;
    while ((status = api->cursor_next(cursor, &record, &error)) == LOG_OK)
        printf("%" PRIu64 ": %.*s\n", record.offset, (int)record.payload.len, (const char *)record.payload.data);
    if (status == LOG_END) ok = true;

done:
    if (!ok) fprintf(stderr, "dlopen: %s\n", error.message);
    api->cursor_close(cursor);
    if (api->close(log, &error) != LOG_OK) {
        fprintf(stderr, "dlopen: %s\n", error.message);
        ok = false;
    }
    return ok;
}

int main(int argc, char **argv)
{
    if (argc > 3) {
        fprintf(stderr, "usage: dlopen [LIBRARY [DIR]]\n");
        return 2;
    }
    const char *path = argc > 1 ? argv[1] : "libseglog.so.0.1";
    const char *dir = argc > 2 ? argv[2] : "my-log";

    /* RTLD_LOCAL keeps the library's symbols out of the way of the host's and of other plugins'. */
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (library == NULL) {
        fprintf(stderr, "dlopen: %s\n", dlerror());
        return 1;
    }
    struct seglog api;
    bool ok = find_all(library, &api);
    if (ok) {
        uint32_t version = api.version();
        printf("libseglog %" PRIu32 ".%" PRIu32 ".%" PRIu32 "\n", version >> 16, version >> 8 & 0xff, version & 0xff);
        /* Before 1.0 each minor version has its own ABI. The soname says so too, but a path goes round the soname. */
        if (version >> 8 != LOG_VERSION >> 8) {
            fprintf(stderr, "dlopen: this program was compiled for libseglog %d.%d\n", LOG_VERSION_MAJOR,
                    LOG_VERSION_MINOR);
            ok = false;
        }
    }
    ok = ok && run(&api, dir);

    /* Only when every log and cursor is closed. */
    if (dlclose(library) != 0) {
        fprintf(stderr, "dlopen: %s\n", dlerror());
        ok = false;
    }
    return ok ? 0 : 1;
}

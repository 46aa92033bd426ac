/*
 * raft_log: the log of a Raft server (Ongaro and Ousterhout, "In Search of an Understandable Consensus Algorithm") on
 * libseglog. An entry's index is its offset, so the library's calls are Raft's:
 *
 *     a leader appends at its index              log_append_at
 *     a follower drops what conflicts            log_truncate
 *     entries behind a snapshot go               log_trim
 *     a leader's snapshot replaces the log       log_reset
 *     a vote, durable before it is answered      log_meta_set
 *
 *     raft_log [DIR]        plays a leader's and a follower's life in DIR (raft-data, made anew) and checks each step
 *
 * Copy what stands above "the scenario" into your server. One thread at a time uses a raft_log, as a Raft server's state
 * is under one lock anyway; to send entries from other threads, give each a cursor of its own.
 *
 * Exit status: 0 all was in order, 1 it was not or something failed, 2 wrong usage.
 */
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <seglog.h>

/* What a record holds: the term, 8 bytes, little end first, then the command. The index is the record's offset. */
enum { TERM_BYTES = 8, COMMAND_MAX = 4096 };

/* The meta VOTE holds current term and vote, 8 bytes each, little end first. A server that has none is in term 0. */
#define VOTE "vote"
enum { VOTE_BYTES = 16 };
#define NOBODY UINT64_MAX

struct raft_entry {
    uint64_t index, term;
    const void *command; /* of entries that were read: a view, see raft_log_entries */
    size_t length;
};

struct raft_log {
    log_t *log;
    log_cursor_t *cursor;
    /* The entry just before the first one, the last that the snapshot covers. Its term lies in the snapshot. */
    uint64_t snapshot_index, snapshot_term;
    uint64_t last_index, last_term; /* the snapshot's, where there are no entries */
    uint64_t current_term, voted_for; /* voted_for: NOBODY, or a server's number */
    log_error_t error;              /* why the last call failed */
};

static void put_u64(unsigned char *bytes, uint64_t value)
{
    for (int i = 0; i < 8; i++) bytes[i] = (unsigned char)(value >> 8 * i);
}

static uint64_t get_u64(const unsigned char *bytes)
{
    uint64_t value = 0;
    for (int i = 0; i < 8; i++) value |= (uint64_t)bytes[i] << 8 * i;
    return value;
}

static log_status_t fail(struct raft_log *raft, log_status_t status, const char *why)
{
    raft->error.status = status;
    raft->error.offset = LOG_NO_OFFSET;
    raft->error.os_error = 0;
    snprintf(raft->error.message, sizeof raft->error.message, "%s", why);
    return status;
}

static log_status_t decode(struct raft_log *raft, const log_record_t *record, struct raft_entry *entry)
{
    const unsigned char *bytes = record->payload.data;
    if (record->payload.len < TERM_BYTES) return fail(raft, LOG_E_FORMAT, "a record is too short for a Raft entry");
    entry->index = record->offset;
    entry->term = get_u64(bytes);
    entry->command = bytes + TERM_BYTES;
    entry->length = record->payload.len - TERM_BYTES;
    return LOG_OK;
}

/*
 * Up to `capacity` entries from `index` on, for an AppendEntries message. LOG_END: there are none yet. LOG_E_TRIMMED: a
 * follower that needs this one needs the snapshot. The commands are views: they live until the next call on `raft`.
 */
static log_status_t raft_log_entries(struct raft_log *raft, uint64_t index, struct raft_entry *entries,
                                     size_t capacity, size_t *out_count)
{
    log_record_t records[64];
    size_t room = sizeof records / sizeof records[0];
    log_status_t status = log_cursor_seek(raft->cursor, index, &raft->error);
    *out_count = 0;
    if (status == LOG_OK)
        status = log_cursor_next_batch(raft->cursor, records, capacity < room ? capacity : room, out_count,
                                       &raft->error);
    for (size_t n = 0; status == LOG_OK && n < *out_count; n++) status = decode(raft, &records[n], &entries[n]);
    return status;
}

/* The term of an entry, also of the one that the snapshot ends with: what AppendEntries compares. */
static log_status_t raft_log_term(struct raft_log *raft, uint64_t index, uint64_t *out_term)
{
    struct raft_entry entry;
    size_t count;
    if (index == raft->snapshot_index) {
        *out_term = raft->snapshot_term;
        return LOG_OK;
    }
    log_status_t status = raft_log_entries(raft, index, &entry, 1, &count);
    if (status == LOG_OK) *out_term = entry.term;
    return status;
}

/*
 * Enters a term, and votes in it (for NOBODY: not yet). It is durable on return, and only then may be answered: a server
 * that forgot its vote in a crash could give a second one, and there would be two leaders.
 */
static log_status_t raft_log_vote(struct raft_log *raft, uint64_t term, uint64_t candidate)
{
    unsigned char vote[VOTE_BYTES];
    put_u64(vote, term);
    put_u64(vote + 8, candidate);
    log_status_t status = log_meta_set(raft->log, VOTE, vote, sizeof vote, &raft->error);
    if (status == LOG_OK) {
        raft->current_term = term;
        raft->voted_for = candidate;
    }
    return status;
}

/* A candidate asks for a vote (section 5.4.1): it gets one a term, and none if this log has more than its own. */
static log_status_t raft_log_request_vote(struct raft_log *raft, uint64_t term, uint64_t candidate,
                                          uint64_t last_index, uint64_t last_term, bool *out_granted)
{
    bool has_all = last_term > raft->last_term || (last_term == raft->last_term && last_index >= raft->last_index);
    *out_granted = false;
    if (term < raft->current_term) return LOG_OK;
    if (term == raft->current_term && raft->voted_for != NOBODY && raft->voted_for != candidate) return LOG_OK;
    log_status_t status = raft_log_vote(raft, term, has_all ? candidate : NOBODY);
    *out_granted = status == LOG_OK && has_all;
    return status;
}

static log_status_t load_vote(struct raft_log *raft)
{
    unsigned char vote[VOTE_BYTES];
    size_t length = 0;
    log_status_t status = log_meta_get(raft->log, VOTE, vote, sizeof vote, &length, &raft->error);
    raft->voted_for = NOBODY;
    if (status == LOG_E_NOT_FOUND) return LOG_OK; /* a new server */
    if (status == LOG_OK && length != VOTE_BYTES) return fail(raft, LOG_E_FORMAT, "the vote is not this program's");
    if (status == LOG_OK) {
        raft->current_term = get_u64(vote);
        raft->voted_for = get_u64(vote + 8);
    }
    return status;
}

/* Finds the last entry, after the log was opened or its end has moved back. */
static log_status_t find_last(struct raft_log *raft)
{
    log_stat_t stat = {.struct_size = sizeof stat};
    log_status_t status = log_stat(raft->log, &stat, &raft->error);
    if (status != LOG_OK) return status;
    raft->last_index = stat.next_offset - 1; /* offset 0 is never used: Raft counts from 1 */
    return raft_log_term(raft, raft->last_index, &raft->last_term);
}

static log_status_t raft_log_close(struct raft_log *raft)
{
    log_cursor_close(raft->cursor);
    log_status_t status = log_close(raft->log, &raft->error);
    raft->log = NULL;
    raft->cursor = NULL;
    return status;
}

/*
 * Appends one entry at its index, durably. LOG_E_CONFLICT: the log does not end before that index; a leader that sees
 * this is not the only one that writes here. To append many at once, log_append_batch costs one sync for all.
 */
static log_status_t raft_log_append(struct raft_log *raft, const struct raft_entry *entry)
{
    unsigned char record[TERM_BYTES + COMMAND_MAX];
    if (entry->length > COMMAND_MAX) return fail(raft, LOG_E_TOO_LARGE, "the command is longer than COMMAND_MAX");
    put_u64(record, entry->term);
    if (entry->length > 0) memcpy(record + TERM_BYTES, entry->command, entry->length);
    log_status_t status = log_append_at(raft->log, entry->index, record, TERM_BYTES + entry->length, &raft->error);
    if (status == LOG_OK) {
        raft->last_index = entry->index;
        raft->last_term = entry->term;
    }
    return status;
}

/* Drops the entries from `index` on, durably. */
static log_status_t raft_log_truncate(struct raft_log *raft, uint64_t index)
{
    log_status_t status = log_truncate(raft->log, index, &raft->error);
    return status == LOG_OK ? find_last(raft) : status;
}

/*
 * What a follower does with AppendEntries (section 5.3): false if the log has no entry of that term before the new ones;
 * else it keeps what it has, drops what conflicts, appends what is new, and only then answers.
 */
static log_status_t raft_log_accept(struct raft_log *raft, uint64_t prev_index, uint64_t prev_term,
                                    const struct raft_entry *entries, size_t count, bool *out_accepted)
{
    uint64_t term = 0;
    *out_accepted = false;
    if (prev_index > raft->last_index || prev_index < raft->snapshot_index) return LOG_OK;
    log_status_t status = raft_log_term(raft, prev_index, &term);
    if (status != LOG_OK || term != prev_term) return status;
    for (size_t n = 0; n < count; n++) {
        if (entries[n].index <= raft->last_index) {
            status = raft_log_term(raft, entries[n].index, &term);
            if (status == LOG_OK && term == entries[n].term) continue; /* it is there */
            if (status == LOG_OK) status = raft_log_truncate(raft, entries[n].index);
        }
        if (status == LOG_OK) status = raft_log_append(raft, &entries[n]);
        if (status != LOG_OK) return status;
    }
    *out_accepted = true;
    return LOG_OK;
}

/* The entries up to `index` are in a snapshot that is durable: they go. */
static log_status_t raft_log_compact(struct raft_log *raft, uint64_t index)
{
    uint64_t term;
    log_status_t status = raft_log_term(raft, index, &term);
    if (status == LOG_OK) status = log_trim(raft->log, index + 1, &raft->error);
    if (status != LOG_OK) return status;
    raft->snapshot_index = index;
    raft->snapshot_term = term;
    return LOG_OK;
}

/* A leader's snapshot, stored durably by now: what follows on it is kept, else it replaces the log (section 7). */
static log_status_t raft_log_install_snapshot(struct raft_log *raft, uint64_t index, uint64_t term)
{
    uint64_t own = 0;
    if (index <= raft->snapshot_index) return LOG_OK; /* an old one, that came late */
    if (index <= raft->last_index) {
        log_status_t status = raft_log_term(raft, index, &own);
        if (status != LOG_OK) return status;
        if (own == term) return raft_log_compact(raft, index);
    }
    log_status_t status = log_reset(raft->log, index + 1, &raft->error);
    if (status != LOG_OK) return status;
    raft->snapshot_index = raft->last_index = index;
    raft->snapshot_term = raft->last_term = term;
    return LOG_OK;
}

/*
 * Opens a log; `snapshot_*` say what the newest snapshot covers (0 and 0 where there is none). A crash may have come
 * between storing that snapshot and the log's part: raft_log_install_snapshot does what was left to do.
 * Durability is the default, LOG_SYNC_ALWAYS: Raft answers only for what survives a power loss.
 */
static log_status_t raft_log_open(struct raft_log *raft, const char *dir, uint64_t snapshot_index,
                                  uint64_t snapshot_term)
{
    log_config_t config = {.struct_size = sizeof config, .initial_offset = 1};
    log_stat_t stat = {.struct_size = sizeof stat};
    *raft = (struct raft_log){0};
    log_status_t status = log_open(dir, &config, &raft->log, &raft->error);
    if (status != LOG_OK) return status;

    status = log_stat(raft->log, &stat, &raft->error);
    if (status == LOG_OK && stat.first_offset > snapshot_index + 1)
        status = fail(raft, LOG_E_NOT_FOUND, "the log begins behind the snapshot: a newer one is missing");
    if (status == LOG_OK) status = log_cursor_open(raft->log, stat.first_offset, &raft->cursor, &raft->error);
    if (status == LOG_OK) {
        raft->snapshot_index = stat.first_offset - 1; /* how far the log knows of a snapshot */
        raft->snapshot_term = raft->snapshot_index == snapshot_index ? snapshot_term : 0;
        status = find_last(raft);
    }
    if (status == LOG_OK) status = load_vote(raft);
    if (status == LOG_OK) status = raft_log_install_snapshot(raft, snapshot_index, snapshot_term);
    if (status != LOG_OK) {
        log_error_t why = raft->error; /* closing must not hide it */
        (void)raft_log_close(raft);
        raft->error = why;
    }
    return status;
}

/* --- the scenario ---------------------------------------------------------------------------------------------- */

static void expect(bool held, const struct raft_log *raft, const char *what)
{
    printf("%s  %s\n", held ? "ok    " : "FAILED", what);
    if (held) return;
    fprintf(stderr, "raft_log: last index %" PRIu64 " of term %" PRIu64 "; the last error: %s\n", raft->last_index,
            raft->last_term, raft->error.message);
    exit(1);
}

static bool ends_at(const struct raft_log *raft, uint64_t index, uint64_t term)
{
    return raft->last_index == index && raft->last_term == term;
}

static struct raft_entry entry_of(uint64_t index, uint64_t term, const char *command)
{
    return (struct raft_entry){.index = index, .term = term, .command = command, .length = strlen(command)};
}

/* Whether the entries from `first` on are these commands, and no more. */
static bool holds(struct raft_log *raft, uint64_t first, const char *const *commands, size_t count)
{
    struct raft_entry entries[16];
    size_t seen = 0, got = 0;
    while (raft_log_entries(raft, first + seen, entries, 16, &got) == LOG_OK)
        for (size_t n = 0; n < got; n++, seen++)
            if (seen >= count || entries[n].index != first + seen || entries[n].length != strlen(commands[seen]) ||
                memcmp(entries[n].command, commands[seen], entries[n].length) != 0)
                return false;
    return raft->error.status == LOG_END && seen == count;
}

int main(int argc, char **argv)
{
    static const char *const first_term[] = {"x=1", "y=2", "x=3", "y=4", "x=5"};
    static const char *const repaired[] = {"x=1", "y=2", "x=7", "y=8"};
    static const char *const after_compaction[] = {"y=8", "z=9"};
    static const char *const after_snapshot[] = {"z=41", "x=42"};
    const char *dir = argc > 1 ? argv[1] : "raft-data";
    struct raft_log raft = {0};
    struct raft_entry entries[4];
    log_error_t error;
    bool accepted = false, granted = false;
    size_t count = 0;
    if (argc > 2 || dir[0] == '-') {
        fprintf(stderr, "usage: raft_log [DIR]   (default: raft-data; a log that is there is removed)\n");
        return 2;
    }
    log_status_t status = log_remove(dir, &error);
    if (status != LOG_OK && status != LOG_E_NOT_FOUND) {
        fprintf(stderr, "raft_log: %s\n", error.message);
        return 1;
    }

    expect(raft_log_open(&raft, dir, 0, 0) == LOG_OK && ends_at(&raft, 0, 0), &raft, "a new log is empty");
    for (uint64_t n = 0; n < 5; n++) {
        entries[0] = entry_of(n + 1, 1, first_term[n]);
        expect(raft_log_append(&raft, &entries[0]) == LOG_OK, &raft, "the leader of term 1 appends an entry");
    }
    expect(raft_log_append(&raft, &entries[0]) == LOG_E_CONFLICT && raft.error.offset == 6, &raft,
           "no entry goes where another one stands");
    expect(holds(&raft, 1, first_term, 5), &raft, "followers can be sent all of them");

    /* Another one was elected: it never saw entries 3 to 5, which were not committed. */
    entries[0] = entry_of(7, 3, "w=0");
    expect(raft_log_accept(&raft, 6, 2, entries, 1, &accepted) == LOG_OK && !accepted, &raft,
           "entries behind a gap are not accepted");
    entries[0] = entry_of(2, 1, "y=2"), entries[1] = entry_of(3, 2, "x=7"), entries[2] = entry_of(4, 2, "y=8");
    expect(raft_log_accept(&raft, 1, 1, entries, 3, &accepted) == LOG_OK && accepted, &raft,
           "the leader of term 2 sends entries 2 to 4");
    expect(ends_at(&raft, 4, 2) && holds(&raft, 1, repaired, 4), &raft, "the conflicting ones are replaced");
    expect(raft_log_accept(&raft, 1, 1, entries, 3, &accepted) == LOG_OK && accepted && ends_at(&raft, 4, 2), &raft,
           "the same message again changes nothing");

    expect(raft_log_close(&raft) == LOG_OK && raft_log_open(&raft, dir, 0, 0) == LOG_OK, &raft, "the server restarts");
    expect(ends_at(&raft, 4, 2) && holds(&raft, 1, repaired, 4), &raft, "last index and last term are found again");

    /* An election: one vote a term, and it outlives the server. */
    expect(raft_log_request_vote(&raft, 3, 7, 4, 2, &granted) == LOG_OK && granted, &raft, "server 7 gets a vote");
    expect(raft_log_request_vote(&raft, 3, 8, 9, 2, &granted) == LOG_OK && !granted, &raft,
           "server 8 gets none in the same term");
    expect(raft_log_close(&raft) == LOG_OK && raft_log_open(&raft, dir, 0, 0) == LOG_OK, &raft, "the server restarts");
    expect(raft.current_term == 3 && raft.voted_for == 7, &raft, "its vote is what it was");
    expect(raft_log_request_vote(&raft, 3, 8, 9, 2, &granted) == LOG_OK && !granted, &raft, "server 8 still gets none");
    expect(raft_log_request_vote(&raft, 4, 8, 3, 2, &granted) == LOG_OK && !granted && raft.current_term == 4, &raft,
           "nor in the next, since its log is behind");

    /* A snapshot of the state after entry 3 has been stored; that is the state machine's business. */
    expect(raft_log_compact(&raft, 3) == LOG_OK, &raft, "entries 1 to 3 go, a snapshot has them");
    expect(raft_log_entries(&raft, 3, entries, 4, &count) == LOG_E_TRIMMED, &raft,
           "who asks for entry 3 needs the snapshot");
    entries[0] = entry_of(5, 2, "z=9");
    expect(raft_log_accept(&raft, 4, 2, entries, 1, &accepted) == LOG_OK && accepted, &raft, "entry 5 is accepted");
    expect(raft_log_close(&raft) == LOG_OK && raft_log_open(&raft, dir, 3, 2) == LOG_OK, &raft, "another restart");
    expect(ends_at(&raft, 5, 2) && holds(&raft, 4, after_compaction, 2), &raft, "entries 4 and 5 are there");

    /* Cut off for long: the leader has trimmed what would be needed, and sends its snapshot. */
    expect(raft_log_install_snapshot(&raft, 40, 6) == LOG_OK && ends_at(&raft, 40, 6), &raft,
           "a snapshot up to entry 40 replaces the log");
    entries[0] = entry_of(41, 6, "z=41"), entries[1] = entry_of(42, 7, "x=42");
    expect(raft_log_accept(&raft, 40, 6, entries, 2, &accepted) == LOG_OK && accepted, &raft,
           "entries 41 and 42 follow on it");
    expect(raft_log_close(&raft) == LOG_OK && raft_log_open(&raft, dir, 40, 6) == LOG_OK, &raft, "one more restart");
    expect(ends_at(&raft, 42, 7) && holds(&raft, 41, after_snapshot, 2), &raft, "and the log is as it was");

    /* Killed when the leader's snapshot had been stored, but before the log knew of it. */
    expect(raft_log_close(&raft) == LOG_OK && raft_log_open(&raft, dir, 41, 8) == LOG_OK, &raft,
           "it restarts with a newer snapshot, whose last entry is another one");
    expect(ends_at(&raft, 41, 8) && holds(&raft, 42, NULL, 0), &raft, "so nothing of the log is kept");
    expect(raft_log_close(&raft) == LOG_OK, &raft, "the log is closed");
    return fflush(stdout) == 0 ? 0 : 1;
}

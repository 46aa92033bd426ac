/*
 * The tests of seglog.hpp: what the C++ face adds to the C API (handles that close themselves, views, range-for, both
 * ways to hear of failures), in the scenarios of the C tests. Compiled by each compiler as C++17 and C++20, and once
 * without exceptions, where only the calls with an error are there.
 */
#define CHECK_MAIN
#include "../c/check.h"

#include <seglog.hpp>

#include <array>
#include <cstring>
#include <cmath> /* ::log, beside seglog::log */
#include <string>
#include <thread>
#include <vector>

namespace {

seglog::config quick(std::uint64_t segment_max_bytes = 0) {
  seglog::config how;
  how.sync = LOG_SYNC_NEVER;
  how.segment_max_bytes = segment_max_bytes;
  return how;
}

bool is_status(log_status_t expected, const seglog::error &why) {
  if (why.status() == expected) return true;
  std::printf("  status %s, expected %s: %s\n", why.name(), log_status_name(expected), why.message());
  return false;
}

seglog::log opened(const char *dir, const seglog::config &how = quick()) {
  seglog::error why;
  seglog::log log(dir, how, why);
  CHECK(is_status(LOG_OK, why) && log);
  return log;
}

/* Records whose text is their number. */
void fill(seglog::log &log, unsigned count) {
  seglog::error why;
  for (unsigned n = 0; n < count; n++) {
    log.append(std::to_string(n), why);
    CHECK(!why);
  }
}

void append_and_read_back() {
  const check_path_t dir = fresh_path();
  seglog::log log = opened(dir.text);
  seglog::error why;
  CHECK_EQ(0, log.append("hello", why));
  CHECK_EQ(1, log.append(std::string("wor\0ld", 6), why));
  CHECK_EQ(2, log.append(std::vector<unsigned char>{1, 2, 3}, why));
  CHECK_EQ(3, log.append(std::array<std::byte, 2>{std::byte{7}, std::byte{8}}, why));
  CHECK_EQ(4, log.append(std::string_view(), why));
  CHECK_EQ(5, log.append(seglog::bytes("12345", 3), why));
  CHECK(is_status(LOG_OK, why));
  std::string text;
  CHECK(log.read(0, text, why) && text == "hello");
  CHECK(log.read(1, text, why) && text == std::string("wor\0ld", 6));
  CHECK(log.read(2, text, why) && text == "\1\2\3");
  CHECK(log.read(4, text, why) && text.empty());
  CHECK(log.read(5, text, why) && text == "123");
  char small[2];
  CHECK_EQ(5, log.read(0, small, sizeof small, why));
  CHECK(is_status(LOG_E_BUFFER, why) && why);
  const std::string large(100000, 'x');
  CHECK_EQ(6, log.append(large, why));
  CHECK(log.read(6, text, why) && text == large);
  log.close(why);
  CHECK(is_status(LOG_OK, why) && !log);
}

void a_failure_tells_all_of_it() {
  const check_path_t dir = fresh_path();
  seglog::log log = opened(dir.text);
  seglog::error why;
  std::string text = "before";
  CHECK(!log.read(7, text, why) && text.empty());
  CHECK(why && is_status(LOG_E_BEYOND, why));
  CHECK_EQ(7, why.offset());
  CHECK(strcmp(why.name(), "LOG_E_BEYOND") == 0 && strlen(why.message()) > 10);
  CHECK_EQ(0, log.append("x", why));
  CHECK(!why && why.status() == LOG_OK && why.offset() == seglog::no_offset && why.message()[0] == '\0');
  log.append_at(5, "y", why);
  CHECK(is_status(LOG_E_CONFLICT, why));
  CHECK_EQ(1, why.offset());
  seglog::log second(dir.text, quick(), why);
  CHECK(!second && is_status(LOG_E_LOCKED, why));
  /* An empty handle is an argument error, like NULL in C, and closing it is fine. */
  seglog::log none;
  CHECK_EQ(seglog::no_offset, none.append("x", why));
  CHECK(is_status(LOG_E_ARGUMENT, why));
  none.close(why);
  CHECK(is_status(LOG_OK, why));
}

void batches_are_whole() {
  const check_path_t dir = fresh_path();
  seglog::log log = opened(dir.text);
  seglog::error why;
  CHECK_EQ(0, log.append_batch({"a", "bc", ""}, why));
  const std::vector<seglog::bytes> more = {"d", std::string_view("e")};
  CHECK_EQ(3, log.append_batch(more.data(), more.size(), why));
  CHECK_EQ(5, log.stat(why).next_offset);
  const seglog::record own[] = {{5, UINT64_MAX - 9, "f"}, {6, UINT64_MAX - 8, "g"}};
  log.append_records(own, 2, why);
  CHECK(is_status(LOG_OK, why));
  log.append_records(own, 2, why);
  CHECK(is_status(LOG_E_CONFLICT, why));
  seglog::cursor cursor = log.from(5, why);
  std::optional<seglog::record> found = cursor.next(why);
  REQUIRE(found);
  CHECK(found->payload() == "f");
  CHECK_EQ(UINT64_MAX - 9, found->timestamp_ns());
}

void records_are_built_in_place() {
  const check_path_t dir = fresh_path();
  seglog::log log = opened(dir.text);
  seglog::error why;
  {
    seglog::reservation room = log.reserve(100, why);
    REQUIRE(room && room.size() == 100);
    std::memcpy(room.data(), "built", 5);
    CHECK_EQ(seglog::no_offset, room.commit(101, why));
    CHECK(is_status(LOG_E_ARGUMENT, why) && room);
    CHECK_EQ(0, room.commit(5, why));
    CHECK(!room);
  }
  {
    seglog::reservation given_up = log.reserve(10, why);
    seglog::reservation moved = std::move(given_up);
    CHECK(!given_up && moved);
  }
  std::string text;
  CHECK(log.read(0, text, why) && text == "built");
  CHECK_EQ(1, log.append("free again", why));
  CHECK(!log.reserve(std::size_t(1) << 40, why) && is_status(LOG_E_TOO_LARGE, why));
}

void a_loop_goes_through_the_log() {
  const check_path_t dir = fresh_path();
  seglog::log log = opened(dir.text, quick(4096));
  seglog::error why;
  fill(log, 1000);
  CHECK(log.stat(why).segment_count > 1);
  unsigned n = 0;
  seglog::cursor cursor = log.from(0, why);
  for (const seglog::record &record : cursor) {
    CHECK_EQ(n, record.offset());
    CHECK(record.payload() == std::to_string(n));
    CHECK(record.time().time_since_epoch().count() > 0);
#ifdef __cpp_lib_span
    CHECK(record.payload_bytes().size() == record.payload().size());
#endif
    n++;
  }
  CHECK_EQ(1000, n);
  CHECK(is_status(LOG_END, cursor.last_error()));
  /* The loop goes on where the log does. */
  log.append("1000", why);
  for (const seglog::record &record : cursor) CHECK_EQ(n++, record.offset());
  CHECK_EQ(1001, n);
}

void cursors_go_both_ways() {
  const check_path_t dir = fresh_path();
  seglog::log log = opened(dir.text);
  seglog::error why;
  fill(log, 100);
  seglog::cursor cursor = log.from(100, why);
  CHECK(!cursor.next(why) && is_status(LOG_END, why) && !why);
  std::optional<seglog::record> found = cursor.prev(why);
  CHECK(found && found->offset() == 99 && found->payload() == "99");
  cursor.seek(0, why);
  CHECK(!cursor.prev(why) && is_status(LOG_END, why));
  seglog::record batch[40];
  unsigned n = 0;
  while (std::size_t count = cursor.next_batch(batch, 40, why))
    for (std::size_t i = 0; i < count; i++) CHECK(batch[i].payload() == std::to_string(n++));
  CHECK_EQ(100, n);
  CHECK(is_status(LOG_END, why));
  cursor.seek(101, why);
  CHECK(is_status(LOG_E_BEYOND, why));
}

void both_ends_are_cut() {
  const check_path_t dir = fresh_path();
  seglog::log log = opened(dir.text, quick(4096));
  seglog::error why;
  fill(log, 500);
  log.trim(100, why);
  log.truncate(400, why);
  CHECK(is_status(LOG_OK, why));
  log_stat_t stat = log.stat(why);
  CHECK_EQ(100, stat.first_offset);
  CHECK_EQ(400, stat.next_offset);
  std::string text;
  CHECK(!log.read(99, text, why) && is_status(LOG_E_TRIMMED, why));
  CHECK(log.wait_durable(399, std::chrono::seconds(10), why));
  std::size_t segments = 0;
  while (log.segment_at(segments, why)) segments++;
  CHECK(is_status(LOG_END, why));
  CHECK_EQ(log.stat(why).segment_count, segments);
  const check_path_t copy = fresh_path();
  log.backup(copy.text, why);
  CHECK(is_status(LOG_OK, why));
  CHECK_EQ(400, opened(copy.text).stat(why).next_offset);
  log.backup(copy.text, why);
  CHECK(is_status(LOG_E_EXISTS, why));
  log.reset(7, why);
  CHECK_EQ(7, log.append("seven", why));
}

void handles_move_and_close_themselves() {
  const check_path_t dir = fresh_path();
  seglog::error why;
  seglog::cursor outlives;
  {
    seglog::log log = opened(dir.text);
    log.append("kept", why);
    seglog::log moved = std::move(log);
    CHECK(!log && moved);
    seglog::log &itself = moved;
    moved = std::move(itself);
    CHECK(moved ? true : false);
    seglog::cursor cursor = moved.from(0, why);
    outlives = std::move(cursor);
    CHECK(!cursor && outlives);
  }
  std::optional<seglog::record> found = outlives.next(why);
  CHECK(found && found->payload() == "kept");
  seglog::log again = opened(dir.text); /* the lock is free: it was closed */
  CHECK_EQ(1, again.stat(why).next_offset);
  CHECK_EQ(0, again.stat(why).recovered_records);
  again = opened(fresh_path().text); /* assignment closes, too */
  seglog::log third = opened(dir.text);
  CHECK_EQ(1, third.stat(why).next_offset);
  third.close(why);
  outlives = seglog::cursor();
  seglog::remove(dir.text, why);
  CHECK(is_status(LOG_OK, why) && !path_exists(dir.text));
}

void a_follower_reads_and_writes_nothing() {
  const check_path_t dir = fresh_path();
  seglog::log log = opened(dir.text);
  seglog::config how;
  how.flags = LOG_READ_ONLY;
  seglog::log follower = opened(dir.text, how);
  seglog::error why;
  log.append("seen", why);
  std::string text;
  CHECK(follower.read(0, text, why) && text == "seen");
  follower.append("x", why);
  CHECK(is_status(LOG_E_READ_ONLY, why));
}

void positions_and_meta_are_kept() {
  const check_path_t dir = fresh_path();
  seglog::error why;
  {
    seglog::log log = opened(dir.text);
    fill(log, 10);
    CHECK(!log.position("billing", why) && is_status(LOG_OK, why));
    log.save_position("billing", 7, why);
    log.save_position("audit", 3, why);
    CHECK(is_status(LOG_OK, why));
    log.save_position("no/slash", 3, why);
    CHECK(is_status(LOG_E_ARGUMENT, why));
    CHECK(!log.meta("vote", why) && is_status(LOG_OK, why));
    log.set_meta("vote", std::string("term\0 4", 7), why);
    CHECK(is_status(LOG_OK, why));
  }
  seglog::config how;
  how.flags = LOG_READ_ONLY;
  const seglog::log log = opened(dir.text, how);
  CHECK_EQ(7, log.position("billing", why).value_or(99));
  std::size_t count = 0;
  while (const auto position = log.position_at(count, why)) {
    CHECK(position->first == (count == 0 ? "audit" : "billing"));
    count++;
  }
  CHECK_EQ(2, count);
  CHECK(is_status(LOG_END, why));
  CHECK(log.meta("vote", why) == std::string("term\0 4", 7));
  CHECK(log.meta_at(0, why) == std::string("vote") && !log.meta_at(1, why));
  log.remove_position("audit", why);
  log.remove_meta("vote", why);
  CHECK(is_status(LOG_OK, why) && !log.position("audit", why) && !log.meta("vote", why));
  CHECK_EQ(0, log.find_time(0, why));
  CHECK_EQ(0, log.find_time(std::chrono::system_clock::time_point(), why));
  CHECK_EQ(seglog::no_offset, log.find_time(UINT64_MAX, why));
  CHECK(is_status(LOG_E_BEYOND, why));
}

void readers_wait() {
  const check_path_t dir = fresh_path();
  seglog::log log = opened(dir.text);
  seglog::config how;
  how.flags = LOG_READ_ONLY;
  const seglog::log follower = opened(dir.text, how);
  seglog::error why;
  CHECK(!follower.wait(0, std::chrono::milliseconds(10), why) && is_status(LOG_TIMEOUT, why) && !why);
  seglog::cursor cursor = follower.from(0, why);
  const int fd = log.event_fd(why);
  CHECK(fd >= 0);
  std::thread writer([&log] {
    seglog::error failed;
    log.append("awaited", failed);
  });
  CHECK(cursor.wait(seglog::forever, why));
  std::optional<seglog::record> found = cursor.next(why);
  CHECK(found && found->payload() == "awaited");
  CHECK(follower.wait(0, seglog::forever, why) && log.wait(0, std::chrono::seconds(0), why));
  writer.join();
  std::uint64_t count = 0;
  CHECK(read(fd, &count, sizeof count) == sizeof count);
}

void threads_share_a_log() {
  const check_path_t dir = fresh_path();
  seglog::log log = opened(dir.text);
  std::vector<std::thread> writers;
  for (int t = 0; t < 4; t++)
    writers.emplace_back([&log] {
      seglog::error why;
      for (int n = 0; n < 1000; n++) log.append("record", why);
    });
  for (std::thread &writer : writers) writer.join();
  seglog::error why;
  CHECK_EQ(4000, log.stat(why).next_offset);
}

#ifdef __cpp_exceptions
void failures_are_thrown() {
  const check_path_t dir = fresh_path();
  seglog::log log(dir.text, quick());
  CHECK_EQ(0, log.append("hello"));
  CHECK(log.read(0) == "hello");
  try {
    (void)log.read(1);
    CHECK(!"it throws");
  } catch (const seglog::exception &e) {
    CHECK(e.status() == LOG_E_BEYOND && e.offset() == 1);
    CHECK(std::string(e.what()).find("LOG_E_BEYOND: ") == 0);
  }
  bool threw = false;
  try {
    seglog::log second(std::string(dir.text), quick());
  } catch (const std::exception &) {
    threw = true;
  }
  CHECK(threw);
  threw = false;
  try {
    log.append_at(9, "x");
  } catch (const seglog::exception &e) {
    threw = e.status() == LOG_E_CONFLICT && e.offset() == 1;
  }
  CHECK(threw);
  CHECK(!log.segment_at(9));
  CHECK(log.wait_durable(0));
  log.append_batch({"b", "c"});
  log.sync();
  unsigned n = 0;
  for (const seglog::record &record : log.from(0)) n += record.offset() == n;
  CHECK_EQ(3, n);
  log.trim(1);
  log.retain();
  log.truncate(2);
  CHECK_EQ(2, log.stat().next_offset);
  log.reset(0);
  log.close();
  seglog::remove(dir.text);
}

/* A rotten record is thrown by the loop; the next loop goes on behind it. */
void a_rotten_record_is_thrown_and_passed() {
  const check_path_t dir = fresh_path();
  {
    seglog::log log(dir.text, quick());
    for (int n = 0; n < 3; n++) log.append("01234567");
  }
  const check_path_t store = path_join(dir.text, "00000000000000000000-00000000.store");
  FILE *file = std::fopen(store.text, "r+b");
  NEED(file != NULL && std::fseek(file, 4096 + 24 + 16, SEEK_SET) == 0 && std::fputc('X', file) == 'X');
  NEED(std::fclose(file) == 0);
  seglog::log log(dir.text, quick());
  seglog::cursor cursor = log.from(0);
  unsigned seen = 0;
  try {
    for (const seglog::record &record : cursor) seen += 1u << record.offset();
    CHECK(!"it throws");
  } catch (const seglog::exception &e) {
    CHECK(e.status() == LOG_E_CORRUPT && e.offset() == 1);
  }
  for (const seglog::record &record : cursor) seen += 1u << record.offset();
  CHECK_EQ(1 + 4, seen);
}
#endif

}  // namespace

int main(int argc, char **argv) {
  static const check_test_t tests[] = {
      TEST(append_and_read_back),
      TEST(a_failure_tells_all_of_it),
      TEST(batches_are_whole),
      TEST(records_are_built_in_place),
      TEST(a_loop_goes_through_the_log),
      TEST(cursors_go_both_ways),
      TEST(both_ends_are_cut),
      TEST(handles_move_and_close_themselves),
      TEST(a_follower_reads_and_writes_nothing),
      TEST(positions_and_meta_are_kept),
      TEST(readers_wait),
      TEST(threads_share_a_log),
#ifdef __cpp_exceptions
      TEST(failures_are_thrown),
      TEST(a_rotten_record_is_thrown_and_passed),
#endif
  };
  const char *part = check_arguments(argc, argv);
  return check_run(tests, sizeof tests / sizeof tests[0], part);
}

// seglog.hpp: libseglog for C++17 and later. Header-only, over seglog.h, which is the manual: what a call promises
// (durability, threads, statuses) stands there, under the function of the same name. This header adds handles that close
// themselves, views, range-for over a cursor, and two ways to hear of failures:
//
//   log.append("hello");          throws seglog::exception
//   log.append("hello", why);     noexcept; `why` (a seglog::error) tells how it went, as in std::filesystem
//
// Without exceptions (-fno-exceptions) only the second kind is there. A call that fails changes nothing and returns the
// value that its comment names.
//
// Threads: as in seglog.h: a log is shared between threads, a cursor belongs to one at a time.

#ifndef SEGLOG_HPP
#define SEGLOG_HPP

#include "seglog.h"

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <iterator>
#include <new>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>
#if __has_include(<version>)
#include <version>
#endif
#ifdef __cpp_lib_span
#include <span>
#endif
#ifdef __cpp_exceptions
#include <stdexcept>
#define SEGLOG_THROWS 1
#endif

namespace seglog {

/// The offset that no record has.
inline constexpr std::uint64_t no_offset = LOG_NO_OFFSET;

/// A wait without an end.
inline constexpr std::chrono::milliseconds forever{-1};

/// How a call went: a log_error_t that is never left unset.
class error {
 public:
  error() noexcept { clear(); }

  /// LOG_OK, an answer (LOG_END, LOG_TIMEOUT), or LOG_E_...
  log_status_t status() const noexcept { return raw_.status; }
  /// The operating system's error number, 0 if none.
  int os_error() const noexcept { return raw_.os_error; }
  /// The record offset concerned, `no_offset` if none.
  std::uint64_t offset() const noexcept { return raw_.offset; }
  /// One sentence: what failed, on which file, and what to do. Empty where nothing failed.
  const char *message() const noexcept { return raw_.message; }
  /// "LOG_E_IO"
  const char *name() const noexcept { return log_status_name(raw_.status); }
  /// Whether the call failed. An answer, such as LOG_END, is no failure.
  explicit operator bool() const noexcept { return raw_.status >= 10; }

  /// What seglog.h's functions take.
  log_error_t *raw() noexcept { return &raw_; }
  /// Takes the status that a function returned, which leaves the rest as it is on LOG_OK.
  log_status_t set(log_status_t status) noexcept {
    if (status == LOG_OK) clear();
    raw_.status = status;
    return status;
  }

 private:
  void clear() noexcept {
    raw_ = log_error_t{};
    raw_.offset = LOG_NO_OFFSET;
  }
  log_error_t raw_;
};

#ifdef SEGLOG_THROWS
/// A call that failed.
class exception : public std::runtime_error {
 public:
  explicit exception(const seglog::error &why)
      : std::runtime_error(std::string(why.name()) + ": " + why.message()), why_(why) {}
  const seglog::error &error() const noexcept { return why_; }
  log_status_t status() const noexcept { return why_.status(); }
  /// Of the record concerned, `no_offset` if none. An append whose record exists though its sync failed names it here:
  /// do not append it again.
  std::uint64_t offset() const noexcept { return why_.offset(); }

 private:
  seglog::error why_;
};
#endif

namespace detail {

inline std::int64_t milliseconds(std::chrono::milliseconds time) noexcept {
  return time.count() < 0 ? -1 : static_cast<std::int64_t>(time.count());
}

inline std::uint64_t since_1970(std::chrono::system_clock::time_point time) noexcept {
  const auto ns = std::chrono::duration_cast<std::chrono::nanoseconds>(time.time_since_epoch()).count();
  return ns < 0 ? 0 : static_cast<std::uint64_t>(ns);
}

template <class T, class = void>
struct is_byte_range : std::false_type {};
template <class T>
struct is_byte_range<T, std::void_t<decltype(std::declval<const T &>().data()), decltype(std::declval<const T &>().size())>>
    : std::bool_constant<sizeof(*std::declval<const T &>().data()) == 1 &&
                         std::is_trivially_copyable_v<std::remove_reference_t<decltype(*std::declval<const T &>().data())>>> {};

#ifdef SEGLOG_THROWS
/// Calls `call` with an error, and throws that if it failed.
template <class Call>
auto or_throw(Call &&call) {
  error why;
  if constexpr (std::is_void_v<decltype(call(why))>) {
    call(why);
    if (why) throw exception(why);
  } else {
    auto result = call(why);
    if (why) throw exception(why);
    return result;
  }
}
#endif

}  // namespace detail

/// Bytes of the caller's, which must live and stay as they are through the call that they are given to: text, or
/// anything contiguous of elements of one byte (std::string, std::vector<std::byte>, std::array<unsigned char, N>).
struct bytes : log_bytes_t {
  bytes() noexcept : log_bytes_t{nullptr, 0} {}
  bytes(const void *first, std::size_t count) noexcept : log_bytes_t{first, count} {}
  bytes(const char *text) noexcept : bytes(std::string_view(text)) {}
  bytes(std::string_view text) noexcept : log_bytes_t{text.data(), text.size()} {}
  template <class T, class = std::enable_if_t<detail::is_byte_range<T>::value>>
  bytes(const T &range) noexcept : log_bytes_t{range.data(), range.size()} {}
};
static_assert(sizeof(bytes) == sizeof(log_bytes_t), "an array of bytes is an array of log_bytes_t");

/// A record as a cursor lends it: a view that lives until the next call on that cursor.
class record {
 public:
  record() noexcept : raw_{} {}
  record(std::uint64_t offset, std::uint64_t timestamp_ns, bytes payload) noexcept
      : raw_{offset, timestamp_ns, payload} {}

  std::uint64_t offset() const noexcept { return raw_.offset; }
  /// Nanoseconds since 1970 UTC, never less than the record's before.
  std::uint64_t timestamp_ns() const noexcept { return raw_.timestamp_ns; }
  std::chrono::system_clock::time_point time() const noexcept {
    using clock = std::chrono::system_clock;
    return clock::time_point(std::chrono::duration_cast<clock::duration>(std::chrono::nanoseconds(raw_.timestamp_ns)));
  }
  std::string_view payload() const noexcept {
    return {static_cast<const char *>(raw_.payload.data), raw_.payload.len};
  }
#ifdef __cpp_lib_span
  std::span<const std::byte> payload_bytes() const noexcept {
    return {static_cast<const std::byte *>(raw_.payload.data), raw_.payload.len};
  }
#endif

  log_record_t *raw() noexcept { return &raw_; }
  const log_record_t *raw() const noexcept { return &raw_; }

 private:
  log_record_t raw_;
};
static_assert(sizeof(record) == sizeof(log_record_t) && std::is_standard_layout_v<record>,
              "an array of record is an array of log_record_t");

/// How a log is opened: the fields of log_config_t, all zero, which is the safest configuration.
struct config : log_config_t {
  config() noexcept : log_config_t{} { struct_size = sizeof(log_config_t); }
};

/// A place in a log. It may outlive the log's handle; it then reads what was there.
class cursor {
 public:
  cursor() noexcept = default;
  /// Takes a cursor that log_cursor_open made.
  explicit cursor(log_cursor_t *taken) noexcept : raw_(taken) {}
  cursor(cursor &&other) noexcept : raw_(std::exchange(other.raw_, nullptr)), last_(other.last_) {}
  cursor &operator=(cursor &&other) noexcept {
    if (this != &other) {
      log_cursor_close(raw_);
      raw_ = std::exchange(other.raw_, nullptr);
      last_ = other.last_;
    }
    return *this;
  }
  cursor(const cursor &) = delete;
  cursor &operator=(const cursor &) = delete;
  ~cursor() { log_cursor_close(raw_); }

  explicit operator bool() const noexcept { return raw_ != nullptr; }
  log_cursor_t *get() const noexcept { return raw_; }

  /// Steps over the next record; none where the log ends. After LOG_E_CORRUPT the following step goes on behind it.
  std::optional<record> next(error &why) noexcept {
    record found;
    if (why.set(log_cursor_next(raw_, found.raw(), why.raw())) != LOG_OK) return std::nullopt;
    return found;
  }
  /// Steps back over the record before; none at the first.
  std::optional<record> prev(error &why) noexcept {
    record found;
    if (why.set(log_cursor_prev(raw_, found.raw(), why.raw())) != LOG_OK) return std::nullopt;
    return found;
  }
  /// Steps over up to `capacity` records into `out`; returns how many, 0 where the log ends. All of them live until
  /// the next call on this cursor.
  std::size_t next_batch(record *out, std::size_t capacity, error &why) noexcept {
    std::size_t count = 0;
    log_record_t *first = capacity == 0 || out == nullptr ? nullptr : out->raw();
    if (why.set(log_cursor_next_batch(raw_, first, capacity, &count, why.raw())) != LOG_OK) return 0;
    return count;
  }
  /// Whether there is a record to step over before the time is up.
  bool wait(std::chrono::milliseconds timeout, error &why) noexcept {
    return why.set(log_cursor_wait(raw_, detail::milliseconds(timeout), why.raw())) == LOG_OK;
  }
  /// Moves before the record of `offset`, which may be the log's next one.
  void seek(std::uint64_t offset, error &why) noexcept { why.set(log_cursor_seek(raw_, offset, why.raw())); }

#ifdef SEGLOG_THROWS
  std::optional<record> next() {
    return detail::or_throw([&](error &why) { return next(why); });
  }
  std::optional<record> prev() {
    return detail::or_throw([&](error &why) { return prev(why); });
  }
  std::size_t next_batch(record *out, std::size_t capacity) {
    return detail::or_throw([&](error &why) { return next_batch(out, capacity, why); });
  }
  bool wait(std::chrono::milliseconds timeout = forever) {
    return detail::or_throw([&](error &why) { return wait(timeout, why); });
  }
  void seek(std::uint64_t offset) {
    detail::or_throw([&](error &why) { seek(offset, why); });
  }
#endif

  /// Goes through what is left, to where the log ends. A step that fails throws; without exceptions it ends the loop,
  /// and `last_error` tells.
  class iterator {
   public:
    using iterator_category = std::input_iterator_tag;
    using value_type = record;
    using difference_type = std::ptrdiff_t;
    using pointer = const record *;
    using reference = const record &;

    iterator() noexcept = default;
    explicit iterator(cursor *of) : of_(of) { ++*this; }
    reference operator*() const noexcept { return found_; }
    pointer operator->() const noexcept { return &found_; }
    iterator &operator++() {
      const std::optional<record> next = of_->next(of_->last_);
#ifdef SEGLOG_THROWS
      if (of_->last_) throw exception(of_->last_);
#endif
      if (next) {
        found_ = *next;
      } else {
        of_ = nullptr;
      }
      return *this;
    }
    void operator++(int) { ++*this; }
    friend bool operator==(const iterator &a, const iterator &b) noexcept { return a.of_ == b.of_; }
    friend bool operator!=(const iterator &a, const iterator &b) noexcept { return a.of_ != b.of_; }

   private:
    cursor *of_ = nullptr;
    record found_;
  };
  iterator begin() { return iterator(this); }
  iterator end() noexcept { return iterator(); }
  /// How the last step of a range-for went.
  const error &last_error() const noexcept { return last_; }

 private:
  log_cursor_t *raw_ = nullptr;
  error last_;
};

class log;

/// Room for a record that is built where it will stand. Without a commit it is given up.
class reservation {
 public:
  reservation() noexcept = default;
  reservation(reservation &&other) noexcept
      : log_(std::exchange(other.log_, nullptr)), data_(other.data_), size_(other.size_) {}
  reservation &operator=(reservation &&other) noexcept {
    if (this != &other) {
      give_up();
      log_ = std::exchange(other.log_, nullptr);
      data_ = other.data_;
      size_ = other.size_;
    }
    return *this;
  }
  reservation(const reservation &) = delete;
  reservation &operator=(const reservation &) = delete;
  ~reservation() { give_up(); }

  explicit operator bool() const noexcept { return log_ != nullptr; }
  /// So many bytes may be written here; they hold anything. The address is a multiple of 8.
  void *data() const noexcept { return data_; }
  std::size_t size() const noexcept { return size_; }

  /// Appends the first `len` bytes as a record; returns its offset, as log::append does. Where the record does not come
  /// to exist, the reservation stays.
  std::uint64_t commit(std::size_t len, error &why) noexcept {
    std::uint64_t offset = no_offset;
    why.set(log_commit(log_, len, &offset, why.raw()));
    if (!why || offset != no_offset) log_ = nullptr;
    return offset;
  }
#ifdef SEGLOG_THROWS
  std::uint64_t commit(std::size_t len) {
    return detail::or_throw([&](error &why) { return commit(len, why); });
  }
#endif

 private:
  friend class log;
  reservation(log_t *log, void *data, std::size_t size) noexcept : log_(log), data_(data), size_(size) {}
  void give_up() noexcept {
    if (log_ != nullptr) log_abort(std::exchange(log_, nullptr), nullptr);
  }
  log_t *log_ = nullptr;
  void *data_ = nullptr;
  std::size_t size_ = 0;
};

/// An open log. It closes itself; `close` says if the last sync failed.
class log {
 public:
  log() noexcept = default;
  /// Takes a log that log_open made.
  explicit log(log_t *taken) noexcept : raw_(taken) {}
  log(const char *dir, const config &how, error &why) noexcept { why.set(log_open(dir, &how, &raw_, why.raw())); }
  log(const std::string &dir, const config &how, error &why) noexcept : log(dir.c_str(), how, why) {}
#ifdef SEGLOG_THROWS
  explicit log(const char *dir, const config &how = config()) {
    error why;
    if (why.set(log_open(dir, &how, &raw_, why.raw())) != LOG_OK) throw exception(why);
  }
  explicit log(const std::string &dir, const config &how = config()) : log(dir.c_str(), how) {}
#endif
  log(log &&other) noexcept : raw_(std::exchange(other.raw_, nullptr)) {}
  log &operator=(log &&other) noexcept {
    if (this != &other) {
      log_close(raw_, nullptr);
      raw_ = std::exchange(other.raw_, nullptr);
    }
    return *this;
  }
  log(const log &) = delete;
  log &operator=(const log &) = delete;
  ~log() { log_close(raw_, nullptr); }

  explicit operator bool() const noexcept { return raw_ != nullptr; }
  log_t *get() const noexcept { return raw_; }

  /// Closes now. The handle is gone whatever `why` says.
  void close(error &why) noexcept { why.set(log_close(std::exchange(raw_, nullptr), why.raw())); }

  // --- write

  /// Returns the record's offset. On failure `no_offset`, but where the record exists and its sync failed: then its
  /// offset, and it must not be appended again.
  std::uint64_t append(bytes payload, error &why) noexcept {
    std::uint64_t offset = no_offset;
    why.set(log_append(raw_, payload.data, payload.len, &offset, why.raw()));
    return offset;
  }
  void append_at(std::uint64_t expected_offset, bytes payload, error &why) noexcept {
    why.set(log_append_at(raw_, expected_offset, payload.data, payload.len, why.raw()));
  }
  /// All or nothing; returns the first one's offset, as `append` does.
  std::uint64_t append_batch(const bytes *records, std::size_t count, error &why) noexcept {
    std::uint64_t first = no_offset;
    why.set(log_append_batch(raw_, records, count, &first, why.raw()));
    return first;
  }
  std::uint64_t append_batch(std::initializer_list<bytes> records, error &why) noexcept {
    return append_batch(records.begin(), records.size(), why);
  }
  void append_records(const record *records, std::size_t count, error &why) noexcept {
    why.set(log_append_records(raw_, count == 0 || records == nullptr ? nullptr : records->raw(), count, why.raw()));
  }
  /// Room for a record of up to `len` bytes, which must end before the log is closed. Other threads' writes wait for it.
  reservation reserve(std::size_t len, error &why) noexcept {
    void *data = nullptr;
    if (why.set(log_reserve(raw_, len, &data, why.raw())) != LOG_OK) return reservation();
    return reservation(raw_, data, len);
  }
  void sync(error &why) noexcept { why.set(log_sync(raw_, why.raw())); }
  /// Whether every record up to and with `offset` is durable before the time is up.
  bool wait_durable(std::uint64_t offset, std::chrono::milliseconds timeout, error &why) noexcept {
    return why.set(log_wait_durable(raw_, offset, detail::milliseconds(timeout), why.raw())) == LOG_OK;
  }

  // --- read

  /// Offset of the first record at or after a time in nanoseconds since 1970 UTC; LOG_E_BEYOND where there is none.
  std::uint64_t find_time(std::uint64_t timestamp_ns, error &why) const noexcept {
    std::uint64_t offset = no_offset;
    why.set(log_find_time(raw_, timestamp_ns, &offset, why.raw()));
    return offset;
  }
  std::uint64_t find_time(std::chrono::system_clock::time_point time, error &why) const noexcept {
    return find_time(detail::since_1970(time), why);
  }
  /// Whether the record of `offset` exists before the time is up.
  bool wait(std::uint64_t offset, std::chrono::milliseconds timeout, error &why) const noexcept {
    return why.set(log_wait(raw_, offset, detail::milliseconds(timeout), why.raw())) == LOG_OK;
  }
  /// A descriptor for epoll and the like that is readable when there are new records; the log's own, and -1 on failure.
  int event_fd(error &why) const noexcept {
    int fd = -1;
    why.set(log_event_fd(raw_, &fd, why.raw()));
    return fd;
  }
  /// Copies a record into a buffer; returns its length, also where the buffer is too small for it (LOG_E_BUFFER).
  std::size_t read(std::uint64_t offset, void *buffer, std::size_t capacity, error &why) noexcept {
    std::size_t length = 0;
    why.set(log_read(raw_, offset, buffer, capacity, &length, why.raw()));
    return length;
  }
  /// Copies a record into `out`, whose room is used; returns whether that went well.
  bool read(std::uint64_t offset, std::string &out, error &why) {
    std::size_t length = out.capacity();
    do {
      out.resize(length);
      length = read(offset, out.data(), out.size(), why);
    } while (why.status() == LOG_E_BUFFER);
    out.resize(why ? 0 : length);
    return !why;
  }
  log_stat_t stat(error &why) const noexcept {
    log_stat_t found{};
    found.struct_size = sizeof found;
    why.set(log_stat(raw_, &found, why.raw()));
    return found;
  }
  /// The segment of this number in the row; none behind the last.
  std::optional<log_segment_t> segment_at(std::size_t index, error &why) const noexcept {
    log_segment_t found{};
    found.struct_size = sizeof found;
    if (why.set(log_segment_at(raw_, index, &found, why.raw())) != LOG_OK) return std::nullopt;
    return found;
  }
  /// A cursor before the record of `offset`: for (const seglog::record &r : log.from(0)) ...
  seglog::cursor from(std::uint64_t offset, error &why) const noexcept {
    log_cursor_t *made = nullptr;
    why.set(log_cursor_open(raw_, offset, &made, why.raw()));
    return seglog::cursor(made);
  }

  // --- positions of consumers, and meta: also on a read-only handle whose directory may be written

  void save_position(const char *name, std::uint64_t offset, error &why) const noexcept {
    why.set(log_position_save(raw_, name, offset, why.raw()));
  }
  /// The offset of the next record to consume; none (and no failure) if no position has this name.
  std::optional<std::uint64_t> position(const char *name, error &why) const noexcept {
    std::uint64_t offset = no_offset;
    if (why.set(log_position_load(raw_, name, &offset, why.raw())) == LOG_OK) return offset;
    if (why.status() == LOG_E_NOT_FOUND) why.set(LOG_OK);
    return std::nullopt;
  }
  void remove_position(const char *name, error &why) const noexcept {
    why.set(log_position_remove(raw_, name, why.raw()));
  }
  /// Name and offset of the position of this number by name; none behind the last.
  std::optional<std::pair<std::string, std::uint64_t>> position_at(std::size_t index, error &why) const {
    char name[128];
    std::uint64_t offset = no_offset;
    if (why.set(log_position_at(raw_, index, name, sizeof name, &offset, why.raw())) != LOG_OK) return std::nullopt;
    return std::make_pair(std::string(name), offset);
  }
  void set_meta(const char *name, bytes value, error &why) const noexcept {
    why.set(log_meta_set(raw_, name, value.data, value.len, why.raw()));
  }
  /// None (and no failure) if no meta has this name.
  std::optional<std::string> meta(const char *name, error &why) const {
    std::string value(4096, '\0');
    std::size_t length = 0;
    if (why.set(log_meta_get(raw_, name, value.data(), value.size(), &length, why.raw())) == LOG_OK) {
      value.resize(length);
      return value;
    }
    if (why.status() == LOG_E_NOT_FOUND) why.set(LOG_OK);
    return std::nullopt;
  }
  void remove_meta(const char *name, error &why) const noexcept { why.set(log_meta_remove(raw_, name, why.raw())); }
  std::optional<std::string> meta_at(std::size_t index, error &why) const {
    char name[128];
    if (why.set(log_meta_at(raw_, index, name, sizeof name, why.raw())) != LOG_OK) return std::nullopt;
    return std::string(name);
  }

  // --- upkeep

  void trim(std::uint64_t before_offset, error &why) noexcept { why.set(log_trim(raw_, before_offset, why.raw())); }
  void retain(error &why) noexcept { why.set(log_retain(raw_, why.raw())); }
  void truncate(std::uint64_t from_offset, error &why) noexcept {
    why.set(log_truncate(raw_, from_offset, why.raw()));
  }
  void reset(std::uint64_t next_offset, error &why) noexcept { why.set(log_reset(raw_, next_offset, why.raw())); }
  void backup(const char *to_dir, error &why) const noexcept { why.set(log_backup(raw_, to_dir, why.raw())); }

#ifdef SEGLOG_THROWS
  void close() {
    detail::or_throw([&](error &why) { close(why); });
  }
  std::uint64_t append(bytes payload) {
    return detail::or_throw([&](error &why) { return append(payload, why); });
  }
  void append_at(std::uint64_t expected_offset, bytes payload) {
    detail::or_throw([&](error &why) { append_at(expected_offset, payload, why); });
  }
  std::uint64_t append_batch(const bytes *records, std::size_t count) {
    return detail::or_throw([&](error &why) { return append_batch(records, count, why); });
  }
  std::uint64_t append_batch(std::initializer_list<bytes> records) {
    return append_batch(records.begin(), records.size());
  }
  void append_records(const record *records, std::size_t count) {
    detail::or_throw([&](error &why) { append_records(records, count, why); });
  }
  reservation reserve(std::size_t len) {
    return detail::or_throw([&](error &why) { return reserve(len, why); });
  }
  void sync() {
    detail::or_throw([&](error &why) { sync(why); });
  }
  bool wait_durable(std::uint64_t offset, std::chrono::milliseconds timeout = forever) {
    return detail::or_throw([&](error &why) { return wait_durable(offset, timeout, why); });
  }
  bool wait(std::uint64_t offset, std::chrono::milliseconds timeout = forever) const {
    return detail::or_throw([&](error &why) { return wait(offset, timeout, why); });
  }
  int event_fd() const {
    return detail::or_throw([&](error &why) { return event_fd(why); });
  }
  std::size_t read(std::uint64_t offset, void *buffer, std::size_t capacity) {
    return detail::or_throw([&](error &why) { return read(offset, buffer, capacity, why); });
  }
  std::string read(std::uint64_t offset) {
    std::string found;
    error why;
    if (!read(offset, found, why)) throw exception(why);
    return found;
  }
  std::uint64_t find_time(std::uint64_t timestamp_ns) const {
    return detail::or_throw([&](error &why) { return find_time(timestamp_ns, why); });
  }
  std::uint64_t find_time(std::chrono::system_clock::time_point time) const {
    return detail::or_throw([&](error &why) { return find_time(time, why); });
  }
  void save_position(const char *name, std::uint64_t offset) const {
    detail::or_throw([&](error &why) { save_position(name, offset, why); });
  }
  std::optional<std::uint64_t> position(const char *name) const {
    return detail::or_throw([&](error &why) { return position(name, why); });
  }
  void remove_position(const char *name) const {
    detail::or_throw([&](error &why) { remove_position(name, why); });
  }
  std::optional<std::pair<std::string, std::uint64_t>> position_at(std::size_t index) const {
    return detail::or_throw([&](error &why) { return position_at(index, why); });
  }
  void set_meta(const char *name, bytes value) const {
    detail::or_throw([&](error &why) { set_meta(name, value, why); });
  }
  std::optional<std::string> meta(const char *name) const {
    return detail::or_throw([&](error &why) { return meta(name, why); });
  }
  void remove_meta(const char *name) const {
    detail::or_throw([&](error &why) { remove_meta(name, why); });
  }
  std::optional<std::string> meta_at(std::size_t index) const {
    return detail::or_throw([&](error &why) { return meta_at(index, why); });
  }
  log_stat_t stat() const {
    return detail::or_throw([&](error &why) { return stat(why); });
  }
  std::optional<log_segment_t> segment_at(std::size_t index) const {
    return detail::or_throw([&](error &why) { return segment_at(index, why); });
  }
  seglog::cursor from(std::uint64_t offset) const {
    return detail::or_throw([&](error &why) { return from(offset, why); });
  }
  void trim(std::uint64_t before_offset) {
    detail::or_throw([&](error &why) { trim(before_offset, why); });
  }
  void retain() {
    detail::or_throw([&](error &why) { retain(why); });
  }
  void truncate(std::uint64_t from_offset) {
    detail::or_throw([&](error &why) { truncate(from_offset, why); });
  }
  void reset(std::uint64_t next_offset) {
    detail::or_throw([&](error &why) { reset(next_offset, why); });
  }
  void backup(const char *to_dir) const {
    detail::or_throw([&](error &why) { backup(to_dir, why); });
  }
#endif

 private:
  log_t *raw_ = nullptr;
};

/// Deletes a log, and its directory if that is then empty.
inline void remove(const char *dir, error &why) noexcept { why.set(log_remove(dir, why.raw())); }
#ifdef SEGLOG_THROWS
inline void remove(const char *dir) {
  detail::or_throw([&](error &why) { remove(dir, why); });
}
#endif

}  // namespace seglog

#undef SEGLOG_THROWS
#endif

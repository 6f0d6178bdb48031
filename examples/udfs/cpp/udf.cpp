// The functions of all the examples, in C++20.
#include <algorithm>
#include <span>
#include <string_view>

#include "../../../udfs/guests/c/millstream_udf.h"

static std::string_view text(const ms_batch *in, uint32_t column, uint32_t row) {
  ms_text text = ms_get_text(in, column, row);
  return {text.data, text.length};
}

static void put(ms_column *out, std::string_view text) { ms_put_text(out, text.data(), text.size()); }

static void score(const ms_batch *in, ms_column *out) {
  for (uint32_t row = 0; row < in->rows; row++) {
    ms_put_i64(out, static_cast<int64_t>(static_cast<uint64_t>(ms_get_i64(in, 0, row)) * 3 + 1));
  }
}

static void email_domain(const ms_batch *in, ms_column *out) {
  for (uint32_t row = 0; row < in->rows; row++) {
    std::string_view email = text(in, 0, row);
    auto at = email.find('@');
    if (at == std::string_view::npos) ms_put_null(out);
    else put(out, email.substr(at + 1));
  }
}

// --- a table: rows for each row ---

static void words(const ms_batch *in, uint32_t row, ms_column *out) {
  std::string_view rest = text(in, 0, row);
  int32_t position = 0;
  while (!rest.empty()) {
    std::string_view word = rest.substr(0, rest.find(' '));
    rest.remove_prefix(std::min(word.size() + 1, rest.size()));
    if (word.empty()) continue;
    put(ms_field(out, 0), word);
    ms_put_i32(ms_field(out, 1), ++position);
    ms_put_row(out);
  }
}

// --- an aggregate: a value for a group of rows ---

// How often each number came: the state has one after the other, by their numbers.
struct counted {
  int64_t n;
  uint64_t count;
};

static std::span<counted> counts(const ms_state *state) {
  return {static_cast<counted *>(state->data), state->length / sizeof(counted)};
}

static size_t place(const ms_state *state, int64_t n) {
  auto all = counts(state);
  auto less = [](const counted &a, int64_t n) { return a.n < n; };
  return static_cast<size_t>(std::lower_bound(all.begin(), all.end(), n, less) - all.begin());
}

static void mode_add(ms_state *state, int64_t n, uint64_t count) {
  size_t at = place(state, n);
  auto all = counts(state);
  if (at == all.size() || all[at].n != n) {
    ms_resize(state, state->length + sizeof(counted));
    all = counts(state);
    std::shift_right(all.begin() + at, all.end(), 1);
    all[at] = {n, 0};
  }
  all[at].count += count;
}

static void mode_update(ms_state *state, const ms_batch *in, uint32_t row) {
  mode_add(state, ms_get_i64(in, 0, row), 1);
}

static void mode_retract(ms_state *state, const ms_batch *in, uint32_t row) {
  int64_t n = ms_get_i64(in, 0, row);
  size_t at = place(state, n);
  auto all = counts(state);
  if (at == all.size() || all[at].n != n || --all[at].count > 0) return;
  std::shift_left(all.begin() + at, all.end(), 1);
  ms_resize(state, state->length - sizeof(counted));
}

static void mode_merge(ms_state *state, const ms_state *other) {
  for (auto [n, count] : counts(other)) mode_add(state, n, count);
}

// The least of those that came most often.
static void mode_finish(const ms_state *state, ms_column *out) {
  auto all = counts(state);
  auto less = [](const counted &a, const counted &b) { return a.count < b.count; };
  auto most = std::max_element(all.begin(), all.end(), less);
  if (most == all.end()) ms_put_null(out);
  else ms_put_i64(out, most->n);
}

// --- NULL, a default, what fails, what the pipeline file has ---

static void first_of(const ms_batch *in, ms_column *out) {
  for (uint32_t row = 0; row < in->rows; row++) {
    uint32_t column = 0;
    while (column < 2 && ms_is_null(in, column, row)) column++;
    if (ms_is_null(in, column, row)) ms_put_null(out);
    else put(out, text(in, column, row));
  }
}

static void half(const ms_batch *in, ms_column *out) {
  for (uint32_t row = 0; row < in->rows; row++) {
    int64_t n = ms_get_i64(in, 0, row);
    if (n % 2 != 0) return ms_fail(row, ms_join(ms_digits(n), " is odd"));
    ms_put_i64(out, n / 2);
  }
}

static void greeting(const ms_batch *in, ms_column *out) {
  ms_log(MS_DEBUG, "greets");
  ms_text greeting = ms_config("greeting");
  for (uint32_t row = 0; row < in->rows; row++) {
    if (greeting.data == nullptr) ms_put_null(out);
    else ms_put_text(out, greeting.data, greeting.length);
  }
}

// --- a type after the other ---

#define ALL "row<truth boolean, tiny tinyint, small smallint unsigned, large bigint unsigned, " \
  "real real, double double, bytes bytea, json json, date date, time time, local timestamp, " \
  "zoned timestamptz, price decimal(20, 4), tags array<varchar>, nested array<array<int>>>"

// Writes an item that is read by `get`, unless it is NULL.
template <typename Get, typename Put>
static auto copy(Get get, Put put_value) {
  return [=](const ms_batch *in, uint32_t column, uint32_t row, ms_column *out) {
    if (ms_is_null(in, column, row)) ms_put_null(out);
    else put_value(out, get(in, column, row));
  };
}

template <typename Item>
static auto copy_array(Item item) {
  return [=](const ms_batch *in, uint32_t column, uint32_t row, ms_column *out) {
    if (ms_is_null(in, column, row)) return ms_put_null(out);
    ms_span span = ms_get_array(in, column, row);
    for (uint32_t i = 0; i < span.length; i++) {
      item(ms_within(in, column), 0, span.first + i, ms_items(out));
    }
    ms_put_array(out);
  };
}

// Reads each type, and writes it as it was.
static void same(const ms_batch *in, ms_column *out) {
  const auto i32 = copy(ms_get_i32, ms_put_i32);
  const auto i64 = copy(ms_get_i64, ms_put_i64);
  const auto bytes = copy(text, put);
  const ms_batch *all = ms_within(in, 0);
  for (uint32_t row = 0; row < in->rows; row++) {
    if (ms_is_null(in, 0, row)) {
      ms_put_null(out);
      continue;
    }
    auto field = [&](uint32_t at, auto copied) { copied(all, at, row, ms_field(out, at)); };
    field(0, copy(ms_get_bool, ms_put_bool));
    field(1, copy(ms_get_i8, ms_put_i8));
    field(2, copy(ms_get_u16, ms_put_u16));
    field(3, copy(ms_get_u64, ms_put_u64));
    field(4, copy(ms_get_f32, ms_put_f32));
    field(5, copy(ms_get_f64, ms_put_f64));
    field(6, bytes);
    field(7, bytes);
    field(8, i32);
    field(9, i64);
    field(10, i64);
    field(11, i64);
    field(12, copy(ms_get_i128, ms_put_i128));
    field(13, copy_array(bytes));
    field(14, copy_array(copy_array(i32)));
    ms_put_row(out);
  }
}

#define ARGUMENTS(list) .arguments = list, .arguments_count = std::size(list)

static const ms_argument N[] = {{"n", "bigint", nullptr}};
static const ms_argument EMAIL[] = {{"email", "varchar", nullptr}};
static const ms_argument TEXT[] = {{"text", "varchar", nullptr}};
static const ms_argument TEXTS[] = {
  {"first", "varchar", nullptr}, {"second", "varchar", nullptr}, {"otherwise", "varchar", "'?'"}};
static const ms_argument EACH[] = {{"all", ALL, nullptr}};

MS_FUNCTIONS(
  {.name = "score", ARGUMENTS(N), .returns = "bigint", .evaluate = score},
  {.name = "email_domain", ARGUMENTS(EMAIL), .returns = "varchar", .evaluate = email_domain},
  {.name = "words", ARGUMENTS(TEXT), .returns = "row<word varchar, position int>", .expand = words},
  {.name = "mode", ARGUMENTS(N), .returns = "bigint", .update = mode_update,
   .retract = mode_retract, .merge = mode_merge, .finish = mode_finish},
  {.name = "first_of", ARGUMENTS(TEXTS), .returns = "varchar", .sees_null = true,
   .evaluate = first_of},
  {.name = "half", ARGUMENTS(N), .returns = "bigint", .evaluate = half},
  {.name = "greeting", .returns = "varchar", .not_deterministic = true, .evaluate = greeting},
  {.name = "same", ARGUMENTS(EACH), .returns = ALL, .sees_null = true, .evaluate = same},
)

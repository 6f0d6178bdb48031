/* The functions of all the examples, in C. */
#include "../../../udfs/guests/c/millstream_udf.h"

static void score(const ms_batch *in, ms_column *out) {
  for (uint32_t row = 0; row < in->rows; row++) {
    ms_put_i64(out, (int64_t)((uint64_t)ms_get_i64(in, 0, row) * 3 + 1));
  }
}

static void email_domain(const ms_batch *in, ms_column *out) {
  for (uint32_t row = 0; row < in->rows; row++) {
    ms_text email = ms_get_text(in, 0, row);
    const char *at = memchr(email.data, '@', email.length);
    if (at == NULL) ms_put_null(out);
    else ms_put_text(out, at + 1, (size_t)(email.data + email.length - (at + 1)));
  }
}

/* --- a table: rows for each row --- */

static void words(const ms_batch *in, uint32_t row, ms_column *out) {
  ms_text text = ms_get_text(in, 0, row);
  const char *end = text.data + text.length;
  int32_t position = 0;
  for (const char *word = text.data, *space; word < end; word = space + 1) {
    space = memchr(word, ' ', (size_t)(end - word));
    if (space == NULL) space = end;
    if (space == word) continue;
    ms_put_text(ms_field(out, 0), word, (size_t)(space - word));
    ms_put_i32(ms_field(out, 1), ++position);
    ms_put_row(out);
  }
}

/* --- an aggregate: a value for a group of rows --- */

/* How often each number came, in their order. */
typedef struct { int64_t n; uint64_t count; } counted;

static counted *mode_find(ms_state *state, int64_t n) {
  counted *first = state->data;
  size_t from = 0, to = state->length / sizeof *first;
  while (from < to) {
    size_t middle = (from + to) / 2;
    if (first[middle].n < n) from = middle + 1;
    else to = middle;
  }
  return first + from;
}

static bool mode_has(const ms_state *state, const counted *at, int64_t n) {
  return (const char *)at < (const char *)state->data + state->length && at->n == n;
}

static void mode_add(ms_state *state, int64_t n, uint64_t count) {
  counted *at = mode_find(state, n);
  if (!mode_has(state, at, n)) {
    size_t before = (size_t)((char *)at - (char *)state->data), after = state->length - before;
    at = (counted *)((char *)ms_resize(state, state->length + sizeof *at) + before);
    memmove(at + 1, at, after);
    *at = (counted){n, 0};
  }
  at->count += count;
}

static void mode_update(ms_state *state, const ms_batch *in, uint32_t row) {
  mode_add(state, ms_get_i64(in, 0, row), 1);
}

static void mode_retract(ms_state *state, const ms_batch *in, uint32_t row) {
  int64_t n = ms_get_i64(in, 0, row);
  counted *at = mode_find(state, n);
  if (!mode_has(state, at, n) || --at->count > 0) return;
  const char *end = (const char *)state->data + state->length;
  memmove(at, at + 1, (size_t)(end - (const char *)(at + 1)));
  ms_resize(state, state->length - sizeof *at);
}

static void mode_merge(ms_state *state, const ms_state *other) {
  const counted *counts = other->data;
  for (size_t i = 0; i < other->length / sizeof *counts; i++) mode_add(state, counts[i].n, counts[i].count);
}

/* The least of those that came most often. */
static void mode_finish(const ms_state *state, ms_column *out) {
  const counted *counts = state->data, *most = counts;
  size_t count = state->length / sizeof *counts;
  for (size_t i = 1; i < count; i++) if (counts[i].count > most->count) most = &counts[i];
  if (count == 0) ms_put_null(out);
  else ms_put_i64(out, most->n);
}

/* --- NULL, a default, what fails, what the pipeline file has --- */

static void first_of(const ms_batch *in, ms_column *out) {
  for (uint32_t row = 0; row < in->rows; row++) {
    uint32_t column = 0;
    while (column < 2 && ms_is_null(in, column, row)) column++;
    ms_text first = ms_get_text(in, column, row);
    if (ms_is_null(in, column, row)) ms_put_null(out);
    else ms_put_text(out, first.data, first.length);
  }
}

static void half(const ms_batch *in, ms_column *out) {
  for (uint32_t row = 0; row < in->rows; row++) {
    int64_t n = ms_get_i64(in, 0, row);
    if (n % 2 != 0) {
      ms_fail(row, ms_join(ms_digits(n), " is odd"));
      return;
    }
    ms_put_i64(out, n / 2);
  }
}

static void greeting(const ms_batch *in, ms_column *out) {
  ms_log(MS_DEBUG, "greets");
  ms_text greeting = ms_config("greeting");
  for (uint32_t row = 0; row < in->rows; row++) {
    if (greeting.data == NULL) ms_put_null(out);
    else ms_put_text(out, greeting.data, greeting.length);
  }
}

/* --- a type after the other --- */

#define ALL "row<truth boolean, tiny tinyint, small smallint unsigned, large bigint unsigned, " \
  "real real, double double, bytes bytea, json json, date date, time time, local timestamp, " \
  "zoned timestamptz, price decimal(20, 4), tags array<varchar>, nested array<array<int>>>"

static void same_text(const ms_batch *in, uint32_t column, uint32_t row, ms_column *out) {
  ms_text text = ms_get_text(in, column, row);
  if (ms_is_null(in, column, row)) ms_put_null(out);
  else ms_put_text(out, text.data, text.length);
}

static void same_i32(const ms_batch *in, uint32_t column, uint32_t row, ms_column *out) {
  if (ms_is_null(in, column, row)) ms_put_null(out);
  else ms_put_i32(out, ms_get_i32(in, column, row));
}

/* An array, whose items are read and written by `item`. */
static void same_array(const ms_batch *in, uint32_t column, uint32_t row, ms_column *out,
                       void (*item)(const ms_batch *, uint32_t, uint32_t, ms_column *)) {
  ms_span span = ms_get_array(in, column, row);
  if (ms_is_null(in, column, row)) {
    ms_put_null(out);
    return;
  }
  for (uint32_t i = 0; i < span.length; i++) item(ms_within(in, column), 0, span.first + i, ms_items(out));
  ms_put_array(out);
}

static void same_ints(const ms_batch *in, uint32_t column, uint32_t row, ms_column *out) {
  same_array(in, column, row, out, same_i32);
}

#define SAME(field, name)                                                                        \
  if (ms_is_null(all, field, row)) ms_put_null(ms_field(out, field));                            \
  else ms_put_##name(ms_field(out, field), ms_get_##name(all, field, row))

/* Reads each type, and writes it as it was. */
static void same(const ms_batch *in, ms_column *out) {
  const ms_batch *all = ms_within(in, 0);
  for (uint32_t row = 0; row < in->rows; row++) {
    if (ms_is_null(in, 0, row)) {
      ms_put_null(out);
      continue;
    }
    SAME(0, bool);
    SAME(1, i8);
    SAME(2, u16);
    SAME(3, u64);
    SAME(4, f32);
    SAME(5, f64);
    same_text(all, 6, row, ms_field(out, 6));
    same_text(all, 7, row, ms_field(out, 7));
    SAME(8, i32);
    SAME(9, i64);
    SAME(10, i64);
    SAME(11, i64);
    SAME(12, i128);
    same_array(all, 13, row, ms_field(out, 13), same_text);
    same_array(all, 14, row, ms_field(out, 14), same_ints);
    ms_put_row(out);
  }
}

#define ARGUMENTS(list) .arguments = list, .arguments_count = sizeof list / sizeof list[0]

static const ms_argument N[] = {{"n", "bigint", NULL}};
static const ms_argument EMAIL[] = {{"email", "varchar", NULL}};
static const ms_argument TEXT[] = {{"text", "varchar", NULL}};
static const ms_argument TEXTS[] = {
  {"first", "varchar", NULL}, {"second", "varchar", NULL}, {"otherwise", "varchar", "'?'"}};
static const ms_argument EACH[] = {{"all", ALL, NULL}};

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

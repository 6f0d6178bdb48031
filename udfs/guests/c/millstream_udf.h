/* Functions for Millstream in C and C++: this header is all that is needed.
 *
 *     #include "millstream_udf.h"
 *
 *     static void email_domain(const ms_batch *in, ms_column *out) {
 *       for (uint32_t row = 0; row < in->rows; row++) {
 *         ms_text email = ms_get_text(in, 0, row);
 *         const char *at = (const char *)memchr(email.data, '@', email.length);
 *         if (at == NULL) ms_put_null(out);
 *         else ms_put_text(out, at + 1, email.data + email.length - (at + 1));
 *       }
 *     }
 *
 *     static const ms_argument EMAIL[] = {{"email", "varchar", NULL}};
 *     MS_FUNCTIONS(
 *       {.name = "email_domain", .arguments = EMAIL, .arguments_count = 1, .returns = "varchar",
 *        .evaluate = email_domain},
 *     )
 *
 *     clang --target=wasm32-wasi -O2 -mexec-model=reactor -Wl,--stack-first -s email.c -o email.wasm
 *
 * With the stack first in memory, calls that are nested too deeply fail; behind the data, as older
 * linkers put it, they would overwrite that.
 *
 * What a function is follows from what it has:
 *
 * - `.evaluate`, scalar: gets a batch of rows and puts one value for each, in their order.
 * - `.expand`, table: gets a batch and one of its rows, and puts any number of values for it.
 * - `.update`, `.merge`, `.finish` and maybe `.retract`, aggregate: see ms_state.
 *
 * It does not see rows with an argument that is NULL, unless it says `.sees_null = true`. It fails
 * a row by `ms_fail(row, message)`, and returns. The third of an argument's texts is its default,
 * as SQL spells it. `.not_deterministic`: the same arguments do not always give the same value.
 * Memory of `ms_alloc` lasts until the call is over, as does what a function is given. `ms_fetch`
 * sends requests to the servers that the pipeline file grants: `grants.http = "api.example.com"`.
 *
 * | SQL | got and put by |
 * |---|---|
 * | boolean | `bool` |
 * | tinyint … bigint; unsigned; real, double | `i8` … `i64`; `u8` … `u64`; `f32`, `f64` |
 * | varchar, json, bytea | `text` |
 * | date (days since 1970); time, timestamp, timestamptz (microseconds) | `i32`; `i64` |
 * | decimal(p, s), as a number without its point | `i128` |
 * | array<T> | `ms_get_array`, with its items in `ms_within(in, column)`; `ms_put_array` |
 * | row<name T, …> | `ms_within(in, column)`, whose columns are its fields; `ms_put_row` |
 *
 * Numbers can be taken and put by the column, which is two to three times as fast:
 *
 *     const int64_t *n = ms_all_i64(in, 0);
 *     int64_t *to = ms_put_all_i64(out, in->rows);
 *     for (uint32_t row = 0; row < in->rows; row++) to[row] = 3 * n[row] + 1;
 *
 * What is below the line is the canonical ABI of millstream:udf@0.1.0.
 */
#ifndef MILLSTREAM_UDF_H
#define MILLSTREAM_UDF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#ifdef __cplusplus
extern "C" {
#endif

__extension__ typedef __int128 ms_int128;
typedef struct { const char *data; size_t length; } ms_text;
typedef struct { uint32_t first, length; } ms_span;
typedef struct { const uint8_t *data; uint32_t length; } ms_buffer;

/* The columns of some rows: functions below read them. */
typedef struct ms_batch {
  uint32_t rows;
  const struct ms_values *columns;
} ms_batch;

typedef struct ms_values {
  const ms_buffer *buffers;
  /* Of a value, in bytes; or what its type is. */
  uint32_t width;
  ms_batch within;
} ms_values;

/* A column that is being written. */
typedef struct ms_column {
  uint8_t *validity, *bytes;
  void *values;
  uint32_t length, nulls, room, bytes_length, bytes_room;
  /* Of an array its items, of a row its fields. */
  struct ms_column *within;
  uint32_t within_count;
  /* No byte, which stores of values could be to, as the compiler sees it. */
  uint32_t width;
} ms_column;

/* The state of a group of rows: bytes that are kept as they are, and none for a new group. A
 * function that says `.state_size` has states of that size, of zeros for a new group:
 *
 *     typedef struct { double sum; int64_t count; } mean;
 *
 *     static void mean_update(ms_state *state, const ms_batch *in, uint32_t row) {
 *       mean *of = (mean *)state->data;
 *       of->sum += ms_get_f64(in, 0, row);
 *       of->count++;
 *     }
 *
 * Others change their length by `ms_resize`. A later version of a module reads what an earlier one
 * has kept: a state that is laid out otherwise needs a function of another name. In which parts a
 * group comes to `merge`, and in what order, makes no difference to its value. */
typedef struct { void *data; size_t length, room; } ms_state;

/* Gives a state another length, and its address; what is new are zeros. */
void *ms_resize(ms_state *state, size_t length);

typedef struct { const char *name, *type, *default_value; } ms_argument;

typedef struct {
  const char *name;
  const ms_argument *arguments;
  uint32_t arguments_count;
  const char *returns;
  bool sees_null;
  bool not_deterministic;
  /* A value for each row. */
  void (*evaluate)(const ms_batch *in, ms_column *out);
  /* Any number of values for a row. */
  void (*expand)(const ms_batch *in, uint32_t row, ms_column *out);
  /* A value for a group of rows; `retract` takes rows back that were given before. */
  size_t state_size;
  void (*update)(ms_state *state, const ms_batch *in, uint32_t row);
  void (*retract)(ms_state *state, const ms_batch *in, uint32_t row);
  void (*merge)(ms_state *state, const ms_state *other);
  void (*finish)(const ms_state *state, ms_column *out);
} ms_function;

/* Memory that lasts until the call is over. */
void *ms_alloc(size_t size);
/* Fails a row, where it is known which: the function returns after it. */
void ms_fail(uint32_t row, const char *message);
#define MS_NO_ROW UINT32_MAX
/* For messages: a number's digits; two texts as one. */
const char *ms_digits(int64_t number);
const char *ms_join(const char *first, const char *second);
/* Gives up, for a mistake in the function itself; the message goes to the pipeline's log. */
__attribute__((noreturn)) void ms_stop(const char *message);
/* Writes to the pipeline's log. */
enum ms_level { MS_DEBUG, MS_INFO, MS_WARN, MS_ERROR };
void ms_log(enum ms_level level, const char *message);
/* A value that the pipeline file has for this module; data is NULL where it has none. */
ms_text ms_config(const char *name);

/* Widths of columns whose values have none in bytes. */
#define MS_WIDTH_BITS 0
#define MS_WIDTH_TEXT 255
#define MS_WIDTH_ARRAY 254
#define MS_WIDTH_ROW 253

/* --- requests to servers --- */

static inline ms_text ms_text_of(const char *text) {
  ms_text of = {text, strlen(text)};
  return of;
}

typedef struct { ms_text name, value; } ms_header;

/* What is asked of a server; without a method it is GET. */
typedef struct {
  ms_text method, url;
  const ms_header *headers;
  size_t headers_count;
  ms_text body;
} ms_request;

/* What it answers, whatever its status. */
typedef struct {
  uint16_t status;
  const ms_header *headers;
  size_t headers_count;
  ms_text body;
} ms_response;

/* Its answer, or why there is none: `error.data` ends with '\0', as ms_fail takes it. */
typedef struct {
  bool failed;
  union { ms_response response; ms_text error; };
} ms_answer;

__attribute__((import_module("millstream:udf/http@0.1.0"), import_name("fetch")))
void ms_abi_fetch(const ms_request *requests, size_t count, void *result);

/* Sends all requests at the same time, 1,000 at most, and waits for all answers, which come in the
 * same order. Redirects are not followed. They take of the function's time: the pipeline file may
 * say `time = "30s"`. A module that does not call it does not ask for servers. */
static inline const ms_answer *ms_fetch(const ms_request *requests, size_t count) {
  struct { ms_answer *data; size_t length; } answers;
  ms_request *asked = (ms_request *)ms_alloc(count * sizeof *asked);
  for (size_t i = 0; i < count; i++) {
    asked[i] = requests[i];
    if (asked[i].method.length == 0) asked[i].method = ms_text_of("GET");
  }
  ms_abi_fetch(asked, count, &answers);
  for (size_t i = 0; i < answers.length; i++) {
    ms_text *error = &answers.data[i].error;
    if (!answers.data[i].failed) continue;
    char *text = (char *)ms_alloc(error->length + 1);
    memcpy(text, error->data, error->length);
    text[error->length] = '\0';
    error->data = text;
  }
  return answers.data;
}

/* --- reading --- */

static inline bool ms_bit(const uint8_t *bits, uint32_t at) { return bits[at >> 3] >> (at & 7) & 1; }

static inline bool ms_is_null(const ms_batch *in, uint32_t column, uint32_t row) {
  ms_buffer validity = in->columns[column].buffers[0];
  return validity.length > 0 && !ms_bit(validity.data, row);
}

/* The values of a column, which are this wide. */
static inline const uint8_t *ms_read(const ms_batch *in, uint32_t column, uint32_t width) {
  if (in->columns[column].width != width) ms_stop("a column is read as one of another type");
  return in->columns[column].buffers[1].data;
}

/* A value; all values of a column, of which those that are NULL mean nothing. */
#define MS_GET(name, type)                                                                     \
  static inline type ms_get_##name(const ms_batch *in, uint32_t column, uint32_t row) {        \
    type value;                                                                                \
    memcpy(&value, ms_read(in, column, sizeof value) + (size_t)row * sizeof value, sizeof value); \
    return value;                                                                              \
  }                                                                                            \
  static inline const type *ms_all_##name(const ms_batch *in, uint32_t column) {               \
    return (const type *)ms_read(in, column, sizeof(type));                                    \
  }
MS_GET(i8, int8_t) MS_GET(i16, int16_t) MS_GET(i32, int32_t) MS_GET(i64, int64_t)
MS_GET(u8, uint8_t) MS_GET(u16, uint16_t) MS_GET(u32, uint32_t) MS_GET(u64, uint64_t)
MS_GET(f32, float) MS_GET(f64, double) MS_GET(i128, ms_int128)

static inline bool ms_get_bool(const ms_batch *in, uint32_t column, uint32_t row) {
  return ms_bit(ms_read(in, column, MS_WIDTH_BITS), row);
}

static inline ms_span ms_span_at(const uint8_t *all, uint32_t row) {
  uint32_t ends[2];
  memcpy(ends, all + (size_t)row * 4, sizeof ends);
  ms_span span = {ends[0], ends[1] - ends[0]};
  return span;
}

/* The items of an array, as places in column 0 of ms_within(in, column). */
static inline ms_span ms_get_array(const ms_batch *in, uint32_t column, uint32_t row) {
  return ms_span_at(ms_read(in, column, MS_WIDTH_ARRAY), row);
}

static inline ms_text ms_get_text(const ms_batch *in, uint32_t column, uint32_t row) {
  ms_span span = ms_span_at(ms_read(in, column, MS_WIDTH_TEXT), row);
  ms_text text = {(const char *)in->columns[column].buffers[2].data + span.first, span.length};
  return text;
}

/* The items of a column of arrays, one after the other; the fields of a column of rows. */
static inline const ms_batch *ms_within(const ms_batch *in, uint32_t column) {
  return &in->columns[column].within;
}

/* --- writing --- */

void ms_grow(ms_column *out);

/* Begins an item: every put does. */
static inline void ms_begin(ms_column *out, uint32_t width) {
  if (out->width != width) ms_stop("a value is put to a column of another type");
  if (out->length == out->room) ms_grow(out);
}

void ms_grow_to(ms_column *out, uint32_t rows);

/* Puts a value; room for as many, none of them NULL, that the function writes. */
#define MS_PUT(name, type)                                                  \
  static inline void ms_put_##name(ms_column *out, type value) {            \
    ms_begin(out, sizeof value);                                            \
    ((type *)out->values)[out->length++] = value;                           \
  }                                                                         \
  static inline type *ms_put_all_##name(ms_column *out, uint32_t count) {   \
    ms_begin(out, sizeof(type));                                            \
    if (count > out->room - out->length) ms_grow_to(out, out->length + count); \
    out->length += count;                                                   \
    return (type *)out->values + out->length - count;                       \
  }
MS_PUT(i8, int8_t) MS_PUT(i16, int16_t) MS_PUT(i32, int32_t) MS_PUT(i64, int64_t)
MS_PUT(u8, uint8_t) MS_PUT(u16, uint16_t) MS_PUT(u32, uint32_t) MS_PUT(u64, uint64_t)
MS_PUT(f32, float) MS_PUT(f64, double) MS_PUT(i128, ms_int128)

static inline void ms_put_bool(ms_column *out, bool value) {
  ms_begin(out, MS_WIDTH_BITS);
  if (value) ((uint8_t *)out->values)[out->length >> 3] |= (uint8_t)(1 << (out->length & 7));
  out->length++;
}

static inline void ms_put_end(ms_column *out, uint32_t end) {
  ((uint32_t *)out->values)[out->length + 1] = end;
}

/* Most texts are short, and libc's memcpy goes byte by byte where they do not begin at words. */
static inline void ms_copy(uint8_t *to, const char *from, size_t length) {
  if (length > 64) {
    memcpy(to, from, length);
    return;
  }
  for (; length >= 8; length -= 8, to += 8, from += 8) memcpy(to, from, 8);
  if (length & 4) memcpy(to, from, 4), to += 4, from += 4;
  if (length & 2) memcpy(to, from, 2), to += 2, from += 2;
  if (length & 1) *to = (uint8_t)*from;
}

void ms_grow_bytes(ms_column *out, size_t length);

static inline void ms_put_text(ms_column *out, const char *data, size_t length) {
  ms_begin(out, MS_WIDTH_TEXT);
  if (length > out->bytes_room - out->bytes_length) ms_grow_bytes(out, length);
  uint32_t end = out->bytes_length + (uint32_t)length;
  ms_copy(out->bytes + out->bytes_length, data, length);
  ms_put_end(out, end);
  out->bytes_length = end;
  out->length++;
}

/* The column that an array's items are put to, and a row's fields, before their own put. */
static inline ms_column *ms_items(ms_column *out) { return &out->within[0]; }
static inline ms_column *ms_field(ms_column *out, uint32_t field) { return &out->within[field]; }

/* An array of the items that have been put since the last. */
static inline void ms_put_array(ms_column *out) {
  ms_begin(out, MS_WIDTH_ARRAY);
  ms_put_end(out, out->within[0].length);
  out->length++;
}

/* A row, each of whose fields has been put. */
void ms_put_row(ms_column *out);
void ms_put_null(ms_column *out);

/* ------------------------------------------------------------------------------------------- */

/* The functions of the module, once in one file. */
#define MS_FUNCTIONS(...)                                     \
  static const ms_function MS_ALL[] = {__VA_ARGS__};          \
  MS_EXPORTS(MS_ALL, sizeof MS_ALL / sizeof MS_ALL[0])

/* One of it for all files of a module. */
#define MS_SHARED __attribute__((weak))
#define MS_EXPORT(name) __attribute__((export_name(name)))
#define MS_IMPORT(name) __attribute__((import_module("millstream:udf/host@0.1.0"), import_name(name)))

typedef struct { const void *data; uint32_t length; } ms_list;
typedef struct { uint32_t length, nulls; } ms_node;
typedef struct { ms_list name, type; uint32_t has_default; ms_list default_value; } ms_abi_argument;
typedef struct {
  ms_list name;
  uint8_t kind;
  ms_list arguments, returns;
  uint8_t nulls, deterministic, retracts;
} ms_abi_signature;
typedef struct {
  uint32_t is_failure;
  union {
    struct { uint32_t rows; ms_list nodes, buffers; } batch;
    struct { uint32_t has_row, row; ms_list message; } failure;
  } of;
} ms_abi_result;
enum { MS_EVALUATE, MS_UPDATE, MS_RETRACT, MS_MERGE, MS_FINISH };

MS_IMPORT("log") void ms_abi_log(uint32_t level, const char *message, size_t length);
MS_IMPORT("config") void ms_abi_config(const char *name, size_t length, void *result);

/* --- memory of a call: chunks that are given back when the host has read the result --- */

#define MS_CHUNK_MIN (1u << 16)
#define MS_CHUNK_MAX (1u << 20)
typedef struct ms_chunk { struct ms_chunk *before; size_t room, used, unused; } ms_chunk;
MS_SHARED ms_chunk *ms_last_chunk;

MS_SHARED void *ms_alloc(size_t size) {
  ms_chunk *chunk = ms_last_chunk;
  size = (size + 15) & ~(size_t)15;
  if (chunk == NULL || size > chunk->room - chunk->used) {
    size_t room = chunk == NULL ? MS_CHUNK_MIN : 2 * chunk->room;
    if (room > MS_CHUNK_MAX) room = MS_CHUNK_MAX;
    if (room < size) room = size;
    chunk = (ms_chunk *)malloc(sizeof *chunk + room);
    if (chunk == NULL) ms_stop("out of memory");
    chunk->before = ms_last_chunk;
    chunk->room = room;
    chunk->used = 0;
    ms_last_chunk = chunk;
  }
  void *at = (uint8_t *)(chunk + 1) + chunk->used;
  chunk->used += size;
  return at;
}

static inline void *ms_alloc_zeros(size_t size) {
  void *at = ms_alloc(size);
  memset(at, 0, size);
  return at;
}

static inline void ms_release(void) {
  if (ms_last_chunk == NULL) return;
  while (ms_last_chunk->before != NULL) {
    ms_chunk *before = ms_last_chunk->before;
    ms_last_chunk->before = before->before;
    free(before);
  }
  ms_last_chunk->used = 0;
}

MS_SHARED void *ms_resize(ms_state *state, size_t length) {
  if (length > state->room) {
    size_t room = length < 16 ? 32 : 2 * length;
    void *data = ms_alloc_zeros(room);
    if (state->length > 0) memcpy(data, state->data, state->length);
    state->data = data;
    state->room = room;
  } else if (length < state->length) {
    memset((uint8_t *)state->data + length, 0, state->length - length);
  }
  state->length = length;
  return state->data;
}

/* --- what a function has to say --- */

MS_SHARED ms_abi_result ms_result;

static inline ms_list ms_list_of(const char *text) {
  ms_list list = {text, (uint32_t)strlen(text)};
  return list;
}

MS_SHARED void ms_fail(uint32_t row, const char *message) {
  if (ms_result.is_failure) return;
  ms_result.is_failure = 1;
  ms_result.of.failure.has_row = row != MS_NO_ROW;
  ms_result.of.failure.row = row;
  ms_result.of.failure.message = ms_list_of(message);
}

MS_SHARED const char *ms_digits(int64_t number) {
  char *at = (char *)ms_alloc(24) + 23;
  uint64_t rest = number < 0 ? 0 - (uint64_t)number : (uint64_t)number;
  *at = '\0';
  do *--at = (char)('0' + rest % 10);
  while ((rest /= 10) > 0);
  if (number < 0) *--at = '-';
  return at;
}

MS_SHARED const char *ms_join(const char *first, const char *second) {
  size_t length = strlen(first), more = strlen(second) + 1;
  char *text = (char *)ms_alloc(length + more);
  memcpy(text, first, length);
  memcpy(text + length, second, more);
  return text;
}

MS_SHARED void ms_log(enum ms_level level, const char *message) {
  ms_abi_log(level, message, strlen(message));
}

MS_SHARED void ms_stop(const char *message) {
  ms_log(MS_ERROR, message);
  __builtin_trap();
}

MS_SHARED ms_text ms_config(const char *name) {
  struct { uint32_t is_some; const char *data; uint32_t length; } found;
  ms_abi_config(name, strlen(name), &found);
  bool is_some = found.is_some & 1;
  ms_text text = {is_some ? found.data : NULL, is_some ? found.length : 0};
  return text;
}

/* --- types --- */

/* What a column of a type is: how wide its values are, and the columns within it. */
typedef struct ms_shape {
  uint8_t width;
  uint32_t count;
  struct ms_shape *within;
} ms_shape;

static const struct { const char *name; uint8_t width; } MS_TYPES[] = {
  {"boolean", MS_WIDTH_BITS}, {"bool", MS_WIDTH_BITS}, {"tinyint", 1}, {"smallint", 2},
  {"int", 4}, {"integer", 4}, {"bigint", 8}, {"real", 4}, {"float", 4}, {"double", 8},
  {"decimal", 16}, {"numeric", 16}, {"varchar", MS_WIDTH_TEXT}, {"text", MS_WIDTH_TEXT},
  {"string", MS_WIDTH_TEXT}, {"json", MS_WIDTH_TEXT}, {"bytea", MS_WIDTH_TEXT},
  {"binary", MS_WIDTH_TEXT}, {"date", 4}, {"time", 8}, {"timestamp", 8}, {"timestamptz", 8},
  {"array", MS_WIDTH_ARRAY}, {"row", MS_WIDTH_ROW}, {"struct", MS_WIDTH_ROW},
};

static inline const char *ms_after_word(const char *at) {
  if (*at == '"') return strchr(at + 1, '"') + 1;
  while (*at != '\0' && strchr(" <>,()", *at) == NULL) at++;
  return at;
}

/* Reads a type, and gives what follows it. The host has found it to be one. */
static const char *ms_read_type(const char *at, ms_shape *shape) {
  memset(shape, 0, sizeof *shape);
  at += strspn(at, " ");
  const char *end = ms_after_word(at);
  size_t known = 0, length = (size_t)(end - at), count = sizeof MS_TYPES / sizeof MS_TYPES[0];
  while (known < count && (strlen(MS_TYPES[known].name) != length ||
                           memcmp(MS_TYPES[known].name, at, length) != 0)) known++;
  if (known == count) ms_stop("a type is not one of SQL in small letters");
  shape->width = MS_TYPES[known].width;
  at = end + strspn(end, " ");
  if (*at == '(') at = strchr(at, ')') + 1;
  if (strncmp(at, "unsigned", 8) == 0) at += 8;
  if (*at != '<') return at;
  uint32_t room = 1;
  for (const char *comma = at; *comma != '\0'; comma++) room += *comma == ',';
  shape->within = (ms_shape *)ms_alloc(room * sizeof *shape);
  do {
    at += 1 + strspn(at + 1, " ");
    if (shape->width == MS_WIDTH_ROW) at = ms_after_word(at);
    at = ms_read_type(at, &shape->within[shape->count++]);
    at += strspn(at, " ");
  } while (*at == ',');
  return at + 1;
}

/* --- columns that come --- */

/* Takes a column's nodes and buffers. */
static void ms_take(const ms_shape *shape, const ms_node **nodes, const ms_buffer **buffers,
                    ms_values *values) {
  memset(values, 0, sizeof *values);
  values->buffers = *buffers;
  values->width = shape->width;
  uint32_t length = ((*nodes)++)->length;
  *buffers += shape->width == MS_WIDTH_TEXT ? 3 : shape->width == MS_WIDTH_ROW ? 1 : 2;
  if (shape->count == 0) return;
  const ms_node *first = *nodes;
  ms_values *within = (ms_values *)ms_alloc(shape->count * sizeof *within);
  for (uint32_t i = 0; i < shape->count; i++) ms_take(&shape->within[i], nodes, buffers, &within[i]);
  values->within.rows = shape->width == MS_WIDTH_ROW ? length : first->length;
  values->within.columns = within;
}

/* --- columns that go --- */

static void *ms_regrow(const void *old, size_t length, size_t room) {
  void *fresh = ms_alloc(room);
  if (length > 0) memcpy(fresh, old, length);
  return fresh;
}

static inline size_t ms_values_size(const ms_column *of, size_t rows) {
  if (of->width == MS_WIDTH_BITS) return (rows + 7) / 8;
  if (of->width == MS_WIDTH_ROW) return 0;
  return of->width >= MS_WIDTH_ARRAY ? (rows + 1) * 4 : rows * of->width;
}

static void ms_reserve(ms_column *out, uint32_t rows) {
  size_t bits = (rows + 7) / 8, old_bits = (out->room + 7) / 8;
  out->validity = (uint8_t *)ms_regrow(out->validity, old_bits, bits);
  /* All are there until a NULL is put. */
  memset(out->validity + old_bits, 0xff, bits - old_bits);
  bool is_new = out->values == NULL;
  size_t size = ms_values_size(out, rows), old = is_new ? 0 : ms_values_size(out, out->room);
  out->values = ms_regrow(out->values, old, size);
  if (out->width == MS_WIDTH_BITS) memset((uint8_t *)out->values + old, 0, size - old);
  if (is_new && (out->width == MS_WIDTH_TEXT || out->width == MS_WIDTH_ARRAY)) *(uint32_t *)out->values = 0;
  out->room = rows;
}

MS_SHARED void ms_grow(ms_column *out) { ms_reserve(out, out->room < 32 ? 64 : 2 * out->room); }

MS_SHARED void ms_grow_to(ms_column *out, uint32_t rows) {
  ms_reserve(out, rows > 2 * out->room ? rows : 2 * out->room);
}

MS_SHARED void ms_grow_bytes(ms_column *out, size_t length) {
  size_t room = 2 * (size_t)out->bytes_room + length;
  if (room > INT32_MAX) room = (size_t)out->bytes_length + length;
  if (room > INT32_MAX) ms_stop("its results are longer than 2 GB");
  uint8_t *bytes = (uint8_t *)ms_alloc(room);
  if (out->bytes_length > 0) memcpy(bytes, out->bytes, out->bytes_length);
  out->bytes = bytes;
  out->bytes_room = (uint32_t)room;
}

static void ms_open(ms_column *out, const ms_shape *shape, uint32_t rows) {
  memset(out, 0, sizeof *out);
  out->width = shape->width;
  out->within_count = shape->count;
  out->within = (ms_column *)ms_alloc(shape->count * sizeof *out);
  for (uint32_t i = 0; i < shape->count; i++) ms_open(&out->within[i], &shape->within[i], 0);
  ms_reserve(out, rows);
}

MS_SHARED void ms_put_row(ms_column *out) {
  ms_begin(out, MS_WIDTH_ROW);
  for (uint32_t i = 0; i < out->within_count; i++) {
    if (out->within[i].length != out->length + 1) ms_stop("a row has not one value in each field");
  }
  out->length++;
}

MS_SHARED void ms_put_null(ms_column *out) {
  ms_begin(out, out->width);
  if (out->width == MS_WIDTH_TEXT) ms_put_end(out, out->bytes_length);
  else if (out->width == MS_WIDTH_ARRAY) ms_put_end(out, out->within[0].length);
  else if (out->width != MS_WIDTH_ROW) {
    memset((uint8_t *)out->values + (size_t)out->length * out->width, 0, out->width);
  }
  for (uint32_t i = 0; out->width == MS_WIDTH_ROW && i < out->within_count; i++) {
    ms_put_null(&out->within[i]);
  }
  out->validity[out->length >> 3] &= (uint8_t)~(1 << (out->length & 7));
  out->nulls++;
  out->length++;
}

static uint32_t ms_count_columns(const ms_column *of) {
  uint32_t count = 1;
  for (uint32_t i = 0; i < of->within_count; i++) count += ms_count_columns(&of->within[i]);
  return count;
}

static void ms_give_column(const ms_column *of, ms_node **nodes, ms_list **buffers) {
  ms_node node = {of->length, of->nulls};
  *(*nodes)++ = node;
  ms_list validity = {of->validity, of->nulls > 0 ? (of->length + 7) / 8 : 0};
  ms_list values = {of->values, (uint32_t)ms_values_size(of, of->length)};
  ms_list bytes = {of->bytes, of->bytes_length};
  *(*buffers)++ = validity;
  if (of->width != MS_WIDTH_ROW) *(*buffers)++ = values;
  if (of->width == MS_WIDTH_TEXT) *(*buffers)++ = bytes;
  for (uint32_t i = 0; i < of->within_count; i++) ms_give_column(&of->within[i], nodes, buffers);
}

static void ms_give(const ms_column *columns, uint32_t count) {
  uint32_t all = 0;
  for (uint32_t i = 0; i < count; i++) all += ms_count_columns(&columns[i]);
  ms_node *nodes = (ms_node *)ms_alloc(all * sizeof *nodes), *next_node = nodes;
  ms_list *buffers = (ms_list *)ms_alloc(3 * all * sizeof *buffers), *next_buffer = buffers;
  for (uint32_t i = 0; i < count; i++) ms_give_column(&columns[i], &next_node, &next_buffer);
  ms_result.of.batch.rows = columns[0].length;
  ms_result.of.batch.nodes.data = nodes;
  ms_result.of.batch.nodes.length = all;
  ms_result.of.batch.buffers.data = buffers;
  ms_result.of.batch.buffers.length = (uint32_t)(next_buffer - buffers);
}

/* --- calls --- */

static void ms_call_table(const ms_function *of, const ms_batch *in, ms_column *out) {
  for (uint32_t row = 0; row < in->rows && !ms_result.is_failure; row++) {
    of->expand(in, row, &out[1]);
    while (out[0].length < out[1].length) ms_put_u32(&out[0], row);
  }
}

/* Whether each state is one of this function. */
static bool ms_read_states(const ms_function *of, const ms_batch *in, uint32_t column, uint32_t count,
                           ms_state *states) {
  for (uint32_t at = 0; at < count; at++) {
    memset(&states[at], 0, sizeof states[at]);
    if (ms_is_null(in, column, at)) {
      ms_resize(&states[at], of->state_size);
      continue;
    }
    ms_text kept = ms_get_text(in, column, at);
    if (of->state_size > 0 && kept.length != of->state_size) {
      ms_fail(MS_NO_ROW, "the state that was kept is of another version of this function");
      return false;
    }
    void *data = ms_resize(&states[at], kept.length);
    if (kept.length > 0) memcpy(data, kept.data, kept.length);
  }
  return true;
}

static void ms_call_aggregate(const ms_function *of, uint32_t operation, const ms_batch *in,
                              uint32_t count, ms_column *out) {
  ms_state *states = (ms_state *)ms_alloc(count * sizeof *states), *others = NULL;
  if (!ms_read_states(of, in, 0, count, states)) return;
  if (operation == MS_MERGE) {
    others = (ms_state *)ms_alloc(in->rows * sizeof *others);
    if (!ms_read_states(of, in, 2, in->rows, others)) return;
  }
  ms_batch arguments = {in->rows, in->columns + 2};
  for (uint32_t row = 0; row < in->rows && operation != MS_FINISH; row++) {
    uint32_t group = ms_get_u32(in, 1, row);
    if (group >= count) ms_stop("a row is of a group that is not there");
    if (operation == MS_UPDATE) of->update(&states[group], &arguments, row);
    else if (operation == MS_RETRACT) of->retract(&states[group], &arguments, row);
    else of->merge(&states[group], &others[row]);
    if (ms_result.is_failure) return;
  }
  for (uint32_t at = 0; at < count && !ms_result.is_failure; at++) {
    if (operation == MS_FINISH) of->finish(&states[at], out);
    else ms_put_text(out, (const char *)states[at].data, states[at].length);
  }
}

static void *ms_run(const ms_function *of, uint32_t operation, uint32_t rows, const ms_node *nodes,
                    const ms_buffer *buffers) {
  bool takes_groups = operation != MS_EVALUATE && operation != MS_FINISH;
  bool takes_arguments = operation != MS_MERGE && operation != MS_FINISH;
  bool gives_states = takes_groups, gives_rows = of->expand != NULL;
  ms_values *columns = (ms_values *)ms_alloc((of->arguments_count + 3) * sizeof *columns);
  ms_shape shape;
  uint32_t count = 0, groups = nodes == NULL ? 0 : nodes->length;
#define MS_TAKE(type) ms_read_type(type, &shape), ms_take(&shape, &nodes, &buffers, &columns[count++])
  if (operation != MS_EVALUATE) MS_TAKE("bytea");
  if (takes_groups) MS_TAKE("int unsigned");
  if (operation == MS_MERGE) MS_TAKE("bytea");
  for (uint32_t a = 0; takes_arguments && a < of->arguments_count; a++) MS_TAKE(of->arguments[a].type);
#undef MS_TAKE
  ms_batch in = {rows, columns};
  ms_column out[2];
  ms_read_type("int unsigned", &shape);
  ms_open(&out[0], &shape, gives_rows ? rows : 0);
  ms_read_type(gives_states ? "bytea" : of->returns, &shape);
  ms_open(&out[1], &shape, operation == MS_EVALUATE ? rows : groups);
  ms_result.is_failure = 0;
  if (operation != MS_EVALUATE) ms_call_aggregate(of, operation, &in, groups, &out[1]);
  else if (gives_rows) ms_call_table(of, &in, out);
  else of->evaluate(&in, &out[1]);
  if (!ms_result.is_failure) ms_give(gives_rows ? out : &out[1], gives_rows ? 2 : 1);
  return &ms_result;
}

static void *ms_describe(const ms_function *all, size_t count) {
  ms_abi_signature *list = (ms_abi_signature *)ms_alloc(count * sizeof *list);
  for (size_t i = 0; i < count; i++) {
    const ms_function *of = &all[i];
    ms_abi_argument *arguments = (ms_abi_argument *)ms_alloc(of->arguments_count * sizeof *arguments);
    for (uint32_t a = 0; a < of->arguments_count; a++) {
      const char *value = of->arguments[a].default_value;
      arguments[a].name = ms_list_of(of->arguments[a].name);
      arguments[a].type = ms_list_of(of->arguments[a].type);
      arguments[a].has_default = value != NULL;
      arguments[a].default_value = ms_list_of(value == NULL ? "" : value);
    }
    list[i].name = ms_list_of(of->name);
    list[i].kind = of->finish != NULL ? 2 : of->expand != NULL ? 1 : 0;
    list[i].arguments.data = arguments;
    list[i].arguments.length = of->arguments_count;
    list[i].returns = ms_list_of(of->returns);
    list[i].nulls = of->sees_null;
    list[i].deterministic = !of->not_deterministic;
    list[i].retracts = of->retract != NULL;
  }
  ms_list *result = (ms_list *)ms_alloc(sizeof *result);
  result->data = list;
  result->length = (uint32_t)count;
  return result;
}

static void *ms_realloc(void *old, size_t length, size_t size) {
  void *fresh = ms_alloc(size);
  if (length > 0) memcpy(fresh, old, length < size ? length : size);
  return fresh;
}

/* What lies between this module and WASI keeps what it knows, such as open files, in memory that it
 * asks for once, when it is first used, and that lasts longer than the call which that happens in. */
static void *ms_realloc_kept(void *old, size_t size) {
  void *fresh = realloc(old, size);
  if (fresh == NULL) ms_stop("out of memory");
  return fresh;
}

#define MS_EXPORTS(all, count)                                                                \
  MS_EXPORT("cabi_realloc")                                                                   \
  void *ms_export_realloc(void *old, size_t length, size_t align, size_t size) {              \
    (void)align;                                                                              \
    return ms_realloc(old, length, size);                                                     \
  }                                                                                           \
  MS_EXPORT("cabi_realloc_adapter")                                                           \
  void *ms_export_realloc_kept(void *old, size_t length, size_t align, size_t size) {         \
    (void)length, (void)align;                                                                \
    return ms_realloc_kept(old, size);                                                        \
  }                                                                                           \
  MS_EXPORT("millstream:udf/functions@0.1.0#describe")                                        \
  void *ms_export_describe(void) { return ms_describe(all, count); }                          \
  MS_EXPORT("cabi_post_millstream:udf/functions@0.1.0#describe")                              \
  void ms_export_described(void *result) { (void)result; ms_release(); }                      \
  MS_EXPORT("millstream:udf/functions@0.1.0#call")                                            \
  void *ms_export_call(uint32_t function, uint32_t operation, uint32_t rows,                  \
                       const ms_node *nodes, uint32_t nodes_count, const ms_buffer *buffers,  \
                       uint32_t buffers_count) {                                              \
    (void)buffers_count;                                                                      \
    return ms_run(&(all)[function], operation, rows, nodes_count > 0 ? nodes : NULL, buffers); \
  }                                                                                           \
  MS_EXPORT("cabi_post_millstream:udf/functions@0.1.0#call")                                  \
  void ms_export_called(void *result) { (void)result; ms_release(); }

#ifdef __cplusplus
}
#endif

#endif

/* Functions for Millstream in C and C++: this header is all that is needed.
 *
 *     #include "millstream_udf.h"
 *
 *     static void email_domain(const ms_batch *in, ms_column *out) {
 *       for (uint32_t row = 0; row < in->rows; row++) {
 *         ms_text email = ms_get_text(in, 0, row);
 *         const char *at = memchr(email.data, '@', email.length);
 *         if (at == NULL) ms_put_null(out);
 *         else ms_put_text(out, at + 1, email.data + email.length - (at + 1));
 *       }
 *     }
 *
 *     static const ms_argument EMAIL[] = {{"email", "varchar"}};
 *     MS_FUNCTIONS(
 *       {.name = "email_domain", .arguments = EMAIL, .arguments_count = 1, .returns = "varchar",
 *        .evaluate = email_domain},
 *     )
 *
 *     clang --target=wasm32-wasi -O2 -mexec-model=reactor -s email.c -o email.wasm
 *
 * A function gets a batch of rows and puts one value for each into `out`, in their order. It does
 * not see rows with an argument that is NULL, unless it says `.sees_null = true`. It fails a row by
 * `ms_fail(row, message)`, and returns. Memory from `ms_alloc` lasts until the call is over.
 *
 * Types are named as in SQL; see udf.wit for all. Values of boolean, numbers, date (days) and
 * timestamp (microseconds) are got and put by the functions of their width; varchar, json and bytea
 * as text. Columns of arrays and rows are beyond this header.
 *
 * What is below the line is the canonical ABI of millstream:udf@0.1.0.
 */
#ifndef MILLSTREAM_UDF_H
#define MILLSTREAM_UDF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct { const char *data; size_t length; } ms_text;
typedef struct { const uint8_t *data; uint32_t length; } ms_buffer;
typedef struct { uint32_t length, nulls; } ms_node;

/* The columns of some rows: functions below read them. */
typedef struct {
  uint32_t rows;
  const ms_node *nodes;
  const ms_buffer *buffers;
  /* Where the buffers of each column begin. */
  const uint32_t *first;
} ms_batch;

/* A column that is being written. */
typedef struct {
  uint8_t *validity, *values, *bytes;
  uint32_t length, nulls, rows, width;
  size_t bytes_length, bytes_room;
} ms_column;

typedef struct { const char *name, *type, *default_value; } ms_argument;
typedef void (*ms_evaluate)(const ms_batch *in, ms_column *out);

typedef struct {
  const char *name;
  const ms_argument *arguments;
  uint32_t arguments_count;
  const char *returns;
  bool sees_null;
  bool not_deterministic;
  ms_evaluate evaluate;
} ms_function;

/* --- reading --- */

static inline bool ms_bit(const uint8_t *bits, uint32_t at) { return bits[at >> 3] >> (at & 7) & 1; }

static inline bool ms_is_null(const ms_batch *in, uint32_t column, uint32_t row) {
  ms_buffer validity = in->buffers[in->first[column]];
  return validity.length > 0 && !ms_bit(validity.data, row);
}

#define MS_GET(name, type)                                                                  \
  static inline type ms_get_##name(const ms_batch *in, uint32_t column, uint32_t row) {     \
    type value;                                                                             \
    memcpy(&value, in->buffers[in->first[column] + 1].data + (size_t)row * sizeof value, sizeof value); \
    return value;                                                                           \
  }
MS_GET(i8, int8_t) MS_GET(i16, int16_t) MS_GET(i32, int32_t) MS_GET(i64, int64_t)
MS_GET(u8, uint8_t) MS_GET(u16, uint16_t) MS_GET(u32, uint32_t) MS_GET(u64, uint64_t)
MS_GET(f32, float) MS_GET(f64, double)

static inline bool ms_get_bool(const ms_batch *in, uint32_t column, uint32_t row) {
  return ms_bit(in->buffers[in->first[column] + 1].data, row);
}

static inline ms_text ms_get_text(const ms_batch *in, uint32_t column, uint32_t row) {
  const ms_buffer *buffers = in->buffers + in->first[column];
  uint32_t ends[2];
  memcpy(ends, buffers[1].data + (size_t)row * 4, sizeof ends);
  ms_text text = {(const char *)buffers[2].data + ends[0], ends[1] - ends[0]};
  return text;
}

/* --- writing --- */

void *ms_alloc(size_t size);
/* Fails a row: the function returns after it. */
void ms_fail(uint32_t row, const char *message);

static inline void ms_put_valid(ms_column *out, bool valid) {
  if (valid) out->validity[out->length >> 3] |= (uint8_t)(1 << (out->length & 7));
  else out->nulls++;
  out->length++;
}

#define MS_PUT(name, type)                                                  \
  static inline void ms_put_##name(ms_column *out, type value) {            \
    if (out->length == out->rows || out->width != sizeof value) __builtin_trap(); \
    memcpy(out->values + (size_t)out->length * sizeof value, &value, sizeof value); \
    ms_put_valid(out, true);                                                \
  }
MS_PUT(i8, int8_t) MS_PUT(i16, int16_t) MS_PUT(i32, int32_t) MS_PUT(i64, int64_t)
MS_PUT(u8, uint8_t) MS_PUT(u16, uint16_t) MS_PUT(u32, uint32_t) MS_PUT(u64, uint64_t)
MS_PUT(f32, float) MS_PUT(f64, double)

/* Widths of columns that have none in bytes. */
#define MS_WIDTH_BITS 0
#define MS_WIDTH_TEXT 255

static inline void ms_put_bool(ms_column *out, bool value) {
  if (out->length == out->rows || out->width != MS_WIDTH_BITS) __builtin_trap();
  if (value) out->values[out->length >> 3] |= (uint8_t)(1 << (out->length & 7));
  ms_put_valid(out, true);
}

static inline void ms_put_end(ms_column *out) {
  uint32_t end = (uint32_t)out->bytes_length;
  memcpy(out->values + ((size_t)out->length + 1) * 4, &end, sizeof end);
}

static inline void ms_put_text(ms_column *out, const char *data, size_t length) {
  if (out->length == out->rows || out->width != MS_WIDTH_TEXT) __builtin_trap();
  if (length > out->bytes_room - out->bytes_length) {
    size_t room = 2 * out->bytes_room + length;
    uint8_t *bytes = (uint8_t *)ms_alloc(room);
    memcpy(bytes, out->bytes, out->bytes_length);
    out->bytes = bytes;
    out->bytes_room = room;
  }
  memcpy(out->bytes + out->bytes_length, data, length);
  out->bytes_length += length;
  ms_put_end(out);
  ms_put_valid(out, true);
}

static inline void ms_put_null(ms_column *out) {
  if (out->length == out->rows) __builtin_trap();
  if (out->width == MS_WIDTH_TEXT) ms_put_end(out);
  ms_put_valid(out, false);
}

/* Writes to the pipeline's log. */
enum ms_level { MS_DEBUG, MS_INFO, MS_WARN, MS_ERROR };
void ms_log(enum ms_level level, const char *message);
/* A value that the pipeline file has for this module; data is NULL where it has none. */
ms_text ms_config(const char *name);

/* ------------------------------------------------------------------------------------------- */

/* The functions of the module, once in one file. */
#define MS_FUNCTIONS(...)                                     \
  static const ms_function MS_ALL[] = {__VA_ARGS__};          \
  MS_EXPORTS(MS_ALL, sizeof MS_ALL / sizeof MS_ALL[0])

typedef struct { const void *data; uint32_t length; } ms_list;
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

/* Memory of one call: a stack that is emptied when the host has read the result. */
#define MS_PAGE 65536
#define MS_DEFINE_MEMORY                                                                      \
  static uint8_t *ms_begin, *ms_top, *ms_end;                                                 \
  void *ms_alloc(size_t size) {                                                               \
    uint8_t *at = (uint8_t *)(((uintptr_t)ms_top + 15) & ~(uintptr_t)15);                     \
    if (size > (size_t)(ms_end - at) || at > ms_end) {                                        \
      size_t pages = (size + MS_PAGE - 1) / MS_PAGE + 16;                                     \
      size_t old = __builtin_wasm_memory_grow(0, pages);                                      \
      if (old == (size_t)-1) __builtin_trap();                                                \
      uint8_t *fresh = (uint8_t *)(old * MS_PAGE);                                            \
      if (fresh != ms_end) {                                                                  \
        at = fresh;                                                                           \
        if (ms_begin == NULL) ms_begin = fresh;                                               \
      }                                                                                       \
      ms_end = fresh + pages * MS_PAGE;                                                       \
    }                                                                                         \
    ms_top = at + size;                                                                       \
    return at;                                                                                \
  }                                                                                           \
  static void ms_release(void) { ms_top = ms_begin > ms_end - 1 ? ms_end : ms_begin; }

#define MS_EXPORT(name) __attribute__((export_name(name)))
#define MS_IMPORT(name) __attribute__((import_module("millstream:udf/host@0.1.0"), import_name(name)))

MS_IMPORT("log") void ms_abi_log(uint32_t level, const char *message, size_t length);
MS_IMPORT("config") void ms_abi_config(const char *name, size_t length, void *result);

static inline ms_list ms_list_of(const char *text) {
  ms_list list = {text, (uint32_t)strlen(text)};
  return list;
}

/* Bytes of a value of a type; the widths above for those that have none. */
static inline uint32_t ms_width(const char *type) {
  bool is_text = !strcmp(type, "varchar") || !strcmp(type, "json") || !strcmp(type, "bytea");
  if (is_text) return MS_WIDTH_TEXT;
  if (!strcmp(type, "boolean")) return MS_WIDTH_BITS;
  if (!strncmp(type, "tinyint", 7)) return 1;
  if (!strncmp(type, "smallint", 8)) return 2;
  if (!strncmp(type, "int", 3) || !strcmp(type, "real") || !strcmp(type, "date")) return 4;
  if (!strncmp(type, "decimal", 7)) return 16;
  return 8;
}

#define MS_EXPORTS(all, count)                                                                \
  MS_DEFINE_MEMORY                                                                            \
  static ms_abi_result ms_result;                                                             \
  static bool ms_failed;                                                                      \
  void ms_fail(uint32_t row, const char *message) {                                           \
    if (ms_failed) return;                                                                    \
    ms_failed = true;                                                                         \
    ms_result.is_failure = 1;                                                                 \
    ms_result.of.failure.has_row = 1;                                                         \
    ms_result.of.failure.row = row;                                                           \
    ms_result.of.failure.message = ms_list_of(message);                                       \
  }                                                                                           \
  void ms_log(enum ms_level level, const char *message) {                                     \
    ms_abi_log(level, message, strlen(message));                                              \
  }                                                                                           \
  ms_text ms_config(const char *name) {                                                       \
    struct { uint32_t is_some; const char *data; uint32_t length; } found;                    \
    ms_abi_config(name, strlen(name), &found);                                                \
    ms_text text = {found.is_some ? found.data : NULL, found.is_some ? found.length : 0};     \
    return text;                                                                              \
  }                                                                                           \
  MS_EXPORT("cabi_realloc") void *ms_realloc(void *old, size_t length, size_t align, size_t size) { \
    (void)align;                                                                              \
    void *fresh = ms_alloc(size);                                                             \
    if (length > 0) memcpy(fresh, old, length < size ? length : size);                        \
    return fresh;                                                                             \
  }                                                                                           \
  MS_EXPORT("millstream:udf/functions@0.1.0#describe") void *ms_describe(void) {              \
    ms_abi_signature *list = (ms_abi_signature *)ms_alloc((count) * sizeof *list);            \
    for (size_t i = 0; i < (count); i++) {                                                    \
      const ms_function *of = &(all)[i];                                                      \
      ms_abi_argument *arguments =                                                            \
          (ms_abi_argument *)ms_alloc(of->arguments_count * sizeof *arguments);               \
      for (uint32_t a = 0; a < of->arguments_count; a++) {                                    \
        const char *value = of->arguments[a].default_value;                                   \
        arguments[a].name = ms_list_of(of->arguments[a].name);                                \
        arguments[a].type = ms_list_of(of->arguments[a].type);                                \
        arguments[a].has_default = value != NULL;                                             \
        arguments[a].default_value = ms_list_of(value == NULL ? "" : value);                  \
      }                                                                                       \
      list[i].name = ms_list_of(of->name);                                                    \
      list[i].kind = 0;                                                                       \
      list[i].arguments.data = arguments;                                                     \
      list[i].arguments.length = of->arguments_count;                                         \
      list[i].returns = ms_list_of(of->returns);                                              \
      list[i].nulls = of->sees_null;                                                          \
      list[i].deterministic = !of->not_deterministic;                                         \
      list[i].retracts = 0;                                                                   \
    }                                                                                         \
    ms_list *result = (ms_list *)ms_alloc(sizeof *result);                                    \
    result->data = list;                                                                      \
    result->length = (uint32_t)(count);                                                       \
    return result;                                                                            \
  }                                                                                           \
  MS_EXPORT("cabi_post_millstream:udf/functions@0.1.0#describe")                              \
  void ms_described(void *result) { (void)result; ms_release(); }                             \
  MS_EXPORT("millstream:udf/functions@0.1.0#call") void *ms_call(                             \
      uint32_t function, uint32_t operation, uint32_t rows, const ms_node *nodes,             \
      uint32_t nodes_count, const ms_buffer *buffers, uint32_t buffers_count) {               \
    (void)operation, (void)nodes_count, (void)buffers_count;                                  \
    const ms_function *of = &(all)[function];                                                 \
    uint32_t *first = (uint32_t *)ms_alloc((of->arguments_count + 1) * sizeof *first);        \
    first[0] = 0;                                                                             \
    for (uint32_t a = 0; a < of->arguments_count; a++) {                                      \
      uint32_t width = ms_width(of->arguments[a].type);                                       \
      first[a + 1] = first[a] + (width == MS_WIDTH_TEXT ? 3 : 2);                             \
    }                                                                                         \
    ms_batch in = {rows, nodes, buffers, first};                                              \
    ms_column out;                                                                            \
    memset(&out, 0, sizeof out);                                                              \
    out.rows = rows;                                                                          \
    out.width = ms_width(of->returns);                                                        \
    size_t bits = (rows + 7) / 8;                                                             \
    size_t size = out.width == MS_WIDTH_TEXT   ? ((size_t)rows + 1) * 4                       \
                  : out.width == MS_WIDTH_BITS ? bits                                         \
                                               : (size_t)rows * out.width;                    \
    out.validity = (uint8_t *)ms_alloc(bits);                                                 \
    memset(out.validity, 0, bits);                                                            \
    out.values = (uint8_t *)ms_alloc(size);                                                   \
    memset(out.values, 0, size);                                                              \
    ms_failed = false;                                                                        \
    of->evaluate(&in, &out);                                                                  \
    if (ms_failed) return &ms_result;                                                         \
    ms_node *node = (ms_node *)ms_alloc(sizeof *node);                                        \
    node->length = out.length;                                                                \
    node->nulls = out.nulls;                                                                  \
    ms_list *lists = (ms_list *)ms_alloc(3 * sizeof *lists);                                  \
    lists[0].data = out.validity;                                                             \
    lists[0].length = out.nulls > 0 ? (uint32_t)bits : 0;                                     \
    lists[1].data = out.values;                                                               \
    lists[1].length = (uint32_t)size;                                                         \
    lists[2].data = out.bytes;                                                                \
    lists[2].length = (uint32_t)out.bytes_length;                                             \
    ms_result.is_failure = 0;                                                                 \
    ms_result.of.batch.rows = out.length;                                                     \
    ms_result.of.batch.nodes.data = node;                                                     \
    ms_result.of.batch.nodes.length = 1;                                                      \
    ms_result.of.batch.buffers.data = lists;                                                  \
    ms_result.of.batch.buffers.length = out.width == MS_WIDTH_TEXT ? 3 : 2;                   \
    return &ms_result;                                                                        \
  }                                                                                           \
  MS_EXPORT("cabi_post_millstream:udf/functions@0.1.0#call")                                  \
  void ms_called(void *result) { (void)result; ms_release(); }

#ifdef __cplusplus
}
#endif

#endif

/* For the tests: a guest that lies, by columns. What it does is said by the first number that it is
   given; a number above 1000 is what it does from then on, in other exports.
   clang --target=wasm32 -mbulk-memory -O2 -nostdlib -Wl,--no-entry -Wl,-z,stack-size=16384 -s hostile.c -o hostile.wasm */
#include <stdbool.h>
#include <stdint.h>

#define EXPORT(name) __attribute__((export_name(name)))
#define FUNCTIONS "millstream:udf/functions@0.1.0#"
#define HOST(name) \
  __attribute__((import_module("millstream:udf/host@0.1.0"), import_name(name)))

HOST("log") void host_log(uint32_t level, const char *message, uint32_t length);
HOST("config") void host_config(const char *name, uint32_t length, void *found);

typedef struct { const void *data; uint32_t length; } list;
typedef struct { uint32_t length, nulls; } node;

static uint32_t mode, used;
static uint8_t heap[1 << 20] __attribute__((aligned(8)));
static uint8_t found[16] __attribute__((aligned(8)));

EXPORT("cabi_realloc") void *cabi_realloc(void *old, uint32_t length, uint32_t align, uint32_t size) {
  (void)old; (void)length;
  switch (mode) {
    case 1001: return (void *)0xfffffff0u;                     /* beyond the memory */
    case 1002: return (void *)(uintptr_t)(align > 1 ? 1 : 0);  /* unaligned */
    case 1003: return heap;                                    /* always the same */
    case 1004: for (volatile int i = 0;; i++) {}
    case 1005: host_log(3, "within", 6); break;                /* an import while it is called */
    case 1006: host_config("greeting", 8, found); break;
    case 1007: __builtin_trap();
    case 1008: for (;;) __builtin_wasm_memory_grow(0, 16);
  }
  used = (used + 7) & ~7u;
  void *fresh = heap + used;
  used += size;
  if (used > sizeof heap) __builtin_trap();
  return fresh;
}

typedef struct { list name, type; uint32_t has_default; list value; } argument;
typedef struct {
  list name; uint32_t kind; list arguments, returns; uint8_t nulls, deterministic, retracts;
} signature;

#define TEXT(text) { text, sizeof text - 1 }
static const argument number[] = {{TEXT("number"), TEXT("bigint"), 0, {0, 0}}};
static const signature functions[] = {
  {TEXT("number"), 0, {number, 1}, TEXT("bigint"), 0, 1, 0},
  {TEXT("text"), 0, {number, 1}, TEXT("varchar"), 0, 1, 0},
  {TEXT("list"), 0, {number, 1}, TEXT("array<bigint>"), 0, 1, 0},
  {TEXT("table"), 1, {number, 1}, TEXT("bigint"), 0, 1, 0},
  {TEXT("price"), 0, {number, 1}, TEXT("decimal(5, 2)"), 0, 1, 0},
};
static const list described = {functions, sizeof functions / sizeof *functions};
EXPORT(FUNCTIONS "describe") const list *describe(void) { return &described; }
EXPORT("cabi_post_" FUNCTIONS "describe") void describe_read(const list *result) { (void)result; }

static struct {
  uint8_t failed;
  union {
    struct { uint32_t rows; list nodes, buffers; } batch;
    struct { uint8_t has_row; uint32_t row; list message; } failure;
  } of;
} result;
static node nodes[4];
static list buffers[1 << 16];
static int64_t values[1 << 13];
static int32_t offsets[1 << 13];

#define MEMORY_END ((uint32_t)__builtin_wasm_memory_size(0) << 16)

static void *well(uint32_t function, uint32_t rows) {
  for (uint32_t i = 0; i < rows; i++) { values[i] = i; offsets[i] = (int32_t)i; }
  offsets[rows] = (int32_t)rows;
  nodes[0] = nodes[1] = (node){rows, 0};
  list validity = {0, 0}, numbers = {values, rows * 8}, ends = {offsets, (rows + 1) * 4};
  uint32_t count = 1, parts = 2;
  buffers[0] = buffers[2] = validity;
  buffers[1] = numbers;
  if (function == 1) {
    for (uint32_t i = 0; i < rows; i++) ((char *)values)[i] = 'x';
    buffers[1] = ends; buffers[2] = (list){values, rows}; parts = 3;
  } else if (function == 2) {
    buffers[1] = ends; buffers[3] = numbers; count = 2; parts = 4;
  } else if (function == 3) {
    buffers[1] = (list){offsets, rows * 4}; buffers[3] = numbers; count = 2; parts = 4;
  } else if (function == 4) {
    for (uint32_t i = 0; i < rows; i++) { values[2 * i] = i; values[2 * i + 1] = 0; }
    buffers[1] = (list){values, rows * 16};
  }
  result.failed = 0;
  result.of.batch.rows = rows;
  result.of.batch.nodes = (list){nodes, count};
  result.of.batch.buffers = (list){buffers, parts};
  return &result;
}

static uint32_t deep(volatile uint32_t n) { return n == 0 ? 0 : deep(n - 1) + n; }

/* 1 to 99: a result that is none. */
static void *lie(uint32_t number, uint32_t rows) {
  switch (number) {
    case 1: return (void *)0xfffffff0u;
    case 2: return (char *)&result + 1;
    case 3: result.failed = 7; break;
    case 4: result.of.batch.nodes.length = 0xffffffff; break;
    case 5: result.of.batch.nodes.data = (void *)(MEMORY_END - 4); break;
    case 6: result.of.batch.buffers.length = 0xffffffff; break;
    case 7: buffers[1].length = 0xffffffff; break;
    case 8: buffers[1].data = (void *)(MEMORY_END - 4); break;
    case 9: nodes[0].length = 0xffffffff; break;
    case 10: nodes[0].length = 1 << 28; break;
    case 11: nodes[0].length = rows + 1; break;
    case 12: nodes[0].length = rows - 1; break;
    case 13: nodes[0].nulls = rows; break;
    case 14: result.of.batch.nodes.length = 0; break;
    case 15: result.of.batch.nodes.length += 1; break;
    case 16: result.of.batch.buffers.length -= 1; break;
    case 17: result.of.batch.buffers.length += 1; break;
    case 18: buffers[1].length -= 1; break;
    case 19: result.of.batch.nodes.data = (char *)nodes + 1; break;
    case 20: buffers[1].length = 0; break;
    case 21: nodes[0] = (node){0, 0}; break;
    case 22: /* all of the memory, many times */
      for (uint32_t i = 0; i < 1 << 16; i++) buffers[i] = (list){0, MEMORY_END};
      result.of.batch.buffers.length = 1 << 16;
      break;
    case 23: buffers[0] = (list){values, 0xfffffff}; break;
    /* of offsets */
    case 40: offsets[1] = -1; break;
    case 41: offsets[0] = 1; offsets[1] = 0; break;
    case 42: offsets[rows] = 0x7fffffff; break;
    case 43: offsets[rows] = (int32_t)rows + 1; break;
    case 44: offsets[0] = -5; break;
    case 45: ((uint8_t *)values)[0] = 0xff; break;
    case 46: ((uint8_t *)values)[0] = 0xc3; ((uint8_t *)values)[1] = 0xa9; break; /* é, split */
    case 47: nodes[1].length = 0; break;
    case 48: offsets[0] = (int32_t)rows; break;
    /* of decimals */
    case 60: values[0] = 100000; break;
    case 61: values[1] = INT64_MIN; break;
  }
  return &result;
}

static void *fail(uint32_t number, uint32_t rows) {
  result.failed = 1;
  result.of.failure.has_row = 1;
  result.of.failure.row = number == 70 ? 0xffffffff : rows;
  result.of.failure.message = (list){"no", 2};
  if (number == 71) result.of.failure.message = (list){"\xff\xfe", 2};
  if (number == 72) result.of.failure.message.length = 0xffffffff;
  if (number == 73) {
    for (uint32_t i = 0; i < sizeof heap; i++) heap[i] = 'x';
    result.of.failure.message = (list){heap, sizeof heap};
  }
  if (number == 74) result.of.failure.has_row = 9;
  return &result;
}

EXPORT(FUNCTIONS "call") void *call(
    uint32_t function, uint32_t operation, uint32_t rows, node *in, uint32_t in_count,
    list *in_buffers, uint32_t in_buffers_count) {
  (void)operation; (void)in; (void)in_count; (void)in_buffers_count;
  used = 0;
  uint32_t number = rows == 0 ? 0 : (uint32_t)*(const int64_t *)in_buffers[1].data;
  if (number > 1000) mode = number;
  well(function, rows);
  switch (number) {
    case 80: for (volatile int i = 0;; i++) {}
    case 81: for (;;) if (__builtin_wasm_memory_grow(0, 16) == (uint32_t)-1) __builtin_trap();
    case 82: return (void *)deep(0x7fffffff);
    case 83: for (;;) host_log(1, "and on and on", 13);
    case 84: host_log(1, (const char *)0, MEMORY_END); break;
    case 85: for (;;) host_log(1, (const char *)heap, sizeof heap);
    case 86: host_log(1, (const char *)0, 0xffffffff); break;
    case 87: host_log(9, "x", 1); break;
    case 88: host_config((const char *)0, MEMORY_END, found); break;
    case 89: host_config("greeting", 8, (void *)0xfffffffc); break;
    case 90: for (;;) { used = 0; host_config("greeting", 8, found); }
    case 91: __builtin_trap();
  }
  return number >= 70 && number < 80 ? fail(number, rows) : lie(number, rows);
}

EXPORT("cabi_post_" FUNCTIONS "call") void call_read(void *given) {
  (void)given;
  if (mode == 1010) __builtin_trap();
  if (mode == 1011) for (volatile int i = 0;; i++) {}
  if (mode == 1012) host_log(3, "after", 5);
}

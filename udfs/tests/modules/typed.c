/* For the tests: typed functions by the canonical ABI, without any tool. */
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#define EXPORT(name) __attribute__((export_name(name)))

static uint8_t heap[1 << 22];
static size_t used;

EXPORT("cabi_realloc") void *cabi_realloc(void *old, size_t length, size_t align, size_t size) {
  used = (used + align - 1) & ~(align - 1);
  if (size > sizeof heap - used) __builtin_trap();
  void *fresh = heap + used;
  used += size;
  if (length) memcpy(fresh, old, length < size ? length : size);
  return fresh;
}

typedef struct { uint8_t *data; uint32_t length; } text;

EXPORT("add") int64_t add(int64_t a, int64_t b) { return (int64_t)((uint64_t)a + (uint64_t)b); }

static struct { uint8_t some; double value; } half_of;
EXPORT("half") void *half(double x) {
  half_of.some = x >= 0;
  half_of.value = x / 2;
  return &half_of;
}

static text shouted;
EXPORT("shout") void *shout(uint8_t *data, uint32_t length) {
  for (uint32_t i = 0; i < length; i++) {
    if (data[i] >= 'a' && data[i] <= 'z') data[i] -= 32;
  }
  shouted.data = data;
  shouted.length = length;
  return &shouted;
}
EXPORT("cabi_post_shout") void shouted_it(void *result) { (void)result; used = 0; }

EXPORT("length-or") uint32_t length_or(uint32_t some, uint8_t *data, uint32_t length) {
  (void)data;
  used = 0;
  return some ? length : 77;
}

static struct { uint8_t failed; union { int64_t value; text reason; } of; } checked_of;
EXPORT("checked") void *checked(int64_t x) {
  checked_of.failed = x < 0;
  if (x < 0) {
    checked_of.of.reason.data = (uint8_t *)"below zero";
    checked_of.of.reason.length = 10;
  } else {
    checked_of.of.value = x;
  }
  return &checked_of;
}

EXPORT("total") int64_t total(int64_t *items, uint32_t count) {
  uint64_t sum = 0;
  for (uint32_t i = 0; i < count; i++) sum += (uint64_t)items[i];
  used = 0;
  return (int64_t)sum;
}

static struct { int32_t x; uint8_t some; text label; } swapped;
EXPORT("swap") void *swap(int32_t x, uint32_t some, uint8_t *data, uint32_t length) {
  swapped.x = -x;
  swapped.some = !some;
  swapped.label.data = some ? data : (uint8_t *)"none";
  swapped.label.length = some ? length : 4;
  return &swapped;
}
EXPORT("cabi_post_swap") void swapped_it(void *result) { (void)result; used = 0; }

EXPORT("name-of") uint32_t name_of(uint32_t colour) { return 1 - colour; }

typedef struct { uint8_t some; int64_t value; } optional;
static struct { optional *data; uint32_t length; } doubled;
EXPORT("doubles") void *doubles(optional *items, uint32_t count) {
  for (uint32_t i = 0; i < count; i++) items[i].value = (int64_t)((uint64_t)items[i].value * 2);
  doubled.data = items;
  doubled.length = count;
  return &doubled;
}
EXPORT("cabi_post_doubles") void doubled_it(void *result) { (void)result; used = 0; }

EXPORT("ignored") void ignored(int64_t x) { (void)x; }

/* For the tests: typed functions that lie; what they do is said as in hostile.c.
   clang --target=wasm32 -O2 -nostdlib -Wl,--no-entry -s hostile_typed.c -o hostile_typed.wasm */
#include <stdint.h>

#define EXPORT(name) __attribute__((export_name(name)))
typedef struct { const void *data; uint32_t length; } list;
typedef struct { uint8_t some; list text; } optional;

static uint32_t mode, used;
static uint8_t heap[1 << 20] __attribute__((aligned(8)));

EXPORT("cabi_realloc") void *cabi_realloc(void *old, uint32_t length, uint32_t align, uint32_t size) {
  (void)old; (void)length; (void)align;
  switch (mode) {
    case 1001: return (void *)0xfffffff0u;
    case 1003: return heap;
    case 1004: for (volatile int i = 0;; i++) {}
    case 1007: __builtin_trap();
    case 1008: for (;;) __builtin_wasm_memory_grow(0, 16);
    case 1009: return (void *)0; /* over what is there */
  }
  used = (used + 7) & ~7u;
  void *fresh = heap + used;
  used += size;
  if (used > sizeof heap) __builtin_trap();
  return fresh;
}

#define MEMORY_END ((uint32_t)__builtin_wasm_memory_size(0) << 16)

EXPORT("arm") int64_t arm(int64_t n) { mode = (uint32_t)n; return n; }

static struct { uint8_t failed; list text; } lied;
EXPORT("text") void *text(int64_t number, const char *data, uint32_t length) {
  lied.failed = 0;
  lied.text = (list){data, length};
  switch (number) {
    case 1: return (void *)0xfffffff0u;
    case 2: lied.text.length = 0xffffffff; break;
    case 3: lied.text.data = (void *)(MEMORY_END - 1); lied.text.length = 2; break;
    case 4: lied.text = (list){"\xff", 1}; break;
    case 5: lied.text = (list){"\xc3", 1}; break; /* half of an é, in each row */
    case 6: lied.text = (list){"no", 2}; lied.failed = 1; break;
    case 7: lied.text = (list){0, MEMORY_END}; lied.failed = 1; break;
    case 8: lied.text.length = 0xffffffff; lied.failed = 1; break;
    case 9: lied.text = (list){"\xff", 1}; lied.failed = 1; break;
    case 10: lied.text = (list){heap, sizeof heap}; break; /* of each row */
    case 11: __builtin_trap();
    case 12: for (volatile int i = 0;; i++) {}
    case 13: for (;;) if (__builtin_wasm_memory_grow(0, 16) == (uint32_t)-1) __builtin_trap();
  }
  return &lied;
}

EXPORT("cabi_post_text") void text_read(void *given) {
  (void)given;
  used = 0;
  if (mode == 1010) __builtin_trap();
  if (mode == 1011) for (volatile int i = 0;; i++) {}
}

static list given;
EXPORT("all") void *all(optional *items, uint32_t count) {
  given = (list){items, count};
  switch (mode) {
    case 1: given.length = count - 1; break;
    case 2: given.length = count + 1; break;
    case 3: given.length = 0xffffffff; break;
    case 4: given.data = (void *)(MEMORY_END - 4); break;
    case 5: return (void *)0xfffffff0u;
    case 6: items[0] = (optional){1, {0, 0xffffffff}}; break;
    case 7: items[0] = (optional){1, {"\xff", 1}}; break;
    case 8: /* all of the heap, many times */
      for (uint32_t i = 0; i < count; i++) items[i] = (optional){1, {heap, sizeof heap}};
      break;
    case 9: given = (list){0, MEMORY_END / sizeof(optional)}; break;
  }
  return &given;
}
EXPORT("cabi_post_all") void all_read(void *given) { text_read(given); }

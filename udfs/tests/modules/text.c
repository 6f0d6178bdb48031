/* For the tests: functions of every kind of column, and bad manners. */
#include "../../guests/c/millstream_udf.h"

static void email_domain(const ms_batch *in, ms_column *out) {
  for (uint32_t row = 0; row < in->rows; row++) {
    ms_text email = ms_get_text(in, 0, row);
    const char *at = (const char *)memchr(email.data, '@', email.length);
    if (at == NULL) ms_put_null(out);
    else ms_put_text(out, at + 1, (size_t)(email.data + email.length - (at + 1)));
  }
}

static void score(const ms_batch *in, ms_column *out) {
  for (uint32_t row = 0; row < in->rows; row++) {
    ms_put_i64(out, (int64_t)((uint64_t)ms_get_i64(in, 0, row) * 3 + 1));
  }
}

static void score_all(const ms_batch *in, ms_column *out) {
  const uint64_t *n = ms_all_u64(in, 0);
  int64_t *to = ms_put_all_i64(out, in->rows);
  for (uint32_t row = 0; row < in->rows; row++) to[row] = (int64_t)(n[row] * 3 + 1);
}

static void not_it(const ms_batch *in, ms_column *out) {
  for (uint32_t row = 0; row < in->rows; row++) ms_put_bool(out, !ms_get_bool(in, 0, row));
}

static void or_zero(const ms_batch *in, ms_column *out) {
  for (uint32_t row = 0; row < in->rows; row++) {
    ms_put_f64(out, ms_is_null(in, 0, row) ? 0 : ms_get_f64(in, 0, row));
  }
}

static void one(const ms_batch *in, ms_column *out) {
  for (uint32_t row = 0; row < in->rows; row++) ms_put_i32(out, 1);
}

static void positive(const ms_batch *in, ms_column *out) {
  for (uint32_t row = 0; row < in->rows; row++) {
    int64_t value = ms_get_i64(in, 0, row);
    if (value <= 0) {
      ms_log(MS_ERROR, "this is no log line of importance");
      ms_fail(row, "it is not above zero");
      return;
    }
    ms_put_i64(out, value);
  }
}

static void greeting(const ms_batch *in, ms_column *out) {
  ms_text text = ms_config("greeting");
  for (uint32_t row = 0; row < in->rows; row++) {
    if (text.data == NULL) ms_put_null(out);
    else ms_put_text(out, text.data, text.length);
  }
}

static void too_few(const ms_batch *in, ms_column *out) {
  for (uint32_t row = 1; row < in->rows; row++) ms_put_i64(out, row);
}

static void no_text(const ms_batch *in, ms_column *out) {
  for (uint32_t row = 0; row < in->rows; row++) ms_put_text(out, "\xff\xfe", 2);
}

static void endless(const ms_batch *in, ms_column *out) {
  for (volatile uint32_t row = 0; row < in->rows;) {
  }
  (void)out;
}

static void hungry(const ms_batch *in, ms_column *out) {
  for (uint32_t row = 0; row < in->rows; row++) {
    for (;;) memset(ms_alloc(1 << 20), 1, 1 << 20);
  }
  (void)out;
}

static int64_t nested(volatile int64_t depth) { return depth == 0 ? 0 : nested(depth - 1) + depth; }

static void deep(const ms_batch *in, ms_column *out) {
  for (uint32_t row = 0; row < in->rows; row++) ms_put_i64(out, nested(ms_get_i64(in, 0, row)));
}

static void trap(const ms_batch *in, ms_column *out) {
  ms_log(MS_ERROR, "these are my last words");
  if (in->rows > 0) __builtin_trap();
  (void)out;
}

static void talkative(const ms_batch *in, ms_column *out) {
  for (int i = 0; i < 100000; i++) ms_log(MS_DEBUG, "and another thing");
  for (uint32_t row = 0; row < in->rows; row++) ms_put_i64(out, row);
}

/* Has memory of its own beside that of its calls; its value is how much of it was overwritten. */
static void keeps(const ms_batch *in, ms_column *out) {
  enum { BLOCKS = 40, LENGTH = 30000 };
  static uint8_t *kept[BLOCKS];
  static uint8_t count;
  if (count < BLOCKS) {
    kept[count] = (uint8_t *)malloc(LENGTH);
    memset(kept[count], count, LENGTH);
    count++;
  }
  int64_t overwritten = 0;
  for (uint8_t block = 0; block < count; block++) {
    for (int i = 0; i < LENGTH; i++) overwritten += kept[block][i] != block;
  }
  for (uint32_t row = 0; row < in->rows; row++) ms_put_i64(out, overwritten);
}

/* Two of one name, for numbers and for text. */
static void kind_of_number(const ms_batch *in, ms_column *out) {
  for (uint32_t row = 0; row < in->rows; row++) ms_put_text(out, "a number", 8);
}

static void kind_of_text(const ms_batch *in, ms_column *out) {
  for (uint32_t row = 0; row < in->rows; row++) ms_put_text(out, "text", 4);
}

#define ONE(name, type) static const ms_argument name[] = {{#name, type, NULL}}
ONE(text, "varchar");
ONE(number, "bigint");
ONE(truth, "boolean");
ONE(amount, "double");

#define TAKES(list) .arguments = list, .arguments_count = 1

MS_FUNCTIONS(
  {.name = "email_domain", TAKES(text), .returns = "varchar", .evaluate = email_domain},
  {.name = "score", TAKES(number), .returns = "bigint", .evaluate = score},
  {.name = "not_it", TAKES(truth), .returns = "boolean", .evaluate = not_it},
  {.name = "or_zero", TAKES(amount), .returns = "double", .sees_null = true, .evaluate = or_zero},
  {.name = "one", .returns = "int", .evaluate = one},
  {.name = "positive", TAKES(number), .returns = "bigint", .evaluate = positive},
  {.name = "greeting", .returns = "varchar", .not_deterministic = true, .evaluate = greeting},
  {.name = "too_few", TAKES(number), .returns = "bigint", .evaluate = too_few},
  {.name = "no_text", TAKES(number), .returns = "varchar", .evaluate = no_text},
  {.name = "endless", TAKES(number), .returns = "bigint", .evaluate = endless},
  {.name = "hungry", TAKES(number), .returns = "bigint", .evaluate = hungry},
  {.name = "deep", TAKES(number), .returns = "bigint", .evaluate = deep},
  {.name = "trap", TAKES(number), .returns = "bigint", .evaluate = trap},
  {.name = "talkative", TAKES(number), .returns = "bigint", .evaluate = talkative},
  {.name = "keeps", TAKES(text), .returns = "bigint", .evaluate = keeps},
  {.name = "kind_of", TAKES(number), .returns = "varchar", .evaluate = kind_of_number},
  {.name = "kind_of", TAKES(text), .returns = "varchar", .evaluate = kind_of_text},
  {.name = "score_all", TAKES(number), .returns = "bigint", .evaluate = score_all},
)

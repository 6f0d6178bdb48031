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

static const ms_argument N[] = {{"n", "bigint", NULL}};
static const ms_argument EMAIL[] = {{"email", "varchar", NULL}};

MS_FUNCTIONS(
  {.name = "score", .arguments = N, .arguments_count = 1, .returns = "bigint", .evaluate = score},
  {.name = "email_domain", .arguments = EMAIL, .arguments_count = 1, .returns = "varchar",
   .evaluate = email_domain},
)

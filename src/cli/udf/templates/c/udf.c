/* A function for Millstream. README.md says how it is built, tested and used, and
 * millstream_udf.h what functions can be like. */
#include "millstream_udf.h"

/* The domain of an e-mail address, in lower case; NULL where there is none.
 *
 * Nobody calls it for an `email` that is NULL: the answer is NULL. With `.sees_null = true` below it
 * would see that by ms_is_null(in, 0, row). ms_fail(row, message) fails a row, and says why. */
static void email_domain_rows(const ms_batch *in, ms_column *out) {
  for (uint32_t row = 0; row < in->rows; row++) {
    ms_text email = ms_get_text(in, 0, row);
    size_t from = email.length; /* behind the last @ */
    while (from > 0 && email.data[from - 1] != '@') from--;
    size_t length = email.length - from;
    if (from < 2 || length == 0) {
      ms_put_null(out);
      continue;
    }
    char *domain = ms_alloc(length); /* until the batch is done */
    for (size_t i = 0; i < length; i++) {
      char byte = email.data[from + i];
      domain[i] = byte >= 'A' && byte <= 'Z' ? (char)(byte - 'A' + 'a') : byte;
    }
    ms_put_text(out, domain, length);
  }
}

static const ms_argument EMAIL[] = {{"email", "varchar", NULL}};

MS_FUNCTIONS(
  {.name = "email_domain", .arguments = EMAIL, .arguments_count = 1, .returns = "varchar",
   .evaluate = email_domain_rows},
)

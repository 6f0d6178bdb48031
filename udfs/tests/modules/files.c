/* For the tests: what libc has of the world outside. */
#include <stdio.h>
#include <stdlib.h>

#include "../../guests/c/millstream_udf.h"

/* What is in a file, and an environment variable; it prints both. */
static void outside(const ms_batch *in, ms_column *out) {
  for (uint32_t row = 0; row < in->rows; row++) {
    char text[100] = "no file";
    FILE *file = fopen("/data/words.txt", "r");
    if (file != NULL) {
      text[fread(text, 1, sizeof text - 1, file)] = '\0';
      fclose(file);
    }
    const char *greeted = getenv("GREETED");
    const char *both = ms_join(text, greeted == NULL ? "nobody" : greeted);
    printf("%s at %d\n", both, (int)ms_get_i64(in, 0, row));
    if (fflush(stdout) != 0) ms_fail(row, "it cannot print");
    ms_put_text(out, both, strlen(both));
  }
}

static const ms_argument NUMBER[] = {{"number", "bigint", NULL}};

MS_FUNCTIONS(
  {.name = "outside", .arguments = NUMBER, .arguments_count = 1, .returns = "varchar",
   .not_deterministic = true, .evaluate = outside},
)

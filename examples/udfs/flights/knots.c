/* The mean speed of a flight, in knots. */
#include "../../../udfs/guests/c/millstream_udf.h"

/* Kilometres in a mile, and in a nautical one. */
static const double MILE = 1.609344, NAUTICAL_MILE = 1.852;

static void knots(const ms_batch *in, ms_column *out) {
  for (uint32_t row = 0; row < in->rows; row++) {
    double miles = ms_get_f64(in, 0, row), minutes = ms_get_f64(in, 1, row);
    if (minutes > 0) ms_put_f64(out, miles * MILE / NAUTICAL_MILE / (minutes / 60));
    else ms_put_null(out);
  }
}

static const ms_argument OF[] = {{"miles", "double", NULL}, {"minutes", "double", NULL}};

MS_FUNCTIONS(
  {.name = "knots", .arguments = OF, .arguments_count = 2, .returns = "double", .evaluate = knots},
)

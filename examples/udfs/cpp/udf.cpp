// The functions of all the examples, in C++20.
#include <string_view>

#include "../../../udfs/guests/c/millstream_udf.h"

static void score(const ms_batch *in, ms_column *out) {
  for (uint32_t row = 0; row < in->rows; row++) {
    ms_put_i64(out, static_cast<int64_t>(static_cast<uint64_t>(ms_get_i64(in, 0, row)) * 3 + 1));
  }
}

static void email_domain(const ms_batch *in, ms_column *out) {
  for (uint32_t row = 0; row < in->rows; row++) {
    ms_text text = ms_get_text(in, 0, row);
    std::string_view email(text.data, text.length);
    auto at = email.find('@');
    if (at == std::string_view::npos) {
      ms_put_null(out);
    } else {
      std::string_view domain = email.substr(at + 1);
      ms_put_text(out, domain.data(), domain.size());
    }
  }
}

static const ms_argument N[] = {{"n", "bigint", nullptr}};
static const ms_argument EMAIL[] = {{"email", "varchar", nullptr}};

MS_FUNCTIONS(
  {.name = "score", .arguments = N, .arguments_count = 1, .returns = "bigint", .evaluate = score},
  {.name = "email_domain", .arguments = EMAIL, .arguments_count = 1, .returns = "varchar",
   .evaluate = email_domain},
)

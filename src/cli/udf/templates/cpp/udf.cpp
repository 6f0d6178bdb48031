// A function for Millstream, in C++20. README.md says how it is built, tested and used, and
// millstream_udf.h what functions can be like.
#include <algorithm>
#include <string>
#include <string_view>

#include "millstream_udf.h"

// The domain of an e-mail address, in lower case; nothing where there is none.
static bool domain_of(std::string_view email, std::string &domain) {
  auto at = email.rfind('@');
  if (at == std::string_view::npos || at == 0 || at + 1 == email.size()) return false;
  domain = email.substr(at + 1);
  std::transform(domain.begin(), domain.end(), domain.begin(), [](char byte) {
    return byte >= 'A' && byte <= 'Z' ? static_cast<char>(byte - 'A' + 'a') : byte;
  });
  return true;
}

// Nobody calls it for an `email` that is NULL: the answer is NULL. With `.sees_null = true` below it
// would see that by ms_is_null(in, 0, row). ms_fail(row, message) fails a row, and says why.
static void email_domain_rows(const ms_batch *in, ms_column *out) {
  std::string domain;
  for (uint32_t row = 0; row < in->rows; row++) {
    ms_text email = ms_get_text(in, 0, row);
    if (domain_of({email.data, email.length}, domain)) {
      ms_put_text(out, domain.data(), domain.size());
    } else {
      ms_put_null(out);
    }
  }
}

static const ms_argument EMAIL[] = {{"email", "varchar", nullptr}};

MS_FUNCTIONS(
  {.name = "email_domain", .arguments = EMAIL, .arguments_count = 1, .returns = "varchar",
   .evaluate = email_domain_rows},
)

// Functions that ask servers, in C++.
#include <string>
#include <string_view>
#include <vector>

#include "millstream_udf.h"

static std::string_view view(ms_text text) { return {text.data, text.length}; }

static void put_answer(const ms_answer &answer, ms_column *out) {
  std::string text = "error: ";
  if (answer.failed) {
    text += view(answer.error);
  } else {
    std::string_view echoed = "-";
    for (size_t i = 0; i < answer.response.headers_count; i++) {
      const ms_header &header = answer.response.headers[i];
      if (view(header.name) == "x-echo") echoed = view(header.value);
    }
    text = std::to_string(answer.response.status) + ' ';
    text.append(echoed).append(" ").append(view(answer.response.body));
  }
  ms_put_text(out, text.data(), text.size());
}

static void fetched(const ms_batch *in, ms_column *out) {
  for (uint32_t row = 0; row < in->rows; row++) {
    ms_span urls = ms_get_array(in, 0, row);
    std::vector<ms_request> requests;
    for (uint32_t i = 0; i < urls.length; i++) {
      requests.push_back({.url = ms_get_text(ms_within(in, 0), 0, urls.first + i)});
    }
    const ms_answer *answers = ms_fetch(requests.data(), requests.size());
    for (uint32_t i = 0; i < urls.length; i++) put_answer(answers[i], ms_items(out));
    ms_put_array(out);
  }
}

// All rows at the same time.
static void posted(const ms_batch *in, ms_column *out) {
  ms_header headers[] = {{ms_text_of("x-from"), ms_text_of("millstream")}, {ms_text_of("x-two"), ms_text_of("2")}};
  std::vector<ms_request> requests;
  for (uint32_t row = 0; row < in->rows; row++) {
    requests.push_back({
      .method = ms_text_of("POST"), .url = ms_get_text(in, 0, row), .headers = headers,
      .headers_count = 2, .body = ms_get_text(in, 1, row),
    });
  }
  const ms_answer *answers = ms_fetch(requests.data(), requests.size());
  for (uint32_t row = 0; row < in->rows; row++) {
    if (answers[row].failed) return ms_fail(row, answers[row].error.data);
    put_answer(answers[row], out);
  }
}

static const ms_argument URLS[] = {{"urls", "array<varchar>", nullptr}};
static const ms_argument POSTED[] = {{"url", "varchar", nullptr}, {"body", "varchar", nullptr}};
MS_FUNCTIONS(
  {.name = "fetched", .arguments = URLS, .arguments_count = 1, .returns = "array<varchar>",
   .not_deterministic = true, .evaluate = fetched},
  {.name = "posted", .arguments = POSTED, .arguments_count = 2, .returns = "varchar",
   .not_deterministic = true, .evaluate = posted},
)

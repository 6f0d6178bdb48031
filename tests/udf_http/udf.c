/* Functions that ask servers, in C; the other languages beside it have the same. */
#include "millstream_udf.h"

static void put_answer(const ms_answer *answer, ms_column *out) {
  if (answer->failed) {
    const char *text = ms_join("error: ", answer->error.data);
    ms_put_text(out, text, strlen(text));
    return;
  }
  const ms_response *response = &answer->response;
  const char *status = ms_digits(response->status);
  ms_text echoed = {"-", 1};
  for (size_t i = 0; i < response->headers_count; i++) {
    ms_text name = response->headers[i].name;
    if (name.length == 6 && memcmp(name.data, "x-echo", 6) == 0) echoed = response->headers[i].value;
  }
  size_t length = strlen(status) + echoed.length + response->body.length + 2;
  char *text = (char *)ms_alloc(length), *at = text;
  at = (char *)memcpy(at, status, strlen(status)) + strlen(status);
  *at++ = ' ';
  at = (char *)memcpy(at, echoed.data, echoed.length) + echoed.length;
  *at++ = ' ';
  memcpy(at, response->body.data, response->body.length);
  ms_put_text(out, text, length);
}

static void fetched(const ms_batch *in, ms_column *out) {
  for (uint32_t row = 0; row < in->rows; row++) {
    ms_span urls = ms_get_array(in, 0, row);
    ms_request *requests = (ms_request *)ms_alloc(urls.length * sizeof *requests);
    memset(requests, 0, urls.length * sizeof *requests);
    for (uint32_t i = 0; i < urls.length; i++) {
      requests[i].url = ms_get_text(ms_within(in, 0), 0, urls.first + i);
    }
    const ms_answer *answers = ms_fetch(requests, urls.length);
    for (uint32_t i = 0; i < urls.length; i++) put_answer(&answers[i], ms_items(out));
    ms_put_array(out);
  }
}

/* All rows at the same time. */
static void posted(const ms_batch *in, ms_column *out) {
  ms_header headers[] = {{ms_text_of("x-from"), ms_text_of("millstream")}, {ms_text_of("x-two"), ms_text_of("2")}};
  ms_request *requests = (ms_request *)ms_alloc(in->rows * sizeof *requests);
  for (uint32_t row = 0; row < in->rows; row++) {
    requests[row] = (ms_request){
      .method = ms_text_of("POST"), .url = ms_get_text(in, 0, row), .headers = headers,
      .headers_count = 2, .body = ms_get_text(in, 1, row),
    };
  }
  const ms_answer *answers = ms_fetch(requests, in->rows);
  for (uint32_t row = 0; row < in->rows; row++) {
    if (answers[row].failed) return ms_fail(row, answers[row].error.data);
    put_answer(&answers[row], out);
  }
}

static const ms_argument URLS[] = {{"urls", "array<varchar>", NULL}};
static const ms_argument POSTED[] = {{"url", "varchar", NULL}, {"body", "varchar", NULL}};
MS_FUNCTIONS(
  {.name = "fetched", .arguments = URLS, .arguments_count = 1, .returns = "array<varchar>",
   .not_deterministic = true, .evaluate = fetched},
  {.name = "posted", .arguments = POSTED, .arguments_count = 2, .returns = "varchar",
   .not_deterministic = true, .evaluate = posted},
)

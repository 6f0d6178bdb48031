// Functions that ask servers, in AssemblyScript.

import { Answer, Header, Request, VOLATILE, fail, fetch, scalar } from "./millstream";

export { cabi_post_call, cabi_post_describe, cabi_realloc, call, describe } from "./millstream";

function shown(answer: Answer): string {
  const error = answer.error;
  if (error !== null) return "error: " + error;
  let echoed = "-";
  for (let i = 0; i < answer.headers.length; i++) {
    const header = answer.headers[i];
    if (header.name == "x-echo") echoed = header.value;
  }
  return `${answer.status} ${echoed} ${String.UTF8.decode(answer.body.buffer)}`;
}

scalar(
  "fetched(urls array<varchar>) -> array<varchar>",
  (row, out) => {
    const requests: Request[] = [];
    for (let i = 0; i < row.count(0); i++) requests.push(new Request(row.item(0, i).text(0)));
    const answers = fetch(requests);
    for (let i = 0; i < answers.length; i++) out.items.putText(shown(answers[i]));
    out.putArray();
  },
  VOLATILE,
);

scalar(
  "posted(url varchar, body varchar) -> varchar",
  (row, out) => {
    const request = new Request(row.text(0));
    request.method = "POST";
    request.headers = [new Header("x-from", "millstream"), new Header("x-two", "2")];
    request.body = row.bytes(1);
    const answer = fetch([request])[0];
    const error = answer.error;
    if (error !== null) fail(error);
    else out.putText(shown(answer));
  },
  VOLATILE,
);

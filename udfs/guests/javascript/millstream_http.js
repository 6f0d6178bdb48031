// Requests of functions in JavaScript to the servers that the pipeline file grants by name
// (`grants.http = "api.example.com"`):
//
//     import { fetch } from "./millstream_http.js";
//
//     scalar("ask(url varchar) -> varchar", (url) => {
//       const [answer] = fetch([{ url }]);
//       if (answer instanceof Error) throw answer;
//       return new TextDecoder().decode(answer.body);
//     });
//
// The module is built for the world `udf-http` then, instead of `udf`: see `worldName` in the file
// that calls componentize-js.

import { fetch as send } from "millstream:udf/http@0.1.0";

const encoder = new TextEncoder();

/** Sends all requests at the same time, 1,000 at most, and waits for all answers, which come in the
 * same order. Redirects are not followed. They take of the function's time: the pipeline file may say
 * `time = "30s"`.
 *
 * A request is `{ url, method, headers, body }`, without a method GET; `headers` are pairs of texts,
 * `[["accept", "text/plain"]]`, and `body` is a string or Uint8Array. An answer is `{ status, headers,
 * body }`, whatever its status, with a Uint8Array for body, or an Error that says why there is none. */
export function fetch(requests) {
  const asked = requests.map(({ url, method = "GET", headers = [], body = "" }) => {
    return { method, url, headers, body: typeof body === "string" ? encoder.encode(body) : body };
  });
  return send(asked).map(({ tag, val }) => (tag === "ok" ? val : new Error(val)));
}

// Functions that ask servers, in JavaScript.

import { scalar } from "./millstream.js";
import { fetch } from "./millstream_http.js";

export { functions } from "./millstream.js";

function shown(answer) {
  if (answer instanceof Error) return `error: ${answer.message}`;
  const [, echoed] = answer.headers.find(([name]) => name === "x-echo") ?? [];
  return `${answer.status} ${echoed ?? "-"} ${new TextDecoder().decode(answer.body)}`;
}

scalar(
  "fetched(urls array<varchar>) -> array<varchar>",
  (urls) => fetch(urls.map((url) => ({ url }))).map(shown),
  { deterministic: false },
);

scalar(
  "posted(url varchar, body varchar) -> varchar",
  (url, body) => {
    const headers = [["x-from", "millstream"], ["x-two", "2"]];
    const [answer] = fetch([{ url, method: "POST", headers, body }]);
    if (answer instanceof Error) throw answer;
    return shown(answer);
  },
  { deterministic: false },
);

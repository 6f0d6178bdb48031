import { componentize } from "@bytecodealliance/componentize-js";
import { writeFile } from "node:fs/promises";

const { component } = await componentize({
  sourcePath: "udf.js",
  witPath: "udf.wit",
  worldName: "udf",
  // Clocks, random numbers and the console are the host's: what the pipeline file grants, and the
  // log. Requests go by millstream_http.js, not by these.
  disableFeatures: ["http", "fetch-event"],
});
await writeFile("email_domain.wasm", component);

import { componentize } from "@bytecodealliance/componentize-js";
import { writeFile } from "node:fs/promises";

const { component } = await componentize({
  sourcePath: "udf.js",
  witPath: "udf.wit",
  worldName: "udf",
  // A function needs nothing of these; without them it imports nothing.
  disableFeatures: ["random", "stdio", "clocks", "http", "fetch-event"],
});
await writeFile("email_domain.wasm", component);

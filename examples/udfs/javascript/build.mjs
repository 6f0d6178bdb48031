import { componentize } from "@bytecodealliance/componentize-js";
import { writeFile } from "node:fs/promises";

// The name of a source, the file with its world, and that world's name.
const [source, witPath, worldName] = process.argv.slice(2);
const { component } = await componentize({
  sourcePath: `${source}.js`,
  witPath,
  worldName,
  // Clocks, random numbers and the console are the host's: what the pipeline file grants, and the
  // log. Requests go by millstream_http.js, not by these.
  disableFeatures: ["http", "fetch-event"],
});
await writeFile(`${source}.wasm`, component);

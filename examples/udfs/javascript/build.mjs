import { componentize } from "@bytecodealliance/componentize-js";
import { writeFile } from "node:fs/promises";

// The name of a source, the file with its world, and that world's name.
const [source, witPath, worldName] = process.argv.slice(2);
const { component } = await componentize({
  sourcePath: `${source}.js`,
  witPath,
  worldName,
  // A function needs nothing of these; without them it imports nothing.
  disableFeatures: ["random", "stdio", "clocks", "http", "fetch-event"],
});
await writeFile(`${source}.wasm`, component);

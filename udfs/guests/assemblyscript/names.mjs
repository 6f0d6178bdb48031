// AssemblyScript's exports have words for names: for asc's `--transform`, which gives those of
// `millstream.ts` the names that the canonical ABI has for them.

const FUNCTIONS = "millstream:udf/functions@0.1.0#";

export default class {
  afterCompile(module) {
    for (const name of ["describe", "call"]) {
      for (const [plain, canonical] of [
        [name, FUNCTIONS + name],
        [`cabi_post_${name}`, `cabi_post_${FUNCTIONS}${name}`],
      ]) {
        const found = module.getExport(plain);
        if (!found) throw new Error(`the module does not export ${plain}: see the head of millstream.ts`);
        const { value } = this.binaryen.getExportInfo(found);
        module.removeExport(plain);
        module.addFunctionExport(value, canonical);
      }
    }
  }
}

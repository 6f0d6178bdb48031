//! User functions in WebAssembly: the place for them. Nothing is here yet.

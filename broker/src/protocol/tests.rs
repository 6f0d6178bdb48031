//! Properties of every message in every version.

pub mod arbitrary;
mod frames;
mod hostile;
mod oracle;
mod semantics;
mod stored;

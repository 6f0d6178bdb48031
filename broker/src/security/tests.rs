//! Rules against a model of them that is as plain as can be, and tokens as issuers make them.

mod rules;
mod tokens;

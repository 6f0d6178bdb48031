//! A function for Millstream. README.md says how it is built, tested and used, and the
//! documentation of `millstream_udf` what functions can be like.

use millstream_udf::udf;

/// The domain of an e-mail address, in lower case; NULL where there is none.
///
/// Nobody calls it for an `email` that is NULL: the answer is NULL. It would see that as an
/// `Option<&str>`. A result of `Result<Option<String>, String>` could fail a row, and say why.
#[udf]
fn email_domain(email: &str) -> Option<String> {
    let (person, domain) = email.rsplit_once('@')?;
    let is_address = !person.is_empty() && !domain.is_empty();
    is_address.then(|| domain.to_lowercase())
}

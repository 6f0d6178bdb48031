//! The functions of all the examples, in Rust.

fn score(n: i64) -> i64 {
    n.wrapping_mul(3).wrapping_add(1)
}

fn email_domain(email: &str) -> Option<&str> {
    Some(email.split_once('@')?.1)
}

millstream_udf::functions! {
    score(n: i64) -> i64;
    email_domain(email: &str) -> Option<&str>;
}

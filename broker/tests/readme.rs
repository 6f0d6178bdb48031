//! The README's table of APIs is the code's. `UPDATE_EXPECT=1` writes it anew.

use std::fs;
use std::path::Path;

const BEGIN: &str = "<!-- compatibility: begin -->\n";
const END: &str = "<!-- compatibility: end -->\n";

#[test]
fn the_compatibility_table_is_that_of_the_code() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../README.md");
    let text = fs::read_to_string(&path).unwrap();
    let (before, rest) = text.split_once(BEGIN).expect("the README has the table's begin");
    let (table, after) = rest.split_once(END).expect("the README has the table's end");
    let expected = format!("\n{}\n", broker::protocol::compatibility::markdown());
    if table == expected {
        return;
    }
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        return fs::write(&path, format!("{before}{BEGIN}{expected}{END}{after}")).unwrap();
    }
    panic!("the README's table is out of date: run this with UPDATE_EXPECT=1");
}

//! The connector of examples/connector, as its own program would run it.

#[path = "../../examples/connector/weather.rs"]
mod weather;

use std::path::Path;

use connectors::validate;

#[test]
fn connectors_of_ones_own_run_beside_an_embedded_broker_and_go_on_where_they_were() {
    let dir = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    // Degrees go from 15 to 30 and again: two of sixteen readings are above 28.
    assert_eq!(runtime.block_on(weather::run(dir.path(), 32)).unwrap(), 8);
    assert_eq!(runtime.block_on(weather::run(dir.path(), 48)).unwrap(), 4);
    assert_eq!(runtime.block_on(weather::run(dir.path(), 48)).unwrap(), 0);
    // Mistakes are found by what they declare.
    let properties = [("connector.class", "thermometers"), ("topic", "t"), ("plaecs", "x")];
    let properties = properties.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
    let problems = validate("c", &properties, Path::new(".")).unwrap_err();
    let words: Vec<String> = problems.iter().map(|problem| problem.in_words()).collect();
    expect_test::expect![[r#"
        `places` is missing: where the thermometers are; for example `places = attic, cellar`
        `thermometers` has no key `plaecs`; did you mean `places`?"#]]
    .assert_eq(&words.join("\n"));
}

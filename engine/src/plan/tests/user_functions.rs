//! Functions in WebAssembly, as queries see them.

use std::path::PathBuf;

use arrow::datatypes::DataType;
use expect_test::expect;

use crate::pipeline::load_text;

const SOURCES: &str = "CREATE TABLE people (id BIGINT, email TEXT, small INT, at TIMESTAMP(3))
    WITH (topic = 'people', format = 'json');
CREATE TABLE o;\n";

fn module() -> String {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../udfs/tests/modules/text.wasm");
    path.canonicalize().unwrap().display().to_string()
}

fn declared(name: &str, with: &str) -> String {
    format!("CREATE FUNCTION {name} LANGUAGE wasm AS '{}' {with};\n", module())
}

/// The same of the module that has functions of all kinds.
fn of_kinds(name: &str, with: &str) -> String {
    declared(name, with).replace("text.wasm", "kinds.wasm")
}

/// The types of the columns that a query gives.
fn types(functions: &str, query: &str) -> Result<Vec<DataType>, Vec<String>> {
    let text = format!("{functions}{SOURCES}INSERT INTO o {query};");
    match load_text(PathBuf::from("f.sql"), text) {
        Ok((pipeline, _)) => {
            let schema = pipeline.queries[0].plan.schema().inner().clone();
            Ok(schema.fields().iter().map(|field| field.data_type().clone()).collect())
        }
        Err(diagnostics) => {
            let text = |mistake: crate::pipeline::Diagnostic| match mistake.help {
                Some(help) => format!("{} ({help})", mistake.message),
                None => mistake.message,
            };
            Err(diagnostics.0.into_iter().map(text).collect())
        }
    }
}

#[test]
fn functions_have_the_types_that_their_module_says() {
    let functions = declared("email_domain", "") + &declared("score", "");
    let query = "SELECT email_domain(email) AS d, SCORE(id) AS s, score(small) AS t FROM people
        WHERE email_domain(email) = 'example.org'";
    let text = types(&functions, query).unwrap();
    assert_eq!(text, [DataType::Utf8, DataType::Int64, DataType::Int64]);
    // Little memory is enough for little.
    let little = declared("score", "WITH ('memory' = '2MB')");
    assert_eq!(types(&little, "SELECT score(id) AS s FROM people").unwrap(), [DataType::Int64]);
    let renamed = declared("host_of", "WITH ('function' = 'email-domain')");
    assert_eq!(
        types(&renamed, "SELECT host_of(email) AS h FROM people").unwrap(),
        [DataType::Utf8]
    );
}

#[test]
fn toml_declares_functions_too() {
    let text = format!(
        "[udfs.email_domain]
file = \"{}\"
memory = \"64MB\"
time = \"100ms\"
config.greeting = \"hello\"
grants.clock = true

[sources.people]
topic = \"people\"
format = \"json\"
columns = {{ email = \"text\" }}

[[queries]]
name = \"domains\"
sql = \"SELECT email_domain(email) AS d FROM people\"
sink = {{ topic = \"domains\" }}
",
        module()
    );
    let (pipeline, _) = load_text(PathBuf::from("f.toml"), text).unwrap();
    assert_eq!(pipeline.queries[0].plan.schema().field(0).data_type(), &DataType::Utf8);
}

#[test]
fn mistakes_with_functions_are_found_before_anything_runs() {
    let of = |functions: &str, query: &str| types(functions, query).unwrap_err().join("\n");
    let good = declared("email_domain", "");
    let told = [
        of(&good, "SELECT email_domain(id) AS d FROM people"),
        of(&good, "SELECT email_domain() AS d FROM people"),
        of(&good, "SELECT email_domian(email) AS d FROM people"),
        of(&declared("nobody", ""), "SELECT nobody(email) AS d FROM people"),
        of(&declared("upper", ""), "SELECT upper(email) AS d FROM people"),
        of(
            "CREATE FUNCTION f LANGUAGE wasm AS 'nowhere.wasm';\n",
            "SELECT f(email) AS d, g(email) AS e FROM people",
        ),
        of("CREATE FUNCTION f LANGUAGE java AS 'f.jar';\n", "SELECT id FROM people"),
        of("CREATE FUNCTION f AS 'f.wasm';\n", "SELECT id FROM people"),
        of(
            &declared(
                "score",
                "WITH ('memory' = '1', 'time' = 'soon', 'stack' = '1kB', 'deterministic' = 'maybe',
                    'memroy' = '1MB')",
            ),
            "SELECT score(id) AS s FROM people",
        ),
    ];
    expect![[r#"
        email_domain(bigint) does not fit email_domain(text varchar) → varchar
        email_domain() does not fit email_domain(text varchar) → varchar
        there is no function 'email_domian' (did you mean 'email_domain'?)
        text.wasm has no function 'nobody' (there is 'deep', 'email_domain', 'endless', 'greeting', 'hungry', 'keeps', 'kind_of', 'no_text', 'not_it', 'one', 'or_zero', 'positive', 'score', 'score_all', 'talkative', 'too_few' and 'trap')
        there is a function 'upper' already (give this one another name; `function` says what the module calls it)
        cannot read nowhere.wasm: No such file or directory (os error 2) (`millstream udf inspect FILE` shows what a file has)
        there is no function 'g'
        functions are in wasm, not in java (any language that compiles to WebAssembly will do: LANGUAGE wasm)
        function 'f' has no language (write CREATE FUNCTION name LANGUAGE wasm AS 'file.wasm')
        'memory': a size is a number and a unit, such as '512MB' or '2GiB'
        'time': a duration is a number and a unit, such as '90s', '1 hour' or '500ms'
        'stack' must be from 64KiB to 64MiB
        this is 'true' or 'false'
        functions have no setting 'memroy' (did you mean 'memory'?)"#]].assert_eq(&told.join("\n").replace(&module(), "text.wasm"));
}

#[test]
fn constants_are_computed_once_unless_a_function_says_otherwise() {
    let plan = |name: &str, call: &str| {
        let text = format!(
            "{}{SOURCES}INSERT INTO o SELECT id FROM people WHERE {call} = email;",
            declared(name, "")
        );
        let (pipeline, _) = load_text(PathBuf::from("f.sql"), text).unwrap();
        pipeline.queries[0].plan.display_indent().to_string()
    };
    assert!(plan("email_domain", "email_domain('a@b')").contains("Utf8(\"b\")"));
    assert!(plan("greeting", "greeting()").contains("greeting()"));
}

#[test]
fn table_functions_stand_in_from_in_all_spellings() {
    let functions = of_kinds("words", "") + &of_kinds("repeated", "");
    let columns =
        |query: &str| types(&functions, query).unwrap_or_else(|told| panic!("{query}: {told:?}"));
    let words = [DataType::Int64, DataType::Utf8, DataType::Int32];
    for from in [
        "people, words(email) AS w",
        "people, LATERAL words(email) w",
        "people CROSS JOIN LATERAL TABLE(words(email)) AS w(word, position)",
        "people, LATERAL TABLE(WORDS(people.email)) AS w",
        "people LEFT JOIN LATERAL TABLE(words(email)) AS w ON TRUE",
        "people LEFT JOIN words(text => people.email) AS w ON TRUE",
    ] {
        assert_eq!(columns(&format!("SELECT id, w.word, w.position FROM {from}")), words, "{from}");
    }
    // Without another name it has its own, and its column, where it has one.
    assert_eq!(columns("SELECT words.word FROM people, words(email)"), [DataType::Utf8]);
    assert_eq!(columns("SELECT repeated FROM people, repeated(id, 2)"), [DataType::Int64]);
    assert_eq!(
        columns("SELECT r, o FROM people, repeated(id, 2) WITH ORDINALITY AS r(r, o)"),
        [DataType::Int64, DataType::Int64]
    );
    // A scalar function gives one row.
    let with_scalar = functions.clone() + &of_kinds("score", "");
    let query = "SELECT id, s, score FROM people, score(id) AS a(s), LATERAL TABLE(score(s))";
    assert_eq!(types(&with_scalar, query).unwrap(), [const { DataType::Int64 }; 3]);
    // As a value it is the list of its rows.
    assert_eq!(
        columns("SELECT array_length(words(email)) AS n, words(email)[1]['word'] AS w FROM people"),
        [DataType::UInt64, DataType::Utf8]
    );
}

#[test]
fn arguments_have_names_and_defaults() {
    let functions = of_kinds("first_of", "") + &of_kinds("round_to", "");
    let renamed = of_kinds("first_of", "WITH ('arguments' = 'a, b = ''x'', c = ''y''')");
    let good = |functions: &str, call: &str| {
        let query = format!("SELECT {call} AS v FROM people");
        types(functions, &query).unwrap_or_else(|told| panic!("{call}: {told:?}"))
    };
    for call in [
        "first_of(first => email, second => 'b', otherwise => 'c')",
        "first_of(email, otherwise => 'c', second => 'b')",
        "FIRST_OF(SECOND => email, first => upper('b'), otherwise := 'c')",
    ] {
        assert_eq!(good(&functions, call), [DataType::Utf8], "{call}");
    }
    for call in
        ["first_of(a => email)", "first_of(email, c => email)", "first_of(c => 'z', a => '')"]
    {
        assert_eq!(good(&renamed, call), [DataType::Utf8], "{call}");
    }
    let of = |functions: &str, call: &str| {
        types(functions, &format!("SELECT {call} AS v FROM people")).unwrap_err().join("\n")
    };
    let told = [
        of(&functions, "first_of(frist => email)"),
        of(&functions, "first_of(email, first => email)"),
        of(&functions, "first_of(second => email)"),
        of(&functions, "first_of(second => email, email)"),
        of(&of_kinds("first_of", "WITH ('arguments' = 'a, b')"), "1"),
        of(&of_kinds("first_of", "WITH ('arguments' = 'a b')"), "1"),
        of(&of_kinds("round_to", "WITH ('arguments' = 'a, b = ''c''')"), "1"),
    ];
    let module = module().replace("text.wasm", "kinds.wasm");
    expect![[r#"
        first_of: it has no argument 'frist' (it is first_of(first varchar, second varchar, otherwise varchar = '?') → varchar)
        first_of: argument 'first' is given twice (it is first_of(first varchar, second varchar, otherwise varchar = '?') → varchar)
        first_of: argument 'first' is not given (it is first_of(first varchar, second varchar, otherwise varchar = '?') → varchar)
        an argument without a name stands behind one with a name
        2 arguments are named, and it is first_of(first varchar, second varchar, otherwise varchar = '?') → varchar (such as "text, separator = ','": a name for each, perhaps with a default)
        'arguments': sql parser error: Expected: EOF, found: b at Line: 1, Column: 3 (such as "text, separator = ','": a name for each, perhaps with a default)
        'round_to': the default of 'b' is no int: Arrow error: Cast error: Cannot cast string 'c' to value of Int32 type"#]].assert_eq(&told.join("\n").replace(&module, "kinds.wasm"));
}

#[test]
fn steps_call_functions() {
    let columns = |step: &str| {
        let text = format!(
            "[udfs]
words.file = \"{module}\"
first_of.file = \"{module}\"

[sources.people]
topic = \"people\"
format = \"json\"
columns = {{ id = \"bigint\", email = \"text\" }}

[[queries]]
name = \"q\"
from = \"people\"
steps = [{{ filter = \"id > 0\" }}, {step}]
sink = {{ topic = \"out\" }}
",
            module = module().replace("text.wasm", "kinds.wasm")
        );
        let (pipeline, _) = load_text(PathBuf::from("f.toml"), text).map_err(|told| {
            let told = told.0.iter().map(|mistake| mistake.message.clone());
            told.collect::<Vec<_>>().join("\n")
        })?;
        let fields = pipeline.queries[0].plan.schema().inner().fields().clone();
        let fields = fields.iter().map(|field| format!("{} {}", field.name(), field.data_type()));
        Ok::<_, String>(fields.collect::<Vec<_>>().join(", "))
    };
    let told = [
        r#"{ udf = "first_of", args = ["email", "'x'"], as = "e" }"#,
        r#"{ udf = "first_of", args = { second = "email", first = "upper(email)" }, keep = ["id"] }"#,
        r#"{ udf = "words", args = ["email"], as = ["word", "place"] }"#,
        r#"{ udf = "words", args = { text = "email" }, as = ["word", "place"], keep = [] }"#,
        r#"{ udf = "words", args = ["email"], as = ["w"], keep = ["email"] }"#,
        r#"{ udf = "words", args = ["email"], as = ["a", "b", "c"] }"#,
        r#"{ udf = "wrods", args = ["email"], as = "a" }"#,
        r#"{ udf = "words", args = ["id"], as = ["a", "b"], keep = ["name"] }"#,
        r#"{ udf = "words", args = ["email"], as = [] }"#,
        r#"{ udf = "words", arg = ["email"], as = "w" }"#,
    ]
    .map(|step| columns(step).unwrap_or_else(|told| told));
    expect![[r#"
        id Int64, email Utf8, e Utf8
        id Int64, first_of Utf8
        id Int64, email Utf8, word Utf8, place Int32
        word Utf8, place Int32
        email Utf8, w Struct("word": Utf8, "position": Int32)
        2 columns come of this (word, position), and 3 have names
        there is no function 'wrods'
        words(bigint) does not fit words(text varchar) → table of row<word varchar, position int>
        there is no column 'name' here
        'as' names no column
        words() does not fit words(text varchar) → table of row<word varchar, position int>
        unknown key 'arg' in step 2"#]]
    .assert_eq(&told.join("\n"));
}

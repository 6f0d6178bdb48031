//! `millstream udf new`, as a new user takes it: each language's folder is whole, and is built,
//! tested and called as its README says where the language's tools are found.
//!
//! `MILLSTREAM_UDF_TOOLCHAINS=1` says that they have to be, or those of the languages that it names.

mod fixture;
#[path = "../udfs/tests/toolchains/mod.rs"]
mod toolchains;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use expect_test::expect;
use fixture::{ROOT, fail, stdout, succeed};
use tempfile::{TempDir, tempdir};

const LANGUAGES: [&str; 10] =
    ["rust", "c", "cpp", "zig", "go", "assemblyscript", "javascript", "python", "wat", "csharp"];

/// A folder with a function called `mail_host`, which the templates call otherwise.
fn made(language: &str) -> TempDir {
    let dir = tempdir().unwrap();
    succeed(dir.path(), &["udf", "new", "--lang", language, "mail-host"]);
    dir
}

/// The texts in a folder, by their paths from there.
fn texts(folder: &Path) -> BTreeMap<String, String> {
    fn collect(folder: &Path, root: &Path, found: &mut BTreeMap<String, String>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                collect(&path, root, found);
            } else {
                let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
                found.insert(name, fs::read_to_string(&path).unwrap());
            }
        }
    }
    let mut found = BTreeMap::new();
    collect(folder, folder, &mut found);
    found
}

/// What the project has for guests in a language, as the language's authors need it.
fn guests(language: &str) -> BTreeMap<String, String> {
    let folder = if language == "cpp" { "c" } else { language };
    let folder = Path::new(ROOT).join("udfs/guests").join(folder);
    // Cargo builds there, at times.
    let is_ours = |path: &str| {
        !["README.md", "Cargo.lock", "go.mod"].contains(&path) && !path.starts_with("target/")
    };
    let there = if folder.is_dir() { readable(&folder) } else { BTreeMap::new() };
    there.into_iter().filter(|(path, _)| is_ours(path)).collect()
}

/// As [`texts`], past what is built there.
fn readable(folder: &Path) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        if path.is_file() {
            found.insert(name, fs::read_to_string(&path).unwrap());
        } else if name != "target" {
            let within = readable(&path).into_iter();
            found.extend(within.map(|(path, text)| (format!("{name}/{path}"), text)));
        }
    }
    found
}

#[test]
fn every_folder_is_whole() {
    for language in LANGUAGES {
        let dir = made(language);
        let folder = dir.path().join("mail-host");
        let files = texts(&folder);
        // Guests are as in the repository, and all of them.
        let guests = guests(language);
        for (path, text) in &guests {
            let is_written = files.values().any(|file| file == text);
            assert!(is_written, "{language}: {path} has to stand in src/cli/udf/new/language.rs");
        }
        let wit = fs::read_to_string(Path::new(ROOT).join("udfs/wit/udf.wit")).unwrap();
        let is_own = |text: &String| *text != wit && !guests.values().any(|guest| guest == text);
        let own = files.iter().filter(|(_, text)| is_own(text));
        for (path, text) in own {
            for name in ["email_domain", "email-domain", "emailDomain", "EmailDomain"] {
                assert!(!path.contains(name) && !text.contains(name), "{language}: {path}: {name}");
            }
        }
        // What is told of is there, or is built.
        let readme = &files["README.md"];
        for named in readme.split('`').skip(1).step_by(2) {
            let ends = [".c", ".cpp", ".cs", ".go", ".h", ".js", ".jsonl", ".py", ".rs", ".sh"];
            let more = [".toml", ".ts", ".wat", ".wit", ".zig"];
            let is_file = ends.iter().chain(&more).any(|end| named.ends_with(end));
            if is_file && !named.contains(' ') {
                let known = files.keys().any(|path| path.ends_with(named));
                assert!(known, "{language}: there is no {named}");
            }
        }
        let module = if language == "wat" { "mail_host.wat" } else { "mail_host.wasm" };
        let declared = format!("[udfs.mail_host]\nfile = \"{module}\"\n");
        assert!(files["pipeline.toml"].contains(&declared) && readme.contains(&declared));
        let wit = "wit = \"mail_host.wit\"";
        assert_eq!(files["pipeline.toml"].contains(wit), readme.contains(wit), "{language}");
        assert_eq!(readme.contains("--wit mail_host.wit"), readme.contains(wit), "{language}");
        assert_eq!(readme.contains("./build.sh"), files.contains_key("build.sh"), "{language}");
        assert_eq!(files.contains_key("build.sh"), language != "wat");
        if language != "wat" {
            use std::os::unix::fs::PermissionsExt;
            let build = fs::metadata(folder.join("build.sh")).unwrap();
            assert_eq!(build.permissions().mode() & 0o111, 0o111, "{language}");
        }
    }
}

/// The examples are built by the same versions of tools, which are installed once for both.
#[test]
fn tools_are_those_of_the_examples() {
    let examples = Path::new(ROOT).join("examples/udfs");
    for language in ["assemblyscript", "javascript"] {
        let tools = |package: &str| {
            let package: serde_json::Value = serde_json::from_str(package).unwrap();
            package["devDependencies"].to_string()
        };
        let example = fs::read_to_string(examples.join(language).join("package.json")).unwrap();
        let made = &texts(made(language).path())["mail-host/package.json"];
        assert_eq!(tools(made), tools(&example));
    }
    for language in ["python", "zig"] {
        let example = fs::read_to_string(examples.join(language).join("README.md")).unwrap();
        let made = &texts(made(language).path())["mail-host/requirements.txt"];
        assert!(example.contains(made), "{language}: {made}");
    }
}

#[test]
fn it_is_told_what_was_made_and_what_comes_next() {
    let dir = tempdir().unwrap();
    let made = succeed(dir.path(), &["udf", "new", "--lang", "c", "my functions/slug"]);
    expect![[r#"
        made a function in C in my functions/slug:
          README.md
          build.sh
          udf.c
          .gitignore
          millstream_udf.h
          pipeline.toml
          people.jsonl
        README.md says what to install; then
          cd 'my functions/slug'
          ./build.sh
          millstream test pipeline.toml
    "#]]
    .assert_eq(&String::from_utf8(made.stderr).unwrap());
    let slug = dir.path().join("slug-js");
    fs::create_dir(&slug).unwrap();
    let made = succeed(&slug, &["udf", "new", "--lang", "js", "."]);
    let told = String::from_utf8(made.stderr).unwrap();
    assert!(!told.contains("  cd "), "{told}");
    assert!(fs::read_to_string(slug.join("udf.js")).unwrap().contains("function slugJs(email)"));
}

#[test]
fn nothing_is_overwritten() {
    let dir = made("zig");
    let folder = dir.path().join("mail-host");
    fs::write(folder.join("udf.zig"), "mine").unwrap();
    let before = texts(&folder);
    let told = [
        fail(dir.path(), &["udf", "new", "--lang", "zig", "mail-host"], 2),
        fail(dir.path(), &["udf", "new", "--lang", "wat", "mail-host"], 2),
    ];
    expect![[r#"
        error: mail-host has README.md, build.sh, udf.zig, requirements.txt, .gitignore, millstream.zig, pipeline.toml, people.jsonl already
          help: nothing was written: name another directory, or move those away
        error: mail-host has README.md, .gitignore, pipeline.toml, people.jsonl already
          help: nothing was written: name another directory, or move those away
    "#]]
    .assert_eq(&told.concat());
    assert_eq!(texts(&folder), before);
    // What is in nobody's way stays.
    let other = dir.path().join("other");
    fs::create_dir(&other).unwrap();
    fs::write(other.join("notes.txt"), "mine").unwrap();
    succeed(dir.path(), &["udf", "new", "--lang", "zig", "other"]);
    assert_eq!(fs::read_to_string(other.join("notes.txt")).unwrap(), "mine");
    fs::write(dir.path().join("file"), "mine").unwrap();
    let told = fail(dir.path(), &["udf", "new", "--lang", "zig", "file"], 1);
    assert!(told.starts_with("error: cannot write file/README.md: "), "{told}");
}

#[test]
fn names_are_words_for_all_who_read_them() {
    let dir = tempdir().unwrap();
    let told = |lang: &str, name: &str| fail(dir.path(), &["udf", "new", "--lang", lang, name], 2);
    let told = [
        told("rust", "Mail Host"),
        told("rust", "mail__host"),
        told("rust", "2nd"),
        told("c", &"a".repeat(64)),
        told("wat", "lower"),
        told("wat", "select"),
        told("c#", "option"),
        told("rust", "match"),
        told("zig", "email"),
        told("c#", "to-string"),
        told("wat", "memory"),
    ];
    expect![[r#"
        error: a function cannot be called 'Mail Host'
          help: a name is of letters from a to z and digits, 63 at most, in words that begin with a letter, with _ or - between them, such as email_domain
        error: a function cannot be called 'mail__host'
          help: a name is of letters from a to z and digits, 63 at most, in words that begin with a letter, with _ or - between them, such as email_domain
        error: a function cannot be called '2nd'
          help: a name is of letters from a to z and digits, 63 at most, in words that begin with a letter, with _ or - between them, such as email_domain
        error: a function cannot be called 'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa'
          help: a name is of letters from a to z and digits, 63 at most, in words that begin with a letter, with _ or - between them, such as email_domain
        error: a function cannot be called 'lower': SQL has one of that name
          help: take another name, such as my_lower
        error: a function cannot be called 'select': it is a word of SQL
          help: take another name, such as my_select
        error: a function cannot be called 'option': it is a word of WIT
          help: take another name, such as my_option
        error: a function cannot be called 'match': Rust has that name for something else
          help: take another name, such as my_match
        error: a function cannot be called 'email': Zig has that name for something else
          help: take another name, such as my_email
        error: a function cannot be called 'to_string': C# has that name for something else
          help: take another name, such as my_to_string
        error: a function cannot be called 'memory': WAT has that name for something else
          help: take another name, such as my_memory
    "#]].assert_eq(&told.concat());
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    // A name that has the templates' own in it.
    succeed(dir.path(), &["udf", "new", "--lang", "javascript", "my-email-domain"]);
    let written = fs::read_to_string(dir.path().join("my-email-domain/udf.js")).unwrap();
    assert!(written.contains("function myEmailDomain(email)"), "{written}");
}

#[test]
fn it_is_said_which_languages_there_are() {
    let dir = tempdir().unwrap();
    let told = fail(dir.path(), &["udf", "new"], 2) + &fail(dir.path(), &["udf", "new", "slug"], 2);
    expect![[r#"
        error: in which language?
          help: --lang rust|c|cpp|zig|go|assemblyscript|javascript|python|wat|csharp
        error: in which language?
          help: --lang rust|c|cpp|zig|go|assemblyscript|javascript|python|wat|csharp
    "#]]
    .assert_eq(&told);
    let told = fail(dir.path(), &["udf", "new", "--lang", "ruts", "slug"], 2);
    for language in LANGUAGES {
        assert!(told.contains(language), "{told}");
    }
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}

// --- a language after the other ---

/// Does all that the README says.
fn follow_readme(language: &str) {
    let dir = made(language);
    let folder = dir.path().join("mail-host");
    if !toolchains::is_to_be_built(language, &folder) {
        return;
    }
    let readme = fs::read_to_string(folder.join("README.md")).unwrap();
    let blocks = readme.split("```sh\n").skip(1).map(|rest| rest.split("```").next().unwrap());
    // How long it takes depends on who else is busy here, and a batch may take a second.
    let lines = blocks.flat_map(str::lines).filter(|line| !line.contains("udf bench"));
    let script: Vec<&str> = lines.collect();
    assert!(script.len() >= 6, "{readme}");
    let program = Path::new(env!("CARGO_BIN_EXE_millstream")).parent().unwrap();
    let path = format!("{}:{}", program.display(), std::env::var("PATH").unwrap());
    let mut command = toolchains::bash(&folder, &script.join("\n"));
    command.env("PATH", path).env_remove("MILLSTREAM_DATA_DIR").env_remove("MILLSTREAM_LOG");
    let printed = toolchains::succeed(command.env_remove("MILLSTREAM_BOOTSTRAP_SERVER")).unwrap();
    let said = |wanted: &str| assert!(printed.contains(wanted), "no {wanted} in {printed}");
    said("✓ the domain of an address, in lower case");
    said("✓ NULL where there is none");
    said("\nmail_host(email varchar) → varchar\n");
    said("\nexample.org\nNULL\n");
    said("{\"name\":\"Jürgen\",\"domain\":\"straße.de\"}\n{\"name\":\"Nobody\",\"domain\":null}\n");
    said("{\"domain\":\"example.org\"}\n");
}

#[test]
fn assemblyscript() {
    follow_readme("assemblyscript");
}

#[test]
fn c() {
    follow_readme("c");
}

#[test]
fn cpp() {
    follow_readme("cpp");
}

#[test]
fn go() {
    follow_readme("go");
}

#[test]
fn javascript() {
    follow_readme("javascript");
}

#[test]
fn python() {
    follow_readme("python");
}

#[test]
fn rust() {
    follow_readme("rust");
}

#[test]
fn wat() {
    follow_readme("wat");
}

#[test]
fn zig() {
    follow_readme("zig");
}

/// Its memory is its own affair: it has to grow, and to be free again.
#[test]
fn wat_takes_text_of_any_length() {
    let dir = made("wat");
    let folder = dir.path().join("mail-host");
    let long = format!("{}@Example.ORG", "ä".repeat(50_000));
    let call = ["udf", "call", "--wit", "mail_host.wit", "mail_host.wat", "mail_host", &long];
    assert_eq!(stdout(&succeed(&folder, &call)), "example.org\n");
    let bench = ["udf", "bench", "--wit", "mail_host.wit", "mail_host.wat", "mail_host"];
    // In 4 MB; some 10,000,000 texts of 25 bytes have more.
    let told = stdout(&succeed(&folder, &[&bench[..], &["--memory", "4MB"]].concat()));
    assert!(told.contains("M rows/s"), "{told}");
}

/// The tests that a folder has can fail.
#[test]
fn a_function_that_answers_wrong_fails_its_tests() {
    let dir = made("wat");
    let folder = dir.path().join("mail-host");
    let source = fs::read_to_string(folder.join("mail_host.wat")).unwrap();
    // Not even the @ is looked for.
    fs::write(folder.join("mail_host.wat"), source.replace("(i32.const 64)", "(i32.const 63)"))
        .unwrap();
    let told = fail(&folder, &["test", "pipeline.toml"], 1);
    assert!(told.contains("1 of 2 tests failed"), "{told}");
}

//! The languages, and the files of each.
//!
//! What is in `templates` is a function called `email_domain`, with files as a user has them:
//! another name is put where that one stands. What guests need stands in `udfs/guests` and in
//! `udfs/wit` alone, and is written as it is there.

use clap::ValueEnum;

use super::name::{EXAMPLE, Name};

/// What builds a function, in all languages.
pub const BUILD: &str = "build.sh";

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Language {
    Rust,
    C,
    #[value(alias = "c++")]
    Cpp,
    Zig,
    Go,
    #[value(alias = "as")]
    Assemblyscript,
    #[value(alias = "js")]
    Javascript,
    #[value(alias = "py")]
    Python,
    Wat,
    #[value(alias = "c#")]
    Csharp,
}

/// A file of a folder that is made.
#[derive(Clone, Debug)]
pub struct File {
    pub path: String,
    pub text: String,
    pub is_executable: bool,
    /// It names the function.
    is_template: bool,
}

impl File {
    fn template(path: &str, text: &str) -> File {
        let is_executable = path == BUILD;
        File { path: path.to_owned(), text: text.to_owned(), is_executable, is_template: true }
    }

    fn guest(path: &str, text: &str) -> File {
        let text = text.to_owned();
        File { path: path.to_owned(), text, is_executable: false, is_template: false }
    }

    /// The same for a function of this name.
    pub fn of(mut self, name: &Name) -> File {
        self.path = name.put_into(&self.path);
        if self.is_template {
            self.text = name.put_into(&self.text);
        }
        self
    }
}

macro_rules! templates {
    ($folder:literal: $($file:literal),*) => {
        vec![$(File::template($file, include_str!(concat!("../templates/", $folder, $file)))),*]
    };
}

macro_rules! guests {
    ($from:literal to $to:literal: $($file:literal),*) => {
        vec![$(File::guest(concat!($to, $file), include_str!(concat!(
            env!("CARGO_MANIFEST_DIR"), "/udfs/", $from, $file
        )))),*]
    };
}

impl Language {
    /// As on the command line.
    pub fn word(self) -> String {
        let value = self.to_possible_value().expect("no language is skipped");
        value.get_name().to_owned()
    }

    /// As people write it.
    pub fn title(self) -> &'static str {
        match self {
            Language::Rust => "Rust",
            Language::C => "C",
            Language::Cpp => "C++",
            Language::Zig => "Zig",
            Language::Go => "Go",
            Language::Assemblyscript => "AssemblyScript",
            Language::Javascript => "JavaScript",
            Language::Python => "Python",
            Language::Wat => "WAT",
            Language::Csharp => "C#",
        }
    }

    /// Whether types stand in a WIT that goes with the module, since it does not carry them.
    fn goes_with_wit(self) -> bool {
        self == Language::Wat
    }

    /// The files of a function that is called as the templates call it.
    pub fn files(self) -> Vec<File> {
        let mut files = self.own_files();
        let readme = files.iter_mut().find(|file| file.path == "README.md");
        readme.expect("each language has one").text += include_str!("../templates/use.md");
        files.extend(templates!("": "pipeline.toml", "people.jsonl"));
        for file in files.iter_mut().filter(|file| file.is_template) {
            if !self.goes_with_wit() {
                file.text = without_wit(&file.text);
            }
            if self == Language::Wat {
                file.text =
                    file.text.replace(&format!("{EXAMPLE}.wasm"), &format!("{EXAMPLE}.wat"));
            }
        }
        files
    }

    fn own_files(self) -> Vec<File> {
        let header = || guests!("guests/c/" to "": "millstream_udf.h");
        let (mut files, guests) = match self {
            Language::Rust => {
                let own = templates!("rust/":
                    "README.md", "build.sh", "src/lib.rs", "Cargo.toml", ".gitignore");
                let guests = guests!("guests/rust/" to "millstream-udf/":
                    "Cargo.toml", "examples/http.rs", "examples/kinds.rs", "examples/strict.rs",
                    "examples/typed.rs", "macros/Cargo.toml", "macros/src/lib.rs", "src/abi.rs",
                    "src/aggregate.rs", "src/host.rs", "src/http.rs", "src/input.rs", "src/lib.rs",
                    "src/macros.rs", "src/output.rs", "src/types.rs");
                (own, guests)
            }
            Language::C => {
                (templates!("c/": "README.md", "build.sh", "udf.c", ".gitignore"), header())
            }
            Language::Cpp => {
                (templates!("cpp/": "README.md", "build.sh", "udf.cpp", ".gitignore"), header())
            }
            Language::Zig => {
                let own = templates!("zig/":
                    "README.md", "build.sh", "udf.zig", "requirements.txt", ".gitignore");
                (own, guests!("guests/zig/" to "": "millstream.zig"))
            }
            Language::Go => {
                let own = templates!("go/":
                    "README.md", "build.sh", "udf.go", "go.mod", ".gitignore");
                let guests = guests!("guests/go/" to "millstream/":
                    "columns.go", "http.go", "millstream.go", "states.go");
                (own, guests)
            }
            Language::Assemblyscript => {
                let own = templates!("assemblyscript/":
                    "README.md", "build.sh", "udf.ts", "package.json", ".gitignore");
                (own, guests!("guests/assemblyscript/" to "": "millstream.ts", "names.mjs"))
            }
            Language::Javascript => {
                let own = templates!("javascript/":
                    "README.md", "build.sh", "udf.js", "build.mjs", "package.json",
                    ".gitignore");
                let mut guests = guests!("guests/javascript/" to "":
                    "millstream.js", "millstream_http.js");
                guests.extend(guests!("wit/" to "": "udf.wit"));
                (own, guests)
            }
            Language::Python => {
                let own = templates!("python/":
                    "README.md", "build.sh", "udf.py", "requirements.txt", ".gitignore");
                let mut guests = guests!("guests/python/" to "":
                    "millstream.py", "millstream_http.py");
                guests.extend(guests!("wit/" to "": "udf.wit"));
                (own, guests)
            }
            Language::Wat => {
                let own = templates!("wat/":
                    "README.md", "email_domain.wat", "email_domain.wit", ".gitignore");
                (own, Vec::new())
            }
            Language::Csharp => {
                let own = templates!("csharp/":
                    "README.md", "build.sh", "udf.cs", "email_domain.wit", "udf.csproj",
                    ".gitignore");
                (own, Vec::new())
            }
        };
        files.extend(guests);
        files
    }
}

/// What the templates say of the file with the types, left out.
fn without_wit(text: &str) -> String {
    let mut text = text.to_owned();
    for said in ["wit = \"email_domain.wit\"\n", " WITH ('wit' = 'email_domain.wit')"] {
        text = text.replace(said, "");
    }
    text.replace("--wit email_domain.wit ", "")
}

//! What a function can be called: a word of SQL, of its language and of WIT alike.

use engine::plan::user_functions::is_built_in;

use super::language::Language;
use crate::cli::Failure;

/// What the function in the templates is called.
pub const EXAMPLE: &str = "email_domain";

/// As PostgreSQL has it.
const LENGTH_MAX: usize = 63;

/// A name of lower-case words, each of letters and digits, a letter first.
#[derive(Debug)]
pub struct Name {
    words: Vec<String>,
}

impl Name {
    /// The name that a directory is to have, `-` meaning `_`.
    pub fn of(given: &str, language: Language) -> Result<Name, Failure> {
        let words: Vec<String> = given.split(['_', '-']).map(str::to_owned).collect();
        if given.len() > LENGTH_MAX || !words.iter().all(|word| is_word(word)) {
            let message = format!("a function cannot be called '{given}'");
            let help = format!(
                "a name is of letters from a to z and digits, {LENGTH_MAX} at most, in words that \
                 begin with a letter, with _ or - between them, such as {EXAMPLE}"
            );
            return Err(Failure::usage(message).with_help(help));
        }
        let name = Name { words };
        match name.taken_by(language) {
            None => Ok(name),
            Some(by) => {
                let name = name.words.join("_");
                let message = format!("a function cannot be called '{name}': {by}");
                let help = format!("take another name, such as my_{name}");
                Err(Failure::usage(message).with_help(help))
            }
        }
    }

    /// Why the name is not free, if it is not.
    fn taken_by(&self, language: Language) -> Option<String> {
        let name = self.words.join("_");
        if is_built_in(&name) {
            return Some("SQL has one of that name".to_owned());
        }
        if is_among(SQL, &name) {
            return Some("it is a word of SQL".to_owned());
        }
        if has_wit(language) && is_among(WIT, &name) {
            return Some("it is a word of WIT".to_owned());
        }
        if reserved(language).iter().any(|words| is_among(words, &name)) {
            return Some(format!("{} has that name for something else", language.title()));
        }
        None
    }

    /// The text of a template with this name in place of its own.
    pub fn put_into(&self, template: &str) -> String {
        let example = Name { words: EXAMPLE.split('_').map(str::to_owned).collect() };
        let (from, to) = (example.spellings(), self.spellings());
        let (mut text, mut rest) = (String::new(), template);
        // Once from front to back: the new name may have the old one in it.
        while let Some((at, which)) =
            (0..from.len()).filter_map(|which| Some((rest.find(&from[which])?, which))).min()
        {
            text += &rest[..at];
            text += &to[which];
            rest = &rest[at + from[which].len()..];
        }
        text + rest
    }

    /// As languages spell it: email_domain, email-domain, emailDomain, EmailDomain.
    fn spellings(&self) -> [String; 4] {
        let pascal: String = self.words.iter().map(|word| capitalized(word)).collect();
        let camel = self.words[0].clone() + &pascal[self.words[0].len()..];
        [self.words.join("_"), self.words.join("-"), camel, pascal]
    }
}

fn is_word(word: &str) -> bool {
    let is_of = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    word.starts_with(|c: char| c.is_ascii_lowercase()) && word.bytes().all(is_of)
}

fn capitalized(word: &str) -> String {
    word[..1].to_ascii_uppercase() + &word[1..]
}

fn is_among(words: &str, name: &str) -> bool {
    words.split_whitespace().any(|word| word == name)
}

/// Whether the function's types are in WIT.
fn has_wit(language: Language) -> bool {
    matches!(language, Language::Csharp | Language::Wat)
}

/// Words that would be read as something else, or that people would stumble over.
const SQL: &str = "all and any array as asc between by case cast create cross current_catalog \
    current_user delete desc distinct drop else end except exists extract false fetch for from \
    full group having in inner insert intersect interval into is join lateral like limit \
    localtime localtimestamp natural not null offset on or order outer over partition select \
    session_user set table then to top true union unnest update user using values view when \
    where window with";

const WIT: &str = "as async bool borrow char constructor enum export f32 f64 flags from func \
    future import include interface list option own package record resource result s16 s32 s64 \
    s8 static stream string tuple type u16 u32 u64 u8 use variant with world";

/// What a core module exports besides its functions.
const EXPORTS: &str = "memory cabi_realloc";

/// What cannot be the name of a function in a language's template.
fn reserved(language: Language) -> &'static [&'static str] {
    match language {
        Language::Rust => &[RUST],
        // They have a name of more words.
        Language::C | Language::Cpp => &[],
        Language::Zig => &[ZIG],
        Language::Go => &[GO],
        // Its function has no name but that in SQL.
        Language::Assemblyscript => &[],
        Language::Javascript => &[SCRIPT],
        Language::Python => &[PYTHON],
        Language::Wat => &[EXPORTS],
        Language::Csharp => &[CSHARP],
    }
}

/// Keywords, and names that a package cannot have.
const RUST: &str = "abstract alloc as async await become box break build const continue core \
    crate deps do dyn else enum examples extern false final fn for gen if impl in incremental \
    let loop macro match millstream_udf mod move mut override priv proc_macro pub ref return \
    self static std struct super test trait true try type typeof unsafe unsized use virtual \
    where while yield";

/// Keywords, types, and names of the template, which nothing may shadow.
const ZIG: &str = "addrspace align allowzero and anyerror anyframe anyopaque anytype asm at bool \
    break callconv catch comptime const continue defer domain else email enum errdefer error \
    export extern f16 f32 f64 f80 f128 false fn for if inline isize linksection millstream \
    noalias noinline noreturn nosuspend null opaque or orelse packed panic pub resume return std \
    struct suspend switch test threadlocal true try type undefined union unreachable usize var \
    void volatile while";

const GO: &str = "any append bool break byte cap case chan clear close comparable complex \
    complex128 complex64 const continue copy default defer delete else error fallthrough false \
    float32 float64 for func given go goto if imag import init int int16 int32 int64 int8 \
    interface iota len main make map max millstream min new nil package panic print println range \
    real recover return rune select string strings struct switch true type uint uint16 uint32 \
    uint64 uint8 uintptr var";

/// Keywords, and what the template calls.
const SCRIPT: &str = "arguments async await break case catch class const continue debugger \
    default delete do else enum eval export extends false finally for function if implements \
    import in instanceof interface let new null package private protected public return scalar \
    static super switch this throw true try typeof undefined var void while with yield";

/// Keywords, and what the template calls.
const PYTHON: &str = "aggregate and as assert async await break class continue def del elif else \
    except finally for from global if import in is lambda nonlocal not or pass print raise return \
    scalar str try while with yield";

/// What every class has, since C# capitalizes a function's name.
const CSHARP: &str = "equals finalize functions_exports_impl get_hash_code get_type \
    memberwise_clone reference_equals to_string";

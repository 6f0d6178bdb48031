//! The attribute and the derives of `millstream-udf`: they read a function, an `impl` or a struct,
//! and say to the macros of that crate what it is like.

use proc_macro::{Delimiter, Group, Ident, Punct, Spacing, Span, TokenStream, TokenTree};

type Tokens = Vec<TokenTree>;

/// Makes a function of a plain one, or of an `impl Aggregate`. The documentation of
/// `millstream_udf` tells what can be said in brackets.
#[proc_macro_attribute]
pub fn udf(options: TokenStream, item: TokenStream) -> TokenStream {
    let tokens: Tokens = item.clone().into_iter().collect();
    let declared = Options::read(options).and_then(|options| {
        let is_impl = tokens.iter().any(|token| is(token, "impl"))
            && !tokens.iter().any(|token| is(token, "fn"));
        match is_impl {
            true => aggregate(&options, &tokens),
            false => function(&options, &tokens),
        }
    });
    let declared = declared.unwrap_or_else(|mistake| mistake.tokens());
    item.into_iter().chain(declared).collect()
}

/// A struct that can be an argument or a result: `row<…>` in SQL.
#[proc_macro_derive(Row)]
pub fn row(item: TokenStream) -> TokenStream {
    let found = Struct::read(item).map(|Struct { name, life, fields }| {
        let (row, life, input) = match life {
            Some(life) => (format!("{name}<{life}>"), life.clone(), life),
            None => (name.clone(), String::new(), "'a".to_owned()),
        };
        format!("::millstream_udf::row_type!([{row}] [{life}] [{input}] {name}, {fields});")
    });
    parsed(found)
}

/// A struct that is the state of an aggregate: its fields are kept in their order.
#[proc_macro_derive(State)]
pub fn state(item: TokenStream) -> TokenStream {
    let found = Struct::read(item).map(|Struct { name, fields, .. }| {
        format!("::millstream_udf::state_type!({name}, {fields});")
    });
    parsed(found)
}

struct Mistake(Span, String);

impl Mistake {
    fn tokens(self) -> TokenStream {
        let text = source(&format!("compile_error! {{ {:?} }}", self.1));
        text.into_iter()
            .map(|mut token| {
                token.set_span(self.0);
                token
            })
            .collect()
    }
}

/// What this crate has written, as tokens.
fn source(text: &str) -> TokenStream {
    text.parse().expect("it is made of tokens that were read")
}

fn parsed(text: Result<String, Mistake>) -> TokenStream {
    match text {
        Ok(text) => source(&text),
        Err(mistake) => mistake.tokens(),
    }
}

fn is(token: &TokenTree, word: &str) -> bool {
    match token {
        TokenTree::Ident(_) | TokenTree::Punct(_) => token.to_string() == word,
        _ => false,
    }
}

fn group(token: Option<&TokenTree>, delimiter: Delimiter) -> Option<Tokens> {
    match token {
        Some(TokenTree::Group(group)) if group.delimiter() == delimiter => {
            Some(group.stream().into_iter().collect())
        }
        _ => None,
    }
}

/// The parts between commas that are not within `<` and `>`.
fn parts(tokens: &[TokenTree]) -> Vec<Tokens> {
    let (mut parts, mut part, mut depth, mut before) = (Vec::new(), Vec::new(), 0, ' ');
    for token in tokens {
        let c = if let TokenTree::Punct(punct) = token { punct.as_char() } else { ' ' };
        match c {
            '<' => depth += 1,
            '>' if before != '-' => depth -= 1,
            _ => {}
        }
        match c == ',' && depth == 0 {
            true => parts.push(std::mem::take(&mut part)),
            false => part.push(token.clone()),
        }
        before = c;
    }
    parts.push(part);
    parts.retain(|part| !part.is_empty());
    parts
}

/// With `'_` for each lifetime: where it is used nobody has declared them.
fn without_lifetimes(tokens: &[TokenTree]) -> TokenStream {
    let mut is_lifetime = false;
    let replaced = tokens.iter().map(|token| match token {
        TokenTree::Ident(ident) if is_lifetime => {
            is_lifetime = false;
            let name = ident.to_string();
            let name = if name == "static" { "static" } else { "_" };
            Ident::new(name, ident.span()).into()
        }
        TokenTree::Group(group) => {
            let within: Tokens = group.stream().into_iter().collect();
            Group::new(group.delimiter(), without_lifetimes(&within)).into()
        }
        _ => {
            is_lifetime = is(token, "'");
            token.clone()
        }
    });
    replaced.collect()
}

/// What stands in brackets.
#[derive(Default)]
struct Options {
    is_table: bool,
    is_volatile: bool,
    retracts: bool,
    name: Option<String>,
    /// Of arguments, by their names.
    defaults: Vec<(String, TokenTree)>,
}

impl Options {
    fn read(stream: TokenStream) -> Result<Options, Mistake> {
        let mut options = Options::default();
        for part in parts(&stream.into_iter().collect::<Tokens>()) {
            let within = group(part.get(1), Delimiter::Parenthesis);
            match (part[0].to_string().as_str(), part.get(2), within) {
                ("table", None, None) => options.is_table = true,
                ("volatile", None, None) => options.is_volatile = true,
                ("retracts", None, None) => options.retracts = true,
                ("name", Some(name), _) => {
                    options.name = Some(name.to_string().trim_matches('"').to_owned());
                }
                ("default", None, Some(defaults)) => {
                    for default in parts(&defaults) {
                        let [name, _, value @ ..] = default.as_slice() else { continue };
                        let value = value.iter().cloned().collect();
                        let value = Group::new(Delimiter::None, value);
                        options.defaults.push((name.to_string(), value.into()));
                    }
                }
                (other, ..) => {
                    let known = "table, volatile, retracts, name = \"…\", default(argument = …)";
                    let message = format!("there is no '{other}' here, but {known}");
                    return Err(Mistake(part[0].span(), message));
                }
            }
        }
        Ok(options)
    }

    /// `::millstream_udf::function! { true, table name(argument: Type = "1") -> Type }`
    fn declared(
        &self,
        kind: &str,
        (name, called): (&str, &str),
        arguments: &[(String, TokenStream)],
        returns: TokenStream,
    ) -> Result<TokenStream, Mistake> {
        let known = |name: &String| arguments.iter().any(|(of, _)| of == name);
        if let Some((name, value)) = self.defaults.iter().find(|(name, _)| !known(name)) {
            return Err(Mistake(value.span(), format!("there is no argument '{name}'")));
        }
        let default = |name: &str| {
            let (_, value) = self.defaults.iter().find(|(of, _)| of == name)?;
            Some(value.to_string().trim().to_owned())
        };
        let arguments = arguments.iter().map(|(name, of)| match default(name) {
            Some(value) => format!("{name}: {of} = {value}"),
            None => format!("{name}: {of}"),
        });
        let arguments = arguments.collect::<Vec<_>>().join(", ");
        let is_deterministic = !self.is_volatile;
        let called = self.name.as_deref().unwrap_or(called);
        let text = format!(
            "::millstream_udf::function! {{ {is_deterministic}, {}, {called:?}, {kind} {name} \
             ({arguments}) -> {returns} }}",
            self.retracts
        );
        Ok(source(&text))
    }
}

/// The name and the type of a parameter.
fn parameter(tokens: &[TokenTree]) -> Result<(String, TokenStream), Mistake> {
    let wrong = |span| Mistake(span, "an argument is a name and a type".to_owned());
    let colon = tokens.iter().position(|token| is(token, ":"));
    let colon = colon.ok_or_else(|| wrong(tokens[0].span()))?;
    match tokens[..colon].iter().rfind(|token| !is(token, "mut")) {
        Some(TokenTree::Ident(name)) => {
            Ok((name.to_string(), without_lifetimes(&tokens[colon + 1..])))
        }
        _ => Err(wrong(tokens[0].span())),
    }
}

fn function(options: &Options, tokens: &[TokenTree]) -> Result<TokenStream, Mistake> {
    let wrong = |message: &str| Mistake(Span::call_site(), message.to_owned());
    let at = tokens.iter().position(|token| is(token, "fn"));
    let at = at.ok_or_else(|| wrong("it stands before a function, or an impl Aggregate"))?;
    let name = tokens[at + 1].to_string();
    let list =
        (at..tokens.len()).find(|at| group(tokens.get(*at), Delimiter::Parenthesis).is_some());
    let list = list.ok_or_else(|| wrong("it has no arguments"))?;
    let arguments = parts(&group(tokens.get(list), Delimiter::Parenthesis).unwrap_or_default());
    let arguments = arguments.iter().map(|of| parameter(of)).collect::<Result<Vec<_>, _>>()?;
    let rest = &tokens[list + 1..];
    let ends =
        |token: &TokenTree| is(token, "where") || group(Some(token), Delimiter::Brace).is_some();
    let end = rest.iter().position(ends).unwrap_or(rest.len());
    let returns = rest.get(2..end).filter(|returns| !returns.is_empty());
    let mut returns = returns.ok_or_else(|| wrong("it gives no value"))?.to_vec();
    let mut kind = "scalar";
    if options.is_table {
        kind = "table";
        returns = item(&returns)
            .ok_or_else(|| wrong("a table gives `impl Iterator<Item = …>` or `Vec<…>`"))?;
    }
    options.declared(kind, (&name, &name), &arguments, without_lifetimes(&returns))
}

/// What rows of a table are: of `impl Iterator<Item = …>`, or of `Vec<…>`.
fn item(returns: &[TokenTree]) -> Option<Tokens> {
    let from = match is(returns.first()?, "impl") {
        true => returns.iter().position(|token| is(token, "Item"))? + 2,
        false => returns.iter().position(|token| is(token, "<"))? + 1,
    };
    let mut depth = 1;
    let is_within = |token: &&TokenTree| {
        depth += i32::from(is(token, "<")) - i32::from(is(token, ">"));
        depth > 0
    };
    Some(returns.get(from..)?.iter().take_while(is_within).cloned().collect())
}

fn aggregate(options: &Options, tokens: &[TokenTree]) -> Result<TokenStream, Mistake> {
    let wrong = |message: &str| Mistake(Span::call_site(), message.to_owned());
    let at = tokens.iter().position(|token| is(token, "for"));
    let of = at.and_then(|at| tokens.get(at + 1));
    let of = of.ok_or_else(|| wrong("it stands before an impl Aggregate"))?.to_string();
    let body = group(tokens.last(), Delimiter::Brace).unwrap_or_default();
    let after = |words: [&str; 2]| {
        let mut pairs = body.windows(2);
        pairs.position(|pair| is(&pair[0], words[0]) && is(&pair[1], words[1])).map(|at| at + 2)
    };
    let value = after(["type", "Value"]).ok_or_else(|| wrong("it has no `type Value`"))?;
    let value: Tokens =
        body[value + 1..].iter().take_while(|token| !is(token, ";")).cloned().collect();
    let update = after(["fn", "update"]).ok_or_else(|| wrong("it has no `fn update`"))?;
    let update = (update..body.len()).find_map(|at| group(body.get(at), Delimiter::Parenthesis));
    let parameters = parts(&update.unwrap_or_default());
    let row = parameters.get(1).ok_or_else(|| wrong("`update` takes no row"))?;
    let colon = row.iter().position(|token| is(token, ":")).unwrap_or(0);
    let names = group(row.first(), Delimiter::Parenthesis);
    let arguments = match (names, group(row.get(colon + 1), Delimiter::Parenthesis)) {
        (Some(names), Some(types)) => {
            let colon = TokenTree::from(Punct::new(':', Spacing::Alone));
            let pairs = parts(&names).into_iter().zip(parts(&types));
            let pairs = pairs.map(|(name, of)| [name, vec![colon.clone()], of].concat());
            pairs.map(|pair| parameter(&pair)).collect::<Result<Vec<_>, _>>()?
        }
        _ => vec![parameter(row)?],
    };
    let called = snake_case(&of);
    options.declared("aggregate", (&of, &called), &arguments, without_lifetimes(&value))
}

/// `WeightedMean` as `weighted_mean`.
fn snake_case(name: &str) -> String {
    let mut snake = String::new();
    for c in name.chars() {
        if c.is_uppercase() && !snake.is_empty() {
            snake.push('_');
        }
        snake.extend(c.to_lowercase());
    }
    snake
}

/// A struct with named fields.
struct Struct {
    name: String,
    /// With its apostrophe.
    life: Option<String>,
    /// As they are written.
    fields: String,
}

impl Struct {
    fn read(item: TokenStream) -> Result<Struct, Mistake> {
        let tokens: Tokens = item.into_iter().collect();
        let wrong = || {
            let message = "it stands before a struct with named fields, with one lifetime at most";
            Mistake(Span::call_site(), message.to_owned())
        };
        let at = tokens.iter().position(|token| is(token, "struct")).ok_or_else(wrong)?;
        let fields = group(tokens.last(), Delimiter::Brace).ok_or_else(wrong)?;
        let name = tokens.get(at + 1).ok_or_else(wrong)?.to_string();
        let life = match tokens.get(at + 2..tokens.len() - 1) {
            None | Some([]) => None,
            Some([_, tick, life, _]) if is(tick, "'") => Some(format!("'{life}")),
            Some(_) => return Err(wrong()),
        };
        Ok(Struct { name, life, fields: fields.into_iter().collect::<TokenStream>().to_string() })
    }
}

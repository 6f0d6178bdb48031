//! SQL text to tokens that know their bytes in the file, and tokens to syntax.
//!
//! sqlparser places tokens by line and column of the text it was given, which may be a string
//! inside a TOML file, with escapes. Here every location is rewritten so that its column is a byte
//! offset in the file plus one, on line one. All that the parser and the planner report later is
//! then a place in the file, whatever the text went through.

use std::sync::Arc;

use datafusion_sql::sqlparser::ast;
use datafusion_sql::sqlparser::dialect::GenericDialect;
use datafusion_sql::sqlparser::keywords::Keyword;
use datafusion_sql::sqlparser::parser::{Parser, ParserError};
use datafusion_sql::sqlparser::tokenizer::{
    Location, Span as SqlSpan, Token, TokenWithSpan, Tokenizer, Whitespace,
};

use super::diagnostic::{Diagnostic, SourceFile, Span};
use super::lambdas::call_lambdas;
use super::{elsewhere, json_words};
use crate::plan::window_tables::PARTITION_BY;

pub(crate) static DIALECT: GenericDialect = GenericDialect {};

/// Tokens of one statement or expression. What follows walks the syntax recursively, so a text of
/// a million operators must end here.
const TOKENS_MAX: usize = 10_000;

/// Queries within queries. The planner plans the inner ones again and again: each level of them
/// in an expression takes twice the time.
const QUERIES_DEPTH_MAX: usize = 8;

/// Names that turn a table into windows of it.
pub(crate) const WINDOW_TABLES: [&str; 4] = ["TUMBLE", "HOP", "CUMULATE", "SESSION"];

/// A piece of SQL and where each of its bytes stands in the file.
#[derive(Clone, Copy)]
pub(crate) struct Text<'a> {
    pub file: &'a Arc<SourceFile>,
    pub sql: &'a str,
    pub offsets: Offsets<'a>,
}

impl Text<'_> {
    /// Where the whole of it stands.
    pub fn span(&self) -> Span {
        let (start, end) = (self.offsets.at(0), self.offsets.at(self.sql.len()));
        Span { file: Arc::clone(self.file), start, end }
    }
}

/// Where in the file the bytes of a text stand.
#[derive(Clone, Copy)]
pub(crate) enum Offsets<'a> {
    /// One after the other from here.
    From(usize),
    /// Each at its own place; one more for the end.
    Each(&'a [usize]),
}

impl Offsets<'_> {
    fn at(self, index: usize) -> usize {
        match self {
            Offsets::From(base) => base + index,
            Offsets::Each(places) => {
                places.get(index).or(places.last()).copied().unwrap_or_default()
            }
        }
    }
}

/// The span of the file that a syntax span stands for; `None` for syntax of our own making.
pub(crate) fn file_span(file: &Arc<SourceFile>, span: SqlSpan) -> Option<Span> {
    let (start, end) = (span.start.column as usize, span.end.column as usize);
    if span.start.line == 0 || start == 0 || end < start {
        return None;
    }
    let length = file.text.len();
    Some(Span {
        file: Arc::clone(file),
        start: (start - 1).min(length),
        end: (end - 1).min(length),
    })
}

/// The syntax span that [`file_span`] gives back.
pub(crate) fn sql_span(start: usize, end: usize) -> SqlSpan {
    SqlSpan::new(location(start), location(end))
}

fn location(offset: usize) -> Location {
    Location::new(1, offset as u64 + 1)
}

/// Tokens without white space and comments; if the text cannot be read on, those of the statements
/// before, with the mistake.
pub(crate) fn lex(text: Text<'_>) -> (Vec<TokenWithSpan>, Option<Diagnostic>) {
    let mut tokens = Vec::new();
    let outcome = Tokenizer::new(&DIALECT, text.sql).tokenize_with_location_into_buf(&mut tokens);
    let mut places = Places { text, line: 1, column: 1, index: 0, before: 0, last_length: 0 };
    for token in &mut tokens {
        let start = places.start(token.span.start);
        token.span = sql_span(start, places.end(token.span.end).max(start));
    }
    if outcome.is_err() {
        let whole = tokens.iter().rposition(|token| token.token == Token::SemiColon);
        tokens.truncate(whole.unwrap_or_default());
    }
    let hint = tokens.iter().find_map(|token| match &token.token {
        Token::Whitespace(Whitespace::MultiLineComment(said)) if said.starts_with('+') => {
            file_span(text.file, token.span)
        }
        _ => None,
    });
    tokens.retain(|token| !matches!(token.token, Token::Whitespace(_)));
    drop_local(&mut tokens);
    json_words::rewrite(&mut tokens);
    write_maps(&mut tokens);
    call_lambdas(&mut tokens);
    let mistake = outcome.err().map(|error| {
        let start = places.start(error.location);
        let end = text.offsets.at(text.sql.len()).max(start);
        let span = Span { file: Arc::clone(text.file), start, end: (start + 1).min(end) };
        Diagnostic::error(lower_first(&error.message), span)
    });
    let of_hint = hint.map(|span| {
        let help = "a table's options stand in its WITH (…), such as 'start' = 'latest'; or make a \
                    comment of it: /* … */";
        Diagnostic::error("hints are not followed", span).help(help)
    });
    (tokens, mistake.or(of_hint))
}

/// Line and column of a text to its place in the file, forwards only.
struct Places<'a> {
    text: Text<'a>,
    line: u64,
    column: u64,
    /// The byte at that line and column, and the first of the character before it.
    index: usize,
    before: usize,
    /// How long that character is.
    last_length: usize,
}

impl Places<'_> {
    fn go_to(&mut self, location: Location) {
        let rest = self.text.sql.get(self.index..).unwrap_or_default();
        let from = self.index;
        for (at, character) in rest.char_indices() {
            if (self.line, self.column) >= (location.line, location.column) {
                return;
            }
            self.before = from + at;
            self.last_length = character.len_utf8();
            self.index = from + at + character.len_utf8();
            (self.line, self.column) = match character {
                '\n' => (self.line + 1, 1),
                _ => (self.line, self.column + 1),
            };
        }
    }

    fn start(&mut self, location: Location) -> usize {
        self.go_to(location);
        self.text.offsets.at(self.index)
    }

    /// Right after the character before, so that a span does not take in an escape that follows.
    fn end(&mut self, location: Location) -> usize {
        self.go_to(location);
        match self.text.offsets {
            Offsets::From(base) => base + self.index,
            Offsets::Each(_) => {
                let last = self.text.offsets.at(self.before);
                let escaped = self.text.file.text.as_bytes().get(last) == Some(&b'\\');
                if escaped { self.text.offsets.at(self.index) } else { last + self.last_length }
            }
        }
    }
}

fn lower_first(message: &str) -> String {
    let mut characters = message.chars();
    match characters.next() {
        Some(first) => first.to_lowercase().chain(characters).collect(),
        None => String::new(),
    }
}

/// One piece of syntax made of all the tokens. `end` is where the text ends, for a mistake there.
pub(crate) fn parse<T>(
    file: &Arc<SourceFile>,
    tokens: Vec<TokenWithSpan>,
    end: usize,
    read: impl FnOnce(&mut Parser<'_>) -> Result<T, ParserError>,
) -> Result<T, Diagnostic> {
    let whole = |parser: &mut Parser<'_>| {
        let read = read(parser)?;
        let after = parser.next_token();
        match after.token {
            Token::EOF => Ok(read),
            _ => parser.expected("the end", after),
        }
    };
    parse_prefix(file, tokens, end, whole).map(|(read, _)| read)
}

/// One piece of syntax that the tokens begin with, and how many it takes.
pub(crate) fn parse_prefix<T>(
    file: &Arc<SourceFile>,
    mut tokens: Vec<TokenWithSpan>,
    end: usize,
    read: impl FnOnce(&mut Parser<'_>) -> Result<T, ParserError>,
) -> Result<(T, usize), Diagnostic> {
    check_length(file, &tokens)?;
    unwrap_window_tables(&mut tokens);
    move_system_times(&mut tokens);
    tokens.push(TokenWithSpan { token: Token::EOF, span: sql_span(end, end) });
    let mut parser = Parser::new(&DIALECT).with_tokens_with_locations(tokens);
    let read = read(&mut parser).map_err(|error| syntax_error(file, end, error))?;
    Ok((read, parser.index()))
}

/// Refuses what is too long to be walked recursively, or would be planned for ever.
pub(crate) fn check_length(
    file: &Arc<SourceFile>,
    tokens: &[TokenWithSpan],
) -> Result<(), Diagnostic> {
    let refuse = |message: String, help: &str, token: &TokenWithSpan| {
        let span = file_span(file, token.span);
        Err(Diagnostic { span, ..Diagnostic::error_without_place(message) }.help(help))
    };
    if let Some(first_beyond) = tokens.get(TOKENS_MAX) {
        let message = format!("more than {TOKENS_MAX} words and signs in one statement");
        return refuse(message, "split it into several, by views or steps", first_beyond);
    }
    // For each parenthesis that is open, whether it opens a query.
    let mut open = Vec::new();
    let mut queries = 0;
    for (index, token) in tokens.iter().enumerate() {
        match token.token {
            Token::LParen => {
                let next = tokens.get(index + 1);
                let is_query = next.is_some_and(|next| {
                    ["SELECT", "WITH", "VALUES"].iter().any(|word| is_word(next, word))
                });
                queries += usize::from(is_query);
                open.push(is_query);
            }
            Token::RParen => queries -= usize::from(open.pop() == Some(true)),
            _ => {}
        }
        if queries > QUERIES_DEPTH_MAX {
            let message = format!("queries are nested more than {QUERIES_DEPTH_MAX} deep");
            return refuse(message, "name the inner ones: WITH name AS (SELECT …)", token);
        }
    }
    Ok(())
}

/// One piece of syntax made of all the text.
pub(crate) fn parse_text<T>(
    text: Text<'_>,
    read: impl FnOnce(&mut Parser<'_>) -> Result<T, ParserError>,
) -> Result<T, Diagnostic> {
    let (tokens, mistake) = lex(text);
    match mistake {
        Some(mistake) => Err(mistake),
        None => parse(text.file, tokens, text.offsets.at(text.sql.len()), read),
    }
}

pub(crate) fn parse_expr(text: Text<'_>) -> Result<ast::Expr, Diagnostic> {
    parse_text(text, |parser| parser.parse_expr())
}

fn syntax_error(file: &Arc<SourceFile>, end: usize, error: ParserError) -> Diagnostic {
    let message = match error {
        ParserError::TokenizerError(message) | ParserError::ParserError(message) => message,
        ParserError::RecursionLimitExceeded => "this is nested too deeply".to_owned(),
    };
    let (message, place) = match message.rsplit_once(" at Line: ") {
        Some((before, place)) => (before, place.split_once("Column: ")),
        None => (message.as_str(), None),
    };
    let place = place.and_then(|(_, column)| column.trim().parse::<usize>().ok());
    let start = place.map_or(end, |column| column.saturating_sub(1)).min(file.text.len());
    let message = match message.strip_prefix("Expected: ") {
        Some(expected) => match expected.rsplit_once(", found: ") {
            Some((expected, "EOF")) => format!("expected {expected}, but the text ends here"),
            Some((expected, found)) => format!("expected {expected}, found '{found}'"),
            None => format!("expected {expected}"),
        },
        None => lower_first(message),
    };
    let span = Span { file: Arc::clone(file), start, end: word_end(&file.text, start) };
    let mistake = Diagnostic::error(message, span).label("not understood from here");
    let rest = file.text.get(start..).unwrap_or_default();
    if let Some(unit) = word_after_interval(&file.text[..start]) {
        return mistake.help(format!("'{unit}' is no unit of time: SECOND, MINUTE, HOUR, DAY, …"));
    }
    match rest.get(..4).is_some_and(|word| word.eq_ignore_ascii_case("EMIT")) {
        true => mistake.help("in TOML it is a key beside 'sql': emit = \"changes\""),
        false => elsewhere::clause(mistake, &file.text[..start], rest),
    }
}

/// `HOR` of `INTERVAL '1' HOR`.
fn word_after_interval(before: &str) -> Option<&str> {
    let before = before.trim_end();
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let quoted = before.trim_end_matches(is_word);
    let (quoted, word) = before.split_at(quoted.len());
    let (interval, _) = quoted.trim_end().strip_suffix('\'')?.rsplit_once('\'')?;
    let interval = interval.trim_end();
    let name = &interval[interval.trim_end_matches(is_word).len()..];
    (name.eq_ignore_ascii_case("INTERVAL") && !word.is_empty()).then_some(word)
}

/// The end of the word, or the one character, that starts here.
fn word_end(text: &str, start: usize) -> usize {
    let Some(rest) = text.get(start..) else { return start };
    let word = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
    let one = rest.chars().next().map_or(0, char::len_utf8);
    start + word.max(one)
}

/// Flink's `TABLE(TUMBLE(TABLE t, …))` to `TUMBLE(t, …)`, which the parser knows, and
/// `t PARTITION BY k` to `t, PARTITION_BY => k`.
fn unwrap_window_tables(tokens: &mut Vec<TokenWithSpan>) {
    name_partitions(tokens);
    let mut drop = vec![false; tokens.len()];
    for at in 0..tokens.len() {
        if !is_window_call(tokens, at) {
            continue;
        }
        let table = (at + 2..).take_while(|next| *next < tokens.len());
        let table = table.take(3).find(|next| is_word(&tokens[*next], "TABLE"));
        // Directly, or after `DATA =>`.
        if let Some(table) = table
            && matches!(tokens[table - 1].token, Token::LParen | Token::RArrow)
        {
            drop[table] = true;
        }
        let wrapped =
            at >= 2 && tokens[at - 1].token == Token::LParen && is_word(&tokens[at - 2], "TABLE");
        if wrapped && let Some(close) = closing(tokens, at - 1) {
            drop[at - 2] = true;
            drop[at - 1] = true;
            drop[close] = true;
        }
    }
    let mut dropped = drop.into_iter();
    tokens.retain(|_| !dropped.next().unwrap_or(false));
}

fn name_partitions(tokens: &mut Vec<TokenWithSpan>) {
    let mut at = 0;
    while at < tokens.len() {
        if let Some(by) = partition_by(tokens, at) {
            tokens[by].token = Token::Comma;
            tokens[by + 1].token = Token::make_word(PARTITION_BY, None);
            let arrow = TokenWithSpan { token: Token::RArrow, span: tokens[by + 1].span };
            tokens.insert(by + 2, arrow);
        }
        at += 1;
    }
}

/// The place of PARTITION BY among the arguments of the window that is called here.
fn partition_by(tokens: &[TokenWithSpan], at: usize) -> Option<usize> {
    if !is_window_call(tokens, at) {
        return None;
    }
    let close = closing(tokens, at + 1)?;
    let mut depth = 0usize;
    (at + 1..close).find(|&place| {
        match tokens[place].token {
            Token::LParen => depth += 1,
            Token::RParen => depth = depth.saturating_sub(1),
            _ => {}
        }
        depth == 1 && is_word(&tokens[place], "PARTITION") && is_word(&tokens[place + 1], "BY")
    })
}

/// `t FOR SYSTEM_TIME AS OF s.ts AS x` to `t AS x WITH (s.ts)`, which the parser knows.
fn move_system_times(tokens: &mut Vec<TokenWithSpan>) {
    const WORDS: [&str; 4] = ["FOR", "SYSTEM_TIME", "AS", "OF"];
    let is_here = |tokens: &[TokenWithSpan], at: usize| {
        let found = tokens.get(at..at + WORDS.len());
        found.is_some_and(|found| found.iter().zip(WORDS).all(|(token, word)| is_word(token, word)))
    };
    let is_name = |token: Option<&TokenWithSpan>| {
        token.is_some_and(|token| matches!(token.token, Token::Word(_)))
    };
    let mut at = 0;
    while at < tokens.len() {
        if !is_here(tokens, at) || !is_name(tokens.get(at + WORDS.len())) {
            at += 1;
            continue;
        }
        let mut end = at + WORDS.len() + 1;
        while tokens.get(end).is_some_and(|token| token.token == Token::Period)
            && is_name(tokens.get(end + 1))
        {
            end += 2;
        }
        let time: Vec<TokenWithSpan> = tokens.drain(at..end).skip(WORDS.len()).collect();
        let span = time[0].span;
        let sign = |token: Token| TokenWithSpan { token, span };
        let keyword = |token: &TokenWithSpan| match &token.token {
            Token::Word(word) => word.quote_style.is_none() && word.keyword != Keyword::NoKeyword,
            _ => true,
        };
        if tokens.get(at).is_some_and(|token| is_word(token, "AS")) {
            at += 2;
        } else if tokens.get(at).is_some_and(|token| !keyword(token)) {
            at += 1;
        }
        let at_end = at.min(tokens.len());
        let opening = [sign(Token::make_keyword("WITH")), sign(Token::LParen)];
        let hint = opening.into_iter().chain(time).chain([sign(Token::RParen)]);
        tokens.splice(at_end..at_end, hint);
    }
}

/// Flink's `WITH LOCAL TIME ZONE` is a point in time, as is `WITH TIME ZONE` here.
fn drop_local(tokens: &mut Vec<TokenWithSpan>) {
    const WORDS: [&str; 4] = ["WITH", "LOCAL", "TIME", "ZONE"];
    let mut at = 0;
    while at + WORDS.len() <= tokens.len() {
        let found = &tokens[at..at + WORDS.len()];
        if found.iter().zip(WORDS).all(|(token, word)| is_word(token, word)) {
            tokens.remove(at + 1);
        }
        at += 1;
    }
}

/// Flink's `MAP['a', 1, 'b', 2]` as `MAP {'a': 1, 'b': 2}`.
fn write_maps(tokens: &mut [TokenWithSpan]) {
    // What is open: a map with the number of its commas so far, or anything else.
    let mut open: Vec<Option<usize>> = Vec::new();
    for at in 0..tokens.len() {
        let is_map = at > 0 && is_word(&tokens[at - 1], "MAP");
        let token = &mut tokens[at].token;
        match token {
            Token::LBracket if is_map => {
                *token = Token::LBrace;
                open.push(Some(0));
            }
            Token::LBracket | Token::LParen | Token::LBrace => open.push(None),
            Token::RBracket | Token::RParen | Token::RBrace => {
                if let Some(Some(_)) = open.pop() {
                    *token = Token::RBrace;
                }
            }
            Token::Comma => {
                if let Some(Some(commas)) = open.last_mut() {
                    if *commas % 2 == 0 {
                        *token = Token::Colon;
                    }
                    *commas += 1;
                }
            }
            _ => {}
        }
    }
}

fn is_window_call(tokens: &[TokenWithSpan], at: usize) -> bool {
    WINDOW_TABLES.iter().any(|name| is_word(&tokens[at], name))
        && tokens.get(at + 1).is_some_and(|next| next.token == Token::LParen)
}

/// An unquoted word, in either case.
pub(crate) fn is_word(token: &TokenWithSpan, word: &str) -> bool {
    match &token.token {
        Token::Word(found) => found.quote_style.is_none() && found.value.eq_ignore_ascii_case(word),
        _ => false,
    }
}

/// The index of the parenthesis that closes the one at `open`.
pub(crate) fn closing(tokens: &[TokenWithSpan], open: usize) -> Option<usize> {
    let mut depth = 0usize;
    for (index, token) in tokens.iter().enumerate().skip(open) {
        match token.token {
            Token::LParen => depth += 1,
            Token::RParen => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth == 0 {
            return Some(index);
        }
    }
    None
}

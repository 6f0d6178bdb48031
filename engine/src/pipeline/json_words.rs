//! SQL's own words about JSON (ISO/IEC 9075-2:2016, 6.27 to 6.34), in a form that the parser knows.
//!
//! | written | to the parser |
//! |---|---|
//! | `JSON_VALUE(j, p DEFAULT 0 ON EMPTY)` | `JSON_VALUE(j, p, on_empty => 0)` |
//! | `JSON_VALUE(j, p ERROR ON ERROR)` | `JSON_VALUE(j, p, on_error => __error)` |
//! | `JSON_QUERY(j, p EMPTY ARRAY ON EMPTY)` | `JSON_QUERY(j, p, on_empty => '[]')` |
//! | `JSON_QUERY(j, p WITH WRAPPER)` | `JSON_QUERY(j, p, wrapper => 'always')` |
//! | `JSON_EXISTS(j, p TRUE ON ERROR)` | `JSON_EXISTS(j, p, on_error => TRUE)` |
//! | `JSON_OBJECT(KEY 'a' VALUE x)`, `JSON_OBJECTAGG` too | `JSON_OBJECT('a', x)` |
//! | `j IS JSON`, `… JSON SCALAR`, `OBJECT`, `ARRAY` | `j IS NORMALIZED`, `NFC`, `NFD`, `NFKC` |
//!
//! What they mean is written by [`crate::plan`]'s spellings. Texts are asked for being JSON in the
//! place of being normalised, which no query here can ask for.

use datafusion_sql::sqlparser::keywords::Keyword;
use datafusion_sql::sqlparser::tokenizer::{Token, TokenWithSpan, Word};

use super::tokens::{closing, is_word};

/// What stands for failing the row.
pub(crate) const ERROR: &str = "__error";

const CALLS: [&str; 3] = ["JSON_VALUE", "JSON_QUERY", "JSON_EXISTS"];

pub(super) fn rewrite(tokens: &mut Vec<TokenWithSpan>) {
    drop_keys(tokens);
    ask_for_json(tokens);
    // The last one first: others that stand in its arguments come later.
    for at in (1..tokens.len()).rev() {
        let is_call = tokens[at].token == Token::LParen
            && CALLS.iter().any(|name| is_word(&tokens[at - 1], name));
        if is_call && let Some(close) = closing(tokens, at) {
            name_clauses(tokens, at, close);
        }
    }
}

/// `JSON_OBJECT(KEY 'a' VALUE x)` with commas alone: the parser takes `VALUE` after names only, and
/// `KEY` nowhere.
fn drop_keys(tokens: &mut Vec<TokenWithSpan>) {
    // Of each bracket that is open: whether names and values stand in it, and a value comes next.
    let mut open: Vec<Option<bool>> = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        let begins = at > 0 && matches!(tokens[at - 1].token, Token::LParen | Token::Comma);
        let ends = tokens.get(at + 1).is_none_or(|token| {
            matches!(token.token, Token::Comma | Token::RParen | Token::Colon | Token::Period)
                || is_word(token, "VALUE")
        });
        match (&tokens[at].token, open.last_mut()) {
            (Token::LParen, _) => {
                let makes = ["JSON_OBJECT", "JSON_OBJECTAGG"];
                let named = at > 0 && makes.iter().any(|name| is_word(&tokens[at - 1], name));
                open.push(named.then_some(false));
            }
            (Token::LBracket | Token::LBrace, _) => open.push(None),
            (Token::RParen | Token::RBracket | Token::RBrace, _) => drop(open.pop()),
            (Token::Comma | Token::Colon, Some(Some(value_next))) => *value_next = !*value_next,
            (_, Some(Some(value_next @ false))) if !begins && is_word(&tokens[at], "VALUE") => {
                tokens[at].token = Token::Comma;
                *value_next = true;
            }
            (_, Some(Some(false))) if begins && !ends && is_word(&tokens[at], "KEY") => {
                tokens.remove(at);
                continue;
            }
            _ => {}
        }
        at += 1;
    }
}

/// `IS [NOT] JSON …` as a form of being normalised.
fn ask_for_json(tokens: &mut Vec<TokenWithSpan>) {
    let mut at = 0;
    while at < tokens.len() {
        if !is_word(&tokens[at], "IS") {
            at += 1;
            continue;
        }
        at += 1;
        at += usize::from(tokens.get(at).is_some_and(|token| is_word(token, "NOT")));
        let Some(next) = tokens.get(at) else { return };
        if !is_word(next, "JSON") {
            // Nobody else asks so.
            let asks = |token: &&mut TokenWithSpan| is_word(token, "NORMALIZED");
            if let Some(word) = tokens.iter_mut().skip(at).take(2).find(asks) {
                word.token = plain_word("NORMALIZED");
            }
            continue;
        }
        let form = match tokens.get(at + 1) {
            Some(kind) if is_word(kind, "SCALAR") => Some("NFC"),
            Some(kind) if is_word(kind, "OBJECT") => Some("NFD"),
            Some(kind) if is_word(kind, "ARRAY") => Some("NFKC"),
            Some(kind) if is_word(kind, "VALUE") => {
                tokens.remove(at + 1);
                None
            }
            _ => None,
        };
        tokens[at].token = Token::make_keyword(form.unwrap_or("NORMALIZED"));
        if form.is_some() {
            tokens[at + 1].token = Token::make_keyword("NORMALIZED");
        }
    }
}

/// A word that is no keyword, whatever it looks like.
fn plain_word(value: &str) -> Token {
    Token::Word(Word { value: value.to_owned(), quote_style: None, keyword: Keyword::NoKeyword })
}

/// Makes arguments of the clauses of the call whose parentheses these are.
fn name_clauses(tokens: &mut Vec<TokenWithSpan>, open: usize, close: usize) {
    let mut end = close;
    let mut named: Vec<(&str, Vec<TokenWithSpan>)> = Vec::new();
    while let Some((from, name, value)) = last_clause(tokens, open, end) {
        named.push((name, value));
        end = from;
    }
    if named.is_empty() {
        return;
    }
    tokens.drain(end..close);
    let returning = (open..end)
        .rev()
        .find(|at| is_word(&tokens[*at], "RETURNING") && depth(tokens, open, *at) == 1);
    let span = tokens[open].span;
    let sign = |token: Token| TokenWithSpan { token, span };
    let arguments = named.into_iter().rev().flat_map(|(name, value)| {
        let name = [Token::Comma, plain_word(name), Token::RArrow].map(sign);
        name.into_iter().chain(value)
    });
    let arguments: Vec<TokenWithSpan> = arguments.collect();
    let place = returning.unwrap_or(end);
    tokens.splice(place..place, arguments);
}

/// How many parentheses are open at a place within a call.
fn depth(tokens: &[TokenWithSpan], open: usize, at: usize) -> usize {
    tokens[open..at].iter().fold(0, |depth, token| match token.token {
        Token::LParen => depth + 1,
        Token::RParen => depth.saturating_sub(1),
        _ => depth,
    })
}

/// The clause that ends at `end`: where it begins, its name and its value.
fn last_clause(
    tokens: &[TokenWithSpan],
    open: usize,
    end: usize,
) -> Option<(usize, &'static str, Vec<TokenWithSpan>)> {
    let word = |at: usize, word: &str| at > open && is_word(&tokens[at], word);
    let with = |at: usize, token: Token| vec![TokenWithSpan { token, span: tokens[at].span }];
    let last = end.checked_sub(1).filter(|last| *last > open)?;
    if word(last, "WRAPPER") {
        let from =
            (open + 1..last).rev().take(3).find(|at| word(*at, "WITH") || word(*at, "WITHOUT"))?;
        let is_conditional = (from..last).any(|at| word(at, "CONDITIONAL"));
        let how = match (word(from, "WITH"), is_conditional) {
            (false, _) => "never",
            (true, true) => "unless an array",
            (true, false) => "always",
        };
        return Some((from, "wrapper", with(from, Token::SingleQuotedString(how.to_owned()))));
    }
    let name = match last {
        last if word(last, "EMPTY") => "on_empty",
        last if word(last, "ERROR") => "on_error",
        _ => return None,
    };
    let before = last.checked_sub(2).filter(|before| *before > open && word(last - 1, "ON"))?;
    let text = |text: &str| Token::SingleQuotedString(text.to_owned());
    let constant = match before {
        at if word(at, "NULL") || word(at, "UNKNOWN") => Some((at, Token::make_keyword("NULL"))),
        at if word(at, "ERROR") => Some((at, plain_word(ERROR))),
        at if word(at - 1, "EMPTY") && word(at, "ARRAY") => Some((at - 1, text("[]"))),
        at if word(at - 1, "EMPTY") && word(at, "OBJECT") => Some((at - 1, text("{}"))),
        at if word(at, "EMPTY") => Some((at, text("[]"))),
        at if (word(at, "TRUE") || word(at, "FALSE")) && !word(at - 1, "DEFAULT") => {
            Some((at, tokens[at].token.clone()))
        }
        _ => None,
    };
    if let Some((from, value)) = constant.filter(|(from, _)| !word(*from - 1, "DEFAULT")) {
        return Some((from, name, with(from, value)));
    }
    let default = (open + 1..=before)
        .rev()
        .find(|at| word(*at, "DEFAULT") && depth(tokens, open, *at) == 1)?;
    Some((default, name, tokens[default + 1..=before].to_vec()))
}

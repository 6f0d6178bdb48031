//! Tokens of one SQL statement read from left to right.

use std::sync::Arc;

use datafusion_sql::sqlparser::parser::{Parser, ParserError};
use datafusion_sql::sqlparser::tokenizer::{Token, TokenWithSpan};

use super::diagnostic::{Diagnostic, SourceFile, Span};
use super::draft::Named;
use super::tokens::{closing, file_span, is_word, parse, parse_prefix};

/// A type or a watermark is shorter; there is one for each column, and each is copied.
const PREFIX_TOKENS_MAX: usize = 500;

pub(crate) struct Cursor<'a> {
    pub file: &'a Arc<SourceFile>,
    tokens: &'a [TokenWithSpan],
    at: usize,
    /// Where the text ends that the tokens are from.
    end: usize,
}

impl<'a> Cursor<'a> {
    pub fn new(file: &'a Arc<SourceFile>, tokens: &'a [TokenWithSpan], end: usize) -> Cursor<'a> {
        Cursor { file, tokens, at: 0, end }
    }

    pub fn peek(&self) -> Option<&'a TokenWithSpan> {
        self.tokens.get(self.at)
    }

    pub fn is_at_end(&self) -> bool {
        self.at >= self.tokens.len()
    }

    pub fn is_at_word(&self, word: &str) -> bool {
        self.peek().is_some_and(|token| is_word(token, word))
    }

    /// Of the tokens from here on, the next being the 0th.
    pub fn nth_is_word(&self, nth: usize, word: &str) -> bool {
        self.tokens.get(self.at + nth).is_some_and(|token| is_word(token, word))
    }

    pub fn nth_is(&self, nth: usize, token: &Token) -> bool {
        self.tokens.get(self.at + nth).is_some_and(|next| next.token == *token)
    }

    /// Whether these words come next; past them if so.
    pub fn eat_words(&mut self, words: &[&str]) -> bool {
        let next = self.tokens.get(self.at..self.at + words.len());
        let matches = next
            .is_some_and(|next| next.iter().zip(words).all(|(token, word)| is_word(token, word)));
        if matches {
            self.at += words.len();
        }
        matches
    }

    pub fn eat(&mut self, token: &Token) -> bool {
        let matches = self.peek().is_some_and(|next| next.token == *token);
        self.at += usize::from(matches);
        matches
    }

    pub fn expect(&mut self, token: &Token, after: &str) -> Result<(), Diagnostic> {
        if self.eat(token) { Ok(()) } else { Err(self.unexpected(&format!("'{token}' {after}"))) }
    }

    pub fn expect_words(&mut self, words: &[&str]) -> Result<(), Diagnostic> {
        if self.eat_words(words) { Ok(()) } else { Err(self.unexpected(&words.join(" "))) }
    }

    pub fn expect_end(&self) -> Result<(), Diagnostic> {
        if self.is_at_end() { Ok(()) } else { Err(self.unexpected("the end of the statement")) }
    }

    /// The place of the next token, or of the end.
    pub fn span(&self) -> Span {
        let next = self.peek().and_then(|token| file_span(self.file, token.span));
        next.unwrap_or_else(|| Span { file: Arc::clone(self.file), start: self.end, end: self.end })
    }

    pub fn unexpected(&self, expected: &str) -> Diagnostic {
        let message = match self.peek() {
            Some(token) => format!("expected {expected}, found '{}'", token.token),
            None => format!("expected {expected}, but the statement ends here"),
        };
        Diagnostic::error(message, self.span())
    }

    pub fn skip(&mut self) {
        self.at += 1;
    }

    /// A name, quoted or not. `what` says whose.
    pub fn name(&mut self, what: &str) -> Result<Named, Diagnostic> {
        match self.peek().map(|token| &token.token) {
            Some(Token::Word(word)) => {
                let named = Named { text: word.value.clone(), span: self.span() };
                self.skip();
                Ok(named)
            }
            _ => Err(self.unexpected(what)),
        }
    }

    /// `'csv.header'` or `csv.header`.
    pub fn key(&mut self) -> Result<Named, Diagnostic> {
        if let Some(Token::SingleQuotedString(_)) = self.peek().map(|token| &token.token) {
            return self.value("a key");
        }
        let mut key = self.name("a key")?;
        while self.eat(&Token::Period) {
            let part = self.name("the rest of the key")?;
            key.text = format!("{}.{}", key.text, part.text);
            key.span.end = part.span.end;
        }
        Ok(key)
    }

    /// A string, number or word as text.
    pub fn value(&mut self, what: &str) -> Result<Named, Diagnostic> {
        let text = match self.peek().map(|token| &token.token) {
            Some(Token::SingleQuotedString(text)) => text.clone(),
            Some(Token::Number(text, _)) => text.clone(),
            Some(Token::Word(word)) => word.value.clone(),
            _ => return Err(self.unexpected(what)),
        };
        let named = Named { text, span: self.span() };
        self.skip();
        Ok(named)
    }

    /// The tokens within the parentheses that open here; past them.
    pub fn parenthesised(&mut self, what: &str) -> Result<Cursor<'a>, Diagnostic> {
        if self.peek().is_none_or(|token| token.token != Token::LParen) {
            return Err(self.unexpected(&format!("'(' and {what}")));
        }
        let Some(close) = closing(self.tokens, self.at) else {
            return Err(Diagnostic::error("this parenthesis is never closed", self.span()));
        };
        let end = file_span(self.file, self.tokens[close].span).map_or(self.end, |span| span.start);
        let inside = Cursor::new(self.file, &self.tokens[self.at + 1..close], end);
        self.at = close + 1;
        Ok(inside)
    }

    /// Past the next comma that is not within parentheses, or to the end.
    pub fn skip_past_comma(&mut self) {
        while let Some(token) = self.peek() {
            match token.token {
                Token::Comma => return self.skip(),
                Token::LParen => match closing(self.tokens, self.at) {
                    Some(close) => self.at = close + 1,
                    None => self.at = self.tokens.len(),
                },
                _ => self.skip(),
            }
        }
    }

    /// One piece of syntax that starts here; past it.
    pub fn parse_prefix<T>(
        &mut self,
        read: impl FnOnce(&mut Parser<'_>) -> Result<T, ParserError>,
    ) -> Result<T, Diagnostic> {
        let rest = self.tokens.iter().skip(self.at).take(PREFIX_TOKENS_MAX);
        let (read, used) = parse_prefix(self.file, rest.cloned().collect(), self.end, read)?;
        self.at += used;
        Ok(read)
    }

    /// One piece of syntax made of the tokens from here to `to`, which is past them.
    pub fn parse_to<T>(
        &mut self,
        to: usize,
        read: impl FnOnce(&mut Parser<'_>) -> Result<T, ParserError>,
    ) -> Result<T, Diagnostic> {
        let to = to.clamp(self.at, self.tokens.len());
        let end = self.tokens.get(to).and_then(|token| file_span(self.file, token.span));
        let end = end.map_or(self.end, |span| span.start);
        let tokens = self.tokens[self.at..to].to_vec();
        self.at = to;
        parse(self.file, tokens, end, read)
    }

    /// The index of the last such word that is not within parentheses.
    pub fn find_last_word(&self, word: &str) -> Option<usize> {
        let mut depth = 0usize;
        let mut found = None;
        for (index, token) in self.tokens.iter().enumerate().skip(self.at) {
            match token.token {
                Token::LParen => depth += 1,
                Token::RParen => depth = depth.saturating_sub(1),
                _ if depth == 0 && is_word(token, word) => found = Some(index),
                _ => {}
            }
        }
        found
    }

    /// The tokens from here on.
    pub fn rest(&self) -> &'a [TokenWithSpan] {
        self.tokens.get(self.at..).unwrap_or_default()
    }

    pub fn token_count(&self) -> usize {
        self.tokens.len()
    }
}

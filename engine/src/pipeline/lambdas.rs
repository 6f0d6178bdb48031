//! `x -> x * 2`, what becomes of each element of a list.
//!
//! ```text
//! array_transform(l, x -> x * 2)     a lambda
//! json -> 'key'                      a value within JSON
//! ```
//!
//! The dialect knows the second one. An arrow is the first where what stands before it is a name,
//! or names in parentheses, and the whole is an argument of a function that takes lambdas. To the
//! parser it is the call of a function that there is not ([`LAMBDA`]), with the names and what
//! they become; [`written`] makes a lambda of it.

use datafusion_sql::sqlparser::ast::{
    Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, LambdaFunction,
    LambdaFunctionParameter, LambdaSyntax, OneOrManyWithParens,
};
use datafusion_sql::sqlparser::tokenizer::{Token, TokenWithSpan};

use crate::plan::context::takes_lambdas;

const LAMBDA: &str = "__lambda";

/// Names of parameters and what they become, as arguments of a call.
pub(super) fn call_lambdas(tokens: &mut Vec<TokenWithSpan>) {
    // The last one first: it has no other one after it in what its names become.
    while let Some((from, arrow)) = last_lambda(tokens) {
        let end = end_of_argument(tokens, arrow + 1);
        let span = tokens[arrow].span;
        let sign = |token: Token| TokenWithSpan { token, span };
        tokens.insert(end, sign(Token::RParen));
        tokens[arrow].token = Token::Comma;
        // Several names have parentheses already.
        if tokens[from].token == Token::LParen {
            tokens.remove(arrow - 1);
            tokens.remove(from);
        }
        let name = Token::make_word(LAMBDA, None);
        tokens.splice(from..from, [sign(name), sign(Token::LParen)]);
    }
}

/// Where the names of the last lambda begin, and its arrow.
fn last_lambda(tokens: &[TokenWithSpan]) -> Option<(usize, usize)> {
    // Where parentheses are open, and whether a function that takes lambdas opens them.
    let mut open: Vec<(usize, bool)> = Vec::new();
    let (mut closed, mut last) = (None, None);
    for at in 0..tokens.len() {
        match tokens[at].token {
            Token::LParen => {
                let function = at.checked_sub(1).map(|before| &tokens[before].token);
                let takes = matches!(function, Some(Token::Word(word))
                    if takes_lambdas(&word.value.to_lowercase()));
                open.push((at, takes));
            }
            Token::RParen => closed = open.pop().map(|(from, _)| from),
            Token::Arrow => {
                let from = match tokens[..at].last().map(|token| &token.token) {
                    Some(Token::Word(_)) => Some(at - 1),
                    Some(Token::RParen) => closed,
                    _ => None,
                };
                let before = from.and_then(|from| Some(&tokens[from.checked_sub(1)?].token));
                let is_argument = matches!(before, Some(Token::LParen | Token::Comma));
                if is_argument && open.last().is_some_and(|(_, takes)| *takes) {
                    last = from.map(|from| (from, at));
                }
            }
            _ => {}
        }
    }
    last
}

/// Where the argument ends that `from` lies in.
fn end_of_argument(tokens: &[TokenWithSpan], from: usize) -> usize {
    let mut depth = 0;
    for (at, token) in tokens.iter().enumerate().skip(from) {
        match token.token {
            Token::LParen | Token::LBracket | Token::LBrace => depth += 1,
            Token::RParen | Token::RBracket | Token::RBrace if depth == 0 => return at,
            Token::RParen | Token::RBracket | Token::RBrace => depth -= 1,
            Token::Comma if depth == 0 => return at,
            _ => {}
        }
    }
    tokens.len()
}

/// The lambda that a call stands for.
pub(crate) fn written(call: &Function) -> Option<Expr> {
    let FunctionArguments::List(list) = &call.args else { return None };
    if call.name.to_string() != LAMBDA {
        return None;
    }
    let exprs = list.args.iter().map(|arg| match arg {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => Some(expr),
        _ => None,
    });
    let exprs: Vec<&Expr> = exprs.collect::<Option<_>>()?;
    let (body, names) = exprs.split_last()?;
    let params = names.iter().map(|name| match name {
        Expr::Identifier(name) => {
            Some(LambdaFunctionParameter { name: name.clone(), data_type: None })
        }
        _ => None,
    });
    let params: Vec<LambdaFunctionParameter> = params.collect::<Option<_>>()?;
    let params = OneOrManyWithParens::Many(params);
    let body = Box::new((*body).clone());
    Some(Expr::Lambda(LambdaFunction { params, body, syntax: LambdaSyntax::Arrow }))
}

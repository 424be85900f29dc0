//! Transact-SQL as text: tokens, grammar, values. The grammar follows the syntax conventions of
//! Microsoft's reference.

pub(crate) mod ast;
mod expression;
mod lex;
mod parse;
mod query;
mod security;
mod value;

pub(crate) use parse::{parse, parse_parameters};
#[cfg(test)]
pub(crate) use value::parse_time;
pub use value::{Data, Ty, Value};
pub(crate) use value::{fold, random_guid};

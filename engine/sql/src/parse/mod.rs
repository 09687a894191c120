//! From text to the raw tree: PostgreSQL's lexer and grammar.
//!
//! ```text
//!   text --lexer--> tokens --grammar--> ast::Statement
//!        sqlparser's cuts,  recursive descent in gram.y's shape
//!        scan.l's rules
//! ```
//!
//! The grammar is our own, over sqlparser's tokenizer: sqlparser's grammar refuses or misreads too much of what
//! PostgreSQL takes, and knows no positions of operators (docs/decisions/0005-own-grammar-over-sqlparsers-tokens.md).
//!
//! What holds here:
//! - Nothing outside sees a type of sqlparser, nor a keyword or token: only [`ast`].
//! - No name is looked up: parsing is a function of the text alone.
//! - No text makes it panic, recurse without bound or take more than linear time.
//! - A syntax error has PostgreSQL's message and position: that of the first token that fits nowhere.
//!
//! Files follow gram.y's sections: `statement` (which one it is), `select`, `from`, `dml`, `expr` (operators), `primary`
//! (operands), `functions` (calls with a syntax of their own), `types`, `table` and `alter_table`, `index` (indexes, views,
//! sequences, schemas), `create` (functions, types, triggers), `object` (how objects are named; DROP, COMMENT), `role`
//! (roles, privileges, databases), `transaction` (also SET and SHOW), `utility` (cursors, COPY, maintenance), `options`. `shard`
//! and `cluster` have statements that PostgreSQL has not.

pub mod ast;

mod alter_table;
mod cluster;
mod create;
mod cursor;
mod dml;
mod error;
mod expr;
mod from;
mod functions;
mod index;
mod keywords;
mod lexer;
mod literal;
mod object;
mod options;
mod primary;
mod role;
mod select;
mod shard;
mod statement;
mod table;
#[cfg(test)]
mod tests;
mod transaction;
mod types;
mod utility;

use shardforge_types::PgResult;

use ast::RawStatement;

pub use error::error_position;

/// Parse all statements of a text. Empty ones between semicolons are left out.
///
/// Errors are PostgreSQL's: 42601 with message and position for what is no SQL, others for literals that cannot be
/// read, 54001 for a statement that is nested too deeply.
pub fn parse(sql: &str) -> PgResult<Vec<RawStatement>> {
    let lexed = lexer::lex(sql);
    cursor::Parser::new(sql, &lexed).statements().map_err(|error| error.into_pg(sql))
}

/// Parse one expression, as the catalog keeps them (defaults, checks, index expressions).
///
/// # Errors
/// As for [`parse`].
pub fn parse_expression(sql: &str) -> PgResult<ast::Expr> {
    let lexed = lexer::lex(sql);
    cursor::Parser::new(sql, &lexed).lone_expr().map_err(|error| error.into_pg(sql))
}

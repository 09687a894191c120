//! The binder: from the raw tree to the typed IR, by PostgreSQL's rules.
//!
//! Every name, operator, function and literal of a statement is given its meaning here, and only here. The
//! rules are those of PostgreSQL's `parser/` directory, and each file says which of its parts it follows, so
//! that a statement means (and fails with) exactly what it does there.
//!
//! ```text
//!   ast::Statement
//!        |   statement.rs   which statement; parameters, locks and dependencies of the result
//!        v
//!   select.rs  setop.rs  cte.rs  modify/        clauses in PostgreSQL's order
//!        |         |                            from.rs: FROM   clause.rs: GROUP/ORDER BY, LIMIT
//!        v         v                            target.rs: select lists and their names
//!   expr.rs + call.rs + subquery.rs             expressions
//!        |
//!        v
//!   scope.rs      coerce.rs      operator.rs    function.rs     polymorphic.rs
//!   names         casts          operators      overloads       anyelement and its kin
//! ```
//!
//! Invariants
//! - Columns are addressed by [`ColId`](crate::ir::ColId). A *level* is one SELECT (or one write) with its FROM
//!   clause; levels nest as subqueries do. The binder remembers for each id the level that it belongs to, and
//!   that is all that correlation, aggregates of outer queries and grouping checks need.
//! - A string literal has type `unknown` until something demands a type of it; the same goes for a parameter
//!   without a declared type. Neither survives in a bound statement.
//! - Positions in errors are byte offsets into the statement's text; they become character positions when the
//!   error leaves the session.
//! - A table's columns are never copied: a scan reserves one id a column and, at the end of its level, produces
//!   those that were used.

mod alter;
mod binder;
mod call;
mod clause;
mod coerce;
mod cte;
mod deparse;
mod expr;
mod expr_ops;
mod from;
mod function;
mod group;
mod literal;
mod locking;
mod missing;
mod modify;
mod operator;
mod polymorphic;
mod relation;
mod scope;
mod select;
mod setop;
mod statement;
mod subquery;
mod table_function;
mod target;
mod types;
mod walk;
mod window;

pub use alter::{
    INPUT, bind_assignment, bind_column_conversion, bind_key_cast, bind_key_value, column_default,
};
pub use deparse::deparse;
pub use statement::{
    Unbound, bind_default, bind_expression, bind_statement, bind_table_expression, literal_text,
    resolve_collation, resolve_type,
};
pub use types::format_type;

use shardforge_types::{IoEnv, Oid};

use crate::catalog::CatalogSnapshot;

/// What the binder may see of the session.
#[derive(Clone, Debug)]
pub struct BindContext<'a> {
    /// The objects that names mean.
    pub catalog: &'a CatalogSnapshot,
    /// The schemas that unqualified names are looked for in, in order. `pg_catalog` comes first unless it is listed.
    pub search_path: &'a [Oid],
    /// The current user.
    pub user: Oid,
    /// The database's name: what a three-part name may begin with.
    pub database: &'a str,
    /// How literals are read.
    pub io: &'a IoEnv,
    /// Declared types of `$1`, `$2`, ...; `Oid(0)` or a missing one is inferred.
    pub param_types: Vec<Oid>,
    /// The session's schema for temporary tables, searched before all others.
    pub temp_schema: Option<Oid>,
}

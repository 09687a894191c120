//! What PostgreSQL's catalog functions tell of objects: `pg_get_indexdef`, `obj_description` and their like, as pure
//! functions over a snapshot.
//!
//! * [`definitions`]: the SQL that would make an index, a constraint, a view.
//! * [`expressions`]: what can be said of an expression that is kept as SQL text.
//! * [`comments`]: COMMENT ON.
//! * [`pretty`]: without superfluous parentheses.
//! * [`functions`]: the signature of a function in words.
//! * [`privileges`]: `has_table_privilege` and the like.
//!
//! The SQL wrappers are in `func/`; names of types and the reg* types are there too.

mod comments;
mod definitions;
mod expressions;
mod functions;
mod lookup;
mod pretty;
mod privileges;
mod tokens;

pub use comments::{column_comment, comment, shared_comment};
pub use definitions::{
    column_default, constraint_definition, index_column_definition, index_definition, role_name,
    view_definition,
};
pub use expressions::{expression_name, referenced_columns, rename_column, shown_expression};
pub use functions::{function_argument_default, function_arguments, function_result};
pub(crate) use lookup::rows_where;
pub use pretty::pretty_expression;
pub use privileges::{PrivilegeTarget, has_privileges, has_role, parse_privileges};

#[cfg(test)]
mod tests;

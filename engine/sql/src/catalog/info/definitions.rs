//! The SQL that would make an object: PostgreSQL's `ruleutils.c` functions.
//!
//! Pretty forms leave out a schema that the search path finds anyway, and outer parentheses.

use std::sync::LazyLock;

use hashbrown::HashMap;
use shardforge_types::{Datum, Oid};

use super::expressions::{is_call, shown_expression};
use super::lookup::rows_where;
use super::pretty::pretty_expression;
use crate::catalog::builtin::tsv::Tsv;
use crate::catalog::builtin::{BTREE_AM, builtin, data, system_relation};
use crate::catalog::pg_catalog::system_view_definition;
use crate::catalog::{
    CatalogSnapshot, ForeignKeyDesc, IndexColumn, IndexDesc, IndexKey, ReferentialAction, Relation, TableDesc,
};
use crate::func::ident::quote_identifier;
use crate::func::quote_literal;

/// `pg_get_userbyid(role)`
pub fn role_name(catalog: &CatalogSnapshot, role: Oid) -> String {
    match catalog.cluster.roles.get(&role) {
        Some(role) => role.name.clone(),
        None => predefined_role(role).map_or_else(|| format!("unknown (OID={role})"), str::to_owned),
    }
}

/// The name of a role that every cluster has.
fn predefined_role(role: Oid) -> Option<&'static str> {
    static ROLES: LazyLock<HashMap<Oid, &'static str>> = LazyLock::new(|| {
        let tsv = Tsv::new(data::PG_AUTHID);
        let (oid, name) = (tsv.column("oid"), tsv.column("rolname"));
        (0..tsv.len())
            .filter_map(|row| {
                let fields: Vec<&'static str> = tsv.line(row).split('\t').collect();
                Some((Oid(fields[oid].parse().ok()?), fields[name]))
            })
            .collect()
    });
    ROLES.get(&role).copied()
}

/// The expression behind a row of pg_attrdef: its default as SQL.
pub fn column_default(catalog: &CatalogSnapshot, table: Oid, attnum: i16) -> Option<String> {
    let column = catalog.table(table)?.live_columns().find(|(number, _)| *number == attnum)?.1;
    column.default.as_ref().map(|default| shown_expression(catalog, &default.sql))
}

/// `pg_get_viewdef(view)`: the query, with a blank before and a semicolon behind it.
pub fn view_definition(catalog: &CatalogSnapshot, view: Oid) -> Option<String> {
    match catalog.relation(view) {
        Some(Relation::View(view)) => {
            let sql = view.sql.trim().trim_end_matches(';');
            Some(format!(" {sql};"))
        }
        _ => system_view_definition(view).map(|sql| format!(" {sql}")),
    }
}

/// An index in the words of CREATE INDEX.
struct IndexWords {
    name: String,
    schema: Oid,
    table: String,
    unique: bool,
    /// Each key column: what is indexed, and DESC and the like behind it.
    keys: Vec<(String, String)>,
    include: Vec<String>,
    nulls_not_distinct: bool,
    /// What is in WITH (...).
    options: Vec<String>,
    predicate: Option<String>,
}

/// `pg_get_indexdef(index)`
pub fn index_definition(catalog: &CatalogSnapshot, index: Oid) -> Option<String> {
    definition_of_index(catalog, index, None)
}

/// `pg_get_indexdef(index, column, pretty)`: the whole definition for column 0, else the column's alone; empty if there
/// is no such column.
pub fn index_column_definition(
    catalog: &CatalogSnapshot,
    search_path: &[Oid],
    index: Oid,
    column: i32,
    pretty: bool,
) -> Option<String> {
    if column == 0 {
        return definition_of_index(catalog, index, pretty.then_some(search_path));
    }
    let words = words_of_index(catalog, index, pretty)?;
    let columns: Vec<String> = words.keys.into_iter().map(|(key, _)| key).chain(words.include).collect();
    Some(usize::try_from(column - 1).ok().and_then(|n| columns.get(n).cloned()).unwrap_or_default())
}

/// With a search path the pretty form.
fn definition_of_index(catalog: &CatalogSnapshot, index: Oid, search_path: Option<&[Oid]>) -> Option<String> {
    let words = words_of_index(catalog, index, search_path.is_some())?;
    let visible =
        search_path.is_some_and(|path| first_of_name(catalog, path, &words.table) == Some(words.schema));
    let schema = match catalog.schemas.get(&words.schema) {
        Some(schema) if !visible => format!("{}.", quote_identifier(&schema.name)),
        _ => String::new(),
    };
    let unique = if words.unique { "UNIQUE " } else { "" };
    let keys: Vec<String> = words.keys.iter().map(|(key, options)| format!("{key}{options}")).collect();
    let mut sql = format!(
        "CREATE {unique}INDEX {} ON {schema}{} USING btree ({})",
        quote_identifier(&words.name),
        quote_identifier(&words.table),
        keys.join(", ")
    );
    if !words.include.is_empty() {
        sql += &format!(" INCLUDE ({})", words.include.join(", "));
    }
    if words.nulls_not_distinct {
        sql += " NULLS NOT DISTINCT";
    }
    if !words.options.is_empty() {
        sql += &format!(" WITH ({})", words.options.join(", "));
    }
    if let Some(predicate) = words.predicate {
        sql += &format!(" WHERE {predicate}");
    }
    Some(sql)
}

/// The first schema in the path with a relation of that name.
fn first_of_name(catalog: &CatalogSnapshot, path: &[Oid], name: &str) -> Option<Oid> {
    let has = |schema: &&Oid| {
        catalog.relation_by_name(**schema, name).is_some()
            || crate::catalog::builtin::system_relation_by_name(**schema, name).is_some()
    };
    path.iter().find(has).copied()
}

fn words_of_index(catalog: &CatalogSnapshot, index: Oid, pretty: bool) -> Option<IndexWords> {
    match catalog.relation(index) {
        Some(Relation::Index(table, position)) => {
            Some(words_of_user_index(table, &table.indexes[*position], pretty))
        }
        Some(_) => None,
        None => words_of_system_index(catalog, index),
    }
}

fn words_of_user_index(table: &TableDesc, index: &IndexDesc, pretty: bool) -> IndexWords {
    let column = |attnum: i16| quote_identifier(&table.column(attnum).name);
    let shown = |sql: &str| if pretty { pretty_expression(sql) } else { sql.to_owned() };
    let key = |c: &IndexColumn| match &c.key {
        IndexKey::Column(attnum) => column(*attnum),
        IndexKey::Expression(sql) if is_call(sql) => shown(sql),
        IndexKey::Expression(sql) => format!("({})", shown(sql)),
    };
    IndexWords {
        name: index.name.clone(),
        schema: table.schema,
        table: table.name.clone(),
        unique: index.unique,
        keys: index.columns.iter().map(|c| (key(c), order_words(c.desc, c.nulls_first).to_owned())).collect(),
        include: index.include.iter().map(|attnum| column(*attnum)).collect(),
        nulls_not_distinct: index.nulls_not_distinct,
        options: index.options.iter().map(parameter_words).collect(),
        predicate: index.predicate.as_deref().map(shown),
    }
}

/// A storage parameter: what is no identifier is quoted.
fn parameter_words((name, value): &(String, String)) -> String {
    let value = if quote_identifier(value) == *value { value.clone() } else { quote_literal(value) };
    format!("{}={value}", quote_identifier(name))
}

/// What is said of an order that is not the default.
fn order_words(desc: bool, nulls_first: bool) -> &'static str {
    match (desc, nulls_first) {
        (false, false) => "",
        (false, true) => " NULLS FIRST",
        (true, true) => " DESC",
        (true, false) => " DESC NULLS LAST",
    }
}

fn words_of_system_index(catalog: &CatalogSnapshot, index: Oid) -> Option<IndexWords> {
    let columns = ["indrelid", "indisunique", "indkey", "indclass"];
    let row = rows_where(catalog, "pg_index", &columns, ("indexrelid", index)).into_iter().next()?;
    let [Datum::Oid(table), Datum::Bool(unique), Datum::Array(keys), Datum::Array(classes), ..] = &row[..]
    else {
        return None;
    };
    let table = system_relation(Oid(*table))?;
    let key = |(attnum, class): (&Datum, &Datum)| {
        let position = usize::try_from(attnum.as_i64()? - 1).ok()?;
        let column = table.columns.get(position)?;
        let class = builtin().opclass(Oid(u32::try_from(class.as_i64()?).ok()?))?;
        let is_default = builtin().default_opclass(BTREE_AM, column.ty).is_some_and(|d| d.oid == class.oid);
        let shown = if is_default { String::new() } else { format!(" {}", quote_identifier(class.name)) };
        Some((quote_identifier(column.name), shown))
    };
    Some(IndexWords {
        name: system_relation(index)?.name.to_owned(),
        schema: table.namespace,
        table: table.name.to_owned(),
        unique: *unique,
        keys: keys.elements.iter().zip(&classes.elements).filter_map(key).collect(),
        include: Vec::new(),
        nulls_not_distinct: false,
        options: Vec::new(),
        predicate: None,
    })
}

/// `pg_get_constraintdef(constraint, pretty)`
pub fn constraint_definition(
    catalog: &CatalogSnapshot,
    search_path: &[Oid],
    constraint: Oid,
    pretty: bool,
) -> Option<String> {
    catalog
        .tables()
        .find_map(|table| constraint_of_table(catalog, search_path, table, constraint, pretty))
        .or_else(|| {
            let columns = ["contype", "conrelid", "conkey", "conbin"];
            let row =
                rows_where(catalog, "pg_constraint", &columns, ("oid", constraint)).into_iter().next()?;
            system_constraint(&row)
        })
}

fn constraint_of_table(
    catalog: &CatalogSnapshot,
    search_path: &[Oid],
    table: &TableDesc,
    constraint: Oid,
    pretty: bool,
) -> Option<String> {
    if let Some(fk) = table.foreign_key(constraint) {
        return foreign_key(catalog, search_path, table, fk);
    }
    if let Some(check) = table.checks.iter().find(|c| c.oid == constraint) {
        let sql = if pretty { pretty_expression(&check.sql) } else { check.sql.clone() };
        return Some(format!("CHECK ({sql}){}", if check.validated { "" } else { " NOT VALID" }));
    }
    if let Some(index) = table.indexes.iter().find(|i| i.constraint == Some(constraint)) {
        return Some(unique_constraint(table, index));
    }
    let is_not_null =
        |c: &crate::catalog::ColumnDesc| c.not_null.as_ref().is_some_and(|n| n.oid == constraint);
    let (_, column) = table.live_columns().find(|(_, c)| is_not_null(c))?;
    Some(format!("NOT NULL {}", quote_identifier(&column.name)))
}

fn foreign_key(
    catalog: &CatalogSnapshot,
    search_path: &[Oid],
    table: &TableDesc,
    fk: &ForeignKeyDesc,
) -> Option<String> {
    let parent = catalog.table(fk.ref_table)?;
    let columns = |table: &TableDesc, list: &[i16]| {
        let names: Vec<String> = list.iter().map(|n| quote_identifier(&table.column(*n).name)).collect();
        names.join(", ")
    };
    let mut name = quote_identifier(&parent.name);
    if first_of_name(catalog, search_path, &parent.name) != Some(parent.schema) {
        name = format!("{}.{name}", quote_identifier(&catalog.schemas.get(&parent.schema)?.name));
    }
    let mut sql = format!(
        "FOREIGN KEY ({}) REFERENCES {name}({})",
        columns(table, &fk.columns),
        columns(parent, &fk.ref_columns)
    );
    if fk.match_full {
        sql += " MATCH FULL";
    }
    for (event, action) in [("UPDATE", fk.on_update), ("DELETE", fk.on_delete)] {
        let words = match action {
            ReferentialAction::NoAction => continue,
            ReferentialAction::Restrict => "RESTRICT",
            ReferentialAction::Cascade => "CASCADE",
            ReferentialAction::SetNull => "SET NULL",
            ReferentialAction::SetDefault => "SET DEFAULT",
        };
        sql += &format!(" ON {event} {words}");
    }
    if !fk.on_delete_columns.is_empty() {
        sql += &format!(" ({})", columns(table, &fk.on_delete_columns));
    }
    sql += deferring_words(fk.deferrable, fk.initially_deferred);
    if !fk.enforced {
        sql += " NOT ENFORCED";
    } else if !fk.validated {
        sql += " NOT VALID";
    }
    Some(sql)
}

fn unique_constraint(table: &TableDesc, index: &IndexDesc) -> String {
    let column = |attnum: i16| quote_identifier(&table.column(attnum).name);
    let keys: Vec<String> = index
        .columns
        .iter()
        .filter_map(|c| match c.key {
            IndexKey::Column(attnum) => Some(column(attnum)),
            IndexKey::Expression(_) => None,
        })
        .collect();
    let kind = match (index.primary, index.nulls_not_distinct) {
        (true, _) => "PRIMARY KEY",
        (false, false) => "UNIQUE",
        (false, true) => "UNIQUE NULLS NOT DISTINCT",
    };
    let include: Vec<String> = index.include.iter().map(|attnum| column(*attnum)).collect();
    let include =
        if include.is_empty() { String::new() } else { format!(" INCLUDE ({})", include.join(", ")) };
    let deferring = deferring_words(index.deferrable, index.initially_deferred);
    format!("{kind} ({}){include}{deferring}", keys.join(", "))
}

fn deferring_words(deferrable: bool, initially_deferred: bool) -> &'static str {
    match (deferrable, initially_deferred) {
        (false, _) => "",
        (true, false) => " DEFERRABLE",
        (true, true) => " DEFERRABLE INITIALLY DEFERRED",
    }
}

fn system_constraint(row: &[Datum]) -> Option<String> {
    let [Datum::Char(kind), Datum::Oid(table), key, expression, ..] = row else { return None };
    let columns = || -> Option<Vec<String>> {
        let (table, Datum::Array(key)) = (system_relation(Oid(*table))?, key) else { return None };
        let column = |n: &Datum| table.columns.get(usize::try_from(n.as_i64()? - 1).ok()?);
        Some(key.elements.iter().filter_map(column).map(|c| quote_identifier(c.name)).collect())
    };
    match kind {
        b'p' => Some(format!("PRIMARY KEY ({})", columns()?.join(", "))),
        b'u' => Some(format!("UNIQUE ({})", columns()?.join(", "))),
        b'n' => Some(format!("NOT NULL {}", columns()?.first()?)),
        b'c' => expression.as_str().map(|sql| format!("CHECK ({sql})")),
        _ => None,
    }
}

//! CREATE TABLE and CREATE TABLE AS.

use std::sync::Arc;

use shardforge_kv::ObjectLockMode;
use shardforge_types::{PgError, PgResult, SqlState, oid};

use super::columns::{
    WrittenType, add_check, add_key, check_column_name, check_supported, column_type, default_desc,
    immutable_expression, plain_column, push_column, set_not_null,
};
use super::sequence::{self, SequenceOptions};
use super::{check_free, foreign_key, names, options, unsupported};
use crate::catalog::{
    Buckets, Change, ColumnDesc, DefaultDesc, Identity, IndexState, Persistence, Relation, RelationDesc,
    TableDesc, TableKey,
};
use crate::ir::Ty;
use crate::parse::ast::{
    self, ColumnDef, Constraint, ConstraintKind, CreateStmt, CreateTableAsStmt, IndexConstraint, LikeOption,
    OnCommit, Statement, TableElement, TableLikeClause,
};
use crate::session::PgSession;

/// CREATE TABLE.
///
/// # Errors
/// Whatever it raises.
pub async fn create(session: &mut PgSession, stmt: &CreateStmt) -> PgResult<()> {
    check_clauses(stmt)?;
    let schema = names::creation_schema(session, &stmt.relation)?;
    let name = stmt.relation.name.to_string();
    session.lock_name(schema, &name).await?;
    let catalog = session.catalog();
    if let Err(error) = check_free(&catalog, schema, &name) {
        if stmt.if_not_exists {
            session.notice(format!("relation \"{name}\" already exists, skipping"));
            return Ok(());
        }
        return Err(error);
    }
    let mut table = empty_table(session, schema, name).await?;
    table.persistence = match stmt.relation.persistence {
        ast::Persistence::Unlogged => Persistence::Unlogged,
        _ => Persistence::Permanent,
    };
    table.options = options::of_table(&stmt.options)?;
    table.buckets = options::buckets(session, &table.options)?;
    let mut builder = Builder { table, serials: Vec::new() };
    for element in &stmt.elements {
        match element {
            TableElement::Column(column) => builder.column(session, column).await?,
            TableElement::Like(like) => builder.like(session, like).await?,
            TableElement::Constraint(_) => {}
        }
    }
    // What is generated may come from columns behind.
    for element in &stmt.elements {
        if let TableElement::Column(column) = element {
            add_generation(session, &mut builder.table, column).await?;
        }
    }
    // Constraints come when all columns are known; NOT NULL first, since keys look at it, then keys, then checks.
    for pass in [Pass::Nulls, Pass::Keys, Pass::Checks] {
        for element in &stmt.elements {
            match element {
                TableElement::Column(column) => {
                    for constraint in &column.constraints {
                        builder.constraint(session, constraint, Some(&column.name), pass).await?;
                    }
                }
                TableElement::Constraint(constraint) => {
                    builder.constraint(session, constraint, None, pass).await?;
                }
                TableElement::Like(_) => {}
            }
        }
    }
    let mut table = builder.finish(session).await?;
    // Foreign keys come last, as if added by ALTER TABLE: the table may reference itself.
    for element in &stmt.elements {
        let (constraints, column) = match element {
            TableElement::Column(column) => (&column.constraints[..], Some(&column.name)),
            TableElement::Constraint(constraint) => (std::slice::from_ref(constraint), None),
            TableElement::Like(_) => continue,
        };
        for constraint in constraints {
            if matches!(constraint.kind, ConstraintKind::ForeignKey(_)) {
                foreign_key::add(session, &mut table, constraint, column).await?;
            }
        }
    }
    if table.foreign_keys.is_empty() {
        return Ok(());
    }
    // There are no rows that could violate them.
    table.foreign_keys.iter_mut().for_each(|fk| fk.validated = fk.enforced);
    session.record_table(table)
}

/// A table without columns, nor storage parameters.
pub async fn empty_table(
    session: &mut PgSession,
    schema: shardforge_types::Oid,
    name: String,
) -> PgResult<TableDesc> {
    Ok(TableDesc {
        oid: session.engine.next_oid().await?,
        row_type: session.engine.next_oid().await?,
        array_type: session.engine.next_oid().await?,
        schema,
        name,
        owner: session.user,
        version: 1,
        persistence: Persistence::Permanent,
        columns: Vec::new(),
        storage: session.engine.next_storage_id().await?,
        key: TableKey::RowId,
        indexes: Vec::new(),
        checks: Vec::new(),
        foreign_keys: Vec::new(),
        options: Vec::new(),
        buckets: Buckets::ONE,
    })
}

fn check_clauses(stmt: &CreateStmt) -> PgResult<()> {
    let refused = [
        (!stmt.inherits.is_empty() && stmt.partition_bound.is_none(), "INHERITS"),
        (stmt.partition_bound.is_some() || stmt.partition_by.is_some(), "declarative partitioning"),
        (stmt.of_type.is_some(), "CREATE TABLE OF"),
        (stmt.foreign.is_some(), "CREATE FOREIGN TABLE"),
    ];
    for (present, what) in refused {
        if present {
            return Err(unsupported(what));
        }
    }
    if stmt.on_commit != OnCommit::None {
        return Err(PgError::new(
            SqlState::INVALID_TABLE_DEFINITION,
            "ON COMMIT can only be used on temporary tables",
        ));
    }
    if let Some(method) = &stmt.access_method
        && &**method != "heap"
    {
        return Err(PgError::new(
            SqlState::UNDEFINED_OBJECT,
            format!("access method \"{method}\" does not exist"),
        ));
    }
    Ok(())
}

/// The text of an option's value.
pub fn arg_text(arg: &ast::DefArg) -> String {
    match arg {
        ast::DefArg::String(text) | ast::DefArg::Float(text) => text.to_string(),
        ast::DefArg::Integer(number) => number.to_string(),
        ast::DefArg::Boolean(flag) => flag.to_string(),
        ast::DefArg::Type(ty) => ty.names.last().map_or_else(String::new, ToString::to_string),
        ast::DefArg::Names(names) => names.join("."),
        ast::DefArg::Star => "*".to_owned(),
        ast::DefArg::List(_) | ast::DefArg::Role(_) => String::new(),
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Pass {
    Nulls,
    Keys,
    Checks,
}

struct Builder {
    table: TableDesc,
    /// Columns that want a sequence: attribute number, whether it is an identity, the sequence's options.
    serials: Vec<(i16, Option<bool>, SequenceOptions)>,
}

impl Builder {
    async fn column(&mut self, session: &mut PgSession, def: &ColumnDef) -> PgResult<()> {
        let column = self.plain(session, def)?;
        let attnum = push_column(&mut self.table, column)?;
        add_column_properties(session, &mut self.table, attnum, def, &mut self.serials).await
    }

    fn plain(&mut self, session: &mut PgSession, def: &ColumnDef) -> PgResult<ColumnDesc> {
        check_supported(def)?;
        check_column_name(&def.name)?;
        if self.table.column_by_name(&def.name).is_some() {
            return Err(PgError::new(
                SqlState::DUPLICATE_COLUMN,
                format!("column \"{}\" specified more than once", def.name),
            ));
        }
        let (column, serial) = described_column(session, def)?;
        if serial {
            self.serials.push((
                self.table.columns.len() as i16 + 1,
                None,
                SequenceOptions::of_type(column.ty),
            ));
        }
        Ok(column)
    }

    async fn like(&mut self, session: &mut PgSession, like: &TableLikeClause) -> PgResult<()> {
        let lock = |_: &Relation| ObjectLockMode::AccessShare;
        let relation = session.lock_relation_by_name(&like.relation, &lock).await?;
        let source = match &relation {
            Relation::Table(source) => source.clone(),
            Relation::View(view) => {
                for (name, ty, typmod, collation) in &view.columns {
                    let ty = Ty { oid: *ty, typmod: *typmod, collation: *collation };
                    self.like_column(plain_column(name, ty))?;
                }
                return Ok(());
            }
            _ => return Err(super::not_a_table(&relation)),
        };
        let wants = |option: LikeOption| {
            like.options
                .iter()
                .rev()
                .find(|(_, o)| *o == option || *o == LikeOption::All)
                .is_some_and(|(on, _)| *on)
        };
        for (_, column) in source.live_columns() {
            let mut copy = plain_column(
                &column.name,
                Ty { oid: column.ty, typmod: column.typmod, collation: column.collation },
            );
            let keep_default =
                if column.generated { wants(LikeOption::Generated) } else { wants(LikeOption::Defaults) };
            if keep_default && let Some(default) = &column.default {
                copy.default =
                    Some(DefaultDesc { oid: session.engine.next_oid().await?, sql: default.sql.clone() });
                copy.generated = column.generated;
            }
            let attnum = self.like_column(copy)?;
            if column.not_null.is_some() {
                set_not_null(session, &mut self.table, attnum, None).await?;
            }
            if let Some(identity) = &column.identity
                && wants(LikeOption::Identity)
            {
                self.serials.push((attnum, Some(identity.always), SequenceOptions::of_type(column.ty)));
            }
        }
        if wants(LikeOption::Constraints) {
            for check in &source.checks {
                let mut check = check.clone();
                check.oid = session.engine.next_oid().await?;
                self.table.checks.push(check);
            }
        }
        if wants(LikeOption::Indexes) {
            self.like_indexes(session, &source).await?;
        }
        Ok(())
    }

    /// Adds the copy of a column and returns its number.
    fn like_column(&mut self, copy: ColumnDesc) -> PgResult<i16> {
        if self.table.column_by_name(&copy.name).is_some() {
            let message = format!("column \"{}\" specified more than once", copy.name);
            return Err(PgError::new(SqlState::DUPLICATE_COLUMN, message));
        }
        push_column(&mut self.table, copy)
    }

    async fn like_indexes(&mut self, session: &mut PgSession, source: &TableDesc) -> PgResult<()> {
        for index in &source.indexes {
            let mut copy = index.clone();
            let mut columns = Vec::new();
            for part in &mut copy.columns {
                if let crate::catalog::IndexKey::Column(attnum) = &mut part.key {
                    let name = source.column(*attnum).name.clone();
                    if let Some((new, _)) = self.table.column_by_name(&name) {
                        *attnum = new;
                    }
                    columns.push(name);
                } else {
                    columns.push("expr".to_owned());
                }
            }
            let taken: Vec<String> =
                self.table.indexes.iter().map(|i| i.name.clone()).chain([self.table.name.clone()]).collect();
            let label = match (index.primary, index.constraint) {
                (true, _) => "pkey",
                (false, Some(_)) => "key",
                (false, None) => "idx",
            };
            let joined = names::joined_columns(&columns);
            let column = (!index.primary).then_some(joined.as_str());
            let catalog = session.catalog();
            copy.name = names::choose_relation_name(
                &catalog,
                self.table.schema,
                &taken,
                &self.table.name,
                column,
                label,
            );
            session.lock_name(self.table.schema, &copy.name).await?;
            copy.oid = session.engine.next_oid().await?;
            copy.storage = session.engine.next_storage_id().await?;
            copy.state = IndexState::Public;
            copy.buckets = options::buckets(session, &copy.options)?;
            if copy.constraint.is_some() {
                copy.constraint = Some(session.engine.next_oid().await?);
            }
            if copy.primary {
                self.table.indexes.insert(0, copy);
            } else {
                self.table.indexes.push(copy);
            }
        }
        Ok(())
    }

    async fn constraint(
        &mut self,
        session: &mut PgSession,
        constraint: &Constraint,
        column: Option<&Arc<str>>,
        pass: Pass,
    ) -> PgResult<()> {
        let table = &mut self.table;
        match (&constraint.kind, pass) {
            (ConstraintKind::NotNull(named), Pass::Nulls) => {
                let name =
                    named.as_ref().or(column).ok_or_else(|| PgError::internal("NOT NULL of no column"))?;
                let (attnum, _) = table.column_by_name(name).ok_or_else(|| {
                    PgError::new(
                        SqlState::UNDEFINED_COLUMN,
                        format!("column \"{name}\" of relation \"{}\" does not exist", table.name),
                    )
                })?;
                set_not_null(session, table, attnum, constraint.name.as_deref()).await
            }
            (ConstraintKind::PrimaryKey(index), Pass::Keys) => {
                let columns = key_columns(index, column);
                add_key(session, table, constraint, index, &columns, (true, false)).await
            }
            (ConstraintKind::Unique { nulls_not_distinct, index }, Pass::Keys) => {
                let columns = key_columns(index, column);
                add_key(session, table, constraint, index, &columns, (false, *nulls_not_distinct)).await
            }
            (ConstraintKind::Check(expr), Pass::Checks) => add_check(session, table, constraint, expr).await,
            (ConstraintKind::Exclusion(_), _) => Err(unsupported("EXCLUDE").at(constraint.pos)),
            _ => Ok(()),
        }
    }

    async fn finish(mut self, session: &mut PgSession) -> PgResult<TableDesc> {
        cluster_by_primary_key(&mut self.table)?;
        let table = &mut self.table;
        let mut sequences = Vec::new();
        for (attnum, identity, options) in self.serials {
            sequences.push(add_sequence(session, table, attnum, identity, &options).await?);
        }
        for sequence in sequences {
            session.record(Change::PutRelation(RelationDesc::Sequence(sequence)))?;
        }
        session.record(Change::PutRelation(RelationDesc::Table(self.table.clone())))?;
        Ok(self.table)
    }
}

/// A column as its definition says, without constraints; and whether it wants a sequence.
pub fn described_column(session: &mut PgSession, def: &ColumnDef) -> PgResult<(ColumnDesc, bool)> {
    let Some(type_name) = &def.type_name else { return Err(unsupported("a column without type")) };
    let WrittenType { mut ty, serial } = column_type(session, &def.name, type_name)?;
    if let Some(collate) = &def.collation {
        ty.collation = session.with_bind_context(|cx| crate::bind::resolve_collation(collate, ty, cx))?;
    }
    Ok((plain_column(&def.name, ty), serial))
}

/// DEFAULT, GENERATED and IDENTITY of a column that the table has already.
pub async fn add_column_properties(
    session: &mut PgSession,
    table: &mut TableDesc,
    attnum: i16,
    def: &ColumnDef,
    serials: &mut Vec<(i16, Option<bool>, SequenceOptions)>,
) -> PgResult<()> {
    let position = attnum as usize - 1;
    let is_serial = serials.iter().any(|(of, identity, _)| *of == attnum && identity.is_none());
    check_declarations(def, &table.name, is_serial)?;
    for constraint in &def.constraints {
        match &constraint.kind {
            ConstraintKind::Default(expr) => {
                let default = default_desc(session, &table.columns[position], expr).await?;
                table.columns[position].default = Some(default);
            }
            ConstraintKind::Generated { .. } => table.columns[position].generated = true,
            ConstraintKind::Identity { always, options } => {
                let ty = table.columns[position].ty;
                if !matches!(ty, oid::INT2 | oid::INT4 | oid::INT8) {
                    return Err(PgError::new(
                        SqlState::INVALID_PARAMETER_VALUE,
                        "identity column type must be smallint, integer, or bigint",
                    ));
                }
                set_not_null(session, table, attnum, None).await?;
                let mut parsed = SequenceOptions::of_type(ty);
                parsed.apply(options)?;
                serials.push((attnum, Some(*always), parsed));
            }
            _ => {}
        }
    }
    Ok(())
}

/// The expression of a generated column, once the table has all its columns.
pub async fn add_generation(session: &mut PgSession, table: &mut TableDesc, def: &ColumnDef) -> PgResult<()> {
    for constraint in &def.constraints {
        let ConstraintKind::Generated { expr, .. } = &constraint.kind else { continue };
        let sql = generation_sql(session, table, expr)?;
        let default = DefaultDesc { oid: session.engine.next_oid().await?, sql };
        if let Some(column) = table.columns.iter_mut().find(|c| c.name == *def.name && !c.dropped) {
            column.default = Some(default);
        }
    }
    Ok(())
}

/// The expression of a generated column as it is stored.
pub fn generation_sql(session: &mut PgSession, table: &TableDesc, expr: &ast::Expr) -> PgResult<String> {
    let message = "generation expression is not immutable";
    let (sql, _, used) = immutable_expression(session, table, expr, false, message)?;
    match used.iter().map(|attnum| table.column(*attnum)).find(|column| column.generated) {
        None => Ok(sql),
        Some(other) => {
            let message =
                format!("cannot use generated column \"{}\" in column generation expression", other.name);
            Err(PgError::new(SqlState::INVALID_OBJECT_DEFINITION, message)
                .detail("A generated column cannot reference another generated column."))
        }
    }
}

/// What a column definition says must go together (`transformColumnDefinition`).
fn check_declarations(def: &ColumnDef, table: &str, is_serial: bool) -> PgResult<()> {
    let refuse = |what: &str, pos: u32| {
        let message = format!("{what} for column \"{}\" of table \"{table}\"", def.name);
        Err(PgError::new(SqlState::SYNTAX_ERROR, message).at(pos))
    };
    let (mut default, mut identity, mut generated) = (is_serial, false, false);
    let mut nullable = is_serial.then_some(false);
    for constraint in &def.constraints {
        let pos = constraint.pos;
        let declared = match constraint.kind {
            ConstraintKind::Null => Some(true),
            ConstraintKind::NotNull(_) | ConstraintKind::PrimaryKey(_) | ConstraintKind::Identity { .. } => {
                Some(false)
            }
            _ => None,
        };
        if declared.is_some() && nullable.is_some() && declared != nullable {
            return refuse("conflicting NULL/NOT NULL declarations", pos);
        }
        nullable = nullable.or(declared);
        match constraint.kind {
            ConstraintKind::Default(_) if default => {
                return refuse("multiple default values specified", pos);
            }
            ConstraintKind::Default(_) => default = true,
            ConstraintKind::Identity { .. } if identity => {
                return refuse("multiple identity specifications", pos);
            }
            ConstraintKind::Identity { .. } => identity = true,
            ConstraintKind::Generated { .. } if generated => {
                return refuse("multiple generation clauses specified", pos);
            }
            ConstraintKind::Generated { .. } => generated = true,
            _ => {}
        }
        if default && identity {
            return refuse("both default and identity specified", pos);
        }
        if default && generated {
            return refuse("both default and generation expression specified", pos);
        }
        if identity && generated {
            return refuse("both identity and generation expression specified", pos);
        }
    }
    Ok(())
}

/// Makes the sequence behind a serial or identity column, and the column use it.
pub async fn add_sequence(
    session: &mut PgSession,
    table: &mut TableDesc,
    attnum: i16,
    identity: Option<bool>,
    options: &SequenceOptions,
) -> PgResult<crate::catalog::SequenceDesc> {
    let column = table.column(attnum).name.clone();
    let catalog = session.catalog();
    let taken: Vec<String> = table.indexes.iter().map(|i| i.name.clone()).collect();
    let name = names::choose_relation_name(&catalog, table.schema, &taken, &table.name, Some(&column), "seq");
    session.lock_name(table.schema, &name).await?;
    let mut sequence = sequence::describe(session, table.schema, name, options).await?;
    sequence.owned_by = Some((table.oid, attnum, identity.is_some()));
    match identity {
        Some(always) => {
            table.columns[attnum as usize - 1].identity = Some(Identity { always, sequence: sequence.oid });
        }
        None => {
            set_not_null(session, table, attnum, None).await?;
            // Found by oid, so that renaming the sequence does not break the default.
            let sql = format!("nextval({}::regclass)", sequence.oid.0);
            table.columns[attnum as usize - 1].default =
                Some(DefaultDesc { oid: session.engine.next_oid().await?, sql });
        }
    }
    Ok(sequence)
}

/// Stores the rows of a table without rows by its primary key, unless keys may be equal for a while.
///
/// # Errors
/// As [`options::share_buckets`].
pub fn cluster_by_primary_key(table: &mut TableDesc) -> PgResult<()> {
    if table.primary_key().is_some_and(|key| !key.deferrable) {
        table.key = TableKey::Primary;
        table.indexes[0].storage = table.storage;
        options::share_buckets(table)?;
    }
    Ok(())
}

fn key_columns(index: &IndexConstraint, column: Option<&Arc<str>>) -> Vec<Arc<str>> {
    match column {
        Some(column) if index.columns.is_empty() => vec![column.clone()],
        _ => index.columns.clone(),
    }
}

/// CREATE TABLE AS.
///
/// # Errors
/// Whatever the query raises.
pub async fn create_as(
    session: &mut PgSession,
    stmt: &CreateTableAsStmt,
    sql: &Arc<str>,
) -> PgResult<String> {
    let into = &stmt.into;
    let schema = names::creation_schema(session, &into.relation)?;
    let name = into.relation.name.to_string();
    session.lock_name(schema, &name).await?;
    let catalog = session.catalog();
    if let Err(error) = check_free(&catalog, schema, &name) {
        if stmt.if_not_exists {
            session.notice(format!("relation \"{name}\" already exists, skipping"));
            return Ok("CREATE TABLE AS".to_owned());
        }
        return Err(error);
    }
    let (prepared, params) = match &stmt.query {
        Statement::Execute(execute) => session.execute_target(execute)?,
        query => {
            let query = Arc::new(query.clone());
            (Arc::new(session.prepare(sql.clone(), Some(query), &[]).await?), Arc::from([]))
        }
    };
    let planned = session.plan_of(&prepared)?;
    if into.columns.len() > planned.output.len() {
        return Err(PgError::new(SqlState::SYNTAX_ERROR, "too many column names were specified"));
    }
    let mut table = empty_table(session, schema, name).await?;
    table.options = options::of_table(&into.options)?;
    table.buckets = options::buckets(session, &table.options)?;
    for (i, column) in planned.output.iter().enumerate() {
        let name = into.columns.get(i).map_or(&*column.name, |name| &**name);
        if table.column_by_name(name).is_some() {
            return Err(PgError::new(
                SqlState::DUPLICATE_COLUMN,
                format!("column \"{name}\" specified more than once"),
            ));
        }
        let mut ty = column.col.ty;
        if ty.oid == oid::UNKNOWN {
            ty = Ty::new(oid::TEXT);
        }
        push_column(&mut table, plain_column(name, ty))?;
    }
    session.record(Change::PutRelation(RelationDesc::Table(table.clone())))?;
    if into.skip_data {
        let executes = matches!(stmt.query, Statement::Execute(_));
        return Ok(if executes { "SELECT 0" } else { "CREATE TABLE AS" }.to_owned());
    }
    let execution = session.start(&prepared, params).await?;
    let count = super::fill::insert_all(session, Arc::new(table), execution).await?;
    Ok(format!("SELECT {count}"))
}

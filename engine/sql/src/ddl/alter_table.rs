//! ALTER TABLE: its commands are applied to one descriptor in order; what they ask of the rows (a check, a
//! rewrite) is done once at the end.

use std::sync::Arc;

use shardforge_kv::ObjectLockMode;
use shardforge_types::codec::row;
use shardforge_types::{Datum, Oid, PgError, PgResult, SqlState};

use super::columns::{
    add_check, add_key, check_column_name, check_supported, column_type, default_desc, push_column,
    set_not_null,
};
use super::create_table::{
    add_column_properties, add_generation, add_sequence, cluster_by_primary_key, described_column,
    generation_sql,
};
use super::drop::{drop_storage, fresh_storage, owned_sequences};
use super::sequence::SequenceOptions;
use super::{fill, foreign_key, names, options, role, split, unsupported};
use crate::bind;
use crate::catalog::{
    Change, DefaultDesc, ForeignKeyDesc, IndexKey, Relation, RelationDesc, SequenceDesc, TableDesc, TableKey,
    ViewDesc,
};
use crate::exec::eval::CompiledExpr;
use crate::ir::Ty;
use crate::parse::ast::{
    AlterTableCmd, AlterTableKind, AlterTableObject, AlterTableStmt, ColumnDef, Constraint, ConstraintKind,
    DefArg, DefElem, Expr, RoleSpec,
};
use crate::plan::single::is_volatile;
use crate::session::PgSession;

/// What the commands have asked for so far.
struct Work {
    table: TableDesc,
    /// Values of columns that every row gets: position and expression over the old row.
    computed: Vec<(usize, CompiledExpr)>,
    /// Rows must be stored anew.
    rewrite: bool,
    /// NOT NULL columns and checks to verify: positions, names.
    not_null: Vec<usize>,
    checks: Vec<String>,
    /// Names of new indexes to fill.
    new_indexes: Vec<String>,
    /// Foreign keys whose rows are to be checked: referencing table and constraint.
    references: Vec<(Oid, Oid)>,
}

/// ALTER TABLE, INDEX, VIEW and SEQUENCE as far as they share commands.
///
/// # Errors
/// Whatever it raises.
pub async fn alter(session: &mut PgSession, stmt: &AlterTableStmt) -> PgResult<()> {
    if names::find_relation_if_exists(session, &stmt.relation)?.is_none() && stmt.if_exists {
        session.notice(format!("relation \"{}\" does not exist, skipping", stmt.relation.name));
        return Ok(());
    }
    let relation = names::find_relation(session, &stmt.relation)?;
    if let [AlterTableCmd { kind: AlterTableKind::SplitAt(rows), .. }] = &stmt.commands[..]
        && let Relation::Table(_) | Relation::Index(..) = relation
    {
        return split::split_at(session, stmt, rows).await;
    }
    let Relation::Table(_) = relation else {
        let mode = |relation: &Relation| match relation {
            Relation::Index(..) => ObjectLockMode::ShareUpdateExclusive,
            _ => ObjectLockMode::AccessExclusive,
        };
        let relation = session.lock_relation_by_name(&stmt.relation, &mode).await?;
        return alter_other(session, stmt, &relation);
    };
    if stmt.object != AlterTableObject::Table {
        return Err(PgError::new(
            SqlState::WRONG_OBJECT_TYPE,
            format!("\"{}\" is not of the kind that was named", relation.name()),
        ));
    }
    let old = session.lock_table_by_name(&stmt.relation, lock_mode(stmt)).await?;
    foreign_key::check_nothing_pending(session, &old, "ALTER TABLE")?;
    let mut work = Work {
        table: TableDesc::clone(&old),
        computed: Vec::new(),
        rewrite: false,
        not_null: Vec::new(),
        checks: Vec::new(),
        new_indexes: Vec::new(),
        references: Vec::new(),
    };
    // Whatever their order in the statement, what is dropped goes first.
    let is_drop = |kind: &AlterTableKind| {
        matches!(kind, AlterTableKind::DropColumn { .. } | AlterTableKind::DropConstraint { .. })
    };
    for drops in [true, false] {
        for command in stmt.commands.iter().filter(|command| is_drop(&command.kind) == drops) {
            work.command(session, &command.kind).await?;
        }
    }
    work.finish(session, &old).await
}

/// What the commands need, as `AlterTableGetLockLevel` of PostgreSQL has it: foreign keys keep writers away; validation,
/// and what is a hint, nobody but other commands of the kind.
fn lock_mode(stmt: &AlterTableStmt) -> ObjectLockMode {
    let mode = |kind: &AlterTableKind| match kind {
        AlterTableKind::AddConstraint(Constraint { kind: ConstraintKind::ForeignKey(_), .. }) => {
            ObjectLockMode::ShareRowExclusive
        }
        AlterTableKind::ValidateConstraint(_)
        | AlterTableKind::SetStatistics(..)
        | AlterTableKind::SetColumnOptions(..)
        | AlterTableKind::ResetColumnOptions(..)
        | AlterTableKind::SetOptions(_)
        | AlterTableKind::ResetOptions(_)
        | AlterTableKind::ClusterOn(_)
        | AlterTableKind::DropCluster => ObjectLockMode::ShareUpdateExclusive,
        _ => ObjectLockMode::AccessExclusive,
    };
    stmt.commands.iter().map(|command| mode(&command.kind)).max().unwrap_or(ObjectLockMode::AccessExclusive)
}

/// Commands that views, sequences and indexes understand.
fn alter_other(session: &mut PgSession, stmt: &AlterTableStmt, relation: &Relation) -> PgResult<()> {
    for command in &stmt.commands {
        match (&command.kind, relation) {
            (AlterTableKind::OwnerTo(spec), _) => change_owner(session, relation, spec)?,
            (AlterTableKind::SetOptions(with), Relation::Index(table, position)) => {
                let mut changed = TableDesc::clone(table);
                options::set(&mut changed.indexes[*position].options, options::of_index(with)?)?;
                session.record_table(changed)?;
            }
            (AlterTableKind::ResetOptions(with), Relation::Index(table, position)) => {
                let mut changed = TableDesc::clone(table);
                options::reset(&mut changed.indexes[*position].options, with)?;
                session.record_table(changed)?;
            }
            // Hints without effect.
            (AlterTableKind::SetStatistics(..), Relation::Index(..))
            | (AlterTableKind::SetLogged(_), Relation::Sequence(_)) => {}
            (AlterTableKind::ColumnDefault(..) | AlterTableKind::SetOptions(_), Relation::View(_))
            | (AlterTableKind::ResetOptions(_), Relation::View(_)) => {
                return Err(unsupported("this ALTER of a relation that is not a table"));
            }
            (kind, _) => {
                let (kinds, action) = (kind_of(relation), action_name(kind));
                let message =
                    format!("ALTER action {action} cannot be performed on relation \"{}\"", relation.name());
                return Err(PgError::new(SqlState::WRONG_OBJECT_TYPE, message)
                    .detail(format!("This operation is not supported for {kinds}.")));
            }
        }
    }
    Ok(())
}

fn kind_of(relation: &Relation) -> &'static str {
    match relation {
        Relation::Table(_) => "tables",
        Relation::Index(..) => "indexes",
        Relation::View(_) => "views",
        Relation::Sequence(_) => "sequences",
    }
}

/// A command as errors call it.
fn action_name(kind: &AlterTableKind) -> &'static str {
    match kind {
        AlterTableKind::AddColumn { .. } => "ADD COLUMN",
        AlterTableKind::DropColumn { .. } => "DROP COLUMN",
        AlterTableKind::AlterColumnType { .. } => "ALTER COLUMN ... TYPE",
        AlterTableKind::ColumnDefault(_, Some(_)) => "ALTER COLUMN ... SET DEFAULT",
        AlterTableKind::ColumnDefault(_, None) => "ALTER COLUMN ... DROP DEFAULT",
        AlterTableKind::SetNotNull(_) => "ALTER COLUMN ... SET NOT NULL",
        AlterTableKind::DropNotNull(_) => "ALTER COLUMN ... DROP NOT NULL",
        AlterTableKind::SetStatistics(..) => "ALTER COLUMN ... SET STATISTICS",
        AlterTableKind::SetColumnOptions(..) | AlterTableKind::ResetColumnOptions(..) => {
            "ALTER COLUMN ... SET"
        }
        AlterTableKind::AddConstraint(_) => "ADD CONSTRAINT",
        AlterTableKind::DropConstraint { .. } => "DROP CONSTRAINT",
        AlterTableKind::ValidateConstraint(_) => "VALIDATE CONSTRAINT",
        AlterTableKind::AddIdentity(..) => "ALTER COLUMN ... ADD IDENTITY",
        AlterTableKind::DropIdentity(..) => "ALTER COLUMN ... DROP IDENTITY",
        AlterTableKind::ClusterOn(_) => "CLUSTER ON",
        AlterTableKind::DropCluster => "SET WITHOUT CLUSTER",
        AlterTableKind::SplitAt(_) => "SPLIT AT",
        _ => "ALTER TABLE",
    }
}

fn change_owner(session: &mut PgSession, relation: &Relation, spec: &RoleSpec) -> PgResult<()> {
    let owner = role::find(session, spec)?.oid;
    match relation {
        Relation::Table(table) | Relation::Index(table, _) => {
            session.record_table(TableDesc { owner, ..TableDesc::clone(table) })
        }
        Relation::View(view) => session
            .record(Change::PutRelation(RelationDesc::View(ViewDesc { owner, ..ViewDesc::clone(view) }))),
        Relation::Sequence(sequence) => {
            session.record(Change::PutRelation(RelationDesc::Sequence(SequenceDesc {
                owner,
                ..SequenceDesc::clone(sequence)
            })))
        }
    }
}

impl Work {
    fn find(&self, name: &str) -> PgResult<i16> {
        self.table.column_by_name(name).map(|(attnum, _)| attnum).ok_or_else(|| {
            PgError::new(
                SqlState::UNDEFINED_COLUMN,
                format!("column \"{name}\" of relation \"{}\" does not exist", self.table.name),
            )
        })
    }

    async fn command(&mut self, session: &mut PgSession, kind: &AlterTableKind) -> PgResult<()> {
        match kind {
            AlterTableKind::AddColumn { column, if_not_exists, .. } => {
                self.add_column(session, column, *if_not_exists).await
            }
            AlterTableKind::DropColumn { name, if_exists, cascade } => {
                self.drop_column(session, name, *if_exists, *cascade).await
            }
            AlterTableKind::AlterColumnType { name, type_name, collation, using, .. } => {
                let ty = new_type(session, name, type_name, collation.as_ref())?;
                self.change_type(session, name, ty, using.as_ref()).await
            }
            AlterTableKind::ColumnDefault(name, expr) => {
                let attnum = self.find(name)?;
                let column = &self.table.columns[attnum as usize - 1];
                if column.identity.is_some() {
                    return Err(PgError::new(
                        SqlState::SYNTAX_ERROR,
                        format!(
                            "column \"{name}\" of relation \"{}\" is an identity column",
                            self.table.name
                        ),
                    ));
                }
                if column.generated {
                    return Err(PgError::new(
                        SqlState::SYNTAX_ERROR,
                        format!(
                            "column \"{name}\" of relation \"{}\" is a generated column",
                            self.table.name
                        ),
                    ));
                }
                let default = match expr {
                    Some(expr) => Some(default_desc(session, column, expr).await?),
                    None => None,
                };
                self.table.columns[attnum as usize - 1].default = default;
                Ok(())
            }
            AlterTableKind::SetNotNull(name) => {
                let attnum = self.find(name)?;
                if self.table.column(attnum).not_null.is_none() {
                    self.not_null.push(attnum as usize - 1);
                    set_not_null(session, &mut self.table, attnum, None).await?;
                }
                Ok(())
            }
            AlterTableKind::DropNotNull(name) => {
                let attnum = self.find(name)?;
                let in_key = self
                    .table
                    .primary_key()
                    .is_some_and(|key| key.columns.iter().any(|c| c.key == IndexKey::Column(attnum)));
                if in_key {
                    return Err(PgError::new(
                        SqlState::INVALID_TABLE_DEFINITION,
                        format!("column \"{name}\" is in a primary key"),
                    ));
                }
                if self.table.column(attnum).identity.is_some() {
                    return Err(PgError::new(
                        SqlState::SYNTAX_ERROR,
                        format!(
                            "column \"{name}\" of relation \"{}\" is an identity column",
                            self.table.name
                        ),
                    ));
                }
                self.table.columns[attnum as usize - 1].not_null = None;
                Ok(())
            }
            AlterTableKind::AddConstraint(constraint) => self.add_constraint(session, constraint).await,
            AlterTableKind::DropConstraint { name, if_exists, cascade } => {
                self.drop_constraint(session, name, *if_exists, *cascade).await
            }
            AlterTableKind::ValidateConstraint(name) => self.validate_constraint(name),
            AlterTableKind::AlterConstraint(name, attrs) => {
                let table = self.table.oid;
                let check = foreign_key::alter(&mut self.table, name, attrs)?;
                self.references.extend(check.map(|constraint| (table, constraint)));
                Ok(())
            }
            AlterTableKind::OwnerTo(spec) => {
                self.table.owner = role::find(session, spec)?.oid;
                Ok(())
            }
            AlterTableKind::SetOptions(with) => {
                options::set(&mut self.table.options, options::of_table(with)?)
            }
            AlterTableKind::ResetOptions(with) => options::reset(&mut self.table.options, with),
            AlterTableKind::ClusterOn(index) => {
                let position = super::cluster::clusterable(session, &self.table, index)?;
                super::cluster::mark(&mut self.table, Some(position));
                Ok(())
            }
            AlterTableKind::DropCluster => {
                super::cluster::mark(&mut self.table, None);
                Ok(())
            }
            // Hints about storage that this store does not need.
            AlterTableKind::SetStatistics(..)
            | AlterTableKind::SetColumnOptions(..)
            | AlterTableKind::ResetColumnOptions(..)
            | AlterTableKind::SetStorage(..)
            | AlterTableKind::SetCompression(..)
            | AlterTableKind::DropOids
            | AlterTableKind::SetLogged(_)
            | AlterTableKind::ReplicaIdentity(_) => Ok(()),
            AlterTableKind::AddIdentity(name, constraint) => {
                let attnum = self.find(name)?;
                let ConstraintKind::Identity { always, options } = &constraint.kind else {
                    return Err(PgError::internal("ADD GENERATED without identity"));
                };
                let column = self.table.column(attnum);
                let refuse = |what: &str| {
                    let message = format!("column \"{name}\" of relation \"{}\" {what}", self.table.name);
                    Err(PgError::new(SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE, message))
                };
                check_identity_type(column.ty)?;
                if column.not_null.is_none() {
                    return refuse("must be declared NOT NULL before identity can be added");
                }
                if column.identity.is_some() {
                    return refuse("is already an identity column");
                }
                if column.default.is_some() {
                    return refuse("already has a default value");
                }
                let mut parsed = SequenceOptions::of_type(self.table.column(attnum).ty);
                parsed.apply(options)?;
                let sequence = add_sequence(session, &mut self.table, attnum, Some(*always), &parsed).await?;
                session.record(Change::PutRelation(RelationDesc::Sequence(sequence)))
            }
            AlterTableKind::SetIdentity(name, options) => self.set_identity(session, name, options).await,
            AlterTableKind::SetExpression(name, expr) => self.set_expression(session, name, expr).await,
            AlterTableKind::DropIdentity(name, if_exists) => {
                let attnum = self.find(name)?;
                match self.table.columns[attnum as usize - 1].identity.take() {
                    Some(identity) => session.record(Change::DropRelation(identity.sequence)),
                    None if *if_exists => Ok(()),
                    None => Err(PgError::new(
                        SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE,
                        format!(
                            "column \"{name}\" of relation \"{}\" is not an identity column",
                            self.table.name
                        ),
                    )),
                }
            }
            AlterTableKind::DropExpression(name, if_exists) => {
                let attnum = self.find(name)?;
                let column = &mut self.table.columns[attnum as usize - 1];
                if column.generated {
                    column.generated = false;
                    column.default = None;
                    Ok(())
                } else if *if_exists {
                    Ok(())
                } else {
                    Err(PgError::new(
                        SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE,
                        format!(
                            "column \"{name}\" of relation \"{}\" is not a generated column",
                            self.table.name
                        ),
                    ))
                }
            }
            _ => Err(unsupported("this form of ALTER TABLE")),
        }
    }

    /// VALIDATE CONSTRAINT.
    fn validate_constraint(&mut self, name: &str) -> PgResult<()> {
        let table = &mut self.table;
        if let Some(fk) = table.foreign_keys.iter_mut().find(|fk| fk.name == name) {
            if !fk.enforced {
                let message = "cannot validate NOT ENFORCED constraint";
                return Err(PgError::new(SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE, message));
            }
            if !std::mem::replace(&mut fk.validated, true) {
                self.references.push((table.oid, fk.oid));
            }
            return Ok(());
        }
        let check = table.checks.iter_mut().find(|check| check.name == name).ok_or_else(|| {
            PgError::new(
                SqlState::UNDEFINED_OBJECT,
                format!("constraint \"{name}\" of relation \"{}\" does not exist", table.name),
            )
        })?;
        check.validated = true;
        self.checks.push(name.to_owned());
        Ok(())
    }

    /// SET GENERATED and the options of an identity's sequence.
    async fn set_identity(
        &mut self,
        session: &mut PgSession,
        name: &str,
        options: &[DefElem],
    ) -> PgResult<()> {
        let attnum = self.find(name)?;
        let column = &mut self.table.columns[attnum as usize - 1];
        let Some(identity) = &mut column.identity else {
            let message =
                format!("column \"{name}\" of relation \"{}\" is not an identity column", self.table.name);
            return Err(PgError::new(SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE, message));
        };
        let (kind, of_sequence): (Vec<&DefElem>, Vec<&DefElem>) =
            options.iter().partition(|option| &*option.name == "generated");
        if let [_, again, ..] = kind[..] {
            let error = PgError::new(SqlState::SYNTAX_ERROR, "conflicting or redundant options");
            return Err(error.at(again.pos));
        }
        if let [DefElem { arg: Some(DefArg::Boolean(always)), .. }] = kind[..] {
            identity.always = *always;
        }
        if of_sequence.is_empty() {
            return Ok(());
        }
        let sequence = super::sequence::lock(session, identity.sequence).await?;
        let mut parsed = SequenceOptions::of_type(sequence.ty);
        let of_sequence: Vec<DefElem> = of_sequence.into_iter().cloned().collect();
        parsed.apply(&of_sequence)?;
        super::sequence::change(session, sequence, &parsed).await
    }

    /// SET EXPRESSION: the rows are computed anew.
    async fn set_expression(&mut self, session: &mut PgSession, name: &str, expr: &Expr) -> PgResult<()> {
        let attnum = self.find(name)?;
        if !self.table.column(attnum).generated {
            let message =
                format!("column \"{name}\" of relation \"{}\" is not a generated column", self.table.name);
            return Err(PgError::new(SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE, message));
        }
        let sql = generation_sql(session, &self.table, expr)?;
        let default = DefaultDesc { oid: session.engine.next_oid().await?, sql };
        self.table.columns[attnum as usize - 1].default = Some(default);
        self.rewrite = true;
        Ok(())
    }

    async fn add_column(
        &mut self,
        session: &mut PgSession,
        def: &ColumnDef,
        if_not_exists: bool,
    ) -> PgResult<()> {
        check_supported(def)?;
        check_column_name(&def.name)?;
        if self.table.column_by_name(&def.name).is_some() {
            if if_not_exists {
                session.notice(format!(
                    "column \"{}\" of relation \"{}\" already exists, skipping",
                    def.name, self.table.name
                ));
                return Ok(());
            }
            return Err(PgError::new(
                SqlState::DUPLICATE_COLUMN,
                format!("column \"{}\" of relation \"{}\" already exists", def.name, self.table.name),
            ));
        }
        let (column, serial) = described_column(session, def)?;
        let attnum = push_column(&mut self.table, column)?;
        let position = attnum as usize - 1;
        let mut serials = Vec::new();
        if serial {
            serials.push((attnum, None, SequenceOptions::of_type(self.table.columns[position].ty)));
        }
        add_column_properties(session, &mut self.table, attnum, def, &mut serials).await?;
        add_generation(session, &mut self.table, def).await?;
        let has_sequence = !serials.is_empty();
        let mut next = None;
        for (attnum, identity, options) in serials {
            let sequence = add_sequence(session, &mut self.table, attnum, identity, &options).await?;
            next = Some(format!("nextval({}::regclass)", sequence.oid.0));
            session.record(Change::PutRelation(RelationDesc::Sequence(sequence)))?;
        }
        self.fill_column(session, position, next)?;
        for constraint in &def.constraints {
            match &constraint.kind {
                ConstraintKind::NotNull(_) => {
                    if self.table.columns[position].not_null.is_none() {
                        if !has_sequence {
                            self.not_null.push(position);
                        }
                        set_not_null(session, &mut self.table, attnum, constraint.name.as_deref()).await?;
                    }
                }
                ConstraintKind::PrimaryKey(_) | ConstraintKind::Unique { .. } | ConstraintKind::Check(_) => {
                    let constraint = on_column(constraint, &def.name);
                    self.add_constraint(session, &constraint).await?;
                }
                ConstraintKind::ForeignKey(_) => {
                    let oid = foreign_key::add(session, &mut self.table, constraint, Some(&def.name)).await?;
                    self.references.push((self.table.oid, oid));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// The value that a new column has in existing rows: kept aside if it is one constant for all, else the rows
    /// are rewritten.
    fn fill_column(
        &mut self,
        session: &mut PgSession,
        position: usize,
        next: Option<String>,
    ) -> PgResult<()> {
        let column = &self.table.columns[position];
        let Some(sql) = next.or_else(|| column.default.as_ref().map(|default| default.sql.clone())) else {
            return Ok(());
        };
        let ty = Ty { oid: column.ty, typmod: column.typmod, collation: column.collation };
        let expr = crate::parse::parse_expression(&sql)?;
        if column.generated {
            self.rewrite = true;
            return Ok(());
        }
        let scalar = session.with_bind_context(|cx| bind::bind_default(&expr, &column.name, ty, cx))?;
        let compiled = CompiledExpr::compile(&scalar, &|_| None)?;
        if is_volatile(&scalar) {
            self.rewrite = true;
            self.computed.push((position, compiled));
            return Ok(());
        }
        let env = session.eval_env();
        let value = compiled.eval(&Vec::new(), &[], &env)?;
        if !value.is_null() {
            let mut bytes = Vec::new();
            row::encode(&[value], &mut bytes);
            self.table.columns[position].missing = Some(bytes);
        }
        Ok(())
    }

    async fn drop_column(
        &mut self,
        session: &mut PgSession,
        name: &str,
        if_exists: bool,
        cascade: bool,
    ) -> PgResult<()> {
        let Some((attnum, _)) = self.table.column_by_name(name) else {
            if if_exists {
                session.notice(format!(
                    "column \"{name}\" of relation \"{}\" does not exist, skipping",
                    self.table.name
                ));
                return Ok(());
            }
            return self.find(name).map(|_| ());
        };
        let catalog = session.catalog();
        let views: Vec<Relation> = catalog
            .relations
            .values()
            .filter(|r| matches!(r, Relation::View(view) if view.depends_on.contains(&self.table.oid)))
            .cloned()
            .collect();
        if let (Some(view), false) = (views.first(), cascade) {
            return Err(PgError::new(
                SqlState::DEPENDENT_OBJECTS_STILL_EXIST,
                format!(
                    "cannot drop column {name} of table {} because other objects depend on it",
                    self.table.name
                ),
            )
            .detail(format!("view {} depends on column {name} of table {}", view.name(), self.table.name))
            .hint("Use DROP ... CASCADE to drop the dependent objects too."));
        }
        let generated = self.table.live_columns().find_map(|(other, column)| {
            let sql = &column.default.as_ref().filter(|_| column.generated && other != attnum)?.sql;
            let uses = crate::catalog::info::referenced_columns(&self.table, sql).contains(&attnum);
            uses.then(|| column.name.clone())
        });
        if let Some(dependent) = generated {
            if cascade {
                session.notice(format!("drop cascades to column {dependent} of table {}", self.table.name));
                Box::pin(self.drop_column(session, &dependent, true, true)).await?;
                return Box::pin(self.drop_column(session, name, if_exists, cascade)).await;
            }
            return Err(PgError::new(
                SqlState::DEPENDENT_OBJECTS_STILL_EXIST,
                format!(
                    "cannot drop column {name} of table {} because other objects depend on it",
                    self.table.name
                ),
            )
            .detail(format!(
                "column {dependent} of table {0} depends on column {name} of table {0}",
                self.table.name
            ))
            .hint("Use DROP ... CASCADE to drop the dependent objects too."));
        }
        // Its own foreign keys go with the column; those that reference it need CASCADE.
        self.table.foreign_keys.retain(|fk| !fk.columns.contains(&attnum));
        let on = format!("column {name} of table {}", self.table.name);
        let uses = |fk: &ForeignKeyDesc| fk.ref_columns.contains(&attnum);
        foreign_key::release(session, &mut self.table, (&on, &on), &uses, cascade).await?;
        for view in views {
            session.record(Change::DropRelation(view.oid()))?;
        }
        for sequence in owned_sequences(&catalog, self.table.oid, Some(attnum)) {
            session.record(Change::DropRelation(sequence))?;
        }
        let table = self.table.clone();
        let uses = |sql: &str| crate::catalog::info::referenced_columns(&table, sql).contains(&attnum);
        self.table.checks.retain(|check| !uses(&check.sql));
        let clustered = self.table.key == TableKey::Primary;
        let mut dropped = Vec::new();
        let mut unclustered = false;
        self.table.indexes.retain(|index| {
            let used = index.columns.iter().any(|column| match &column.key {
                IndexKey::Column(a) => *a == attnum,
                IndexKey::Expression(sql) => uses(sql),
            }) || index.include.contains(&attnum)
                || index.predicate.as_deref().is_some_and(uses);
            if used && index.primary && clustered {
                unclustered = true;
            } else if used {
                dropped.push(index.storage);
            }
            !used
        });
        session.ensure_txn().dropped_storage.extend(dropped);
        if unclustered {
            self.table.key = TableKey::RowId;
            self.rewrite = true;
        }
        let column = &mut self.table.columns[attnum as usize - 1];
        column.name = format!("........pg.dropped.{attnum}........");
        column.dropped = true;
        column.not_null = None;
        column.default = None;
        column.identity = None;
        column.generated = false;
        column.missing = None;
        Ok(())
    }

    async fn change_type(
        &mut self,
        session: &mut PgSession,
        name: &str,
        ty: Ty,
        using: Option<&Expr>,
    ) -> PgResult<()> {
        let attnum = self.find(name)?;
        let position = attnum as usize - 1;
        if self.table.column(attnum).identity.is_some() {
            check_identity_type(ty.oid)?;
        }
        let catalog = session.catalog();
        if let Some(view) = catalog
            .relations
            .values()
            .find(|r| matches!(r, Relation::View(view) if view.depends_on.contains(&self.table.oid)))
        {
            return Err(PgError::not_supported("cannot alter type of a column used by a view or rule")
                .detail(format!("rule _RETURN on view {} depends on column \"{name}\"", view.name())));
        }
        let table = &self.table;
        let (scalar, cols) =
            session.with_bind_context(|cx| bind::bind_column_conversion(using, table, attnum, ty, cx))?;
        let compiled = CompiledExpr::compile(&scalar, &|id| {
            cols.iter().find(|(col, _)| col.id == id).map(|(_, attnum)| *attnum as usize - 1)
        })?;
        self.computed.push((position, compiled));
        self.rewrite = true;
        let column = &mut self.table.columns[position];
        column.ty = ty.oid;
        column.typmod = ty.typmod;
        column.collation = ty.collation;
        column.missing = None;
        if let Some(default) = column.default.clone()
            && !column.generated
        {
            let expr = crate::parse::parse_expression(&default.sql)?;
            let column = self.table.columns[position].clone();
            self.table.columns[position].default =
                Some(default_desc(session, &column, &expr).await.map_err(|_| {
                    PgError::new(
                        SqlState::DATATYPE_MISMATCH,
                        format!(
                            "default for column \"{name}\" cannot be cast automatically to type {}",
                            shardforge_types::type_name(ty.oid)
                        ),
                    )
                })?);
        }
        let oid = self.table.oid;
        let own = self.table.foreign_keys.iter().filter(|fk| fk.columns.contains(&attnum));
        self.references.extend(own.map(|fk| (oid, fk.oid)));
        for (other, fk) in foreign_key::dependents(&catalog, oid, &|_, fk| fk.ref_columns.contains(&attnum)) {
            let wait = session.lock_wait();
            session.lock_table(other.oid, ObjectLockMode::AccessExclusive, wait).await?;
            self.references.push((other.oid, fk.oid));
        }
        for index in &mut self.table.indexes {
            for part in &mut index.columns {
                if part.key == IndexKey::Column(attnum) {
                    super::columns::check_indexable(ty.oid)?;
                    part.ty = ty.oid;
                }
            }
        }
        Ok(())
    }

    async fn add_constraint(&mut self, session: &mut PgSession, constraint: &Constraint) -> PgResult<()> {
        match &constraint.kind {
            ConstraintKind::Check(expr) => {
                add_check(session, &mut self.table, constraint, expr).await?;
                if !constraint.attrs.not_valid
                    && let Some(check) = self.table.checks.last()
                {
                    self.checks.push(check.name.clone());
                }
                Ok(())
            }
            ConstraintKind::PrimaryKey(index) => {
                let before: Vec<bool> = self.table.columns.iter().map(|c| c.not_null.is_some()).collect();
                add_key(session, &mut self.table, constraint, index, &index.columns.clone(), (true, false))
                    .await?;
                for (position, column) in self.table.columns.iter().enumerate() {
                    if column.not_null.is_some() && !before.get(position).copied().unwrap_or(false) {
                        self.not_null.push(position);
                    }
                }
                match self.table.primary_key() {
                    // The rows move under their key.
                    Some(key) if !key.deferrable => self.rewrite = true,
                    Some(key) => self.new_indexes.push(key.name.clone()),
                    None => {}
                }
                Ok(())
            }
            ConstraintKind::Unique { nulls_not_distinct, index } => {
                let columns = index.columns.clone();
                add_key(session, &mut self.table, constraint, index, &columns, (false, *nulls_not_distinct))
                    .await?;
                if let Some(index) = self.table.indexes.last() {
                    self.new_indexes.push(index.name.clone());
                }
                Ok(())
            }
            ConstraintKind::NotNull(Some(name)) => {
                let attnum = self.find(name)?;
                self.not_null.push(attnum as usize - 1);
                set_not_null(session, &mut self.table, attnum, constraint.name.as_deref()).await
            }
            ConstraintKind::ForeignKey(_) => {
                let oid = foreign_key::add(session, &mut self.table, constraint, None).await?;
                self.references.push((self.table.oid, oid));
                Ok(())
            }
            ConstraintKind::Exclusion(_) => Err(unsupported("EXCLUDE").at(constraint.pos)),
            _ => Err(unsupported("this constraint")),
        }
    }

    async fn drop_constraint(
        &mut self,
        session: &mut PgSession,
        name: &str,
        if_exists: bool,
        cascade: bool,
    ) -> PgResult<()> {
        let table = &mut self.table;
        if let Some(position) = table.foreign_keys.iter().position(|fk| fk.name == name) {
            let removed = table.foreign_keys.remove(position);
            let wait = session.lock_wait();
            return session.lock_table(removed.ref_table, ObjectLockMode::AccessExclusive, wait).await;
        }
        if let Some(position) = table.checks.iter().position(|check| check.name == name) {
            table.checks.remove(position);
            return Ok(());
        }
        let index = table.indexes.iter().position(|index| index.constraint.is_some() && index.name == name);
        if let Some(position) = index {
            let used = table.indexes[position].oid;
            let subject = format!("constraint {name} on table {}", table.name);
            let on = format!("index {name}");
            let uses = |fk: &ForeignKeyDesc| fk.ref_index == used;
            foreign_key::release(session, table, (&subject, &on), &uses, cascade).await?;
            let removed = table.indexes.remove(position);
            if removed.primary && table.key == TableKey::Primary {
                table.key = TableKey::RowId;
                self.rewrite = true;
            } else {
                session.ensure_txn().dropped_storage.push(removed.storage);
            }
            return Ok(());
        }
        let column = table.columns.iter_mut().find(|c| c.not_null.as_ref().is_some_and(|n| n.name == name));
        if let Some(column) = column {
            column.not_null = None;
            return Ok(());
        }
        let message = format!("constraint \"{name}\" of relation \"{}\" does not exist", table.name);
        if if_exists {
            session.notice(format!("{message}, skipping"));
            return Ok(());
        }
        Err(PgError::new(SqlState::UNDEFINED_OBJECT, message))
    }

    async fn finish(self, session: &mut PgSession, old: &Arc<TableDesc>) -> PgResult<()> {
        let Work { mut table, computed, rewrite, not_null, checks, new_indexes, references } = self;
        let mut constants = Vec::new();
        if rewrite {
            // The one value of a column that the old rows do not have.
            for (position, column) in table.columns.iter().enumerate().skip(old.columns.len()) {
                if let Some(bytes) = &column.missing {
                    constants.extend(row::decode(bytes, &[column.ty])?.into_iter().map(|v| (position, v)));
                }
            }
            drop_storage(session, old);
            cluster_by_primary_key(&mut table)?;
            fresh_storage(session, &mut table).await?;
            for column in &mut table.columns {
                column.missing = None;
            }
        }
        session.record_table(table)?;
        let catalog = session.catalog();
        let new =
            catalog.table(old.oid).cloned().ok_or_else(|| PgError::internal("the altered table is gone"))?;
        if rewrite {
            let env = session.eval_env();
            let change = |values: &mut Vec<Datum>| -> PgResult<()> {
                let results = computed
                    .iter()
                    .map(|(position, expr)| Ok((*position, expr.eval(&*values, &[], &env)?)))
                    .collect::<PgResult<Vec<_>>>()?;
                for (position, value) in constants.iter().cloned().chain(results) {
                    values[position] = value;
                }
                Ok(())
            };
            fill::rewrite(session, old, new, &change).await?;
        } else {
            verify(session, &new, &not_null, &checks).await?;
            for name in &new_indexes {
                if let Some(position) = new.indexes.iter().position(|index| index.name == *name) {
                    fill::fill_index(session, "CREATE INDEX", old, new.clone(), position).await?;
                }
            }
        }
        for (table, constraint) in references {
            foreign_key::validate(session, table, constraint).await?;
        }
        Ok(())
    }
}

/// 22023 for a type that no identity column has.
fn check_identity_type(ty: shardforge_types::Oid) -> PgResult<()> {
    use shardforge_types::oid;
    match ty {
        oid::INT2 | oid::INT4 | oid::INT8 => Ok(()),
        _ => Err(PgError::new(
            SqlState::INVALID_PARAMETER_VALUE,
            "identity column type must be smallint, integer, or bigint",
        )),
    }
}

fn new_type(
    session: &mut PgSession,
    name: &str,
    type_name: &crate::parse::ast::TypeName,
    collation: Option<&crate::parse::ast::CollateClause>,
) -> PgResult<Ty> {
    let mut ty = column_type(session, name, type_name)?.ty;
    if let Some(collate) = collation {
        ty.collation = session.with_bind_context(|cx| bind::resolve_collation(collate, ty, cx))?;
    }
    Ok(ty)
}

/// A column constraint as the table constraint that it stands for.
fn on_column(constraint: &Constraint, column: &crate::parse::ast::Name) -> Constraint {
    let mut constraint = constraint.clone();
    match &mut constraint.kind {
        ConstraintKind::PrimaryKey(index) | ConstraintKind::Unique { index, .. }
            if index.columns.is_empty() =>
        {
            index.columns.push(column.clone());
        }
        _ => {}
    }
    constraint
}

/// Checks that the rows satisfy new NOT NULL and CHECK constraints.
async fn verify(
    session: &mut PgSession,
    table: &Arc<TableDesc>,
    not_null: &[usize],
    checks: &[String],
) -> PgResult<()> {
    if not_null.is_empty() && checks.is_empty() {
        return Ok(());
    }
    let catalog = session.catalog();
    let layout = session.engine.layout(table, &catalog)?;
    let env = session.eval_env();
    let check = |row: &[Datum]| -> PgResult<()> {
        for position in not_null {
            if row[*position].is_null() {
                let column = &table.columns[*position].name;
                return Err(PgError::new(
                    SqlState::NOT_NULL_VIOLATION,
                    format!("column \"{column}\" of relation \"{}\" contains null values", table.name),
                )
                .table(&*table.name)
                .column(&**column));
            }
        }
        for (name, condition) in &layout.checks {
            if checks.contains(name) && condition.eval(&row, &[], &env)? == Datum::Bool(false) {
                return Err(PgError::new(
                    SqlState::CHECK_VIOLATION,
                    format!(
                        "check constraint \"{name}\" of relation \"{}\" is violated by some row",
                        table.name
                    ),
                )
                .table(&*table.name)
                .constraint(&**name));
            }
        }
        Ok(())
    };
    fill::validate(session, table, &check).await
}

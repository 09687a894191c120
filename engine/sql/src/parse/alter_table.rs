//! ALTER TABLE and what shares its commands: ALTER INDEX, VIEW, SEQUENCE, MATERIALIZED VIEW, FOREIGN TABLE, TYPE.

use super::ast::{
    AlterSeqStmt, AlterTableCmd, AlterTableKind, AlterTableObject, AlterTableStmt, ColumnNameOrNumber,
    Constraint, ConstraintAttrs, ConstraintKind, Names, ObjectName, RangeVar, RenameTarget, ReplicaIdentity,
    RowSecurity, Statement, TriggerState,
};
use super::cursor::Parser;
use super::error::{PResult, ParseError};
use super::keywords::Kw;
use super::lexer::Kind;
use super::object::{relation_type, rename};
use super::options::flag;
use shardforge_types::SqlState;

use AlterTableKind as Cmd;
use AlterTableObject as Object;

impl Parser<'_> {
    /// ALTER of a relation, after the words that name its kind.
    pub(super) fn alter_relation(&mut self, object: Object, pos: u32) -> PResult<Statement> {
        if matches!(object, Object::Table | Object::Index | Object::MaterializedView)
            && self.at_kws(&[Kw::All, Kw::In, Kw::Tablespace])
        {
            return self.other("ALTER TABLESPACE", pos);
        }
        let if_exists = self.if_exists();
        let relation = match object {
            Object::Table | Object::ForeignTable => self.relation_expr()?,
            _ => self.qualified_name()?,
        };
        if self.at_kw(Kw::Rename) {
            return self.rename_in_relation(object, relation, if_exists, pos);
        }
        if self.at_kws(&[Kw::Set, Kw::Schema]) {
            self.bump();
            self.bump();
            return self.alter_schema_of(relation_name(object, &relation), if_exists);
        }
        if matches!(self.kind(), Kind::Kw(Kw::Depends)) || self.at_kws(&[Kw::No, Kw::Depends]) {
            return self.other("ALTER INDEX", pos);
        }
        if object == Object::Sequence && self.at_sequence_option() {
            let options = self.sequence_options()?;
            return Ok(Statement::AlterSeq(Box::new(AlterSeqStmt {
                sequence: relation,
                options,
                if_exists,
                pos,
            })));
        }
        let alone = match self.opt_partition_command(object)? {
            None => self.opt_split_command()?,
            command => command,
        };
        let commands = match alone {
            Some(command) => vec![command],
            None => self.list(|p| p.alter_command(object))?,
        };
        Ok(Statement::AlterTable(Box::new(AlterTableStmt { object, relation, commands, if_exists, pos })))
    }

    fn at_sequence_option(&self) -> bool {
        !matches!(self.kind(), Kind::Kw(Kw::Owner | Kw::Set | Kw::Alter | Kw::Add | Kw::Drop))
    }

    /// `RENAME TO`, `RENAME [COLUMN] a TO b`, `RENAME CONSTRAINT a TO b`, `RENAME ATTRIBUTE a TO b`.
    fn rename_in_relation(
        &mut self,
        object: Object,
        relation: RangeVar,
        if_exists: bool,
        pos: u32,
    ) -> PResult<Statement> {
        self.expect_kw(Kw::Rename)?;
        if self.eat_kw(Kw::To) {
            let new_name = self.col_id()?;
            return Ok(rename(RenameTarget::Relation(object, relation), new_name, if_exists, pos));
        }
        if self.eat_kw(Kw::Constraint) {
            let old = self.col_id()?;
            self.expect_kw(Kw::To)?;
            return Ok(rename(RenameTarget::TableConstraint(relation, old), self.col_id()?, if_exists, pos));
        }
        let attribute = object == Object::Type;
        if attribute {
            self.expect_kw(Kw::Attribute)?;
        } else {
            self.eat_kw(Kw::Column);
        }
        let old = self.col_id()?;
        self.expect_kw(Kw::To)?;
        let new_name = self.col_id()?;
        let mut stmt = rename(RenameTarget::Column(object, relation, old), new_name, if_exists, pos);
        if attribute && let Statement::Rename(stmt) = &mut stmt {
            stmt.cascade = self.opt_cascade();
        }
        Ok(stmt)
    }

    /// ATTACH and DETACH PARTITION, which stand alone.
    fn opt_partition_command(&mut self, object: Object) -> PResult<Option<AlterTableCmd>> {
        let pos = self.pos();
        let kind = if self.eat_kw(Kw::Attach) {
            self.expect_kw(Kw::Partition)?;
            let partition = self.qualified_name()?;
            let bound = if object == Object::Index { None } else { Some(self.partition_bound()?) };
            Cmd::AttachPartition(partition, bound)
        } else if self.eat_kw(Kw::Detach) {
            self.expect_kw(Kw::Partition)?;
            let name = self.qualified_name()?;
            let concurrently = self.eat_kw(Kw::Concurrently);
            let finalize = !concurrently && self.eat_kw(Kw::Finalize);
            Cmd::DetachPartition { name, concurrently, finalize }
        } else {
            return Ok(None);
        };
        Ok(Some(AlterTableCmd { kind, pos }))
    }

    fn alter_command(&mut self, object: Object) -> PResult<AlterTableCmd> {
        let pos = self.pos();
        let Kind::Kw(kw) = self.kind() else { return self.unexpected() };
        let kind = match kw {
            Kw::Add => self.alter_add(object)?,
            Kw::Drop => self.alter_drop(object)?,
            Kw::Alter => self.alter_alter(object)?,
            Kw::Set => self.alter_set()?,
            Kw::Validate => {
                self.bump();
                self.expect_kw(Kw::Constraint)?;
                Cmd::ValidateConstraint(self.col_id()?)
            }
            Kw::Reset => {
                self.bump();
                Cmd::ResetOptions(self.definition()?)
            }
            Kw::Cluster => {
                self.bump();
                self.expect_kw(Kw::On)?;
                Cmd::ClusterOn(self.col_id()?)
            }
            Kw::Enable | Kw::Disable => self.alter_enable()?,
            Kw::Force => {
                self.bump();
                self.expect_kws(&[Kw::Row, Kw::Level, Kw::Security])?;
                Cmd::RowSecurity(RowSecurity::Force)
            }
            Kw::Inherit => {
                self.bump();
                Cmd::Inherit(self.qualified_name()?)
            }
            Kw::No => {
                self.bump();
                if self.eat_kw(Kw::Force) {
                    self.expect_kws(&[Kw::Row, Kw::Level, Kw::Security])?;
                    Cmd::RowSecurity(RowSecurity::NoForce)
                } else {
                    self.expect_kw(Kw::Inherit)?;
                    Cmd::NoInherit(self.qualified_name()?)
                }
            }
            Kw::Of => {
                self.bump();
                let at = self.pos();
                let names = self.any_name()?;
                Cmd::OfType(super::primary::named_type(names, Vec::new(), at))
            }
            Kw::Not => {
                self.bump();
                self.expect_kw(Kw::Of)?;
                Cmd::NotOf
            }
            Kw::Owner => {
                self.bump();
                self.expect_kw(Kw::To)?;
                Cmd::OwnerTo(self.role_spec()?)
            }
            Kw::Replica => {
                self.bump();
                self.expect_kw(Kw::Identity)?;
                Cmd::ReplicaIdentity(self.replica_identity()?)
            }
            Kw::Options => Cmd::FdwOptions(self.alter_generic_options()?),
            _ => return self.unexpected(),
        };
        Ok(AlterTableCmd { kind, pos })
    }

    fn replica_identity(&mut self) -> PResult<ReplicaIdentity> {
        let identity = match self.kind() {
            Kind::Kw(Kw::Nothing) => ReplicaIdentity::Nothing,
            Kind::Kw(Kw::Full) => ReplicaIdentity::Full,
            Kind::Kw(Kw::Default) => ReplicaIdentity::Default,
            Kind::Kw(Kw::Using) => {
                self.bump();
                self.expect_kw(Kw::Index)?;
                return Ok(ReplicaIdentity::Index(self.col_id()?));
            }
            _ => return self.unexpected(),
        };
        self.bump();
        Ok(identity)
    }

    fn alter_add(&mut self, object: Object) -> PResult<Cmd> {
        self.expect_kw(Kw::Add)?;
        if object == Object::Type {
            self.expect_kw(Kw::Attribute)?;
            let short = self.table_func_element()?;
            let pos = short.pos;
            let column = super::ast::ColumnDef {
                name: short.name,
                type_name: Some(short.type_name),
                storage: None,
                compression: None,
                collation: short.collation,
                constraints: Vec::new(),
                fdw_options: Vec::new(),
                pos,
            };
            let cascade = self.opt_cascade();
            return Ok(Cmd::AddColumn { column, if_not_exists: false, cascade });
        }
        let constraint = match self.kind() {
            Kind::Kw(Kw::Constraint | Kw::Check | Kw::Unique | Kw::Primary | Kw::Foreign | Kw::Not) => true,
            Kind::Kw(Kw::Exclude) => matches!(self.kind_at(1), Kind::Char(b'(') | Kind::Kw(Kw::Using)),
            _ => false,
        };
        if constraint {
            return Ok(Cmd::AddConstraint(self.table_constraint()?));
        }
        self.eat_kw(Kw::Column);
        let if_not_exists = self.if_not_exists()?;
        Ok(Cmd::AddColumn { column: self.column_def()?, if_not_exists, cascade: false })
    }

    fn alter_drop(&mut self, object: Object) -> PResult<Cmd> {
        self.expect_kw(Kw::Drop)?;
        if self.eat_kw(Kw::Constraint) {
            let if_exists = self.if_exists();
            let name = self.col_id()?;
            return Ok(Cmd::DropConstraint { name, if_exists, cascade: self.opt_cascade() });
        }
        if object == Object::Type {
            self.expect_kw(Kw::Attribute)?;
        } else {
            self.eat_kw(Kw::Column);
        }
        let if_exists = self.if_exists();
        let name = self.col_id()?;
        Ok(Cmd::DropColumn { name, if_exists, cascade: self.opt_cascade() })
    }

    fn alter_alter(&mut self, object: Object) -> PResult<Cmd> {
        self.expect_kw(Kw::Alter)?;
        if self.eat_kw(Kw::Constraint) {
            let name = self.col_id()?;
            if self.eat_kw(Kw::Inherit) {
                return Ok(Cmd::AlterConstraintInherit(name));
            }
            let attrs: ConstraintAttrs = self.altered_constraint_attrs()?;
            return Ok(Cmd::AlterConstraint(name, attrs));
        }
        if object == Object::Type {
            self.expect_kw(Kw::Attribute)?;
        } else {
            self.eat_kw(Kw::Column);
        }
        if self.kind() == Kind::Int {
            let pos = self.pos();
            let number = self.int()?;
            if !(1..=i32::from(i16::MAX)).contains(&number) {
                let message = "column number must be in range from 1 to 32767";
                return Err(ParseError::new(SqlState::INVALID_PARAMETER_VALUE, message, pos));
            }
            self.expect_kws(&[Kw::Set, Kw::Statistics])?;
            return Ok(Cmd::SetStatistics(ColumnNameOrNumber::Number(number), self.int_or_default()?));
        }
        let name = self.col_id()?;
        let Kind::Kw(kw) = self.kind() else { return self.unexpected() };
        match (kw, self.kind_at(1)) {
            (Kw::Type, _) | (Kw::Set, Kind::Kw(Kw::Data)) => {
                if self.bump().kind == Kind::Kw(Kw::Set) {
                    self.bump();
                    self.expect_kw(Kw::Type)?;
                }
                let type_name = self.type_name()?;
                let collation = self.opt_collate()?;
                let using = if self.eat_kw(Kw::Using) { Some(self.expr()?) } else { None };
                let cascade = object == Object::Type && self.opt_cascade();
                Ok(Cmd::AlterColumnType { name, type_name, collation, using, cascade })
            }
            (Kw::Options, _) => Ok(Cmd::AlterColumnFdwOptions(name, self.alter_generic_options()?)),
            (Kw::Reset, _) => {
                self.bump();
                Ok(Cmd::ResetColumnOptions(name, self.definition()?))
            }
            (Kw::Add, _) => self.add_identity(name),
            (Kw::Restart, _) | (Kw::Set, Kind::Kw(Kw::Generated)) => self.alter_identity(name),
            (Kw::Drop, _) => self.alter_column_drop(name),
            (Kw::Set, _) => self.alter_column_set(name),
            _ => self.unexpected(),
        }
    }

    fn int_or_default(&mut self) -> PResult<Option<i32>> {
        if self.eat_kw(Kw::Default) { Ok(None) } else { self.signed_int().map(Some) }
    }

    /// `ADD GENERATED ... AS IDENTITY`.
    fn add_identity(&mut self, name: super::ast::Name) -> PResult<Cmd> {
        let pos = self.bump().start;
        self.expect_kw(Kw::Generated)?;
        let always = self.generated_when()?;
        self.expect_kws(&[Kw::As, Kw::Identity])?;
        let options = self.opt_paren_sequence_options()?;
        let kind = ConstraintKind::Identity { always, options };
        Ok(Cmd::AddIdentity(name, Constraint { name: None, kind, attrs: ConstraintAttrs::default(), pos }))
    }

    /// alter_identity_column_option_list.
    fn alter_identity(&mut self, name: super::ast::Name) -> PResult<Cmd> {
        let mut options = Vec::new();
        loop {
            let pos = self.pos();
            if self.at_kw(Kw::Restart) {
                options.extend(self.opt_sequence_option()?);
            } else if self.eat_kws(&[Kw::Set, Kw::Generated]) {
                options.push(flag("generated", self.generated_when()?, pos));
            } else if self.eat_kw(Kw::Set) {
                match self.opt_sequence_option()? {
                    Some(elem) => options.push(elem),
                    None => return self.unexpected(),
                }
            } else {
                return Ok(Cmd::SetIdentity(name, options));
            }
        }
    }

    fn alter_column_drop(&mut self, name: super::ast::Name) -> PResult<Cmd> {
        self.expect_kw(Kw::Drop)?;
        if self.eat_kw(Kw::Default) {
            return Ok(Cmd::ColumnDefault(name, None));
        }
        if self.eat_kw(Kw::Not) {
            self.expect_kw(Kw::Null)?;
            return Ok(Cmd::DropNotNull(name));
        }
        if self.eat_kw(Kw::Expression) {
            let if_exists = self.if_exists();
            return Ok(Cmd::DropExpression(name, if_exists));
        }
        self.expect_kw(Kw::Identity)?;
        let if_exists = self.if_exists();
        Ok(Cmd::DropIdentity(name, if_exists))
    }

    fn alter_column_set(&mut self, name: super::ast::Name) -> PResult<Cmd> {
        let word = self.kind_at(1);
        if word == Kind::Char(b'(') {
            self.bump();
            return Ok(Cmd::SetColumnOptions(name, self.definition()?));
        }
        let Kind::Kw(word) = word else {
            self.bump();
            return self.unexpected();
        };
        match word {
            Kw::Default => {
                self.bump();
                self.bump();
                Ok(Cmd::ColumnDefault(name, Some(self.expr()?)))
            }
            Kw::Not => {
                self.bump();
                self.bump();
                self.expect_kw(Kw::Null)?;
                Ok(Cmd::SetNotNull(name))
            }
            Kw::Expression => {
                self.bump();
                self.bump();
                self.expect_kw(Kw::As)?;
                self.expect_char(b'(')?;
                let expr = self.expr()?;
                self.expect_char(b')')?;
                Ok(Cmd::SetExpression(name, expr))
            }
            Kw::Statistics => {
                self.bump();
                self.bump();
                Ok(Cmd::SetStatistics(ColumnNameOrNumber::Name(name), self.int_or_default()?))
            }
            Kw::Storage | Kw::Compression => {
                self.bump();
                self.bump();
                let value = if self.eat_kw(Kw::Default) { None } else { Some(self.col_id()?) };
                Ok(if word == Kw::Storage {
                    Cmd::SetStorage(name, value)
                } else {
                    Cmd::SetCompression(name, value)
                })
            }
            _ => {
                // What is left are an identity's sequence options.
                let Cmd::SetIdentity(name, options) = self.alter_identity(name)? else {
                    return self.unexpected();
                };
                Ok(Cmd::SetIdentity(name, options))
            }
        }
    }

    /// SET of the table itself.
    fn alter_set(&mut self) -> PResult<Cmd> {
        self.expect_kw(Kw::Set)?;
        if self.at_char(b'(') {
            return Ok(Cmd::SetOptions(self.definition()?));
        }
        if self.eat_kw(Kw::Logged) {
            return Ok(Cmd::SetLogged(true));
        }
        if self.eat_kw(Kw::Unlogged) {
            return Ok(Cmd::SetLogged(false));
        }
        if self.eat_kw(Kw::Without) {
            if self.eat_kw(Kw::Cluster) {
                return Ok(Cmd::DropCluster);
            }
            self.expect_kw(Kw::Oids)?;
            return Ok(Cmd::DropOids);
        }
        if self.eat_kw(Kw::Access) {
            self.expect_kw(Kw::Method)?;
            return Ok(Cmd::SetAccessMethod(if self.eat_kw(Kw::Default) {
                None
            } else {
                Some(self.col_id()?)
            }));
        }
        self.expect_kw(Kw::Tablespace)?;
        Ok(Cmd::SetTablespace(self.col_id()?))
    }

    /// ENABLE and DISABLE.
    fn alter_enable(&mut self) -> PResult<Cmd> {
        let enable = self.bump().kind == Kind::Kw(Kw::Enable);
        if self.at_kw(Kw::Row) {
            self.expect_kws(&[Kw::Row, Kw::Level, Kw::Security])?;
            return Ok(Cmd::RowSecurity(if enable { RowSecurity::Enable } else { RowSecurity::Disable }));
        }
        let state = if !enable {
            TriggerState::Disable
        } else if self.eat_kw(Kw::Always) {
            TriggerState::Always
        } else if self.eat_kw(Kw::Replica) {
            TriggerState::Replica
        } else {
            TriggerState::Enable
        };
        let rule = self.eat_kw(Kw::Rule);
        if !rule {
            self.expect_kw(Kw::Trigger)?;
        }
        let plain = !rule && matches!(state, TriggerState::Enable | TriggerState::Disable);
        if plain && self.eat_kw(Kw::All) {
            return Ok(Cmd::TriggerState { rule, state, name: None, user_only: false });
        }
        if plain && self.eat_kw(Kw::User) {
            return Ok(Cmd::TriggerState { rule, state, name: None, user_only: true });
        }
        Ok(Cmd::TriggerState { rule, state, name: Some(self.col_id()?), user_only: false })
    }
}

/// A relation as an object.
fn relation_name(object: Object, relation: &RangeVar) -> ObjectName {
    let parts = [&relation.catalog, &relation.schema];
    let mut names: Names = parts.into_iter().flatten().cloned().collect();
    names.push(relation.name.clone());
    ObjectName { kind: relation_type(object), names, args: None, of: None, pos: relation.pos }
}

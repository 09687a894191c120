//! CREATE TABLE, its columns and constraints; CREATE TABLE AS; CREATE FOREIGN TABLE.

use super::ast::{
    CollateClause, ColumnDef, Constraint, ConstraintAttrs, ConstraintKind, CreateStmt, CreateTableAsStmt,
    DefElem, ExclusionConstraint, FkAction, FkMatch, ForeignKeyConstraint, IndexConstraint, IndexElem,
    LikeOption, Name, OnCommit, PartitionBound, PartitionSpec, Persistence, RangeVar, Statement,
    TableElement, TableLikeClause,
};
use super::cursor::Parser;
use super::error::{PResult, ParseError};
use super::keywords::Kw;
use super::lexer::Kind;
use super::primary::name;
use super::select::plain_into;
use shardforge_types::SqlState;

/// Which words after a constraint its kind allows, besides the errors PostgreSQL gives for the others.
struct Allowed {
    what: &'static str,
    deferrable: bool,
    not_valid: bool,
    no_inherit: bool,
    enforced: bool,
}

impl Parser<'_> {
    /// OptTemp.
    pub(super) fn opt_persistence(&mut self) -> Persistence {
        match self.kind() {
            Kind::Kw(Kw::Temp | Kw::Temporary) => {
                self.bump();
                Persistence::Temporary
            }
            Kind::Kw(Kw::Local | Kw::Global)
                if matches!(self.kind_at(1), Kind::Kw(Kw::Temp | Kw::Temporary)) =>
            {
                self.bump();
                self.bump();
                Persistence::Temporary
            }
            Kind::Kw(Kw::Unlogged) => {
                self.bump();
                Persistence::Unlogged
            }
            _ => Persistence::Permanent,
        }
    }

    pub(super) fn if_not_exists(&mut self) -> PResult<bool> {
        // A table may be called "if".
        if !self.at_kws(&[Kw::If, Kw::Not]) {
            return Ok(false);
        }
        self.bump();
        self.expect_kws(&[Kw::Not, Kw::Exists])?;
        Ok(true)
    }

    pub(super) fn if_exists(&mut self) -> bool {
        self.eat_kws(&[Kw::If, Kw::Exists])
    }

    /// CREATE TABLE and CREATE TABLE AS, after TABLE.
    pub(super) fn create_table(&mut self, persistence: Persistence, pos: u32) -> PResult<Statement> {
        let if_not_exists = self.if_not_exists()?;
        let mut relation = self.qualified_name()?;
        relation.persistence = persistence;
        let columns_only = self.at_char(b'(')
            && Self::is_col_id(self.kind_at(1))
            && matches!(self.kind_at(2), Kind::Char(b',' | b')'));
        let as_follows = matches!(
            self.kind(),
            Kind::Kw(Kw::As | Kw::Using | Kw::With | Kw::Without | Kw::On | Kw::Tablespace)
        );
        if columns_only || as_follows {
            return self.create_table_as(relation, if_not_exists, pos);
        }
        let mut create = empty_table(relation, if_not_exists, pos);
        if self.eat_kw(Kw::Of) {
            let at = self.pos();
            let names = self.any_name()?;
            create.of_type = Some(super::primary::named_type(names, Vec::new(), at));
            create.elements = self.opt_typed_elements()?;
        } else if self.at_kw(Kw::Partition) {
            self.partition_of(&mut create)?;
        } else {
            create.elements = self.table_elements()?;
            create.inherits = self.opt_inherits()?;
        }
        create.partition_by = self.opt_partition_by()?;
        self.storage_clauses(&mut create)?;
        Ok(Statement::Create(Box::new(create)))
    }

    fn partition_of(&mut self, create: &mut CreateStmt) -> PResult<()> {
        self.expect_kws(&[Kw::Partition, Kw::Of])?;
        create.inherits = vec![self.qualified_name()?];
        create.elements = self.opt_typed_elements()?;
        create.partition_bound = Some(self.partition_bound()?);
        Ok(())
    }

    fn opt_inherits(&mut self) -> PResult<Vec<RangeVar>> {
        if self.eat_kw(Kw::Inherits) { self.paren_list(Self::qualified_name) } else { Ok(Vec::new()) }
    }

    /// USING, WITH, ON COMMIT, TABLESPACE.
    fn storage_clauses(&mut self, create: &mut CreateStmt) -> PResult<()> {
        if self.eat_kw(Kw::Using) {
            create.access_method = Some(self.col_id()?);
        }
        create.options = self.opt_table_options()?;
        create.on_commit = self.opt_on_commit()?;
        if self.eat_kw(Kw::Tablespace) {
            create.tablespace = Some(self.col_id()?);
        }
        Ok(())
    }

    fn opt_table_options(&mut self) -> PResult<Vec<DefElem>> {
        if self.eat_kws(&[Kw::Without, Kw::Oids]) {
            return Ok(Vec::new());
        }
        if self.eat_kw(Kw::With) { self.definition() } else { Ok(Vec::new()) }
    }

    fn opt_on_commit(&mut self) -> PResult<OnCommit> {
        if !self.eat_kw(Kw::On) {
            return Ok(OnCommit::None);
        }
        self.expect_kw(Kw::Commit)?;
        if self.eat_kw(Kw::Drop) {
            return Ok(OnCommit::Drop);
        }
        let action = if self.eat_kw(Kw::Delete) {
            OnCommit::DeleteRows
        } else {
            self.expect_kw(Kw::Preserve)?;
            OnCommit::PreserveRows
        };
        self.expect_kw(Kw::Rows)?;
        Ok(action)
    }

    fn create_table_as(&mut self, relation: RangeVar, if_not_exists: bool, pos: u32) -> PResult<Statement> {
        let mut into = plain_into(relation);
        into.columns = self.opt_name_list()?;
        if self.eat_kw(Kw::Using) {
            into.access_method = Some(self.col_id()?);
        }
        into.options = self.opt_table_options()?;
        into.on_commit = self.opt_on_commit()?;
        if self.eat_kw(Kw::Tablespace) {
            into.tablespace = Some(self.col_id()?);
        }
        self.expect_kw(Kw::As)?;
        let query = self.select_or_execute()?;
        into.skip_data = self.opt_with_no_data()?;
        let create = CreateTableAsStmt { query, into, materialized_view: false, if_not_exists, pos };
        Ok(Statement::CreateTableAs(Box::new(create)))
    }

    fn select_or_execute(&mut self) -> PResult<Statement> {
        if self.at_kw(Kw::Execute) {
            return self.execute();
        }
        if !self.at_select() && !self.at_char(b'(') {
            return self.unexpected();
        }
        Ok(Statement::Select(self.select_no_parens()?))
    }

    /// `[WITH [NO] DATA]`: whether there is to be no data.
    pub(super) fn opt_with_no_data(&mut self) -> PResult<bool> {
        if !self.eat_kw(Kw::With) {
            return Ok(false);
        }
        let no = self.eat_kw(Kw::No);
        self.expect_kw(Kw::Data)?;
        Ok(no)
    }

    /// CREATE FOREIGN TABLE, after TABLE.
    pub(super) fn create_foreign_table(&mut self, pos: u32) -> PResult<Statement> {
        let if_not_exists = self.if_not_exists()?;
        let relation = self.qualified_name()?;
        let mut create = empty_table(relation, if_not_exists, pos);
        if self.at_kw(Kw::Partition) {
            self.partition_of(&mut create)?;
        } else {
            create.elements = self.table_elements()?;
            create.inherits = self.opt_inherits()?;
        }
        self.expect_kw(Kw::Server)?;
        let server = self.col_id()?;
        create.foreign = Some((server, self.opt_generic_options()?));
        Ok(Statement::Create(Box::new(create)))
    }

    /// `(OptTableElementList)`.
    fn table_elements(&mut self) -> PResult<Vec<TableElement>> {
        self.expect_char(b'(')?;
        if self.eat_char(b')') {
            return Ok(Vec::new());
        }
        let elements = self.list(Self::table_element)?;
        self.expect_char(b')')?;
        Ok(elements)
    }

    fn table_element(&mut self) -> PResult<TableElement> {
        if self.at_table_constraint() {
            return Ok(TableElement::Constraint(self.table_constraint()?));
        }
        if self.at_kw(Kw::Like) {
            return Ok(TableElement::Like(self.like_clause()?));
        }
        Ok(TableElement::Column(self.column_def()?))
    }

    /// OptTypedTableElementList: columns without types.
    fn opt_typed_elements(&mut self) -> PResult<Vec<TableElement>> {
        if !self.at_char(b'(') {
            return Ok(Vec::new());
        }
        self.paren_list(|p| {
            if p.at_table_constraint() {
                return Ok(TableElement::Constraint(p.table_constraint()?));
            }
            let pos = p.pos();
            let mut column = empty_column(p.col_id()?, pos);
            if p.eat_kw(Kw::With) {
                p.expect_kw(Kw::Options)?;
            }
            p.column_qualifiers(&mut column.constraints, &mut column.collation)?;
            Ok(TableElement::Column(column))
        })
    }

    fn at_table_constraint(&self) -> bool {
        match self.kind() {
            Kind::Kw(Kw::Constraint | Kw::Check | Kw::Unique | Kw::Primary | Kw::Foreign | Kw::Not) => true,
            // EXCLUDE is unreserved: a column may be called so.
            Kind::Kw(Kw::Exclude) => matches!(self.kind_at(1), Kind::Char(b'(') | Kind::Kw(Kw::Using)),
            _ => false,
        }
    }

    fn like_clause(&mut self) -> PResult<TableLikeClause> {
        let pos = self.expect_kw(Kw::Like)?.start;
        let relation = self.qualified_name()?;
        let mut options = Vec::new();
        loop {
            let including = self.eat_kw(Kw::Including);
            if !including && !self.eat_kw(Kw::Excluding) {
                return Ok(TableLikeClause { relation, options, pos });
            }
            let what = match self.kind() {
                Kind::Kw(Kw::Comments) => LikeOption::Comments,
                Kind::Kw(Kw::Compression) => LikeOption::Compression,
                Kind::Kw(Kw::Constraints) => LikeOption::Constraints,
                Kind::Kw(Kw::Defaults) => LikeOption::Defaults,
                Kind::Kw(Kw::Identity) => LikeOption::Identity,
                Kind::Kw(Kw::Generated) => LikeOption::Generated,
                Kind::Kw(Kw::Indexes) => LikeOption::Indexes,
                Kind::Kw(Kw::Statistics) => LikeOption::Statistics,
                Kind::Kw(Kw::Storage) => LikeOption::Storage,
                Kind::Kw(Kw::All) => LikeOption::All,
                _ => return self.unexpected(),
            };
            self.bump();
            options.push((including, what));
        }
    }

    /// columnDef.
    pub(super) fn column_def(&mut self) -> PResult<ColumnDef> {
        let pos = self.pos();
        let mut column = empty_column(self.col_id()?, pos);
        column.type_name = Some(self.type_name()?);
        if self.eat_kw(Kw::Storage) {
            column.storage = Some(self.col_id_or_default()?);
        }
        if self.eat_kw(Kw::Compression) {
            column.compression = Some(self.col_id_or_default()?);
        }
        column.fdw_options = self.opt_generic_options()?;
        self.column_qualifiers(&mut column.constraints, &mut column.collation)?;
        Ok(column)
    }

    fn col_id_or_default(&mut self) -> PResult<Name> {
        if self.eat_kw(Kw::Default) { Ok(name("default")) } else { self.col_id() }
    }

    /// ColQualList.
    pub(super) fn column_qualifiers(
        &mut self,
        constraints: &mut Vec<Constraint>,
        collation: &mut Option<CollateClause>,
    ) -> PResult<()> {
        loop {
            let pos = self.pos();
            if let Some(clause) = self.opt_collate()? {
                if collation.replace(clause).is_some() {
                    return Err(ParseError::syntax("multiple COLLATE clauses not allowed", pos));
                }
                continue;
            }
            let mut attrs = constraints.last().map(|c| c.attrs).unwrap_or_default();
            if self.column_constraint_attr(&mut attrs)? {
                match constraints.last_mut() {
                    Some(last) => last.attrs = attrs,
                    None => {
                        let word =
                            if attrs.initially_deferred.is_some() { "INITIALLY" } else { "DEFERRABLE" };
                        return Err(ParseError::syntax(format!("misplaced {word} clause"), pos));
                    }
                }
                continue;
            }
            let name = if self.eat_kw(Kw::Constraint) { Some(self.col_id()?) } else { None };
            match self.opt_column_constraint()? {
                Some((kind, no_inherit)) => {
                    let attrs = ConstraintAttrs { no_inherit, ..ConstraintAttrs::default() };
                    constraints.push(Constraint { name, kind, attrs, pos });
                }
                None if name.is_some() => return self.unexpected(),
                None => return Ok(()),
            }
        }
    }

    /// ConstraintAttr of a column; whether there was one.
    fn column_constraint_attr(&mut self, attrs: &mut ConstraintAttrs) -> PResult<bool> {
        match (self.kind(), self.kind_at(1)) {
            (Kind::Kw(Kw::Deferrable), _) => attrs.deferrable = Some(true),
            (Kind::Kw(Kw::Enforced), _) => attrs.enforced = Some(true),
            (Kind::Kw(Kw::Not), Kind::Kw(Kw::Deferrable)) => {
                self.bump();
                attrs.deferrable = Some(false);
            }
            (Kind::Kw(Kw::Not), Kind::Kw(Kw::Enforced)) => {
                self.bump();
                attrs.enforced = Some(false);
            }
            (Kind::Kw(Kw::Initially), _) => {
                self.bump();
                attrs.initially_deferred = Some(match self.kind() {
                    Kind::Kw(Kw::Deferred) => true,
                    Kind::Kw(Kw::Immediate) => false,
                    _ => return self.unexpected(),
                });
            }
            _ => return Ok(false),
        }
        self.bump();
        Ok(true)
    }

    /// ColConstraintElem, and whether NO INHERIT follows.
    fn opt_column_constraint(&mut self) -> PResult<Option<(ConstraintKind, bool)>> {
        let Kind::Kw(kw) = self.kind() else { return Ok(None) };
        let kind = match kw {
            Kw::Not => {
                self.bump();
                self.expect_kw(Kw::Null)?;
                let no_inherit = self.eat_kws(&[Kw::No, Kw::Inherit]);
                return Ok(Some((ConstraintKind::NotNull(None), no_inherit)));
            }
            Kw::Null => {
                self.bump();
                ConstraintKind::Null
            }
            Kw::Unique => {
                self.bump();
                let nulls_not_distinct = self.opt_nulls_not_distinct()?;
                let index = self.index_clauses(IndexConstraint::default())?;
                ConstraintKind::Unique { nulls_not_distinct, index }
            }
            Kw::Primary => {
                self.bump();
                self.expect_kw(Kw::Key)?;
                ConstraintKind::PrimaryKey(self.index_clauses(IndexConstraint::default())?)
            }
            Kw::Check => {
                self.bump();
                self.expect_char(b'(')?;
                let expr = self.expr()?;
                self.expect_char(b')')?;
                let no_inherit = self.eat_kws(&[Kw::No, Kw::Inherit]);
                return Ok(Some((ConstraintKind::Check(expr), no_inherit)));
            }
            Kw::Default => {
                self.bump();
                ConstraintKind::Default(self.b_expr()?)
            }
            Kw::Generated => self.generated()?,
            Kw::References => ConstraintKind::ForeignKey(Box::new(self.references(Vec::new(), false)?)),
            _ => return Ok(None),
        };
        Ok(Some((kind, false)))
    }

    fn generated(&mut self) -> PResult<ConstraintKind> {
        self.expect_kw(Kw::Generated)?;
        let pos = self.pos();
        let always = self.generated_when()?;
        self.expect_kw(Kw::As)?;
        if self.eat_kw(Kw::Identity) {
            let options = self.opt_paren_sequence_options()?;
            return Ok(ConstraintKind::Identity { always, options });
        }
        self.expect_char(b'(')?;
        let expr = self.expr()?;
        self.expect_char(b')')?;
        if !always {
            return Err(ParseError::syntax(
                "for a generated column, GENERATED ALWAYS must be specified",
                pos,
            ));
        }
        let stored = self.eat_kw(Kw::Stored);
        if !stored {
            self.eat_kw(Kw::Virtual);
        }
        Ok(ConstraintKind::Generated { expr, stored })
    }

    /// ALWAYS (true) or BY DEFAULT.
    pub(super) fn generated_when(&mut self) -> PResult<bool> {
        if self.eat_kw(Kw::Always) {
            return Ok(true);
        }
        self.expect_kws(&[Kw::By, Kw::Default])?;
        Ok(false)
    }

    pub(super) fn opt_nulls_not_distinct(&mut self) -> PResult<bool> {
        if !self.at_kw(Kw::Nulls) {
            return Ok(false);
        }
        self.bump();
        let not = self.eat_kw(Kw::Not);
        self.expect_kw(Kw::Distinct)?;
        Ok(not)
    }

    /// WITH and USING INDEX TABLESPACE of an index constraint.
    fn index_clauses(&mut self, mut index: IndexConstraint) -> PResult<IndexConstraint> {
        index.options = self.opt_with_definition()?;
        if self.eat_kws(&[Kw::Using, Kw::Index]) {
            self.expect_kw(Kw::Tablespace)?;
            index.tablespace = Some(self.col_id()?);
        }
        Ok(index)
    }

    /// REFERENCES.
    fn references(&mut self, columns: Vec<Name>, period: bool) -> PResult<ForeignKeyConstraint> {
        self.expect_kw(Kw::References)?;
        let table = self.qualified_name()?;
        let (ref_columns, ref_period) =
            if self.at_char(b'(') { self.columns_and_period()? } else { (Vec::new(), false) };
        let mut fk = ForeignKeyConstraint {
            columns,
            period,
            table,
            ref_columns,
            ref_period,
            match_type: FkMatch::Simple,
            on_update: FkAction::NoAction,
            on_delete: FkAction::NoAction,
            on_delete_columns: Vec::new(),
        };
        let pos = self.pos();
        if self.eat_kw(Kw::Match) {
            fk.match_type = match self.kind() {
                Kind::Kw(Kw::Full) => FkMatch::Full,
                Kind::Kw(Kw::Simple) => FkMatch::Simple,
                Kind::Kw(Kw::Partial) => {
                    return Err(ParseError::unsupported("MATCH PARTIAL not yet implemented", pos));
                }
                _ => return self.unexpected(),
            };
            self.bump();
        }
        let (mut updated, mut deleted) = (false, false);
        while self.at_kw(Kw::On) {
            match self.kind_at(1) {
                Kind::Kw(Kw::Update) if !updated => {
                    let pos = self.bump().start;
                    self.bump();
                    updated = true;
                    let (action, columns) = self.fk_action()?;
                    if !columns.is_empty() {
                        let message = "a column list with SET NULL is only supported for ON DELETE actions";
                        return Err(ParseError::unsupported(message, pos));
                    }
                    fk.on_update = action;
                }
                Kind::Kw(Kw::Delete) if !deleted => {
                    self.bump();
                    self.bump();
                    deleted = true;
                    (fk.on_delete, fk.on_delete_columns) = self.fk_action()?;
                }
                _ => {
                    self.bump();
                    return self.unexpected();
                }
            }
        }
        Ok(fk)
    }

    fn fk_action(&mut self) -> PResult<(FkAction, Vec<Name>)> {
        let action = match self.kind() {
            Kind::Kw(Kw::No) => {
                self.bump();
                self.expect_kw(Kw::Action)?;
                return Ok((FkAction::NoAction, Vec::new()));
            }
            Kind::Kw(Kw::Restrict) => FkAction::Restrict,
            Kind::Kw(Kw::Cascade) => FkAction::Cascade,
            Kind::Kw(Kw::Set) => {
                self.bump();
                let action = match self.kind() {
                    Kind::Kw(Kw::Null) => FkAction::SetNull,
                    Kind::Kw(Kw::Default) => FkAction::SetDefault,
                    _ => return self.unexpected(),
                };
                self.bump();
                return Ok((action, self.opt_name_list()?));
            }
            _ => return self.unexpected(),
        };
        self.bump();
        Ok((action, Vec::new()))
    }

    /// `(a, b, PERIOD c)`.
    fn columns_and_period(&mut self) -> PResult<(Vec<Name>, bool)> {
        let mut period = false;
        let columns = self.paren_list(|p| {
            if period {
                return p.unexpected();
            }
            period = p.at_kw(Kw::Period) && Self::is_col_id(p.kind_at(1));
            if period {
                p.bump();
            }
            p.col_id()
        })?;
        Ok((columns, period))
    }

    /// `(a, b [WITHOUT OVERLAPS])`.
    fn key_columns(&mut self, index: &mut IndexConstraint) -> PResult<()> {
        self.expect_char(b'(')?;
        index.columns = self.list(Self::col_id)?;
        if self.eat_kw(Kw::Without) {
            self.expect_kw(Kw::Overlaps)?;
            index.without_overlaps = true;
        }
        self.expect_char(b')')?;
        index.including = self.opt_include()?;
        Ok(())
    }

    fn opt_include(&mut self) -> PResult<Vec<Name>> {
        if self.eat_kw(Kw::Include) { self.name_list_in_parens() } else { Ok(Vec::new()) }
    }

    /// TableConstraint.
    pub(super) fn table_constraint(&mut self) -> PResult<Constraint> {
        let pos = self.pos();
        let name = if self.eat_kw(Kw::Constraint) { Some(self.col_id()?) } else { None };
        let (kind, allowed) = self.table_constraint_kind()?;
        let attrs = self.constraint_attrs(&allowed)?;
        Ok(Constraint { name, kind, attrs, pos })
    }

    fn table_constraint_kind(&mut self) -> PResult<(ConstraintKind, Allowed)> {
        let Kind::Kw(kw) = self.kind() else { return self.unexpected() };
        let key =
            |what| Allowed { what, deferrable: true, not_valid: false, no_inherit: false, enforced: false };
        let test =
            |what, enforced| Allowed { what, deferrable: false, not_valid: true, no_inherit: true, enforced };
        Ok(match kw {
            Kw::Check => {
                self.bump();
                self.expect_char(b'(')?;
                let expr = self.expr()?;
                self.expect_char(b')')?;
                (ConstraintKind::Check(expr), test("CHECK", true))
            }
            Kw::Not => {
                self.bump();
                self.expect_kw(Kw::Null)?;
                (ConstraintKind::NotNull(Some(self.col_id()?)), test("NOT NULL", false))
            }
            Kw::Unique => {
                self.bump();
                if let Some(index) = self.opt_existing_index()? {
                    return Ok((ConstraintKind::Unique { nulls_not_distinct: false, index }, key("UNIQUE")));
                }
                let nulls_not_distinct = self.opt_nulls_not_distinct()?;
                let mut index = IndexConstraint::default();
                self.key_columns(&mut index)?;
                let index = self.index_clauses(index)?;
                (ConstraintKind::Unique { nulls_not_distinct, index }, key("UNIQUE"))
            }
            Kw::Primary => {
                self.bump();
                self.expect_kw(Kw::Key)?;
                if let Some(index) = self.opt_existing_index()? {
                    return Ok((ConstraintKind::PrimaryKey(index), key("PRIMARY KEY")));
                }
                let mut index = IndexConstraint::default();
                self.key_columns(&mut index)?;
                (ConstraintKind::PrimaryKey(self.index_clauses(index)?), key("PRIMARY KEY"))
            }
            Kw::Exclude => {
                self.bump();
                (ConstraintKind::Exclusion(Box::new(self.exclusion()?)), key("EXCLUDE"))
            }
            Kw::Foreign => {
                self.bump();
                self.expect_kw(Kw::Key)?;
                let (columns, period) = self.columns_and_period()?;
                let fk = self.references(columns, period)?;
                let allowed = Allowed {
                    what: "FOREIGN KEY",
                    deferrable: true,
                    not_valid: true,
                    no_inherit: false,
                    enforced: true,
                };
                (ConstraintKind::ForeignKey(Box::new(fk)), allowed)
            }
            _ => return self.unexpected(),
        })
    }

    /// `USING INDEX name`.
    fn opt_existing_index(&mut self) -> PResult<Option<IndexConstraint>> {
        if !self.at_kw(Kw::Using) {
            return Ok(None);
        }
        self.bump();
        self.expect_kw(Kw::Index)?;
        let using_index = Some(self.col_id()?);
        Ok(Some(IndexConstraint { using_index, ..IndexConstraint::default() }))
    }

    fn exclusion(&mut self) -> PResult<ExclusionConstraint> {
        let access_method = if self.eat_kw(Kw::Using) { Some(self.col_id()?) } else { None };
        let elements = self.paren_list(|p| {
            let elem: IndexElem = p.index_elem()?;
            p.expect_kw(Kw::With)?;
            let operator = if p.at_kw(Kw::Operator) { p.qualified_operator()? } else { p.any_operator()? };
            Ok((elem, operator))
        })?;
        let index = IndexConstraint { including: self.opt_include()?, ..IndexConstraint::default() };
        let index = self.index_clauses(index)?;
        let mut where_clause = None;
        if self.eat_kw(Kw::Where) {
            self.expect_char(b'(')?;
            where_clause = Some(self.expr()?);
            self.expect_char(b')')?;
        }
        Ok(ExclusionConstraint { access_method, elements, index, where_clause })
    }

    /// ConstraintAttributeSpec of ALTER CONSTRAINT.
    pub(super) fn altered_constraint_attrs(&mut self) -> PResult<ConstraintAttrs> {
        let (what, pos) = ("FOREIGN KEY", self.pos());
        let all = Allowed { what, deferrable: true, not_valid: true, no_inherit: true, enforced: true };
        let attrs = self.constraint_attrs(&all)?;
        if attrs.not_valid {
            return Err(ParseError::unsupported("constraints cannot be altered to be NOT VALID", pos));
        }
        Ok(attrs)
    }

    /// ConstraintAttributeSpec of a constraint trigger.
    pub(super) fn trigger_attrs(&mut self) -> PResult<ConstraintAttrs> {
        let what = "TRIGGER";
        self.constraint_attrs(&Allowed {
            what,
            deferrable: true,
            not_valid: false,
            no_inherit: false,
            enforced: false,
        })
    }

    /// ConstraintAttributeSpec of a domain's constraint.
    pub(super) fn domain_attrs(&mut self) -> PResult<ConstraintAttrs> {
        let what = "CHECK";
        self.constraint_attrs(&Allowed {
            what,
            deferrable: false,
            not_valid: true,
            no_inherit: false,
            enforced: false,
        })
    }

    fn constraint_attrs(&mut self, allowed: &Allowed) -> PResult<ConstraintAttrs> {
        let mut attrs = ConstraintAttrs::default();
        loop {
            let before = attrs;
            let pos = self.pos();
            let (word, ok) = if self.eat_kws(&[Kw::Not, Kw::Valid]) {
                attrs.not_valid = true;
                ("NOT VALID", allowed.not_valid)
            } else if self.eat_kws(&[Kw::No, Kw::Inherit]) {
                attrs.no_inherit = true;
                ("NO INHERIT", allowed.no_inherit)
            } else if self.column_constraint_attr(&mut attrs)? {
                if attrs.enforced != before.enforced {
                    (if attrs.enforced == Some(true) { "ENFORCED" } else { "NOT ENFORCED" }, allowed.enforced)
                } else {
                    let deferring = attrs.deferrable == Some(true) || attrs.initially_deferred == Some(true);
                    ("DEFERRABLE", allowed.deferrable || !deferring)
                }
            } else if matches!(self.kind(), Kind::Kw(Kw::Not | Kw::No)) {
                self.bump();
                return self.unexpected();
            } else {
                return Ok(attrs);
            };
            let conflict = (before.deferrable.is_some() && before.deferrable != attrs.deferrable)
                || (before.initially_deferred.is_some()
                    && before.initially_deferred != attrs.initially_deferred)
                || (before.enforced.is_some() && before.enforced != attrs.enforced);
            if conflict {
                return Err(ParseError::syntax("conflicting constraint properties", pos));
            }
            if attrs.deferrable == Some(false) && attrs.initially_deferred == Some(true) {
                let message = "constraint declared INITIALLY DEFERRED must be DEFERRABLE";
                return Err(ParseError::syntax(message, pos));
            }
            if !ok {
                let message = format!("{} constraints cannot be marked {word}", allowed.what);
                return Err(ParseError::new(SqlState::FEATURE_NOT_SUPPORTED, message, pos));
            }
        }
    }

    fn opt_partition_by(&mut self) -> PResult<Option<PartitionSpec>> {
        if !self.at_kw(Kw::Partition) {
            return Ok(None);
        }
        let pos = self.bump().start;
        self.expect_kw(Kw::By)?;
        let at = self.pos();
        let strategy = self.col_id()?;
        let params = self.paren_list(Self::partition_elem)?;
        if !["list", "range", "hash"].iter().any(|s| strategy.eq_ignore_ascii_case(s)) {
            let message = format!("unrecognized partitioning strategy \"{strategy}\"");
            return Err(ParseError::new(SqlState::INVALID_PARAMETER_VALUE, message, at));
        }
        Ok(Some(PartitionSpec { strategy, params, pos }))
    }

    /// PartitionBoundSpec.
    pub(super) fn partition_bound(&mut self) -> PResult<PartitionBound> {
        if self.eat_kw(Kw::Default) {
            return Ok(PartitionBound::Default);
        }
        self.expect_kws(&[Kw::For, Kw::Values])?;
        if self.eat_kw(Kw::In) {
            return Ok(PartitionBound::List(self.paren_list(Self::expr)?));
        }
        if self.eat_kw(Kw::From) {
            let from = self.paren_list(Self::expr)?;
            self.expect_kw(Kw::To)?;
            return Ok(PartitionBound::Range(from, self.paren_list(Self::expr)?));
        }
        self.expect_kw(Kw::With)?;
        let pos = self.pos();
        let (mut modulus, mut remainder) = (None, None);
        let parts = self.paren_list(|p| {
            let at = p.pos();
            let word = p.non_reserved_word()?;
            Ok((word, p.int()?, at))
        })?;
        for (word, value, at) in parts {
            let slot = match &*word {
                "modulus" => &mut modulus,
                "remainder" => &mut remainder,
                _ => {
                    let message = format!("unrecognized hash partition bound specification \"{word}\"");
                    return Err(ParseError::syntax(message, at));
                }
            };
            if slot.replace(value).is_some() {
                let message = format!("{word} for hash partition provided more than once");
                return Err(ParseError::new(SqlState::DUPLICATE_OBJECT, message, at));
            }
        }
        let missing = |word| ParseError::syntax(format!("{word} for hash partition must be specified"), pos);
        Ok(PartitionBound::Hash(
            modulus.ok_or_else(|| missing("modulus"))?,
            remainder.ok_or_else(|| missing("remainder"))?,
        ))
    }
}

fn empty_table(relation: RangeVar, if_not_exists: bool, pos: u32) -> CreateStmt {
    CreateStmt {
        relation,
        elements: Vec::new(),
        inherits: Vec::new(),
        partition_bound: None,
        partition_by: None,
        of_type: None,
        access_method: None,
        options: Vec::new(),
        on_commit: OnCommit::None,
        tablespace: None,
        if_not_exists,
        foreign: None,
        pos,
    }
}

fn empty_column(name: Name, pos: u32) -> ColumnDef {
    ColumnDef {
        name,
        type_name: None,
        storage: None,
        compression: None,
        collation: None,
        constraints: Vec::new(),
        fdw_options: Vec::new(),
        pos,
    }
}

//! INSERT, UPDATE, DELETE, MERGE.

use super::ast::{
    ColumnTarget, CurrentOf, DeleteStmt, Expr, InferClause, InsertStmt, MergeAction, MergeMatchKind,
    MergeStmt, MergeWhenClause, MultiAssignRef, OnConflictClause, OnConflictUpdate, Overriding, RangeVar,
    ReturningClause, SetClause, UpdateStmt, WithClause,
};
use super::cursor::Parser;
use super::error::{PResult, ParseError};
use super::keywords::Kw;
use super::lexer::Kind;

impl Parser<'_> {
    pub(super) fn insert(&mut self, with: Option<WithClause>, pos: u32) -> PResult<InsertStmt> {
        self.expect_kws(&[Kw::Insert, Kw::Into])?;
        let mut relation = self.qualified_name()?;
        if self.eat_kw(Kw::As) {
            let name = self.col_id()?;
            relation.alias = Some(super::ast::Alias { name, columns: Vec::new() });
        }
        let mut insert = InsertStmt {
            relation,
            columns: Vec::new(),
            source: None,
            overriding: None,
            on_conflict: None,
            returning: None,
            with,
            pos,
        };
        if self.eat_kw(Kw::Default) {
            self.expect_kw(Kw::Values)?;
        } else {
            if self.at_char(b'(') && !self.at_parenthesised_select() {
                insert.columns = self.paren_list(Self::column_target)?;
            }
            insert.overriding = self.opt_overriding()?;
            if !self.at_select() && !self.at_char(b'(') {
                return self.unexpected();
            }
            insert.source = Some(self.select_no_parens()?);
        }
        if self.at_kw(Kw::On) {
            insert.on_conflict = Some(Box::new(self.on_conflict()?));
        }
        insert.returning = self.opt_returning()?;
        Ok(insert)
    }

    /// Whether the parentheses here hold a query, not a list of columns.
    fn at_parenthesised_select(&self) -> bool {
        match self.kind_at(1) {
            Kind::Char(b'(') | Kind::Kw(Kw::Select | Kw::With | Kw::Table) => true,
            Kind::Kw(Kw::Values) => self.kind_at(2) == Kind::Char(b'('),
            _ => false,
        }
    }

    fn opt_overriding(&mut self) -> PResult<Option<Overriding>> {
        if !self.eat_kw(Kw::Overriding) {
            return Ok(None);
        }
        let overriding = if self.eat_kw(Kw::System) {
            Overriding::System
        } else {
            self.expect_kw(Kw::User)?;
            Overriding::User
        };
        self.expect_kw(Kw::Value)?;
        Ok(Some(overriding))
    }

    fn on_conflict(&mut self) -> PResult<OnConflictClause> {
        let pos = self.expect_kw(Kw::On)?.start;
        self.expect_kw(Kw::Conflict)?;
        let at = self.pos();
        let infer = if self.at_char(b'(') {
            let elements = self.paren_list(Self::index_elem)?;
            let where_clause = self.opt_where()?;
            Some(InferClause { elements, where_clause, constraint: None, pos: at })
        } else if self.eat_kws(&[Kw::On, Kw::Constraint]) {
            let constraint = Some(self.col_id()?);
            Some(InferClause { elements: Vec::new(), where_clause: None, constraint, pos: at })
        } else {
            None
        };
        self.expect_kw(Kw::Do)?;
        if self.eat_kw(Kw::Nothing) {
            return Ok(OnConflictClause { infer, update: None, pos });
        }
        self.expect_kws(&[Kw::Update, Kw::Set])?;
        let set = self.set_clauses()?;
        let where_clause = self.opt_where()?;
        Ok(OnConflictClause { infer, update: Some(OnConflictUpdate { set, where_clause }), pos })
    }

    fn opt_returning(&mut self) -> PResult<Option<ReturningClause>> {
        if !self.at_kw(Kw::Returning) {
            return Ok(None);
        }
        let pos = self.bump().start;
        let mut clause = ReturningClause { old_alias: None, new_alias: None, targets: Vec::new(), pos };
        if self.eat_kw(Kw::With) {
            self.expect_char(b'(')?;
            loop {
                let at = self.pos();
                let old = self.eat_kw(Kw::Old);
                if !old {
                    self.expect_kw(Kw::New)?;
                }
                self.expect_kw(Kw::As)?;
                let name = self.col_id()?;
                let (slot, word) =
                    if old { (&mut clause.old_alias, "OLD") } else { (&mut clause.new_alias, "NEW") };
                if slot.replace(name).is_some() {
                    return Err(ParseError::syntax(format!("{word} cannot be specified multiple times"), at));
                }
                if !self.eat_char(b',') {
                    break;
                }
            }
            self.expect_char(b')')?;
        }
        clause.targets = self.list(Self::target)?;
        Ok(Some(clause))
    }

    pub(super) fn opt_where(&mut self) -> PResult<Option<Expr>> {
        if self.eat_kw(Kw::Where) { self.expr().map(Some) } else { Ok(None) }
    }

    /// where_or_current_clause.
    fn opt_where_or_current(&mut self) -> PResult<Option<Expr>> {
        if self.at_kws(&[Kw::Where, Kw::Current, Kw::Of]) {
            self.bump();
            let pos = self.bump().start;
            self.bump();
            return Ok(Some(Expr::CurrentOf(CurrentOf { cursor: self.col_id()?, pos })));
        }
        self.opt_where()
    }

    /// relation_expr_opt_alias; SET is no alias without AS.
    fn target_relation(&mut self) -> PResult<RangeVar> {
        let mut relation = self.relation_expr()?;
        if self.eat_kw(Kw::As) || (self.at_col_id() && !self.at_kw(Kw::Set)) {
            let name = self.col_id()?;
            relation.alias = Some(super::ast::Alias { name, columns: Vec::new() });
        }
        Ok(relation)
    }

    pub(super) fn update(&mut self, with: Option<WithClause>, pos: u32) -> PResult<UpdateStmt> {
        self.expect_kw(Kw::Update)?;
        let relation = self.target_relation()?;
        self.expect_kw(Kw::Set)?;
        let set = self.set_clauses()?;
        let from = if self.eat_kw(Kw::From) { self.list(Self::table_ref)? } else { Vec::new() };
        let where_clause = self.opt_where_or_current()?;
        let returning = self.opt_returning()?;
        Ok(UpdateStmt { relation, set, from, where_clause, returning, with, pos })
    }

    /// set_clause_list.
    fn set_clauses(&mut self) -> PResult<Vec<SetClause>> {
        let mut clauses = Vec::new();
        loop {
            if self.at_char(b'(') {
                let targets: Vec<ColumnTarget> = self.paren_list(Self::column_target)?;
                self.expect_char(b'=')?;
                let value = self.expr()?;
                let (pos, count) = (value.pos(), targets.len() as u32);
                let mut source = Some(value);
                for (index, target) in targets.into_iter().enumerate() {
                    let value = MultiAssignRef { source: source.take(), index: index as u32, count, pos };
                    clauses.push(SetClause { target, value: Expr::MultiAssignRef(Box::new(value)) });
                }
            } else {
                let target = self.column_target()?;
                self.expect_char(b'=')?;
                let value = self.expr()?;
                clauses.push(SetClause { target, value });
            }
            if !self.eat_char(b',') {
                return Ok(clauses);
            }
        }
    }

    pub(super) fn delete(&mut self, with: Option<WithClause>, pos: u32) -> PResult<DeleteStmt> {
        self.expect_kws(&[Kw::Delete, Kw::From])?;
        let relation = self.target_relation()?;
        let using = if self.eat_kw(Kw::Using) { self.list(Self::table_ref)? } else { Vec::new() };
        let where_clause = self.opt_where_or_current()?;
        let returning = self.opt_returning()?;
        Ok(DeleteStmt { relation, using, where_clause, returning, with, pos })
    }

    pub(super) fn merge(&mut self, with: Option<WithClause>, pos: u32) -> PResult<MergeStmt> {
        self.expect_kws(&[Kw::Merge, Kw::Into])?;
        let relation = self.target_relation()?;
        self.expect_kw(Kw::Using)?;
        let source = self.table_ref()?;
        self.expect_kw(Kw::On)?;
        let on = self.expr()?;
        let mut whens = Vec::new();
        loop {
            whens.push(self.merge_when()?);
            if !self.at_kw(Kw::When) {
                break;
            }
        }
        let returning = self.opt_returning()?;
        Ok(MergeStmt { relation, source, on, whens, returning, with, pos })
    }

    fn merge_when(&mut self) -> PResult<MergeWhenClause> {
        let pos = self.expect_kw(Kw::When)?.start;
        let not = self.eat_kw(Kw::Not);
        self.expect_kw(Kw::Matched)?;
        let mut kind = if not { MergeMatchKind::NotMatchedByTarget } else { MergeMatchKind::Matched };
        if not && self.eat_kw(Kw::By) {
            if self.eat_kw(Kw::Source) {
                kind = MergeMatchKind::NotMatchedBySource;
            } else {
                self.expect_kw(Kw::Target)?;
            }
        }
        let condition = if self.eat_kw(Kw::And) { Some(self.expr()?) } else { None };
        self.expect_kw(Kw::Then)?;
        let action = self.merge_action_of(kind)?;
        Ok(MergeWhenClause { kind, condition, action, pos })
    }

    fn merge_action_of(&mut self, kind: MergeMatchKind) -> PResult<MergeAction> {
        if self.eat_kw(Kw::Do) {
            self.expect_kw(Kw::Nothing)?;
            return Ok(MergeAction::Nothing);
        }
        if kind != MergeMatchKind::NotMatchedByTarget {
            if self.eat_kw(Kw::Delete) {
                return Ok(MergeAction::Delete);
            }
            self.expect_kws(&[Kw::Update, Kw::Set])?;
            return Ok(MergeAction::Update(self.set_clauses()?));
        }
        self.expect_kw(Kw::Insert)?;
        let columns = if self.at_char(b'(') { self.paren_list(Self::column_target)? } else { Vec::new() };
        let overriding = self.opt_overriding()?;
        if self.eat_kw(Kw::Default) {
            self.expect_kw(Kw::Values)?;
            return Ok(MergeAction::Insert { columns, overriding, values: Vec::new() });
        }
        self.expect_kw(Kw::Values)?;
        let values = self.paren_list(Self::expr)?;
        Ok(MergeAction::Insert { columns, overriding, values })
    }
}

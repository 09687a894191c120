//! SELECT, VALUES, TABLE, set operations, WITH, and the clauses after them.

use std::sync::Arc;

use super::ast::{
    ColumnRef, CommonTableExpr, Const, CreateTableAsStmt, CteCycle, CteSearch, Distinct, Expr, GroupItem,
    IntoClause, LockStrength, LockWait, LockingClause, Names, OnCommit, Persistence, RangeVar, ResTarget,
    SelectStmt, SetOp, SetOperation, Statement, TableRef, Value, WithClause,
};
use super::cursor::Parser;
use super::error::{PResult, ParseError};
use super::expr::constant;
use super::keywords::Kw;
use super::lexer::Kind;

impl Parser<'_> {
    /// Whether a query begins here (parentheses aside).
    pub(super) fn at_select(&self) -> bool {
        matches!(self.kind(), Kind::Kw(Kw::Select | Kw::With | Kw::Table | Kw::Values))
    }

    /// Whether a query begins here, where an expression or a table may as well: those may be called "values".
    pub(super) fn at_select_for_sure(&self) -> bool {
        self.at_select() && (!self.at_kw(Kw::Values) || self.kind_at(1) == Kind::Char(b'('))
    }

    /// Whether what is here can only go on a query in parentheses, not an expression or a table.
    pub(super) fn at_select_continuation(&self) -> bool {
        matches!(
            self.kind(),
            Kind::Kw(
                Kw::Union
                    | Kw::Intersect
                    | Kw::Except
                    | Kw::Order
                    | Kw::Limit
                    | Kw::Offset
                    | Kw::Fetch
                    | Kw::For
            )
        )
    }

    /// select_with_parens.
    pub(super) fn select_with_parens(&mut self) -> PResult<Box<SelectStmt>> {
        self.expect_char(b'(')?;
        let select = if self.at_char(b'(') || self.at_select() {
            self.select_no_parens()?
        } else {
            return self.unexpected();
        };
        self.expect_char(b')')?;
        Ok(select)
    }

    /// A query with everything that may belong to it.
    pub(super) fn select_no_parens(&mut self) -> PResult<Box<SelectStmt>> {
        let pos = self.pos();
        let with = self.opt_with()?;
        let around = std::mem::take(&mut self.height);
        self.enter()?;
        let first = self.select_operand()?;
        let mut select = self.select_after(first, pos)?;
        self.leave();
        self.grow()?;
        self.height = self.height.max(around);
        if let Some(with) = with {
            self.attach_with(&mut select, with)?;
            select.pos = pos;
        }
        Ok(select)
    }

    fn attach_with(&self, select: &mut SelectStmt, with: WithClause) -> PResult<()> {
        if select.with.is_some() {
            return Err(ParseError::syntax("multiple WITH clauses not allowed", with.pos));
        }
        select.with = Some(with);
        Ok(())
    }

    /// Set operations, ORDER BY, LIMIT and locking after a first operand.
    #[inline(never)]
    pub(super) fn select_after(&mut self, first: Box<SelectStmt>, pos: u32) -> PResult<Box<SelectStmt>> {
        let mut select = self.set_operations(first, 1, pos)?;
        self.select_options(&mut select)?;
        Ok(select)
    }

    /// UNION and EXCEPT bind alike, INTERSECT more strongly; all to the left.
    #[inline(never)]
    fn set_operations(&mut self, mut left: Box<SelectStmt>, min: u8, pos: u32) -> PResult<Box<SelectStmt>> {
        loop {
            let (op, prec) = match self.kind() {
                Kind::Kw(Kw::Union) => (SetOp::Union, 1),
                Kind::Kw(Kw::Except) => (SetOp::Except, 1),
                Kind::Kw(Kw::Intersect) => (SetOp::Intersect, 2),
                _ => return Ok(left),
            };
            if prec < min {
                return Ok(left);
            }
            let at = self.bump().start;
            let all = self.eat_kw(Kw::All);
            if !all {
                self.eat_kw(Kw::Distinct);
            }
            let under = std::mem::take(&mut self.height);
            let start = self.pos();
            let operand = self.select_operand()?;
            let right = self.set_operations(operand, prec + 1, start)?;
            self.height = self.height.max(under);
            self.grow()?;
            let set_op = Some(Box::new(SetOperation { op, all, left: *left, right: *right, pos: at }));
            left = Box::new(SelectStmt { set_op, pos, ..SelectStmt::default() });
        }
    }

    /// simple_select or select_with_parens.
    #[inline(never)]
    fn select_operand(&mut self) -> PResult<Box<SelectStmt>> {
        let pos = self.pos();
        match self.kind() {
            Kind::Char(b'(') => self.select_with_parens(),
            Kind::Kw(Kw::Select) => self.simple_select(),
            Kind::Kw(Kw::Values) => {
                self.bump();
                let values = self.list(|p| p.paren_list(Self::expr))?;
                Ok(Box::new(SelectStmt { values, pos, ..SelectStmt::default() }))
            }
            Kind::Kw(Kw::Table) => {
                self.bump();
                let at = self.pos();
                let from = vec![TableRef::Table(self.relation_expr()?)];
                let star = Expr::ColumnRef(ColumnRef { names: Names::new(), star: true, pos: at });
                let targets = vec![ResTarget { name: None, value: star, pos: at }];
                Ok(Box::new(SelectStmt { targets, from, pos, ..SelectStmt::default() }))
            }
            _ => self.unexpected(),
        }
    }

    #[inline(never)]
    fn simple_select(&mut self) -> PResult<Box<SelectStmt>> {
        let pos = self.bump().start;
        let mut select = Box::new(SelectStmt { pos, ..SelectStmt::default() });
        if self.eat_kw(Kw::Distinct) {
            select.distinct = Some(if self.eat_kw(Kw::On) {
                Distinct::On(self.paren_list(Self::expr)?)
            } else {
                Distinct::All
            });
        } else {
            self.eat_kw(Kw::All);
        }
        if select.distinct.is_some() || !self.at_target_list_end() {
            select.targets = self.list(Self::target)?;
        }
        if self.eat_kw(Kw::Into) {
            select.into = Some(Box::new(self.into_clause()?));
        }
        if self.eat_kw(Kw::From) {
            select.from = self.list(Self::table_ref)?;
        }
        if self.at_as_of_system_time() {
            select.as_of = Some(Box::new(self.as_of_system_time()?));
        }
        if self.eat_kw(Kw::Where) {
            select.where_clause = Some(self.expr()?);
        }
        if self.eat_kw(Kw::Group) {
            self.expect_kw(Kw::By)?;
            select.group_distinct = self.eat_kw(Kw::Distinct);
            if !select.group_distinct {
                self.eat_kw(Kw::All);
            }
            select.group_by = self.list(Self::group_item)?;
        }
        if self.eat_kw(Kw::Having) {
            select.having = Some(self.expr()?);
        }
        if self.eat_kw(Kw::Window) {
            select.windows = self.list(Self::window_definition)?;
        }
        Ok(select)
    }

    /// Whether the select list is empty: what is here ends it.
    fn at_target_list_end(&self) -> bool {
        matches!(
            self.kind(),
            Kind::Eof
                | Kind::Char(b';' | b')')
                | Kind::Kw(
                    Kw::From
                        | Kw::Into
                        | Kw::Where
                        | Kw::Group
                        | Kw::Having
                        | Kw::Window
                        | Kw::Union
                        | Kw::Intersect
                        | Kw::Except
                        | Kw::Order
                        | Kw::Limit
                        | Kw::Offset
                        | Kw::Fetch
                        | Kw::For
                        | Kw::On
                        | Kw::Returning
                        | Kw::With,
                )
        )
    }

    /// target_el.
    pub(super) fn target(&mut self) -> PResult<ResTarget> {
        let pos = self.pos();
        if self.eat_char(b'*') {
            let value = Expr::ColumnRef(ColumnRef { names: Names::new(), star: true, pos });
            return Ok(ResTarget { name: None, value, pos });
        }
        let value = self.expr()?;
        let name = if self.eat_kw(Kw::As) {
            Some(self.col_label()?)
        } else if Self::is_bare_label(self.kind()) {
            Some(self.take_name()?)
        } else {
            None
        };
        Ok(ResTarget { name, value, pos })
    }

    /// OptTempTableName after INTO.
    fn into_clause(&mut self) -> PResult<IntoClause> {
        let mut persistence = Persistence::Permanent;
        match self.kind() {
            Kind::Kw(Kw::Temp | Kw::Temporary) => {
                self.bump();
                persistence = Persistence::Temporary;
            }
            Kind::Kw(Kw::Local | Kw::Global)
                if matches!(self.kind_at(1), Kind::Kw(Kw::Temp | Kw::Temporary)) =>
            {
                self.bump();
                self.bump();
                persistence = Persistence::Temporary;
            }
            Kind::Kw(Kw::Unlogged) => {
                self.bump();
                persistence = Persistence::Unlogged;
            }
            _ => (),
        }
        self.eat_kw(Kw::Table);
        let mut relation = self.qualified_name()?;
        relation.persistence = persistence;
        Ok(plain_into(relation))
    }

    /// group_by_item.
    fn group_item(&mut self) -> PResult<GroupItem> {
        let pos = self.pos();
        if self.at_char(b'(') && self.kind_at(1) == Kind::Char(b')') {
            self.bump();
            self.bump();
            return Ok(GroupItem::Empty);
        }
        let paren = self.kind_at(1) == Kind::Char(b'(');
        match self.kind() {
            Kind::Kw(Kw::Rollup) if paren => {
                self.bump();
                Ok(GroupItem::Rollup(self.paren_list(Self::expr)?, pos))
            }
            Kind::Kw(Kw::Cube) if paren => {
                self.bump();
                Ok(GroupItem::Cube(self.paren_list(Self::expr)?, pos))
            }
            Kind::Kw(Kw::Grouping) if self.at_kw_n(1, Kw::Sets) => {
                self.bump();
                self.bump();
                self.enter()?;
                let sets = self.paren_list(Self::group_item)?;
                self.leave();
                Ok(GroupItem::Sets(sets, pos))
            }
            _ => Ok(GroupItem::Expr(self.expr()?)),
        }
    }

    /// ORDER BY, LIMIT, OFFSET, FETCH and locking clauses, once each (locking any number of times).
    fn select_options(&mut self, select: &mut SelectStmt) -> PResult<()> {
        if self.at_kw(Kw::Order) {
            let order = self.order_by()?;
            if !select.order_by.is_empty() {
                let pos = order[0].expr.start();
                return Err(ParseError::syntax("multiple ORDER BY clauses not allowed", pos));
            }
            select.order_by = order;
        }
        // LIMIT and OFFSET come in either order, locking before or after both.
        let locked_before = self.locking_clauses(select)?;
        let ties = self.limits(select)?;
        if !locked_before {
            self.locking_clauses(select)?;
        }
        if let Some(pos) = ties {
            if select.order_by.is_empty() {
                return Err(ParseError::syntax("WITH TIES cannot be specified without ORDER BY clause", pos));
            }
            if select.locking.iter().any(|l| l.wait == LockWait::Skip) {
                let message = "SKIP LOCKED and WITH TIES options cannot be used together";
                return Err(ParseError::syntax(message, pos));
            }
        }
        Ok(())
    }

    /// LIMIT or FETCH, and OFFSET, in either order. Answers where WITH TIES stands.
    fn limits(&mut self, select: &mut SelectStmt) -> PResult<Option<u32>> {
        let (mut limited, mut offset, mut with_ties) = (false, false, None);
        loop {
            let pos = self.pos();
            match self.kind() {
                Kind::Kw(Kw::Limit) if !limited => {
                    self.bump();
                    limited = true;
                    let at = self.pos();
                    let count = if self.eat_kw(Kw::All) { constant(Value::Null, at) } else { self.expr()? };
                    if self.at_char(b',') {
                        return Err(ParseError::syntax("LIMIT #,# syntax is not supported", pos)
                            .hint("Use separate LIMIT and OFFSET clauses."));
                    }
                    self.set_limit(select, count, pos)?;
                }
                Kind::Kw(Kw::Fetch) if !limited => {
                    self.bump();
                    limited = true;
                    let (count, ties) = self.fetch_first(pos)?;
                    self.set_limit(select, count, pos)?;
                    select.with_ties = ties.is_some();
                    with_ties = ties;
                }
                Kind::Kw(Kw::Offset) if !offset => {
                    self.bump();
                    offset = true;
                    let value = self.expr()?;
                    if matches!(self.kind(), Kind::Kw(Kw::Row | Kw::Rows)) {
                        self.bump();
                    }
                    if select.limit_offset.is_some() {
                        return Err(ParseError::syntax("multiple OFFSET clauses not allowed", pos));
                    }
                    select.limit_offset = Some(value);
                }
                _ => return Ok(with_ties),
            }
        }
    }

    fn set_limit(&self, select: &mut SelectStmt, count: Expr, pos: u32) -> PResult<()> {
        if select.limit_count.is_some() {
            return Err(ParseError::syntax("multiple LIMIT clauses not allowed", pos));
        }
        select.limit_count = Some(count);
        Ok(())
    }

    /// `FIRST [n] ROWS ONLY | WITH TIES`, after FETCH: the count, and where WITH TIES stands.
    fn fetch_first(&mut self, pos: u32) -> PResult<(Expr, Option<u32>)> {
        if !self.eat_kw(Kw::First) {
            self.expect_kw(Kw::Next)?;
        }
        let count = match self.kind() {
            Kind::Kw(Kw::Row | Kw::Rows) => constant(Value::Integer(1), pos),
            Kind::Char(b'-') => {
                let at = self.bump().start;
                match self.primary()? {
                    Expr::Const(Const { value: Value::Integer(n), .. }) => constant(Value::Integer(-n), at),
                    Expr::Const(Const { value: Value::Float(f), .. }) => {
                        constant(Value::Float(Arc::from(format!("-{f}"))), at)
                    }
                    _ => return self.unexpected(),
                }
            }
            Kind::Char(b'+') => {
                self.bump();
                self.primary()?
            }
            _ => self.primary()?,
        };
        if !self.eat_kw(Kw::Rows) {
            self.expect_kw(Kw::Row)?;
        }
        if self.eat_kw(Kw::Only) {
            return Ok((count, None));
        }
        let ties = self.expect_kw(Kw::With)?.start;
        self.expect_kw(Kw::Ties)?;
        Ok((count, Some(ties)))
    }

    /// for_locking_clause; whether there was one.
    fn locking_clauses(&mut self, select: &mut SelectStmt) -> PResult<bool> {
        let mut any = false;
        while self.at_kw(Kw::For) {
            any = true;
            let pos = self.bump().start;
            if self.eat_kws(&[Kw::Read, Kw::Only]) {
                break;
            }
            let strength = if self.eat_kw(Kw::Update) {
                LockStrength::Update
            } else if self.eat_kw(Kw::Share) {
                LockStrength::Share
            } else if self.eat_kw(Kw::No) {
                self.expect_kws(&[Kw::Key, Kw::Update])?;
                LockStrength::NoKeyUpdate
            } else {
                self.expect_kws(&[Kw::Key, Kw::Share])?;
                LockStrength::KeyShare
            };
            let relations = if self.eat_kw(Kw::Of) { self.list(Self::qualified_name)? } else { Vec::new() };
            let wait = if self.eat_kw(Kw::Nowait) {
                LockWait::Error
            } else if self.eat_kw(Kw::Skip) {
                self.expect_kw(Kw::Locked)?;
                LockWait::Skip
            } else {
                LockWait::Block
            };
            select.locking.push(LockingClause { strength, relations, wait, pos });
        }
        Ok(any)
    }

    /// opt_with_clause.
    pub(super) fn opt_with(&mut self) -> PResult<Option<WithClause>> {
        if !self.at_kw(Kw::With) {
            return Ok(None);
        }
        let pos = self.bump().start;
        let recursive = self.eat_kw(Kw::Recursive);
        let ctes = self.list(Self::common_table_expr)?;
        Ok(Some(WithClause { recursive, ctes, pos }))
    }

    fn common_table_expr(&mut self) -> PResult<CommonTableExpr> {
        let pos = self.pos();
        let name = self.col_id()?;
        let columns = self.opt_name_list()?;
        self.expect_kw(Kw::As)?;
        let materialized = if self.eat_kw(Kw::Materialized) {
            Some(true)
        } else if self.eat_kw(Kw::Not) {
            self.expect_kw(Kw::Materialized)?;
            Some(false)
        } else {
            None
        };
        self.enter()?;
        self.expect_char(b'(')?;
        let query = self.preparable()?;
        self.expect_char(b')')?;
        self.leave();
        let search = self.opt_search()?;
        let cycle = self.opt_cycle()?;
        Ok(CommonTableExpr { name, columns, materialized, query, search, cycle, pos })
    }

    fn opt_search(&mut self) -> PResult<Option<CteSearch>> {
        if !self.at_kw(Kw::Search) {
            return Ok(None);
        }
        let pos = self.bump().start;
        let breadth_first = self.eat_kw(Kw::Breadth);
        if !breadth_first {
            self.expect_kw(Kw::Depth)?;
        }
        self.expect_kws(&[Kw::First, Kw::By])?;
        let columns = self.list(Self::col_id)?;
        self.expect_kw(Kw::Set)?;
        let seq_column = self.col_id()?;
        Ok(Some(CteSearch { breadth_first, columns, seq_column, pos }))
    }

    fn opt_cycle(&mut self) -> PResult<Option<Box<CteCycle>>> {
        if !self.at_kw(Kw::Cycle) {
            return Ok(None);
        }
        let pos = self.bump().start;
        let columns = self.list(Self::col_id)?;
        self.expect_kw(Kw::Set)?;
        let mark_column = self.col_id()?;
        let (mark_value, mark_default) = if self.eat_kw(Kw::To) {
            let value = self.constant_expr()?;
            self.expect_kw(Kw::Default)?;
            (value, self.constant_expr()?)
        } else {
            (constant(Value::Boolean(true), pos), constant(Value::Boolean(false), pos))
        };
        self.expect_kw(Kw::Using)?;
        let path_column = self.col_id()?;
        Ok(Some(Box::new(CteCycle { columns, mark_column, mark_value, mark_default, path_column, pos })))
    }

    /// AexprConst: a literal, perhaps of a named type.
    fn constant_expr(&mut self) -> PResult<Expr> {
        let start = self.tok();
        match self.primary()? {
            expr @ (Expr::Const(_) | Expr::TypeCast(_)) => Ok(expr),
            _ => Err(ParseError::near("syntax error", self.sql, start.start, start.end)),
        }
    }

    /// PreparableStmt: what WITH, PREPARE, COPY and EXPLAIN take.
    pub(super) fn preparable(&mut self) -> PResult<Statement> {
        // A leading WITH belongs to whatever follows it.
        let pos = self.pos();
        let with = self.opt_with()?;
        Ok(match self.kind() {
            Kind::Kw(Kw::Insert) => Statement::Insert(Box::new(self.insert(with, pos)?)),
            Kind::Kw(Kw::Update) => Statement::Update(Box::new(self.update(with, pos)?)),
            Kind::Kw(Kw::Delete) => Statement::Delete(Box::new(self.delete(with, pos)?)),
            Kind::Kw(Kw::Merge) => Statement::Merge(Box::new(self.merge(with, pos)?)),
            Kind::Char(b'(') | Kind::Kw(Kw::Select | Kw::Values | Kw::Table) => {
                let mut select = self.select_no_parens()?;
                if let Some(with) = with {
                    self.attach_with(&mut select, with)?;
                    select.pos = pos;
                }
                match select.into.take() {
                    Some(into) => Statement::CreateTableAs(Box::new(CreateTableAsStmt {
                        query: Statement::Select(select),
                        into: *into,
                        materialized_view: false,
                        if_not_exists: false,
                        pos,
                    })),
                    None => Statement::Select(select),
                }
            }
            _ => return self.unexpected(),
        })
    }
}

/// INTO just a table.
pub(super) fn plain_into(relation: RangeVar) -> IntoClause {
    IntoClause {
        relation,
        columns: Vec::new(),
        access_method: None,
        options: Vec::new(),
        on_commit: OnCommit::None,
        tablespace: None,
        skip_data: false,
    }
}

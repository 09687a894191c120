//! The FROM clause, and windows.

use super::ast::{
    Alias, ColumnDefShort, Expr, FrameBound, FrameExclusion, FrameUnits, JoinExpr, JoinType, Names,
    RangeFunction, RangeSubselect, RangeTableFunc, RangeTableSample, RangeVar, SelectStmt, TableRef,
    WindowDef, WindowFrame,
};
use super::cursor::Parser;
use super::error::{PResult, ParseError};
use super::keywords::Kw;
use super::lexer::Kind;
use super::primary::name;
use shardforge_types::SqlState;

/// What a pair of parentheses in FROM held.
enum ParenTable {
    Select(Box<SelectStmt>),
    Join(Box<JoinExpr>),
}

impl Parser<'_> {
    /// table_ref, with the joins that follow.
    pub(super) fn table_ref(&mut self) -> PResult<TableRef> {
        self.enter()?;
        let around = std::mem::take(&mut self.height);
        let first = self.table_primary()?;
        let table = self.joins(first)?;
        self.grow()?;
        self.height = self.height.max(around);
        self.leave();
        Ok(table)
    }

    /// Joins after a first table, to the left.
    fn joins(&mut self, mut left: TableRef) -> PResult<TableRef> {
        while let Some(pos) = self.at_join() {
            let under = std::mem::take(&mut self.height);
            left = TableRef::Join(Box::new(self.join(left, pos)?));
            self.height = self.height.max(under);
            self.grow()?;
        }
        Ok(left)
    }

    fn at_join(&self) -> Option<u32> {
        matches!(
            self.kind(),
            Kind::Kw(Kw::Join | Kw::Inner | Kw::Left | Kw::Right | Kw::Full | Kw::Cross | Kw::Natural)
        )
        .then(|| self.pos())
    }

    #[inline(never)]
    fn join(&mut self, left: TableRef, pos: u32) -> PResult<JoinExpr> {
        if self.eat_kw(Kw::Cross) {
            self.expect_kw(Kw::Join)?;
            let right = self.table_primary()?;
            return Ok(plain_join(JoinType::Inner, left, right, pos));
        }
        let natural = self.eat_kw(Kw::Natural);
        let kind = self.join_type()?;
        if natural {
            let right = self.table_primary()?;
            return Ok(JoinExpr { natural, ..plain_join(kind, left, right, pos) });
        }
        // The right side takes joins of its own up to this join's condition: a JOIN b JOIN c ON .. ON ..
        let right = self.table_ref()?;
        let mut join = plain_join(kind, left, right, pos);
        if self.eat_kw(Kw::Using) {
            join.using = self.name_list_in_parens()?;
            if self.eat_kw(Kw::As) {
                join.using_alias = Some(Alias { name: self.col_id()?, columns: Vec::new() });
            }
        } else {
            self.expect_kw(Kw::On)?;
            join.on = Some(self.expr()?);
        }
        Ok(join)
    }

    fn join_type(&mut self) -> PResult<JoinType> {
        let kind = match self.kind() {
            Kind::Kw(Kw::Left) => JoinType::Left,
            Kind::Kw(Kw::Right) => JoinType::Right,
            Kind::Kw(Kw::Full) => JoinType::Full,
            _ => JoinType::Inner,
        };
        if kind != JoinType::Inner {
            self.bump();
            self.eat_kw(Kw::Outer);
        } else {
            self.eat_kw(Kw::Inner);
        }
        self.expect_kw(Kw::Join)?;
        Ok(kind)
    }

    /// One item of FROM without joins.
    fn table_primary(&mut self) -> PResult<TableRef> {
        let pos = self.pos();
        if self.at_char(b'(') {
            let inner = self.paren_table()?;
            return self.after_paren_table(inner, pos);
        }
        let lateral = self.eat_kw(Kw::Lateral);
        if lateral && self.at_char(b'(') {
            let at = self.pos();
            let subquery = *self.select_with_parens()?;
            let alias = self.opt_alias()?;
            return Ok(TableRef::Subselect(Box::new(RangeSubselect { lateral, subquery, alias, pos: at })));
        }
        match self.kind() {
            Kind::Kw(Kw::Xmltable | Kw::JsonTable) if self.kind_at(1) == Kind::Char(b'(') => {
                let tok = self.bump();
                let func = name(&self.text(tok).to_ascii_lowercase());
                let text = self.balanced_text()?;
                let alias = self.opt_alias()?;
                let table = RangeTableFunc { name: func, lateral, text, alias, pos };
                Ok(TableRef::TableFunc(Box::new(table)))
            }
            Kind::Kw(Kw::Rows) if self.at_kw_n(1, Kw::From) => self.function_table(lateral),
            _ if lateral || self.at_function() => self.function_table(lateral),
            _ => self.relation(),
        }
    }

    /// Whether a function call is here, rather than a table.
    fn at_function(&self) -> bool {
        let kind = self.kind();
        if !Self::is_col_id(kind) && !Self::is_type_function_name(kind) {
            // CAST, CURRENT_DATE and the like are reserved words.
            return matches!(kind, Kind::Kw(_)) && kind != Kind::Kw(Kw::Only);
        }
        let mut n = 1;
        while self.kind_at(n) == Kind::Char(b'.') {
            n += 2;
        }
        match self.kind_at(n) {
            Kind::Char(b'(') => true,
            _ => n == 1 && !Self::is_col_id(kind),
        }
    }

    /// A table, with its alias and sample.
    fn relation(&mut self) -> PResult<TableRef> {
        let mut relation = self.relation_expr()?;
        relation.alias = self.opt_alias()?;
        if !self.at_kw(Kw::Tablesample) {
            return Ok(TableRef::Table(relation));
        }
        self.bump();
        let pos = self.pos();
        let method = self.func_name()?;
        let args = self.paren_list(Self::expr)?;
        let mut repeatable = None;
        if self.eat_kw(Kw::Repeatable) {
            self.expect_char(b'(')?;
            repeatable = Some(self.expr()?);
            self.expect_char(b')')?;
        }
        Ok(TableRef::Sample(Box::new(RangeTableSample { relation, method, args, repeatable, pos })))
    }

    /// relation_expr: `t`, `t *`, `ONLY t`, `ONLY (t)`.
    pub(super) fn relation_expr(&mut self) -> PResult<RangeVar> {
        if self.eat_kw(Kw::Only) {
            let parens = self.eat_char(b'(');
            let mut relation = self.qualified_name()?;
            if parens {
                self.expect_char(b')')?;
            }
            relation.inherit = false;
            return Ok(relation);
        }
        let relation = self.qualified_name()?;
        self.eat_char(b'*');
        Ok(relation)
    }

    /// `AS OF SYSTEM TIME`, which is not an alias `of`.
    pub(super) fn at_as_of_system_time(&self) -> bool {
        self.at_kws(&[Kw::As, Kw::Of, Kw::System, Kw::Time])
    }

    /// `AS OF SYSTEM TIME expression`, as CockroachDB has it.
    pub(super) fn as_of_system_time(&mut self) -> PResult<Expr> {
        self.expect_kws(&[Kw::As, Kw::Of, Kw::System, Kw::Time])?;
        self.expr()
    }

    /// opt_alias_clause.
    pub(super) fn opt_alias(&mut self) -> PResult<Option<Alias>> {
        if self.at_as_of_system_time() || (!self.eat_kw(Kw::As) && !self.at_col_id()) {
            return Ok(None);
        }
        let name = self.col_id()?;
        let columns = self.opt_name_list()?;
        Ok(Some(Alias { name, columns }))
    }

    /// `f(x) [WITH ORDINALITY]` or `ROWS FROM (...)`, with alias and column definitions.
    #[inline(never)]
    fn function_table(&mut self, lateral: bool) -> PResult<TableRef> {
        let pos = self.pos();
        let rows_from = self.at_kws(&[Kw::Rows, Kw::From]);
        let functions = if rows_from {
            self.bump();
            self.bump();
            self.paren_list(|p| {
                let func = p.function_windowless()?;
                let defs =
                    if p.eat_kw(Kw::As) { p.paren_list(Self::table_func_element)? } else { Vec::new() };
                Ok((func, defs))
            })?
        } else {
            vec![(self.function_windowless()?, Vec::new())]
        };
        let ordinality = self.eat_kws(&[Kw::With, Kw::Ordinality]);
        let (alias, column_defs) = self.func_alias()?;
        let table = RangeFunction { lateral, ordinality, rows_from, functions, alias, column_defs, pos };
        Ok(TableRef::Function(Box::new(table)))
    }

    /// func_expr_windowless.
    fn function_windowless(&mut self) -> PResult<Expr> {
        if let Kind::Kw(kw) = self.kind()
            && let Some(func) = self.special_function(kw)?
        {
            return Ok(func);
        }
        match self.named(false)? {
            func @ Expr::FuncCall(_) => Ok(func),
            _ => self.unexpected(),
        }
    }

    /// func_alias_clause: an alias, or column definitions, or both.
    fn func_alias(&mut self) -> PResult<(Option<Alias>, Vec<ColumnDefShort>)> {
        let explicit = self.eat_kw(Kw::As);
        if explicit && self.at_char(b'(') {
            return Ok((None, self.paren_list(Self::table_func_element)?));
        }
        if !explicit && !self.at_col_id() {
            return Ok((None, Vec::new()));
        }
        let name = self.col_id()?;
        let mut alias = Alias { name, columns: Vec::new() };
        if !self.at_char(b'(') {
            return Ok((Some(alias), Vec::new()));
        }
        // A list of names, or of names with types.
        if matches!(self.kind_at(2), Kind::Char(b',' | b')')) {
            alias.columns = self.name_list_in_parens()?;
            return Ok((Some(alias), Vec::new()));
        }
        let defs = self.paren_list(Self::table_func_element)?;
        Ok((Some(alias), defs))
    }

    /// TableFuncElement: `name type [COLLATE c]`.
    pub(super) fn table_func_element(&mut self) -> PResult<ColumnDefShort> {
        let pos = self.pos();
        let name = self.col_id()?;
        let type_name = self.type_name()?;
        let collation = self.opt_collate()?;
        Ok(ColumnDefShort { name, type_name, collation, pos })
    }

    /// Read from `(` to its `)` in FROM: a query or a join, known only at what follows the innermost parentheses.
    #[inline(never)]
    fn paren_table(&mut self) -> PResult<ParenTable> {
        self.enter()?;
        self.expect_char(b'(')?;
        let pos = self.pos();
        let inner = if self.at_select_for_sure() {
            ParenTable::Select(self.select_no_parens()?)
        } else if self.at_char(b'(') {
            match self.paren_table()? {
                ParenTable::Select(select) if self.at_char(b')') => ParenTable::Select(select),
                ParenTable::Select(select) if self.at_select_continuation() => {
                    ParenTable::Select(self.select_after(select, pos)?)
                }
                ParenTable::Join(join) if self.at_char(b')') => ParenTable::Join(join),
                inner => {
                    let first = self.after_paren_table(inner, pos)?;
                    let table = self.joins(first)?;
                    self.must_be_join(table)?
                }
            }
        } else {
            let table = self.table_ref()?;
            self.must_be_join(table)?
        };
        self.expect_char(b')')?;
        self.leave();
        Ok(inner)
    }

    /// A single table may not stand in parentheses.
    fn must_be_join(&mut self, table: TableRef) -> PResult<ParenTable> {
        match table {
            TableRef::Join(join) if join.alias.is_none() => Ok(ParenTable::Join(join)),
            _ => self.unexpected(),
        }
    }

    /// The alias after parentheses.
    fn after_paren_table(&mut self, inner: ParenTable, pos: u32) -> PResult<TableRef> {
        let alias = self.opt_alias()?;
        Ok(match inner {
            ParenTable::Select(subquery) => TableRef::Subselect(Box::new(RangeSubselect {
                lateral: false,
                subquery: *subquery,
                alias,
                pos,
            })),
            ParenTable::Join(mut join) => {
                join.alias = alias;
                TableRef::Join(join)
            }
        })
    }

    // Windows.

    /// `name AS (...)` of the WINDOW clause.
    pub(super) fn window_definition(&mut self) -> PResult<WindowDef> {
        let name = self.col_id()?;
        self.expect_kw(Kw::As)?;
        let mut window = self.window_specification()?;
        window.name = Some(name);
        Ok(window)
    }

    /// What follows OVER.
    pub(super) fn over(&mut self) -> PResult<WindowDef> {
        if self.at_char(b'(') {
            return self.window_specification();
        }
        let pos = self.pos();
        let name = Some(self.col_id()?);
        Ok(WindowDef { name, base: None, partition_by: Vec::new(), order_by: Vec::new(), frame: None, pos })
    }

    fn window_specification(&mut self) -> PResult<WindowDef> {
        let pos = self.expect_char(b'(')?.start;
        let keyword = matches!(self.kind(), Kind::Kw(Kw::Partition | Kw::Range | Kw::Rows | Kw::Groups));
        let base = if self.at_col_id() && !keyword { Some(self.take_name()?) } else { None };
        let partition_by = if self.eat_kw(Kw::Partition) {
            self.expect_kw(Kw::By)?;
            self.expr_list()?
        } else {
            Vec::new()
        };
        let order_by = self.opt_order_by()?;
        let frame = self.opt_frame()?.map(Box::new);
        self.expect_char(b')')?;
        Ok(WindowDef { name: None, base, partition_by, order_by, frame, pos })
    }

    fn opt_frame(&mut self) -> PResult<Option<WindowFrame>> {
        let units = match self.kind() {
            Kind::Kw(Kw::Range) => FrameUnits::Range,
            Kind::Kw(Kw::Rows) => FrameUnits::Rows,
            Kind::Kw(Kw::Groups) => FrameUnits::Groups,
            _ => return Ok(None),
        };
        let pos = self.bump().start;
        let wrong = |message, at| Err(ParseError::new(SqlState::WINDOWING_ERROR, message, at));
        let between = self.eat_kw(Kw::Between);
        let start_pos = self.pos();
        let start = self.frame_bound()?;
        let (mut end, mut end_pos) = (FrameBound::CurrentRow, start_pos);
        if between {
            self.expect_kw(Kw::And)?;
            end_pos = self.pos();
            end = self.frame_bound()?;
        }
        use FrameBound as B;
        match (&start, &end) {
            (B::UnboundedFollowing, _) => {
                return wrong("frame start cannot be UNBOUNDED FOLLOWING", start_pos);
            }
            (B::Following(_), _) if !between => {
                return wrong("frame starting from following row cannot end with current row", start_pos);
            }
            (_, B::UnboundedPreceding) => return wrong("frame end cannot be UNBOUNDED PRECEDING", end_pos),
            (B::CurrentRow, B::Preceding(_)) => {
                return wrong("frame starting from current row cannot have preceding rows", end_pos);
            }
            (B::Following(_), B::Preceding(_) | B::CurrentRow) => {
                return wrong("frame starting from following row cannot have preceding rows", end_pos);
            }
            _ => (),
        }
        let exclude = self.opt_exclusion()?;
        Ok(Some(WindowFrame { units, start, end, between, exclude, pos }))
    }

    fn frame_bound(&mut self) -> PResult<FrameBound> {
        if self.at_kw(Kw::Unbounded) {
            match self.kind_at(1) {
                Kind::Kw(Kw::Preceding) => {
                    self.bump();
                    self.bump();
                    return Ok(FrameBound::UnboundedPreceding);
                }
                Kind::Kw(Kw::Following) => {
                    self.bump();
                    self.bump();
                    return Ok(FrameBound::UnboundedFollowing);
                }
                _ => (),
            }
        }
        if self.eat_kws(&[Kw::Current, Kw::Row]) {
            return Ok(FrameBound::CurrentRow);
        }
        let offset = self.expr()?;
        if self.eat_kw(Kw::Preceding) {
            return Ok(FrameBound::Preceding(offset));
        }
        self.expect_kw(Kw::Following)?;
        Ok(FrameBound::Following(offset))
    }

    fn opt_exclusion(&mut self) -> PResult<FrameExclusion> {
        if !self.eat_kw(Kw::Exclude) {
            return Ok(FrameExclusion::NoOthers);
        }
        let exclude = match self.kind() {
            Kind::Kw(Kw::Current) if self.at_kw_n(1, Kw::Row) => {
                self.bump();
                FrameExclusion::CurrentRow
            }
            Kind::Kw(Kw::Group) => FrameExclusion::Group,
            Kind::Kw(Kw::Ties) => FrameExclusion::Ties,
            Kind::Kw(Kw::No) if self.at_kw_n(1, Kw::Others) => {
                self.bump();
                FrameExclusion::NoOthers
            }
            _ => return self.unexpected(),
        };
        self.bump();
        Ok(exclude)
    }

    /// `[COLLATE name]`.
    pub(super) fn opt_collate(&mut self) -> PResult<Option<super::ast::CollateClause>> {
        if !self.at_kw(Kw::Collate) {
            return Ok(None);
        }
        let pos = self.bump().start;
        let name: Names = self.any_name()?;
        Ok(Some(super::ast::CollateClause { arg: None, name, pos }))
    }
}

/// A join without a condition.
fn plain_join(kind: JoinType, left: TableRef, right: TableRef, pos: u32) -> JoinExpr {
    JoinExpr {
        kind,
        natural: false,
        left,
        right,
        using: Vec::new(),
        using_alias: None,
        on: None,
        alias: None,
        pos,
    }
}

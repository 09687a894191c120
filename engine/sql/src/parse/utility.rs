//! Transactions, settings, prepared statements, cursors, EXPLAIN, COPY, LOCK, maintenance.

use std::sync::Arc;

use super::ast::{
    CallStmt, ClusterStmt, ConstraintsSetStmt, CopyStmt, CopyTarget, DeclareCursorStmt, DefArg, DefElem,
    DiscardMode, DoStmt, ExecuteStmt, ExplainStmt, Expr, FetchDirection, FetchStmt, LockMode, LockStmt, Name,
    PrepareStmt, RangeVar, ReindexKind, ReindexStmt, Statement, TruncateStmt, VacuumStmt,
};
use super::cursor::Parser;
use super::error::{PResult, ParseError};
use super::keywords::Kw;
use super::lexer::Kind;
use super::options::{flag, text_option};
use super::primary::name;

impl Parser<'_> {
    // Prepared statements and cursors.

    /// `PREPARE name [(types)] AS statement`, after PREPARE.
    pub(super) fn prepare(&mut self, pos: u32) -> PResult<Statement> {
        let name = self.col_id()?;
        let arg_types = if self.at_char(b'(') { self.paren_list(Self::type_name)? } else { Vec::new() };
        self.expect_kw(Kw::As)?;
        let query = self.preparable()?;
        Ok(Statement::Prepare(Box::new(PrepareStmt { name, arg_types, query, pos })))
    }

    pub(super) fn execute(&mut self) -> PResult<Statement> {
        let pos = self.expect_kw(Kw::Execute)?.start;
        let name = self.col_id()?;
        let params = if self.at_char(b'(') { self.paren_list(Self::expr)? } else { Vec::new() };
        Ok(Statement::Execute(Box::new(ExecuteStmt { name, params, pos })))
    }

    pub(super) fn deallocate(&mut self) -> PResult<Statement> {
        self.bump();
        self.eat_kw(Kw::Prepare);
        Ok(Statement::Deallocate(self.name_or_all()?))
    }

    /// A name, or nothing for ALL.
    fn name_or_all(&mut self) -> PResult<Option<Name>> {
        if self.eat_kw(Kw::All) { Ok(None) } else { self.col_id().map(Some) }
    }

    pub(super) fn close(&mut self) -> PResult<Statement> {
        self.bump();
        Ok(Statement::ClosePortal(self.name_or_all()?))
    }

    pub(super) fn declare(&mut self) -> PResult<Statement> {
        let pos = self.bump().start;
        let name = self.col_id()?;
        let (mut binary, mut scroll, mut insensitive) = (false, None, None);
        loop {
            let at = self.pos();
            let conflict = |words| Err(ParseError::syntax(format!("cannot specify both {words}"), at));
            match self.kind() {
                Kind::Kw(Kw::Binary) => binary = true,
                Kind::Kw(Kw::Scroll) if scroll == Some(false) => return conflict("SCROLL and NO SCROLL"),
                Kind::Kw(Kw::Scroll) => scroll = Some(true),
                Kind::Kw(Kw::No) if self.at_kw_n(1, Kw::Scroll) => {
                    if scroll == Some(true) {
                        return conflict("SCROLL and NO SCROLL");
                    }
                    self.bump();
                    scroll = Some(false);
                }
                Kind::Kw(Kw::Insensitive) => insensitive = Some(true),
                Kind::Kw(Kw::Asensitive) => insensitive = Some(false),
                _ => break,
            }
            self.bump();
        }
        self.expect_kw(Kw::Cursor)?;
        let hold = self.at_kw(Kw::With);
        if hold || self.at_kw(Kw::Without) {
            self.bump();
            self.expect_kw(Kw::Hold)?;
        }
        self.expect_kw(Kw::For)?;
        if !self.at_select() && !self.at_char(b'(') {
            return self.unexpected();
        }
        let query = self.select_no_parens()?;
        let cursor = DeclareCursorStmt { name, binary, scroll, insensitive, hold, query, pos };
        Ok(Statement::DeclareCursor(Box::new(cursor)))
    }

    /// FETCH and MOVE.
    pub(super) fn fetch(&mut self, is_move: bool) -> PResult<Statement> {
        use FetchDirection::{Absolute, Backward, Forward, Relative};
        let pos = self.bump().start;
        // A cursor may be called as a direction is: then nothing, or only FROM or IN before it, follows.
        let ends = matches!(self.kind_at(1), Kind::Eof | Kind::Char(b';'));
        let (mut direction, mut count) = (Forward, 1);
        match self.kind() {
            _ if ends => (),
            Kind::Int | Kind::Char(b'-' | b'+') => count = i64::from(self.signed_int()?),
            Kind::Kw(Kw::All) => {
                self.bump();
                count = i64::MAX;
            }
            Kind::Kw(kw @ (Kw::Next | Kw::Prior | Kw::First | Kw::Last)) => {
                self.bump();
                (direction, count) = match kw {
                    Kw::Next => (Forward, 1),
                    Kw::Prior => (Backward, 1),
                    Kw::First => (Absolute, 1),
                    _ => (Absolute, -1),
                };
            }
            Kind::Kw(kw @ (Kw::Absolute | Kw::Relative)) => {
                self.bump();
                direction = if kw == Kw::Absolute { Absolute } else { Relative };
                count = i64::from(self.signed_int()?);
            }
            Kind::Kw(kw @ (Kw::Forward | Kw::Backward)) => {
                self.bump();
                direction = if kw == Kw::Forward { Forward } else { Backward };
                if self.eat_kw(Kw::All) {
                    count = i64::MAX;
                } else if matches!(self.kind(), Kind::Int | Kind::Char(b'-' | b'+')) {
                    count = i64::from(self.signed_int()?);
                }
            }
            _ => (),
        }
        if !self.eat_kw(Kw::From) {
            self.eat_kw(Kw::In);
        }
        let portal = self.col_id()?;
        Ok(Statement::Fetch(FetchStmt { direction, count, portal, is_move, pos }))
    }

    // EXPLAIN.

    pub(super) fn explain(&mut self) -> PResult<Statement> {
        let pos = self.bump().start;
        let mut options = Vec::new();
        let query_in_parens = matches!(
            self.kind_at(1),
            Kind::Char(b'(') | Kind::Kw(Kw::Select | Kw::With | Kw::Values | Kw::Table)
        );
        if self.at_char(b'(') && !query_in_parens {
            options = self.utility_options()?;
        } else {
            for kw in [Kw::Analyze, Kw::Verbose] {
                let at = self.pos();
                if self.eat_kw(kw) || (kw == Kw::Analyze && self.eat_kw(Kw::Analyse)) {
                    options.push(DefElem { arg: None, ..flag(kw.text(), true, at) });
                }
            }
        }
        let query = match self.kind() {
            Kind::Kw(Kw::Declare) => self.declare()?,
            Kind::Kw(Kw::Execute) => self.execute()?,
            Kind::Kw(Kw::Create | Kw::Refresh) => {
                let start = self.tok();
                match self.statement()? {
                    query @ (Statement::CreateTableAs(_) | Statement::RefreshMatView(_)) => query,
                    _ => return Err(ParseError::near("syntax error", self.sql, start.start, start.end)),
                }
            }
            _ => self.preparable()?,
        };
        Ok(Statement::Explain(Box::new(ExplainStmt { query, options, pos })))
    }

    // COPY.

    pub(super) fn copy(&mut self) -> PResult<Statement> {
        let pos = self.bump().start;
        let mut copy = CopyStmt {
            relation: None,
            query: None,
            columns: Vec::new(),
            is_from: false,
            target: CopyTarget::Stdio,
            options: Vec::new(),
            where_clause: None,
            pos,
        };
        if self.eat_char(b'(') {
            copy.query = Some(self.preparable()?);
            self.expect_char(b')')?;
            self.expect_kw(Kw::To)?;
        } else {
            let at = self.pos();
            if self.eat_kw(Kw::Binary) {
                copy.options.push(text_option("format", name("binary"), at));
            }
            copy.relation = Some(self.qualified_name()?);
            copy.columns = self.opt_name_list()?;
            copy.is_from = self.eat_kw(Kw::From);
            if !copy.is_from {
                self.expect_kw(Kw::To)?;
            }
        }
        copy.target = self.copy_target()?;
        let at = self.pos();
        if copy.query.is_none() && (self.eat_kws(&[Kw::Using, Kw::Delimiters]) || self.eat_kw(Kw::Delimiters))
        {
            copy.options.push(text_option("delimiter", self.string()?, at));
        }
        self.eat_kw(Kw::With);
        if self.at_char(b'(') {
            copy.options.extend(self.copy_options()?);
        } else {
            self.copy_old_options(&mut copy.options)?;
        }
        let at = self.tok();
        if copy.query.is_none() && self.at_kw(Kw::Where) {
            copy.where_clause = self.opt_where()?;
            if !copy.is_from {
                return Err(ParseError::syntax("WHERE clause not allowed with COPY TO", at.start)
                    .state(shardforge_types::SqlState::SYNTAX_ERROR));
            }
        }
        Ok(Statement::Copy(Box::new(copy)))
    }

    fn copy_target(&mut self) -> PResult<CopyTarget> {
        if self.eat_kw(Kw::Program) {
            return Ok(CopyTarget::Program(self.string()?));
        }
        if self.eat_kw(Kw::Stdin) || self.eat_kw(Kw::Stdout) {
            return Ok(CopyTarget::Stdio);
        }
        Ok(CopyTarget::File(self.string()?))
    }

    /// copy_opt_list: the options without parentheses.
    fn copy_old_options(&mut self, options: &mut Vec<DefElem>) -> PResult<()> {
        loop {
            let pos = self.pos();
            let Kind::Kw(kw) = self.kind() else { return Ok(()) };
            match kw {
                Kw::Binary | Kw::Csv => {
                    self.bump();
                    options.push(text_option("format", name(kw.text()), pos));
                }
                Kw::Freeze | Kw::Header => {
                    self.bump();
                    options.push(flag(kw.text(), true, pos));
                }
                Kw::Delimiter | Kw::Null | Kw::Quote | Kw::Escape => {
                    self.bump();
                    self.eat_kw(Kw::As);
                    options.push(text_option(kw.text(), self.string()?, pos));
                }
                Kw::Encoding => {
                    self.bump();
                    options.push(text_option("encoding", self.string()?, pos));
                }
                Kw::Force => {
                    self.bump();
                    let option = if self.eat_kw(Kw::Quote) {
                        "force_quote"
                    } else if self.eat_kw(Kw::Null) {
                        "force_null"
                    } else {
                        self.expect_kws(&[Kw::Not, Kw::Null])?;
                        "force_not_null"
                    };
                    let columns = if self.eat_char(b'*') {
                        DefArg::Star
                    } else {
                        DefArg::List(self.list(|p| Ok(DefArg::String(p.col_id()?)))?)
                    };
                    options.push(super::options::option(option, Some(columns), pos));
                }
                _ => return Ok(()),
            }
        }
    }

    // Locks and constraints.

    pub(super) fn lock(&mut self) -> PResult<Statement> {
        let pos = self.bump().start;
        self.eat_kw(Kw::Table);
        let relations = self.list(Self::relation_expr)?;
        let mut mode = LockMode::AccessExclusive;
        if self.eat_kw(Kw::In) {
            mode = self.lock_mode()?;
            self.expect_kw(Kw::Mode)?;
        }
        let nowait = self.eat_kw(Kw::Nowait);
        Ok(Statement::Lock(Box::new(LockStmt { relations, mode, nowait, pos })))
    }

    fn lock_mode(&mut self) -> PResult<LockMode> {
        let Kind::Kw(kw) = self.kind() else { return self.unexpected() };
        match kw {
            Kw::Access | Kw::Row => {
                self.bump();
                let access = kw == Kw::Access;
                if self.eat_kw(Kw::Share) {
                    return Ok(if access { LockMode::AccessShare } else { LockMode::RowShare });
                }
                self.expect_kw(Kw::Exclusive)?;
                Ok(if access { LockMode::AccessExclusive } else { LockMode::RowExclusive })
            }
            Kw::Exclusive => {
                self.bump();
                Ok(LockMode::Exclusive)
            }
            Kw::Share => {
                self.bump();
                if self.eat_kws(&[Kw::Update, Kw::Exclusive]) {
                    return Ok(LockMode::ShareUpdateExclusive);
                }
                if self.eat_kws(&[Kw::Row, Kw::Exclusive]) {
                    return Ok(LockMode::ShareRowExclusive);
                }
                Ok(LockMode::Share)
            }
            _ => self.unexpected(),
        }
    }

    /// SET CONSTRAINTS, after CONSTRAINTS.
    pub(super) fn set_constraints(&mut self) -> PResult<Statement> {
        let constraints = if self.eat_kw(Kw::All) { Vec::new() } else { self.list(Self::qualified_name)? };
        let deferred = self.eat_kw(Kw::Deferred);
        if !deferred {
            self.expect_kw(Kw::Immediate)?;
        }
        Ok(Statement::ConstraintsSet(ConstraintsSetStmt { constraints, deferred }))
    }

    pub(super) fn truncate(&mut self) -> PResult<Statement> {
        let pos = self.bump().start;
        self.eat_kw(Kw::Table);
        let relations = self.list(Self::relation_expr)?;
        let restart_identity = self.eat_kws(&[Kw::Restart, Kw::Identity]);
        if !restart_identity {
            self.eat_kws(&[Kw::Continue, Kw::Identity]);
        }
        let cascade = self.opt_cascade();
        Ok(Statement::Truncate(Box::new(TruncateStmt { relations, restart_identity, cascade, pos })))
    }

    /// opt_drop_behavior.
    pub(super) fn opt_cascade(&mut self) -> bool {
        let cascade = self.eat_kw(Kw::Cascade);
        if !cascade {
            self.eat_kw(Kw::Restrict);
        }
        cascade
    }

    // Maintenance.

    pub(super) fn vacuum(&mut self) -> PResult<Statement> {
        let pos = self.pos();
        let is_vacuum = self.bump().kind == Kind::Kw(Kw::Vacuum);
        let mut options = Vec::new();
        if self.at_char(b'(') {
            options = self.utility_options()?;
        } else {
            let words: &[Kw] =
                if is_vacuum { &[Kw::Full, Kw::Freeze, Kw::Verbose, Kw::Analyze] } else { &[Kw::Verbose] };
            for kw in words {
                let at = self.pos();
                if self.eat_kw(*kw) || (*kw == Kw::Analyze && self.eat_kw(Kw::Analyse)) {
                    options.push(DefElem { arg: None, ..flag(kw.text(), true, at) });
                }
            }
        }
        let mut relations = Vec::new();
        if self.at_col_id() || self.at_kw(Kw::Only) {
            relations = self.list(|p| Ok((p.relation_expr()?, p.opt_name_list()?)))?;
        }
        Ok(Statement::Vacuum(Box::new(VacuumStmt { is_vacuum, options, relations, pos })))
    }

    pub(super) fn cluster(&mut self) -> PResult<Statement> {
        self.bump();
        let mut cluster = ClusterStmt { relation: None, index: None, options: Vec::new() };
        let pos = self.pos();
        if self.at_char(b'(') {
            cluster.options = self.utility_options()?;
        } else if self.eat_kw(Kw::Verbose) {
            cluster.options.push(DefElem { arg: None, ..flag("verbose", true, pos) });
        }
        if self.at_col_id() {
            let relation = self.qualified_name()?;
            if self.eat_kw(Kw::Using) {
                cluster.index = Some(self.col_id()?);
                cluster.relation = Some(relation);
            } else if self.eat_kw(Kw::On) {
                cluster.index = Some(relation.name);
                cluster.relation = Some(self.qualified_name()?);
            } else {
                cluster.relation = Some(relation);
            }
        }
        Ok(Statement::Cluster(Box::new(cluster)))
    }

    pub(super) fn reindex(&mut self) -> PResult<Statement> {
        self.bump();
        let mut options = if self.at_char(b'(') { self.utility_options()? } else { Vec::new() };
        let kind = match self.kind() {
            Kind::Kw(Kw::Index) => ReindexKind::Index,
            Kind::Kw(Kw::Table) => ReindexKind::Table,
            Kind::Kw(Kw::Schema) => ReindexKind::Schema,
            Kind::Kw(Kw::System) => ReindexKind::System,
            Kind::Kw(Kw::Database) => ReindexKind::Database,
            _ => return self.unexpected(),
        };
        self.bump();
        let pos = self.pos();
        if self.eat_kw(Kw::Concurrently) {
            options.push(DefElem { arg: None, ..flag("concurrently", true, pos) });
        }
        let optional = matches!(kind, ReindexKind::System | ReindexKind::Database);
        let relation: Option<RangeVar> =
            if optional && !self.at_col_id() { None } else { Some(self.qualified_name()?) };
        Ok(Statement::Reindex(Box::new(ReindexStmt { kind, relation, options })))
    }

    pub(super) fn discard(&mut self) -> PResult<Statement> {
        self.bump();
        let mode = match self.kind() {
            Kind::Kw(Kw::All) => DiscardMode::All,
            Kind::Kw(Kw::Plans) => DiscardMode::Plans,
            Kind::Kw(Kw::Sequences) => DiscardMode::Sequences,
            Kind::Kw(Kw::Temp | Kw::Temporary) => DiscardMode::Temp,
            _ => return self.unexpected(),
        };
        self.bump();
        Ok(Statement::Discard(mode))
    }

    pub(super) fn notify(&mut self) -> PResult<Statement> {
        self.bump();
        let channel = self.col_id()?;
        let payload = if self.eat_char(b',') { Some(self.string()?) } else { None };
        Ok(Statement::Notify(channel, payload))
    }

    pub(super) fn unlisten(&mut self) -> PResult<Statement> {
        self.bump();
        if self.eat_char(b'*') {
            return Ok(Statement::Unlisten(None));
        }
        Ok(Statement::Unlisten(Some(self.col_id()?)))
    }

    pub(super) fn call_statement(&mut self) -> PResult<Statement> {
        self.bump();
        let pos = self.pos();
        let names = self.func_name()?;
        let call = self.call_arguments(names, pos)?;
        Ok(Statement::Call(Box::new(CallStmt { call })))
    }

    pub(super) fn do_statement(&mut self) -> PResult<Statement> {
        self.bump();
        let mut args = Vec::new();
        loop {
            let pos = self.pos();
            if self.at_string() {
                args.push(text_option("as", self.string()?, pos));
            } else if self.eat_kw(Kw::Language) {
                args.push(text_option("language", self.word_or_string()?, pos));
            } else if args.is_empty() {
                return self.unexpected();
            } else {
                return Ok(Statement::Do(Box::new(DoStmt { args })));
            }
        }
    }

    /// A value of SET: a word, a string or a number.
    pub(super) fn set_value(&mut self) -> PResult<Expr> {
        use super::ast::Value;
        let pos = self.pos();
        let signed = matches!(self.kind(), Kind::Char(b'-' | b'+'));
        let number = if signed { Some(self.number()?) } else { self.opt_number()? };
        let value = match number {
            Some(DefArg::Integer(n)) => Value::Integer(n),
            Some(DefArg::Float(text)) => Value::Float(text),
            _ => Value::String(Arc::clone(&self.boolean_or_string()?)),
        };
        Ok(super::expr::constant(value, pos))
    }
}

//! Transactions, and settings: SET, RESET, SHOW.

use super::ast::{
    Expr, IsolationLevel, Name, Statement, TransactionKind, TransactionModes, TransactionStmt, Value,
    VariableSetKind, VariableSetStmt, VariableShowStmt,
};
use super::cursor::Parser;
use super::error::PResult;
use super::expr::constant;
use super::keywords::Kw;
use super::lexer::Kind;
use super::primary::name;

fn transaction(kind: TransactionKind, pos: u32) -> Statement {
    Statement::Transaction(TransactionStmt { kind, pos })
}

impl Parser<'_> {
    /// BEGIN, START, COMMIT, END, ROLLBACK, ABORT, SAVEPOINT, RELEASE.
    pub(super) fn transaction(&mut self, kw: Kw) -> PResult<Statement> {
        let pos = self.bump().start;
        let kind = match kw {
            Kw::Begin => {
                self.opt_work();
                TransactionKind::Begin(self.transaction_modes(false)?)
            }
            Kw::Start => {
                self.expect_kw(Kw::Transaction)?;
                TransactionKind::Start(self.transaction_modes(false)?)
            }
            Kw::Savepoint => TransactionKind::Savepoint(self.col_id()?),
            Kw::Release => {
                self.opt_savepoint();
                TransactionKind::Release(self.col_id()?)
            }
            Kw::Commit | Kw::End => {
                if kw == Kw::Commit && self.eat_kw(Kw::Prepared) {
                    TransactionKind::CommitPrepared(self.string()?)
                } else {
                    self.opt_work();
                    TransactionKind::Commit { chain: self.opt_chain()? }
                }
            }
            _ => {
                if kw == Kw::Rollback && self.eat_kw(Kw::Prepared) {
                    return Ok(transaction(TransactionKind::RollbackPrepared(self.string()?), pos));
                }
                self.opt_work();
                if kw == Kw::Rollback && self.eat_kw(Kw::To) {
                    self.opt_savepoint();
                    TransactionKind::RollbackTo(self.col_id()?)
                } else {
                    TransactionKind::Rollback { chain: self.opt_chain()? }
                }
            }
        };
        Ok(transaction(kind, pos))
    }

    /// PREPARE TRANSACTION, after both words.
    pub(super) fn prepare_transaction(&mut self, pos: u32) -> PResult<Statement> {
        Ok(transaction(TransactionKind::Prepare(self.string()?), pos))
    }

    fn opt_work(&mut self) {
        if !self.eat_kw(Kw::Work) {
            self.eat_kw(Kw::Transaction);
        }
    }

    /// `[SAVEPOINT]` before a name; a savepoint may be called so as well.
    fn opt_savepoint(&mut self) {
        if !matches!(self.kind_at(1), Kind::Eof | Kind::Char(b';')) {
            self.eat_kw(Kw::Savepoint);
        }
    }

    fn opt_chain(&mut self) -> PResult<bool> {
        if !self.eat_kw(Kw::And) {
            return Ok(false);
        }
        let no = self.eat_kw(Kw::No);
        self.expect_kw(Kw::Chain)?;
        Ok(!no)
    }

    /// transaction_mode_list; commas are optional.
    fn transaction_modes(&mut self, required: bool) -> PResult<TransactionModes> {
        let mut modes = TransactionModes::default();
        let mut needed = required;
        loop {
            match self.kind() {
                Kind::Kw(Kw::Isolation) => {
                    self.bump();
                    self.expect_kw(Kw::Level)?;
                    modes.isolation = Some(self.isolation_level()?);
                }
                Kind::Kw(Kw::Read) => {
                    self.bump();
                    let only = self.eat_kw(Kw::Only);
                    if !only {
                        self.expect_kw(Kw::Write)?;
                    }
                    modes.read_only = Some(only);
                }
                Kind::Kw(Kw::Deferrable) => {
                    self.bump();
                    modes.deferrable = Some(true);
                }
                Kind::Kw(Kw::Not) => {
                    self.bump();
                    self.expect_kw(Kw::Deferrable)?;
                    modes.deferrable = Some(false);
                }
                Kind::Kw(Kw::As) => modes.as_of = Some(Box::new(self.as_of_system_time()?)),
                _ if needed => return self.unexpected(),
                _ => return Ok(modes),
            }
            needed = self.eat_char(b',');
        }
    }

    /// iso_level.
    fn isolation_level(&mut self) -> PResult<IsolationLevel> {
        if self.eat_kw(Kw::Serializable) {
            return Ok(IsolationLevel::Serializable);
        }
        if self.eat_kw(Kw::Repeatable) {
            self.expect_kw(Kw::Read)?;
            return Ok(IsolationLevel::RepeatableRead);
        }
        self.expect_kw(Kw::Read)?;
        if self.eat_kw(Kw::Committed) {
            return Ok(IsolationLevel::ReadCommitted);
        }
        self.expect_kw(Kw::Uncommitted)?;
        Ok(IsolationLevel::ReadUncommitted)
    }

    /// SET, also SET CONSTRAINTS.
    pub(super) fn set(&mut self) -> PResult<Statement> {
        let pos = self.bump().start;
        if self.eat_kw(Kw::Constraints) {
            return self.set_constraints();
        }
        if self.eat_kws(&[Kw::Session, Kw::Characteristics]) {
            self.expect_kws(&[Kw::As, Kw::Transaction])?;
            let kind = VariableSetKind::SessionCharacteristics(self.transaction_modes(true)?);
            return Ok(Statement::VariableSet(Box::new(VariableSetStmt { kind, local: false, pos })));
        }
        let local = self.at_kw(Kw::Local) && !self.at_assignment(1);
        if local
            || (self.at_kws(&[Kw::Session]) && !self.at_kw_n(1, Kw::Authorization) && !self.at_assignment(1))
        {
            self.bump();
        }
        let kind = if self.at_kw(Kw::Transaction) && !self.at_assignment(1) {
            self.bump();
            if self.eat_kw(Kw::Snapshot) {
                VariableSetKind::TransactionSnapshot(self.string()?)
            } else {
                VariableSetKind::Transaction(self.transaction_modes(true)?)
            }
        } else {
            self.set_rest()?
        };
        Ok(Statement::VariableSet(Box::new(VariableSetStmt { kind, local, pos })))
    }

    /// Whether `=`, TO or a dot stands `n` tokens on, so that the word here is a setting's name.
    fn at_assignment(&self, n: usize) -> bool {
        matches!(self.kind_at(n), Kind::Char(b'=' | b'.') | Kind::Kw(Kw::To))
    }

    /// var_name: `a`, `a.b`.
    pub(super) fn var_name(&mut self) -> PResult<Name> {
        let first = self.col_id()?;
        if !self.at_char(b'.') {
            return Ok(first);
        }
        let mut full = first.to_string();
        while self.eat_char(b'.') {
            full.push('.');
            full.push_str(&self.col_id()?);
        }
        Ok(name(&full))
    }

    /// set_rest_more: all but transaction modes.
    pub(super) fn set_rest(&mut self) -> PResult<VariableSetKind> {
        let pos = self.pos();
        let text = |setting: &str, value: Name| {
            VariableSetKind::Value(name(setting), vec![constant(Value::String(value), pos)])
        };
        if !self.at_assignment(1) && !self.at_kw_n(1, Kw::From) {
            match (self.kind(), self.kind_at(1)) {
                (Kind::Kw(Kw::Time), Kind::Kw(Kw::Zone)) => {
                    self.bump();
                    self.bump();
                    return self.zone_value();
                }
                (Kind::Kw(Kw::Session), Kind::Kw(Kw::Authorization)) => {
                    self.bump();
                    self.bump();
                    if self.eat_kw(Kw::Default) {
                        return Ok(VariableSetKind::Default(name("session_authorization")));
                    }
                    let role = self.word_or_string()?;
                    return Ok(text("session_authorization", role));
                }
                (Kind::Kw(Kw::Role), _) => {
                    self.bump();
                    let role = self.word_or_string()?;
                    return Ok(text("role", role));
                }
                (Kind::Kw(Kw::Schema), _) => {
                    self.bump();
                    let schema = self.string()?;
                    return Ok(text("search_path", schema));
                }
                (Kind::Kw(Kw::Names), _) => {
                    self.bump();
                    if self.at_string() {
                        let encoding = self.string()?;
                        return Ok(text("client_encoding", encoding));
                    }
                    self.eat_kw(Kw::Default);
                    return Ok(VariableSetKind::Default(name("client_encoding")));
                }
                (Kind::Kw(Kw::Xml), _) => {
                    self.bump();
                    self.expect_kw(Kw::Option)?;
                    let document = self.eat_kw(Kw::Document);
                    if !document {
                        self.expect_kw(Kw::Content)?;
                    }
                    let option = if document { "DOCUMENT" } else { "CONTENT" };
                    return Ok(text("xmloption", name(option)));
                }
                (Kind::Kw(Kw::Catalog), next) if Self::is_string(next) => {
                    return Err(super::error::ParseError::unsupported(
                        "current database cannot be changed",
                        self.tok().start,
                    ));
                }
                _ => (),
            }
        }
        let setting = self.var_name()?;
        if self.eat_kw(Kw::From) {
            self.expect_kw(Kw::Current)?;
            return Ok(VariableSetKind::Current(setting));
        }
        if !self.eat_char(b'=') {
            self.expect_kw(Kw::To)?;
        }
        if self.eat_kw(Kw::Default) {
            return Ok(VariableSetKind::Default(setting));
        }
        Ok(VariableSetKind::Value(setting, self.list(Self::set_value)?))
    }

    /// zone_value.
    fn zone_value(&mut self) -> PResult<VariableSetKind> {
        let setting = name("timezone");
        let pos = self.pos();
        if self.eat_kw(Kw::Default) || self.eat_kw(Kw::Local) {
            return Ok(VariableSetKind::Default(setting));
        }
        let value: Expr = if self.at_kw(Kw::Interval) {
            self.interval_literal()?
        } else if matches!(self.kind(), Kind::Ident | Kind::QuotedIdent | Kind::UnicodeIdent) {
            constant(Value::String(self.take_name()?), pos)
        } else if self.at_string() {
            constant(Value::String(self.string()?), pos)
        } else {
            match self.number()? {
                super::ast::DefArg::Integer(n) => constant(Value::Integer(n), pos),
                super::ast::DefArg::Float(text) => constant(Value::Float(text), pos),
                _ => return self.unexpected(),
            }
        };
        Ok(VariableSetKind::Value(setting, vec![value]))
    }

    /// `INTERVAL '...'`, at INTERVAL.
    pub(super) fn interval_literal(&mut self) -> PResult<Expr> {
        match self.typed_literal(Kw::Interval)? {
            Some(literal) => Ok(literal),
            None => {
                self.bump();
                self.unexpected()
            }
        }
    }

    /// `SET ...` or `RESET ...` after ALTER ROLE, ALTER DATABASE, in CREATE FUNCTION, ...
    pub(super) fn set_or_reset(&mut self) -> PResult<VariableSetStmt> {
        let pos = self.pos();
        let kind = if self.at_kw(Kw::Reset) {
            self.reset_kind()?
        } else {
            self.expect_kw(Kw::Set)?;
            self.set_rest()?
        };
        Ok(VariableSetStmt { kind, local: false, pos })
    }

    fn reset_kind(&mut self) -> PResult<VariableSetKind> {
        self.bump();
        if self.eat_kw(Kw::All) {
            return Ok(VariableSetKind::ResetAll);
        }
        Ok(VariableSetKind::Reset(self.shown_name()?))
    }

    /// The setting of SHOW and RESET.
    fn shown_name(&mut self) -> PResult<Name> {
        if self.eat_kws(&[Kw::Time, Kw::Zone]) {
            return Ok(name("timezone"));
        }
        if self.eat_kws(&[Kw::Transaction, Kw::Isolation]) {
            self.expect_kw(Kw::Level)?;
            return Ok(name("transaction_isolation"));
        }
        if self.eat_kws(&[Kw::Session, Kw::Authorization]) {
            return Ok(name("session_authorization"));
        }
        self.var_name()
    }

    pub(super) fn reset(&mut self) -> PResult<Statement> {
        let pos = self.pos();
        let kind = self.reset_kind()?;
        Ok(Statement::VariableSet(Box::new(VariableSetStmt { kind, local: false, pos })))
    }

    pub(super) fn show(&mut self) -> PResult<Statement> {
        let pos = self.bump().start;
        if let Some(shards) = self.opt_show_shards()? {
            return Ok(shards);
        }
        if let Some(cluster) = self.opt_show_cluster() {
            return Ok(cluster);
        }
        let setting = if self.eat_kw(Kw::All) { name("all") } else { self.shown_name()? };
        Ok(Statement::VariableShow(VariableShowStmt { name: setting, pos }))
    }
}

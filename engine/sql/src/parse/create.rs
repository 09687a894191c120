//! CREATE and ALTER of what is neither table nor role: functions, types, domains, extensions, triggers; and of what is
//! recognised only.

use super::ast::{
    AlterDomainAction, AlterDomainStmt, AlterEnumStmt, AlterFunctionStmt, CreateDomainStmt,
    CreateExtensionStmt, CreateFunctionStmt, CreateTrigStmt, CreateTypeStmt, DefArg, DefElem, FunctionBody,
    FunctionParameter, FunctionParameterMode, Name, Names, ObjectType, OtherStmt, RenameTarget, Statement,
    VariableSetKind,
};
use super::cursor::Parser;
use super::error::{PResult, ParseError};
use super::keywords::Kw;
use super::lexer::Kind;
use super::object::rename;
use super::options::{flag, option, text_option};
use super::primary::name;

impl Parser<'_> {
    /// Skip to the end of a statement of which only its kind is kept.
    pub(super) fn other(&mut self, tag: &'static str, pos: u32) -> PResult<Statement> {
        let mut depth = 0_u32;
        loop {
            match self.kind() {
                Kind::Char(b'(') => depth += 1,
                Kind::Char(b')') if depth == 0 => return self.unexpected(),
                Kind::Char(b')') => depth -= 1,
                Kind::Char(b';') if depth == 0 => break,
                Kind::Eof if depth == 0 => break,
                Kind::Eof | Kind::Bad => return self.unexpected(),
                _ => (),
            }
            self.bump();
        }
        Ok(Statement::Other(OtherStmt { tag, pos }))
    }

    // Functions.

    /// CREATE FUNCTION and PROCEDURE, after that word.
    pub(super) fn create_function(
        &mut self,
        is_procedure: bool,
        replace: bool,
        pos: u32,
    ) -> PResult<Statement> {
        let name = self.func_name()?;
        if !self.at_char(b'(') {
            return self.unexpected();
        }
        let mut parameters = self.function_parameters(true)?;
        let mut return_type = None;
        if !is_procedure && self.eat_kw(Kw::Returns) {
            if self.eat_kw(Kw::Table) {
                parameters.extend(self.paren_list(|p| {
                    let pos = p.pos();
                    let name = Some(p.type_function_name()?);
                    let (type_name, mode) = (p.func_type()?, FunctionParameterMode::Table);
                    Ok(FunctionParameter { name, type_name, mode, default: None, pos })
                })?);
            } else {
                return_type = Some(self.func_type()?);
            }
        }
        let mut options = Vec::new();
        while let Some(elem) = self.opt_function_option(true)? {
            options.push(elem);
        }
        let sql_body = self.opt_function_body()?;
        Ok(Statement::CreateFunction(Box::new(CreateFunctionStmt {
            is_procedure,
            replace,
            name,
            parameters,
            return_type,
            options,
            sql_body,
            pos,
        })))
    }

    /// createfunc_opt_item, or with `creating` false common_func_opt_item.
    fn opt_function_option(&mut self, creating: bool) -> PResult<Option<DefElem>> {
        let pos = self.pos();
        let Kind::Kw(kw) = self.kind() else { return Ok(None) };
        Ok(Some(match kw {
            Kw::As if creating => {
                self.bump();
                let first = DefArg::String(self.string()?);
                let mut parts = vec![first];
                if self.eat_char(b',') {
                    parts.push(DefArg::String(self.string()?));
                }
                option("as", Some(DefArg::List(parts)), pos)
            }
            Kw::Language if creating => {
                self.bump();
                text_option("language", self.word_or_string()?, pos)
            }
            Kw::Transform if creating => {
                self.bump();
                let types = self.list(|p| {
                    p.expect_kws(&[Kw::For, Kw::Type])?;
                    Ok(DefArg::Type(p.type_name()?))
                })?;
                option("transform", Some(DefArg::List(types)), pos)
            }
            Kw::Window if creating => {
                self.bump();
                flag("window", true, pos)
            }
            Kw::Called | Kw::Returns => {
                self.bump();
                if kw == Kw::Returns {
                    self.expect_kw(Kw::Null)?;
                }
                self.expect_kws(&[Kw::On, Kw::Null, Kw::Input])?;
                flag("strict", kw == Kw::Returns, pos)
            }
            Kw::Strict => {
                self.bump();
                flag("strict", true, pos)
            }
            Kw::Immutable | Kw::Stable | Kw::Volatile => {
                self.bump();
                text_option("volatility", name(kw.text()), pos)
            }
            Kw::External | Kw::Security => {
                self.bump();
                if kw == Kw::External {
                    self.expect_kw(Kw::Security)?;
                }
                let definer = self.eat_kw(Kw::Definer);
                if !definer {
                    self.expect_kw(Kw::Invoker)?;
                }
                flag("security", definer, pos)
            }
            Kw::Leakproof => {
                self.bump();
                flag("leakproof", true, pos)
            }
            Kw::Not => {
                self.bump();
                self.expect_kw(Kw::Leakproof)?;
                flag("leakproof", false, pos)
            }
            Kw::Cost | Kw::Rows => {
                self.bump();
                option(kw.text(), Some(self.number()?), pos)
            }
            Kw::Support => {
                self.bump();
                option("support", Some(DefArg::Names(self.any_name()?)), pos)
            }
            Kw::Parallel => {
                self.bump();
                text_option("parallel", self.col_id()?, pos)
            }
            Kw::Set | Kw::Reset => {
                let setting = match self.set_or_reset()?.kind {
                    VariableSetKind::Value(name, _)
                    | VariableSetKind::Default(name)
                    | VariableSetKind::Current(name)
                    | VariableSetKind::Reset(name) => name,
                    _ => name("all"),
                };
                text_option("set", setting, pos)
            }
            _ => return Ok(None),
        }))
    }

    /// opt_routine_body.
    fn opt_function_body(&mut self) -> PResult<Option<FunctionBody>> {
        if self.eat_kw(Kw::Return) {
            return Ok(Some(FunctionBody::Return(self.expr()?)));
        }
        if !self.eat_kws(&[Kw::Begin, Kw::Atomic]) {
            return Ok(None);
        }
        let mut statements = Vec::new();
        loop {
            while self.eat_char(b';') {}
            if self.eat_kw(Kw::End) {
                return Ok(Some(FunctionBody::Atomic(statements)));
            }
            if self.at_kw(Kw::Return) {
                // RETURN expr inside a body: a query of one column.
                let pos = self.bump().start;
                let value = self.expr()?;
                let targets = vec![super::ast::ResTarget { name: None, value, pos }];
                let select = super::ast::SelectStmt { targets, pos, ..Default::default() };
                statements.push(Statement::Select(Box::new(select)));
            } else {
                statements.push(self.statement()?);
            }
            self.expect_char(b';')?;
        }
    }

    /// ALTER FUNCTION, PROCEDURE, ROUTINE, AGGREGATE, after that word.
    pub(super) fn alter_function(&mut self, kind: ObjectType, pos: u32) -> PResult<Statement> {
        let function = self.object_name(kind)?;
        if let Some(stmt) = self.opt_alter_common(&function, false, pos)? {
            return Ok(stmt);
        }
        if matches!(self.kind(), Kind::Kw(Kw::Depends)) || self.at_kws(&[Kw::No, Kw::Depends]) {
            return self.other("ALTER FUNCTION", pos);
        }
        let mut options = Vec::new();
        while let Some(elem) = self.opt_function_option(false)? {
            options.push(elem);
        }
        if options.is_empty() {
            return self.unexpected();
        }
        self.eat_kw(Kw::Restrict);
        Ok(Statement::AlterFunction(Box::new(AlterFunctionStmt { function, options })))
    }

    // Types.

    /// CREATE TYPE, after TYPE.
    pub(super) fn create_type(&mut self) -> PResult<Statement> {
        let type_name = self.any_name()?;
        let create = if self.eat_kw(Kw::As) {
            if self.eat_kw(Kw::Enum) {
                self.expect_char(b'(')?;
                let labels = if self.at_char(b')') { Vec::new() } else { self.list(Self::string)? };
                self.expect_char(b')')?;
                CreateTypeStmt::Enum(type_name, labels)
            } else if self.eat_kw(Kw::Range) {
                CreateTypeStmt::Range(type_name, self.definition()?)
            } else {
                self.expect_char(b'(')?;
                let columns =
                    if self.at_char(b')') { Vec::new() } else { self.list(Self::table_func_element)? };
                self.expect_char(b')')?;
                CreateTypeStmt::Composite(type_name, columns)
            }
        } else {
            let options = if self.at_char(b'(') { self.definition()? } else { Vec::new() };
            CreateTypeStmt::Base(type_name, options)
        };
        Ok(Statement::CreateType(Box::new(create)))
    }

    /// ALTER TYPE, after TYPE.
    pub(super) fn alter_type(&mut self, pos: u32) -> PResult<Statement> {
        use super::ast::AlterTableObject;
        // The commands of composite types are ALTER TABLE's.
        let mut n = 1;
        while self.kind_at(n) == Kind::Char(b'.') {
            n += 2;
        }
        let composite = match (self.kind_at(n), self.kind_at(n + 1)) {
            (Kind::Kw(Kw::Drop | Kw::Alter), _) => true,
            (Kind::Kw(Kw::Add), next) => next != Kind::Kw(Kw::Value),
            (Kind::Kw(Kw::Rename), next) => next == Kind::Kw(Kw::Attribute),
            _ => false,
        };
        if composite {
            return self.alter_relation(AlterTableObject::Type, pos);
        }
        let object_pos = self.pos();
        let names = self.any_name()?;
        if self.at_kws(&[Kw::Add, Kw::Value]) {
            self.bump();
            self.bump();
            return self.alter_enum_add(names);
        }
        if self.eat_kws(&[Kw::Rename, Kw::Value]) {
            let old_value = Some(self.string()?);
            self.expect_kw(Kw::To)?;
            let new_value = self.string()?;
            let alter = AlterEnumStmt {
                type_name: names,
                old_value,
                new_value,
                neighbor: None,
                if_not_exists: false,
            };
            return Ok(Statement::AlterEnum(Box::new(alter)));
        }
        let object =
            super::ast::ObjectName { kind: ObjectType::Type, names, args: None, of: None, pos: object_pos };
        if let Some(stmt) = self.opt_alter_common(&object, false, pos)? {
            return Ok(stmt);
        }
        self.expect_kw(Kw::Set)?;
        self.definition()?;
        Ok(Statement::Other(OtherStmt { tag: "ALTER TYPE", pos }))
    }

    fn alter_enum_add(&mut self, type_name: Names) -> PResult<Statement> {
        let if_not_exists = self.if_not_exists()?;
        let new_value = self.string()?;
        let mut neighbor: Option<(bool, Name)> = None;
        if matches!(self.kind(), Kind::Kw(Kw::Before | Kw::After)) {
            let after = self.bump().kind == Kind::Kw(Kw::After);
            neighbor = Some((after, self.string()?));
        }
        let alter = AlterEnumStmt { type_name, old_value: None, new_value, neighbor, if_not_exists };
        Ok(Statement::AlterEnum(Box::new(alter)))
    }

    /// CREATE DOMAIN, after DOMAIN.
    pub(super) fn create_domain(&mut self, pos: u32) -> PResult<Statement> {
        let name = self.any_name()?;
        self.eat_kw(Kw::As);
        let type_name = self.type_name()?;
        let (mut constraints, mut collation) = (Vec::new(), None);
        self.column_qualifiers(&mut constraints, &mut collation)?;
        let create = CreateDomainStmt { name, type_name, collation, constraints, pos };
        Ok(Statement::CreateDomain(Box::new(create)))
    }

    /// ALTER DOMAIN, after DOMAIN.
    pub(super) fn alter_domain(&mut self, pos: u32) -> PResult<Statement> {
        use AlterDomainAction as Action;
        let object_pos = self.pos();
        let name = self.any_name()?;
        if self.eat_kws(&[Kw::Rename, Kw::Constraint]) {
            let old = self.col_id()?;
            self.expect_kw(Kw::To)?;
            return Ok(rename(RenameTarget::DomainConstraint(name, old), self.col_id()?, false, pos));
        }
        let names = name.clone();
        let object =
            super::ast::ObjectName { kind: ObjectType::Domain, names, args: None, of: None, pos: object_pos };
        if let Some(stmt) = self.opt_alter_common(&object, false, pos)? {
            return Ok(stmt);
        }
        let action = if self.eat_kw(Kw::Add) {
            let pos = self.pos();
            let mut constraint = self.domain_constraint()?;
            constraint.pos = pos;
            Action::AddConstraint(constraint)
        } else if self.eat_kw(Kw::Validate) {
            self.expect_kw(Kw::Constraint)?;
            Action::ValidateConstraint(self.col_id()?)
        } else if self.eat_kws(&[Kw::Drop, Kw::Constraint]) {
            let if_exists = self.if_exists();
            let name = self.col_id()?;
            Action::DropConstraint { name, if_exists, cascade: self.opt_cascade() }
        } else {
            let set = self.eat_kw(Kw::Set);
            if !set {
                self.expect_kw(Kw::Drop)?;
            }
            if self.eat_kw(Kw::Not) {
                self.expect_kw(Kw::Null)?;
                Action::NotNull(set)
            } else {
                self.expect_kw(Kw::Default)?;
                Action::Default(if set { Some(self.expr()?) } else { None })
            }
        };
        Ok(Statement::AlterDomain(Box::new(AlterDomainStmt { name, action })))
    }

    /// DomainConstraint.
    fn domain_constraint(&mut self) -> PResult<super::ast::Constraint> {
        use super::ast::{Constraint, ConstraintKind};
        let pos = self.pos();
        let name = if self.eat_kw(Kw::Constraint) { Some(self.col_id()?) } else { None };
        let kind = if self.eat_kw(Kw::Check) {
            self.expect_char(b'(')?;
            let expr = self.expr()?;
            self.expect_char(b')')?;
            ConstraintKind::Check(expr)
        } else {
            self.expect_kws(&[Kw::Not, Kw::Null])?;
            ConstraintKind::NotNull(None)
        };
        let attrs = self.domain_attrs()?;
        Ok(Constraint { name, kind, attrs, pos })
    }

    // Extensions and triggers.

    /// CREATE EXTENSION, after EXTENSION.
    pub(super) fn create_extension(&mut self) -> PResult<Statement> {
        let if_not_exists = self.if_not_exists()?;
        let name = self.col_id()?;
        self.eat_kw(Kw::With);
        let mut options = Vec::new();
        loop {
            let pos = self.pos();
            if self.eat_kw(Kw::Schema) {
                options.push(text_option("schema", self.col_id()?, pos));
            } else if self.eat_kw(Kw::Version) {
                options.push(text_option("new_version", self.word_or_string()?, pos));
            } else if self.eat_kw(Kw::Cascade) {
                options.push(flag("cascade", true, pos));
            } else {
                let create = CreateExtensionStmt { name, if_not_exists, options };
                return Ok(Statement::CreateExtension(create));
            }
        }
    }

    /// CREATE TRIGGER, after TRIGGER.
    pub(super) fn create_trigger(
        &mut self,
        replace: bool,
        is_constraint: bool,
        pos: u32,
    ) -> PResult<Statement> {
        let trigger_name = self.col_id()?;
        let timing = if self.eat_kw(Kw::Before) {
            "before"
        } else if self.eat_kw(Kw::After) {
            "after"
        } else {
            self.expect_kws(&[Kw::Instead, Kw::Of])?;
            "instead of"
        };
        let (mut events, mut columns): (Vec<Name>, Vec<Name>) = (Vec::new(), Vec::new());
        loop {
            let at = self.tok();
            match at.kind {
                Kind::Kw(Kw::Insert | Kw::Update | Kw::Delete | Kw::Truncate) => {
                    events.push(self.take_name()?);
                }
                _ => return self.unexpected(),
            }
            if at.kind == Kind::Kw(Kw::Update) && self.eat_kw(Kw::Of) {
                columns = self.list(Self::col_id)?;
            }
            let last = events.len() - 1;
            if events[..last].contains(&events[last]) {
                let here = self.tok();
                let message = "duplicate trigger events specified";
                return Err(ParseError::near(message, self.sql, here.start, here.end));
            }
            if !self.eat_kw(Kw::Or) {
                break;
            }
        }
        self.expect_kw(Kw::On)?;
        let relation = self.qualified_name()?;
        let constraint_relation =
            if is_constraint && self.eat_kw(Kw::From) { Some(self.qualified_name()?) } else { None };
        let attrs = if is_constraint { self.trigger_attrs()? } else { Default::default() };
        let transitions = self.opt_transitions()?;
        let mut row = false;
        if self.eat_kw(Kw::For) {
            self.eat_kw(Kw::Each);
            row = self.eat_kw(Kw::Row);
            if !row {
                self.expect_kw(Kw::Statement)?;
            }
        }
        let mut when = None;
        if self.eat_kw(Kw::When) {
            self.expect_char(b'(')?;
            when = Some(self.expr()?);
            self.expect_char(b')')?;
        }
        self.expect_kw(Kw::Execute)?;
        if !self.eat_kw(Kw::Function) {
            self.expect_kw(Kw::Procedure)?;
        }
        let function = self.func_name()?;
        let args = self.trigger_args()?;
        Ok(Statement::CreateTrig(Box::new(CreateTrigStmt {
            replace,
            is_constraint,
            name: trigger_name,
            relation,
            timing: name(timing),
            events,
            columns,
            constraint_relation,
            attrs,
            transitions,
            row,
            when,
            function,
            args,
            pos,
        })))
    }

    fn opt_transitions(&mut self) -> PResult<Vec<(bool, bool, Name)>> {
        let mut transitions = Vec::new();
        if !self.eat_kw(Kw::Referencing) {
            return Ok(transitions);
        }
        while matches!(self.kind(), Kind::Kw(Kw::Old | Kw::New)) {
            let is_new = self.bump().kind == Kind::Kw(Kw::New);
            let is_table = self.eat_kw(Kw::Table);
            if !is_table {
                self.expect_kw(Kw::Row)?;
            }
            self.eat_kw(Kw::As);
            transitions.push((is_new, is_table, self.col_id()?));
        }
        if transitions.is_empty() { self.unexpected() } else { Ok(transitions) }
    }

    fn trigger_args(&mut self) -> PResult<Vec<Name>> {
        self.expect_char(b'(')?;
        if self.eat_char(b')') {
            return Ok(Vec::new());
        }
        let args = self.list(|p| {
            let tok = p.tok();
            match tok.kind {
                Kind::Int | Kind::Float => {
                    p.bump();
                    Ok(name(p.text(tok)))
                }
                kind if Self::is_string(kind) => p.string(),
                _ => p.col_label(),
            }
        })?;
        self.expect_char(b')')?;
        Ok(args)
    }

    /// ALTER of an object for which only RENAME, OWNER and SCHEMA are more than recognised.
    pub(super) fn alter_object(
        &mut self,
        kind: ObjectType,
        tag: &'static str,
        pos: u32,
    ) -> PResult<Statement> {
        let at_pos = self.pos();
        // A name in quotes, ON, USING and so on: as DROP and COMMENT have it, save for user mappings.
        if matches!(kind, ObjectType::UserMapping | ObjectType::LargeObject) {
            return self.other(tag, pos);
        }
        let if_exists = self.if_exists();
        let object = match kind {
            ObjectType::TsConfiguration | ObjectType::TsDictionary => {
                let names = self.any_name()?;
                super::ast::ObjectName { kind, names, args: None, of: None, pos: at_pos }
            }
            _ => self.object_name(kind)?,
        };
        match self.opt_alter_common(&object, if_exists, pos)? {
            Some(stmt) => Ok(stmt),
            None if matches!(self.kind(), Kind::Eof | Kind::Char(b';')) && kind != ObjectType::Policy => {
                self.unexpected()
            }
            None if matches!(kind, ObjectType::Trigger | ObjectType::Rule)
                && !matches!(self.kind(), Kind::Kw(Kw::Depends | Kw::No)) =>
            {
                self.unexpected()
            }
            None => self.other(tag, pos),
        }
    }
}

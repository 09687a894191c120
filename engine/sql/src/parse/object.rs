//! Objects of any kind: how they are named, and the statements that treat all kinds alike: DROP, COMMENT, SECURITY
//! LABEL, and ALTER ... RENAME, OWNER TO, SET SCHEMA.

use std::sync::Arc;

use smallvec::smallvec;

use super::ast::{
    AlterObjectSchemaStmt, AlterOwnerStmt, AlterTableObject, CommentStmt, DropStmt, FunctionParameter,
    FunctionParameterMode, Name, Names, ObjectName, ObjectType, RenameStmt, RenameTarget, Statement,
    TypeName,
};
use super::cursor::Parser;
use super::error::{PResult, ParseError};
use super::keywords::Kw;
use super::lexer::Kind;

impl Parser<'_> {
    /// The words that name a kind of object.
    pub(super) fn object_type(&mut self) -> PResult<ObjectType> {
        use ObjectType as O;
        let Kind::Kw(kw) = self.kind() else { return self.unexpected() };
        let (second, third) = (self.kind_at(1), self.kind_at(2));
        let is = |kind: Kind, kw: Kw| kind == Kind::Kw(kw);
        let (kind, words) = match kw {
            Kw::Access if is(second, Kw::Method) => (O::AccessMethod, 2),
            Kw::Aggregate => (O::Aggregate, 1),
            Kw::Cast => (O::Cast, 1),
            Kw::Collation => (O::Collation, 1),
            Kw::Column => (O::Column, 1),
            Kw::Constraint => (O::TableConstraint, 1),
            Kw::Conversion => (O::Conversion, 1),
            Kw::Database => (O::Database, 1),
            Kw::Domain => (O::Domain, 1),
            Kw::Event if is(second, Kw::Trigger) => (O::EventTrigger, 2),
            Kw::Extension => (O::Extension, 1),
            Kw::Foreign if is(second, Kw::Data) && is(third, Kw::Wrapper) => (O::ForeignDataWrapper, 3),
            Kw::Foreign if is(second, Kw::Table) => (O::ForeignTable, 2),
            Kw::Function => (O::Function, 1),
            Kw::Index => (O::Index, 1),
            Kw::Procedural if is(second, Kw::Language) => (O::Language, 2),
            Kw::Language => (O::Language, 1),
            Kw::Large if is(second, Kw::Object) => (O::LargeObject, 2),
            Kw::Materialized if is(second, Kw::View) => (O::MaterializedView, 2),
            Kw::Operator if is(second, Kw::Class) => (O::OperatorClass, 2),
            Kw::Operator if is(second, Kw::Family) => (O::OperatorFamily, 2),
            Kw::Operator => (O::Operator, 1),
            Kw::Policy => (O::Policy, 1),
            Kw::Procedure => (O::Procedure, 1),
            Kw::Publication => (O::Publication, 1),
            Kw::User if is(second, Kw::Mapping) => (O::UserMapping, 2),
            Kw::Role | Kw::User | Kw::Group => (O::Role, 1),
            Kw::Routine => (O::Routine, 1),
            Kw::Rule => (O::Rule, 1),
            Kw::Schema => (O::Schema, 1),
            Kw::Sequence => (O::Sequence, 1),
            Kw::Server => (O::ForeignServer, 1),
            Kw::Statistics => (O::Statistics, 1),
            Kw::Subscription => (O::Subscription, 1),
            Kw::Table => (O::Table, 1),
            Kw::Tablespace => (O::Tablespace, 1),
            Kw::Text if is(second, Kw::Search) => match third {
                Kind::Kw(Kw::Configuration) => (O::TsConfiguration, 3),
                Kind::Kw(Kw::Dictionary) => (O::TsDictionary, 3),
                Kind::Kw(Kw::Parser) => (O::TsParser, 3),
                Kind::Kw(Kw::Template) => (O::TsTemplate, 3),
                _ => return self.unexpected_after(&[&[Kw::Text, Kw::Search]]),
            },
            Kw::Transform => (O::Transform, 1),
            Kw::Trigger => (O::Trigger, 1),
            Kw::Type => (O::Type, 1),
            Kw::View => (O::View, 1),
            _ => {
                return self.unexpected_after(&[
                    &[Kw::Access],
                    &[Kw::Event],
                    &[Kw::Foreign, Kw::Data],
                    &[Kw::Large],
                    &[Kw::Materialized],
                    &[Kw::Procedural],
                    &[Kw::Text, Kw::Search],
                ]);
            }
        };
        for _ in 0..words {
            self.bump();
        }
        Ok(kind)
    }

    /// The name of an object of a kind, with what belongs to it.
    pub(super) fn object_name(&mut self, kind: ObjectType) -> PResult<ObjectName> {
        use ObjectType as O;
        let pos = self.pos();
        let mut object = ObjectName { kind, names: Names::new(), args: None, of: None, pos };
        match kind {
            O::Function | O::Procedure | O::Routine => {
                object.names = self.func_name_of_object()?;
                if self.at_char(b'(') {
                    let args = self.function_parameters(false)?;
                    object.args =
                        Some(args.into_iter().filter(is_input).map(|p| Some(p.type_name)).collect());
                }
            }
            O::Aggregate => {
                object.names = self.func_name_of_object()?;
                object.args = Some(self.aggregate_args()?.into_iter().map(|p| Some(p.type_name)).collect());
            }
            O::Operator => {
                object.names = self.any_operator()?;
                object.args = Some(self.operator_args()?);
            }
            O::Cast => {
                self.expect_char(b'(')?;
                let from = self.type_name()?;
                self.expect_kw(Kw::As)?;
                let to = self.type_name()?;
                self.expect_char(b')')?;
                object.args = Some(vec![Some(from), Some(to)]);
            }
            O::OperatorClass | O::OperatorFamily => {
                object.names = self.any_name()?;
                self.expect_kw(Kw::Using)?;
                object.of = Some(smallvec![self.col_id()?]);
            }
            O::Trigger | O::Rule | O::Policy => {
                object.names = smallvec![self.col_id()?];
                self.expect_kw(Kw::On)?;
                object.of = Some(self.any_name()?);
            }
            O::TableConstraint | O::DomainConstraint => {
                object.names = smallvec![self.col_id()?];
                self.expect_kw(Kw::On)?;
                if self.eat_kw(Kw::Domain) {
                    object.kind = O::DomainConstraint;
                }
                object.of = Some(self.any_name()?);
            }
            O::Type | O::Domain => {
                let ty = self.type_name()?;
                object.names = ty.names.clone();
                object.args = Some(vec![Some(ty)]);
            }
            O::Transform => {
                self.expect_kw(Kw::For)?;
                object.args = Some(vec![Some(self.type_name()?)]);
                self.expect_kw(Kw::Language)?;
                object.of = Some(smallvec![self.col_id()?]);
            }
            O::LargeObject => {
                let tok = self.tok();
                self.number()?;
                object.names = smallvec![Arc::from(self.text(tok))];
            }
            O::UserMapping => {
                self.expect_kw(Kw::For)?;
                object.names = smallvec![self.auth_ident()?];
                self.expect_kw(Kw::Server)?;
                object.of = Some(smallvec![self.col_id()?]);
            }
            O::Role => object.names = smallvec![self.role_id()?],
            O::Language => object.names = smallvec![self.word_or_string()?],
            O::AccessMethod
            | O::Database
            | O::EventTrigger
            | O::Extension
            | O::ForeignDataWrapper
            | O::Publication
            | O::Schema
            | O::ForeignServer
            | O::Subscription
            | O::Tablespace => object.names = smallvec![self.col_id()?],
            _ => object.names = self.any_name()?,
        }
        Ok(object)
    }

    /// A function's name where its parameters may be missing: type_func_name_keyword or ColId indirection.
    fn func_name_of_object(&mut self) -> PResult<Names> {
        if Self::is_type_function_name(self.kind()) {
            return self.func_name();
        }
        let names = self.any_name()?;
        if names.len() == 1 && self.at_char(b'(') { self.unexpected() } else { Ok(names) }
    }

    fn auth_ident(&mut self) -> PResult<Name> {
        match self.kind() {
            Kind::Kw(Kw::User | Kw::CurrentUser | Kw::CurrentRole | Kw::SessionUser) => self.take_name(),
            _ => self.non_reserved_word(),
        }
    }

    /// `(*)`, `(types)`, `(types ORDER BY types)`.
    pub(super) fn aggregate_args(&mut self) -> PResult<Vec<FunctionParameter>> {
        self.expect_char(b'(')?;
        let mut args = Vec::new();
        if !self.eat_char(b'*') {
            if !self.at_kw(Kw::Order) {
                args = self.list(Self::function_parameter)?;
            }
            if self.eat_kws(&[Kw::Order, Kw::By]) {
                let direct = args.len();
                let ordered = self.list(Self::function_parameter)?;
                // A variadic direct argument is repeated, and counts once.
                let repeated = direct > 0
                    && args[direct - 1].mode == FunctionParameterMode::Variadic
                    && ordered.len() == 1;
                if !repeated {
                    args.extend(ordered);
                }
            }
        }
        self.expect_char(b')')?;
        Ok(args)
    }

    /// oper_argtypes.
    pub(super) fn operator_args(&mut self) -> PResult<Vec<Option<TypeName>>> {
        self.expect_char(b'(')?;
        let left = self.type_or_none()?;
        if self.at_char(b')') {
            return Err(ParseError::syntax("missing argument", self.pos())
                .hint("Use NONE to denote the missing argument of a unary operator."));
        }
        self.expect_char(b',')?;
        let right = self.type_or_none()?;
        self.expect_char(b')')?;
        Ok(vec![left, right])
    }

    fn type_or_none(&mut self) -> PResult<Option<TypeName>> {
        if self.eat_kw(Kw::None) { Ok(None) } else { self.type_name().map(Some) }
    }

    /// `([mode] [name] type [DEFAULT expr], ...)`.
    pub(super) fn function_parameters(&mut self, defaults: bool) -> PResult<Vec<FunctionParameter>> {
        self.expect_char(b'(')?;
        if self.eat_char(b')') {
            return Ok(Vec::new());
        }
        let parameters = self.list(|p| {
            let mut parameter = p.function_parameter()?;
            if defaults && (p.eat_kw(Kw::Default) || p.eat_char(b'=')) {
                parameter.default = Some(p.expr()?);
            }
            Ok(parameter)
        })?;
        self.expect_char(b')')?;
        Ok(parameters)
    }

    /// func_arg.
    pub(super) fn function_parameter(&mut self) -> PResult<FunctionParameter> {
        let pos = self.pos();
        let mut mode = self.opt_parameter_mode();
        let named = Self::is_type_function_name(self.kind())
            && (Self::begins_type(self.kind_at(1))
                || matches!(self.kind_at(1), Kind::Kw(Kw::In | Kw::Variadic)))
            && !(self.at_kws(&[Kw::Double, Kw::Precision]));
        let name = if named { Some(self.take_name()?) } else { None };
        if mode == FunctionParameterMode::Default {
            mode = self.opt_parameter_mode();
        }
        let type_name = self.func_type()?;
        Ok(FunctionParameter { name, type_name, mode, default: None, pos })
    }

    fn begins_type(kind: Kind) -> bool {
        Self::is_col_id(kind) || Self::is_type_function_name(kind)
    }

    fn opt_parameter_mode(&mut self) -> FunctionParameterMode {
        let mode = match self.kind() {
            Kind::Kw(Kw::In) => {
                self.bump();
                return if self.eat_kw(Kw::Out) {
                    FunctionParameterMode::InOut
                } else {
                    FunctionParameterMode::In
                };
            }
            Kind::Kw(Kw::Out) => FunctionParameterMode::Out,
            Kind::Kw(Kw::Inout) => FunctionParameterMode::InOut,
            Kind::Kw(Kw::Variadic) => FunctionParameterMode::Variadic,
            _ => return FunctionParameterMode::Default,
        };
        self.bump();
        mode
    }

    // DROP.

    /// DROP of an object, after DROP.
    pub(super) fn drop_object(&mut self, pos: u32) -> PResult<Statement> {
        use ObjectType as O;
        if matches!(self.kind(), Kind::Kw(Kw::Column | Kw::Constraint | Kw::Large)) {
            return self.unexpected();
        }
        let kind = self.object_type()?;
        let concurrently = kind == O::Index && self.eat_kw(Kw::Concurrently);
        let if_exists = self.if_exists();
        let single = matches!(
            kind,
            O::Cast
                | O::OperatorClass
                | O::OperatorFamily
                | O::Trigger
                | O::Rule
                | O::Policy
                | O::Transform
                | O::UserMapping
                | O::Subscription
                | O::Tablespace
        );
        let objects =
            if single { vec![self.object_name(kind)?] } else { self.list(|p| p.object_name(kind))? };
        let cascade = self.opt_cascade();
        let drop = DropStmt { kind, objects, if_exists, cascade, concurrently, pos };
        Ok(Statement::Drop(Box::new(drop)))
    }

    // COMMENT and SECURITY LABEL.

    pub(super) fn comment(&mut self) -> PResult<Statement> {
        self.bump();
        self.expect_kw(Kw::On)?;
        self.comment_rest(None)
    }

    pub(super) fn security_label(&mut self) -> PResult<Statement> {
        self.bump();
        self.expect_kw(Kw::Label)?;
        let provider = if self.eat_kw(Kw::For) { Some(self.word_or_string()?) } else { None };
        self.expect_kw(Kw::On)?;
        self.comment_rest(Some(provider))
    }

    fn comment_rest(&mut self, security_label: Option<Option<Name>>) -> PResult<Statement> {
        let kind = self.object_type()?;
        let object = self.object_name(kind)?;
        self.expect_kw(Kw::Is)?;
        let comment = if self.eat_kw(Kw::Null) { None } else { Some(self.string()?) };
        Ok(Statement::Comment(Box::new(CommentStmt { object, comment, security_label })))
    }

    // ALTER.

    /// `RENAME TO`, `OWNER TO`, `SET SCHEMA`, whichever is here.
    pub(super) fn opt_alter_common(
        &mut self,
        object: &ObjectName,
        if_exists: bool,
        pos: u32,
    ) -> PResult<Option<Statement>> {
        if self.eat_kw(Kw::Rename) {
            self.expect_kw(Kw::To)?;
            let new_name = if object.kind == ObjectType::Role { self.role_id()? } else { self.col_id()? };
            let target = RenameTarget::Object(object.clone());
            return Ok(Some(rename(target, new_name, if_exists, pos)));
        }
        if self.eat_kw(Kw::Owner) {
            self.expect_kw(Kw::To)?;
            let new_owner = self.role_spec()?;
            let stmt = AlterOwnerStmt { object: object.clone(), new_owner };
            return Ok(Some(Statement::AlterOwner(Box::new(stmt))));
        }
        if self.eat_kws(&[Kw::Set, Kw::Schema]) {
            return self.alter_schema_of(object.clone(), if_exists).map(Some);
        }
        Ok(None)
    }

    /// The name after SET SCHEMA.
    pub(super) fn alter_schema_of(&mut self, object: ObjectName, if_exists: bool) -> PResult<Statement> {
        let new_schema = self.col_id()?;
        Ok(Statement::AlterObjectSchema(Box::new(AlterObjectSchemaStmt { object, new_schema, if_exists })))
    }
}

/// A RENAME.
pub(super) fn rename(target: RenameTarget, new_name: Name, if_exists: bool, pos: u32) -> Statement {
    Statement::Rename(Box::new(RenameStmt { target, new_name, if_exists, cascade: false, pos }))
}

/// The object type of a relation that ALTER named.
pub(super) fn relation_type(object: AlterTableObject) -> ObjectType {
    match object {
        AlterTableObject::Table => ObjectType::Table,
        AlterTableObject::Index => ObjectType::Index,
        AlterTableObject::Sequence => ObjectType::Sequence,
        AlterTableObject::View => ObjectType::View,
        AlterTableObject::MaterializedView => ObjectType::MaterializedView,
        AlterTableObject::ForeignTable => ObjectType::ForeignTable,
        AlterTableObject::Type => ObjectType::Type,
    }
}

/// Whether a parameter is part of a function's identity.
fn is_input(parameter: &FunctionParameter) -> bool {
    !matches!(parameter.mode, FunctionParameterMode::Out | FunctionParameterMode::Table)
}

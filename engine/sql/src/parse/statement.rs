//! Which statement it is: by its first word, and where that does not tell by the next ones.

use super::ast::{AlterTableObject, ObjectType, Persistence, RawStatement, Statement};
use super::cursor::Parser;
use super::error::PResult;
use super::keywords::Kw;
use super::lexer::Kind;

impl Parser<'_> {
    /// All statements up to the end of the text.
    pub(super) fn statements(&mut self) -> PResult<Vec<RawStatement>> {
        let mut statements = Vec::new();
        loop {
            while self.eat_char(b';') {}
            if self.kind() == Kind::Eof {
                return Ok(statements);
            }
            let start = self.pos();
            self.height = 0;
            let stmt = self.statement()?;
            statements.push(RawStatement { stmt, start, len: self.last_end() - start });
            if !self.at_char(b';') && self.kind() != Kind::Eof {
                return self.unexpected();
            }
        }
    }

    /// One statement.
    pub(super) fn statement(&mut self) -> PResult<Statement> {
        self.enter()?;
        let stmt = self.statement_here()?;
        self.leave();
        Ok(stmt)
    }

    fn statement_here(&mut self) -> PResult<Statement> {
        let Kind::Kw(kw) = self.kind() else {
            return if self.at_char(b'(') { self.preparable() } else { self.unexpected() };
        };
        let pos = self.pos();
        match kw {
            Kw::Select
            | Kw::Values
            | Kw::Table
            | Kw::With
            | Kw::Insert
            | Kw::Update
            | Kw::Delete
            | Kw::Merge => self.preparable(),
            Kw::Begin
            | Kw::Start
            | Kw::Commit
            | Kw::End
            | Kw::Rollback
            | Kw::Abort
            | Kw::Savepoint
            | Kw::Release => self.transaction(kw),
            Kw::Create => self.create(),
            Kw::Alter => self.alter(),
            Kw::Drop => self.drop_statement(),
            Kw::Set => self.set(),
            Kw::Reset => self.reset(),
            Kw::Show => self.show(),
            Kw::Explain => self.explain(),
            Kw::Copy => self.copy(),
            Kw::Prepare => {
                self.bump();
                // A prepared statement may be called "transaction" too.
                if self.at_kw(Kw::Transaction) && Self::is_string(self.kind_at(1)) {
                    self.bump();
                    return self.prepare_transaction(pos);
                }
                self.prepare(pos)
            }
            Kw::Execute => self.execute(),
            Kw::Deallocate => self.deallocate(),
            Kw::Declare => self.declare(),
            Kw::Fetch => self.fetch(false),
            Kw::Move => self.fetch(true),
            Kw::Close => self.close(),
            Kw::Lock => self.lock(),
            Kw::Truncate => self.truncate(),
            Kw::Vacuum | Kw::Analyze | Kw::Analyse => self.vacuum(),
            Kw::Cluster => self.cluster(),
            Kw::Reindex => self.reindex(),
            Kw::Refresh => self.refresh(),
            Kw::Discard => self.discard(),
            Kw::Checkpoint => {
                self.bump();
                Ok(Statement::Checkpoint)
            }
            Kw::Listen => {
                self.bump();
                Ok(Statement::Listen(self.col_id()?))
            }
            Kw::Unlisten => self.unlisten(),
            Kw::Notify => self.notify(),
            Kw::Load => {
                self.bump();
                Ok(Statement::Load(self.string()?))
            }
            Kw::Grant => self.grant(true),
            Kw::Revoke => self.grant(false),
            Kw::Reassign => self.reassign_owned(),
            Kw::Comment => self.comment(),
            Kw::Security => self.security_label(),
            Kw::Call => self.call_statement(),
            Kw::Do => self.do_statement(),
            Kw::Import => {
                self.bump();
                self.expect_kws(&[Kw::Foreign, Kw::Schema])?;
                self.other("IMPORT FOREIGN SCHEMA", pos)
            }
            _ => self.unexpected(),
        }
    }

    fn create(&mut self) -> PResult<Statement> {
        let pos = self.bump().start;
        let replace = self.eat_kws(&[Kw::Or, Kw::Replace]);
        let Kind::Kw(kw) = self.kind() else { return self.unexpected() };
        let (second, third) = (self.kind_at(1), self.kind_at(2));
        if replace {
            let may = match kw {
                Kw::Function
                | Kw::Procedure
                | Kw::View
                | Kw::Recursive
                | Kw::Trigger
                | Kw::Rule
                | Kw::Aggregate => true,
                Kw::Temp | Kw::Temporary | Kw::Local | Kw::Global => true,
                Kw::Language | Kw::Trusted | Kw::Procedural | Kw::Transform => true,
                Kw::Constraint => second == Kind::Kw(Kw::Trigger),
                _ => false,
            };
            if !may {
                return self.unexpected();
            }
        }
        match kw {
            Kw::Temp | Kw::Temporary | Kw::Local | Kw::Global | Kw::Unlogged => {
                let persistence = self.opt_persistence();
                return self.create_persistent(persistence, replace, pos);
            }
            Kw::Table | Kw::Sequence | Kw::View | Kw::Recursive | Kw::Materialized => {
                return self.create_persistent(Persistence::Permanent, replace, pos);
            }
            Kw::Unique if second == Kind::Kw(Kw::Index) => {
                self.bump();
                self.bump();
                return self.create_index(true, pos);
            }
            Kw::Foreign if second == Kind::Kw(Kw::Table) => {
                self.bump();
                self.bump();
                return self.create_foreign_table(pos);
            }
            Kw::Constraint if second == Kind::Kw(Kw::Trigger) => {
                self.bump();
                self.bump();
                return self.create_trigger(replace, true, pos);
            }
            Kw::User if second != Kind::Kw(Kw::Mapping) => {
                self.bump();
                return self.create_role(true, pos);
            }
            Kw::Join if self.at_join_token() => return self.create_join_token(),
            _ => (),
        }
        let tag = match kw {
            Kw::Index => {
                self.bump();
                return self.create_index(false, pos);
            }
            Kw::Schema => {
                self.bump();
                return self.create_schema(pos);
            }
            Kw::Role | Kw::Group => {
                self.bump();
                return self.create_role(false, pos);
            }
            Kw::Database => {
                self.bump();
                return self.create_database(pos);
            }
            Kw::Function | Kw::Procedure => {
                self.bump();
                return self.create_function(kw == Kw::Procedure, replace, pos);
            }
            Kw::Type => {
                self.bump();
                return self.create_type();
            }
            Kw::Domain => {
                self.bump();
                return self.create_domain(pos);
            }
            Kw::Extension => {
                self.bump();
                return self.create_extension();
            }
            Kw::Trigger => {
                self.bump();
                return self.create_trigger(replace, false, pos);
            }
            Kw::Access if second == Kind::Kw(Kw::Method) => "CREATE ACCESS METHOD",
            Kw::Aggregate => "CREATE AGGREGATE",
            Kw::Cast => "CREATE CAST",
            Kw::Collation => "CREATE COLLATION",
            Kw::Conversion => "CREATE CONVERSION",
            Kw::Default if second == Kind::Kw(Kw::Conversion) => "CREATE CONVERSION",
            Kw::Event if second == Kind::Kw(Kw::Trigger) => "CREATE EVENT TRIGGER",
            Kw::Foreign if second == Kind::Kw(Kw::Data) && third == Kind::Kw(Kw::Wrapper) => {
                "CREATE FOREIGN DATA WRAPPER"
            }
            Kw::Language | Kw::Trusted | Kw::Procedural => "CREATE LANGUAGE",
            Kw::Operator if second == Kind::Kw(Kw::Class) => "CREATE OPERATOR CLASS",
            Kw::Operator if second == Kind::Kw(Kw::Family) => "CREATE OPERATOR FAMILY",
            Kw::Operator => {
                self.bump();
                self.any_operator()?;
                return self.other("CREATE OPERATOR", pos);
            }
            Kw::Policy => "CREATE POLICY",
            Kw::Publication => "CREATE PUBLICATION",
            Kw::Rule => "CREATE RULE",
            Kw::Server => "CREATE SERVER",
            Kw::Statistics => "CREATE STATISTICS",
            Kw::Subscription => "CREATE SUBSCRIPTION",
            Kw::Tablespace => "CREATE TABLESPACE",
            Kw::Text => match third {
                Kind::Kw(Kw::Configuration) => "CREATE TEXT SEARCH CONFIGURATION",
                Kind::Kw(Kw::Dictionary) => "CREATE TEXT SEARCH DICTIONARY",
                Kind::Kw(Kw::Parser) => "CREATE TEXT SEARCH PARSER",
                Kind::Kw(Kw::Template) => "CREATE TEXT SEARCH TEMPLATE",
                _ => return self.unexpected_after(&[&[Kw::Text, Kw::Search]]),
            },
            Kw::Transform => "CREATE TRANSFORM",
            Kw::User => "CREATE USER MAPPING",
            _ => {
                return self.unexpected_after(&[
                    &[Kw::Access],
                    &[Kw::Constraint],
                    &[Kw::Default],
                    &[Kw::Event],
                    &[Kw::Foreign, Kw::Data],
                    &[Kw::Unique],
                ]);
            }
        };
        self.recognised(tag, pos)
    }

    /// Something must follow the words that name the kind of object.
    fn recognised(&mut self, tag: &'static str, pos: u32) -> PResult<Statement> {
        // The tag's first word has been read.
        for _ in tag.split(' ').skip(1) {
            if matches!(self.kind(), Kind::Eof | Kind::Bad | Kind::Char(_)) {
                return self.unexpected();
            }
            self.bump();
        }
        if matches!(self.kind(), Kind::Eof | Kind::Char(b';')) {
            return self.unexpected();
        }
        self.other(tag, pos)
    }

    /// CREATE of what may be temporary or unlogged.
    fn create_persistent(&mut self, persistence: Persistence, replace: bool, pos: u32) -> PResult<Statement> {
        match self.kind() {
            Kind::Kw(Kw::Table) if !replace => {
                self.bump();
                self.create_table(persistence, pos)
            }
            Kind::Kw(Kw::Sequence) if !replace => {
                self.bump();
                self.create_sequence(persistence, pos)
            }
            Kind::Kw(Kw::View) => {
                self.bump();
                self.create_view(replace, persistence, false, pos)
            }
            Kind::Kw(Kw::Recursive) => {
                self.bump();
                self.expect_kw(Kw::View)?;
                self.create_view(replace, persistence, true, pos)
            }
            Kind::Kw(Kw::Materialized) if !replace => {
                self.bump();
                self.expect_kw(Kw::View)?;
                self.create_materialized_view(persistence, pos)
            }
            _ => self.unexpected(),
        }
    }

    fn alter(&mut self) -> PResult<Statement> {
        let pos = self.bump().start;
        if self.at_word("node") {
            return self.alter_node();
        }
        let Kind::Kw(kw) = self.kind() else { return self.unexpected() };
        let second = self.kind_at(1);
        match kw {
            Kw::System => {
                self.bump();
                return Ok(Statement::AlterSystem(Box::new(self.set_or_reset()?)));
            }
            Kw::Default => {
                self.bump();
                self.expect_kw(Kw::Privileges)?;
                return self.alter_default_privileges();
            }
            Kw::Database => {
                self.bump();
                return self.alter_database(pos);
            }
            Kw::Role | Kw::Group => {
                self.bump();
                return self.alter_role(kw == Kw::Group, pos);
            }
            Kw::User if second != Kind::Kw(Kw::Mapping) => {
                self.bump();
                return self.alter_role(false, pos);
            }
            Kw::Type => {
                self.bump();
                return self.alter_type(pos);
            }
            Kw::Domain => {
                self.bump();
                return self.alter_domain(pos);
            }
            _ => (),
        }
        use ObjectType as O;
        if matches!(kw, Kw::Column | Kw::Constraint | Kw::Cast | Kw::Access | Kw::Transform) {
            return self.unexpected();
        }
        let kind = self.object_type()?;
        let relation = match kind {
            O::Table => AlterTableObject::Table,
            O::Index => AlterTableObject::Index,
            O::Sequence => AlterTableObject::Sequence,
            O::View => AlterTableObject::View,
            O::MaterializedView => AlterTableObject::MaterializedView,
            O::ForeignTable => AlterTableObject::ForeignTable,
            O::Function | O::Procedure | O::Routine | O::Aggregate => return self.alter_function(kind, pos),
            _ => return self.alter_object(kind, alter_tag(kind), pos),
        };
        self.alter_relation(relation, pos)
    }

    fn drop_statement(&mut self) -> PResult<Statement> {
        let pos = self.bump().start;
        let user_mapping = self.at_kws(&[Kw::User, Kw::Mapping]);
        match self.kind() {
            Kind::Kw(Kw::Role | Kw::User | Kw::Group) if !user_mapping => {
                self.bump();
                self.drop_role(pos)
            }
            Kind::Kw(Kw::Database) => {
                self.bump();
                self.drop_database(pos)
            }
            Kind::Kw(Kw::Owned) => {
                self.bump();
                self.drop_owned()
            }
            _ => self.drop_object(pos),
        }
    }
}

/// The command tag of an ALTER that is only recognised.
fn alter_tag(kind: ObjectType) -> &'static str {
    use ObjectType as O;
    match kind {
        O::Collation => "ALTER COLLATION",
        O::Conversion => "ALTER CONVERSION",
        O::EventTrigger => "ALTER EVENT TRIGGER",
        O::Extension => "ALTER EXTENSION",
        O::ForeignDataWrapper => "ALTER FOREIGN DATA WRAPPER",
        O::ForeignServer => "ALTER SERVER",
        O::Language => "ALTER LANGUAGE",
        O::LargeObject => "ALTER LARGE OBJECT",
        O::Operator => "ALTER OPERATOR",
        O::OperatorClass => "ALTER OPERATOR CLASS",
        O::OperatorFamily => "ALTER OPERATOR FAMILY",
        O::Policy => "ALTER POLICY",
        O::Publication => "ALTER PUBLICATION",
        O::Rule => "ALTER RULE",
        O::Schema => "ALTER SCHEMA",
        O::Statistics => "ALTER STATISTICS",
        O::Subscription => "ALTER SUBSCRIPTION",
        O::Tablespace => "ALTER TABLESPACE",
        O::Trigger => "ALTER TRIGGER",
        O::TsConfiguration => "ALTER TEXT SEARCH CONFIGURATION",
        O::TsDictionary => "ALTER TEXT SEARCH DICTIONARY",
        O::TsParser => "ALTER TEXT SEARCH PARSER",
        O::TsTemplate => "ALTER TEXT SEARCH TEMPLATE",
        O::UserMapping => "ALTER USER MAPPING",
        _ => "ALTER",
    }
}

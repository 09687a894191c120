//! CREATE INDEX, VIEW, MATERIALIZED VIEW, SEQUENCE, SCHEMA; what indexes and partition keys are made of.

use super::ast::{
    CheckOption, CreateSchemaStmt, CreateSeqStmt, CreateTableAsStmt, IndexElem, IndexKey, IndexStmt, Names,
    Persistence, RefreshMatViewStmt, RoleSpec, SelectStmt, SortNulls, Statement, ViewStmt,
};
use super::cursor::Parser;
use super::error::{PResult, ParseError};
use super::keywords::Kw;
use super::lexer::Kind;
use super::primary::name;
use super::select::plain_into;

impl Parser<'_> {
    /// What an index or a partition key is of: a column, a call, or an expression in parentheses.
    fn index_key(&mut self) -> PResult<IndexKey> {
        if self.eat_char(b'(') {
            let expr = self.expr()?;
            self.expect_char(b')')?;
            return Ok(IndexKey::Expr(expr));
        }
        let mut n = 1;
        while self.kind_at(n) == Kind::Char(b'.') {
            n += 2;
        }
        let call = self.kind_at(n) == Kind::Char(b'(');
        if !call && self.at_col_id() {
            return Ok(IndexKey::Column(self.take_name()?));
        }
        if let Kind::Kw(kw) = self.kind()
            && let Some(expr) = self.special_function(kw)?
        {
            return Ok(IndexKey::Expr(expr));
        }
        match self.named(false)? {
            expr @ super::ast::Expr::FuncCall(_) => Ok(IndexKey::Expr(expr)),
            _ => self.unexpected(),
        }
    }

    fn index_elem_start(&mut self) -> PResult<IndexElem> {
        let pos = self.pos();
        let key = self.index_key()?;
        let collation = self.opt_collate()?.map(|c| c.name).unwrap_or_default();
        // NULLS is no operator class where FIRST or LAST follows.
        let nulls = self.at_kw(Kw::Nulls) && matches!(self.kind_at(1), Kind::Kw(Kw::First | Kw::Last));
        let opclass = if self.at_col_id() && !nulls { self.any_name()? } else { Names::new() };
        let opclass_options =
            if !opclass.is_empty() && self.at_char(b'(') { self.definition()? } else { Vec::new() };
        let (descending, nulls) = (None, SortNulls::Default);
        Ok(IndexElem { key, collation, opclass, opclass_options, descending, nulls, pos })
    }

    /// index_elem.
    pub(super) fn index_elem(&mut self) -> PResult<IndexElem> {
        let mut elem = self.index_elem_start()?;
        if self.eat_kw(Kw::Asc) {
            elem.descending = Some(false);
        } else if self.eat_kw(Kw::Desc) {
            elem.descending = Some(true);
        }
        elem.nulls = self.opt_nulls()?;
        Ok(elem)
    }

    /// part_elem.
    pub(super) fn partition_elem(&mut self) -> PResult<IndexElem> {
        self.index_elem_start()
    }

    /// CREATE INDEX, after INDEX.
    pub(super) fn create_index(&mut self, unique: bool, pos: u32) -> PResult<Statement> {
        let concurrently = self.eat_kw(Kw::Concurrently);
        let if_not_exists = self.if_not_exists()?;
        let name = if self.at_kw(Kw::On) && !if_not_exists { None } else { Some(self.col_id()?) };
        self.expect_kw(Kw::On)?;
        let relation = self.relation_expr()?;
        let access_method = if self.eat_kw(Kw::Using) { Some(self.col_id()?) } else { None };
        let elements = self.paren_list(Self::index_elem)?;
        let including =
            if self.eat_kw(Kw::Include) { self.paren_list(Self::index_elem)? } else { Vec::new() };
        let nulls_not_distinct = self.opt_nulls_not_distinct()?;
        let options = self.opt_with_definition()?;
        let tablespace = if self.eat_kw(Kw::Tablespace) { Some(self.col_id()?) } else { None };
        let where_clause = self.opt_where()?;
        Ok(Statement::Index(Box::new(IndexStmt {
            name,
            relation,
            access_method,
            elements,
            including,
            unique,
            nulls_not_distinct,
            concurrently,
            if_not_exists,
            options,
            tablespace,
            where_clause,
            pos,
        })))
    }

    /// CREATE VIEW, after VIEW.
    pub(super) fn create_view(
        &mut self,
        replace: bool,
        persistence: Persistence,
        recursive: bool,
        pos: u32,
    ) -> PResult<Statement> {
        let mut view = self.qualified_name()?;
        view.persistence = persistence;
        let columns = if recursive { self.name_list_in_parens()? } else { self.opt_name_list()? };
        let options = self.opt_with_definition()?;
        self.expect_kw(Kw::As)?;
        let start = self.pos() as usize;
        let query = self.query()?;
        let query_text = name(&self.sql[start..self.last_end() as usize]);
        let mut check_option = None;
        if self.eat_kw(Kw::With) {
            check_option = Some(if self.eat_kw(Kw::Local) {
                CheckOption::Local
            } else {
                self.eat_kw(Kw::Cascaded);
                CheckOption::Cascaded
            });
            let at = self.pos();
            self.expect_kws(&[Kw::Check, Kw::Option])?;
            if recursive {
                let message = "WITH CHECK OPTION not supported on recursive views";
                return Err(ParseError::unsupported(message, at));
            }
        }
        Ok(Statement::View(Box::new(ViewStmt {
            view,
            columns,
            query,
            query_text,
            replace,
            recursive,
            options,
            check_option,
            pos,
        })))
    }

    /// SelectStmt.
    pub(super) fn query(&mut self) -> PResult<Box<SelectStmt>> {
        if self.at_select() || self.at_char(b'(') { self.select_no_parens() } else { self.unexpected() }
    }

    /// CREATE MATERIALIZED VIEW, after VIEW.
    pub(super) fn create_materialized_view(
        &mut self,
        persistence: Persistence,
        pos: u32,
    ) -> PResult<Statement> {
        let if_not_exists = self.if_not_exists()?;
        let mut relation = self.qualified_name()?;
        relation.persistence = persistence;
        let mut into = plain_into(relation);
        into.columns = self.opt_name_list()?;
        if self.eat_kw(Kw::Using) {
            into.access_method = Some(self.col_id()?);
        }
        into.options = self.opt_with_definition()?;
        if self.eat_kw(Kw::Tablespace) {
            into.tablespace = Some(self.col_id()?);
        }
        self.expect_kw(Kw::As)?;
        let query = Statement::Select(self.query()?);
        into.skip_data = self.opt_with_no_data()?;
        let create = CreateTableAsStmt { query, into, materialized_view: true, if_not_exists, pos };
        Ok(Statement::CreateTableAs(Box::new(create)))
    }

    pub(super) fn refresh(&mut self) -> PResult<Statement> {
        self.bump();
        self.expect_kws(&[Kw::Materialized, Kw::View])?;
        let concurrently = self.eat_kw(Kw::Concurrently);
        let relation = self.qualified_name()?;
        let skip_data = self.opt_with_no_data()?;
        Ok(Statement::RefreshMatView(Box::new(RefreshMatViewStmt { concurrently, skip_data, relation })))
    }

    /// CREATE SEQUENCE, after SEQUENCE.
    pub(super) fn create_sequence(&mut self, persistence: Persistence, pos: u32) -> PResult<Statement> {
        let if_not_exists = self.if_not_exists()?;
        let mut sequence = self.qualified_name()?;
        sequence.persistence = persistence;
        let options = self.sequence_options()?;
        Ok(Statement::CreateSeq(Box::new(CreateSeqStmt { sequence, options, if_not_exists, pos })))
    }

    /// CREATE SCHEMA, after SCHEMA.
    pub(super) fn create_schema(&mut self, pos: u32) -> PResult<Statement> {
        let if_not_exists = self.if_not_exists()?;
        let name = if self.at_kw(Kw::Authorization) { None } else { Some(self.col_id()?) };
        let mut authorization: Option<RoleSpec> = None;
        if self.eat_kw(Kw::Authorization) {
            authorization = Some(self.role_spec()?);
        }
        let mut elements = Vec::new();
        while matches!(self.kind(), Kind::Kw(Kw::Create | Kw::Grant)) {
            if if_not_exists {
                let message = "CREATE SCHEMA IF NOT EXISTS cannot include schema elements";
                return Err(ParseError::unsupported(message, self.pos()));
            }
            elements.push(self.statement()?);
        }
        let create = CreateSchemaStmt { name, authorization, elements, if_not_exists, pos };
        Ok(Statement::CreateSchema(Box::new(create)))
    }
}

//! Expressions: what operators are applied to.
//!
//! PostgreSQL's `c_expr`: literals, parameters, columns, calls, CASE, ARRAY, ROW, sub-selects and parentheses. What an
//! opening parenthesis begins is known only at what follows the matching ones inside it, as in
//! `((SELECT 1) UNION SELECT 2)` and `((SELECT 1) + 2)`: [`Parser::paren_any`] reads either without going back.

use std::sync::Arc;

use smallvec::SmallVec;

use super::ast::{
    ArrayExpr, CaseExpr, CaseWhen, ColumnRef, Expr, FuncCall, FuncFormat, GroupingFunc, Indirection,
    IndirectionElem, Name, NamedArg, Names, ParamRef, RowExpr, SelectStmt, SortBy, SortDir, SortNulls,
    SubLink, SubLinkKind, TypeCast, TypeName, Value,
};
use super::cursor::Parser;
use super::error::{PResult, ParseError};
use super::expr::{call, constant};
use super::keywords::Kw;
use super::lexer::{Kind, Tok};
use super::literal;

/// What a pair of parentheses held.
pub(super) enum ParenAny {
    /// A query.
    Select(Box<SelectStmt>),
    /// One expression.
    Expr(Expr),
    /// Two or more, and the first comma.
    Row(Vec<Expr>, Tok),
}

impl Parser<'_> {
    /// c_expr.
    pub(super) fn primary(&mut self) -> PResult<Expr> {
        let tok = self.tok();
        let (pos, text) = (tok.start, self.text(tok));
        let value = match tok.kind {
            Kind::Int => match literal::integer(text) {
                Some(n) => Value::Integer(n),
                None => return self.unexpected(),
            },
            Kind::Float => Value::Float(literal::number(text)),
            Kind::BitStr | Kind::HexStr => Value::BitString(literal::bits(text)),
            Kind::Str | Kind::EscapeStr | Kind::UnicodeStr | Kind::DollarStr => {
                return Ok(constant(Value::String(self.string()?), pos));
            }
            Kind::Param => {
                self.bump();
                let number = text[1..].parse().map_err(|_| self.unexpected_error())?;
                return self.with_indirection(Expr::ParamRef(ParamRef { number, pos }));
            }
            Kind::Char(b'(') => return self.parenthesised(),
            Kind::Ident | Kind::QuotedIdent | Kind::UnicodeIdent => return self.named(true),
            Kind::Kw(Kw::True) => Value::Boolean(true),
            Kind::Kw(Kw::False) => Value::Boolean(false),
            Kind::Kw(Kw::Null) => Value::Null,
            Kind::Kw(kw) => return self.keyword_primary(kw),
            _ => return self.unexpected(),
        };
        self.bump();
        Ok(constant(value, pos))
    }

    #[inline(never)]
    fn keyword_primary(&mut self, kw: Kw) -> PResult<Expr> {
        let pos = self.pos();
        let paren = self.kind_at(1) == Kind::Char(b'(');
        match kw {
            Kw::Case => self.case(),
            Kw::Array => {
                self.bump();
                if self.at_char(b'[') {
                    return self.array(pos);
                }
                let select = self.select_with_parens()?;
                Ok(sublink(SubLinkKind::Array, select, pos))
            }
            Kw::Exists if paren => {
                self.bump();
                let select = self.select_with_parens()?;
                Ok(sublink(SubLinkKind::Exists, select, pos))
            }
            Kw::Row if paren => {
                self.bump();
                self.bump();
                let args = if self.at_char(b')') { Vec::new() } else { self.expr_list()? };
                self.expect_char(b')')?;
                Ok(Expr::RowExpr(Box::new(RowExpr { args, explicit: true, pos })))
            }
            Kw::Grouping if paren => {
                self.bump();
                let args = self.paren_list(Self::expr)?;
                Ok(Expr::GroupingFunc(Box::new(GroupingFunc { args, pos })))
            }
            _ => {
                if let Some(expr) = self.special_function(kw)? {
                    return Ok(expr);
                }
                if let Some(literal) = self.typed_literal(kw)? {
                    return Ok(literal);
                }
                self.named(true)
            }
        }
    }

    /// A column, a call, or a literal of a named type.
    #[inline(never)]
    pub(super) fn named(&mut self, windowed: bool) -> PResult<Expr> {
        let (first_kind, pos) = (self.kind(), self.pos());
        let (is_col, is_func) = (Self::is_col_id(first_kind), Self::is_type_function_name(first_kind));
        if !is_col && !is_func {
            return self.unexpected();
        }
        let mut names = Names::new();
        names.push(self.take_name()?);
        let mut star = false;
        while is_col && self.at_char(b'.') {
            self.bump();
            if self.eat_char(b'*') {
                star = true;
                break;
            }
            names.push(self.col_label()?);
        }
        let callable = !star && (names.len() > 1 || is_func);
        if callable && self.at_char(b'(') {
            return self.call_or_literal(names, windowed, pos);
        }
        if callable && self.at_string() {
            let at = self.pos();
            let arg = constant(Value::String(self.string()?), at);
            let type_name = named_type(names, Vec::new(), pos);
            return Ok(Expr::TypeCast(Box::new(TypeCast { arg, type_name, pos })));
        }
        if !is_col {
            return self.unexpected();
        }
        let column = Expr::ColumnRef(ColumnRef { names, star, pos });
        if star {
            if matches!(self.kind(), Kind::Char(b'.' | b'[')) {
                self.indirection()?;
                return Err(self.improper_star());
            }
            return Ok(column);
        }
        self.with_indirection(column)
    }

    fn improper_star(&self) -> Box<ParseError> {
        let tok = self.tok();
        ParseError::near("improper use of \"*\"", self.sql, tok.start, tok.end)
    }

    /// `f(args) ...`, or `type(modifiers) 'literal'`.
    #[inline(never)]
    fn call_or_literal(&mut self, names: Names, windowed: bool, pos: u32) -> PResult<Expr> {
        let mut func = self.call_arguments(names, pos)?;
        let plain = !func.star && !func.distinct && !func.args.is_empty();
        if plain && self.at_string() {
            if let Some(Expr::NamedArg(arg)) = func.args.iter().find(|a| matches!(a, Expr::NamedArg(_))) {
                return Err(ParseError::syntax("type modifier cannot have parameter name", arg.pos));
            }
            if let Some(order) = func.agg_order.first() {
                return Err(ParseError::syntax("type modifier cannot have ORDER BY", order.pos));
            }
            let at = self.pos();
            let arg = constant(Value::String(self.string()?), at);
            let type_name = named_type(func.name, func.args, pos);
            return Ok(Expr::TypeCast(Box::new(TypeCast { arg, type_name, pos })));
        }
        if windowed {
            self.call_clauses(&mut func)?;
        }
        Ok(Expr::FuncCall(Box::new(func)))
    }

    /// func_application: `(args)` after a function's name.
    #[inline(never)]
    pub(super) fn call_arguments(&mut self, name: Names, pos: u32) -> PResult<FuncCall> {
        self.expect_char(b'(')?;
        let mut func = call(name, Vec::new(), FuncFormat::ExplicitCall, pos);
        if self.eat_char(b')') {
            return Ok(func);
        }
        if self.eat_char(b'*') {
            func.star = true;
            self.expect_char(b')')?;
            return Ok(func);
        }
        func.distinct = self.eat_kw(Kw::Distinct);
        let quantified = func.distinct || self.eat_kw(Kw::All);
        loop {
            if !quantified && self.eat_kw(Kw::Variadic) {
                func.variadic = true;
                func.args.push(self.argument()?);
                break;
            }
            func.args.push(self.argument()?);
            if !self.eat_char(b',') {
                break;
            }
        }
        func.agg_order = self.opt_order_by()?;
        self.expect_char(b')')?;
        Ok(func)
    }

    /// func_arg_expr.
    fn argument(&mut self) -> PResult<Expr> {
        let named = matches!(self.kind_at(1), Kind::ColonEquals | Kind::Arrow);
        if named && Self::is_type_function_name(self.kind()) {
            let pos = self.pos();
            let name = self.take_name()?;
            self.bump();
            let arg = self.expr()?;
            return Ok(Expr::NamedArg(Box::new(NamedArg { name, arg, pos })));
        }
        self.expr()
    }

    /// WITHIN GROUP, FILTER and OVER after a call.
    pub(super) fn call_clauses(&mut self, func: &mut FuncCall) -> PResult<()> {
        let pos = self.pos();
        if self.eat_kw(Kw::Within) {
            self.expect_kw(Kw::Group)?;
            self.expect_char(b'(')?;
            let order = self.order_by()?;
            self.expect_char(b')')?;
            let refused = match func {
                FuncCall { agg_order, .. } if !agg_order.is_empty() => {
                    Some("cannot use multiple ORDER BY clauses with WITHIN GROUP")
                }
                FuncCall { distinct: true, .. } => Some("cannot use DISTINCT with WITHIN GROUP"),
                FuncCall { variadic: true, .. } => Some("cannot use VARIADIC with WITHIN GROUP"),
                _ => None,
            };
            if let Some(message) = refused {
                return Err(ParseError::syntax(message, pos));
            }
            func.agg_order = order;
            func.within_group = true;
        }
        if self.eat_kw(Kw::Filter) {
            self.expect_char(b'(')?;
            self.expect_kw(Kw::Where)?;
            func.agg_filter = Some(self.expr()?);
            self.expect_char(b')')?;
        }
        if self.eat_kw(Kw::Over) {
            func.over = Some(self.over()?);
        }
        Ok(())
    }

    /// `ORDER BY ...`, if it is here.
    pub(super) fn opt_order_by(&mut self) -> PResult<Vec<SortBy>> {
        if self.at_kw(Kw::Order) { self.order_by() } else { Ok(Vec::new()) }
    }

    /// `ORDER BY ...`.
    pub(super) fn order_by(&mut self) -> PResult<Vec<SortBy>> {
        self.expect_kws(&[Kw::Order, Kw::By])?;
        self.list(Self::sort_by)
    }

    fn sort_by(&mut self) -> PResult<SortBy> {
        let expr = self.expr()?;
        let mut pos = expr.start();
        let dir = if self.eat_kw(Kw::Using) {
            pos = self.pos();
            SortDir::Using(if self.at_kw(Kw::Operator) {
                self.qualified_operator()?
            } else {
                let mut names = Names::new();
                names.push(self.all_op()?);
                names
            })
        } else if self.eat_kw(Kw::Asc) {
            SortDir::Asc
        } else if self.eat_kw(Kw::Desc) {
            SortDir::Desc
        } else {
            SortDir::Default
        };
        let nulls = self.opt_nulls()?;
        Ok(SortBy { expr, dir, nulls, pos })
    }

    /// `[NULLS FIRST | NULLS LAST]`.
    pub(super) fn opt_nulls(&mut self) -> PResult<SortNulls> {
        if self.eat_kws(&[Kw::Nulls, Kw::First]) {
            return Ok(SortNulls::First);
        }
        if self.eat_kws(&[Kw::Nulls, Kw::Last]) {
            return Ok(SortNulls::Last);
        }
        Ok(SortNulls::Default)
    }

    #[inline(never)]
    fn case(&mut self) -> PResult<Expr> {
        let pos = self.bump().start;
        let arg = if self.at_kw(Kw::When) { None } else { Some(self.expr()?) };
        let mut whens = Vec::new();
        loop {
            let at = self.expect_kw(Kw::When)?.start;
            let when = self.expr()?;
            self.expect_kw(Kw::Then)?;
            let then = self.expr()?;
            whens.push(CaseWhen { when, then, pos: at });
            if !self.at_kw(Kw::When) {
                break;
            }
        }
        let default = if self.eat_kw(Kw::Else) { Some(self.expr()?) } else { None };
        self.expect_kw(Kw::End)?;
        Ok(Expr::CaseExpr(Box::new(CaseExpr { arg, whens, default, pos })))
    }

    /// `[a, b]`, `[[a], [b]]`, `[]`.
    #[inline(never)]
    fn array(&mut self, pos: u32) -> PResult<Expr> {
        self.enter()?;
        self.expect_char(b'[')?;
        let elements = match self.kind() {
            Kind::Char(b']') => Vec::new(),
            Kind::Char(b'[') => self.list(|p| {
                if !p.at_char(b'[') {
                    return p.unexpected();
                }
                let at = p.pos();
                p.array(at)
            })?,
            _ => self.expr_list()?,
        };
        self.expect_char(b']')?;
        self.grow()?;
        self.leave();
        Ok(Expr::ArrayExpr(Box::new(ArrayExpr { elements, pos })))
    }

    /// Parentheses where an expression may stand.
    #[inline(never)]
    fn parenthesised(&mut self) -> PResult<Expr> {
        let pos = self.pos();
        let inner = self.paren_any()?;
        self.operand(inner, pos)
    }

    /// What parentheses held, as an operand.
    #[inline(never)]
    fn operand(&mut self, inner: ParenAny, pos: u32) -> PResult<Expr> {
        match inner {
            ParenAny::Select(select) => self.with_indirection(sublink(SubLinkKind::Expr, select, pos)),
            ParenAny::Expr(expr) => self.with_indirection(expr),
            ParenAny::Row(args, _) => Ok(Expr::RowExpr(Box::new(RowExpr { args, explicit: false, pos }))),
        }
    }

    /// Read from `(` to the `)` that closes it, whatever is inside.
    pub(super) fn paren_any(&mut self) -> PResult<ParenAny> {
        self.expect_char(b'(')?;
        self.paren_inner()
    }

    #[inline(never)]
    fn paren_inner(&mut self) -> PResult<ParenAny> {
        let pos = self.pos();
        let first = if self.at_select_for_sure() {
            let select = self.select_no_parens()?;
            self.expect_char(b')')?;
            return Ok(ParenAny::Select(select));
        } else if self.at_char(b'(') {
            self.enter()?;
            let inner = self.paren_any()?;
            self.leave();
            match inner {
                ParenAny::Select(select) if self.at_char(b')') => {
                    self.bump();
                    return Ok(ParenAny::Select(select));
                }
                ParenAny::Select(select) if self.at_select_continuation() => {
                    let select = self.select_after(select, pos)?;
                    self.expect_char(b')')?;
                    return Ok(ParenAny::Select(select));
                }
                inner => {
                    let left = self.operand(inner, pos)?;
                    self.expr_from(left)?
                }
            }
        } else {
            self.expr()?
        };
        let comma = self.tok();
        if !self.eat_char(b',') {
            self.expect_char(b')')?;
            return Ok(ParenAny::Expr(first));
        }
        let mut items = vec![first, self.expr()?];
        while self.eat_char(b',') {
            items.push(self.expr()?);
        }
        self.expect_char(b')')?;
        Ok(ParenAny::Row(items, comma))
    }

    /// An operand with the subscripts and fields after it.
    #[inline(never)]
    fn with_indirection(&mut self, arg: Expr) -> PResult<Expr> {
        if !matches!(self.kind(), Kind::Char(b'.' | b'[')) {
            return Ok(arg);
        }
        let pos = self.pos();
        let path = self.indirection()?;
        self.grow()?;
        Ok(Expr::Indirection(Box::new(Indirection { arg, path, pos })))
    }

    /// opt_indirection: `.f`, `.*`, `[i]`, `[l:u]`, any number of them.
    pub(super) fn indirection(&mut self) -> PResult<Vec<IndirectionElem>> {
        let mut path = Vec::new();
        loop {
            if self.eat_char(b'.') {
                if self.eat_char(b'*') {
                    path.push(IndirectionElem::Star);
                } else {
                    path.push(IndirectionElem::Field(self.col_label()?));
                }
            } else if self.eat_char(b'[') {
                path.push(self.subscript()?);
            } else {
                let last = path.len().saturating_sub(1);
                if path[..last].iter().any(|elem| matches!(elem, IndirectionElem::Star)) {
                    return Err(self.improper_star());
                }
                return Ok(path);
            }
        }
    }

    #[inline(never)]
    fn subscript(&mut self) -> PResult<IndirectionElem> {
        let lower = if self.at_char(b':') { None } else { Some(self.expr()?) };
        if !self.eat_char(b':') {
            self.expect_char(b']')?;
            return match lower {
                Some(index) => Ok(IndirectionElem::Subscript(index)),
                None => self.unexpected(),
            };
        }
        let upper = if self.at_char(b']') { None } else { Some(self.expr()?) };
        self.expect_char(b']')?;
        Ok(IndirectionElem::Slice(lower, upper))
    }

    /// A column label and what is below it, for `SET a.b[1] =` and INSERT's columns.
    pub(super) fn column_target(&mut self) -> PResult<super::ast::ColumnTarget> {
        let pos = self.pos();
        let name = self.col_id()?;
        let path = self.indirection()?;
        if path.iter().any(|e| matches!(e, IndirectionElem::Star)) {
            return Err(self.improper_star());
        }
        Ok(super::ast::ColumnTarget { name, path, pos })
    }
}

/// A sub-select as an operand.
fn sublink(kind: SubLinkKind, subselect: Box<SelectStmt>, pos: u32) -> Expr {
    Expr::SubLink(Box::new(SubLink { kind, test: None, op_name: SmallVec::new(), subselect, pos }))
}

/// A type that is just named.
pub(super) fn named_type(names: Names, typmods: Vec<Expr>, pos: u32) -> TypeName {
    TypeName { names, setof: false, pct_type: false, typmods, array_bounds: Vec::new(), pos }
}

/// A name that the grammar itself makes.
pub(super) fn name(text: &str) -> Name {
    Arc::from(text)
}

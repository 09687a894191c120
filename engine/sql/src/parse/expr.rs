//! Expressions: operators by precedence.
//!
//! PostgreSQL's `a_expr` and `b_expr`, by precedence climbing over its table (`gram.y`, lowest first):
//!
//! ```text
//!   OR  <  AND  <  NOT  <  IS ISNULL NOTNULL  <  comparisons  <  BETWEEN IN LIKE ILIKE SIMILAR
//!       <  other operators  <  + -  <  * / %  <  ^  <  AT TIME ZONE  <  COLLATE  <  unary + -  <  ::
//! ```
//!
//! Comparisons, BETWEEN and its like, and IS DISTINCT FROM do not associate: after `a < b` another `<` is a syntax
//! error at that `<`. Constructs that end in no operand (`IS NULL`, `IN (...)`, `= ANY (...)`) bind anything after them.

use std::sync::Arc;

use smallvec::smallvec;

use super::ast::{
    AExpr, AExprKind, BoolExpr, BoolOp, BoolTestKind, BooleanTest, CollateClause, Const, Expr, FuncCall,
    FuncFormat, JsonIsPredicate, JsonItemType, Names, NullTest, RowExpr, SetToDefault, SubLink, SubLinkKind,
    TypeCast, Value,
};
use super::cursor::{Parser, system_name};
use super::error::{PResult, ParseError};
use super::keywords::Kw;
use super::lexer::Kind;
use super::primary::ParenAny;

const OR: u8 = 1;
const AND: u8 = 2;
const NOT: u8 = 3;
const IS: u8 = 4;
const COMPARE: u8 = 5;
const LIKE: u8 = 6;
const OP: u8 = 9;
const ADD: u8 = 10;
const MUL: u8 = 11;
const POW: u8 = 12;
const AT: u8 = 13;
const COLLATE: u8 = 14;
const UMINUS: u8 = 15;
const TYPECAST: u8 = 17;
/// Above every precedence.
const ANY: u8 = 100;

/// What may follow a complete operand.
#[derive(Clone, Copy)]
enum Infix {
    /// An operator with a right operand.
    Op,
    /// `OPERATOR(...)`.
    QualifiedOp,
    /// AND.
    And,
    /// OR.
    Or,
    /// LIKE and ILIKE.
    Like,
    /// SIMILAR TO.
    Similar,
    /// BETWEEN.
    Between,
    /// IN.
    In,
    /// IS.
    Is,
    /// ISNULL, NOTNULL.
    PostfixNull,
    /// AT TIME ZONE, AT LOCAL.
    At,
    /// COLLATE.
    Collate,
    /// `::`.
    Typecast,
    /// OVERLAPS.
    Overlaps,
}

/// An operator node.
pub(super) fn a_expr(kind: AExprKind, name: &str, left: Option<Expr>, right: Option<Expr>, pos: u32) -> Expr {
    Expr::AExpr(Box::new(AExpr {
        kind,
        name: smallvec![Arc::from(name)],
        left,
        right,
        list: Vec::new(),
        pos,
    }))
}

/// A call of a pg_catalog function.
pub(super) fn system_call(name: &str, args: Vec<Expr>, format: FuncFormat, pos: u32) -> Expr {
    Expr::FuncCall(Box::new(call(system_name(name), args, format, pos)))
}

/// A plain call.
pub(super) fn call(name: Names, args: Vec<Expr>, format: FuncFormat, pos: u32) -> FuncCall {
    FuncCall {
        name,
        args,
        agg_order: Vec::new(),
        agg_filter: None,
        within_group: false,
        star: false,
        distinct: false,
        variadic: false,
        over: None,
        format,
        pos,
    }
}

pub(super) fn constant(value: Value, pos: u32) -> Expr {
    Expr::Const(Const { value, pos })
}

fn negate(arg: Expr, pos: u32) -> Expr {
    Expr::BoolExpr(Box::new(BoolExpr { op: BoolOp::Not, args: vec![arg], pos }))
}

impl Parser<'_> {
    /// a_expr.
    pub(super) fn expr(&mut self) -> PResult<Expr> {
        self.expr_above(0, false)
    }

    /// An expression that is all of the text.
    pub(super) fn lone_expr(&mut self) -> PResult<Expr> {
        let expr = self.expr()?;
        if self.kind() == Kind::Eof { Ok(expr) } else { self.unexpected() }
    }

    /// b_expr: without what would make the grammar around it ambiguous (AND, IN, IS NULL, ...).
    pub(super) fn b_expr(&mut self) -> PResult<Expr> {
        self.expr_above(0, true)
    }

    /// `expr, expr, ...`.
    pub(super) fn expr_list(&mut self) -> PResult<Vec<Expr>> {
        self.list(Self::expr)
    }

    /// An expression of operators that bind at least as strongly as `min`.
    fn expr_above(&mut self, min: u8, restricted: bool) -> PResult<Expr> {
        self.enter()?;
        let around = std::mem::take(&mut self.height);
        let left = self.prefix(restricted)?;
        let expr = self.infix(left, min, restricted)?;
        self.grow()?;
        self.height = self.height.max(around);
        self.leave();
        Ok(expr)
    }

    /// Go on with an expression whose first operand has been read.
    pub(super) fn expr_from(&mut self, left: Expr) -> PResult<Expr> {
        self.infix(left, 0, false)
    }

    #[inline(never)]
    fn prefix(&mut self, restricted: bool) -> PResult<Expr> {
        let tok = self.tok();
        let pos = tok.start;
        match tok.kind {
            Kind::Kw(Kw::Not) if !restricted => {
                if matches!(
                    self.kind_at(1),
                    Kind::Kw(Kw::Between | Kw::In | Kw::Like | Kw::Ilike | Kw::Similar)
                ) {
                    return self.unexpected();
                }
                self.bump();
                Ok(negate(self.expr_above(NOT, false)?, pos))
            }
            Kind::Char(b'-') => {
                self.bump();
                let arg = self.expr_above(UMINUS, restricted)?;
                Ok(negative(arg, pos))
            }
            Kind::Char(b'+') => {
                self.bump();
                let arg = self.expr_above(UMINUS, restricted)?;
                Ok(a_expr(AExprKind::Op, "+", None, Some(arg), pos))
            }
            Kind::Op => {
                self.bump();
                let arg = self.expr_above(OP + 1, restricted)?;
                Ok(a_expr(AExprKind::Op, self.text(tok), None, Some(arg), pos))
            }
            Kind::Kw(Kw::Operator) if self.kind_at(1) == Kind::Char(b'(') => {
                let name = self.qualified_operator()?;
                let right = Some(self.expr_above(OP + 1, restricted)?);
                let kind = AExprKind::Op;
                Ok(Expr::AExpr(Box::new(AExpr { kind, name, left: None, right, list: Vec::new(), pos })))
            }
            Kind::Kw(Kw::Default) if !restricted => {
                self.bump();
                Ok(Expr::SetToDefault(SetToDefault { pos }))
            }
            Kind::Kw(Kw::Unique) if !restricted => {
                self.bump();
                self.opt_nulls_not_distinct()?;
                self.select_with_parens()?;
                Err(ParseError::unsupported("UNIQUE predicate is not yet implemented", pos))
            }
            _ => self.primary(),
        }
    }

    /// `OPERATOR(schema.op)`.
    pub(super) fn qualified_operator(&mut self) -> PResult<Names> {
        self.expect_kw(Kw::Operator)?;
        self.expect_char(b'(')?;
        let name = self.any_operator()?;
        self.expect_char(b')')?;
        Ok(name)
    }

    /// any_operator: `op` or `schema.op`.
    pub(super) fn any_operator(&mut self) -> PResult<Names> {
        let mut names = Names::new();
        while self.at_col_id() {
            names.push(self.take_name()?);
            self.expect_char(b'.')?;
        }
        names.push(self.all_op()?);
        Ok(names)
    }

    /// all_Op: the name of an operator of any kind.
    pub(super) fn all_op(&mut self) -> PResult<Arc<str>> {
        let tok = self.tok();
        match Self::operator_precedence(tok.kind) {
            Some(_) => {
                self.bump();
                Ok(Arc::from(operator_text(tok.kind, self.text(tok))))
            }
            None => self.unexpected(),
        }
    }

    fn operator_precedence(kind: Kind) -> Option<u8> {
        match kind {
            Kind::Op => Some(OP),
            Kind::Char(b'+' | b'-') => Some(ADD),
            Kind::Char(b'*' | b'/' | b'%') => Some(MUL),
            Kind::Char(b'^') => Some(POW),
            Kind::Char(b'<' | b'>' | b'=') | Kind::LessEquals | Kind::GreaterEquals | Kind::NotEquals => {
                Some(COMPARE)
            }
            _ => None,
        }
    }

    /// What the token here is after a complete operand, with its precedence.
    fn infix_here(&self, restricted: bool) -> Option<(u8, Infix)> {
        let kind = self.kind();
        if let Some(prec) = Self::operator_precedence(kind) {
            return Some((prec, Infix::Op));
        }
        let Kind::Kw(kw) = kind else {
            return (kind == Kind::Typecast).then_some((TYPECAST, Infix::Typecast));
        };
        match kw {
            Kw::Operator if self.kind_at(1) == Kind::Char(b'(') => return Some((OP, Infix::QualifiedOp)),
            Kw::Is => return Some((IS, Infix::Is)),
            _ if restricted => return None,
            _ => (),
        }
        let kw = match (kw, self.kind_at(1)) {
            (Kw::Not, Kind::Kw(next @ (Kw::Between | Kw::In | Kw::Like | Kw::Ilike | Kw::Similar))) => next,
            _ => kw,
        };
        Some(match kw {
            Kw::And => (AND, Infix::And),
            Kw::Or => (OR, Infix::Or),
            Kw::Like | Kw::Ilike => (LIKE, Infix::Like),
            // In SUBSTRING(a SIMILAR b ESCAPE c) it is not an operator.
            Kw::Similar if self.at_kw(Kw::Not) || self.at_kw_n(1, Kw::To) => (LIKE, Infix::Similar),
            Kw::Between => (LIKE, Infix::Between),
            Kw::In => (LIKE, Infix::In),
            Kw::Isnull | Kw::Notnull => (IS, Infix::PostfixNull),
            Kw::At if matches!(self.kind_at(1), Kind::Kw(Kw::Time | Kw::Local)) => (AT, Infix::At),
            Kw::Collate => (COLLATE, Infix::Collate),
            Kw::Overlaps => (LIKE, Infix::Overlaps),
            _ => return None,
        })
    }

    fn infix(&mut self, mut left: Expr, min: u8, restricted: bool) -> PResult<Expr> {
        // Operators at or above the ceiling may not follow: set by those that do not associate.
        let mut ceiling = ANY;
        while let Some((prec, infix)) = self.infix_here(restricted) {
            if prec < min {
                break;
            }
            if prec >= ceiling {
                return self.unexpected();
            }
            // A chain of AND or OR becomes wider, not higher.
            let chain = match (&left, infix) {
                (Expr::BoolExpr(b), Infix::And) => b.op == BoolOp::And,
                (Expr::BoolExpr(b), Infix::Or) => b.op == BoolOp::Or,
                _ => false,
            };
            let under = std::mem::take(&mut self.height);
            (left, ceiling) = self.infix_step(left, prec, infix, restricted)?;
            self.height = self.height.max(under);
            if !chain {
                self.grow()?;
            }
        }
        Ok(left)
    }

    /// One operator with what follows it; and the precedence below which the next one must be.
    #[inline(never)]
    fn infix_step(&mut self, left: Expr, prec: u8, infix: Infix, restricted: bool) -> PResult<(Expr, u8)> {
        let pos = self.pos();
        match infix {
            Infix::Op => {
                let tok = self.bump();
                let name = operator_text(tok.kind, self.text(tok));
                if !restricted && let Some(kind) = self.sub_type() {
                    let name = smallvec![Arc::from(name)];
                    return Ok((self.any_all(left, name, kind, pos)?, ANY));
                }
                let right = self.expr_above(prec + 1, restricted)?;
                let ceiling = if prec == COMPARE { prec } else { ANY };
                Ok((a_expr(AExprKind::Op, name, Some(left), Some(right), pos), ceiling))
            }
            Infix::QualifiedOp => {
                let name = self.qualified_operator()?;
                if !restricted && let Some(kind) = self.sub_type() {
                    return Ok((self.any_all(left, name, kind, pos)?, ANY));
                }
                let right = Some(self.expr_above(prec + 1, restricted)?);
                let (kind, left) = (AExprKind::Op, Some(left));
                Ok((Expr::AExpr(Box::new(AExpr { kind, name, left, right, list: Vec::new(), pos })), ANY))
            }
            Infix::And => {
                self.bump();
                let right = self.expr_above(AND + 1, false)?;
                Ok((connect(BoolOp::And, left, right, pos), ANY))
            }
            Infix::Or => {
                self.bump();
                let right = self.expr_above(OR + 1, false)?;
                Ok((connect(BoolOp::Or, left, right, pos), ANY))
            }
            Infix::Typecast => {
                self.bump();
                let type_name = self.type_name()?;
                Ok((Expr::TypeCast(Box::new(TypeCast { arg: left, type_name, pos })), ANY))
            }
            Infix::Collate => {
                self.bump();
                let name = self.any_name()?;
                Ok((Expr::CollateClause(Box::new(CollateClause { arg: Some(left), name, pos })), ANY))
            }
            Infix::At => {
                self.bump();
                if self.eat_kw(Kw::Local) {
                    return Ok((system_call("timezone", vec![left], FuncFormat::SqlSyntax, pos), ANY));
                }
                self.expect_kws(&[Kw::Time, Kw::Zone])?;
                let zone = self.expr_above(AT + 1, false)?;
                Ok((system_call("timezone", vec![zone, left], FuncFormat::SqlSyntax, pos), ANY))
            }
            Infix::Like => self.like(left, pos),
            Infix::Similar => self.similar(left, pos),
            Infix::Between => self.between(left, pos),
            Infix::In => Ok((self.in_list(left, pos)?, ANY)),
            Infix::Is => self.is(left, restricted),
            Infix::PostfixNull => {
                let negated = self.bump().kind == Kind::Kw(Kw::Notnull);
                Ok((Expr::NullTest(Box::new(NullTest { arg: left, negated, pos })), ANY))
            }
            Infix::Overlaps => self.overlaps(left, pos),
        }
    }

    /// ANY, SOME or ALL, if it is here.
    fn sub_type(&mut self) -> Option<SubLinkKind> {
        let kind = match self.kind() {
            Kind::Kw(Kw::Any | Kw::Some) => SubLinkKind::Any,
            Kind::Kw(Kw::All) => SubLinkKind::All,
            _ => return None,
        };
        self.bump();
        Some(kind)
    }

    /// What follows `left op ANY`: a query or an array.
    #[inline(never)]
    fn any_all(&mut self, left: Expr, name: Names, kind: SubLinkKind, pos: u32) -> PResult<Expr> {
        if !self.at_char(b'(') {
            return self.unexpected();
        }
        match self.paren_any()? {
            ParenAny::Select(select) => Ok(Expr::SubLink(Box::new(SubLink {
                kind,
                test: Some(left),
                op_name: name,
                subselect: select,
                pos,
            }))),
            ParenAny::Expr(right) => {
                let kind = if kind == SubLinkKind::Any { AExprKind::OpAny } else { AExprKind::OpAll };
                let (left, right) = (Some(left), Some(right));
                Ok(Expr::AExpr(Box::new(AExpr { kind, name, left, right, list: Vec::new(), pos })))
            }
            ParenAny::Row(_, comma) => {
                Err(ParseError::near("syntax error", self.sql, comma.start, comma.end))
            }
        }
    }

    #[inline(never)]
    fn like(&mut self, left: Expr, pos: u32) -> PResult<(Expr, u8)> {
        let negated = self.eat_kw(Kw::Not);
        let (kind, name) = match (self.bump().kind, negated) {
            (Kind::Kw(Kw::Ilike), false) => (AExprKind::ILike, "~~*"),
            (Kind::Kw(Kw::Ilike), true) => (AExprKind::ILike, "!~~*"),
            (_, false) => (AExprKind::Like, "~~"),
            (_, true) => (AExprKind::Like, "!~~"),
        };
        if let Some(kind) = self.sub_type() {
            return Ok((self.any_all(left, smallvec![Arc::from(name)], kind, pos)?, ANY));
        }
        let mut right = self.expr_above(LIKE + 1, false)?;
        if self.at_kw(Kw::Escape) {
            self.bump();
            let escape = self.expr_above(LIKE + 1, false)?;
            right = system_call("like_escape", vec![right, escape], FuncFormat::ExplicitCall, pos);
        }
        Ok((a_expr(kind, name, Some(left), Some(right), pos), LIKE))
    }

    #[inline(never)]
    fn similar(&mut self, left: Expr, pos: u32) -> PResult<(Expr, u8)> {
        let name = if self.eat_kw(Kw::Not) { "!~" } else { "~" };
        self.bump();
        self.expect_kw(Kw::To)?;
        let mut args = vec![self.expr_above(LIKE + 1, false)?];
        if self.eat_kw(Kw::Escape) {
            args.push(self.expr_above(LIKE + 1, false)?);
        }
        let right = system_call("similar_to_escape", args, FuncFormat::ExplicitCall, pos);
        Ok((a_expr(AExprKind::SimilarTo, name, Some(left), Some(right), pos), LIKE))
    }

    #[inline(never)]
    fn between(&mut self, left: Expr, pos: u32) -> PResult<(Expr, u8)> {
        let negated = self.eat_kw(Kw::Not);
        self.bump();
        let symmetric = self.eat_kw(Kw::Symmetric);
        if !symmetric {
            self.eat_kw(Kw::Asymmetric);
        }
        let (kind, name) = match (negated, symmetric) {
            (false, false) => (AExprKind::Between, "BETWEEN"),
            (true, false) => (AExprKind::NotBetween, "NOT BETWEEN"),
            (false, true) => (AExprKind::BetweenSym, "BETWEEN SYMMETRIC"),
            (true, true) => (AExprKind::NotBetweenSym, "NOT BETWEEN SYMMETRIC"),
        };
        let low = self.expr_above(0, true)?;
        self.expect_kw(Kw::And)?;
        let high = self.expr_above(LIKE + 1, false)?;
        let name = smallvec![Arc::from(name)];
        let list = vec![low, high];
        Ok((Expr::AExpr(Box::new(AExpr { kind, name, left: Some(left), right: None, list, pos })), LIKE))
    }

    #[inline(never)]
    fn in_list(&mut self, left: Expr, pos: u32) -> PResult<Expr> {
        let negated = self.eat_kw(Kw::Not);
        self.bump();
        if !self.at_char(b'(') {
            return self.unexpected();
        }
        let list = match self.paren_any()? {
            ParenAny::Select(select) => {
                let link = Expr::SubLink(Box::new(SubLink {
                    kind: SubLinkKind::Any,
                    test: Some(left),
                    op_name: Names::new(),
                    subselect: select,
                    pos,
                }));
                return Ok(if negated { negate(link, pos) } else { link });
            }
            ParenAny::Expr(item) => vec![item],
            ParenAny::Row(items, _) => items,
        };
        let name = smallvec![Arc::from(if negated { "<>" } else { "=" })];
        Ok(Expr::AExpr(Box::new(AExpr {
            kind: AExprKind::In,
            name,
            left: Some(left),
            right: None,
            list,
            pos,
        })))
    }

    /// Everything that begins with IS.
    #[inline(never)]
    fn is(&mut self, left: Expr, restricted: bool) -> PResult<(Expr, u8)> {
        let pos = self.bump().start;
        let negated = self.eat_kw(Kw::Not);
        let Kind::Kw(kw) = self.kind() else { return self.unexpected_is(left, negated, pos, restricted) };
        if kw == Kw::Distinct {
            self.bump();
            self.expect_kw(Kw::From)?;
            let right = self.expr_above(IS + 1, restricted)?;
            let kind = if negated { AExprKind::NotDistinct } else { AExprKind::Distinct };
            return Ok((a_expr(kind, "=", Some(left), Some(right), pos), IS));
        }
        if kw == Kw::Document {
            self.bump();
            return Err(ParseError::unsupported("unsupported XML feature", pos)
                .detail("This functionality requires the server to be built with libxml support."));
        }
        if restricted {
            return self.unexpected();
        }
        let kind = match (kw, negated) {
            (Kw::Null, _) => {
                self.bump();
                return Ok((Expr::NullTest(Box::new(NullTest { arg: left, negated, pos })), ANY));
            }
            (Kw::True, false) => BoolTestKind::IsTrue,
            (Kw::True, true) => BoolTestKind::IsNotTrue,
            (Kw::False, false) => BoolTestKind::IsFalse,
            (Kw::False, true) => BoolTestKind::IsNotFalse,
            (Kw::Unknown, false) => BoolTestKind::IsUnknown,
            (Kw::Unknown, true) => BoolTestKind::IsNotUnknown,
            _ => return self.unexpected_is(left, negated, pos, restricted),
        };
        self.bump();
        Ok((Expr::BooleanTest(Box::new(BooleanTest { arg: left, kind, pos })), ANY))
    }

    /// `IS [NOT] [NFC] NORMALIZED` and `IS [NOT] JSON`: what is left after IS.
    #[inline(never)]
    fn unexpected_is(
        &mut self,
        left: Expr,
        negated: bool,
        pos: u32,
        restricted: bool,
    ) -> PResult<(Expr, u8)> {
        if restricted {
            return self.unexpected();
        }
        if self.eat_kw(Kw::Json) {
            let item = match self.kind() {
                Kind::Kw(Kw::Value) => JsonItemType::Any,
                Kind::Kw(Kw::Array) => JsonItemType::Array,
                Kind::Kw(Kw::Object) => JsonItemType::Object,
                Kind::Kw(Kw::Scalar) => JsonItemType::Scalar,
                _ => JsonItemType::Any,
            };
            if matches!(self.kind(), Kind::Kw(Kw::Value | Kw::Array | Kw::Object | Kw::Scalar)) {
                self.bump();
            }
            let unique_keys = self.at_kws(&[Kw::With, Kw::Unique]);
            if unique_keys || self.at_kws(&[Kw::Without, Kw::Unique]) {
                self.bump();
                self.bump();
                self.eat_kw(Kw::Keys);
            }
            let test = JsonIsPredicate { arg: left, item, unique_keys, negated, pos };
            return Ok((Expr::JsonIsPredicate(Box::new(test)), ANY));
        }
        let mut args = vec![left];
        if let Kind::Kw(form @ (Kw::Nfc | Kw::Nfd | Kw::Nfkc | Kw::Nfkd)) = self.kind() {
            let at = self.bump().start;
            args.push(constant(Value::String(Arc::from(form.text().to_uppercase())), at));
        }
        self.expect_kw(Kw::Normalized)?;
        let test = system_call("is_normalized", args, FuncFormat::SqlSyntax, pos);
        Ok((if negated { negate(test, pos) } else { test }, ANY))
    }

    /// `row OVERLAPS row`.
    #[inline(never)]
    fn overlaps(&mut self, left: Expr, pos: u32) -> PResult<(Expr, u8)> {
        let Expr::RowExpr(left) = left else { return self.unexpected() };
        let start = left.pos;
        self.bump();
        let at = self.pos();
        let Expr::RowExpr(right) = self.primary()? else { return self.unexpected() };
        let wrong = |side: &str, at: u32| {
            Err(ParseError::syntax(
                format!("wrong number of parameters on {side} side of OVERLAPS expression"),
                at,
            ))
        };
        let (RowExpr { mut args, .. }, RowExpr { args: more, .. }) = (*left, *right);
        if args.len() != 2 {
            return wrong("left", start);
        }
        if more.len() != 2 {
            return wrong("right", at);
        }
        args.extend(more);
        Ok((system_call("overlaps", args, FuncFormat::SqlSyntax, pos), ANY))
    }
}

/// `-arg`: a number's sign becomes part of the number.
fn negative(arg: Expr, pos: u32) -> Expr {
    match arg {
        Expr::Const(Const { value: Value::Integer(n), .. }) => constant(Value::Integer(-n), pos),
        Expr::Const(Const { value: Value::Float(text), .. }) => {
            let text = match text.strip_prefix('-') {
                Some(positive) => Arc::from(positive),
                None => Arc::from(format!("-{text}")),
            };
            constant(Value::Float(text), pos)
        }
        arg => a_expr(AExprKind::Op, "-", None, Some(arg), pos),
    }
}

/// AND and OR, flattened to the left.
fn connect(op: BoolOp, left: Expr, right: Expr, pos: u32) -> Expr {
    match left {
        Expr::BoolExpr(mut chain) if chain.op == op => {
            chain.args.push(right);
            Expr::BoolExpr(chain)
        }
        left => Expr::BoolExpr(Box::new(BoolExpr { op, args: vec![left, right], pos })),
    }
}

/// An operator's name: `!=` is written, `<>` is meant.
fn operator_text(kind: Kind, text: &str) -> &str {
    if kind == Kind::NotEquals { "<>" } else { text }
}

//! Calls with a syntax of their own: `EXTRACT(year FROM x)`, `CURRENT_DATE`, `COALESCE(...)`, `TRIM(...)`.
//!
//! PostgreSQL's `func_expr_common_subexpr`. Most become plain calls of pg_catalog functions, as there.

use super::ast::{
    AExprKind, CoalesceExpr, Expr, FuncFormat, MergeSupportFunc, MinMaxExpr, Names, SqlJsonXml,
    SqlValueFunction, SqlValueFunctionOp, TypeCast, Value,
};
use super::cursor::Parser;
use super::error::PResult;
use super::expr::{a_expr, constant, system_call};
use super::keywords::Kw;
use super::lexer::Kind;
use super::primary::name;
use super::types::system_type;

impl Parser<'_> {
    /// The call that begins with this keyword, if one does.
    #[inline(never)]
    pub(super) fn special_function(&mut self, kw: Kw) -> PResult<Option<Expr>> {
        if let Some(op) = value_function(kw) {
            // current_schema() is an ordinary function.
            if kw == Kw::CurrentSchema && self.kind_at(1) == Kind::Char(b'(') {
                return Ok(None);
            }
            return self.value_function(op).map(Some);
        }
        let pos = self.pos();
        if kw == Kw::SystemUser {
            self.bump();
            return Ok(Some(system_call("system_user", Vec::new(), FuncFormat::SqlSyntax, pos)));
        }
        if kw == Kw::Collation && self.at_kw_n(1, Kw::For) {
            self.bump();
            self.bump();
            self.expect_char(b'(')?;
            let arg = self.expr()?;
            self.expect_char(b')')?;
            return Ok(Some(system_call("pg_collation_for", vec![arg], FuncFormat::SqlSyntax, pos)));
        }
        if self.kind_at(1) != Kind::Char(b'(') {
            if kw == Kw::Cast {
                self.bump();
                return self.unexpected();
            }
            return Ok(None);
        }
        let parse: fn(&mut Self, u32) -> PResult<Expr> = match kw {
            Kw::Cast => Self::cast,
            Kw::Extract => Self::extract,
            Kw::Normalize => Self::normalize,
            Kw::Overlay => Self::overlay,
            Kw::Position => Self::position,
            Kw::Substring => Self::substring,
            Kw::Treat => Self::treat,
            Kw::Trim => Self::trim,
            Kw::Nullif => Self::nullif,
            Kw::Coalesce => Self::coalesce,
            Kw::Greatest | Kw::Least => Self::min_max,
            Kw::MergeAction => Self::merge_action,
            Kw::JsonObject
            | Kw::JsonArray
            | Kw::JsonObjectagg
            | Kw::JsonArrayagg
            | Kw::Json
            | Kw::JsonScalar
            | Kw::JsonSerialize
            | Kw::JsonExists
            | Kw::JsonQuery
            | Kw::JsonValue
            | Kw::Xmlconcat
            | Kw::Xmlelement
            | Kw::Xmlexists
            | Kw::Xmlforest
            | Kw::Xmlparse
            | Kw::Xmlpi
            | Kw::Xmlroot
            | Kw::Xmlserialize => Self::json_xml,
            _ => return Ok(None),
        };
        parse(self, pos).map(Some)
    }

    /// A system function call over `(a, b, ...)`, in the syntax of SQL.
    fn finish(&mut self, func: &str, args: Vec<Expr>, pos: u32) -> PResult<Expr> {
        self.expect_char(b')')?;
        Ok(system_call(func, args, FuncFormat::SqlSyntax, pos))
    }

    /// Past the keyword and the parenthesis.
    fn open(&mut self) {
        self.bump();
        self.bump();
    }

    fn value_function(&mut self, op: SqlValueFunctionOp) -> PResult<Expr> {
        use SqlValueFunctionOp as Op;
        let pos = self.bump().start;
        let timed = matches!(op, Op::CurrentTime | Op::CurrentTimestamp | Op::Localtime | Op::Localtimestamp);
        let precision = if timed && self.eat_char(b'(') {
            let n = self.int()?;
            self.expect_char(b')')?;
            Some(n)
        } else {
            None
        };
        Ok(Expr::SqlValueFunction(SqlValueFunction { op, precision, pos }))
    }

    fn cast(&mut self, pos: u32) -> PResult<Expr> {
        self.open();
        let arg = self.expr()?;
        self.expect_kw(Kw::As)?;
        let type_name = self.type_name()?;
        self.expect_char(b')')?;
        Ok(Expr::TypeCast(Box::new(TypeCast { arg, type_name, pos })))
    }

    fn extract(&mut self, pos: u32) -> PResult<Expr> {
        self.open();
        let at = self.pos();
        let field = match self.kind() {
            Kind::Ident
            | Kind::QuotedIdent
            | Kind::UnicodeIdent
            | Kind::Kw(Kw::Year | Kw::Month | Kw::Day | Kw::Hour | Kw::Minute | Kw::Second) => {
                self.take_name()?
            }
            _ => self.string()?,
        };
        let field = constant(Value::String(field), at);
        self.expect_kw(Kw::From)?;
        let source = self.expr()?;
        self.finish("extract", vec![field, source], pos)
    }

    fn normalize(&mut self, pos: u32) -> PResult<Expr> {
        self.open();
        let mut args = vec![self.expr()?];
        if self.eat_char(b',') {
            let Kind::Kw(form @ (Kw::Nfc | Kw::Nfd | Kw::Nfkc | Kw::Nfkd)) = self.kind() else {
                return self.unexpected();
            };
            let at = self.bump().start;
            args.push(constant(Value::String(name(&form.text().to_uppercase())), at));
        }
        self.finish("normalize", args, pos)
    }

    /// The plain call that a special syntax may also be: `substring(a, 1, 2)`. The first argument has been read.
    fn plain_rest(&mut self, func: &str, first: Expr, pos: u32) -> PResult<Expr> {
        let mut args = vec![first];
        while self.eat_char(b',') {
            args.push(self.expr()?);
        }
        self.expect_char(b')')?;
        let mut names = Names::new();
        names.push(name(func));
        Ok(Expr::FuncCall(Box::new(super::expr::call(names, args, FuncFormat::ExplicitCall, pos))))
    }

    /// Whether a call of this keyword has no arguments or named ones, so that it can only be a plain call.
    fn plain_call(&mut self, func: &str, pos: u32) -> PResult<Option<Expr>> {
        let named = matches!(self.kind_at(3), Kind::ColonEquals | Kind::Arrow);
        if !named && self.kind_at(2) != Kind::Char(b')') {
            return Ok(None);
        }
        self.bump();
        let mut names = Names::new();
        names.push(name(func));
        let call = self.call_arguments(names, pos)?;
        Ok(Some(Expr::FuncCall(Box::new(call))))
    }

    fn overlay(&mut self, pos: u32) -> PResult<Expr> {
        if let Some(call) = self.plain_call("overlay", pos)? {
            return Ok(call);
        }
        self.open();
        let first = self.expr()?;
        if !self.eat_kw(Kw::Placing) {
            return self.plain_rest("overlay", first, pos);
        }
        let mut args = vec![first, self.expr()?];
        self.expect_kw(Kw::From)?;
        args.push(self.expr()?);
        if self.eat_kw(Kw::For) {
            args.push(self.expr()?);
        }
        self.finish("overlay", args, pos)
    }

    fn position(&mut self, pos: u32) -> PResult<Expr> {
        self.open();
        let needle = self.b_expr()?;
        self.expect_kw(Kw::In)?;
        let haystack = self.b_expr()?;
        self.finish("position", vec![haystack, needle], pos)
    }

    fn substring(&mut self, pos: u32) -> PResult<Expr> {
        if let Some(call) = self.plain_call("substring", pos)? {
            return Ok(call);
        }
        self.open();
        let text = self.expr()?;
        let mut args = vec![text];
        if self.eat_kw(Kw::From) {
            args.push(self.expr()?);
            if self.eat_kw(Kw::For) {
                args.push(self.expr()?);
            }
        } else if self.eat_kw(Kw::For) {
            let at = self.pos();
            let length = self.expr()?;
            if self.eat_kw(Kw::From) {
                args.push(self.expr()?);
                args.push(length);
            } else {
                // Without FROM it begins at 1; the cast keeps substring(text, text) from being meant.
                args.push(constant(Value::Integer(1), at));
                let type_name = system_type("int4", Vec::new(), at);
                args.push(Expr::TypeCast(Box::new(TypeCast { arg: length, type_name, pos: at })));
            }
        } else if self.eat_kw(Kw::Similar) {
            args.push(self.expr()?);
            self.expect_kw(Kw::Escape)?;
            args.push(self.expr()?);
        } else {
            let first = args.remove(0);
            return self.plain_rest("substring", first, pos);
        }
        self.finish("substring", args, pos)
    }

    fn treat(&mut self, pos: u32) -> PResult<Expr> {
        self.open();
        let arg = self.expr()?;
        self.expect_kw(Kw::As)?;
        let type_name = self.type_name()?;
        let func = type_name.names.last().cloned().unwrap_or_else(|| name("text"));
        self.expect_char(b')')?;
        Ok(system_call(&func, vec![arg], FuncFormat::ExplicitCall, pos))
    }

    fn trim(&mut self, pos: u32) -> PResult<Expr> {
        self.open();
        let func = match self.kind() {
            Kind::Kw(Kw::Leading) => "ltrim",
            Kind::Kw(Kw::Trailing) => "rtrim",
            _ => "btrim",
        };
        if matches!(self.kind(), Kind::Kw(Kw::Leading | Kw::Trailing | Kw::Both)) {
            self.bump();
        }
        let args = if self.eat_kw(Kw::From) {
            self.expr_list()?
        } else {
            let first = self.expr()?;
            if self.eat_kw(Kw::From) {
                let mut args = self.expr_list()?;
                args.push(first);
                args
            } else {
                let mut args = vec![first];
                while self.eat_char(b',') {
                    args.push(self.expr()?);
                }
                args
            }
        };
        self.finish(func, args, pos)
    }

    fn nullif(&mut self, pos: u32) -> PResult<Expr> {
        self.open();
        let left = self.expr()?;
        self.expect_char(b',')?;
        let right = self.expr()?;
        self.expect_char(b')')?;
        Ok(a_expr(AExprKind::NullIf, "=", Some(left), Some(right), pos))
    }

    fn coalesce(&mut self, pos: u32) -> PResult<Expr> {
        self.bump();
        let args = self.paren_list(Self::expr)?;
        Ok(Expr::CoalesceExpr(Box::new(CoalesceExpr { args, pos })))
    }

    fn min_max(&mut self, pos: u32) -> PResult<Expr> {
        let greatest = self.bump().kind == Kind::Kw(Kw::Greatest);
        let args = self.paren_list(Self::expr)?;
        Ok(Expr::MinMaxExpr(Box::new(MinMaxExpr { greatest, args, pos })))
    }

    fn merge_action(&mut self, pos: u32) -> PResult<Expr> {
        self.open();
        self.expect_char(b')')?;
        Ok(Expr::MergeSupportFunc(MergeSupportFunc { pos }))
    }

    /// SQL/JSON and XML: the balanced text is kept.
    fn json_xml(&mut self, pos: u32) -> PResult<Expr> {
        let tok = self.bump();
        let func = name(&self.text(tok).to_ascii_lowercase());
        if tok.kind == Kind::Kw(Kw::JsonObject) && self.is_plain_argument_list() {
            let mut names = Names::new();
            names.push(func);
            let call = self.call_arguments(names, pos)?;
            return Ok(Expr::FuncCall(Box::new(call)));
        }
        let unary = matches!(tok.kind, Kind::Kw(Kw::Json | Kw::JsonScalar | Kw::JsonSerialize));
        if unary && self.kind_at(1) == Kind::Char(b')') {
            self.bump();
            return self.unexpected();
        }
        let text = self.balanced_text()?;
        if matches!(tok.kind, Kind::Kw(Kw::JsonObjectagg | Kw::JsonArrayagg)) {
            // Aggregates have FILTER and OVER; of what is not supported anyway they are not kept.
            let mut clauses = super::expr::call(Names::new(), Vec::new(), FuncFormat::SqlSyntax, pos);
            self.call_clauses(&mut clauses)?;
        }
        Ok(Expr::SqlJsonXml(Box::new(SqlJsonXml { name: func, text, pos })))
    }

    /// Whether the parentheses here hold at least one argument and nothing but a plain list of them: json_object() is
    /// a function of PostgreSQL's own as well.
    fn is_plain_argument_list(&self) -> bool {
        let (mut depth, mut n) = (0, 0);
        loop {
            match self.kind_at(n) {
                Kind::Char(b'(' | b'[') => depth += 1,
                Kind::Char(b')' | b']') => {
                    depth -= 1;
                    if depth == 0 {
                        return n > 1;
                    }
                }
                Kind::Char(b':') | Kind::Kw(Kw::Value | Kw::Returning | Kw::Absent | Kw::Key)
                    if depth == 1 =>
                {
                    return false;
                }
                Kind::Eof | Kind::Bad | Kind::Char(b';') => return true,
                _ => (),
            }
            n += 1;
        }
    }

    /// The source text between balanced parentheses, which are read.
    pub(super) fn balanced_text(&mut self) -> PResult<super::ast::Name> {
        let start = self.expect_char(b'(')?.end;
        let mut depth = 1;
        loop {
            let tok = self.tok();
            match tok.kind {
                Kind::Char(b'(') => depth += 1,
                Kind::Char(b')') => depth -= 1,
                Kind::Eof | Kind::Bad | Kind::Char(b';') => return self.unexpected(),
                _ => (),
            }
            self.bump();
            if depth == 0 {
                return Ok(name(&self.sql[start as usize..tok.start as usize]));
            }
        }
    }
}

/// The value functions by keyword.
fn value_function(kw: Kw) -> Option<SqlValueFunctionOp> {
    use SqlValueFunctionOp as Op;
    Some(match kw {
        Kw::CurrentDate => Op::CurrentDate,
        Kw::CurrentTime => Op::CurrentTime,
        Kw::CurrentTimestamp => Op::CurrentTimestamp,
        Kw::Localtime => Op::Localtime,
        Kw::Localtimestamp => Op::Localtimestamp,
        Kw::CurrentRole => Op::CurrentRole,
        Kw::CurrentUser => Op::CurrentUser,
        Kw::User => Op::User,
        Kw::SessionUser => Op::SessionUser,
        Kw::CurrentCatalog => Op::CurrentCatalog,
        Kw::CurrentSchema => Op::CurrentSchema,
        _ => return None,
    })
}

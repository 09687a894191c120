//! Type names, and the literals that begin with one of SQL's own: `DATE`-like `TIMESTAMP '...'`, `INTERVAL '1' DAY`.

use shardforge_types::SqlState;

use super::ast::{Expr, TypeCast, TypeName, Value};
use super::cursor::{Parser, system_name};
use super::error::{PResult, ParseError};
use super::expr::constant;
use super::keywords::Kw;
use super::lexer::Kind;
use super::primary::named_type;

/// Bits of INTERVAL's field mask, as in PostgreSQL's `datetime.h`.
const MONTH: i32 = 1 << 1;
const YEAR: i32 = 1 << 2;
const DAY: i32 = 1 << 3;
const HOUR: i32 = 1 << 10;
const MINUTE: i32 = 1 << 11;
const SECOND: i32 = 1 << 12;
/// The mask of an INTERVAL without fields but with a precision.
const FULL_RANGE: i32 = 0x7FFF;

/// A pg_catalog type.
pub(super) fn system_type(name: &str, typmods: Vec<Expr>, pos: u32) -> TypeName {
    named_type(system_name(name), typmods, pos)
}

fn int(value: i32, pos: u32) -> Expr {
    constant(Value::Integer(value), pos)
}

impl Parser<'_> {
    /// Typename.
    pub(super) fn type_name(&mut self) -> PResult<TypeName> {
        let setof = self.eat_kw(Kw::Setof);
        let mut ty = self.simple_type()?;
        ty.setof = setof;
        self.array_bounds(&mut ty)?;
        Ok(ty)
    }

    /// func_type: a Typename, or `name%TYPE`.
    pub(super) fn func_type(&mut self) -> PResult<TypeName> {
        let pos = self.pos();
        let setof = self.eat_kw(Kw::Setof);
        // Only a plain qualified name may have %TYPE after it.
        let mut n = 1;
        while self.kind_at(n) == Kind::Char(b'.') {
            n += 2;
        }
        if n > 1 && self.kind_at(n) == Kind::Char(b'%') && self.at_kw_n(n + 1, Kw::Type) {
            let first = self.type_function_name()?;
            let names = self.attrs(first)?;
            self.bump();
            self.bump();
            let mut ty = named_type(names, Vec::new(), pos);
            (ty.pct_type, ty.setof) = (true, setof);
            return Ok(ty);
        }
        let mut ty = self.type_name()?;
        ty.setof |= setof;
        Ok(ty)
    }

    fn array_bounds(&mut self, ty: &mut TypeName) -> PResult<()> {
        if self.eat_kw(Kw::Array) {
            let mut bound = -1;
            if self.eat_char(b'[') {
                bound = self.int()?;
                self.expect_char(b']')?;
            }
            ty.array_bounds.push(bound);
            return Ok(());
        }
        while self.eat_char(b'[') {
            let bound = if self.at_char(b']') { -1 } else { self.int()? };
            self.expect_char(b']')?;
            ty.array_bounds.push(bound);
        }
        Ok(())
    }

    /// SimpleTypename.
    fn simple_type(&mut self) -> PResult<TypeName> {
        let pos = self.pos();
        if let Kind::Kw(kw) = self.kind() {
            if kw == Kw::Interval {
                self.bump();
                let typmods =
                    if self.at_char(b'(') { self.interval_precision()? } else { self.interval_fields()? };
                return Ok(system_type("interval", typmods, pos));
            }
            if let Some(ty) = self.keyword_type(kw, false)? {
                return Ok(ty);
            }
        }
        let first = self.type_function_name()?;
        let names = self.attrs(first)?;
        let typmods = self.opt_type_modifiers()?;
        Ok(named_type(names, typmods, pos))
    }

    fn opt_type_modifiers(&mut self) -> PResult<Vec<Expr>> {
        if self.at_char(b'(') { self.paren_list(Self::expr) } else { Ok(Vec::new()) }
    }

    /// A type that SQL names with keywords. Where it begins a literal, a missing length means none, not 1.
    fn keyword_type(&mut self, kw: Kw, literal: bool) -> PResult<Option<TypeName>> {
        let pos = self.pos();
        let simple = match kw {
            Kw::Int | Kw::Integer => "int4",
            Kw::Smallint => "int2",
            Kw::Bigint => "int8",
            Kw::Real => "float4",
            Kw::Boolean => "bool",
            Kw::Json => "json",
            Kw::Double if self.at_kw_n(1, Kw::Precision) => {
                self.bump();
                "float8"
            }
            Kw::Decimal | Kw::Dec | Kw::Numeric => {
                self.bump();
                let typmods = self.opt_type_modifiers()?;
                return Ok(Some(system_type("numeric", typmods, pos)));
            }
            Kw::Float => return self.float(pos).map(Some),
            Kw::Bit => return self.bit(literal, pos).map(Some),
            Kw::Character | Kw::Char | Kw::Varchar | Kw::National | Kw::Nchar => {
                return self.character(literal, pos).map(Some);
            }
            Kw::Time | Kw::Timestamp => return self.time(kw, pos).map(Some),
            _ => return Ok(None),
        };
        self.bump();
        Ok(Some(system_type(simple, Vec::new(), pos)))
    }

    fn float(&mut self, pos: u32) -> PResult<TypeName> {
        self.bump();
        let mut name = "float8";
        if self.eat_char(b'(') {
            let at = self.pos();
            let wrong = |message| Err(ParseError::new(SqlState::INVALID_PARAMETER_VALUE, message, at));
            match self.int()? {
                ..1 => return wrong("precision for type float must be at least 1 bit"),
                1..=24 => name = "float4",
                25..=53 => (),
                _ => return wrong("precision for type float must be less than 54 bits"),
            }
            self.expect_char(b')')?;
        }
        Ok(system_type(name, Vec::new(), pos))
    }

    fn bit(&mut self, literal: bool, pos: u32) -> PResult<TypeName> {
        self.bump();
        let varying = self.eat_kw(Kw::Varying);
        let mut typmods = self.opt_type_modifiers()?;
        if typmods.is_empty() && !varying && !literal {
            typmods.push(int(1, pos));
        }
        Ok(system_type(if varying { "varbit" } else { "bit" }, typmods, pos))
    }

    fn character(&mut self, literal: bool, pos: u32) -> PResult<TypeName> {
        let mut varying = self.at_kw(Kw::Varchar);
        if self.eat_kw(Kw::National) && !matches!(self.kind(), Kind::Kw(Kw::Character | Kw::Char)) {
            return self.unexpected();
        }
        self.bump();
        varying = varying || self.eat_kw(Kw::Varying);
        let mut typmods = Vec::new();
        if self.eat_char(b'(') {
            let at = self.pos();
            typmods.push(int(self.int()?, at));
            self.expect_char(b')')?;
        } else if !varying && !literal {
            typmods.push(int(1, pos));
        }
        Ok(system_type(if varying { "varchar" } else { "bpchar" }, typmods, pos))
    }

    fn time(&mut self, kw: Kw, pos: u32) -> PResult<TypeName> {
        self.bump();
        let mut typmods = Vec::new();
        if self.eat_char(b'(') {
            let at = self.pos();
            typmods.push(int(self.int()?, at));
            self.expect_char(b')')?;
        }
        let mut zoned = false;
        if matches!(self.kind(), Kind::Kw(Kw::With | Kw::Without)) && self.at_kw_n(1, Kw::Time) {
            zoned = self.bump().kind == Kind::Kw(Kw::With);
            self.bump();
            self.expect_kw(Kw::Zone)?;
        }
        let name = match (kw, zoned) {
            (Kw::Time, false) => "time",
            (Kw::Time, true) => "timetz",
            (_, false) => "timestamp",
            (_, true) => "timestamptz",
        };
        Ok(system_type(name, typmods, pos))
    }

    /// `(p)` of INTERVAL.
    fn interval_precision(&mut self) -> PResult<Vec<Expr>> {
        let at = self.expect_char(b'(')?.end;
        let precision = self.int()?;
        self.expect_char(b')')?;
        Ok(vec![int(FULL_RANGE, at), int(precision, at)])
    }

    /// opt_interval: `YEAR`, `DAY TO SECOND(3)`, ...
    pub(super) fn interval_fields(&mut self) -> PResult<Vec<Expr>> {
        let pos = self.pos();
        let Kind::Kw(first) = self.kind() else { return Ok(Vec::new()) };
        let mut mask = match first {
            Kw::Year => YEAR,
            Kw::Month => MONTH,
            Kw::Day => DAY,
            Kw::Hour => HOUR,
            Kw::Minute => MINUTE,
            Kw::Second => SECOND,
            _ => return Ok(Vec::new()),
        };
        self.bump();
        let mut last = first;
        if !matches!(first, Kw::Month | Kw::Second) && self.eat_kw(Kw::To) {
            let Kind::Kw(to) = self.kind() else { return self.unexpected() };
            mask |= match (first, to) {
                (Kw::Year, Kw::Month) => MONTH,
                (Kw::Day, Kw::Hour) => HOUR,
                (Kw::Day, Kw::Minute) => HOUR | MINUTE,
                (Kw::Day, Kw::Second) => HOUR | MINUTE | SECOND,
                (Kw::Hour, Kw::Minute) => MINUTE,
                (Kw::Hour, Kw::Second) => MINUTE | SECOND,
                (Kw::Minute, Kw::Second) => SECOND,
                _ => return self.unexpected(),
            };
            last = to;
            self.bump();
        }
        let mut typmods = vec![int(mask, pos)];
        if last == Kw::Second && self.eat_char(b'(') {
            let at = self.pos();
            typmods.push(int(self.int()?, at));
            self.expect_char(b')')?;
        }
        Ok(typmods)
    }

    /// The literal of one of SQL's own types that begins with this keyword, if one does.
    #[inline(never)]
    pub(super) fn typed_literal(&mut self, kw: Kw) -> PResult<Option<Expr>> {
        let pos = self.pos();
        let next = self.kind_at(1);
        let string = Self::is_string(next);
        let begins = match kw {
            Kw::Int | Kw::Integer | Kw::Smallint | Kw::Bigint | Kw::Real | Kw::Boolean | Kw::Json => string,
            Kw::Double => next == Kind::Kw(Kw::Precision),
            Kw::Float | Kw::Decimal | Kw::Dec | Kw::Numeric | Kw::Varchar | Kw::Interval => {
                string || next == Kind::Char(b'(')
            }
            Kw::Bit | Kw::Character | Kw::Char | Kw::Nchar => {
                string || matches!(next, Kind::Char(b'(') | Kind::Kw(Kw::Varying))
            }
            Kw::National => matches!(next, Kind::Kw(Kw::Character | Kw::Char)),
            Kw::Time | Kw::Timestamp => {
                let zone = matches!(next, Kind::Kw(Kw::With | Kw::Without)) && self.at_kw_n(2, Kw::Time);
                string || zone || next == Kind::Char(b'(')
            }
            _ => false,
        };
        if !begins {
            return Ok(None);
        }
        let (type_name, arg) = if kw == Kw::Interval {
            self.bump();
            let before = if string { None } else { Some(self.interval_precision()?) };
            let at = self.pos();
            let arg = constant(Value::String(self.string()?), at);
            let typmods = match before {
                Some(typmods) => typmods,
                None => self.interval_fields()?,
            };
            (system_type("interval", typmods, pos), arg)
        } else {
            let Some(type_name) = self.keyword_type(kw, true)? else { return Ok(None) };
            let at = self.pos();
            (type_name, constant(Value::String(self.string()?), at))
        };
        Ok(Some(Expr::TypeCast(Box::new(TypeCast { arg, type_name, pos }))))
    }
}

//! Option lists: `WITH (a = b, ...)`, `OPTIONS (a 'b', ...)`, `(VERBOSE, FORMAT json)`, and sequences' options.

use std::sync::Arc;

use super::ast::{DefAction, DefArg, DefElem, Name, Names};
use super::cursor::Parser;
use super::error::PResult;
use super::keywords::{Category, Kw};
use super::lexer::Kind;
use super::literal;
use super::primary::name;

/// An option.
pub(super) fn option(text: &str, arg: Option<DefArg>, pos: u32) -> DefElem {
    DefElem { namespace: None, name: name(text), arg, action: DefAction::Unspecified, pos }
}

/// An option that is a word.
pub(super) fn flag(text: &str, value: bool, pos: u32) -> DefElem {
    option(text, Some(DefArg::Boolean(value)), pos)
}

/// An option whose value is a word or string.
pub(super) fn text_option(text: &str, value: Name, pos: u32) -> DefElem {
    option(text, Some(DefArg::String(value)), pos)
}

impl Parser<'_> {
    /// reloptions and definition: `(name = value, ns.name = value, name)`.
    pub(super) fn definition(&mut self) -> PResult<Vec<DefElem>> {
        self.paren_list(|p| {
            let pos = p.pos();
            let mut name = p.col_label()?;
            let mut namespace = None;
            if p.eat_char(b'.') {
                namespace = Some(std::mem::replace(&mut name, p.col_label()?));
            }
            let arg = if p.eat_char(b'=') { Some(p.def_arg()?) } else { None };
            Ok(DefElem { namespace, name, arg, action: DefAction::Unspecified, pos })
        })
    }

    /// `[WITH definition]`.
    pub(super) fn opt_with_definition(&mut self) -> PResult<Vec<DefElem>> {
        if self.eat_kw(Kw::With) { self.definition() } else { Ok(Vec::new()) }
    }

    /// def_arg.
    pub(super) fn def_arg(&mut self) -> PResult<DefArg> {
        if let Some(number) = self.opt_number()? {
            return Ok(number);
        }
        if self.at_string() {
            return Ok(DefArg::String(self.string()?));
        }
        match self.kind() {
            Kind::Kw(Kw::None) => Ok(DefArg::String(self.take_name()?)),
            Kind::Kw(kw) if kw.category() == Category::Reserved => Ok(DefArg::String(self.take_name()?)),
            Kind::Kw(Kw::Operator) if self.kind_at(1) == Kind::Char(b'(') => {
                Ok(DefArg::Names(self.qualified_operator()?))
            }
            Kind::Op | Kind::Char(_) | Kind::LessEquals | Kind::GreaterEquals | Kind::NotEquals => {
                let mut names = Names::new();
                names.push(self.all_op()?);
                Ok(DefArg::Names(names))
            }
            _ => {
                let ty = self.func_type()?;
                let plain = ty.typmods.is_empty() && ty.array_bounds.is_empty() && !ty.setof && !ty.pct_type;
                match ty.names.as_slice() {
                    [word] if plain => Ok(DefArg::String(word.clone())),
                    _ => Ok(DefArg::Type(ty)),
                }
            }
        }
    }

    /// NumericOnly, if one is here.
    pub(super) fn opt_number(&mut self) -> PResult<Option<DefArg>> {
        let sign = matches!(self.kind(), Kind::Char(b'-' | b'+'));
        let number = if sign { self.kind_at(1) } else { self.kind() };
        if !matches!(number, Kind::Int | Kind::Float) {
            return Ok(None);
        }
        let negative = sign && self.bump().kind == Kind::Char(b'-');
        let tok = self.bump();
        let text = self.text(tok);
        Ok(Some(match (tok.kind, literal::integer(text)) {
            (Kind::Int, Some(n)) => DefArg::Integer(if negative { -n } else { n }),
            _ if negative => DefArg::Float(Arc::from(format!("-{}", literal::number(text)))),
            _ => DefArg::Float(literal::number(text)),
        }))
    }

    /// NumericOnly.
    pub(super) fn number(&mut self) -> PResult<DefArg> {
        match self.opt_number()? {
            Some(number) => Ok(number),
            None => {
                if matches!(self.kind(), Kind::Char(b'-' | b'+')) {
                    self.bump();
                }
                self.unexpected()
            }
        }
    }

    /// utility_option_list: `(name [value], ...)`, of EXPLAIN, VACUUM, ...
    pub(super) fn utility_options(&mut self) -> PResult<Vec<DefElem>> {
        self.paren_list(|p| {
            let pos = p.pos();
            let name = if p.eat_kw(Kw::Analyze) || p.eat_kw(Kw::Analyse) {
                Arc::from("analyze")
            } else {
                p.non_reserved_word()?
            };
            let arg = match p.kind() {
                Kind::Char(b',' | b')') => None,
                Kind::Int | Kind::Float | Kind::Char(b'-' | b'+') => Some(p.number()?),
                _ => Some(DefArg::String(p.boolean_or_string()?)),
            };
            Ok(DefElem { namespace: None, name, arg, action: DefAction::Unspecified, pos })
        })
    }

    /// copy_generic_opt_list: as [`Self::utility_options`], but any word may be an option, and `*`, DEFAULT and lists
    /// values.
    pub(super) fn copy_options(&mut self) -> PResult<Vec<DefElem>> {
        self.paren_list(|p| {
            let pos = p.pos();
            let name = p.col_label()?;
            let arg = p.opt_copy_arg()?;
            Ok(DefElem { namespace: None, name, arg, action: DefAction::Unspecified, pos })
        })
    }

    fn opt_copy_arg(&mut self) -> PResult<Option<DefArg>> {
        if let Some(number) = self.opt_number()? {
            return Ok(Some(number));
        }
        Ok(match self.kind() {
            Kind::Char(b'-' | b'+') => Some(self.number()?),
            Kind::Char(b',' | b')') => None,
            Kind::Char(b'*') => {
                self.bump();
                Some(DefArg::Star)
            }
            Kind::Char(b'(') => {
                let items = self.paren_list(|p| Ok(DefArg::String(p.boolean_or_string()?)))?;
                Some(DefArg::List(items))
            }
            Kind::Kw(Kw::Default) => Some(DefArg::String(self.take_name()?)),
            _ => Some(DefArg::String(self.boolean_or_string()?)),
        })
    }

    /// opt_boolean_or_string: TRUE, FALSE, ON, a word, a string.
    pub(super) fn boolean_or_string(&mut self) -> PResult<Name> {
        match self.kind() {
            Kind::Kw(Kw::True | Kw::False | Kw::On) => self.take_name(),
            _ => self.word_or_string(),
        }
    }

    /// create_generic_options: `[OPTIONS (name 'value', ...)]`.
    pub(super) fn opt_generic_options(&mut self) -> PResult<Vec<DefElem>> {
        if !self.at_kw(Kw::Options) || self.kind_at(1) != Kind::Char(b'(') {
            return Ok(Vec::new());
        }
        self.bump();
        self.paren_list(|p| p.generic_option(DefAction::Unspecified))
    }

    fn generic_option(&mut self, action: DefAction) -> PResult<DefElem> {
        let pos = self.pos();
        let name = self.col_label()?;
        let arg = if action == DefAction::Drop { None } else { Some(DefArg::String(self.string()?)) };
        Ok(DefElem { namespace: None, name, arg, action, pos })
    }

    /// alter_generic_options: `OPTIONS (ADD name 'value', SET ..., DROP name)`.
    pub(super) fn alter_generic_options(&mut self) -> PResult<Vec<DefElem>> {
        self.expect_kw(Kw::Options)?;
        self.paren_list(|p| {
            // SET, ADD and DROP may be names of options too: then a string follows.
            let action = match p.kind() {
                _ if Self::is_string(p.kind_at(1)) => DefAction::Unspecified,
                Kind::Kw(Kw::Set) => DefAction::Set,
                Kind::Kw(Kw::Add) => DefAction::Add,
                Kind::Kw(Kw::Drop) => DefAction::Drop,
                _ => DefAction::Unspecified,
            };
            if action != DefAction::Unspecified {
                p.bump();
            }
            p.generic_option(action)
        })
    }

    /// SeqOptList, possibly empty.
    pub(super) fn sequence_options(&mut self) -> PResult<Vec<DefElem>> {
        let mut options = Vec::new();
        while let Some(elem) = self.opt_sequence_option()? {
            options.push(elem);
        }
        Ok(options)
    }

    /// `(SeqOptList)`, if it is here.
    pub(super) fn opt_paren_sequence_options(&mut self) -> PResult<Vec<DefElem>> {
        if !self.eat_char(b'(') {
            return Ok(Vec::new());
        }
        let options = self.sequence_options()?;
        if options.is_empty() {
            return self.unexpected();
        }
        self.expect_char(b')')?;
        Ok(options)
    }

    /// SeqOptElem.
    pub(super) fn opt_sequence_option(&mut self) -> PResult<Option<DefElem>> {
        let pos = self.pos();
        let Kind::Kw(kw) = self.kind() else { return Ok(None) };
        Ok(Some(match kw {
            Kw::As => {
                self.bump();
                option("as", Some(DefArg::Type(self.type_name()?)), pos)
            }
            Kw::Cache => {
                self.bump();
                option("cache", Some(self.number()?), pos)
            }
            Kw::Cycle => {
                self.bump();
                flag("cycle", true, pos)
            }
            Kw::Increment => {
                self.bump();
                self.eat_kw(Kw::By);
                option("increment", Some(self.number()?), pos)
            }
            Kw::Logged | Kw::Unlogged => {
                self.bump();
                option(kw.text(), None, pos)
            }
            Kw::Maxvalue | Kw::Minvalue => {
                self.bump();
                option(kw.text(), Some(self.number()?), pos)
            }
            Kw::No => {
                let Kind::Kw(kw @ (Kw::Minvalue | Kw::Maxvalue | Kw::Cycle)) = self.kind_at(1) else {
                    self.bump();
                    return self.unexpected();
                };
                self.bump();
                self.bump();
                if kw == Kw::Cycle { flag("cycle", false, pos) } else { option(kw.text(), None, pos) }
            }
            Kw::Owned => {
                self.bump();
                self.expect_kw(Kw::By)?;
                option("owned_by", Some(DefArg::Names(self.any_name()?)), pos)
            }
            Kw::Sequence => {
                self.bump();
                self.expect_kw(Kw::Name)?;
                option("sequence_name", Some(DefArg::Names(self.any_name()?)), pos)
            }
            Kw::Start => {
                self.bump();
                self.eat_kw(Kw::With);
                option("start", Some(self.number()?), pos)
            }
            Kw::Restart => {
                self.bump();
                let with = self.eat_kw(Kw::With);
                let value = if with { Some(self.number()?) } else { self.opt_number()? };
                option("restart", value, pos)
            }
            _ => return Ok(None),
        }))
    }
}

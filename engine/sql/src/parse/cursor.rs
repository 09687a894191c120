//! The cursor over the tokens, and the names and lists that every part of the grammar is made of.
//!
//! The grammar decides by looking ahead, never by trying and going back: then the first token that fits nowhere is
//! the one PostgreSQL names in its syntax error, and the time is linear in the text.
//!
//! Two numbers keep hostile text from overflowing a stack. `depth` counts how deep the parser itself recurses; `height`
//! is that of the tree made so far, because `1+1+1+...` builds a deep tree without recursion, and who walks or drops
//! the tree recurses.

use std::sync::Arc;

use shardforge_types::SqlState;
use smallvec::smallvec;

use super::ast::{Name, Names, RangeVar, RoleSpec};
use super::error::{PResult, ParseError};
use super::keywords::{Category, Kw};
use super::lexer::{Kind, Lexed, Tok};
use super::literal;

/// How deep the parser may recurse. A level takes at most 1.6 KB of stack, of the 2 MB that threads have at least.
const DEPTH_MAX: u32 = 800;

/// How high a tree may grow. Whoever walks it recurses, so this bounds the binder's stack as well.
const HEIGHT_MAX: u32 = 1000;

/// The parser: a place among the tokens.
pub(super) struct Parser<'a> {
    pub(super) sql: &'a str,
    toks: &'a [Tok],
    at: usize,
    depth: u32,
    /// The height of what the innermost expression or query consists of so far.
    pub(super) height: u32,
    lex_error: Option<&'a ParseError>,
}

impl<'a> Parser<'a> {
    pub(super) fn new(sql: &'a str, lexed: &'a Lexed) -> Self {
        let lex_error = lexed.error.as_deref();
        Parser { sql, toks: &lexed.toks, at: 0, depth: 0, height: 0, lex_error }
    }

    /// The token here.
    pub(super) fn tok(&self) -> Tok {
        self.toks[self.at]
    }

    /// Its kind.
    pub(super) fn kind(&self) -> Kind {
        self.toks[self.at].kind
    }

    /// The kind of the token `n` further.
    pub(super) fn kind_at(&self, n: usize) -> Kind {
        self.toks.get(self.at + n).map_or(Kind::Eof, |t| t.kind)
    }

    /// The byte position of the token here.
    pub(super) fn pos(&self) -> u32 {
        self.toks[self.at].start
    }

    /// The byte position where the last token ended.
    pub(super) fn last_end(&self) -> u32 {
        self.at.checked_sub(1).map_or(0, |i| self.toks[i].end)
    }

    /// The source text of a token.
    pub(super) fn text(&self, tok: Tok) -> &'a str {
        &self.sql[tok.start as usize..tok.end as usize]
    }

    /// Go on; never past the end.
    pub(super) fn bump(&mut self) -> Tok {
        let tok = self.toks[self.at];
        if self.at + 1 < self.toks.len() {
            self.at += 1;
        }
        tok
    }

    /// `syntax error at or near` the token here.
    #[cold]
    pub(super) fn unexpected<T>(&self) -> PResult<T> {
        Err(self.unexpected_error())
    }

    #[cold]
    pub(super) fn unexpected_error(&self) -> Box<ParseError> {
        let tok = self.tok();
        match (tok.kind, self.lex_error) {
            (Kind::Bad, Some(error)) => Box::new(error.clone()),
            _ => ParseError::near("syntax error", self.sql, tok.start, tok.end),
        }
    }

    /// A syntax error at the first token that does not go on one of these sequences of words.
    #[cold]
    pub(super) fn unexpected_after<T>(&mut self, beginnings: &[&[Kw]]) -> PResult<T> {
        let matched =
            |words: &&&[Kw]| words.iter().enumerate().take_while(|(i, kw)| self.at_kw_n(*i, **kw)).count();
        let most = beginnings.iter().map(|words| matched(&words)).max().unwrap_or(0);
        for _ in 0..most {
            self.bump();
        }
        self.unexpected()
    }

    /// One level deeper.
    pub(super) fn enter(&mut self) -> PResult<()> {
        self.depth += 1;
        if self.depth > DEPTH_MAX { Err(self.too_deep()) } else { Ok(()) }
    }

    /// Back from [`Self::enter`].
    pub(super) fn leave(&mut self) {
        self.depth -= 1;
    }

    /// The tree became one level higher.
    pub(super) fn grow(&mut self) -> PResult<()> {
        self.height += 1;
        if self.height > HEIGHT_MAX { Err(self.too_deep()) } else { Ok(()) }
    }

    #[cold]
    fn too_deep(&self) -> Box<ParseError> {
        ParseError::new(SqlState::STATEMENT_TOO_COMPLEX, "stack depth limit exceeded", self.pos())
            .hint("Write the statement with less nesting, or in several statements.")
    }

    // Keywords and punctuation.

    pub(super) fn at_kw(&self, kw: Kw) -> bool {
        self.kind() == Kind::Kw(kw)
    }

    pub(super) fn at_kw_n(&self, n: usize, kw: Kw) -> bool {
        self.kind_at(n) == Kind::Kw(kw)
    }

    /// Whether the token here is this word, which is no keyword.
    pub(super) fn at_word(&self, word: &str) -> bool {
        self.at_word_n(0, word)
    }

    pub(super) fn at_word_n(&self, n: usize, word: &str) -> bool {
        let is_word = |tok: &Tok| tok.kind == Kind::Ident && self.text(*tok).eq_ignore_ascii_case(word);
        self.toks.get(self.at + n).is_some_and(is_word)
    }

    /// Whether these keywords stand here one after the other.
    pub(super) fn at_kws(&self, kws: &[Kw]) -> bool {
        kws.iter().enumerate().all(|(i, kw)| self.at_kw_n(i, *kw))
    }

    pub(super) fn eat_kw(&mut self, kw: Kw) -> bool {
        let hit = self.at_kw(kw);
        if hit {
            self.bump();
        }
        hit
    }

    /// Take these keywords if all of them are here.
    pub(super) fn eat_kws(&mut self, kws: &[Kw]) -> bool {
        let hit = self.at_kws(kws);
        if hit {
            for _ in kws {
                self.bump();
            }
        }
        hit
    }

    pub(super) fn expect_kw(&mut self, kw: Kw) -> PResult<Tok> {
        if self.at_kw(kw) { Ok(self.bump()) } else { self.unexpected() }
    }

    pub(super) fn expect_kws(&mut self, kws: &[Kw]) -> PResult<()> {
        kws.iter().try_for_each(|kw| self.expect_kw(*kw).map(|_| ()))
    }

    pub(super) fn at_char(&self, c: u8) -> bool {
        self.kind() == Kind::Char(c)
    }

    pub(super) fn eat_char(&mut self, c: u8) -> bool {
        let hit = self.at_char(c);
        if hit {
            self.bump();
        }
        hit
    }

    pub(super) fn expect_char(&mut self, c: u8) -> PResult<Tok> {
        if self.at_char(c) { Ok(self.bump()) } else { self.unexpected() }
    }

    // Lists.

    /// `item, item, ...`, at least one.
    pub(super) fn list<T>(&mut self, mut item: impl FnMut(&mut Self) -> PResult<T>) -> PResult<Vec<T>> {
        let mut items = vec![item(self)?];
        while self.eat_char(b',') {
            items.push(item(self)?);
        }
        Ok(items)
    }

    /// `(item, item, ...)`, at least one.
    pub(super) fn paren_list<T>(&mut self, item: impl FnMut(&mut Self) -> PResult<T>) -> PResult<Vec<T>> {
        self.expect_char(b'(')?;
        let items = self.list(item)?;
        self.expect_char(b')')?;
        Ok(items)
    }

    // Names.

    /// Whether a token of this kind is an identifier or a keyword of one of the categories.
    fn is_name(kind: Kind, col_name: bool, type_func: bool, reserved: bool) -> bool {
        match kind {
            Kind::Ident | Kind::QuotedIdent | Kind::UnicodeIdent => true,
            Kind::Kw(kw) => match kw.category() {
                Category::Unreserved => true,
                Category::ColName => col_name,
                Category::TypeFuncName => type_func,
                Category::Reserved => reserved,
            },
            _ => false,
        }
    }

    /// Whether it may name a column, a table, most objects.
    pub(super) fn is_col_id(kind: Kind) -> bool {
        Self::is_name(kind, true, false, false)
    }

    /// Whether it may name a function or a type.
    pub(super) fn is_type_function_name(kind: Kind) -> bool {
        Self::is_name(kind, false, true, false)
    }

    /// Whether it may be a label after AS, or after a dot.
    pub(super) fn is_col_label(kind: Kind) -> bool {
        Self::is_name(kind, true, true, true)
    }

    /// Whether it may be a label without AS.
    pub(super) fn is_bare_label(kind: Kind) -> bool {
        match kind {
            Kind::Kw(kw) => kw.is_bare_label(),
            _ => Self::is_col_label(kind),
        }
    }

    pub(super) fn at_col_id(&self) -> bool {
        Self::is_col_id(self.kind())
    }

    /// The name that the token here is; it must be one.
    pub(super) fn take_name(&mut self) -> PResult<Name> {
        let tok = self.bump();
        match tok.kind {
            Kind::Kw(kw) => Ok(Arc::from(kw.text())),
            Kind::QuotedIdent => Ok(literal::quoted_identifier(self.text(tok))),
            Kind::UnicodeIdent => {
                let escape = self.uescape()?;
                literal::unicode(self.text(tok), escape, tok.start)
            }
            _ => Ok(literal::identifier(self.text(tok))),
        }
    }

    /// ColId.
    pub(super) fn col_id(&mut self) -> PResult<Name> {
        if self.at_col_id() { self.take_name() } else { self.unexpected() }
    }

    /// ColLabel.
    pub(super) fn col_label(&mut self) -> PResult<Name> {
        if Self::is_col_label(self.kind()) { self.take_name() } else { self.unexpected() }
    }

    /// type_function_name.
    pub(super) fn type_function_name(&mut self) -> PResult<Name> {
        if Self::is_type_function_name(self.kind()) { self.take_name() } else { self.unexpected() }
    }

    /// NonReservedWord.
    pub(super) fn non_reserved_word(&mut self) -> PResult<Name> {
        if Self::is_name(self.kind(), true, true, false) { self.take_name() } else { self.unexpected() }
    }

    /// NonReservedWord or a string.
    pub(super) fn word_or_string(&mut self) -> PResult<Name> {
        if self.at_string() { self.string() } else { self.non_reserved_word() }
    }

    /// `(name, name, ...)`.
    pub(super) fn name_list_in_parens(&mut self) -> PResult<Vec<Name>> {
        self.paren_list(Self::col_id)
    }

    /// `[(name, name, ...)]`.
    pub(super) fn opt_name_list(&mut self) -> PResult<Vec<Name>> {
        if self.at_char(b'(') { self.name_list_in_parens() } else { Ok(Vec::new()) }
    }

    /// any_name: `a`, `a.b`, `a.b.c`.
    pub(super) fn any_name(&mut self) -> PResult<Names> {
        let first = self.col_id()?;
        self.attrs(first)
    }

    /// The `.b.c` after a first name.
    pub(super) fn attrs(&mut self, first: Name) -> PResult<Names> {
        let mut names: Names = smallvec![first];
        while self.eat_char(b'.') {
            names.push(self.col_label()?);
        }
        Ok(names)
    }

    /// func_name: a function's possibly qualified name.
    pub(super) fn func_name(&mut self) -> PResult<Names> {
        let kind = self.kind();
        let qualified = self.kind_at(1) == Kind::Char(b'.');
        let ok = if qualified { Self::is_col_id(kind) } else { Self::is_type_function_name(kind) };
        if !ok {
            return self.unexpected();
        }
        let first = self.take_name()?;
        self.attrs(first)
    }

    /// qualified_name.
    pub(super) fn qualified_name(&mut self) -> PResult<RangeVar> {
        let pos = self.pos();
        let names = self.any_name()?;
        range_var(&names, pos)
    }

    /// RoleSpec.
    pub(super) fn role_spec(&mut self) -> PResult<RoleSpec> {
        let tok = self.tok();
        let role = match tok.kind {
            Kind::Kw(Kw::CurrentRole) => RoleSpec::CurrentRole,
            Kind::Kw(Kw::CurrentUser) => RoleSpec::CurrentUser,
            Kind::Kw(Kw::SessionUser) => RoleSpec::SessionUser,
            _ => {
                let name = self.non_reserved_word()?;
                return match &*name {
                    "public" => Ok(RoleSpec::Public),
                    "none" => Err(ParseError::new(
                        SqlState::RESERVED_NAME,
                        "role name \"none\" is reserved",
                        tok.start,
                    )),
                    _ => Ok(RoleSpec::Name(name)),
                };
            }
        };
        self.bump();
        Ok(role)
    }

    /// RoleId: a role that is named, not PUBLIC nor CURRENT_USER.
    pub(super) fn role_id(&mut self) -> PResult<Name> {
        let pos = self.pos();
        let refused = |message: String| Err(ParseError::new(SqlState::RESERVED_NAME, message, pos));
        match self.role_spec()? {
            RoleSpec::Name(name) => Ok(name),
            RoleSpec::Public => refused("role name \"public\" is reserved".into()),
            RoleSpec::SessionUser => refused("SESSION_USER cannot be used as a role name here".into()),
            RoleSpec::CurrentUser => refused("CURRENT_USER cannot be used as a role name here".into()),
            RoleSpec::CurrentRole => refused("CURRENT_ROLE cannot be used as a role name here".into()),
        }
    }

    // Literals.

    /// Whether a string constant is here, of any kind that is a plain string to the grammar.
    pub(super) fn at_string(&self) -> bool {
        Self::is_string(self.kind())
    }

    pub(super) fn is_string(kind: Kind) -> bool {
        matches!(kind, Kind::Str | Kind::EscapeStr | Kind::UnicodeStr | Kind::DollarStr)
    }

    /// Sconst.
    pub(super) fn string(&mut self) -> PResult<Name> {
        let tok = self.tok();
        let text = self.text(tok);
        match tok.kind {
            Kind::Str => {
                self.bump();
                Ok(literal::string(text))
            }
            Kind::DollarStr => {
                self.bump();
                Ok(literal::dollar(text))
            }
            Kind::EscapeStr => {
                self.bump();
                literal::escape_string(text, tok.start)
            }
            Kind::UnicodeStr => {
                self.bump();
                let escape = self.uescape()?;
                literal::unicode(text, escape, tok.start)
            }
            _ => self.unexpected(),
        }
    }

    /// `[UESCAPE 'c']`.
    fn uescape(&mut self) -> PResult<char> {
        if !self.eat_kw(Kw::Uescape) {
            return Ok('\\');
        }
        let tok = self.tok();
        if tok.kind != Kind::Str {
            return Err(ParseError::near(
                "UESCAPE must be followed by a simple string literal",
                self.sql,
                tok.start,
                tok.end,
            ));
        }
        self.bump();
        let value = literal::string(self.text(tok));
        let mut chars = value.chars();
        match (chars.next(), chars.next()) {
            (Some(c), None)
                if c.is_ascii()
                    && !c.is_ascii_hexdigit()
                    && !matches!(c, '+' | '\'' | '"' | ' ' | '\t' | '\n' | '\r' | '\x0B' | '\x0C') =>
            {
                Ok(c)
            }
            _ => Err(ParseError::near("invalid Unicode escape character", self.sql, tok.start, tok.end)),
        }
    }

    /// Iconst.
    pub(super) fn int(&mut self) -> PResult<i32> {
        let tok = self.tok();
        match (tok.kind, literal::integer(self.text(tok))) {
            (Kind::Int, Some(value)) => {
                self.bump();
                Ok(value)
            }
            _ => self.unexpected(),
        }
    }

    /// SignedIconst.
    pub(super) fn signed_int(&mut self) -> PResult<i32> {
        if self.eat_char(b'-') {
            return Ok(-self.int()?);
        }
        self.eat_char(b'+');
        self.int()
    }
}

/// A name of one to three parts as a table's.
pub(super) fn range_var(names: &Names, pos: u32) -> PResult<RangeVar> {
    let (catalog, schema, name) = match names.as_slice() {
        [name] => (None, None, name),
        [schema, name] => (None, Some(schema), name),
        [catalog, schema, name] => (Some(catalog), Some(schema), name),
        _ => {
            let message = format!("improper qualified name (too many dotted names): {}", names.join("."));
            return Err(ParseError::syntax(message, pos));
        }
    };
    Ok(RangeVar {
        catalog: catalog.cloned(),
        schema: schema.cloned(),
        name: name.clone(),
        inherit: true,
        persistence: Default::default(),
        alias: None,
        pos,
    })
}

/// A name in pg_catalog.
pub(super) fn system_name(name: &str) -> Names {
    smallvec![Arc::from("pg_catalog"), Arc::from(name)]
}

//! PostgreSQL's advanced regular expressions in the notation of the `regex` crate.
//!
//! The two notations agree on most of what is written; the rest is rewritten here: the word boundaries `\m \M \y \Y`,
//! `\A \Z`, numeric escapes, brackets (where `[` is a literal and `&&` no operator), `{` that starts no bound, the
//! directors `***=` and `***:`, and embedded options. Character classes are those of the C.UTF-8 locale.
//!
//! What a finite automaton cannot do, back references and lookaround, is answered with 0A000. PostgreSQL prefers the
//! longest of alternative matches where this engine prefers the first written; whether there is a match is the same.

use shardforge_types::{PgError, PgResult, SqlState};

/// How a pattern is read and matched.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Options {
    /// `i`: ignore case.
    pub ignore_case: bool,
    /// `x`: blanks and comments do not count.
    pub expanded: bool,
    /// `q`: the pattern is a literal.
    pub literal: bool,
    /// `.` and negated brackets do not match newlines (`n`, `p`).
    pub newline_stops: bool,
    /// `^` and `$` match at newlines (`n`, `w`).
    pub newline_anchors: bool,
    /// `g`: all matches.
    pub global: bool,
}

impl Options {
    /// Reads the flags argument of the regexp functions.
    pub(super) fn parse(flags: &str) -> PgResult<Options> {
        let mut options = Options::default();
        for flag in flags.chars() {
            if flag == 'g' {
                options.global = true;
            } else if !options.set(flag) {
                let message = format!("invalid regular expression option: \"{flag}\"");
                return Err(PgError::new(SqlState::INVALID_PARAMETER_VALUE, message));
            }
        }
        Ok(options)
    }

    fn set(&mut self, flag: char) -> bool {
        match flag {
            'i' => self.ignore_case = true,
            'c' => self.ignore_case = false,
            'm' | 'n' => (self.newline_stops, self.newline_anchors) = (true, true),
            'p' => (self.newline_stops, self.newline_anchors) = (true, false),
            'w' => (self.newline_stops, self.newline_anchors) = (false, true),
            's' => (self.newline_stops, self.newline_anchors) = (false, false),
            'x' => self.expanded = true,
            't' => self.expanded = false,
            'q' => self.literal = true,
            'b' | 'e' => {}
            _ => return false,
        }
        true
    }
}

/// 2201B.
#[cold]
pub(super) fn invalid(reason: &str) -> PgError {
    PgError::new(SqlState::INVALID_REGULAR_EXPRESSION, format!("invalid regular expression: {reason}"))
}

#[cold]
fn unsupported(what: &str) -> PgError {
    PgError::not_supported(format!("{what} in regular expressions are not supported yet"))
        .hint("Matching runs in linear time, without backtracking.")
}

/// The pattern for the `regex` crate, and the options after the pattern's own embedded ones.
pub(super) fn translate(pattern: &str, mut options: Options) -> PgResult<(String, Options)> {
    let mut pattern = pattern;
    if let Some(literal) = pattern.strip_prefix("***=") {
        return Ok((::regex::escape(literal), options));
    }
    if let Some(rest) = pattern.strip_prefix("***:") {
        pattern = rest;
    } else if pattern.starts_with("***") {
        return Err(invalid("quantifier operand invalid"));
    }
    if options.literal {
        return Ok((::regex::escape(pattern), options));
    }
    if let Some(rest) = pattern.strip_prefix("(?")
        && rest.starts_with(|c: char| c.is_ascii_alphabetic())
    {
        let end = rest.find(')').ok_or_else(|| invalid("invalid embedded option"))?;
        if !rest[..end].chars().all(|flag| options.set(flag)) {
            return Err(invalid("invalid embedded option"));
        }
        pattern = &rest[end + 1..];
        if options.literal {
            return Ok((::regex::escape(pattern), options));
        }
    }
    let mut translator = Translator {
        chars: pattern.chars().collect(),
        at: 0,
        out: String::with_capacity(pattern.len() + 16),
        options,
    };
    translator.run()?;
    Ok((translator.out, options))
}

struct Translator {
    chars: Vec<char>,
    at: usize,
    out: String,
    options: Options,
}

const DIGIT: &str = "0-9";
const WORD: &str = r"\p{Alphabetic}\p{M}0-9_";
const SPACE: &str = r"\s";

impl Translator {
    fn peek(&self, ahead: usize) -> Option<char> {
        self.chars.get(self.at + ahead).copied()
    }

    fn next(&mut self) -> Option<char> {
        let c = self.peek(0)?;
        self.at += 1;
        Some(c)
    }

    fn run(&mut self) -> PgResult<()> {
        let mut depth = 0usize;
        // Whether something stands before that a quantifier may apply to.
        let mut quantifiable = false;
        while let Some(c) = self.next() {
            match c {
                '\\' => {
                    quantifiable = self.escape()?;
                    continue;
                }
                '[' => self.bracket()?,
                '(' => {
                    depth += 1;
                    self.group(&mut depth)?;
                    quantifiable = false;
                    continue;
                }
                ')' => {
                    depth = depth.checked_sub(1).ok_or_else(|| invalid("parentheses () not balanced"))?;
                    self.out.push(')');
                }
                '*' | '+' | '?' => {
                    if !quantifiable {
                        return Err(invalid("quantifier operand invalid"));
                    }
                    self.out.push(c);
                    self.lazy();
                    quantifiable = false;
                    continue;
                }
                '{' if self.peek(0).is_some_and(|c| c.is_ascii_digit()) => {
                    if !quantifiable {
                        return Err(invalid("quantifier operand invalid"));
                    }
                    self.bound()?;
                    self.lazy();
                    quantifiable = false;
                    continue;
                }
                '^' | '|' => {
                    self.out.push(c);
                    quantifiable = false;
                    continue;
                }
                '$' => {
                    self.out.push('$');
                    quantifiable = false;
                    continue;
                }
                '.' => self.out.push('.'),
                c if self.options.expanded && (c.is_whitespace() || c == '#') => {
                    if c == '#' {
                        while self.next().is_some_and(|c| c != '\n') {}
                    }
                    continue;
                }
                c => push_literal(&mut self.out, c),
            }
            quantifiable = true;
        }
        if depth > 0 {
            return Err(invalid("parentheses () not balanced"));
        }
        Ok(())
    }

    /// A `?` behind a quantifier makes it prefer few.
    fn lazy(&mut self) {
        if self.peek(0) == Some('?') {
            self.at += 1;
            self.out.push('?');
        }
    }

    fn group(&mut self, depth: &mut usize) -> PgResult<()> {
        if self.peek(0) != Some('?') {
            self.out.push('(');
            return Ok(());
        }
        match (self.peek(1), self.peek(2)) {
            (Some(':'), _) => {
                self.at += 2;
                self.out.push_str("(?:");
            }
            (Some('#'), _) => {
                while self.next().is_some_and(|c| c != ')') {}
                *depth -= 1;
            }
            (Some('=' | '!'), _) | (Some('<'), Some('=' | '!')) => {
                return Err(unsupported("lookaround constraints"));
            }
            _ => return Err(invalid("quantifier operand invalid")),
        }
        Ok(())
    }

    fn number(&mut self) -> Option<u32> {
        let start = self.at;
        while self.peek(0).is_some_and(|c| c.is_ascii_digit()) {
            self.at += 1;
        }
        self.chars[start..self.at].iter().collect::<String>().parse().ok()
    }

    /// `{m}`, `{m,}`, `{m,n}`, each number up to 255.
    fn bound(&mut self) -> PgResult<()> {
        const REPETITIONS_MAX: u32 = 255;
        let wrong = || invalid("invalid repetition count(s)");
        let min = self.number().filter(|min| *min <= REPETITIONS_MAX).ok_or_else(wrong)?;
        let mut bound = format!("{{{min}");
        if self.peek(0) == Some(',') {
            self.at += 1;
            bound.push(',');
            if self.peek(0).is_some_and(|c| c.is_ascii_digit()) {
                let max =
                    self.number().filter(|max| *max <= REPETITIONS_MAX && *max >= min).ok_or_else(wrong)?;
                bound.push_str(&max.to_string());
            }
        }
        match self.next() {
            Some('}') => bound.push('}'),
            Some(_) => return Err(wrong()),
            None => return Err(invalid("braces {} not balanced")),
        }
        self.out.push_str(&bound);
        Ok(())
    }

    /// An escape outside brackets; whether it is an atom (rather than a constraint).
    fn escape(&mut self) -> PgResult<bool> {
        let Some(c) = self.next() else { return Err(invalid("invalid escape \\ sequence")) };
        match c {
            'd' => self.out.push_str(&format!("[{DIGIT}]")),
            'D' => self.out.push_str(&format!("[^{DIGIT}]")),
            'w' => self.out.push_str(&format!("[{WORD}]")),
            'W' => self.out.push_str(&format!("[^{WORD}]")),
            's' => self.out.push_str(SPACE),
            'S' => self.out.push_str(r"\S"),
            'A' | 'Z' | 'm' | 'M' | 'y' | 'Y' => {
                self.out.push_str(match c {
                    'A' => r"\A",
                    'Z' => r"\z",
                    'm' => r"\b{start}",
                    'M' => r"\b{end}",
                    'y' => r"\b",
                    _ => r"\B",
                });
                return Ok(false);
            }
            '1'..='9' => return Err(unsupported("back references")),
            c => {
                let literal = self.literal_escape(c)?;
                push_literal(&mut self.out, literal);
            }
        }
        Ok(true)
    }

    /// An escape that stands for one character, in and outside brackets.
    fn literal_escape(&mut self, c: char) -> PgResult<char> {
        let wrong = || invalid("invalid escape \\ sequence");
        Ok(match c {
            'a' => '\u{7}',
            'b' => '\u{8}',
            'B' => '\\',
            'e' => '\u{1B}',
            'f' => '\u{C}',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'v' => '\u{B}',
            '0' => '\0',
            'c' => char::from((self.next().ok_or_else(wrong)? as u32 & 31) as u8),
            'u' => self.hex(4).ok_or_else(wrong)?,
            'U' => self.hex(8).ok_or_else(wrong)?,
            'x' => {
                let digits =
                    (0..).take_while(|i| self.peek(*i).is_some_and(|c| c.is_ascii_hexdigit())).count();
                self.hex(digits).ok_or_else(wrong)?
            }
            c if c.is_ascii_alphanumeric() => return Err(wrong()),
            c => c,
        })
    }

    fn hex(&mut self, digits: usize) -> Option<char> {
        let text: String = self.chars.get(self.at..self.at + digits)?.iter().collect();
        self.at += digits;
        char::from_u32(u32::from_str_radix(&text, 16).ok()?)
    }

    /// `[...]`.
    fn bracket(&mut self) -> PgResult<()> {
        // The word boundaries of old: [[:<:]] and [[:>:]].
        let ahead: String = self.chars[self.at..].iter().take(6).collect();
        if ahead == "[:<:]]" || ahead == "[:>:]]" {
            self.at += 6;
            self.out.push_str(if ahead == "[:<:]]" { r"\b{start}" } else { r"\b{end}" });
            return Ok(());
        }
        let mut class = String::from("[");
        if self.peek(0) == Some('^') {
            self.at += 1;
            class.push('^');
            if self.options.newline_stops {
                class.push_str(r"\n");
            }
        }
        let mut first = true;
        loop {
            let c = self.next().ok_or_else(|| invalid("brackets [] not balanced"))?;
            match c {
                ']' if !first => break,
                '[' if matches!(self.peek(0), Some(':' | '.' | '=')) => self.named_class(&mut class)?,
                '\\' => self.bracket_escape(&mut class)?,
                c => self.bracket_range(c, &mut class)?,
            }
            first = false;
        }
        class.push(']');
        self.out.push_str(&class);
        Ok(())
    }

    fn bracket_escape(&mut self, class: &mut String) -> PgResult<()> {
        let Some(c) = self.next() else { return Err(invalid("invalid escape \\ sequence")) };
        match c {
            'd' => class.push_str(DIGIT),
            'w' => class.push_str(WORD),
            's' => class.push_str(SPACE),
            'D' | 'W' | 'S' => return Err(invalid("invalid escape \\ sequence")),
            c => {
                let literal = self.literal_escape(c)?;
                self.bracket_range(literal, class)?;
            }
        }
        Ok(())
    }

    /// A character, or a range from it.
    fn bracket_range(&mut self, start: char, class: &mut String) -> PgResult<()> {
        push_class_literal(class, start);
        let is_range = self.peek(0) == Some('-') && self.peek(1).is_some_and(|c| c != ']');
        if !is_range {
            return Ok(());
        }
        self.at += 1;
        let end = match self.next() {
            Some('\\') => {
                let c = self.next().ok_or_else(|| invalid("invalid escape \\ sequence"))?;
                self.literal_escape(c)?
            }
            Some('[') if matches!(self.peek(0), Some('.')) => {
                let end = self.peek(1).ok_or_else(|| invalid("invalid collating element"))?;
                self.at += 4;
                end
            }
            Some(c) => c,
            None => return Err(invalid("brackets [] not balanced")),
        };
        if end < start {
            return Err(invalid("invalid character range"));
        }
        class.push('-');
        push_class_literal(class, end);
        Ok(())
    }

    /// `[:name:]`, `[.c.]` or `[=c=]` within brackets; the outer `[` has been read.
    fn named_class(&mut self, class: &mut String) -> PgResult<()> {
        let kind = self.next().unwrap_or(':');
        let rest = &self.chars[self.at..];
        let end = rest.windows(2).position(|pair| pair == [kind, ']']);
        let Some(end) = end else { return Err(invalid("brackets [] not balanced")) };
        let name: String = rest[..end].iter().collect();
        self.at += end + 2;
        if kind != ':' {
            let mut chars = name.chars();
            return match (chars.next(), chars.next()) {
                (Some(c), None) => self.bracket_range(c, class),
                _ => Err(invalid("invalid collating element")),
            };
        }
        class.push_str(match name.as_str() {
            "alpha" => r"\p{Alphabetic}",
            "digit" => DIGIT,
            "alnum" => r"\p{Alphabetic}0-9",
            "upper" => r"\p{Uppercase}",
            "lower" => r"\p{Lowercase}",
            "space" => SPACE,
            "blank" => r"\t\p{Zs}",
            "punct" => r"\p{P}!-/:-@\[-`\{-~",
            "cntrl" => r"\p{Cc}",
            "xdigit" => "0-9A-Fa-f",
            "print" => r"\PC\p{Zs}",
            "graph" => r"\p{L}\p{M}\p{N}\p{P}\p{S}",
            "word" => WORD,
            "ascii" => r"\x00-\x7F",
            _ => return Err(invalid("invalid character class")),
        });
        Ok(())
    }
}

fn push_literal(out: &mut String, c: char) {
    if r"\.+*?()|[]{}^$#&-~ ".contains(c) {
        out.push('\\');
    }
    out.push(c);
}

fn push_class_literal(class: &mut String, c: char) {
    if matches!(c, '[' | ']' | '^' | '-' | '&' | '~' | '\\') {
        class.push('\\');
    }
    class.push(c);
}

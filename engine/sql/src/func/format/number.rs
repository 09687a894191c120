//! `to_number`: the digits, the point and the sign of a text where a template has them.
//!
//! Templates that do not make sense are errors, with PostgreSQL's words.

use shardforge_types::{Numeric, PgError, PgResult, SqlState};

/// One element of a template.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Element {
    Nine,
    Zero,
    Point,
    Comma,
    Currency,
    Minus,
    Plus,
    Sign,
    Roman,
    Ordinal,
    Literal,
}

/// A template of `to_number`.
#[derive(Clone, Debug, Default)]
struct Template {
    elements: Vec<Element>,
    /// Digits that `V` shifts the point by.
    shift: usize,
    has_point: bool,
    has_shift: bool,
    fill: bool,
    /// `S`.
    anchored: bool,
    minus: bool,
    plus: bool,
    brackets: bool,
    roman: bool,
    exponent: bool,
}

#[cold]
fn malformed(message: impl Into<String>) -> PgError {
    PgError::new(SqlState::SYNTAX_ERROR, message)
}

/// What may follow in a template, longest first.
const WORDS: &[&str] = &["EEEE", "FM", "MI", "PL", "PR", "RN", "SG", "TH", "B", "D", "G", "L", "S", "V"];

impl Template {
    /// Reads a template.
    fn parse(text: &str) -> PgResult<Template> {
        let mut template = Template::default();
        let mut rest = text;
        while let Some(c) = rest.chars().next() {
            let word = WORDS.iter().find(|word| {
                let head = rest.get(..word.len());
                head.is_some_and(|head| head == **word || head == word.to_ascii_lowercase())
            });
            if let Some(word) = word {
                template.word(word)?;
                rest = &rest[word.len()..];
                continue;
            }
            rest = &rest[c.len_utf8()..];
            match c {
                '9' | '0' => template.digit(c == '0')?,
                '.' => template.point()?,
                ',' => {
                    template.not_after_exponent()?;
                    template.elements.push(Element::Comma);
                }
                '"' => rest = template.quoted(rest),
                '\\' if rest.starts_with('"') => {
                    template.elements.push(Element::Literal);
                    rest = &rest[1..];
                }
                _ => template.elements.push(Element::Literal),
            }
        }
        Ok(template)
    }

    /// Literal text up to the closing quote; a backslash takes the next character as it is.
    fn quoted<'a>(&mut self, text: &'a str) -> &'a str {
        let mut chars = text.chars();
        while let Some(c) = chars.next() {
            match c {
                '"' => break,
                '\\' => self.elements.extend(chars.next().map(|_| Element::Literal)),
                _ => self.elements.push(Element::Literal),
            }
        }
        chars.as_str()
    }

    fn not_after_exponent(&self) -> PgResult<()> {
        if self.exponent { Err(malformed("\"EEEE\" must be the last pattern used")) } else { Ok(()) }
    }

    fn digit(&mut self, zero: bool) -> PgResult<()> {
        self.not_after_exponent()?;
        if self.brackets {
            return Err(malformed(format!("\"{}\" must be ahead of \"PR\"", if zero { '0' } else { '9' })));
        }
        if self.has_shift && !zero {
            self.shift += 1;
        }
        self.elements.push(if zero { Element::Zero } else { Element::Nine });
        Ok(())
    }

    fn point(&mut self) -> PgResult<()> {
        self.not_after_exponent()?;
        if self.has_point {
            return Err(malformed("multiple decimal points"));
        }
        if self.has_shift {
            return Err(malformed("cannot use \"V\" and decimal point together"));
        }
        self.has_point = true;
        self.elements.push(Element::Point);
        Ok(())
    }

    fn word(&mut self, word: &str) -> PgResult<()> {
        if word != "EEEE" {
            self.not_after_exponent()?;
        }
        let with_sign = |other: &str| malformed(format!("cannot use \"S\" and \"{other}\" together"));
        match word {
            "D" => return self.point(),
            "G" => self.elements.push(Element::Comma),
            "L" => self.elements.push(Element::Currency),
            "FM" => self.fill = true,
            "B" => {}
            "S" => {
                if self.anchored {
                    return Err(malformed("cannot use \"S\" twice"));
                }
                if self.plus || self.minus || self.brackets {
                    return Err(with_sign("PL\"/\"MI\"/\"SG\"/\"PR"));
                }
                self.anchored = true;
                self.elements.push(Element::Sign);
            }
            "MI" | "PL" | "SG" => {
                if self.anchored {
                    return Err(with_sign(word));
                }
                self.minus |= word != "PL";
                self.plus |= word != "MI";
                self.elements.push(match word {
                    "MI" => Element::Minus,
                    "PL" => Element::Plus,
                    _ => Element::Sign,
                });
            }
            "PR" => {
                if self.anchored || self.plus || self.minus {
                    return Err(malformed("cannot use \"PR\" and \"S\"/\"PL\"/\"MI\"/\"SG\" together"));
                }
                self.brackets = true;
            }
            "RN" => {
                self.roman = true;
                self.elements.push(Element::Roman);
            }
            "TH" => self.elements.push(Element::Ordinal),
            "V" => {
                if self.has_point {
                    return Err(malformed("cannot use \"V\" and decimal point together"));
                }
                self.has_shift = true;
            }
            _ => {
                if self.exponent {
                    return Err(malformed("cannot use \"EEEE\" twice"));
                }
                let alone = !self.fill && !self.anchored && !self.brackets;
                if !alone || self.minus || self.plus || self.roman || self.has_shift {
                    return Err(malformed("\"EEEE\" is incompatible with other formats").detail(
                        "\"EEEE\" may only be used together with digit and decimal point patterns.",
                    ));
                }
                self.exponent = true;
            }
        }
        Ok(())
    }
}

/// `to_number(text, template)`: the digits, the point and the sign of the text where the template has them.
pub(super) fn to_number(text: &str, template: &str) -> PgResult<Numeric> {
    let template = Template::parse(template)?;
    if template.exponent {
        return Err(PgError::not_supported("\"EEEE\" not supported for input"));
    }
    if template.roman {
        return Err(
            PgError::not_supported("\"RN\" is not supported for input yet").hint("Use decimal digits.")
        );
    }
    let mut number = String::new();
    let (mut digits, mut negative) = (0usize, false);
    let mut rest = text.trim_start().chars().peekable();
    let mut take_sign = |rest: &mut std::iter::Peekable<std::str::Chars<'_>>| {
        while let Some(c) = rest.peek().copied().filter(|c| matches!(c, '-' | '+' | '<' | ' ')) {
            negative |= matches!(c, '-' | '<');
            rest.next();
        }
    };
    take_sign(&mut rest);
    for element in &template.elements {
        match element {
            Element::Nine | Element::Zero => {
                if digits == 0 {
                    take_sign(&mut rest);
                }
                if let Some(c) = rest.peek().copied().filter(char::is_ascii_digit) {
                    number.push(c);
                    digits += 1;
                    rest.next();
                }
            }
            Element::Point => {
                if rest.next_if_eq(&'.').is_some() {
                    number.push('.');
                }
            }
            Element::Comma => {
                rest.next_if_eq(&',');
            }
            Element::Minus | Element::Plus | Element::Sign => take_sign(&mut rest),
            Element::Ordinal => {
                rest.next_if(char::is_ascii_alphabetic);
                rest.next_if(char::is_ascii_alphabetic);
            }
            Element::Currency | Element::Literal => {
                rest.next_if(|c| !c.is_ascii_digit() && !matches!(c, '+' | '-' | '.' | ','));
            }
            Element::Roman => {}
        }
    }
    take_sign(&mut rest);
    if digits == 0 {
        let message =
            format!("invalid input syntax for type numeric: \"{}\"", if text.is_empty() { "" } else { " " });
        return Err(PgError::new(SqlState::INVALID_TEXT_REPRESENTATION, message));
    }
    let value = Numeric::parse(&number)?;
    let value = if negative { value.neg() } else { value };
    if template.shift > 0 {
        return value.div(&Numeric::from(10i64).pow(&Numeric::from(template.shift as i64))?);
    }
    Ok(value)
}

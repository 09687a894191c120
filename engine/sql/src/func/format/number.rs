//! `to_char` of numbers and `to_number`.
//!
//! A template is read into a [`Template`]: its elements in order, and what they say together (digits before and after
//! the point, where zeros begin, which sign). The number, already rounded, is then poured into the elements digit by
//! digit. Templates that do not make sense are errors, with PostgreSQL's words.

use shardforge_types::{Numeric, PgError, PgResult, SqlState};

/// One element of a template.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Element {
    Nine,
    Zero,
    Point,
    Comma,
    Currency,
    Minus,
    Plus,
    Sign,
    Roman { upper: bool },
    Ordinal { upper: bool },
    Literal(char),
}

/// Where `S` puts the sign.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Anchor {
    None,
    Before,
    After,
}

/// A template of `to_char(number, ...)`.
#[derive(Clone, Debug)]
pub(super) struct Template {
    elements: Vec<Element>,
    /// Digit positions before the point.
    pre: usize,
    /// Digit positions behind the point.
    pub(super) post: usize,
    /// Digits that `V` shifts the point by.
    pub(super) shift: usize,
    /// The first position, from 0, that is filled with zeros.
    zero_start: Option<usize>,
    /// One past the last `0`.
    zero_end: usize,
    anchor: Anchor,
    pre_at_anchor: usize,
    has_point: bool,
    has_shift: bool,
    fill: bool,
    minus: bool,
    plus: bool,
    brackets: bool,
    pub(super) roman: bool,
    pub(super) exponent: bool,
}

#[cold]
fn malformed(message: impl Into<String>) -> PgError {
    PgError::new(SqlState::SYNTAX_ERROR, message)
}

/// What may follow in a template, longest first.
const WORDS: &[&str] = &["EEEE", "FM", "MI", "PL", "PR", "RN", "SG", "TH", "B", "D", "G", "L", "S", "V"];

impl Template {
    /// Reads a template.
    pub(super) fn parse(text: &str) -> PgResult<Template> {
        let mut template = Template {
            elements: Vec::new(),
            pre: 0,
            post: 0,
            shift: 0,
            zero_start: None,
            zero_end: 0,
            anchor: Anchor::None,
            pre_at_anchor: 0,
            has_point: false,
            has_shift: false,
            fill: false,
            minus: false,
            plus: false,
            brackets: false,
            roman: false,
            exponent: false,
        };
        let mut rest = text;
        while let Some(c) = rest.chars().next() {
            let word = WORDS.iter().find(|word| {
                let head = rest.get(..word.len());
                head.is_some_and(|head| head == **word || head == word.to_ascii_lowercase())
            });
            if let Some(word) = word {
                template.word(word, c.is_ascii_uppercase())?;
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
                    template.elements.push(Element::Literal('"'));
                    rest = &rest[1..];
                }
                c => template.elements.push(Element::Literal(c)),
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
                '\\' => self.elements.extend(chars.next().map(Element::Literal)),
                c => self.elements.push(Element::Literal(c)),
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
        } else if self.has_point {
            self.post += 1;
        } else {
            if zero && self.zero_start.is_none() {
                self.zero_start = Some(self.pre);
            }
            self.pre += 1;
        }
        if zero {
            self.zero_end = self.pre + self.post;
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

    fn word(&mut self, word: &str, upper: bool) -> PgResult<()> {
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
                if self.anchor != Anchor::None {
                    return Err(malformed("cannot use \"S\" twice"));
                }
                if self.plus || self.minus || self.brackets {
                    return Err(with_sign("PL\"/\"MI\"/\"SG\"/\"PR"));
                }
                self.anchor = if self.has_point { Anchor::After } else { Anchor::Before };
                self.pre_at_anchor = self.pre;
            }
            "MI" | "PL" | "SG" => {
                if self.anchor != Anchor::None {
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
                if self.anchor != Anchor::None || self.plus || self.minus {
                    return Err(malformed("cannot use \"PR\" and \"S\"/\"PL\"/\"MI\"/\"SG\" together"));
                }
                self.brackets = true;
            }
            "RN" => {
                self.roman = true;
                self.elements.push(Element::Roman { upper });
            }
            "TH" => self.elements.push(Element::Ordinal { upper }),
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
                let alone = !self.fill && self.anchor == Anchor::None && !self.brackets;
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

    /// Digits before the point, those that `V` adds included.
    fn whole_digits(&self) -> usize {
        self.pre + self.shift
    }

    /// Writes a number that was rounded to `post` decimals: decimal digits with an optional sign and point.
    pub(super) fn write(&self, number: &str) -> String {
        let (negative, digits) = match number.strip_prefix('-') {
            Some(digits) => (true, digits),
            None => (false, number),
        };
        let whole = digits.find('.').unwrap_or(digits.len());
        let pre = self.whole_digits();
        if whole > pre {
            let overflow = format!("{}.{}", "#".repeat(pre), "#".repeat(self.post));
            return self.pour(&overflow, negative, 0);
        }
        self.pour(digits, negative, pre - whole)
    }

    /// Writes what replaces a number that an exponent cannot show.
    pub(super) fn write_not_finite(&self) -> String {
        let mut out: Vec<u8> = vec![b'#'; self.pre + self.post + 6];
        out[0] = b' ';
        if let Some(point) = out.get_mut(self.pre + 1) {
            *point = b'.';
        }
        String::from_utf8_lossy(&out).into_owned()
    }

    /// Writes a Roman numeral (or what stands for one), right-aligned in 15 places unless FM is given.
    pub(super) fn write_roman(&self, value: Option<i32>) -> String {
        let numeral = value.filter(|value| (1..=3999).contains(value)).map_or_else(|| "#".repeat(15), roman);
        let mut out = String::new();
        for element in &self.elements {
            match element {
                Element::Roman { upper } => {
                    let numeral = if *upper { numeral.clone() } else { numeral.to_ascii_lowercase() };
                    out.push_str(&if self.fill { numeral } else { format!("{numeral:>15}") });
                }
                Element::Literal(c) => out.push(*c),
                _ => {}
            }
        }
        out
    }

    fn pour(&self, digits: &str, negative: bool, spaces: usize) -> String {
        let anchor = match self.anchor {
            Anchor::Before if self.pre == self.pre_at_anchor => Anchor::After,
            anchor => anchor,
        };
        let sign_written = if self.plus || self.minus {
            // The elements MI, PL and SG write the sign; PL alone leaves a minus to be written here.
            !(self.plus && !self.minus)
        } else {
            !negative && self.fill && self.anchor == Anchor::None
        };
        let last_relevant = (self.fill && self.has_point).then(|| self.last_relevant(digits, spaces)).flatten();
        let mut count = (self.post + self.whole_digits()).saturating_sub(1);
        if !sign_written && spaces == 0 {
            count += 1;
        }
        Pouring {
            template: self,
            digits: digits.as_bytes(),
            at: 0,
            position: 0,
            spaces,
            negative,
            sign_written,
            brackets: self.brackets && (negative || !self.fill),
            anchor,
            last_relevant,
            count,
            number_begun: false,
            out: String::new(),
        }
        .run()
    }

    /// With FM, the last digit that is shown behind the point: zeros at the end are not, unless `0` asks for them.
    fn last_relevant(&self, digits: &str, spaces: usize) -> Option<usize> {
        let point = digits.find('.')?;
        let trimmed = digits.trim_end_matches('0').len() - 1;
        let mut last = trimmed.max(point);
        if self.zero_end > spaces {
            last = last.max((self.zero_end - spaces).min(digits.len() - 1));
        }
        Some(last)
    }
}

/// The state of pouring a number into a template.
struct Pouring<'a> {
    template: &'a Template,
    digits: &'a [u8],
    /// The next digit.
    at: usize,
    /// The digit position in the template.
    position: usize,
    /// Positions before the first digit.
    spaces: usize,
    negative: bool,
    sign_written: bool,
    brackets: bool,
    anchor: Anchor,
    last_relevant: Option<usize>,
    /// The last digit position.
    count: usize,
    number_begun: bool,
    out: String,
}

impl Pouring<'_> {
    fn run(mut self) -> String {
        let fill = self.template.fill;
        for element in &self.template.elements {
            match element {
                Element::Nine | Element::Zero | Element::Point => self.digit(element),
                Element::Comma if self.number_begun => self.out.push(','),
                Element::Comma if !fill => self.out.push(' '),
                Element::Comma => {}
                Element::Currency => self.out.push(' '),
                Element::Minus => self.sign_element(self.negative, '-'),
                Element::Plus => self.sign_element(!self.negative, '+'),
                Element::Sign => self.out.push(if self.negative { '-' } else { '+' }),
                Element::Ordinal { upper } => {
                    if self.digits.first() != Some(&b'#') && !self.negative && !self.template.has_point {
                        let suffix = ordinal(self.digits);
                        self.out.push_str(&if *upper { suffix.to_ascii_uppercase() } else { suffix.to_owned() });
                    }
                }
                Element::Roman { .. } => {}
                Element::Literal(c) => self.out.push(*c),
            }
        }
        self.out
    }

    fn sign_element(&mut self, applies: bool, sign: char) {
        if applies {
            self.out.push(sign);
        } else if !self.template.fill {
            self.out.push(' ');
        }
    }

    fn current(&self) -> Option<u8> {
        self.digits.get(self.at).copied()
    }

    /// The zero before the point of `0.5`, where the template asks for none.
    fn is_idle_zero(&self) -> bool {
        self.template.zero_start.is_none() && self.at == 0 && self.digits.first() == Some(&b'0') && self.template.post != 0
    }

    fn only_the_point_is_left(&self) -> bool {
        self.last_relevant.is_some_and(|last| self.digits[last] == b'.')
    }

    fn digit(&mut self, element: &Element) {
        let fill = self.template.fill;
        let zeros_begin = self.template.zero_start.is_some_and(|start| start <= self.position);
        self.number_begun = false;
        let starts = self.position >= self.spaces || self.template.zero_start == Some(self.position);
        if !self.sign_written && starts && (!self.is_idle_zero() || self.only_the_point_is_left()) {
            self.write_sign();
        }
        if self.position < self.spaces {
            if zeros_begin {
                self.out.push('0');
                self.number_begun = true;
            } else if !fill {
                self.out.push(' ');
            }
        } else {
            match self.current() {
                Some(b'.') => self.out.push('.'),
                Some(digit) => {
                    if self.last_relevant.is_some_and(|last| self.at > last) && *element != Element::Zero {
                        // A zero at the end that FM leaves out.
                    } else if self.is_idle_zero() {
                        if !fill {
                            self.out.push(' ');
                        } else if self.only_the_point_is_left() {
                            self.out.push('0');
                        }
                    } else {
                        self.out.push(char::from(digit));
                        self.number_begun = true;
                    }
                }
                None => {}
            }
            if self.current().is_some() {
                self.at += 1;
            }
        }
        let mut end = self.count + usize::from(self.spaces > 0) + usize::from(self.template.has_point);
        if self.last_relevant == Some(self.at) {
            end = self.position;
        }
        if self.position + 1 == end {
            if self.sign_written && self.brackets {
                self.out.push(if self.negative { '>' } else { ' ' });
            } else if self.anchor == Anchor::After {
                self.out.push(if self.negative { '-' } else { '+' });
            }
        }
        self.position += 1;
    }

    fn write_sign(&mut self) {
        match self.anchor {
            Anchor::Before => self.out.push(if self.negative { '-' } else { '+' }),
            Anchor::After => return,
            Anchor::None if self.brackets => self.out.push(if self.negative { '<' } else { ' ' }),
            Anchor::None if self.negative => self.out.push('-'),
            Anchor::None if !self.template.fill => self.out.push(' '),
            Anchor::None => {}
        }
        self.sign_written = true;
    }
}

/// `st`, `nd`, `rd` or `th`.
pub(super) fn ordinal(digits: &[u8]) -> &'static str {
    match digits {
        [.., b'1', _] => "th",
        [.., b'1'] => "st",
        [.., b'2'] => "nd",
        [.., b'3'] => "rd",
        _ => "th",
    }
}

/// A Roman numeral of 1 to 3999.
pub(super) fn roman(mut value: i32) -> String {
    const NUMERALS: &[(i32, &str)] = &[
        (1000, "M"),
        (900, "CM"),
        (500, "D"),
        (400, "CD"),
        (100, "C"),
        (90, "XC"),
        (50, "L"),
        (40, "XL"),
        (10, "X"),
        (9, "IX"),
        (5, "V"),
        (4, "IV"),
        (1, "I"),
    ];
    let mut out = String::new();
    for (worth, numeral) in NUMERALS {
        while value >= *worth {
            out.push_str(numeral);
            value -= worth;
        }
    }
    out
}

/// `to_number(text, template)`: the digits, the point and the sign of the text where the template has them.
pub(super) fn to_number(text: &str, template: &str) -> PgResult<Numeric> {
    let template = Template::parse(template)?;
    if template.exponent {
        return Err(PgError::not_supported("\"EEEE\" not supported for input"));
    }
    if template.roman {
        return Err(PgError::not_supported("\"RN\" is not supported for input yet").hint("Use decimal digits."));
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
            Element::Ordinal { .. } => {
                rest.next_if(char::is_ascii_alphabetic);
                rest.next_if(char::is_ascii_alphabetic);
            }
            Element::Currency | Element::Literal(_) => {
                rest.next_if(|c| !c.is_ascii_digit() && !matches!(c, '+' | '-' | '.' | ','));
            }
            Element::Roman { .. } => {}
        }
    }
    take_sign(&mut rest);
    if digits == 0 {
        let message = format!("invalid input syntax for type numeric: \"{}\"", if text.is_empty() { "" } else { " " });
        return Err(PgError::new(SqlState::INVALID_TEXT_REPRESENTATION, message));
    }
    let value = Numeric::parse(&number)?.round(template.post as i32)?;
    let value = if negative { value.neg() } else { value };
    if template.shift > 0 {
        return value.div(&Numeric::from(10i64).pow(&Numeric::from(template.shift as i64))?);
    }
    Ok(value)
}

//! `to_char(number, template)`.
//!
//! The template is parsed into what it asks for (digits before and after the point, where zeros begin, which sign), the
//! number is rounded to that, and then the template is gone through once more, each digit pattern taking one character of
//! the number's text.

use crate::error::{PgError, PgResult};
use crate::format::{ordinal, quoted};
use crate::numeric::Numeric;
use crate::sqlstate::SqlState;

/// `to_char(numeric, template)`.
pub fn numeric_to_char(value: &Numeric, template: &str) -> PgResult<String> {
    let parsed = Template::parse(template)?;
    if parsed.roman {
        return Ok(roman(value, &parsed));
    }
    if parsed.exponent {
        return Ok(scientific(value, &parsed));
    }
    let shifted = if parsed.multiply {
        let factor = Numeric::from(10i64).pow(&Numeric::from(parsed.multiplier as i64))?;
        value.mul(&factor)?
    } else {
        value.clone()
    };
    let text = shifted.round(parsed.after as i32)?.to_string();
    let has_ordinal = parsed.nodes.iter().any(|node| matches!(node, Node::Ordinal { .. }));
    if has_ordinal && !value.is_finite() && text.trim_start_matches('-').len() <= parsed.before {
        let message = format!("\"{text}\" is not a number");
        return Err(PgError::new(SqlState::INVALID_TEXT_REPRESENTATION, message));
    }
    Ok(parsed.fill(&text))
}

/// `to_char(int4 or int8, template)`.
pub fn int_to_char(value: i64, template: &str) -> PgResult<String> {
    numeric_to_char(&Numeric::from(value), template)
}

/// `to_char(float4 or float8, template)`: floats have `digits` significant digits, 6 or 15.
pub fn float_to_char(value: f64, digits: usize, template: &str) -> PgResult<String> {
    let parsed = Template::parse(template)?;
    if parsed.roman || parsed.exponent || !value.is_finite() {
        let number = if digits < 15 { Numeric::from_f32(value as f32)? } else { Numeric::from_f64(value)? };
        return numeric_to_char(&number, template);
    }
    let mut parsed = parsed;
    let value = if parsed.multiply { value * 10f64.powi(parsed.multiplier as i32) } else { value };
    let whole_digits = format!("{:.0}", value.abs()).len();
    parsed.after = parsed.after.min(digits.saturating_sub(whole_digits));
    Ok(parsed.fill(&format!("{value:.after$}", after = parsed.after)))
}

/// A pattern of a template, or text to copy.
#[derive(Clone, Debug, PartialEq)]
enum Node {
    Nine,
    Zero,
    Point,
    Comma,
    Currency,
    Minus,
    Plus,
    Sign,
    Ordinal {
        upper: bool,
    },
    /// A pattern that tells something of the whole and writes nothing of itself.
    Silent,
    Text(String),
}

#[derive(Default)]
struct Template {
    nodes: Vec<Node>,
    /// Digits before the point.
    before: usize,
    /// Digits after the point.
    after: usize,
    has_zero: bool,
    /// The digit from which zeros are written, counted from 0.
    zero_start: usize,
    /// How many digits there are up to the last `0`.
    zero_end: usize,
    point: bool,
    fill_mode: bool,
    /// `S`, and whether it stands before the number.
    sign_anchored: Option<bool>,
    digits_before_sign: usize,
    minus: bool,
    plus: bool,
    brackets: bool,
    multiply: bool,
    multiplier: usize,
    exponent: bool,
    roman: bool,
    roman_lower: bool,
}

#[cold]
fn syntax(message: &str) -> PgError {
    PgError::new(SqlState::SYNTAX_ERROR, message)
}

impl Template {
    fn parse(template: &str) -> PgResult<Template> {
        const PATTERNS: [&str; 21] = [
            ",", ".", "0", "9", "B", "C", "D", "EEEE", "FM", "G", "L", "MI", "PL", "PR", "RN", "SG", "SP",
            "S", "TH", "V", "\"",
        ];
        let mut parsed = Template::default();
        let mut rest = template;
        while let Some(first) = rest.chars().next() {
            let found = PATTERNS.into_iter().find(|pattern| {
                rest.get(..pattern.len()).is_some_and(|text| {
                    text == *pattern
                        || (*pattern == text.to_ascii_uppercase()
                            && !text.bytes().any(|b| b.is_ascii_uppercase()))
                })
            });
            match found {
                Some("\"") => {
                    let (text, after) = quoted(&rest[1..]);
                    parsed.nodes.push(Node::Text(text));
                    rest = after;
                }
                Some(pattern) => {
                    let lower = rest.starts_with(|c: char| c.is_ascii_lowercase());
                    let node = parsed.pattern(pattern, lower)?;
                    parsed.nodes.push(node);
                    rest = &rest[pattern.len()..];
                }
                None if rest.starts_with("\\\"") => {
                    parsed.nodes.push(Node::Text("\"".to_owned()));
                    rest = &rest[2..];
                }
                None => {
                    parsed.nodes.push(Node::Text(first.to_string()));
                    rest = &rest[first.len_utf8()..];
                }
            }
        }
        Ok(parsed)
    }

    /// Notes what a pattern says of the whole.
    fn pattern(&mut self, pattern: &str, lower: bool) -> PgResult<Node> {
        if self.exponent && pattern != "EEEE" {
            return Err(syntax("\"EEEE\" must be the last pattern used"));
        }
        let together = "cannot use \"S\" and \"PL\"/\"MI\"/\"SG\"/\"PR\" together";
        Ok(match pattern {
            "9" => {
                if self.brackets {
                    return Err(syntax("\"9\" must be ahead of \"PR\""));
                }
                if self.multiply {
                    self.multiplier += 1;
                } else if self.point {
                    self.after += 1;
                } else {
                    self.before += 1;
                }
                Node::Nine
            }
            "0" => {
                if self.brackets {
                    return Err(syntax("\"0\" must be ahead of \"PR\""));
                }
                if !self.has_zero && !self.point {
                    self.has_zero = true;
                    self.zero_start = self.before;
                }
                if self.point {
                    self.after += 1;
                } else {
                    self.before += 1;
                }
                self.zero_end = self.before + self.after;
                Node::Zero
            }
            "." | "D" => {
                if self.point {
                    return Err(syntax("multiple decimal points"));
                }
                if self.multiply {
                    return Err(syntax("cannot use \"V\" and decimal point together"));
                }
                self.point = true;
                Node::Point
            }
            "," | "G" => Node::Comma,
            "L" => Node::Currency,
            "FM" => {
                self.fill_mode = true;
                Node::Silent
            }
            "S" => {
                if self.sign_anchored.is_some() {
                    return Err(syntax("cannot use \"S\" twice"));
                }
                if self.plus || self.minus || self.brackets {
                    return Err(syntax(together));
                }
                self.sign_anchored = Some(!self.point);
                self.digits_before_sign = self.before;
                Node::Silent
            }
            "MI" | "PL" | "SG" => {
                if self.sign_anchored.is_some() {
                    return Err(syntax(&format!("cannot use \"S\" and \"{pattern}\" together")));
                }
                self.minus |= pattern != "PL";
                self.plus |= pattern != "MI";
                match pattern {
                    "MI" => Node::Minus,
                    "PL" => Node::Plus,
                    _ => Node::Sign,
                }
            }
            "PR" => {
                if self.sign_anchored.is_some() || self.plus || self.minus {
                    return Err(syntax("cannot use \"PR\" and \"S\"/\"PL\"/\"MI\"/\"SG\" together"));
                }
                self.brackets = true;
                Node::Silent
            }
            "RN" => {
                self.roman = true;
                self.roman_lower = lower;
                Node::Silent
            }
            "V" => {
                if self.point {
                    return Err(syntax("cannot use \"V\" and decimal point together"));
                }
                self.multiply = true;
                Node::Silent
            }
            "EEEE" => {
                if self.exponent {
                    return Err(syntax("cannot use \"EEEE\" twice"));
                }
                if self.sign_anchored.is_some()
                    || self.brackets
                    || self.minus
                    || self.plus
                    || self.roman
                    || self.multiply
                {
                    return Err(syntax("\"EEEE\" is incompatible with other formats").detail(
                        "\"EEEE\" may only be used together with digit and decimal point patterns.",
                    ));
                }
                self.exponent = true;
                Node::Silent
            }
            "TH" => Node::Ordinal { upper: !lower },
            _ => Node::Silent,
        })
    }

    /// Writes the number, given in decimal with as many digits after the point as the template has.
    fn fill(&self, text: &str) -> String {
        let (sign, number) = match text.strip_prefix('-') {
            Some(number) => (b'-', number),
            None => (b'+', text),
        };
        let before = self.before + if self.multiply { self.multiplier } else { 0 };
        let whole = number.find('.').unwrap_or(number.len());
        let overflown;
        let number = if whole > before {
            overflown = format!("{}.{}", "#".repeat(before), "#".repeat(self.after));
            overflown.as_str()
        } else {
            number
        };
        let mut writer = Writer::new(self, number.as_bytes(), sign, before, before.saturating_sub(whole));
        for node in &self.nodes {
            writer.node(node);
        }
        if let Some(len) = writer.cut_at {
            writer.out.truncate(len);
        }
        writer.out
    }
}

/// The state of the second pass.
struct Writer<'a> {
    template: &'a Template,
    number: &'a [u8],
    /// The next character of the number.
    at: usize,
    sign: u8,
    sign_written: bool,
    /// `S` stands before the number.
    sign_before: bool,
    brackets: bool,
    /// Digit patterns before the number's first digit.
    blanks: usize,
    /// Digit patterns seen.
    seen: usize,
    count: usize,
    /// A digit was written: commas are shown from then on.
    in_number: bool,
    /// The last character that `FM` does not drop.
    last_relevant: Option<usize>,
    /// Where a digit was wanted and the number (NaN, infinity) had no more: nothing is shown from there on.
    cut_at: Option<usize>,
    out: String,
}

impl<'a> Writer<'a> {
    fn new(template: &'a Template, number: &'a [u8], sign: u8, before: usize, blanks: usize) -> Writer<'a> {
        let fill_mode = template.fill_mode;
        let has_sign_pattern = template.plus || template.minus;
        let sign_written = if has_sign_pattern {
            // PL alone shows a plus; a minus still has to be written with the number.
            template.minus
        } else {
            sign == b'+' && fill_mode && template.sign_anchored.is_none()
        };
        let mut last_relevant = None;
        if fill_mode && template.point {
            last_relevant = number.iter().position(|b| *b == b'.').map(|point| {
                let last = number.iter().rposition(|b| *b != b'0').unwrap_or(point).max(point);
                let kept = if template.zero_end > blanks {
                    (template.zero_end - blanks).min(number.len() - 1)
                } else {
                    0
                };
                last.max(kept)
            });
        }
        let mut count = template.after + before;
        count = count.saturating_sub(1);
        if !sign_written && blanks == 0 {
            count += 1;
        }
        let sign_before =
            template.sign_anchored == Some(true) && template.digits_before_sign != template.before;
        Writer {
            template,
            number,
            at: 0,
            sign,
            sign_written,
            sign_before,
            brackets: template.brackets && !(fill_mode && sign == b'+'),
            blanks,
            seen: 0,
            count,
            in_number: false,
            last_relevant,
            cut_at: None,
            out: String::new(),
        }
    }

    fn node(&mut self, node: &Node) {
        let fill_mode = self.template.fill_mode;
        let pad = |out: &mut String| {
            if !fill_mode {
                out.push(' ');
            }
        };
        match node {
            Node::Nine | Node::Zero | Node::Point => self.digit(*node == Node::Zero),
            Node::Comma if self.in_number => self.out.push(','),
            Node::Comma => pad(&mut self.out),
            Node::Currency => self.out.push(' '),
            Node::Minus if self.sign == b'-' => self.out.push('-'),
            Node::Plus if self.sign == b'+' => self.out.push('+'),
            Node::Minus | Node::Plus => pad(&mut self.out),
            Node::Sign => self.out.push(char::from(self.sign)),
            Node::Ordinal { upper } => {
                if self.number.first() != Some(&b'#') && self.sign != b'-' && !self.template.point {
                    let ending = ordinal(self.number);
                    self.out += &if *upper { ending.to_uppercase() } else { ending.to_owned() };
                }
            }
            Node::Silent => {}
            Node::Text(text) => self.out += text,
        }
    }

    /// Whether a zero before the point is left out: `9.9` shows 0.1 as ` .1`.
    fn hides_zero(&self) -> bool {
        !self.template.has_zero
            && self.at == 0
            && self.number.first() == Some(&b'0')
            && self.template.after != 0
    }

    /// Whether nothing after the point is kept.
    fn ends_at_point(&self) -> bool {
        self.last_relevant.is_some_and(|last| self.number.get(last) == Some(&b'.'))
    }

    fn digit(&mut self, is_zero_pattern: bool) {
        let template = self.template;
        self.in_number = false;
        let zeros_begin = template.has_zero && template.zero_start == self.seen;
        if !self.sign_written
            && (self.seen >= self.blanks || zeros_begin)
            && (!self.hides_zero() || self.ends_at_point())
        {
            self.write_sign();
        }
        if self.seen < self.blanks && (!template.has_zero || template.zero_start > self.seen) {
            if !template.fill_mode {
                self.out.push(' ');
            }
        } else if template.has_zero && self.seen < self.blanks && template.zero_start <= self.seen {
            self.out.push('0');
            self.in_number = true;
        } else {
            self.number_char(is_zero_pattern);
        }
        let mut end = self.count + usize::from(self.blanks > 0) + usize::from(template.point);
        if self.last_relevant == Some(self.at) {
            end = self.seen;
        }
        if self.seen + 1 == end {
            if self.sign_written && self.brackets {
                self.out.push(if self.sign == b'+' { ' ' } else { '>' });
            } else if template.sign_anchored.is_some() && !self.sign_before {
                self.out.push(char::from(self.sign));
            }
        }
        self.seen += 1;
    }

    fn write_sign(&mut self) {
        if self.template.sign_anchored.is_some() {
            if self.sign_before {
                self.out.push(char::from(self.sign));
                self.sign_written = true;
            }
            return;
        }
        if self.brackets {
            self.out.push(if self.sign == b'+' { ' ' } else { '<' });
        } else if self.sign == b'-' {
            self.out.push('-');
        } else if !self.template.fill_mode {
            self.out.push(' ');
        }
        self.sign_written = true;
    }

    /// The next character of the number.
    fn number_char(&mut self, is_zero_pattern: bool) {
        let Some(byte) = self.number.get(self.at).copied() else {
            self.cut_at.get_or_insert(self.out.len());
            return;
        };
        if byte == b'.' {
            if self.template.fill_mode || !self.ends_at_point() {
                self.out.push('.');
            }
        } else if self.last_relevant.is_some_and(|last| self.at > last) && !is_zero_pattern {
            // Zeros at the end, which FM drops.
        } else if self.hides_zero() {
            if !self.template.fill_mode {
                self.out.push(' ');
            } else if self.ends_at_point() {
                self.out.push('0');
            }
        } else {
            self.out.push(char::from(byte));
            self.in_number = true;
        }
        self.at += 1;
    }
}

/// `EEEE`: one digit, the fraction, and an exponent of two digits at least.
fn scientific(value: &Numeric, template: &Template) -> String {
    let after = template.after;
    let Some(big) = value.to_big() else {
        return format!(" {}.{}", "#".repeat(template.before), "#".repeat(after + 4));
    };
    let sign = if value.is_negative() { "-" } else { " " };
    // The text without point and zeros in front gives the digits; their power of ten comes from the point's place.
    let text = value.abs().to_string();
    let (whole, fraction) = text.split_once('.').unwrap_or((&text, ""));
    let digits: String = whole.chars().chain(fraction.chars()).collect();
    let lead = digits.bytes().take_while(|b| *b == b'0').count();
    if big.is_zero() {
        return if after == 0 {
            format!("{sign}0e+00")
        } else {
            format!("{sign}0.{}e+00", "0".repeat(after))
        };
    }
    let power = whole.len() as i32 - 1 - lead as i32;
    let mut kept: Vec<u8> = digits.bytes().skip(lead).take(after + 1).collect();
    kept.resize(after + 1, b'0');
    let rounds_up = digits.as_bytes().get(lead + after + 1).is_some_and(|b| *b >= b'5');
    if rounds_up {
        match kept.iter().rposition(|b| *b != b'9') {
            Some(at) => {
                kept[at] += 1;
                kept[at + 1..].fill(b'0');
            }
            // PostgreSQL leaves the carry where it is: 99.9 by 9EEEE is 10e+01.
            None => {
                kept.fill(b'0');
                kept.insert(0, b'1');
            }
        }
    }
    let first_len = kept.len() - after;
    let kept = String::from_utf8(kept).unwrap_or_default();
    let (first, rest) = kept.split_at(first_len);
    let point = if after > 0 { "." } else { "" };
    let exponent_sign = if power < 0 { '-' } else { '+' };
    format!("{sign}{first}{point}{rest}e{exponent_sign}{:02}", power.abs())
}

/// `RN`: a Roman number, 15 characters wide without `FM`; what is not within 1 to 3999 is filled with `#`.
fn roman(value: &Numeric, template: &Template) -> String {
    const UNITS: [(i32, &str); 13] = [
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
    let number = value.to_i32().unwrap_or(0);
    if !(1..=3999).contains(&number) {
        return "#".repeat(15);
    }
    let mut rest = number;
    let mut text = String::new();
    for (unit, letters) in UNITS {
        while rest >= unit {
            text += letters;
            rest -= unit;
        }
    }
    if template.roman_lower {
        text.make_ascii_lowercase();
    }
    if template.fill_mode { text } else { format!("{text:>15}") }
}

//! The form of the data files: COPY text with a header line.
//!
//! A [`Tsv`] borrows the text that the binary carries; a row is a list of slices into it. Nothing is copied but the
//! few values that hold an escape. Text that a build includes is trusted to be well formed: what is wrong with it is a
//! broken invariant, and the first test run shows it.

use std::borrow::Cow;

use shardforge_types::Oid;

/// A data file: the names of its columns and where its rows begin.
#[derive(Debug)]
pub struct Tsv {
    text: &'static str,
    columns: Vec<&'static str>,
    /// Byte offset of each row in `text`.
    rows: Vec<u32>,
}

impl Tsv {
    /// Finds the rows of a data file.
    pub fn new(text: &'static str) -> Self {
        let header_end = memchr::memchr(b'\n', text.as_bytes()).expect("a data file has a header line");
        let mut rows = Vec::with_capacity(text.len() / 64);
        let mut start = header_end + 1;
        while start < text.len() {
            rows.push(u32::try_from(start).expect("a data file is smaller than 4 GB"));
            start = memchr::memchr(b'\n', &text.as_bytes()[start..]).map_or(text.len(), |n| start + n + 1);
        }
        Self { text, columns: text[..header_end].split('\t').collect(), rows }
    }

    /// How many rows the file has.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// The names of the columns, in the order of a row's fields.
    pub fn columns(&self) -> &[&'static str] {
        &self.columns
    }

    /// The position of a column.
    ///
    /// # Panics
    /// If the file has no such column.
    pub fn column(&self, name: &str) -> usize {
        self.columns
            .iter()
            .position(|c| *c == name)
            .unwrap_or_else(|| panic!("the data file has no column {name}"))
    }

    /// The raw text of one row, without its newline.
    pub fn line(&self, row: usize) -> &'static str {
        let rest = &self.text[self.rows[row] as usize..];
        &rest[..memchr::memchr(b'\n', rest.as_bytes()).unwrap_or(rest.len())]
    }

    /// The fields of one row.
    pub fn row(&self, row: usize) -> Row {
        let mut fields = Vec::with_capacity(self.columns.len());
        fields.extend(self.line(row).split('\t'));
        debug_assert_eq!(fields.len(), self.columns.len(), "row {row}");
        Row { fields }
    }

    /// One field of one row, still escaped.
    pub fn field(&self, row: usize, column: usize) -> &'static str {
        self.line(row).split('\t').nth(column).expect("a row has a field for each column")
    }

    /// All rows, in the order of the file.
    pub fn iter(&self) -> impl Iterator<Item = Row> + '_ {
        (0..self.len()).map(|row| self.row(row))
    }
}

/// Binds the positions of columns to variables of the same name.
macro_rules! columns {
    ($tsv:ident: $($column:ident),*) => {
        $(let $column = $tsv.column(stringify!($column));)*
    };
}
pub(crate) use columns;

/// One row: a field for each column.
#[derive(Debug)]
pub struct Row {
    fields: Vec<&'static str>,
}

impl Row {
    /// A field as it stands, or `None` for a null.
    pub fn raw(&self, column: usize) -> Option<&'static str> {
        let field = self.fields[column];
        (field != "\\N").then_some(field)
    }

    /// A field that holds no escapes and is never null: a name, a flag.
    pub fn name(&self, column: usize) -> &'static str {
        self.fields[column]
    }

    /// A text field.
    pub fn text(&self, column: usize) -> Option<Cow<'static, str>> {
        self.raw(column).map(unescape)
    }

    /// A number.
    pub fn number<T: std::str::FromStr>(&self, column: usize) -> T {
        let field = self.fields[column];
        field.parse().unwrap_or_else(|_| panic!("{field:?} is no number"))
    }

    /// An object identifier; 0 stands for none.
    pub fn oid(&self, column: usize) -> Oid {
        Oid(self.number(column))
    }

    /// A boolean.
    pub fn bool(&self, column: usize) -> bool {
        self.fields[column] == "t"
    }

    /// A `"char"`.
    pub fn char(&self, column: usize) -> u8 {
        self.fields[column].bytes().next().unwrap_or(0)
    }

    /// An oidvector: numbers with a space between them.
    pub fn oids(&self, column: usize) -> Box<[Oid]> {
        let field = self.fields[column];
        if field.is_empty() {
            return Box::default();
        }
        field.split(' ').map(|n| Oid(n.parse().expect("an oidvector holds numbers"))).collect()
    }
}

/// Undoes the escapes of COPY's text format.
pub fn unescape(field: &'static str) -> Cow<'static, str> {
    if memchr::memchr(b'\\', field.as_bytes()).is_none() {
        return Cow::Borrowed(field);
    }
    let mut out = String::with_capacity(field.len());
    let mut chars = field.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        match chars.next() {
            Some('n') => out.push('\n'),
            Some('t') => out.push('\t'),
            Some('r') => out.push('\r'),
            Some('b') => out.push('\u{8}'),
            Some('f') => out.push('\u{c}'),
            Some('v') => out.push('\u{b}'),
            Some(other) => out.push(other),
            None => {}
        }
    }
    Cow::Owned(out)
}

/// Splits a one-dimensional array literal (`{a,"b c",NULL}`) into its elements; `None` is a null.
pub fn array_elements(literal: &str) -> Vec<Option<String>> {
    let inner = literal.strip_prefix('{').and_then(|s| s.strip_suffix('}')).unwrap_or("");
    let mut out = Vec::new();
    let mut chars = inner.chars().peekable();
    while chars.peek().is_some() {
        let mut element = String::new();
        let mut quoted = false;
        let mut inside = false;
        while let Some(c) = chars.next() {
            match c {
                '"' => {
                    inside = !inside;
                    quoted = true;
                }
                '\\' => element.extend(chars.next()),
                ',' if !inside => break,
                c => element.push(c),
            }
        }
        out.push((quoted || element != "NULL").then_some(element));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_and_fields() {
        let tsv = Tsv::new("oid\tname\tflag\n1\ta\\tb\tt\n2\t\\N\tf\n");
        assert_eq!(tsv.len(), 2);
        assert_eq!(tsv.row(0).text(1).as_deref(), Some("a\tb"));
        assert!(tsv.row(0).bool(2));
        assert_eq!(tsv.row(1).raw(1), None);
        assert_eq!(tsv.field(1, tsv.column("oid")), "2");
    }

    #[test]
    fn arrays() {
        let elements = array_elements(r#"{a,"b, \"c\"",NULL,"NULL",""}"#);
        let shown: Vec<_> = elements.iter().map(|e| e.as_deref().unwrap_or("<null>")).collect();
        assert_eq!(shown, ["a", "b, \"c\"", "<null>", "NULL", ""]);
        assert!(array_elements("{}").is_empty());
    }
}

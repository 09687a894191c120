//! Keys in words, for errors that know no more of a row than its key.

use shardforge_types::codec::key;

use super::check::value_text;
use super::layout::TableLayout;
use crate::catalog::IndexKey;
use crate::exec::env::EvalEnv;

/// The columns of a row's key, or of an index entry's, as in `(a, b)=(1, x)`; `None` if it has none that a user knows
/// of, or is not of this table.
pub fn describe_key(layout: &TableLayout, stored: &[u8], env: &EvalEnv) -> Option<String> {
    let (parts, columns, mut rest) = if stored.starts_with(layout.head.prefix()) {
        (layout.key.as_ref()?, &layout.table.primary_key()?.columns, layout.head.columns(stored))
    } else {
        let index = layout.indexes.iter().find(|index| stored.starts_with(index.head.prefix()))?;
        (&index.parts, &layout.index_desc(index).columns, index.head.columns(stored))
    };
    let (mut names, mut values) = (Vec::new(), Vec::new());
    for (part, column) in parts.iter().zip(columns) {
        let value = key::decode(part.ty, part.order, &mut rest).ok()?;
        names.push(match &column.key {
            IndexKey::Column(attnum) => layout.table.columns.get(*attnum as usize - 1)?.name.as_str(),
            IndexKey::Expression(sql) => sql.as_str(),
        });
        values.push(value_text(part.ty, &value, env));
    }
    Some(format!("({})=({})", names.join(", "), values.join(", ")))
}

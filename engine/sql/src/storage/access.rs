//! Access paths: which part of which index holds the rows that a filter selects.
//!
//! [`choose`] looks at the conjuncts of a WHERE clause and at a table's indexes. An equality on each key
//! column, from the left, narrows a range to a prefix; one pair of bounds on the next column narrows it
//! further; equalities on all columns make it a point; an IN list on the last of them makes it several
//! points. What the path does not enforce stays behind as a filter.
//!
//! Values are expressions without columns of the table (constants, parameters, stable functions): they
//! are evaluated once, when the statement runs.

use std::sync::LazyLock;

use hashbrown::HashMap;
use shardforge_types::codec::key;
use shardforge_types::{Datum, Oid, PgResult, oid};

use super::head::Spread;
use super::layout::{KeyPart, KeySource, TableLayout};
use crate::catalog::IndexState;
use crate::catalog::builtin::{BtreeStrategy, builtin};
use crate::exec::env::EvalEnv;
use crate::exec::eval::{CompiledExpr, NoRow};
use crate::ir::{Call, ColId, Scalar, ScalarKind, SortKey};

/// Where the rows of a scan are.
pub struct AccessPath {
    /// Position in [`TableLayout::indexes`], or `None` for the rows themselves.
    pub index: Option<usize>,
    /// Values of the leading key columns.
    pub prefix: Vec<KeyValue>,
    /// Alternatives for the key column after the prefix (IN lists); empty: none.
    pub alternatives: Vec<KeyValue>,
    /// Lower bound of the key column after the prefix, in value order.
    pub lower: Option<Bound>,
    /// Upper bound of the key column after the prefix, in value order.
    pub upper: Option<Bound>,
    /// The prefix (with an alternative) determines at most one row.
    pub point: bool,
}

/// A value that a key column is compared with.
pub struct KeyValue {
    /// Computes it.
    pub expr: CompiledExpr,
    /// For `= ANY (array)`: the expression yields an array of alternatives.
    pub is_array: bool,
}

/// A bound of a range.
pub struct Bound {
    /// The value.
    pub value: KeyValue,
    /// `<=` or `>=`.
    pub inclusive: bool,
}

/// A comparison of a table's column with a value.
struct Comparison<'a> {
    column: usize,
    strategy: BtreeStrategy,
    value: &'a Scalar,
}

/// Equality, or a list of alternatives, or bounds, found for one key column.
#[derive(Default)]
struct Found<'a> {
    equal: Option<(usize, &'a Scalar)>,
    list: Option<(usize, Vec<&'a Scalar>, bool)>,
    lower: Option<(usize, &'a Scalar, bool)>,
    upper: Option<(usize, &'a Scalar, bool)>,
}

/// Chooses the access path for a conjunction, and says which conjuncts (by position) it enforces.
///
/// `column_of` maps a column id to the table's column position; `None` for anything else.
///
/// # Errors
/// If a value expression does not compile.
pub fn choose(
    layout: &TableLayout,
    conjuncts: &[Scalar],
    column_of: &dyn Fn(ColId) -> Option<usize>,
    wanted_order: &[SortKey],
) -> PgResult<(AccessPath, Vec<usize>)> {
    let mut best: Option<(u32, Option<usize>, Candidate<'_>)> = None;
    let primary = layout.key.as_deref().map(|parts| (None, parts, true));
    let secondary = layout
        .indexes
        .iter()
        .enumerate()
        .filter(|(_, index)| index.predicate.is_none() && index.state == IndexState::Public)
        .map(|(i, index)| (Some(i), &index.parts[..], index.unique));
    for (index, parts, unique) in primary.into_iter().chain(secondary) {
        let candidate = Candidate::new(layout, parts, unique, conjuncts, column_of);
        let ordered = !wanted_order.is_empty()
            && order_matches(
                parts,
                candidate.prefix.len(),
                &layout_not_null(layout),
                wanted_order,
                column_of,
            )
            .is_some();
        let score = candidate.score(index.is_none(), ordered);
        if score > 0 && best.as_ref().is_none_or(|(other, ..)| score > *other) {
            best = Some((score, index, candidate));
        }
    }
    let Some((_, index, candidate)) = best else {
        return Ok((AccessPath::full(), Vec::new()));
    };
    candidate.finish(index)
}

/// Whether the rows of a path come in the wanted order: `Some(reverse)` tells in which direction to scan.
pub fn order_of(
    layout: &TableLayout,
    path: &AccessPath,
    wanted: &[SortKey],
    column_of: &dyn Fn(ColId) -> Option<usize>,
) -> Option<bool> {
    if wanted.is_empty() || (path.point && path.alternatives.is_empty()) {
        return Some(false);
    }
    if !path.alternatives.is_empty() {
        return None;
    }
    let parts = match path.index {
        None => layout.key.as_deref()?,
        Some(i) => &layout.indexes[i].parts,
    };
    order_matches(parts, path.prefix.len(), &layout_not_null(layout), wanted, column_of)
}

fn layout_not_null(layout: &TableLayout) -> Vec<bool> {
    layout.table.columns.iter().map(|column| column.not_null.is_some()).collect()
}

fn order_matches(
    parts: &[KeyPart],
    fixed: usize,
    not_null: &[bool],
    wanted: &[SortKey],
    column_of: &dyn Fn(ColId) -> Option<usize>,
) -> Option<bool> {
    let mut direction = None;
    let mut rest = parts[fixed..].iter();
    for sort in wanted {
        let ScalarKind::Column(id) = sort.expr.kind else { return None };
        let column = column_of(id)?;
        if parts[..fixed].iter().any(|part| part.is_column(column)) {
            continue;
        }
        let part = rest.next()?;
        if !part.is_column(column) {
            return None;
        }
        let reverse = part.order.descending != sort.desc;
        let nulls_agree = not_null[column] || (part.order.nulls_first != reverse) == sort.nulls_first;
        if !nulls_agree || direction.is_some_and(|d| d != reverse) {
            return None;
        }
        direction = Some(reverse);
    }
    Some(direction.unwrap_or(false))
}

impl KeyPart {
    fn is_column(&self, column: usize) -> bool {
        matches!(self.source, KeySource::Column(position) if position == column)
    }
}

struct Candidate<'a> {
    prefix: Vec<(usize, &'a Scalar)>,
    next: Found<'a>,
    point: bool,
}

impl<'a> Candidate<'a> {
    fn new(
        layout: &TableLayout,
        parts: &[KeyPart],
        unique: bool,
        conjuncts: &'a [Scalar],
        column_of: &dyn Fn(ColId) -> Option<usize>,
    ) -> Candidate<'a> {
        let mut prefix = Vec::new();
        let mut next = Found::default();
        for part in parts {
            let KeySource::Column(column) = part.source else { break };
            let mut found = find(layout, column, conjuncts, column_of);
            match found.equal.take() {
                Some(equal) => prefix.push(equal),
                None => {
                    next = found;
                    break;
                }
            }
        }
        let listed = usize::from(next.list.is_some());
        let point = unique && prefix.len() + listed == parts.len();
        Candidate { prefix, next, point }
    }

    /// Higher is better; 0 means that the candidate selects nothing.
    fn score(&self, is_primary: bool, ordered: bool) -> u32 {
        let bounds = u32::from(self.next.lower.is_some()) + u32::from(self.next.upper.is_some());
        let listed = u32::from(self.next.list.is_some());
        let selective = 100 * self.prefix.len() as u32 + 60 * listed + 20 * bounds;
        if selective == 0 && !ordered {
            return 0;
        }
        selective + 1_000 * u32::from(self.point) + 5 * u32::from(ordered) + u32::from(is_primary)
    }

    fn finish(self, index: Option<usize>) -> PgResult<(AccessPath, Vec<usize>)> {
        let mut enforced = Vec::new();
        let mut prefix = Vec::new();
        for (conjunct, value) in self.prefix {
            enforced.push(conjunct);
            prefix.push(KeyValue::compile(value, false)?);
        }
        let mut path = AccessPath {
            index,
            prefix,
            alternatives: Vec::new(),
            lower: None,
            upper: None,
            point: self.point,
        };
        if let Some((conjunct, values, is_array)) = self.next.list {
            enforced.push(conjunct);
            path.alternatives = values
                .into_iter()
                .map(|value| KeyValue::compile(value, is_array))
                .collect::<PgResult<_>>()?;
        } else {
            for (found, bound) in [(self.next.lower, &mut path.lower), (self.next.upper, &mut path.upper)] {
                if let Some((conjunct, value, inclusive)) = found {
                    enforced.push(conjunct);
                    *bound = Some(Bound { value: KeyValue::compile(value, false)?, inclusive });
                }
            }
        }
        Ok((path, enforced))
    }
}

impl AccessPath {
    /// All rows.
    pub fn full() -> AccessPath {
        AccessPath {
            index: None,
            prefix: Vec::new(),
            alternatives: Vec::new(),
            lower: None,
            upper: None,
            point: false,
        }
    }

    /// True if the whole table is read.
    pub fn is_full(&self) -> bool {
        self.prefix.is_empty() && self.alternatives.is_empty() && self.lower.is_none() && self.upper.is_none()
    }
}

impl KeyValue {
    fn compile(value: &Scalar, is_array: bool) -> PgResult<KeyValue> {
        Ok(KeyValue { expr: CompiledExpr::compile(value, &|_| None)?, is_array })
    }
}

/// Finds what the conjuncts say of one column.
fn find<'a>(
    layout: &TableLayout,
    column: usize,
    conjuncts: &'a [Scalar],
    column_of: &dyn Fn(ColId) -> Option<usize>,
) -> Found<'a> {
    let mut found = Found::default();
    for (position, conjunct) in conjuncts.iter().enumerate() {
        if let Some(list) = alternatives(layout, column, conjunct, column_of) {
            found.list.get_or_insert((position, list.0, list.1));
            continue;
        }
        let Some(comparison) = comparison(layout, conjunct, column_of) else { continue };
        if comparison.column != column {
            continue;
        }
        let value = comparison.value;
        match comparison.strategy {
            BtreeStrategy::Equal => {
                found.equal.get_or_insert((position, value));
            }
            BtreeStrategy::Less => {
                found.upper.get_or_insert((position, value, false));
            }
            BtreeStrategy::LessEqual => {
                found.upper.get_or_insert((position, value, true));
            }
            BtreeStrategy::Greater => {
                found.lower.get_or_insert((position, value, false));
            }
            BtreeStrategy::GreaterEqual => {
                found.lower.get_or_insert((position, value, true));
            }
        }
    }
    found
}

/// `column op value` or `value op column`, where op orders the column's type as its index does.
fn comparison<'a>(
    layout: &TableLayout,
    scalar: &'a Scalar,
    column_of: &dyn Fn(ColId) -> Option<usize>,
) -> Option<Comparison<'a>> {
    let ScalarKind::Call(call) = &scalar.kind else { return None };
    let Call { func, args, .. } = call.as_ref();
    let strategy = *STRATEGIES.get(func)?;
    let [left, right] = &args[..] else { return None };
    for (column_side, value, strategy) in [(left, right, strategy), (right, left, flipped(strategy))] {
        if let Some(column) = plain_column(column_side, column_of)
            && comparable(layout.types[column], value.ty.oid)
            && is_free_of_columns(value)
        {
            return Some(Comparison { column, strategy, value });
        }
    }
    None
}

/// `column IN (...)` or `column = ANY (array)`: the values, and whether they are arrays.
fn alternatives<'a>(
    layout: &TableLayout,
    column: usize,
    scalar: &'a Scalar,
    column_of: &dyn Fn(ColId) -> Option<usize>,
) -> Option<(Vec<&'a Scalar>, bool)> {
    let is_equality = |func: &Oid| matches!(STRATEGIES.get(func), Some(BtreeStrategy::Equal));
    match &scalar.kind {
        ScalarKind::InList { eq, left, list } if is_equality(eq) => {
            let fits =
                |item: &Scalar| comparable(layout.types[column], item.ty.oid) && is_free_of_columns(item);
            (plain_column(left, column_of) == Some(column) && list.iter().all(fits))
                .then(|| (list.iter().collect(), false))
        }
        ScalarKind::ArrayOp { func, any: true, left, array } if is_equality(func) => {
            let elem = builtin().type_by_oid(array.ty.oid)?.elem;
            (plain_column(left, column_of) == Some(column)
                && comparable(layout.types[column], elem)
                && is_free_of_columns(array))
            .then(|| (vec![&**array], true))
        }
        _ => None,
    }
}

/// A column of the table, seen through binary-compatible conversions.
fn plain_column(scalar: &Scalar, column_of: &dyn Fn(ColId) -> Option<usize>) -> Option<usize> {
    match &scalar.kind {
        ScalarKind::Column(id) => column_of(*id),
        ScalarKind::Relabel(arg) => plain_column(arg, column_of),
        _ => None,
    }
}

/// Whether a value can be turned into a key of the column's type without changing the comparison.
fn comparable(column: Oid, value: Oid) -> bool {
    let is_int = |ty| matches!(ty, oid::INT2 | oid::INT4 | oid::INT8);
    let is_text = |ty| matches!(ty, oid::TEXT | oid::VARCHAR);
    column == value || (is_int(column) && is_int(value)) || (is_text(column) && is_text(value))
}

fn is_free_of_columns(scalar: &Scalar) -> bool {
    match &scalar.kind {
        ScalarKind::Column(_) | ScalarKind::Subquery(_) => false,
        ScalarKind::Call(call) if is_volatile(call.func) => false,
        _ => {
            let mut free = true;
            scalar.for_each_child(&mut |child| free = free && is_free_of_columns(child));
            free
        }
    }
}

fn is_volatile(func: Oid) -> bool {
    use crate::catalog::builtin::Volatility;
    builtin().proc_by_oid(func).is_none_or(|proc| proc.volatility == Volatility::Volatile)
}

fn flipped(strategy: BtreeStrategy) -> BtreeStrategy {
    match strategy {
        BtreeStrategy::Less => BtreeStrategy::Greater,
        BtreeStrategy::LessEqual => BtreeStrategy::GreaterEqual,
        BtreeStrategy::Equal => BtreeStrategy::Equal,
        BtreeStrategy::GreaterEqual => BtreeStrategy::LessEqual,
        BtreeStrategy::Greater => BtreeStrategy::Less,
    }
}

/// Function oid of each operator that a default btree operator family lists, with its strategy.
static STRATEGIES: LazyLock<HashMap<Oid, BtreeStrategy>> = LazyLock::new(|| {
    let ordered_by_default =
        |ty: Oid, family: Oid| builtin().ordering(ty).is_some_and(|o| o.family == family);
    builtin()
        .operators()
        .iter()
        .filter_map(|operator| {
            let (family, strategy) = builtin().btree_strategy(operator.oid)?;
            ordered_by_default(operator.left, family).then_some((operator.code, strategy))
        })
        .collect()
});

/// The comparison that a function is, if it implements an operator of its type's default btree order.
pub fn comparison_strategy(func: Oid) -> Option<BtreeStrategy> {
    STRATEGIES.get(&func).copied()
}

/// The key of a value in a column of another, comparable type: how an integer beyond the column's range
/// compares with every value of the column.
pub enum Converted {
    /// It has a key.
    Key(Datum),
    /// NULL: nothing compares true.
    Null,
    /// Smaller than all.
    BelowAll,
    /// Greater than all.
    AboveAll,
}

/// Converts a value for a key column.
pub fn convert(value: Datum, column: Oid) -> Converted {
    let limits = match column {
        oid::INT2 => (i64::from(i16::MIN), i64::from(i16::MAX)),
        oid::INT4 => (i64::from(i32::MIN), i64::from(i32::MAX)),
        oid::INT8 => (i64::MIN, i64::MAX),
        _ if value.is_null() => return Converted::Null,
        _ => return Converted::Key(value),
    };
    match value.as_i64() {
        None => Converted::Null,
        Some(v) if v < limits.0 => Converted::BelowAll,
        Some(v) if v > limits.1 => Converted::AboveAll,
        Some(v) => Converted::Key(match column {
            oid::INT2 => Datum::Int2(v as i16),
            oid::INT4 => Datum::Int4(v as i32),
            _ => Datum::Int8(v),
        }),
    }
}

/// A range of keys `[start, end)`, or a single key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeySpan {
    /// Exactly this key.
    Key(Vec<u8>),
    /// All keys from the first up to the second.
    Range(Vec<u8>, Vec<u8>),
    /// A range in each of several buckets.
    Spread(Spread),
}

impl KeySpan {
    /// True if the key is in the span.
    pub fn contains(&self, key: &[u8]) -> bool {
        match self {
            KeySpan::Key(only) => only == key,
            KeySpan::Range(start, end) => start.as_slice() <= key && key < end.as_slice(),
            KeySpan::Spread(spread) => spread.contains(key),
        }
    }
}

impl AccessPath {
    /// The keys to read, in key order, for these parameters. Empty if nothing can match.
    ///
    /// # Errors
    /// What the value expressions raise.
    pub fn spans(&self, layout: &TableLayout, params: &[Datum], env: &EvalEnv) -> PgResult<Vec<KeySpan>> {
        let (head, parts) = match self.index {
            None => (layout.head, layout.key.as_deref().unwrap_or(&[])),
            Some(i) => (layout.indexes[i].head, &layout.indexes[i].parts[..]),
        };
        let eval = |value: &KeyValue| value.expr.eval(&NoRow, params, env);
        let mut start = head.begin(32);
        for (value, part) in self.prefix.iter().zip(parts) {
            match convert(eval(value)?, part.ty) {
                Converted::Key(datum) => key::encode(part.ty, part.order, &datum, &mut start),
                Converted::Null | Converted::BelowAll | Converted::AboveAll => return Ok(Vec::new()),
            }
        }
        let given = self.prefix.len() + usize::from(!self.alternatives.is_empty());
        let is_whole = given > 0 && given == parts.len();
        let exact = |mut bytes: Vec<u8>| {
            if !self.point {
                return head.span_of(bytes, is_whole);
            }
            head.seal(&mut bytes);
            KeySpan::Key(bytes)
        };
        if self.alternatives.is_empty() {
            return match parts.get(self.prefix.len()) {
                Some(part) if self.lower.is_some() || self.upper.is_some() => {
                    let range = self.bounded(&start, part, params, env)?;
                    Ok(range.map(|(start, end)| head.spread(start, end)).into_iter().collect())
                }
                _ => Ok(vec![exact(start)]),
            };
        }
        let part = &parts[self.prefix.len()];
        let mut spans = Vec::new();
        let mut add = |datum: Datum| {
            if let Converted::Key(datum) = convert(datum, part.ty) {
                let mut bytes = start.clone();
                key::encode(part.ty, part.order, &datum, &mut bytes);
                spans.push(bytes);
            }
        };
        for value in &self.alternatives {
            match (eval(value)?, value.is_array) {
                (Datum::Array(array), true) => array.elements.iter().cloned().for_each(&mut add),
                (_, true) => {}
                (datum, false) => add(datum),
            }
        }
        spans.sort();
        spans.dedup();
        Ok(spans.into_iter().map(exact).collect())
    }

    /// The range between the bounds on the column after the prefix. NULLs are never within bounds.
    fn bounded(
        &self,
        prefix: &[u8],
        part: &KeyPart,
        params: &[Datum],
        env: &EvalEnv,
    ) -> PgResult<Option<(Vec<u8>, Vec<u8>)>> {
        let bound = |bound: &Option<Bound>| -> PgResult<Option<(Converted, bool)>> {
            match bound {
                None => Ok(None),
                Some(b) => Ok(Some((convert(b.value.expr.eval(&NoRow, params, env)?, part.ty), b.inclusive))),
            }
        };
        let encoded = |datum: &Datum| {
            let mut bytes = prefix.to_vec();
            key::encode(part.ty, part.order, datum, &mut bytes);
            bytes
        };
        let (lower, upper) = (bound(&self.lower)?, bound(&self.upper)?);
        // In key order the roles of the bounds are swapped for a descending column.
        let (first, last) = if part.order.descending { (upper, lower) } else { (lower, upper) };
        let (all_before, all_after) = if part.order.descending {
            (Converted::AboveAll, Converted::BelowAll)
        } else {
            (Converted::BelowAll, Converted::AboveAll)
        };
        let same = |a: &Converted, b: &Converted| std::mem::discriminant(a) == std::mem::discriminant(b);
        let values = key::value_range(prefix);
        let start = match first {
            None => values.0,
            Some((Converted::Key(datum), true)) => encoded(&datum),
            Some((Converted::Key(datum), false)) => match key::prefix_end(&encoded(&datum)) {
                Some(end) => end,
                None => return Ok(None),
            },
            Some((other, _)) if same(&other, &all_before) => values.0,
            Some(_) => return Ok(None),
        };
        let end = match last {
            None => values.1,
            Some((Converted::Key(datum), false)) => encoded(&datum),
            Some((Converted::Key(datum), true)) => match key::prefix_end(&encoded(&datum)) {
                Some(end) => end,
                None => return Ok(None),
            },
            Some((other, _)) if same(&other, &all_after) => values.1,
            Some(_) => return Ok(None),
        };
        Ok((start < end).then_some((start, end)))
    }
}

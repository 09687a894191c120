//! Reading [`Equality`] hints off a predicate.
//!
//! [`Hints::of`] looks, at planning time, for what a scan can look up by among the conjuncts of its filter:
//! `column = value`, `column IN (...)`, `column = ANY (array)`, and the pattern that psql wraps a plain name in,
//! `column ~ '^(name)$'`. The value must be free of the scan's own columns. [`Hints::resolve`] evaluates the values,
//! once for each run. The filter stays in place: a hint that is not found or cannot be evaluated costs time, not truth.

use std::sync::LazyLock;

use hashbrown::HashSet;
use shardforge_types::{Datum, Oid};

use super::Equality;
use crate::catalog::builtin::{BtreeStrategy, Volatility, builtin};
use crate::ir::{Col, ColId, Scalar, ScalarKind};

/// What a filter says of the columns of a system scan.
#[derive(Clone, Debug, Default)]
pub struct Hints {
    found: Vec<(i16, Source)>,
}

/// Where the values of a hint come from.
#[derive(Clone, Debug)]
enum Source {
    /// Each expression is a value.
    Values(Vec<Scalar>),
    /// An array of values.
    Array(Scalar),
    /// A regular expression that may be a plain name.
    Pattern(Scalar),
}

/// The functions behind the `=` operators of btree families.
static EQUALITIES: LazyLock<HashSet<Oid>> = LazyLock::new(|| {
    let is_equality =
        |operator: Oid| matches!(builtin().btree_strategy(operator), Some((_, BtreeStrategy::Equal)));
    builtin().operators().iter().filter(|o| o.name == "=" && is_equality(o.oid)).map(|o| o.code).collect()
});

/// `nameregexeq` and `textregexeq`, in pg_proc.
const REGEX_MATCHES: [Oid; 2] = [Oid(79), Oid(1254)];

impl Hints {
    /// The hints in a predicate over a scan with these columns.
    pub fn of(predicate: &Scalar, cols: &[(Col, i16)]) -> Hints {
        let mut hints = Hints::default();
        hints.collect(predicate, cols);
        hints
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    /// The hints with their values. `eval` computes an expression without columns of the scan; where it fails or does not
    /// know a column the hint is dropped.
    pub fn resolve<E>(&self, mut eval: impl FnMut(&Scalar) -> Result<Datum, E>) -> Vec<Equality> {
        let mut out = Vec::new();
        for (attnum, source) in &self.found {
            let values = match source {
                Source::Values(list) => list.iter().map(|s| eval(s).ok()).collect::<Option<Vec<Datum>>>(),
                Source::Array(array) => match eval(array) {
                    Ok(Datum::Array(array)) => Some(array.elements.clone()),
                    Ok(Datum::Null) => Some(Vec::new()),
                    _ => None,
                },
                Source::Pattern(pattern) => match eval(pattern) {
                    Ok(Datum::Text(pattern)) => plain_name(&pattern).map(|name| vec![Datum::text(name)]),
                    _ => None,
                },
            };
            out.extend(values.map(|values| Equality { attnum: *attnum, values }));
        }
        out
    }

    fn collect(&mut self, predicate: &Scalar, cols: &[(Col, i16)]) {
        match &predicate.kind {
            ScalarKind::And(list) => list.iter().for_each(|conjunct| self.collect(conjunct, cols)),
            ScalarKind::Call(call) if EQUALITIES.contains(&call.func) => {
                if let [left, right] = call.args.as_slice() {
                    self.add(left, || Source::Values(vec![right.clone()]), &[right], cols);
                    self.add(right, || Source::Values(vec![left.clone()]), &[left], cols);
                }
            }
            ScalarKind::Call(call) if REGEX_MATCHES.contains(&call.func) => {
                if let [left, right] = call.args.as_slice() {
                    self.add(left, || Source::Pattern(right.clone()), &[right], cols);
                }
            }
            ScalarKind::InList { eq, left, list } if EQUALITIES.contains(eq) => {
                let items: Vec<&Scalar> = list.iter().collect();
                self.add(left, || Source::Values(list.clone()), &items, cols);
            }
            ScalarKind::ArrayOp { func, any: true, left, array } if EQUALITIES.contains(func) => {
                self.add(left, || Source::Array((**array).clone()), &[array], cols);
            }
            _ => {}
        }
    }

    fn add(
        &mut self,
        column: &Scalar,
        source: impl FnOnce() -> Source,
        values: &[&Scalar],
        cols: &[(Col, i16)],
    ) {
        let attnum = column_of(column).and_then(|id| cols.iter().find(|(col, _)| col.id == id));
        if let Some((_, attnum)) = attnum
            && values.iter().all(|value| is_free_of(value, cols))
        {
            self.found.push((*attnum, source()));
        }
    }
}

/// The column behind relabelings.
fn column_of(scalar: &Scalar) -> Option<ColId> {
    match &scalar.kind {
        ScalarKind::Column(id) => Some(*id),
        ScalarKind::Relabel(inner) => column_of(inner),
        _ => None,
    }
}

/// Whether an expression is of a simple form and uses none of the columns.
fn is_free_of(scalar: &Scalar, cols: &[(Col, i16)]) -> bool {
    match &scalar.kind {
        ScalarKind::Const(_) | ScalarKind::Param(_) => true,
        ScalarKind::Column(id) => cols.iter().all(|(col, _)| col.id != *id),
        ScalarKind::Relabel(inner) | ScalarKind::IoCast(inner) => is_free_of(inner, cols),
        ScalarKind::ApplyTypmod { arg, .. } => is_free_of(arg, cols),
        ScalarKind::Array { elems, .. } => elems.iter().all(|e| is_free_of(e, cols)),
        ScalarKind::Call(call) => {
            let is_stable =
                builtin().proc_by_oid(call.func).is_some_and(|f| f.volatility < Volatility::Volatile);
            is_stable && call.args.iter().all(|a| is_free_of(a, cols))
        }
        _ => false,
    }
}

/// The name that `^(name)$` or `^name$` stands for, if nothing in it is special.
fn plain_name(pattern: &str) -> Option<&str> {
    let inner = pattern.strip_prefix('^')?.strip_suffix('$')?;
    let inner = inner.strip_prefix('(').and_then(|i| i.strip_suffix(')')).unwrap_or(inner);
    let is_plain = |c: char| c.is_alphanumeric() || c == '_' || c == ' ' || c == '-';
    inner.chars().all(is_plain).then_some(inner)
}

#[cfg(test)]
mod tests {
    use shardforge_types::oid;

    use super::*;
    use crate::ir::Ty;

    const COLS: [(Col, i16); 2] = [
        (Col { id: ColId(1), ty: Ty { oid: oid::OID, typmod: -1, collation: Oid(0) } }, 1),
        (Col { id: ColId(2), ty: Ty { oid: oid::NAME, typmod: -1, collation: Oid(950) } }, 2),
    ];

    fn column(n: usize) -> Scalar {
        Scalar::column(COLS[n].0.id, COLS[n].0.ty)
    }

    fn operator(name: &str, left: Scalar, right: Scalar) -> Scalar {
        let found = builtin().operator_exact(name, left.ty.oid, right.ty.oid).expect("an operator");
        Scalar::call(found.code, vec![left, right], Ty::new(oid::BOOL))
    }

    fn constant(value: Datum, ty: Oid) -> Scalar {
        Scalar::constant(value, Ty::new(ty))
    }

    fn resolved(predicate: &Scalar) -> Vec<(i16, Vec<Datum>)> {
        let eval = |scalar: &Scalar| match &scalar.kind {
            ScalarKind::Const(value) => Ok(value.clone()),
            _ => Err(()),
        };
        Hints::of(predicate, &COLS).resolve(eval).into_iter().map(|e| (e.attnum, e.values)).collect()
    }

    #[test]
    fn equalities_and_lists() {
        let by_oid = operator("=", constant(Datum::Oid(5), oid::OID), column(0));
        let by_name = operator("=", column(1), constant(Datum::text("t"), oid::TEXT));
        let both = Scalar::and(vec![by_oid.clone(), by_name]);
        assert_eq!(resolved(&both), [(1, vec![Datum::Oid(5)]), (2, vec![Datum::text("t")])]);
        let ScalarKind::Call(call) = &by_oid.kind else { panic!("a call") };
        let list = vec![constant(Datum::Oid(1), oid::OID), constant(Datum::Oid(2), oid::OID)];
        let kind = ScalarKind::InList { eq: call.func, left: Box::new(column(0)), list };
        let in_list = Scalar { kind, ty: Ty::new(oid::BOOL), pos: None };
        assert_eq!(resolved(&in_list), [(1, vec![Datum::Oid(1), Datum::Oid(2)])]);
        assert_eq!(resolved(&operator("<", column(0), constant(Datum::Oid(5), oid::OID))), []);
        assert_eq!(resolved(&operator("=", column(0), column(0))), []);
    }

    #[test]
    fn names_in_patterns() {
        let pattern = |text| operator("~", column(1), constant(Datum::text(text), oid::TEXT));
        assert_eq!(resolved(&pattern("^(pg_class)$")), [(2, vec![Datum::text("pg_class")])]);
        assert_eq!(resolved(&pattern("^(pg_.*)$")), []);
        assert_eq!(resolved(&pattern("pg_class")), []);
    }
}

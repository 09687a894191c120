//! Operators and casts: pg_operator and pg_cast.

use hashbrown::HashMap;
use shardforge_types::Oid;

use super::data;
use super::tsv::{Row, Tsv, columns};

/// A row of pg_operator. Fields are named as the columns are, without `opr`.
#[derive(Clone, Debug)]
pub struct OperatorDesc {
    /// The operator's oid.
    pub oid: Oid,
    /// Its name: `+`, `~~`.
    pub name: &'static str,
    /// The schema's oid.
    pub namespace: Oid,
    /// Whether a merge join can use it.
    pub can_merge: bool,
    /// Whether a hash join can use it.
    pub can_hash: bool,
    /// The type of the left operand; 0 for a prefix operator.
    pub left: Oid,
    /// The type of the right operand.
    pub right: Oid,
    /// The type of the result.
    pub result: Oid,
    /// The same with its operands swapped, or 0.
    pub commutator: Oid,
    /// The one with the opposite answer, or 0.
    pub negator: Oid,
    /// The function that computes it.
    pub code: Oid,
}

/// `pg_cast.castcontext`: where a cast may be applied without being written. Ordered by how freely.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CastContext {
    /// Anywhere in an expression.
    Implicit,
    /// On assignment to a column.
    Assignment,
    /// Only where CAST or `::` asks for it.
    Explicit,
}

/// `pg_cast.castmethod`: how a cast is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CastMethod {
    /// By [`CastDesc::func`].
    Function,
    /// Not at all: the values look the same.
    Binary,
    /// Through the text form.
    InOut,
}

/// A row of pg_cast.
#[derive(Clone, Debug)]
pub struct CastDesc {
    /// The cast's oid.
    pub oid: Oid,
    /// From this type.
    pub source: Oid,
    /// To this type; equal to `source` where the cast applies a type modifier.
    pub target: Oid,
    /// The function, or 0.
    pub func: Oid,
    /// Where it may be applied without being written.
    pub context: CastContext,
    /// How it is done.
    pub method: CastMethod,
}

/// All built-in operators and casts.
#[derive(Debug)]
pub(super) struct Operators {
    pub all: &'static [OperatorDesc],
    pub by_oid: HashMap<Oid, &'static OperatorDesc>,
    pub by_name: HashMap<&'static str, Vec<&'static OperatorDesc>>,
    pub casts: HashMap<(Oid, Oid), CastDesc>,
}

impl Operators {
    pub fn load() -> Self {
        let all: &'static [OperatorDesc] = Vec::leak(load_operators());
        let mut by_name: HashMap<&'static str, Vec<&'static OperatorDesc>> = HashMap::new();
        for operator in all {
            by_name.entry(operator.name).or_default().push(operator);
        }
        Self { all, by_oid: all.iter().map(|o| (o.oid, o)).collect(), by_name, casts: load_casts() }
    }
}

fn load_operators() -> Vec<OperatorDesc> {
    let tsv = Tsv::new(data::PG_OPERATOR);
    columns!(
        tsv: oid, oprname, oprnamespace, oprcanmerge, oprcanhash, oprleft, oprright, oprresult, oprcom, oprnegate,
        oprcode
    );
    let operator = |row: Row| OperatorDesc {
        oid: row.oid(oid),
        name: row.name(oprname),
        namespace: row.oid(oprnamespace),
        can_merge: row.bool(oprcanmerge),
        can_hash: row.bool(oprcanhash),
        left: row.oid(oprleft),
        right: row.oid(oprright),
        result: row.oid(oprresult),
        commutator: row.oid(oprcom),
        negator: row.oid(oprnegate),
        code: row.oid(oprcode),
    };
    tsv.iter().map(operator).collect()
}

fn load_casts() -> HashMap<(Oid, Oid), CastDesc> {
    let tsv = Tsv::new(data::PG_CAST);
    columns!(tsv: oid, castsource, casttarget, castfunc, castcontext, castmethod);
    let cast = |row: Row| CastDesc {
        oid: row.oid(oid),
        source: row.oid(castsource),
        target: row.oid(casttarget),
        func: row.oid(castfunc),
        context: match row.char(castcontext) {
            b'i' => CastContext::Implicit,
            b'a' => CastContext::Assignment,
            _ => CastContext::Explicit,
        },
        method: match row.char(castmethod) {
            b'f' => CastMethod::Function,
            b'b' => CastMethod::Binary,
            _ => CastMethod::InOut,
        },
    };
    tsv.iter().map(cast).map(|c| ((c.source, c.target), c)).collect()
}

//! Access methods and their operator classes: pg_am, pg_opclass, pg_opfamily, pg_amop and pg_amproc.
//!
//! ```text
//!   type -- default opclass --> opfamily -- (left, right, strategy) --> operator    pg_amop
//!                                        -- (left, right, number)   --> function    pg_amproc
//! ```

use hashbrown::HashMap;
use shardforge_types::Oid;

use super::data;
use super::tsv::{Row, Tsv, columns};

/// The oid of the btree access method.
pub const BTREE_AM: Oid = Oid(403);
/// The oid of the hash access method.
pub const HASH_AM: Oid = Oid(405);
/// The oid of the heap table access method.
pub const HEAP_AM: Oid = Oid(2);

/// A btree strategy: the number of a comparison in an operator family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BtreeStrategy {
    /// `<`
    Less = 1,
    /// `<=`
    LessEqual = 2,
    /// `=`
    Equal = 3,
    /// `>=`
    GreaterEqual = 4,
    /// `>`
    Greater = 5,
}

impl BtreeStrategy {
    /// From the number in pg_amop.
    pub fn from_number(n: i16) -> Option<Self> {
        Some(match n {
            1 => Self::Less,
            2 => Self::LessEqual,
            3 => Self::Equal,
            4 => Self::GreaterEqual,
            5 => Self::Greater,
            _ => return None,
        })
    }
}

/// A row of pg_am.
#[derive(Clone, Debug)]
pub struct AccessMethodDesc {
    /// The access method's oid.
    pub oid: Oid,
    /// Its name: `btree`.
    pub name: &'static str,
    /// `i` for indexes, `t` for tables.
    pub kind: u8,
}

/// A row of pg_opclass.
#[derive(Clone, Debug)]
pub struct OpClassDesc {
    /// The operator class's oid.
    pub oid: Oid,
    /// The access method.
    pub am: Oid,
    /// Its name: `int4_ops`.
    pub name: &'static str,
    /// The schema's oid.
    pub namespace: Oid,
    /// The operator family.
    pub family: Oid,
    /// The type that it indexes.
    pub intype: Oid,
    /// Whether it is what an index on that type uses unasked.
    pub default: bool,
    /// The type stored in the index, or 0 for the same.
    pub keytype: Oid,
}

/// A row of pg_opfamily.
#[derive(Clone, Debug)]
pub struct OpFamilyDesc {
    /// The operator family's oid.
    pub oid: Oid,
    /// The access method.
    pub am: Oid,
    /// Its name: `integer_ops`.
    pub name: &'static str,
}

/// A row of pg_amop: an operator's place in a family.
#[derive(Clone, Debug)]
pub struct FamilyOperator {
    /// The family.
    pub family: Oid,
    /// The type of the left operand.
    pub left: Oid,
    /// The type of the right operand.
    pub right: Oid,
    /// The strategy number.
    pub strategy: i16,
    /// `s` to search by, `o` to order by.
    pub purpose: u8,
    /// The operator.
    pub operator: Oid,
    /// The access method.
    pub am: Oid,
}

/// A type's default btree order: what ORDER BY, DISTINCT and indexes go by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TypeOrdering {
    /// The operator class.
    pub opclass: Oid,
    /// The operator family.
    pub family: Oid,
    /// The type that the family knows: `text` for varchar, `anyarray` for arrays.
    pub intype: Oid,
    /// `<`
    pub lt: Oid,
    /// `=`
    pub eq: Oid,
    /// `>`
    pub gt: Oid,
    /// The three-way comparison function.
    pub cmp: Oid,
}

/// All built-in operator classes.
#[derive(Debug)]
pub(super) struct OpClasses {
    pub access_methods: Vec<AccessMethodDesc>,
    pub classes: Vec<OpClassDesc>,
    pub families: Vec<OpFamilyDesc>,
    pub operators: HashMap<(Oid, Oid, Oid, i16), Oid>,
    pub memberships: HashMap<Oid, Vec<FamilyOperator>>,
    pub procs: HashMap<(Oid, Oid, Oid, i16), Oid>,
}

impl OpClasses {
    pub fn load() -> Self {
        let (operators, memberships) = load_operators();
        Self {
            access_methods: load_access_methods(),
            classes: load_classes(),
            families: load_families(),
            operators,
            memberships,
            procs: load_procs(),
        }
    }

    /// The default class for exactly this type.
    pub fn default_exact(&self, am: Oid, intype: Oid) -> Option<&OpClassDesc> {
        self.classes.iter().find(|c| c.am == am && c.default && c.intype == intype)
    }
}

fn load_access_methods() -> Vec<AccessMethodDesc> {
    let tsv = Tsv::new(data::PG_AM);
    columns!(tsv: oid, amname, amtype);
    tsv.iter()
        .map(|row| AccessMethodDesc { oid: row.oid(oid), name: row.name(amname), kind: row.char(amtype) })
        .collect()
}

fn load_classes() -> Vec<OpClassDesc> {
    let tsv = Tsv::new(data::PG_OPCLASS);
    columns!(tsv: oid, opcmethod, opcname, opcnamespace, opcfamily, opcintype, opcdefault, opckeytype);
    let class = |row: Row| OpClassDesc {
        oid: row.oid(oid),
        am: row.oid(opcmethod),
        name: row.name(opcname),
        namespace: row.oid(opcnamespace),
        family: row.oid(opcfamily),
        intype: row.oid(opcintype),
        default: row.bool(opcdefault),
        keytype: row.oid(opckeytype),
    };
    tsv.iter().map(class).collect()
}

fn load_families() -> Vec<OpFamilyDesc> {
    let tsv = Tsv::new(data::PG_OPFAMILY);
    columns!(tsv: oid, opfmethod, opfname);
    tsv.iter()
        .map(|row| OpFamilyDesc { oid: row.oid(oid), am: row.oid(opfmethod), name: row.name(opfname) })
        .collect()
}

/// The operators by their place, and the places by operator.
type FamilyOperators = (HashMap<(Oid, Oid, Oid, i16), Oid>, HashMap<Oid, Vec<FamilyOperator>>);

fn load_operators() -> FamilyOperators {
    let tsv = Tsv::new(data::PG_AMOP);
    columns!(
        tsv: amopfamily, amoplefttype, amoprighttype, amopstrategy, amoppurpose, amopopr, amopmethod
    );
    let mut by_place = HashMap::with_capacity(tsv.len());
    let mut by_operator: HashMap<Oid, Vec<FamilyOperator>> = HashMap::with_capacity(tsv.len());
    for row in tsv.iter() {
        let member = FamilyOperator {
            family: row.oid(amopfamily),
            left: row.oid(amoplefttype),
            right: row.oid(amoprighttype),
            strategy: row.number(amopstrategy),
            purpose: row.char(amoppurpose),
            operator: row.oid(amopopr),
            am: row.oid(amopmethod),
        };
        by_place.insert((member.family, member.left, member.right, member.strategy), member.operator);
        by_operator.entry(member.operator).or_default().push(member);
    }
    (by_place, by_operator)
}

fn load_procs() -> HashMap<(Oid, Oid, Oid, i16), Oid> {
    let tsv = Tsv::new(data::PG_AMPROC);
    columns!(tsv: amprocfamily, amproclefttype, amprocrighttype, amprocnum, amproc);
    let place = |row: &Row| {
        (row.oid(amprocfamily), row.oid(amproclefttype), row.oid(amprocrighttype), row.number(amprocnum))
    };
    tsv.iter().map(|row| (place(&row), row.oid(amproc))).collect()
}

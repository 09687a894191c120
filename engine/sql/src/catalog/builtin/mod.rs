//! What a fresh PostgreSQL 18 knows: its types, functions, operators, casts, operator classes and settings.
//!
//! PostgreSQL decides by looking into its own catalogs: which function `length(x)` means, whether an int4 may stand
//! where a numeric is wanted, how a type is ordered. The binder here decides by the same rows, and the virtual tables
//! of `pg_catalog` show them, so what a client reads is what happens.
//!
//! ```text
//!   PostgreSQL 18 -- tools/catalog-data.sh --> engine/sql/data/catalog/*.tsv -- include_str! --> the binary
//!                                                                  first use |
//!                                      Builtin { types, procs, operators, casts, opclasses }
//! ```
//!
//! The files are in the binary; the structures are built from them once, at first use, in a few milliseconds, and
//! mostly borrow. They never change: what users create is in the catalog snapshot and its lookups ask both.
//!
//! Invariants
//! - Oids are PostgreSQL's own, all below [`FIRST_USER_OID`](super::well_known::FIRST_USER_OID).
//! - That a function is listed says that PostgreSQL has it, not that `func/` can run it.

pub(crate) mod data;
mod opclass;
mod operators;
mod procs;
mod relations;
mod settings;
pub(crate) mod tsv;
mod types;

use std::sync::LazyLock;

use shardforge_types::Oid;

pub use opclass::{
    AccessMethodDesc, BTREE_AM, BtreeStrategy, FamilyOperator, HASH_AM, HEAP_AM, OpClassDesc, OpFamilyDesc,
    TypeOrdering,
};
pub use operators::{CastContext, CastDesc, CastMethod, OperatorDesc};
pub use procs::{AggregateDesc, AggregateKind, ArgMode, ProcDesc, ProcKind, ProcParam, Volatility};
pub use relations::{
    SystemColumn, SystemRelation, system_relation, system_relation_by_name, system_relations,
};
pub use settings::{SettingContext, SettingDesc, SettingType, setting, settings};
pub use types::{RangeDesc, TypeDesc, TypeKind};

/// The built-in objects. See the module's essay.
#[derive(Debug)]
pub struct Builtin {
    types: types::Types,
    procs: procs::Procs,
    operators: operators::Operators,
    opclasses: opclass::OpClasses,
}

static BUILTIN: LazyLock<Builtin> = LazyLock::new(Builtin::load);

/// The built-in objects, loaded at first use.
pub fn builtin() -> &'static Builtin {
    &BUILTIN
}

impl Builtin {
    fn load() -> Self {
        Self {
            types: types::Types::load(),
            procs: procs::Procs::load(),
            operators: operators::Operators::load(),
            opclasses: opclass::OpClasses::load(),
        }
    }

    /// All types, ordered by oid.
    pub fn types(&self) -> &'static [TypeDesc] {
        self.types.all
    }

    /// A type by its oid.
    pub fn type_by_oid(&self, oid: Oid) -> Option<&'static TypeDesc> {
        self.types.by_oid.get(&oid).copied()
    }

    /// A type by its schema and its internal name (`int4`, `_text`).
    pub fn type_by_name(&self, namespace: Oid, name: &str) -> Option<&'static TypeDesc> {
        self.types.by_name(namespace, name)
    }

    /// All range types.
    pub fn ranges(&self) -> &[RangeDesc] {
        &self.types.ranges
    }

    /// All functions, ordered by oid.
    pub fn procs(&self) -> &'static [ProcDesc] {
        self.procs.all
    }

    /// A function by its oid.
    pub fn proc_by_oid(&self, oid: Oid) -> Option<&'static ProcDesc> {
        self.procs.by_oid.get(&oid).copied()
    }

    /// The functions of a name, whatever their schema.
    pub fn procs_by_name(&self, name: &str) -> &[&'static ProcDesc] {
        self.procs.by_name.get(name).map_or(&[], Vec::as_slice)
    }

    /// What pg_aggregate adds to an aggregate function.
    pub fn aggregate(&self, proc: Oid) -> Option<&AggregateDesc> {
        self.procs.aggregates.get(&proc)
    }

    /// All operators, ordered by oid.
    pub fn operators(&self) -> &'static [OperatorDesc] {
        self.operators.all
    }

    /// An operator by its oid.
    pub fn operator(&self, oid: Oid) -> Option<&'static OperatorDesc> {
        self.operators.by_oid.get(&oid).copied()
    }

    /// The operators of a name; prefix operators have a `left` of 0.
    pub fn operators_by_name(&self, name: &str) -> &[&'static OperatorDesc] {
        self.operators.by_name.get(name).map_or(&[], Vec::as_slice)
    }

    /// The operator of exactly these operand types.
    pub fn operator_exact(&self, name: &str, left: Oid, right: Oid) -> Option<&'static OperatorDesc> {
        self.operators_by_name(name).iter().copied().find(|o| o.left == left && o.right == right)
    }

    /// The cast between two types, as pg_cast has it. Casts through text and those of arrays are not in it.
    pub fn cast(&self, source: Oid, target: Oid) -> Option<&CastDesc> {
        self.operators.casts.get(&(source, target))
    }

    /// All casts, in no order.
    pub fn casts(&self) -> impl Iterator<Item = &CastDesc> {
        self.operators.casts.values()
    }

    /// All access methods.
    pub fn access_methods(&self) -> &[AccessMethodDesc] {
        &self.opclasses.access_methods
    }

    /// All operator classes, ordered by oid.
    pub fn opclasses(&self) -> &[OpClassDesc] {
        &self.opclasses.classes
    }

    /// An operator class by its oid.
    pub fn opclass(&self, oid: Oid) -> Option<&OpClassDesc> {
        self.opclasses.classes.iter().find(|c| c.oid == oid)
    }

    /// An operator class by its access method and name (`text_pattern_ops`).
    pub fn opclass_by_name(&self, am: Oid, name: &str) -> Option<&OpClassDesc> {
        self.opclasses.classes.iter().find(|c| c.am == am && c.name == name)
    }

    /// An operator family by its oid.
    pub fn opfamily(&self, oid: Oid) -> Option<&OpFamilyDesc> {
        self.opclasses.families.iter().find(|f| f.oid == oid)
    }

    /// The operator at a place in a family.
    pub fn family_operator(&self, family: Oid, left: Oid, right: Oid, strategy: i16) -> Option<Oid> {
        self.opclasses.operators.get(&(family, left, right, strategy)).copied()
    }

    /// The support function at a place in a family (btree: 1 compares; hash: 1 hashes).
    pub fn family_proc(&self, family: Oid, left: Oid, right: Oid, number: i16) -> Option<Oid> {
        self.opclasses.procs.get(&(family, left, right, number)).copied()
    }

    /// The places that an operator has in families.
    pub fn families_of(&self, operator: Oid) -> &[FamilyOperator] {
        self.opclasses.memberships.get(&operator).map_or(&[], Vec::as_slice)
    }

    /// Which btree comparison an operator is: its family and strategy, the default family of its type first.
    pub fn btree_strategy(&self, operator: Oid) -> Option<(Oid, BtreeStrategy)> {
        let places = self.families_of(operator).iter().filter(|f| f.am == BTREE_AM && f.purpose == b's');
        let is_default = |f: &FamilyOperator| {
            self.opclasses.default_exact(BTREE_AM, f.left).is_some_and(|class| class.family == f.family)
        };
        let best = places.max_by_key(|f| is_default(f))?;
        Some((best.family, BtreeStrategy::from_number(best.strategy)?))
    }

    /// The operator class that an index on a built-in type uses unasked, as PostgreSQL's `GetDefaultOpClass`: the one
    /// for that very type, else for a type it is binary coercible to, a preferred one first.
    pub fn default_opclass(&self, am: Oid, ty: Oid) -> Option<&OpClassDesc> {
        let ty = self.base_type(ty);
        if let Some(class) = self.opclasses.default_exact(am, ty) {
            return Some(class);
        }
        let candidates = || {
            let defaults = self.opclasses.classes.iter().filter(move |c| c.am == am && c.default);
            defaults.filter(move |c| self.is_binary_coercible(ty, c.intype))
        };
        let preferred = candidates().find(|c| self.type_by_oid(c.intype).is_some_and(|t| t.preferred));
        preferred.or_else(|| candidates().next())
    }

    /// How a built-in type is ordered, if it is.
    pub fn ordering(&self, ty: Oid) -> Option<TypeOrdering> {
        let class = self.default_opclass(BTREE_AM, ty)?;
        let (family, intype) = (class.family, class.intype);
        let operator =
            |strategy: BtreeStrategy| self.family_operator(family, intype, intype, strategy as i16);
        Some(TypeOrdering {
            opclass: class.oid,
            family,
            intype,
            lt: operator(BtreeStrategy::Less)?,
            eq: operator(BtreeStrategy::Equal)?,
            gt: operator(BtreeStrategy::Greater)?,
            cmp: self.family_proc(family, intype, intype, 1)?,
        })
    }

    /// The type itself, or what a built-in domain is made of.
    pub fn base_type(&self, mut ty: Oid) -> Oid {
        while let Some(desc) = self.type_by_oid(ty).filter(|t| t.kind == TypeKind::Domain) {
            ty = desc.basetype;
        }
        ty
    }

    /// Whether a value of one built-in type can stand for the other without any work, as PostgreSQL's
    /// `IsBinaryCoercible`.
    pub fn is_binary_coercible(&self, source: Oid, target: Oid) -> bool {
        use shardforge_types::oid;
        let source = self.base_type(source);
        if source == target || target == oid::ANY || target == oid::ANYELEMENT || target == oid::ANYCOMPATIBLE
        {
            return true;
        }
        let cast = self.cast(source, target);
        if cast.is_some_and(|c| c.method == CastMethod::Binary && c.context == CastContext::Implicit) {
            return true;
        }
        let Some(desc) = self.type_by_oid(source) else { return false };
        match target {
            oid::ANYARRAY | oid::ANYCOMPATIBLEARRAY => desc.is_array(),
            oid::ANYENUM => desc.kind == TypeKind::Enum,
            oid::ANYRANGE | oid::ANYCOMPATIBLERANGE => desc.kind == TypeKind::Range,
            oid::ANYMULTIRANGE | oid::ANYCOMPATIBLEMULTIRANGE => desc.kind == TypeKind::Multirange,
            oid::RECORD => desc.kind == TypeKind::Composite,
            oid::RECORD_ARRAY => {
                desc.is_array() && self.type_by_oid(desc.elem).is_some_and(|t| t.kind == TypeKind::Composite)
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests;

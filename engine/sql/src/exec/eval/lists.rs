//! `x IN (long list of constants)` as a look-up in a hash set.

use std::fmt;
use std::hash::{BuildHasher, Hash, Hasher};

use hashbrown::HashTable;
use shardforge_types::{Datum, Oid, compare};

/// From how many items on a hash set is worth its while.
pub(super) const WORTH_HASHING: usize = 9;

/// A set of values of one type, equal as the type's `=` has it.
pub(super) struct ValueSet {
    ty: Oid,
    values: HashTable<Datum>,
    has_null: bool,
    hasher: foldhash::fast::RandomState,
}

impl ValueSet {
    pub(super) fn new(ty: Oid, items: impl IntoIterator<Item = Datum>) -> ValueSet {
        let mut set = ValueSet {
            ty,
            values: HashTable::new(),
            has_null: false,
            hasher: foldhash::fast::RandomState::default(),
        };
        for item in items {
            if item.is_null() {
                set.has_null = true;
                continue;
            }
            let hash = set.hash(&item);
            if set.find(hash, &item).is_none() {
                let (ty, hasher) = (set.ty, &set.hasher);
                set.values.insert_unique(hash, item, |value| hash_of(ty, hasher, value));
            }
        }
        set
    }

    /// `value IN (the set)`, three-valued.
    pub(super) fn contains(&self, value: &Datum) -> Datum {
        if value.is_null() {
            return Datum::Null;
        }
        match self.find(self.hash(value), value) {
            Some(_) => Datum::Bool(true),
            None if self.has_null => Datum::Null,
            None => Datum::Bool(false),
        }
    }

    fn hash(&self, value: &Datum) -> u64 {
        hash_of(self.ty, &self.hasher, value)
    }

    fn find(&self, hash: u64, value: &Datum) -> Option<&Datum> {
        self.values.find(hash, |other| compare::cmp(self.ty, value, other).is_eq())
    }
}

fn hash_of(ty: Oid, hasher: &foldhash::fast::RandomState, value: &Datum) -> u64 {
    /// Hashes a datum as its type does.
    struct Typed<'a>(Oid, &'a Datum);
    impl Hash for Typed<'_> {
        fn hash<H: Hasher>(&self, state: &mut H) {
            compare::hash(self.0, self.1, state);
        }
    }
    hasher.hash_one(Typed(ty, value))
}

impl fmt::Debug for ValueSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ValueSet")
            .field("ty", &self.ty)
            .field("len", &self.values.len())
            .finish_non_exhaustive()
    }
}

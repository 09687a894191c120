//! Lock modes and their conflicts, as in PostgreSQL's documentation, "Explicit Locking".

use crate::types::{LockStrength, ObjectLockMode};

/// A mode of one of the three kinds of lock, as the lock table sees it. Modes of different kinds never meet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum LockMode {
    Row(LockStrength),
    Object(ObjectLockMode),
    /// Held by a spilled transaction on itself.
    Running,
    /// Taken by who waits for such a transaction to end.
    Ended,
}

/// Bit sets of the modes that each row lock strength conflicts with.
const ROW_CONFLICTS: [u8; 4] = [0b1000, 0b1100, 0b1110, 0b1111];

/// Bit sets of the modes that each table lock mode conflicts with.
const OBJECT_CONFLICTS: [u8; 8] = [
    0b1000_0000, // AccessShare
    0b1100_0000, // RowShare
    0b1111_0000, // RowExclusive
    0b1111_1000, // ShareUpdateExclusive
    0b1110_1100, // Share
    0b1111_1100, // ShareRowExclusive
    0b1111_1110, // Exclusive
    0b1111_1111, // AccessExclusive
];

impl LockMode {
    /// The mode's bit in a set of modes of its kind.
    pub(crate) const fn bit(self) -> u8 {
        match self {
            Self::Row(strength) => 1 << strength as u8,
            Self::Object(mode) => 1 << mode as u8,
            Self::Running => 1,
            Self::Ended => 2,
        }
    }

    /// The modes it conflicts with.
    pub(crate) const fn conflicts(self) -> u8 {
        match self {
            Self::Row(strength) => ROW_CONFLICTS[strength as usize],
            Self::Object(mode) => OBJECT_CONFLICTS[mode as usize],
            Self::Running => 2,
            Self::Ended => 1,
        }
    }

    /// The modes that are at least as strong: who holds one of them has this one too.
    pub(crate) const fn implied_by(self) -> u8 {
        match self {
            // The four strengths are a ladder.
            Self::Row(strength) => 0b1111 & !((1 << strength as u8) - 1),
            other => other.bit(),
        }
    }

    /// PostgreSQL's name for it. Row locks are shown as what they are on the row's tuple there.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Row(LockStrength::KeyShare) => "AccessShareLock",
            Self::Row(LockStrength::Share) => "RowShareLock",
            Self::Row(LockStrength::NoKeyUpdate) | Self::Running => "ExclusiveLock",
            Self::Row(LockStrength::Update) => "AccessExclusiveLock",
            Self::Object(mode) => mode.name(),
            Self::Ended => "ShareLock",
        }
    }

    /// The names of all modes in a set of this mode's kind.
    pub(crate) fn names_of(self, set: u8) -> Vec<&'static str> {
        self.modes_of(set).into_iter().map(Self::name).collect()
    }

    /// All modes in a set of this mode's kind.
    pub(crate) fn modes_of(self, set: u8) -> Vec<Self> {
        const STRENGTHS: [LockStrength; 4] =
            [LockStrength::KeyShare, LockStrength::Share, LockStrength::NoKeyUpdate, LockStrength::Update];
        const MODES: [ObjectLockMode; 8] = [
            ObjectLockMode::AccessShare,
            ObjectLockMode::RowShare,
            ObjectLockMode::RowExclusive,
            ObjectLockMode::ShareUpdateExclusive,
            ObjectLockMode::Share,
            ObjectLockMode::ShareRowExclusive,
            ObjectLockMode::Exclusive,
            ObjectLockMode::AccessExclusive,
        ];
        let mut all: Vec<Self> = match self {
            Self::Row(_) => STRENGTHS.into_iter().map(Self::Row).collect(),
            Self::Object(_) => MODES.into_iter().map(Self::Object).collect(),
            Self::Running | Self::Ended => vec![Self::Running, Self::Ended],
        };
        all.retain(|mode| mode.bit() & set != 0);
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conflicts_are_mutual() {
        for table in [&OBJECT_CONFLICTS[..], &ROW_CONFLICTS[..]] {
            for (left, forth) in table.iter().enumerate() {
                for (right, back) in table.iter().enumerate() {
                    assert_eq!(forth >> right & 1, back >> left & 1, "{left} against {right}");
                }
            }
        }
    }

    #[test]
    fn a_stronger_row_lock_implies_the_weaker() {
        let (weak, strong) = (LockMode::Row(LockStrength::Share), LockMode::Row(LockStrength::Update));
        assert!(weak.implied_by() & strong.bit() != 0);
        assert!(strong.implied_by() & weak.bit() == 0);
        assert_eq!(strong.names_of(0b1001), ["AccessShareLock", "AccessExclusiveLock"]);
    }
}

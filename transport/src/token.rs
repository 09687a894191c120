//! Join tokens: what a node shows to be let into a cluster, and by which it knows the cluster.
//!
//! ```text
//!   sfjoin1_ base64url( id (8) secret (32) expiry (8) fingerprint (32) check (4) )
//! ```
//!
//! - `id` finds the token's record at the cluster; `secret` is what only its bearer knows. The cluster keeps a digest
//!   of the secret, so its records are of no use to a thief.
//! - `fingerprint` is the SHA-256 of the cluster's CA certificate: the joining node checks the CA that it is shown
//!   against it, so nobody can pass for the cluster. All zeros: the cluster does without TLS, said aloud.
//! - `check` is there to tell a token that was copied badly from one that is not valid.
//!
//! That a token works once is a matter of who keeps the record: it is deleted in the transaction that admits the node.

use std::fmt;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rand::TryRngCore;
use rand::rngs::OsRng;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

const PREFIX: &str = "sfjoin1_";
const BODY_BYTES: usize = 8 + 32 + 8 + 32;
const CHECK_BYTES: usize = 4;

/// The SHA-256 of a certificate.
pub type Fingerprint = [u8; 32];

/// What stands for a CA's fingerprint where there is no CA.
const NO_CA: Fingerprint = [0; 32];

/// What is wrong with a token.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum TokenError {
    /// It is not a token, or not a whole one.
    #[error("this is not a join token: it must be copied whole, from {PREFIX} to its last character")]
    Malformed,
    /// The cluster has no such token, or it was used already.
    #[error("the join token is not known here: it was used already, withdrawn, or is another cluster's")]
    Unknown,
    /// Its time is over.
    #[error("the join token has expired")]
    Expired,
    /// The system's source of randomness failed.
    #[error("the system gave no random numbers")]
    NoRandomness,
}

/// A token as its bearer has it.
#[derive(Clone, PartialEq, Eq)]
pub struct JoinToken {
    credential: TokenCredential,
    /// Seconds since 1970.
    expires_at: u64,
    ca: Fingerprint,
}

/// What a token's bearer sends to the cluster.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenCredential {
    /// Which token it is; no secret.
    pub id: u64,
    secret: [u8; 32],
}

/// What the cluster keeps of a token.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct TokenRecord {
    /// Which token it is.
    pub id: u64,
    /// When it ends to be valid, in seconds since 1970.
    pub expires_at: u64,
    digest: [u8; 32],
}

impl JoinToken {
    /// Makes a token that is valid until `expires_at` (seconds since 1970), for the cluster of this CA (`None`: one
    /// without TLS).
    ///
    /// # Errors
    /// [`TokenError::NoRandomness`].
    pub fn new(ca: Option<Fingerprint>, expires_at: u64) -> Result<Self, TokenError> {
        let (mut id, mut secret) = ([0; 8], [0; 32]);
        OsRng.try_fill_bytes(&mut id).map_err(|_| TokenError::NoRandomness)?;
        OsRng.try_fill_bytes(&mut secret).map_err(|_| TokenError::NoRandomness)?;
        let credential = TokenCredential { id: u64::from_be_bytes(id), secret };
        Ok(Self { credential, expires_at, ca: ca.unwrap_or(NO_CA) })
    }

    /// What the cluster has to keep of it.
    #[must_use]
    pub fn record(&self) -> TokenRecord {
        let digest = self.credential.digest();
        TokenRecord { id: self.credential.id, expires_at: self.expires_at, digest }
    }

    /// What is sent to the cluster to prove that one has it.
    #[must_use]
    pub fn credential(&self) -> &TokenCredential {
        &self.credential
    }

    /// The fingerprint of the cluster's CA; `None` where it has none.
    #[must_use]
    pub fn ca(&self) -> Option<Fingerprint> {
        (self.ca != NO_CA).then_some(self.ca)
    }

    /// When it ends to be valid, in seconds since 1970.
    #[must_use]
    pub fn expires_at(&self) -> u64 {
        self.expires_at
    }

    /// Its form to be copied: it contains the secret, which [`fmt::Debug`] hides.
    #[must_use]
    pub fn reveal(&self) -> String {
        let mut bytes = Vec::with_capacity(BODY_BYTES + CHECK_BYTES);
        bytes.extend(self.credential.id.to_be_bytes());
        bytes.extend(self.credential.secret);
        bytes.extend(self.expires_at.to_be_bytes());
        bytes.extend(self.ca);
        let check: [u8; 32] = Sha256::digest(&bytes).into();
        bytes.extend(&check[..CHECK_BYTES]);
        format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(bytes))
    }
}

impl FromStr for JoinToken {
    type Err = TokenError;

    fn from_str(text: &str) -> Result<Self, TokenError> {
        let body = text.trim().strip_prefix(PREFIX).ok_or(TokenError::Malformed)?;
        let bytes = URL_SAFE_NO_PAD.decode(body).map_err(|_| TokenError::Malformed)?;
        let (body, check) = bytes.split_at_checked(BODY_BYTES).ok_or(TokenError::Malformed)?;
        let expected: [u8; 32] = Sha256::digest(body).into();
        if check != &expected[..CHECK_BYTES] {
            return Err(TokenError::Malformed);
        }
        let (id, body) = body.split_first_chunk().ok_or(TokenError::Malformed)?;
        let (secret, body) = body.split_first_chunk().ok_or(TokenError::Malformed)?;
        let (expires_at, body) = body.split_first_chunk().ok_or(TokenError::Malformed)?;
        let (ca, _) = body.split_first_chunk().ok_or(TokenError::Malformed)?;
        let credential = TokenCredential { id: u64::from_be_bytes(*id), secret: *secret };
        Ok(Self { credential, expires_at: u64::from_be_bytes(*expires_at), ca: *ca })
    }
}

impl fmt::Debug for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinToken")
            .field("id", &self.credential.id)
            .field("expires_at", &self.expires_at)
            .finish_non_exhaustive()
    }
}

impl TokenCredential {
    /// As [`check`] reads it.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        encode(self)
    }

    fn digest(&self) -> [u8; 32] {
        let mut digest = Sha256::new();
        digest.update(b"shardforge join token");
        digest.update(self.id.to_be_bytes());
        digest.update(self.secret);
        digest.finalize().into()
    }
}

/// Whether what a joining node showed is good for a token, both in the form of their `encode`; `now` in seconds since 1970.
///
/// # Errors
/// Those of [`TokenRecord::verify`], and [`TokenError::Malformed`].
pub fn check(record: &[u8], shown: &[u8], now: u64) -> Result<(), TokenError> {
    decode::<TokenRecord>(record)?.verify(&decode(shown)?, now)
}

fn encode(part: &impl Serialize) -> Vec<u8> {
    // Numbers and arrays of bytes: there is nothing in them that could fail.
    bincode::serde::encode_to_vec(part, bincode::config::standard()).unwrap_or_default()
}

fn decode<T: serde::de::DeserializeOwned>(bytes: &[u8]) -> Result<T, TokenError> {
    match bincode::serde::decode_from_slice(bytes, bincode::config::standard()) {
        Ok((part, length)) if length == bytes.len() => Ok(part),
        _ => Err(TokenError::Malformed),
    }
}

impl fmt::Debug for TokenCredential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenCredential").field("id", &self.id).finish_non_exhaustive()
    }
}

impl TokenRecord {
    /// As [`check`] reads it.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        encode(self)
    }

    /// Checks what a joining node showed, `now` being the time in seconds since 1970. It takes the same time
    /// wherever a wrong secret differs.
    ///
    /// # Errors
    /// [`TokenError::Unknown`] for another token or a wrong secret, [`TokenError::Expired`] for the right one when
    /// its time is over.
    pub fn verify(&self, shown: &TokenCredential, now: u64) -> Result<(), TokenError> {
        let same = self.digest.ct_eq(&shown.digest());
        if self.id != shown.id || !bool::from(same) {
            return Err(TokenError::Unknown);
        }
        if now >= self.expires_at { Err(TokenError::Expired) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::{JoinToken, PREFIX, TokenError, check};

    #[test]
    fn a_token_survives_being_copied() {
        let token = JoinToken::new(Some([7; 32]), 1_000).unwrap();
        let text = token.reveal();
        let copy: JoinToken = format!("  {text}\n").parse().unwrap();
        assert_eq!(copy, token);
        assert_eq!((copy.ca(), copy.expires_at()), (Some([7; 32]), 1_000));
        assert_eq!(copy.record(), token.record());
        assert_eq!(JoinToken::new(None, 0).unwrap().ca(), None);
    }

    #[test]
    fn a_token_that_was_copied_badly_is_told_from_a_wrong_one() {
        let text = JoinToken::new(Some([7; 32]), 1_000).unwrap().reveal();
        for end in 0..text.len() {
            assert_eq!(text[..end].parse::<JoinToken>(), Err(TokenError::Malformed), "{end}");
        }
        for place in PREFIX.len()..text.len() {
            let other = if text.as_bytes()[place] == b'A' { "B" } else { "A" };
            let mut wrong = text.clone();
            wrong.replace_range(place..=place, other);
            assert_eq!(wrong.parse::<JoinToken>(), Err(TokenError::Malformed), "{place}");
        }
        assert_eq!(format!("{text}A").parse::<JoinToken>(), Err(TokenError::Malformed));
        assert_eq!("".parse::<JoinToken>(), Err(TokenError::Malformed));
        assert_eq!("sfjoin1_ä".parse::<JoinToken>(), Err(TokenError::Malformed));
    }

    #[test]
    fn a_record_knows_its_token_until_it_expires() {
        let token = JoinToken::new(None, 1_000).unwrap();
        let record = token.record();
        assert_eq!(record.verify(token.credential(), 999), Ok(()));
        assert_eq!(record.verify(token.credential(), 1_000), Err(TokenError::Expired));

        let other = JoinToken::new(None, 1_000).unwrap();
        assert_eq!(record.verify(other.credential(), 0), Err(TokenError::Unknown));
        let mut forged = other.credential().clone();
        forged.id = record.id;
        assert_eq!(record.verify(&forged, 0), Err(TokenError::Unknown));
        assert_eq!(record.verify(&forged, 2_000), Err(TokenError::Unknown), "nothing is said of its time");
    }

    #[test]
    fn tokens_are_checked_as_they_are_kept_and_sent() {
        let (token, other) = (JoinToken::new(None, 10).unwrap(), JoinToken::new(None, 10).unwrap());
        let (record, shown) = (token.record().encode(), token.credential().encode());
        assert_eq!(check(&record, &shown, 9), Ok(()));
        assert_eq!(check(&record, &shown, 10), Err(TokenError::Expired));
        assert_eq!(check(&record, &other.credential().encode(), 9), Err(TokenError::Unknown));
        assert_eq!(check(&record[1..], &shown, 9), Err(TokenError::Malformed));
        assert_eq!(check(&record, &[&shown[..], b"x"].concat(), 9), Err(TokenError::Malformed));
    }

    #[test]
    fn secrets_do_not_get_into_logs() {
        let token = JoinToken::new(None, 5).unwrap();
        let shown = format!("{token:?} {:?} {:?}", token.credential(), token.record());
        let secret = format!("{:?}", token.credential.secret);
        assert!(!shown.contains(&secret) && !shown.contains(&token.reveal()));
    }
}

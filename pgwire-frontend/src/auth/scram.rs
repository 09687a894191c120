//! SCRAM-SHA-256 (RFC 5802, RFC 7677): what is stored of a password, and the exchange.
//!
//! The server keeps a verifier, never the password, in PostgreSQL's form:
//!
//! ```text
//!   SCRAM-SHA-256$<iterations>:<salt>$<stored key>:<server key>
//! ```
//!
//! For a role that cannot log in, the exchange runs with a salt that depends on the role's name and a
//! secret of this process, so that asking twice does not tell such a role from a real one.

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::sync::LazyLock;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use pgwire::api::auth::sasl::scram::{
    SCRAM_ITERATIONS, ScramSecret, ScramServerAuth, ScramServerAuthWaitingForClientFinal, gen_salted_password,
};
use pgwire::error::PgWireError;
use rand::RngCore;
use shardforge_types::{PgError, PgResult, SqlState};

use crate::encode::fatal;
use crate::message::{Cursor, fatal_violation};

const SALT_BYTES: usize = 16;
const KEY_BYTES: usize = 32;

/// What a server stores of a password. `Display` writes PostgreSQL's form, `parse` reads it.
#[derive(Clone, PartialEq, Eq)]
pub struct ScramVerifier {
    iterations: u32,
    salt: Vec<u8>,
    stored_key: Vec<u8>,
    server_key: Vec<u8>,
}

impl ScramVerifier {
    /// The name of the only mechanism on offer.
    pub const MECHANISM: &'static str = "SCRAM-SHA-256";

    /// The verifier of a password, with a fresh salt. Takes some milliseconds.
    pub fn from_password(password: &str) -> ScramVerifier {
        let mut salt = vec![0; SALT_BYTES];
        rand::rng().fill_bytes(&mut salt);
        ScramVerifier::with_salt(password, salt, SCRAM_ITERATIONS as u32)
    }

    fn with_salt(password: &str, salt: Vec<u8>, iterations: u32) -> ScramVerifier {
        let salted = gen_salted_password(password, &salt, iterations as usize);
        match ScramSecret::verifier_from_salted_password(salt, salted, iterations as usize) {
            ScramSecret::Verifier { salt, stored_key, server_key, .. } => {
                ScramVerifier { iterations, salt, stored_key, server_key }
            }
            ScramSecret::SaltedPassword { .. } => {
                unreachable!("pgwire's verifier_from_salted_password makes a verifier")
            }
        }
    }

    /// Reads the stored form; `None` if `text` is something else, such as a password.
    pub fn parse(text: &str) -> Option<ScramVerifier> {
        let rest = text.strip_prefix(ScramVerifier::MECHANISM)?.strip_prefix('$')?;
        let (head, keys) = rest.split_once('$')?;
        let (iterations, salt) = head.split_once(':')?;
        let (stored_key, server_key) = keys.split_once(':')?;
        let verifier = ScramVerifier {
            iterations: iterations.parse().ok().filter(|count| *count > 0)?,
            salt: BASE64.decode(salt).ok()?,
            stored_key: BASE64.decode(stored_key).ok()?,
            server_key: BASE64.decode(server_key).ok()?,
        };
        let keys_fit = verifier.stored_key.len() == KEY_BYTES && verifier.server_key.len() == KEY_BYTES;
        (keys_fit && !verifier.salt.is_empty()).then_some(verifier)
    }

    /// Whether `password` is the one this was made from. Takes some milliseconds.
    pub fn accepts(&self, password: &str) -> bool {
        *self == ScramVerifier::with_salt(password, self.salt.clone(), self.iterations)
    }

    /// A verifier that no password fits, the same for one name within this process.
    fn of_nobody(user: &str) -> ScramVerifier {
        static SECRET: LazyLock<RandomState> = LazyLock::new(RandomState::new);
        let half = |part: u8| SECRET.hash_one((part, user)).to_be_bytes();
        let mut server_key = vec![0; KEY_BYTES];
        rand::rng().fill_bytes(&mut server_key);
        let mut stored_key = vec![0; KEY_BYTES];
        rand::rng().fill_bytes(&mut stored_key);
        ScramVerifier {
            iterations: SCRAM_ITERATIONS as u32,
            salt: [half(0), half(1)].concat(),
            stored_key,
            server_key,
        }
    }
}

impl fmt::Display for ScramVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}${}:{}${}:{}",
            ScramVerifier::MECHANISM,
            self.iterations,
            BASE64.encode(&self.salt),
            BASE64.encode(&self.stored_key),
            BASE64.encode(&self.server_key)
        )
    }
}

/// Keys do not belong in logs.
impl fmt::Debug for ScramVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScramVerifier").field("iterations", &self.iterations).finish_non_exhaustive()
    }
}

/// The server's side of one exchange: two messages in, two out.
pub(crate) struct ScramExchange {
    user: String,
    verifier: ScramVerifier,
    waiting: Option<ScramServerAuthWaitingForClientFinal>,
}

impl ScramExchange {
    /// `None` runs the exchange of somebody who cannot log in.
    pub(crate) fn new(user: &str, verifier: Option<ScramVerifier>) -> ScramExchange {
        let verifier = verifier.unwrap_or_else(|| ScramVerifier::of_nobody(user));
        ScramExchange { user: user.to_owned(), verifier, waiting: None }
    }

    /// SASLInitialResponse in, the text of SASLContinue out.
    pub(crate) fn first(&mut self, body: &[u8]) -> PgResult<String> {
        let mut cursor = Cursor::new(body);
        if cursor.string()? != ScramVerifier::MECHANISM {
            return Err(fatal_violation("client selected an invalid SASL authentication mechanism"));
        }
        let length = cursor.i32()?;
        let length = usize::try_from(length).map_err(|_| malformed("the first message is empty"))?;
        let data = cursor.take(length)?;
        cursor.end()?;
        let secret = ScramSecret::Verifier {
            salt: self.verifier.salt.clone(),
            iterations: self.verifier.iterations as usize,
            stored_key: self.verifier.stored_key.clone(),
            server_key: self.verifier.server_key.clone(),
        };
        let (answer, waiting) = ScramServerAuth::new()
            .on_client_first_message_with_secret(data, secret)
            .map_err(|error| self.failed(&error))?;
        self.waiting = Some(waiting);
        Ok(answer)
    }

    /// SASLResponse in, the text of SASLFinal out: the client has proved itself.
    pub(crate) fn last(&mut self, body: &[u8]) -> PgResult<String> {
        let Some(waiting) = self.waiting.take() else {
            return Err(fatal_violation("unexpected SASL response"));
        };
        waiting.on_client_final_message(body).map_err(|error| self.failed(&error))
    }

    fn failed(&self, error: &PgWireError) -> PgError {
        match error {
            PgWireError::InvalidPassword(_) => password_failed(&self.user),
            other => malformed(&other.to_string()),
        }
    }
}

fn password_failed(user: &str) -> PgError {
    fatal(SqlState::INVALID_PASSWORD, format!("password authentication failed for user \"{user}\""))
}

fn malformed(detail: &str) -> PgError {
    fatal_violation("malformed SCRAM message").detail(detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verifier_has_the_form_that_postgresql_stores() {
        let verifier = ScramVerifier::with_salt("secret", vec![7; 16], 4096);
        let text = verifier.to_string();
        assert!(text.starts_with("SCRAM-SHA-256$4096:BwcHBwcHBwcHBwcHBwcHBw==$"), "{text}");
        assert_eq!(ScramVerifier::parse(&text).as_ref(), Some(&verifier));
        assert!(verifier.accepts("secret"));
        assert!(!verifier.accepts("Secret"));
    }

    #[test]
    fn what_is_not_a_verifier_is_refused() {
        for text in [
            "",
            "secret",
            "SCRAM-SHA-256",
            "SCRAM-SHA-256$4096:BwcH",
            "SCRAM-SHA-256$0:BwcH$BwcH:BwcH",
            "SCRAM-SHA-256$4096:!$a:b",
            "md5aaaabbbbccccddddeeeeffff00001111",
        ] {
            assert_eq!(ScramVerifier::parse(text), None, "{text}");
        }
    }

    #[test]
    fn nobody_has_the_same_salt_each_time() {
        let (a, b) = (ScramVerifier::of_nobody("alice"), ScramVerifier::of_nobody("alice"));
        assert_eq!(a.salt, b.salt);
        assert_ne!(a.salt, ScramVerifier::of_nobody("bob").salt);
    }
}

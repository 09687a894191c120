//! The byte form of everything that goes to the raft log or between nodes: a version byte, then bincode.
//!
//! A reader refuses versions that it does not know, so that an older program says so instead of misreading.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{ConsensusError, Result};

/// The version this program writes.
const VERSION: u8 = 1;

pub(crate) fn encode<T: Serialize>(value: &T) -> Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(128);
    bytes.push(VERSION);
    bincode::serde::encode_into_std_write(value, &mut bytes, bincode::config::standard())
        .map_err(|error| ConsensusError::Storage(format!("could not encode: {error}")))?;
    Ok(bytes)
}

pub(crate) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T> {
    let Some((&version, rest)) = bytes.split_first() else {
        return Err(ConsensusError::Corrupt("an empty record".to_owned()));
    };
    if version != VERSION {
        return Err(ConsensusError::Corrupt(format!(
            "a record of version {version}, where this program knows version {VERSION}"
        )));
    }
    let (value, read) = bincode::serde::decode_from_slice(rest, bincode::config::standard())
        .map_err(|error| ConsensusError::Corrupt(format!("a record that cannot be decoded: {error}")))?;
    if read != rest.len() {
        return Err(ConsensusError::Corrupt(format!("a record with {} bytes too many", rest.len() - read)));
    }
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::{decode, encode};

    #[test]
    fn what_is_encoded_comes_back_and_anything_else_is_an_error() {
        let bytes = encode(&(7_u64, "seven")).unwrap();
        assert_eq!(decode::<(u64, String)>(&bytes).unwrap(), (7, "seven".to_owned()));
        assert!(decode::<(u64, String)>(&[]).is_err());
        assert!(decode::<(u64, String)>(&bytes[..bytes.len() - 1]).is_err());
        let mut longer = bytes.clone();
        longer.push(0);
        assert!(decode::<(u64, String)>(&longer).is_err());
        let mut newer = bytes;
        newer[0] = 9;
        assert!(decode::<(u64, String)>(&newer).unwrap_err().to_string().contains("version 9"));
    }
}

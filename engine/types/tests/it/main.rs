//! The crate against PostgreSQL 18: `tests/data/*.tsv` hold questions and the answers that a real one gave
//! (`tests/record.py` asks it anew); here the crate answers the same questions. And properties of the encodings.

mod codecs;
mod no_panic;
mod recorded;

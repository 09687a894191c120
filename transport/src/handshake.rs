//! How two nodes introduce themselves at the beginning of a stream, in the metadata of its request and response.
//!
//! | key | from the caller | from the one who is called |
//! |---|---|---|
//! | `shardforge-protocol` | its version, `MAJOR.MINOR` | its own |
//! | `shardforge-cluster` | the cluster it is of | its own |
//! | `shardforge-from` | its node id | its own |
//! | `shardforge-to` | the node it means to call | |
//! | `shardforge-traffic` | what the stream is for | |
//!
//! A different major version is refused; of two minor ones, the newer speaks so that the older understands: frames of
//! unknown kinds are passed over. Under TLS the caller must show the certificate of the node that it says it is.

use std::fmt;
use std::str::FromStr;

use shardforge_runtime::{NodeId, Traffic};
use tokio_rustls::rustls::pki_types::CertificateDer;
use tonic::metadata::{Ascii, MetadataMap, MetadataValue};

use crate::identity::ClusterId;
use crate::tls;

const PROTOCOL: &str = "shardforge-protocol";
const CLUSTER: &str = "shardforge-cluster";
const FROM: &str = "shardforge-from";
const TO: &str = "shardforge-to";
const TRAFFIC: &str = "shardforge-traffic";

/// A version of the protocol.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Version {
    pub major: u8,
    pub minor: u8,
}

/// The version that is spoken here.
pub(crate) const VERSION: Version = Version { major: 1, minor: 0 };

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

impl FromStr for Version {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts =
            text.split_once('.').and_then(|(major, minor)| Some((major.parse().ok()?, minor.parse().ok()?)));
        let (major, minor) = parts.ok_or_else(|| format!("{text:?} is not a version"))?;
        Ok(Self { major, minor })
    }
}

impl Version {
    /// Whether the two can talk to each other.
    pub(crate) fn check(self) -> Result<(), String> {
        if self.major == VERSION.major {
            return Ok(());
        }
        Err(format!(
            "it speaks version {self} of the protocol between nodes, and version {VERSION} is spoken here"
        ))
    }
}

/// Who calls whom.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Parties {
    pub cluster: ClusterId,
    pub from: NodeId,
    pub to: NodeId,
}

/// How a caller introduces itself at the beginning of a stream.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Hello {
    pub version: Version,
    pub parties: Parties,
    pub traffic: Traffic,
}

/// What is known of a caller before it introduces itself.
#[derive(Clone, Debug)]
pub(crate) enum Shown {
    /// The connection has no TLS, because the operator said so.
    Plaintext,
    /// It showed no certificate.
    Nothing,
    /// It showed a certificate of the cluster's CA.
    Certificate(CertificateDer<'static>),
}

impl Hello {
    pub(crate) fn write(&self, metadata: &mut MetadataMap) {
        metadata.insert(PROTOCOL, ascii(&self.version));
        metadata.insert(CLUSTER, ascii(&self.parties.cluster));
        metadata.insert(FROM, MetadataValue::from(self.parties.from.0));
        metadata.insert(TO, MetadataValue::from(self.parties.to.0));
        metadata.insert(TRAFFIC, MetadataValue::from_static(self.traffic.name()));
    }

    /// Reads an introduction. The version comes first: what follows may have another form in another version.
    pub(crate) fn read(metadata: &MetadataMap) -> Result<Self, String> {
        let version: Version = field(metadata, PROTOCOL)?.parse()?;
        version.check()?;
        let name = field(metadata, TRAFFIC)?;
        let traffic = Traffic::ALL.into_iter().find(|traffic| traffic.name() == name);
        let parties = Parties {
            cluster: parsed(metadata, CLUSTER)?,
            from: NodeId(parsed(metadata, FROM)?),
            to: NodeId(parsed(metadata, TO)?),
        };
        let traffic = traffic.ok_or_else(|| format!("traffic of kind {name:?} is not known here"))?;
        Ok(Self { version, parties, traffic })
    }
}

impl Parties {
    /// Whether a caller may talk to this node.
    pub(crate) fn check(&self, cluster: ClusterId, node: NodeId, shown: &Shown) -> Result<(), String> {
        let from = self.from;
        if self.cluster != cluster {
            return Err(format!("{from} is of cluster {}, and this is cluster {cluster}", self.cluster));
        }
        match shown {
            Shown::Plaintext => {}
            Shown::Nothing => return Err(format!("{from} has no certificate")),
            Shown::Certificate(certificate) if tls::names_node(certificate, cluster, from) => {}
            Shown::Certificate(_) => return Err(format!("the certificate is not that of {from}")),
        }
        if self.to != node {
            return Err(format!("{from} looks for {}, and this is {node}", self.to));
        }
        if from == node {
            return Err(format!("{from} is this node itself"));
        }
        Ok(())
    }

    /// Whether the one who answered is the one who was called.
    pub(crate) fn check_answer(&self, cluster: ClusterId, from: NodeId) -> Result<(), String> {
        if cluster != self.cluster {
            return Err(format!("it is of cluster {cluster}, and this is cluster {}", self.cluster));
        }
        if from != self.to { Err(format!("{from} answers there")) } else { Ok(()) }
    }
}

/// How the one who is called introduces itself.
pub(crate) fn write_welcome(metadata: &mut MetadataMap, cluster: ClusterId, node: NodeId) {
    metadata.insert(PROTOCOL, ascii(&VERSION));
    metadata.insert(CLUSTER, ascii(&cluster));
    metadata.insert(FROM, MetadataValue::from(node.0));
}

/// Whether the one who answered is the one who was called.
pub(crate) fn check_welcome(metadata: &MetadataMap, parties: Parties) -> Result<(), String> {
    field(metadata, PROTOCOL)?.parse::<Version>()?.check()?;
    parties.check_answer(parsed(metadata, CLUSTER)?, NodeId(parsed(metadata, FROM)?))
}

fn ascii(value: &impl fmt::Display) -> MetadataValue<Ascii> {
    MetadataValue::try_from(value.to_string()).expect("versions and ids are ASCII")
}

fn field<'a>(metadata: &'a MetadataMap, key: &str) -> Result<&'a str, String> {
    metadata
        .get(key)
        .and_then(|value| value.to_str().ok())
        .ok_or_else(|| format!("the introduction lacks {key}"))
}

fn parsed<T: FromStr<Err: fmt::Display>>(metadata: &MetadataMap, key: &str) -> Result<T, String> {
    field(metadata, key)?.parse().map_err(|error| format!("the introduction's {key} is wrong: {error}"))
}

#[cfg(test)]
mod tests {
    use shardforge_runtime::{NodeId, Traffic};
    use tonic::metadata::{MetadataMap, MetadataValue};

    use super::{Hello, Parties, Shown, VERSION, Version, check_welcome, write_welcome};
    use crate::identity::ClusterId;

    fn hello(cluster: ClusterId) -> Hello {
        let parties = Parties { cluster, from: NodeId(1), to: NodeId(2) };
        Hello { version: VERSION, parties, traffic: Traffic::Bulk }
    }

    fn sent(hello: &Hello) -> Result<Hello, String> {
        let mut metadata = MetadataMap::new();
        hello.write(&mut metadata);
        Hello::read(&metadata)
    }

    #[test]
    fn introductions_arrive() {
        let hello = hello(ClusterId::random());
        assert_eq!(sent(&hello), Ok(hello.clone()));
        let parties = hello.parties;
        assert_eq!(parties.check(parties.cluster, NodeId(2), &Shown::Plaintext), Ok(()));
    }

    #[test]
    fn a_newer_minor_version_is_welcome_and_another_major_one_is_not() {
        let hello = hello(ClusterId::random());
        let newer = Hello { version: Version { minor: 9, ..VERSION }, ..hello };
        assert_eq!(sent(&newer).as_ref(), Ok(&newer));
        let other = Hello { version: Version { major: 2, minor: 0 }, ..newer };
        assert_eq!(
            sent(&other).unwrap_err(),
            "it speaks version 2.0 of the protocol between nodes, and version 1.0 is spoken here"
        );
    }

    #[test]
    fn strangers_are_told_why_they_are_refused() {
        let cluster = ClusterId::random();
        let parties = hello(cluster).parties;
        let refused = |cluster, node, shown| parties.check(cluster, node, &shown).unwrap_err();
        let other = refused(ClusterId::random(), NodeId(2), Shown::Plaintext);
        assert!(other.starts_with(&format!("n1 is of cluster {cluster}, and this is cluster ")), "{other}");
        assert_eq!(refused(cluster, NodeId(3), Shown::Plaintext), "n1 looks for n2, and this is n3");
        assert_eq!(refused(cluster, NodeId(2), Shown::Nothing), "n1 has no certificate");
        let garbage = Shown::Certificate(vec![1, 2, 3].into());
        assert_eq!(refused(cluster, NodeId(2), garbage), "the certificate is not that of n1");
    }

    #[test]
    fn what_is_missing_or_wrong_in_an_introduction_is_named() {
        let mut metadata = MetadataMap::new();
        assert_eq!(Hello::read(&metadata).unwrap_err(), "the introduction lacks shardforge-protocol");
        hello(ClusterId::random()).write(&mut metadata);
        metadata.insert("shardforge-from", MetadataValue::from_static("minus one"));
        let wrong = Hello::read(&metadata).unwrap_err();
        assert!(wrong.starts_with("the introduction's shardforge-from is wrong: "), "{wrong}");
        metadata.insert("shardforge-protocol", MetadataValue::from_static("one"));
        assert_eq!(Hello::read(&metadata).unwrap_err(), "\"one\" is not a version");
    }

    #[test]
    fn the_one_who_answers_must_be_the_one_who_was_called() {
        let cluster = ClusterId::random();
        let mut metadata = MetadataMap::new();
        write_welcome(&mut metadata, cluster, NodeId(2));
        let parties = hello(cluster).parties;
        assert_eq!(check_welcome(&metadata, parties), Ok(()));
        let third = Parties { to: NodeId(3), ..parties };
        assert_eq!(check_welcome(&metadata, third).unwrap_err(), "n2 answers there");
        let foreign = Parties { cluster: ClusterId::random(), ..parties };
        assert!(check_welcome(&metadata, foreign).is_err());
    }
}

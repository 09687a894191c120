//! SHOW SHARDS: where the shards lie, in the words of tables and columns.
//!
//! Of a table or an index: its part of each shard. A key that is NULL says that the shard goes on there, beyond what was
//! asked about. Without FROM: the shards whole, each place with the name of the relation that it lies in. What is not of
//! this database, catalogs among it, is shown as bytes.

use std::fmt::Write;

use hashbrown::HashMap;
use shardforge_types::{Datum, PgError, PgResult, SqlState, oid};

use super::PgSession;
use super::cluster::{node_array, number};
use super::execute::Execution;
use super::utility::text_output;
use crate::catalog::{CatalogSnapshot, Relation, StorageId};
use crate::cluster::ShardReplicas;
use crate::ddl;
use crate::exec::env::EvalEnv;
use crate::func::ident::quote_identifier;
use crate::ir::{OutputColumn, Ty};
use crate::parse::ast::{ShardsOf, ShowShardsStmt};
use crate::storage::{PREFIX_LEN, Stored, storage_of};

const COLUMNS: [&str; 8] =
    ["shard_id", "start_key", "end_key", "size_bytes", "leader", "replicas", "learners", "applied_index"];

/// Result columns of SHOW SHARDS.
pub(super) fn shard_columns() -> Vec<OutputColumn> {
    let mut columns = text_output(&COLUMNS);
    for number in [0, 3, 4, 7] {
        columns[number].col.ty = Ty::new(oid::INT8);
    }
    for number in [5, 6] {
        columns[number].col.ty = Ty::new(oid::INT8_ARRAY);
    }
    columns
}

impl PgSession {
    /// SHOW SHARDS.
    ///
    /// # Errors
    /// 42P01 if there is no such relation, 42809 if it is of another kind, what the cluster raises.
    pub(super) async fn show_shards(&mut self, stmt: &ShowShardsStmt) -> PgResult<Execution> {
        let parts = match &stmt.from {
            None => self.all_shards(),
            Some(from) => self.shards_of(from)?,
        };
        let replicas = match &self.engine.options.cluster {
            Some(cluster) => cluster.status().await?.shards,
            None => Vec::new(),
        };
        let replicas: HashMap<u64, ShardReplicas> =
            replicas.into_iter().map(|replicas| (replicas.shard, replicas)).collect();
        let rows = parts.into_iter().map(|part| part.row(&replicas)).collect();
        let mut result = self.text_rows(&COLUMNS, rows, "SHOW");
        result.output = shard_columns().into();
        Ok(result)
    }

    fn shards_of(&mut self, from: &ShardsOf) -> PgResult<Vec<Part>> {
        let (name, is_index) = match from {
            ShardsOf::Table(name) => (name, false),
            ShardsOf::Index(name) => (name, true),
        };
        let relation = ddl::find_relation(self, name)?;
        let stored = match Stored::of(&relation) {
            Some(stored) if matches!(relation, Relation::Index(..)) == is_index => stored,
            _ if is_index => {
                let message = format!("\"{}\" is not an index", relation.name());
                return Err(PgError::new(SqlState::WRONG_OBJECT_TYPE, message));
            }
            _ => return Err(ddl::not_a_table(&relation)),
        };
        let env = self.eval_env();
        let store = &self.engine.store;
        let (first, last) = stored.range();
        let mut parts = Vec::new();
        for shard in store.shards() {
            if shard.start >= last || shard.end.as_ref().is_some_and(|end| *end <= first) {
                continue;
            }
            let start = Some(shard.start).filter(|start| *start > first);
            let end = shard.end.filter(|end| *end < last);
            let size =
                store.size_bytes(start.as_ref().unwrap_or(&first), Some(end.as_ref().unwrap_or(&last)));
            let place = |key: &[u8]| stored.boundary_text(key, &env).unwrap_or_else(|| bytes_text(key));
            let (start, end) = (start.as_deref().map(place), end.as_deref().map(place));
            parts.push(Part { shard: shard.id, start, end, size_bytes: size });
        }
        Ok(parts)
    }

    fn all_shards(&mut self) -> Vec<Part> {
        let env = self.eval_env();
        let relations = stored_relations(&env.catalog);
        let store = &self.engine.store;
        let mut parts = Vec::new();
        for shard in store.shards() {
            let size = store.size_bytes(&shard.start, shard.end.as_deref());
            let start = Some(shard.start).filter(|start| !start.is_empty());
            let place = |key: &[u8]| place_text(key, &relations, &env);
            let (start, end) = (start.as_deref().map(place), shard.end.as_deref().map(place));
            parts.push(Part { shard: shard.id, start, end, size_bytes: size });
        }
        parts
    }
}

/// A shard, or what a relation has of one.
struct Part {
    shard: u64,
    start: Option<String>,
    end: Option<String>,
    size_bytes: u64,
}

impl Part {
    /// The row of SHOW SHARDS. Who holds a shard is unknown on a node that is alone.
    fn row(self, replicas: &HashMap<u64, ShardReplicas>) -> Vec<Datum> {
        let held = replicas.get(&self.shard);
        let text = |value: Option<String>| value.map_or(Datum::Null, Datum::text);
        let optional = |value: Option<u64>| value.map_or(Datum::Null, number);
        vec![
            number(self.shard),
            text(self.start),
            text(self.end),
            number(self.size_bytes),
            optional(held.and_then(|held| held.leader)),
            held.map_or(Datum::Null, |held| node_array(&held.voters)),
            held.map_or(Datum::Null, |held| node_array(&held.learners)),
            optional(held.and_then(|held| held.applied_index)),
        ]
    }
}

/// The relations of a database by where they are stored. A clustering primary key is where the rows are.
fn stored_relations(catalog: &CatalogSnapshot) -> HashMap<StorageId, Stored> {
    let mut relations = HashMap::new();
    for relation in catalog.relations.values() {
        if let Some(stored) = Stored::of(relation) {
            let is_table = matches!(relation, Relation::Table(_));
            if is_table || !relations.contains_key(&stored.storage()) {
                relations.insert(stored.storage(), stored);
            }
        }
    }
    relations
}

/// A place among all keys: `public.account (1000)`.
fn place_text(key: &[u8], relations: &HashMap<StorageId, Stored>, env: &EvalEnv) -> String {
    let Some(stored) = storage_of(key).and_then(|storage| relations.get(&storage)) else {
        return bytes_text(key);
    };
    let schema = env.catalog.schemas.get(&stored.table.schema).map_or("", |schema| &schema.name);
    let name = format!("{}.{}", quote_identifier(schema), quote_identifier(stored.name()));
    match stored.boundary_text(key, env) {
        Some(values) => format!("{name} {values}"),
        None if key.len() > PREFIX_LEN => format!("{name} {}", bytes_text(&key[PREFIX_LEN..])),
        None => name,
    }
}

/// A key that nothing is known of.
fn bytes_text(key: &[u8]) -> String {
    key.iter().fold("\\x".to_owned(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

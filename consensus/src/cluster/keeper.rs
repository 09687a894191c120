//! What is written down: on every node what it knows of the registry, for its next start; and by the leader of the system shard
//! where nodes are.

use std::sync::Arc;

use futures::future::select;

use super::knowledge::Presence;
use super::registry::Registry;
use super::shared::{Memory, Shared};
use crate::error::Result;
use crate::limits::GOSSIP_INTERVAL;
use crate::raft::codec;

/// Runs until it is aborted.
pub(super) async fn run(shared: Arc<Shared>) {
    let mut learned = shared.learned.subscribe();
    let mut remembered = shared.knowledge.lock().view().version;
    let mut led_in = 0;
    loop {
        let _seen = *learned.borrow_and_update();
        if let Err(error) = remember(&shared, &mut remembered).await {
            tracing::warn!("could not write down who is in the cluster: {error}");
        }
        if let Err(error) = lead(&shared, &mut led_in).await {
            tracing::info!("could not write down where nodes are, and will try again: {error}");
        }
        let pause = shared.runtime.sleep(GOSSIP_INTERVAL);
        let leading = shared.system().filter(|system| !system.is_leader());
        let leading = async {
            match leading {
                // Whoever begins to lead has something to do at once.
                Some(system) => {
                    if system.replica().led().await.is_err() {
                        std::future::pending().await
                    }
                }
                None => std::future::pending().await,
            }
        };
        let (newer, leading) = (std::pin::pin!(learned.changed()), std::pin::pin!(leading));
        select(newer, select(leading, pause)).await;
    }
}

/// Writes down what this node knows of the registry, if it is new.
async fn remember(shared: &Shared, remembered: &mut u64) -> Result<()> {
    let view = shared.knowledge.lock().view().clone();
    let version = view.version;
    if version != *remembered {
        let memory = Memory { incarnation: shared.incarnation, view };
        shared.node.records().set_cluster(codec::encode(&memory)?).await?;
        *remembered = version;
    }
    Ok(())
}

/// What the leader of the system shard does: founds the registry if there is none, and has it say where nodes are.
async fn lead(shared: &Shared, led_in: &mut u64) -> Result<()> {
    let Some(system) = shared.system().filter(|system| system.is_leader()) else { return Ok(()) };
    let term = system.term();
    let presences = shared.knowledge.lock().unregistered();
    if term == *led_in && presences.is_empty() {
        return Ok(());
    }
    let members = system.members().list;
    let founders: Vec<_> = members.iter().map(|member| member.node).collect();
    let me: Presence = shared.presence();
    let changed = shared.change(|before, shards_end| {
        let mut registry = match before {
            Some(registry) => registry,
            None => {
                let nodes_end = founders.iter().map(|node| node.0 + 1).max().unwrap_or_default();
                Registry::found(&me, nodes_end.max(me.node + 1), shards_end)
            }
        };
        registry.update(&presences, &founders);
        Ok((registry, ()))
    });
    changed.await?;
    *led_in = term;
    Ok(())
}

//! Who is alive, and what the others know: every node exchanges its status with every other one, once a second, and at once
//! when it has news.
//!
//! One exchange with a peer at a time. An answer shows that the peer is alive, as a question does; either way brings both to
//! the newer registry.

use std::collections::BTreeSet;
use std::sync::Arc;

use futures::StreamExt;
use futures::future::{Either, select};
use futures::stream::FuturesUnordered;
use shardforge_runtime::NodeId;

use super::messages::{Answer, Request};
use super::shared::Shared;
use crate::limits::{GOSSIP_INTERVAL, GOSSIP_LIMIT};

/// Runs until it is aborted.
pub(super) async fn run(shared: Arc<Shared>) {
    let mut news = shared.news.subscribe();
    let mut exchanges = FuturesUnordered::new();
    let mut busy = BTreeSet::new();
    loop {
        let told = *news.borrow_and_update();
        for peer in shared.knowledge.lock().peers() {
            if busy.insert(peer) {
                exchanges.push(exchange(&shared, peer, told));
            }
        }
        shared.publish();
        let mut pause = shared.runtime.sleep(GOSSIP_INTERVAL);
        loop {
            // The set of exchanges may be empty, and then it has nothing to wait for.
            let ended = async {
                match exchanges.next().await {
                    Some(ended) => ended,
                    None => std::future::pending().await,
                }
            };
            let newer = std::pin::pin!(news.changed());
            let (ended, waiting) = (std::pin::pin!(ended), select(newer, &mut pause));
            match select(ended, waiting).await {
                Either::Left(((peer, heard), _)) => {
                    // What has become news meanwhile, it has not been told.
                    if *shared.news.borrow() == heard {
                        busy.remove(&peer);
                    } else {
                        let told = *shared.news.borrow();
                        exchanges.push(exchange(&shared, peer, told));
                    }
                }
                Either::Right(_) => break,
            }
        }
    }
}

/// Exchanges statuses with a peer; returns what the news was when it began.
async fn exchange(shared: &Shared, peer: NodeId, told: u64) -> (NodeId, u64) {
    let (asked, here_micros) = (shared.runtime.now(), shared.runtime.wall_micros());
    let answer = shared.call(peer, Request::Status(shared.status()), GOSSIP_LIMIT).await;
    if let Ok(Answer::Status { status, wall_micros, newer }) = answer {
        shared.compare_clocks(peer, asked, here_micros, wall_micros);
        shared.learn(|knowledge| {
            knowledge.hear(peer, status, shared.runtime.now());
            if let Some(view) = newer {
                knowledge.adopt(view);
            }
        });
        let behind = {
            let knowledge = shared.knowledge.lock();
            knowledge.is_behind(peer).then(|| knowledge.view().clone())
        };
        if let Some(view) = behind {
            // If it does not arrive, the next exchange finds out.
            let _either = shared.call(peer, Request::Registry(view), GOSSIP_LIMIT).await;
        }
    }
    (peer, told)
}

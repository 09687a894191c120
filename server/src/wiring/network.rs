//! What is counted of the network between the nodes, by peer and kind of traffic.

use shardforge_transport::{LinkStatus, PeerStatus, TunnelCounts};

use crate::metrics::{Kind, Sample};

/// One number of each connection to a peer.
struct Column {
    name: &'static str,
    help: &'static str,
    kind: Kind,
    value: fn(&LinkStatus) -> u64,
}

fn column(name: &'static str, help: &'static str, kind: Kind, value: fn(&LinkStatus) -> u64) -> Column {
    Column { name, help, kind, value }
}

/// How the peers are, and what went to them and came back; and the tunnels with all of them.
pub fn of_network(peers: &[PeerStatus], tunnels: TunnelCounts) -> Vec<Sample> {
    use Kind::{Counter, Gauge};
    let columns = [
        column("peer_calls_waiting", "Calls that wait for a peer's answer", Gauge, |link| link.calls as u64),
        column("peer_queued_bytes", "Bytes not yet sent to a peer", Gauge, |link| link.queued_bytes as u64),
        column("peer_connects", "Connections made to a peer", Counter, |link| link.counts.connects),
        column("peer_failed_connects", "Connections to a peer that could not be made", Counter, |link| {
            link.counts.failed_connects
        }),
        column("peer_failed_calls", "Calls that a peer has not answered", Counter, |link| {
            link.counts.failed_calls
        }),
        column("peer_requests", "Requests and notes sent to a peer", Counter, |link| link.counts.frames_out),
        column("peer_answers", "Answers received from a peer", Counter, |link| link.counts.frames_in),
        column("peer_sent_batches", "Messages sent to a peer, each of some requests", Counter, |link| {
            link.counts.batches_out
        }),
        column("peer_sent_bytes", "Bytes sent to a peer", Counter, |link| link.counts.bytes_out),
        column("peer_received_bytes", "Bytes received from a peer", Counter, |link| link.counts.bytes_in),
    ];
    let mut samples = Vec::new();
    for peer in peers {
        let up = Sample::gauge("peer_up", "1 while a peer can be reached", u64::from(peer.is_connected()));
        samples.push(up.of("peer", peer.node));
    }
    for peer in peers {
        let round_trips = peer.links.iter().filter_map(|link| link.round_trip);
        samples.extend(round_trips.map(|time| {
            let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
            let help = "What a ping to a peer and its answer took last";
            Sample::gauge("peer_round_trip_microseconds", help, micros).of("peer", peer.node)
        }));
    }
    for Column { name, help, kind, value } in columns {
        for (peer, link) in peers.iter().flat_map(|peer| peer.links.iter().map(move |link| (peer, link))) {
            let sample = Sample { name, help, kind, labels: Vec::new(), value: value(link) };
            samples.push(sample.of("peer", peer.node).of("traffic", link.traffic));
        }
    }
    samples.push(Sample::gauge("tunnels_open", "Tunnels to and from other nodes now", tunnels.open as u64));
    samples.push(Sample::counter("tunnels", "Tunnels to and from other nodes", tunnels.total));
    samples.push(Sample::counter("tunnels_refused", "Tunnels for which there was no place", tunnels.refused));
    samples
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use shardforge_runtime::{NodeId, Traffic};
    use shardforge_transport::{LinkCounts, LinkState, LinkStatus, PeerStatus, TunnelCounts};

    use super::of_network;

    fn peer(number: u64, state: LinkState) -> PeerStatus {
        let links = Traffic::ALL.map(|traffic| LinkStatus {
            traffic,
            state: state.clone(),
            round_trip: (traffic == Traffic::Control).then_some(Duration::from_micros(70)),
            calls: 2,
            queued_bytes: 10,
            counts: LinkCounts { bytes_out: 100 * number, ..LinkCounts::default() },
        });
        PeerStatus { node: NodeId(number), address: String::new(), links: links.to_vec() }
    }

    #[test]
    fn each_peer_and_kind_of_traffic_has_its_line() {
        let peers = [peer(2, LinkState::Connected), peer(3, LinkState::Down("silent".to_owned()))];
        let tunnels = TunnelCounts { open: 1, total: 5, refused: 0 };
        let text = crate::metrics::render(of_network(&peers, tunnels));
        for line in [
            "shardforge_peer_up{peer=\"n2\"} 1",
            "shardforge_peer_up{peer=\"n3\"} 0",
            "shardforge_peer_round_trip_microseconds{peer=\"n2\"} 70",
            "shardforge_peer_sent_bytes_total{peer=\"n3\",traffic=\"bulk\"} 300",
            "shardforge_peer_queued_bytes{peer=\"n2\",traffic=\"raft\"} 10",
            "shardforge_tunnels_open 1",
            "shardforge_tunnels_total 5",
        ] {
            assert_eq!(text.lines().filter(|found| *found == line).count(), 1, "{line} in {text}");
        }
        let described = text.lines().filter(|line| line.starts_with("# TYPE shardforge_peer_up ")).count();
        assert_eq!(described, 1, "{text}");
    }
}

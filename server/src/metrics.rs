//! What /metrics shows: counters of the layers, collected when they are asked for.
//!
//! A layer keeps plain atomics and knows nothing of Prometheus; [`Sample`]s carry their values here, and
//! [`render`] writes them in the text format.

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, MetricEncoder};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;
use shardforge_pgwire::{ConnectionRegistry, GatewayMetrics, Metrics};

/// Whether a number only grows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// It does.
    Counter,
    /// It goes up and down.
    Gauge,
}

/// One number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sample {
    /// Its name without the prefix `shardforge_`, nor the suffix `_total` of counters.
    pub name: &'static str,
    /// What it counts.
    pub help: &'static str,
    /// Its kind.
    pub kind: Kind,
    /// What tells it from others of its name. Those of one name follow each other.
    pub labels: Vec<(&'static str, String)>,
    /// Its value.
    pub value: u64,
}

impl Sample {
    /// A number that only grows.
    pub fn counter(name: &'static str, help: &'static str, value: u64) -> Sample {
        Sample { name, help, kind: Kind::Counter, labels: Vec::new(), value }
    }

    /// A number that goes up and down.
    pub fn gauge(name: &'static str, help: &'static str, value: u64) -> Sample {
        Sample { name, help, kind: Kind::Gauge, labels: Vec::new(), value }
    }

    /// The number of one of several things.
    pub fn of(mut self, label: &'static str, thing: impl ToString) -> Sample {
        self.labels.push((label, thing.to_string()));
        self
    }
}

/// What the frontend counts.
pub fn of_frontend(metrics: &Metrics, registry: &ConnectionRegistry) -> Vec<Sample> {
    vec![
        Sample::gauge("connections_open", "Client connections now", registry.len() as u64),
        Sample::counter("connections", "Client connections accepted", metrics.connections_total()),
        Sample::counter(
            "connections_refused",
            "Connections refused for want of a slot",
            metrics.connections_refused_total(),
        ),
        Sample::counter(
            "authentication_failures",
            "Failed authentications",
            metrics.authentication_failures_total(),
        ),
        Sample::counter("simple_queries", "Query messages", metrics.simple_queries_total()),
        Sample::counter("executes", "Execute messages", metrics.executes_total()),
        Sample::counter("errors", "Errors sent to clients", metrics.errors_total()),
        Sample::counter("panics", "Sessions that ended by a panic", metrics.panics_total()),
        Sample::counter("received_bytes", "Bytes read from clients", metrics.bytes_received_total()),
        Sample::counter("sent_bytes", "Bytes written to clients", metrics.bytes_sent_total()),
    ]
}

/// What the gateway counts.
pub fn of_gateway(metrics: &GatewayMetrics) -> Vec<Sample> {
    vec![
        Sample::gauge(
            "forwarded_open",
            "Client connections that another node serves now",
            metrics.forwarded_now(),
        ),
        Sample::counter(
            "forwarded",
            "Client connections that another node served",
            metrics.forwarded_total(),
        ),
        Sample::counter(
            "forwarded_broken",
            "Forwarded connections that ended with the node that served them",
            metrics.broken_total(),
        ),
        Sample::gauge("route_waiters", "Connections that wait for a node that serves", metrics.waiting_now()),
        Sample::counter("route_refused", "Connections that nobody served", metrics.refused_total()),
    ]
}

/// What the operating system knows of this process.
pub fn of_process(started: std::time::Instant) -> Vec<Sample> {
    let mut samples =
        vec![Sample::gauge("uptime_seconds", "Seconds since the start", started.elapsed().as_secs())];
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let resident = status.lines().find_map(|line| {
        line.strip_prefix("VmRSS:")?.split_whitespace().next()?.parse::<u64>().ok().map(|kib| kib * 1024)
    });
    if let Some(bytes) = resident {
        samples.push(Sample::gauge("resident_memory_bytes", "Resident memory of the process", bytes));
    }
    samples
}

/// The samples in Prometheus' text format.
pub fn render(samples: Vec<Sample>) -> String {
    let mut registry = Registry::with_prefix("shardforge");
    registry.register_collector(Box::new(Samples(samples)));
    let mut text = String::new();
    // Writing into a string does not fail.
    let _ = prometheus_client::encoding::text::encode(&mut text, &registry);
    text
}

#[derive(Debug)]
struct Samples(Vec<Sample>);

impl Collector for Samples {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        for samples in self.0.chunk_by(|one, next| one.name == next.name) {
            let Sample { name, help, kind, labels, .. } = &samples[0];
            let kind = match kind {
                Kind::Counter => MetricType::Counter,
                Kind::Gauge => MetricType::Gauge,
            };
            let mut family = encoder.encode_descriptor(name, help, None, kind)?;
            if labels.is_empty() {
                samples[0].encode(family)?;
                continue;
            }
            for sample in samples {
                sample.encode(family.encode_family(&sample.labels)?)?;
            }
        }
        Ok(())
    }
}

impl Sample {
    fn encode(&self, encoder: MetricEncoder<'_>) -> Result<(), std::fmt::Error> {
        match self.kind {
            Kind::Counter => ConstCounter::new(self.value).encode(encoder),
            Kind::Gauge => ConstGauge::new(self.value).encode(encoder),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_become_prometheus_text() {
        let text =
            render(vec![Sample::counter("commits", "Commits", 3), Sample::gauge("open", "Open now", 2)]);
        assert_eq!(
            text,
            "# HELP shardforge_commits Commits\n# TYPE shardforge_commits counter\n\
             shardforge_commits_total 3\n# HELP shardforge_open Open now\n\
             # TYPE shardforge_open gauge\nshardforge_open 2\n# EOF\n"
        );
    }
}

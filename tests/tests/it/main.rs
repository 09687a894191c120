//! Whole-system tests: the real binary, over its port, on a real disk.

mod architecture;
mod bad_input;
mod buckets;
mod busy;
mod cluster;
mod copy;
mod crash;
mod failover;
mod foreign_keys;
mod hermitage;
mod index_build;
mod isolation;
mod locks;
mod maintenance;
mod notify;
mod past;
mod plans;
mod portals;
mod prepared;
mod recheck;
mod settings;
mod shards;
mod snapshots;
mod sql;
mod wire;

use shardforge_tests::server;

//! A cluster goes on where one of its nodes could, and cannot. `crash.rs` ends nodes, and does other things to them.

use shardforge_tests::cluster::TestCluster;

async fn primary(cluster: &TestCluster) -> String {
    let client = cluster.doors().visit(0).await.expect("a node lets a client in");
    let query = client.query("SHOW CLUSTER", &[]).await.expect("it answers");
    let facts = query.iter().map(|row| (row.get::<_, String>(0), row.get::<_, String>(1)));
    facts.into_iter().find(|(name, _)| name == "primary").expect("there is a primary").1
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_cannot_open_the_database_leaves_it_to_another_node() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut cluster = TestCluster::start(directory.path(), 3, &[]);
    cluster.replicated().await.expect("every shard has three replicas");
    (0..3).for_each(|node| cluster.node(node).kill());
    // What it takes to open the database cannot be had on two of the nodes.
    let spills = [1, 2].map(|number| directory.path().join(format!("n{number}/spill")));
    for spill in &spills {
        let _ = std::fs::remove_dir_all(spill);
        std::fs::write(spill, "in the way").expect("a file");
    }
    cluster.start_all();
    assert_eq!(primary(&cluster).await, "3");

    // They are asked again, and can when their disks can.
    for spill in &spills {
        std::fs::remove_file(spill).expect("the file is there");
    }
    cluster.node(2).kill();
    assert_ne!(primary(&cluster).await, "3");
}

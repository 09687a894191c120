//! A real driver, tokio-postgres, over TCP.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio_postgres::{NoTls, SimpleQueryMessage};

use super::backend::ToyBackend;
use crate::{Frontend, FrontendOptions};

async fn server() -> (Frontend<ToyBackend>, SocketAddr, JoinHandle<()>) {
    let frontend = Frontend::new(Arc::new(ToyBackend), FrontendOptions::default());
    let listener =
        Frontend::<ToyBackend>::bind((Ipv4Addr::LOCALHOST, 0).into()).expect("a free port on loopback");
    let address = listener.local_addr().expect("a bound listener");
    let serving = frontend.clone();
    let task = tokio::spawn(async move { serving.serve(listener).await });
    (frontend, address, task)
}

async fn connect(address: SocketAddr, user: &str, password: &str) -> Result<tokio_postgres::Client, String> {
    let mut config = tokio_postgres::Config::new();
    config.host("127.0.0.1").port(address.port()).user(user).password(password).dbname("db");
    let (client, connection) = config.connect(NoTls).await.map_err(|error| match error.as_db_error() {
        Some(error) => format!("{} {}", error.code().code(), error.message()),
        None => error.to_string(),
    })?;
    tokio::spawn(connection);
    Ok(client)
}

#[tokio::test]
async fn passwords() {
    let (frontend, address, _task) = server().await;
    assert!(connect(address, "secretive", "pencil").await.is_ok());
    assert!(connect(address, "alice", "unused").await.is_ok());
    for (user, password) in [("secretive", "Pencil"), ("nobody", "pencil"), ("secretive", "")] {
        assert_eq!(
            connect(address, user, password).await.err(),
            Some(format!("28P01 password authentication failed for user \"{user}\"")),
        );
    }
    assert_eq!(frontend.metrics().authentication_failures_total(), 3);
}

#[tokio::test]
async fn queries_and_shutdown() {
    let (frontend, address, task) = server().await;
    let client = connect(address, "alice", "").await.expect("a connection");
    let answer = client.simple_query("rows 3").await.expect("rows");
    let rows = answer.iter().filter(|message| matches!(message, SimpleQueryMessage::Row(_))).count();
    assert_eq!(rows, 3);

    let statement = client.prepare("rows 2").await.expect("a statement");
    let rows = client.query(&statement, &[&7i32]).await.expect("rows");
    assert_eq!(rows.iter().map(|row| row.get::<_, i32>(0)).collect::<Vec<_>>(), [1, 2]);

    let cancel = client.cancel_token();
    let (waited, canceled) = tokio::join!(client.simple_query("wait"), async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        cancel.cancel_query(NoTls).await
    });
    assert!(canceled.is_ok());
    let error = waited.expect_err("a canceled statement");
    assert_eq!(error.code().map(|code| code.code()), Some("57014"));

    frontend.shutdown(Duration::from_secs(5)).await;
    task.await.expect("serve returns");
    assert!(client.simple_query("rows 1").await.is_err());
    assert!(connect(address, "alice", "").await.is_err());
}

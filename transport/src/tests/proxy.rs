//! A proxy before a transport. The transport may go and come back, at whatever port it gets; and the proxy can fall
//! silent: its connections stay open, and nothing comes through.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::dial::Task;

pub(super) struct Proxy {
    pub address: SocketAddr,
    target: watch::Sender<Option<SocketAddr>>,
    silent: watch::Sender<bool>,
    _task: Task,
}

impl Proxy {
    /// A proxy that leads nowhere: it closes connections as soon as they are there.
    pub(super) async fn start() -> Self {
        let listener = TcpListener::bind(super::any_port()).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (target, silent) = (watch::Sender::new(None), watch::Sender::new(false));
        let task = tokio::spawn(serve(listener, target.subscribe(), silent.subscribe()));
        Self { address, target, silent, _task: Task(task) }
    }

    /// Says where connections lead from now on.
    pub(super) fn lead_to(&self, target: Option<SocketAddr>) {
        self.target.send_replace(target);
    }

    pub(super) fn be_silent(&self, silent: bool) {
        self.silent.send_replace(silent);
    }
}

async fn serve(
    listener: TcpListener,
    target: watch::Receiver<Option<SocketAddr>>,
    silent: watch::Receiver<bool>,
) {
    loop {
        let (inner, _) = listener.accept().await.unwrap();
        let Some(target) = *target.borrow() else { continue };
        let Ok(outer) = TcpStream::connect(target).await else { continue };
        let ((inner_read, inner_write), (outer_read, outer_write)) = (inner.into_split(), outer.into_split());
        tokio::spawn(forward(inner_read, outer_write, silent.clone()));
        tokio::spawn(forward(outer_read, inner_write, silent.clone()));
    }
}

async fn forward(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut silent: watch::Receiver<bool>) {
    let mut buffer = vec![0; 64 << 10];
    loop {
        let Ok(length @ 1..) = from.read(&mut buffer).await else { return };
        if silent.wait_for(|silent| !silent).await.is_err() || to.write_all(&buffer[..length]).await.is_err()
        {
            return;
        }
    }
}

//! gRPC messages as they are: what is sent writes itself, what is received is taken as bytes.

use std::marker::PhantomData;

use bytes::{Buf, BufMut, Bytes};
use tonic::Status;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};

use crate::frame::Batch;

/// The stream of batches between two nodes.
pub(crate) const EXCHANGE_PATH: &str = "/shardforge.Transport/Exchange";

/// The request of a node that wants to join.
pub(crate) const JOIN_PATH: &str = "/shardforge.Transport/Join";

/// A message that can be sent.
pub(crate) trait Message: Send + 'static {
    fn size(&self) -> usize;
    fn write(&self, out: &mut EncodeBuf<'_>);
}

impl Message for Batch {
    fn size(&self) -> usize {
        self.size
    }

    fn write(&self, out: &mut EncodeBuf<'_>) {
        self.encode(out);
    }
}

impl Message for Bytes {
    fn size(&self) -> usize {
        self.len()
    }

    fn write(&self, out: &mut EncodeBuf<'_>) {
        out.put_slice(self);
    }
}

/// Sends messages of type `M`, and receives bytes.
pub(crate) struct RawCodec<M>(PhantomData<fn(M)>);

impl<M> Default for RawCodec<M> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<M: Message> Codec for RawCodec<M> {
    type Encode = M;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self::default()
    }

    fn decoder(&mut self) -> Self {
        Self::default()
    }
}

impl<M: Message> Encoder for RawCodec<M> {
    type Item = M;
    type Error = Status;

    fn encode(&mut self, message: M, out: &mut EncodeBuf<'_>) -> Result<(), Status> {
        out.reserve(message.size());
        message.write(out);
        Ok(())
    }
}

impl<M> Decoder for RawCodec<M> {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, input: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(input.copy_to_bytes(input.remaining())))
    }
}

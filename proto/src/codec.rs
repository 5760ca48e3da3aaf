//! The gRPC codec of every service: [`crate::strict`] on the way in, prost on the way out.
#![forbid(unsafe_code)]

use crate::strict::decode_strict;
use prost::Message;
use std::marker::PhantomData;
use tonic::Status;
use tonic::codec::{BufferSettings, Codec, DecodeBuf, Decoder};
use tonic_prost::{ProstCodec, ProstEncoder};

/// The codec of every service here: encodes as prost does, decodes with [`decode_strict`].
///
/// A refusal is the status `invalid_argument` with a message that starts with `CALL_INVALID: `. gRPC's own framing
/// (compression flag, length limit) is before it, in tonic.
#[derive(Debug, Clone)]
pub struct StrictCodec<T, U> {
    messages: PhantomData<(T, U)>,
}

impl<T, U> Default for StrictCodec<T, U> {
    fn default() -> Self {
        Self {
            messages: PhantomData,
        }
    }
}

impl<T, U> Codec for StrictCodec<T, U>
where
    T: Message + Send + 'static,
    U: Message + Default + Send + 'static,
{
    type Encode = T;
    type Decode = U;
    type Encoder = ProstEncoder<T>;
    type Decoder = StrictDecoder<U>;

    fn encoder(&mut self) -> Self::Encoder {
        ProstCodec::<T, U>::default().encoder()
    }

    fn decoder(&mut self) -> Self::Decoder {
        StrictDecoder {
            message: PhantomData,
        }
    }
}

/// The reading half of [`StrictCodec`].
#[derive(Debug, Clone)]
pub struct StrictDecoder<U> {
    message: PhantomData<U>,
}

impl<U: Message + Default> Decoder for StrictDecoder<U> {
    type Item = U;
    type Error = Status;

    fn decode(&mut self, buf: &mut DecodeBuf<'_>) -> Result<Option<U>, Status> {
        decode_strict(buf)
            .map(Some)
            .map_err(|cause| Status::invalid_argument(format!("CALL_INVALID: {cause}")))
    }

    fn buffer_settings(&self) -> BufferSettings {
        BufferSettings::default()
    }
}

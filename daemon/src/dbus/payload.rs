//! Payloads on the bus: `ay` up to 16 KiB, above that a sealed memfd, in and out. Nothing is mapped: a file is read.

use bytes::Bytes;
use hearth_api::Fault;
use hearth_api::dbus::INLINE_BYTES;
use rustix::fs::{MemfdFlags, SealFlags};
use serde::de::{Deserialize, Deserializer, Error as _, IgnoredAny, SeqAccess, Visitor};
use serde::ser::{Serialize, Serializer};
use std::fmt;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use zbus::as_variant;
use zbus::{Fd, Signature, Type};

/// The seals without which a payload could change under the reader's eyes.
const SEALS: [(SealFlags, &str); 3] =
    [(SealFlags::WRITE, "F_SEAL_WRITE"), (SealFlags::SHRINK, "F_SEAL_SHRINK"), (SealFlags::GROW, "F_SEAL_GROW")];

/// A payload as it came: a variant of `ay` or `h`. Read straight into bytes: a generic variant would make a value of each byte.
pub(super) enum Incoming {
    /// `ay`
    Inline(Vec<u8>),
    /// `h`
    File(OwnedFd),
    /// Anything else; its signature.
    Other(String),
}

impl Type for Incoming {
    const SIGNATURE: &'static Signature = &Signature::Variant;
}

impl<'de> Deserialize<'de> for Incoming {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Incoming, D::Error> {
        struct IncomingVisitor;
        impl<'de> Visitor<'de> for IncomingVisitor {
            type Value = Incoming;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a variant of ay or h")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut variant: A) -> Result<Incoming, A::Error> {
                let cut = || A::Error::custom("the variant is cut short");
                let signature: Signature = variant.next_element()?.ok_or_else(cut)?;
                match signature.to_string().as_str() {
                    "ay" => variant.next_element::<ByteArray>()?.map(|bytes| Incoming::Inline(bytes.0)),
                    "h" => variant.next_element::<zbus::OwnedFd>()?.map(|fd| Incoming::File(fd.into())),
                    other => variant.next_element::<IgnoredAny>()?.map(|_| Incoming::Other(other.to_owned())),
                }
                .ok_or_else(cut)
            }
        }
        deserializer.deserialize_seq(IncomingVisitor)
    }
}

/// `ay`, read in one piece.
struct ByteArray(Vec<u8>);

impl<'de> Deserialize<'de> for ByteArray {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<ByteArray, D::Error> {
        struct BytesVisitor;
        impl Visitor<'_> for BytesVisitor {
            type Value = ByteArray;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an array of bytes")
            }

            fn visit_bytes<E: serde::de::Error>(self, bytes: &[u8]) -> Result<ByteArray, E> {
                Ok(ByteArray(bytes.to_vec()))
            }
        }
        deserializer.deserialize_bytes(BytesVisitor)
    }
}

impl Incoming {
    /// The bytes, if there are at most `limit` and they came in a way that fits their number.
    pub(super) fn into_bytes(self, limit: usize) -> Result<Bytes, Fault> {
        match self {
            Incoming::Inline(bytes) if bytes.len() <= INLINE_BYTES => within(bytes.len() as u64, limit).map(|_| bytes.into()),
            Incoming::Inline(bytes) => Err(Fault::too_large(format!(
                "{} bytes came as ay; over {INLINE_BYTES} bytes a payload travels as h: a memfd sealed with F_SEAL_WRITE, F_SEAL_SHRINK and F_SEAL_GROW",
                bytes.len()
            ))
            .with_limit("inline_bytes", INLINE_BYTES as u64)),
            Incoming::File(file) => read_sealed(file, limit),
            Incoming::Other(signature) => {
                Err(Fault::bad_request(format!("the payload is a variant of {signature}; it must be ay or, over {INLINE_BYTES} bytes, h")))
            }
        }
    }
}

fn within(bytes: u64, limit: usize) -> Result<usize, Fault> {
    usize::try_from(bytes).ok().filter(|bytes| *bytes <= limit).ok_or_else(|| {
        Fault::too_large(format!("the payload has {bytes} bytes; at most {limit} are taken")).with_limit("payload_bytes", limit as u64)
    })
}

/// Reads a memfd from its beginning, wherever its offset stands.
fn read_sealed(fd: OwnedFd, limit: usize) -> Result<Bytes, Fault> {
    // The kernel answers EINVAL for whatever cannot be sealed: pipes, sockets, files on disk.
    let seals = rustix::fs::fcntl_get_seals(&fd).map_err(|_| Fault::bad_request("the payload's file descriptor is no memfd"))?;
    let missing: Vec<&str> = SEALS.iter().filter(|(seal, _)| !seals.contains(*seal)).map(|(_, name)| *name).collect();
    if !missing.is_empty() {
        return Err(Fault::bad_request(format!(
            "the payload's memfd is not sealed: {} missing; F_SEAL_WRITE, F_SEAL_SHRINK and F_SEAL_GROW are needed",
            missing.join(", ")
        )));
    }
    let unreadable = |error| Fault::bad_request(format!("the payload's memfd cannot be read: {error}"));
    let file = File::from(fd);
    let length = within(file.metadata().map_err(unreadable)?.len(), limit)?;
    let mut bytes = vec![0; length];
    file.read_exact_at(&mut bytes, 0).map_err(unreadable)?;
    Ok(bytes.into())
}

/// A result on its way out: a variant of `ay` or `h`.
pub(super) enum Outgoing {
    /// Up to 16 KiB.
    Inline(Bytes),
    /// A sealed memfd, its offset at the beginning.
    File(OwnedFd),
}

impl Outgoing {
    /// Chooses by size.
    pub(super) fn new(bytes: Bytes) -> Result<Outgoing, Fault> {
        if bytes.len() <= INLINE_BYTES {
            return Ok(Outgoing::Inline(bytes));
        }
        sealed(&bytes).map(Outgoing::File).map_err(|error| Fault::internal(format!("no memory for the result's memfd: {error}")))
    }
}

fn sealed(bytes: &[u8]) -> std::io::Result<OwnedFd> {
    let file = File::from(rustix::fs::memfd_create("hearthd-result", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?);
    file.write_all_at(bytes, 0)?;
    let seals = SEALS.iter().fold(SealFlags::SEAL, |all, (seal, _)| all | *seal);
    rustix::fs::fcntl_add_seals(&file, seals)?;
    Ok(file.into())
}

impl Type for Outgoing {
    const SIGNATURE: &'static Signature = &Signature::Variant;
}

impl Serialize for Outgoing {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Outgoing::Inline(bytes) => as_variant::Serialize(&Array(bytes)).serialize(serializer),
            Outgoing::File(fd) => as_variant::Serialize(&Fd::from(fd)).serialize(serializer),
        }
    }
}

/// `ay`, written in one piece.
struct Array<'a>(&'a [u8]);

impl Type for Array<'_> {
    const SIGNATURE: &'static Signature = <Vec<u8> as Type>::SIGNATURE;
}

impl Serialize for Array<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hearth_api::FaultKind;

    fn memfd(bytes: &[u8], seals: SealFlags) -> OwnedFd {
        let file = File::from(rustix::fs::memfd_create("test", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING).unwrap());
        file.write_all_at(bytes, 0).unwrap();
        rustix::fs::fcntl_add_seals(&file, seals).unwrap();
        file.into()
    }

    #[test]
    fn what_goes_out_sealed_comes_in_again() {
        let bytes: Vec<u8> = (0..INLINE_BYTES + 1).map(|i| i as u8).collect();
        let Outgoing::File(fd) = Outgoing::new(bytes.clone().into()).unwrap() else { panic!("over the inline limit") };
        assert_eq!(Incoming::File(fd).into_bytes(bytes.len()).unwrap(), bytes);
    }

    #[test]
    fn an_unsealed_payload_is_refused_with_the_seals_it_lacks() {
        for (seals, lacks) in [
            (SealFlags::empty(), "F_SEAL_WRITE, F_SEAL_SHRINK, F_SEAL_GROW missing"),
            (SealFlags::WRITE, "F_SEAL_SHRINK, F_SEAL_GROW missing"),
            (SealFlags::SHRINK | SealFlags::GROW, "F_SEAL_WRITE missing"),
        ] {
            let fault = Incoming::File(memfd(b"x", seals)).into_bytes(100).unwrap_err();
            assert_eq!(fault.kind, FaultKind::BadRequest);
            assert!(fault.message.contains(lacks), "{}", fault.message);
        }
        let (pipe, _end) = rustix::pipe::pipe().unwrap();
        assert!(Incoming::File(pipe).into_bytes(100).unwrap_err().message.contains("no memfd"));
    }

    #[test]
    fn the_limit_holds_before_anything_is_read() {
        let all = SEALS.iter().fold(SealFlags::empty(), |all, (seal, _)| all | *seal);
        let fault = Incoming::File(memfd(&[0; 101], all)).into_bytes(100).unwrap_err();
        assert_eq!((fault.kind, fault.limit.unwrap().value), (FaultKind::TooLarge, 100));
        assert_eq!(Incoming::Inline(vec![0; 101]).into_bytes(100).unwrap_err().limit.unwrap().name, "payload_bytes");
        assert_eq!(Incoming::Inline(vec![0; INLINE_BYTES + 1]).into_bytes(usize::MAX).unwrap_err().limit.unwrap().name, "inline_bytes");
        assert!(Incoming::Inline(vec![0; 100]).into_bytes(100).is_ok());
    }
}

//! What a program asks for, and what it waits for.

use std::{
    ops::Range,
    sync::{Arc, atomic::AtomicBool},
};

use auraio::{Error, OpFuture, PortTicket, op};

use super::buffers::Tracked;

/// What an operation was asked to do.
#[derive(Clone, Debug)]
pub(crate) enum Asked {
    Nop,
    Sync,
    Stat,
    Mode,
    Read(usize, Range<usize>),
    ReadVectors(usize, Range<usize>),
    Write(usize, usize, Vec<u8>),
    WriteVectors(usize, usize, Vec<u8>),
}

impl Asked {
    /// The file and the range that it uses, and whether it changes them.
    pub(crate) fn range(&self) -> Option<(usize, Range<usize>, bool)> {
        match self {
            Self::Read(file, range) | Self::ReadVectors(file, range) => Some((*file, range.clone(), false)),
            Self::Write(file, at, bytes) | Self::WriteVectors(file, at, bytes) => {
                Some((*file, *at..at + bytes.len(), true))
            }
            Self::Nop | Self::Sync | Self::Stat | Self::Mode => None,
        }
    }
}

pub(crate) enum Waiting {
    Port(PortTicket),
    Plain(OpFuture<op::Nop>),
    Sync(OpFuture<op::Sync>),
    Stat(OpFuture<op::Stat>),
    Mode(OpFuture<op::SetMode>),
    Read(OpFuture<op::Read<Tracked>>),
    Write(OpFuture<op::Write<Tracked>>),
    ReadVectors(OpFuture<op::ReadVectored<Tracked>>),
    WriteVectors(OpFuture<op::WriteVectored<Tracked>>),
}

pub(crate) struct Pending {
    pub(crate) asked: Asked,
    pub(crate) waiting: Waiting,
    pub(crate) may_go: Arc<AtomicBool>,
    pub(crate) cancelled: bool,
}

/// What an operation gave: its result and its buffers.
pub(crate) type Outcome = (Result<usize, Error>, Vec<Tracked>);

pub(crate) fn one<T>((outcome, buffer): (auraio::Result<usize>, T)) -> (auraio::Result<usize>, Vec<T>) {
    (outcome, vec![buffer])
}

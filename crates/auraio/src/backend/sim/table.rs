//! The table of registered files, as the kernel keeps it: a place holds the open file itself, whatever becomes of the
//! descriptor that it was registered by.

use std::io;

use crate::sys::{self, Call, Descriptor, errno};

/// The places of the table: few, so that tests run out of them.
pub(super) const PLACES: u32 = 8;

#[derive(Debug, Default)]
pub(super) struct Table {
    /// Descriptors of the simulator's own for the same open files.
    places: [Option<Descriptor>; PLACES as usize],
}

impl Table {
    pub(super) fn set(&mut self, place: u32, file: Option<Descriptor>) -> io::Result<()> {
        let at = self.places.get_mut(place as usize).ok_or_else(|| io::Error::from_raw_os_error(errno::EINVAL))?;
        if let Some(before) = at.take() {
            sys::perform_close(before);
        }
        *at = file.map(sys::duplicate).transpose()?;
        Ok(())
    }

    /// The same call on the file that a place of the table holds. The error is what the kernel answers for an empty place.
    pub(super) fn resolve(&self, call: &Call, place: Option<u32>) -> Result<Call, i32> {
        let Some(place) = place else { return Ok(*call) };
        let file = self.places.get(place as usize).copied().flatten().ok_or(errno::EBADF)?;
        Ok(call.on_descriptor(file))
    }
}

impl Drop for Table {
    fn drop(&mut self) {
        self.places.iter().flatten().for_each(|&file| sys::perform_close(file));
    }
}

//! Copies a range of one file to another on the calling thread: by the kernel where it can, else by reads and writes.
#![expect(unsafe_code, reason = "reads and writes a block of its own")]

use super::{Call, Descriptor, errno, perform, stat_now};

/// Bytes that are read and then written at once. It bounds the memory of a copy, whatever its length.
const BLOCK: u32 = 256 << 10;

/// What the memory of such a block is aligned to, so that files opened for direct I/O can be copied too.
const ALIGNMENT: usize = 4096;

/// From where to where a copy goes, and how far.
#[derive(Clone, Copy, Debug)]
pub(super) struct Copy {
    pub(super) from: Descriptor,
    pub(super) from_offset: u64,
    pub(super) to: Descriptor,
    pub(super) to_offset: u64,
    /// At most [`BYTES_MAX`](super::BYTES_MAX).
    pub(super) len: u32,
}

impl Copy {
    /// Gives the bytes that were copied, or the negated errno.
    pub(super) fn perform(self) -> i32 {
        #[cfg(target_os = "linux")]
        {
            let result = super::linux::copy_file_range(&self);
            if !is_left_to_us(result) {
                return result;
            }
        }
        self.read_and_write()
    }

    /// Copies regular files by reads and writes. Anything else could wait for ever, and answers `EINVAL` as the kernel
    /// does; so do two ranges of one file that overlap. What was copied before an error is the answer; the error is told to
    /// whoever asks for the rest.
    fn read_and_write(self) -> i32 {
        let len = match self.len_to_copy() {
            Ok(len) => len,
            Err(error) => return -error,
        };
        let mut done = 0;
        match (Self { len, ..self }).copy_blocks(&mut done) {
            Err(error) if done == 0 => -error,
            Ok(()) | Err(_) => done.cast_signed(),
        }
    }

    fn len_to_copy(&self) -> Result<u32, i32> {
        let (source, target) = (stat_now(self.from)?, stat_now(self.to)?);
        if !(source.is_file() && target.is_file()) {
            return Err(errno::EINVAL);
        }
        if (source.dev(), source.ino()) != (target.dev(), target.ino()) {
            return Ok(self.len);
        }
        // Within one file, no more than it has now: else the copy would go on and copy itself.
        let len = u64::from(self.len).min(source.len().saturating_sub(self.from_offset));
        let overlaps = self.from_offset < self.to_offset.saturating_add(len)
            && self.to_offset < self.from_offset.saturating_add(len);
        if overlaps { Err(errno::EINVAL) } else { Ok(len as u32) }
    }

    /// `done` is what was copied, after an error too.
    fn copy_blocks(&self, done: &mut u32) -> Result<(), i32> {
        let size = self.len.min(BLOCK);
        let mut memory = vec![0_u8; size as usize + ALIGNMENT];
        let skipped = memory.as_ptr().align_offset(ALIGNMENT).min(ALIGNMENT);
        let block: *mut u8 = memory[skipped..].as_mut_ptr();
        while *done < self.len {
            let at = self.from_offset.saturating_add((*done).into());
            // SAFETY: the block has `size` bytes and is used by nobody else; the call is over when `perform` returns.
            let read = unsafe {
                perform(&Call::Read { fd: self.from, buf: block, len: size.min(self.len - *done), offset: at })
            };
            let read = bytes_of(read)?;
            let mut written = 0;
            while written < read {
                let at = self.to_offset.saturating_add((*done).into());
                let rest = block.wrapping_add(written as usize).cast_const();
                // SAFETY: as above; `written` is less than `read`, which is no more than the block has.
                let result =
                    unsafe { perform(&Call::Write { fd: self.to, buf: rest, len: read - written, offset: at }) };
                let bytes = bytes_of(result)?;
                if bytes == 0 {
                    return Err(errno::EIO);
                }
                written += bytes;
                *done += bytes;
            }
            if read == 0 {
                break;
            }
        }
        Ok(())
    }
}

fn bytes_of(result: i32) -> Result<u32, i32> {
    u32::try_from(result).map_err(|_| -result)
}

/// Whether the kernel did not copy, but reads and writes may. `ENOSYS`: there is no such system call, or a filter forbids
/// it. `EOPNOTSUPP` and `EINVAL`: a file system cannot (and [`Copy::len_to_copy`] finds out whether the request itself is at
/// fault). 0: the end of the source, or a file system that does not tell how long its files are.
///
/// `EXDEV` is told: whoever asks for a copy between file systems may have better ways than this one.
#[cfg(target_os = "linux")]
const fn is_left_to_us(result: i32) -> bool {
    result == 0 || result == -errno::ENOSYS || result == -errno::EOPNOTSUPP || result == -errno::EINVAL
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;
    use crate::sys::NO_DESCRIPTOR;

    #[cfg(unix)]
    fn descriptor_of(file: &File) -> Descriptor {
        std::os::fd::AsRawFd::as_raw_fd(file)
    }

    #[cfg(windows)]
    fn descriptor_of(file: &File) -> Descriptor {
        std::os::windows::io::AsRawHandle::as_raw_handle(file).addr().cast_signed()
    }

    fn file_of(bytes: &[u8]) -> File {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), bytes).unwrap();
        File::options().read(true).write(true).open(file.path()).unwrap()
    }

    fn contents_of(mut file: &File) -> Vec<u8> {
        use std::io::{Read, Seek};
        let mut bytes = Vec::new();
        file.rewind().unwrap();
        file.read_to_end(&mut bytes).unwrap();
        bytes
    }

    fn copy(from: &File, from_offset: u64, to: &File, to_offset: u64, len: u32) -> Copy {
        Copy { from: descriptor_of(from), from_offset, to: descriptor_of(to), to_offset, len }
    }

    #[test]
    fn reads_and_writes_copy_what_the_kernel_copies() {
        let bytes: Vec<u8> = (0..3 * BLOCK + 5).map(|at| (at * 31 / 7) as u8).collect();
        let source = file_of(&bytes);
        for (from_offset, to_offset, len) in
            [(0, 0, 1), (0, 0, BLOCK), (1, 7, 2 * BLOCK), (100, 0, 4 * BLOCK), (1 << 40, 0, 9), (0, 1 << 20, 3)]
        {
            let ways: [fn(Copy) -> i32; 2] = [Copy::read_and_write, Copy::perform];
            let [(ours, by_us), (theirs, by_kernel)] = ways.map(|way| {
                let target = file_of(b"before");
                (way(copy(&source, from_offset, &target, to_offset, len)), contents_of(&target))
            });
            assert_eq!(ours, theirs, "{from_offset} {to_offset} {len}");
            assert!(by_us == by_kernel, "{from_offset} {to_offset} {len}");
        }
    }

    #[test]
    fn ranges_of_one_file_may_touch_and_not_overlap() {
        for way in [Copy::read_and_write, Copy::perform] {
            let file = file_of(b"0123456789");
            assert_eq!(way(copy(&file, 0, &file, 5, 5)), 5);
            assert_eq!(contents_of(&file), b"0123401234");
            assert_eq!(way(copy(&file, 0, &file, 4, 5)), -errno::EINVAL);
            assert_eq!(way(copy(&file, 4, &file, 0, 5)), -errno::EINVAL);
            // The kernel asks for no more than the source has.
            assert_eq!(way(copy(&file, 8, &file, 10, 1 << 20)), 2);
            assert_eq!(contents_of(&file), b"012340123434");
        }
    }

    #[test]
    fn an_error_before_the_first_byte_is_told() {
        let file = file_of(b"0123456789");
        let read_only = tempfile::NamedTempFile::new().unwrap();
        let read_only = File::open(read_only.path()).unwrap();
        for way in [Copy::read_and_write, Copy::perform] {
            assert_eq!(way(copy(&file, 0, &read_only, 0, 5)), -errno::EBADF);
            let nobody = Copy { to: NO_DESCRIPTOR, ..copy(&file, 0, &file, 5, 5) };
            assert_eq!(way(nobody), -errno::EBADF);
        }
    }

    #[cfg(unix)]
    #[test]
    fn what_could_wait_for_ever_is_not_copied() {
        use std::os::fd::AsRawFd;

        let (reader, writer) = std::io::pipe().unwrap();
        let file = file_of(b"0123456789");
        let to_pipe = Copy { to: writer.as_raw_fd(), ..copy(&file, 0, &file, 0, 5) };
        let from_pipe = Copy { from: reader.as_raw_fd(), ..copy(&file, 0, &file, 0, 5) };
        for copy in [to_pipe, from_pipe] {
            assert_eq!(copy.read_and_write(), -errno::EINVAL);
            assert!(copy.perform() < 0);
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn the_kernel_s_refusals_are_made_good_but_for_another_file_system() {
        for result in [0, -errno::ENOSYS, -errno::EOPNOTSUPP, -errno::EINVAL] {
            assert!(is_left_to_us(result));
        }
        for result in [1, -errno::EXDEV, -errno::EBADF, -errno::ENOSPC, -errno::EFBIG, -errno::EPERM, -errno::EISDIR] {
            assert!(!is_left_to_us(result));
        }
    }
}

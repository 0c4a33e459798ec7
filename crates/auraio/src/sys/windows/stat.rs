//! Fills in the fields of a `stat` from the information that Windows has about a file.
#![expect(unsafe_code, reason = "system calls that fill in structures")]

use std::{mem, ptr};

use windows_sys::Win32::Storage::FileSystem::*;

use super::{create_file, error::checked, handle};
use crate::sys::{Descriptor, FileTime, PathPtr};

const IO_REPARSE_TAG_SYMLINK: u32 = 0xA000_000C;
const IO_REPARSE_TAG_MOUNT_POINT: u32 = 0xA000_0003;

/// Windows counts in 100 ns since 1601.
const TICKS_PER_SECOND: i64 = 10_000_000;
const SECONDS_FROM_1601_TO_1970: i64 = 11_644_473_600;

/// The structure that a `stat` fills in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RawStat {
    pub(crate) dev: u64,
    pub(crate) ino: u64,
    /// Type and permissions in the numbers of POSIX.
    pub(crate) mode: u32,
    pub(crate) nlink: u32,
    pub(crate) len: u64,
    /// Bytes that the file takes up.
    pub(crate) allocated: u64,
    pub(crate) accessed: FileTime,
    pub(crate) modified: FileTime,
    pub(crate) changed: FileTime,
    pub(crate) created: FileTime,
}

/// A structure for a `stat` to fill in.
pub(crate) const fn raw_stat_zeroed() -> RawStat {
    const NEVER: FileTime = FileTime { seconds: 0, nanos: 0 };
    RawStat {
        dev: 0,
        ino: 0,
        mode: 0,
        nlink: 0,
        len: 0,
        allocated: 0,
        accessed: NEVER,
        modified: NEVER,
        changed: NEVER,
        created: NEVER,
    }
}

/// # Safety
/// `path` is null or a text that ends in a NUL.
pub(super) unsafe fn stat(fd: Descriptor, path: PathPtr, follow: bool) -> Result<RawStat, i32> {
    if path.is_null() {
        return of_handle(fd);
    }
    let mut attributes = FILE_FLAG_BACKUP_SEMANTICS;
    if !follow {
        attributes |= FILE_FLAG_OPEN_REPARSE_POINT;
    }
    // SAFETY: the caller keeps the path.
    let opened = unsafe { create_file(path, FILE_READ_ATTRIBUTES, OPEN_EXISTING, attributes) }?;
    let result = of_handle(opened);
    // SAFETY: it was opened above, and nobody else has it.
    unsafe { windows_sys::Win32::Foundation::CloseHandle(handle(opened)) };
    result
}

fn of_handle(fd: Descriptor) -> Result<RawStat, i32> {
    // SAFETY: the call takes a handle only.
    match unsafe { GetFileType(handle(fd)) } {
        FILE_TYPE_PIPE => return Ok(RawStat { mode: 0o010_666, nlink: 1, ..raw_stat_zeroed() }),
        FILE_TYPE_CHAR => return Ok(RawStat { mode: 0o020_666, nlink: 1, ..raw_stat_zeroed() }),
        _ => {}
    }
    // SAFETY: the structure has numbers only, for which zero is a value.
    let mut by_handle: BY_HANDLE_FILE_INFORMATION = unsafe { mem::zeroed() };
    // SAFETY: `by_handle` is on this stack.
    checked(unsafe { GetFileInformationByHandle(handle(fd), &raw mut by_handle) })?;
    let basic = basic(fd)?;
    let wide = |high: u32, low: u32| u64::from(high) << 32 | u64::from(low);
    let len = wide(by_handle.nFileSizeHigh, by_handle.nFileSizeLow);
    // SAFETY: numbers and a flag byte, for which zero is a value.
    let standard = unsafe { information::<FILE_STANDARD_INFO>(fd, FileStandardInfo) };
    Ok(RawStat {
        dev: by_handle.dwVolumeSerialNumber.into(),
        ino: wide(by_handle.nFileIndexHigh, by_handle.nFileIndexLow),
        mode: mode(fd, by_handle.dwFileAttributes),
        nlink: by_handle.nNumberOfLinks,
        len,
        allocated: standard.map_or(len, |info| info.AllocationSize.cast_unsigned()),
        accessed: from_ticks(basic.LastAccessTime),
        modified: from_ticks(basic.LastWriteTime),
        changed: from_ticks(basic.ChangeTime),
        created: from_ticks(basic.CreationTime),
    })
}

fn mode(fd: Descriptor, attributes: u32) -> u32 {
    let permissions = if attributes & FILE_ATTRIBUTE_READONLY == 0 { 0o666 } else { 0o444 };
    if attributes & FILE_ATTRIBUTE_REPARSE_POINT != 0 {
        // SAFETY: two numbers, for which zero is a value.
        let tag = unsafe { information::<FILE_ATTRIBUTE_TAG_INFO>(fd, FileAttributeTagInfo) };
        if tag.is_ok_and(|tag| matches!(tag.ReparseTag, IO_REPARSE_TAG_SYMLINK | IO_REPARSE_TAG_MOUNT_POINT)) {
            return 0o120_000 | permissions;
        }
    }
    if attributes & FILE_ATTRIBUTE_DIRECTORY != 0 { 0o040_000 | permissions } else { 0o100_000 | permissions }
}

/// Times and attributes.
pub(super) fn basic(fd: Descriptor) -> Result<FILE_BASIC_INFO, i32> {
    // SAFETY: the structure has numbers only, for which zero is a value.
    unsafe { information(fd, FileBasicInfo) }
}

/// # Safety
/// `T` is the structure of `class`. Zeros, and any bytes that Windows writes, are a value of it.
unsafe fn information<T>(fd: Descriptor, class: FILE_INFO_BY_HANDLE_CLASS) -> Result<T, i32> {
    // SAFETY: zeros are a value, as the caller says.
    let mut info: T = unsafe { mem::zeroed() };
    let size = size_of::<T>() as u32;
    // SAFETY: `info` is on this stack, and has that size.
    checked(unsafe { GetFileInformationByHandleEx(handle(fd), class, ptr::from_mut(&mut info).cast(), size) })?;
    Ok(info)
}

const fn from_ticks(ticks: i64) -> FileTime {
    FileTime {
        seconds: ticks.div_euclid(TICKS_PER_SECOND) - SECONDS_FROM_1601_TO_1970,
        nanos: ticks.rem_euclid(TICKS_PER_SECOND) as u32 * 100,
    }
}

/// `None` for a time before 1601, or one past what 64 bits hold.
pub(super) fn to_ticks(time: FileTime) -> Option<u64> {
    let seconds = u64::try_from(time.seconds.checked_add(SECONDS_FROM_1601_TO_1970)?).ok()?;
    seconds.checked_mul(TICKS_PER_SECOND.cast_unsigned())?.checked_add(u64::from(time.nanos / 100))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_the_same_after_both_conversions() {
        let time = FileTime { seconds: 1_700_000_000, nanos: 123_456_700 };
        assert_eq!(from_ticks(to_ticks(time).unwrap().cast_signed()), time);
        assert_eq!(to_ticks(FileTime { seconds: -20_000_000_000, nanos: 0 }), None);
    }
}

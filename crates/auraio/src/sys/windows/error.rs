//! Translates the codes of `GetLastError` to errno, as libuv does.

use windows_sys::Win32::Foundation::*;

use crate::sys::errno;

/// The code of the call that failed last on this thread.
pub(super) fn last_error() -> u32 {
    std::io::Error::last_os_error().raw_os_error().unwrap_or(0).cast_unsigned()
}

/// 0 if the call succeeded; if it has just failed (answered `FALSE`), its errno.
pub(super) fn checked(answer: i32) -> Result<i32, i32> {
    if answer == 0 { Err(to_errno(last_error())) } else { Ok(0) }
}

/// The errno with the same meaning; `EIO` for a code that is not known.
pub(super) const fn to_errno(code: u32) -> i32 {
    match code {
        ERROR_FILE_NOT_FOUND
        | ERROR_PATH_NOT_FOUND
        | ERROR_INVALID_DRIVE
        | ERROR_INVALID_NAME
        | ERROR_BAD_PATHNAME
        | ERROR_BAD_NETPATH
        | ERROR_BAD_NET_NAME
        | ERROR_MOD_NOT_FOUND
        | ERROR_NOT_READY
        | ERROR_INVALID_REPARSE_DATA => errno::ENOENT,
        ERROR_ACCESS_DENIED | ERROR_PRIVILEGE_NOT_HELD => errno::EPERM,
        ERROR_NOACCESS | ERROR_ELEVATION_REQUIRED => errno::EACCES,
        ERROR_SHARING_VIOLATION | ERROR_LOCK_VIOLATION | ERROR_PIPE_BUSY | ERROR_BUSY => errno::EBUSY,
        ERROR_INVALID_HANDLE => errno::EBADF,
        ERROR_NOT_ENOUGH_MEMORY | ERROR_OUTOFMEMORY | ERROR_NO_SYSTEM_RESOURCES => errno::ENOMEM,
        ERROR_TOO_MANY_OPEN_FILES => errno::EMFILE,
        ERROR_FILE_EXISTS | ERROR_ALREADY_EXISTS => errno::EEXIST,
        ERROR_NOT_SAME_DEVICE => errno::EXDEV,
        ERROR_DIRECTORY => errno::ENOTDIR,
        ERROR_DIR_NOT_EMPTY => errno::ENOTEMPTY,
        ERROR_WRITE_PROTECT => errno::EROFS,
        ERROR_DISK_FULL | ERROR_HANDLE_DISK_FULL | ERROR_END_OF_MEDIA => errno::ENOSPC,
        ERROR_FILE_TOO_LARGE => errno::EFBIG,
        ERROR_FILENAME_EXCED_RANGE | ERROR_BUFFER_OVERFLOW => errno::ENAMETOOLONG,
        ERROR_CANT_RESOLVE_FILENAME => errno::ELOOP,
        ERROR_TOO_MANY_LINKS => errno::EMLINK,
        ERROR_BROKEN_PIPE | ERROR_NO_DATA | ERROR_PIPE_NOT_CONNECTED | ERROR_BAD_PIPE => errno::EPIPE,
        ERROR_OPERATION_ABORTED => errno::ECANCELED,
        ERROR_NOT_SUPPORTED => errno::EOPNOTSUPP,
        ERROR_INVALID_FUNCTION => errno::EISDIR,
        ERROR_CALL_NOT_IMPLEMENTED => errno::ENOSYS,
        ERROR_INVALID_PARAMETER | ERROR_INVALID_DATA | ERROR_NEGATIVE_SEEK | ERROR_INVALID_FLAGS => errno::EINVAL,
        ERROR_SEM_TIMEOUT => errno::ETIMEDOUT,
        ERROR_NETNAME_DELETED => errno::ECONNRESET,
        _ => errno::EIO,
    }
}

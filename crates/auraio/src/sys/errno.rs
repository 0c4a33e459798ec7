//! The error numbers, positive, and their names.
//!
//! Windows has no such numbers of its own, so there these are the numbers of the C runtime: the core can then compare errors
//! by the same names on every platform. JavaScript gets errors by name (`ENOENT`), never by number.

#[cfg(unix)]
use libc as numbers;

/// The numbers of Microsoft's `errno.h`, in its order.
#[cfg(windows)]
mod numbers {
    pub(super) const EPERM: i32 = 1;
    pub(super) const ENOENT: i32 = 2;
    pub(super) const EINTR: i32 = 4;
    pub(super) const EIO: i32 = 5;
    pub(super) const ENXIO: i32 = 6;
    pub(super) const E2BIG: i32 = 7;
    pub(super) const EBADF: i32 = 9;
    pub(super) const EAGAIN: i32 = 11;
    pub(super) const ENOMEM: i32 = 12;
    pub(super) const EACCES: i32 = 13;
    pub(super) const EFAULT: i32 = 14;
    pub(super) const EBUSY: i32 = 16;
    pub(super) const EEXIST: i32 = 17;
    pub(super) const EXDEV: i32 = 18;
    pub(super) const ENODEV: i32 = 19;
    pub(super) const ENOTDIR: i32 = 20;
    pub(super) const EISDIR: i32 = 21;
    pub(super) const EINVAL: i32 = 22;
    pub(super) const ENFILE: i32 = 23;
    pub(super) const EMFILE: i32 = 24;
    pub(super) const ENOTTY: i32 = 25;
    pub(super) const EFBIG: i32 = 27;
    pub(super) const ENOSPC: i32 = 28;
    pub(super) const ESPIPE: i32 = 29;
    pub(super) const EROFS: i32 = 30;
    pub(super) const EMLINK: i32 = 31;
    pub(super) const EPIPE: i32 = 32;
    pub(super) const EDOM: i32 = 33;
    pub(super) const ERANGE: i32 = 34;
    pub(super) const EDEADLK: i32 = 36;
    pub(super) const ENAMETOOLONG: i32 = 38;
    pub(super) const ENOLCK: i32 = 39;
    pub(super) const ENOSYS: i32 = 40;
    pub(super) const ENOTEMPTY: i32 = 41;
    pub(super) const EILSEQ: i32 = 42;
    pub(super) const EALREADY: i32 = 103;
    pub(super) const ECANCELED: i32 = 105;
    pub(super) const ECONNRESET: i32 = 108;
    pub(super) const ELOOP: i32 = 114;
    pub(super) const ENODATA: i32 = 120;
    pub(super) const ENOTCONN: i32 = 126;
    pub(super) const ENOTSOCK: i32 = 128;
    pub(super) const EOPNOTSUPP: i32 = 130;
    pub(super) const EOVERFLOW: i32 = 132;
    pub(super) const EPROTO: i32 = 134;
    pub(super) const ETIME: i32 = 137;
    pub(super) const ETIMEDOUT: i32 = 138;
    pub(super) const ETXTBSY: i32 = 139;
}

macro_rules! errnos {
    ($($(#[$only:meta])* $name:ident)*) => {
        $(
            $(#[$only])*
            #[allow(dead_code, reason = "one list for every platform and backend; none uses all of it")]
            pub(crate) const $name: i32 = numbers::$name;
        )*

        /// The name of a positive error number, or `UNKNOWN`.
        pub(crate) const fn errno_name(number: i32) -> &'static str {
            match number {
                $($(#[$only])* numbers::$name => stringify!($name),)*
                _ => "UNKNOWN",
            }
        }
    };
}

errnos! {
    E2BIG EACCES EAGAIN EALREADY EBADF EBUSY ECANCELED ECONNRESET EDEADLK EDOM EEXIST EFAULT EFBIG EILSEQ EINTR EINVAL
    EIO EISDIR ELOOP EMFILE EMLINK ENAMETOOLONG ENFILE ENODATA ENODEV ENOENT ENOLCK ENOMEM ENOSPC ENOSYS ENOTCONN
    ENOTDIR ENOTEMPTY ENOTSOCK ENOTTY ENXIO EOPNOTSUPP EOVERFLOW EPERM EPIPE EPROTO ERANGE EROFS ESPIPE ETIME ETIMEDOUT
    ETXTBSY EXDEV
    #[cfg(unix)] ECHILD
    #[cfg(unix)] EDQUOT
    #[cfg(unix)] EHOSTDOWN
    #[cfg(unix)] EHOSTUNREACH
    #[cfg(unix)] EMULTIHOP
    #[cfg(unix)] ENOBUFS
    #[cfg(unix)] ENOEXEC
    #[cfg(unix)] ENOLINK
    #[cfg(unix)] ENOTBLK
    #[cfg(unix)] ESRCH
    #[cfg(unix)] ESTALE
    #[cfg(target_os = "macos")] ENOTSUP
    #[cfg(target_os = "linux")] EKEYEXPIRED
    #[cfg(target_os = "linux")] EMEDIUMTYPE
    #[cfg(target_os = "linux")] ENOKEY
    #[cfg(target_os = "linux")] ENOMEDIUM
    #[cfg(target_os = "linux")] EREMOTEIO
    #[cfg(target_os = "linux")] EUCLEAN
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_known_number_has_its_name_and_others_are_unknown() {
        assert_eq!(errno_name(ENOENT), "ENOENT");
        assert_eq!(errno_name(EAGAIN), "EAGAIN");
        assert_eq!(errno_name(EOPNOTSUPP), "EOPNOTSUPP");
        assert_eq!(errno_name(0), "UNKNOWN");
        assert_eq!(errno_name(-ENOENT), "UNKNOWN");
    }
}

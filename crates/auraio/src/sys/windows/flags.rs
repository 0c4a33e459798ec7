//! The flags of an opening on Windows: the numbers of the C runtime, and libuv's for what it does not have, so that what
//! Node's `fs.constants` holds there can be passed as it is.

pub(crate) const O_RDONLY: i32 = 0;
pub(crate) const O_WRONLY: i32 = 1;
pub(crate) const O_RDWR: i32 = 2;
pub(super) const ACCESS_MASK: i32 = 3;
pub(crate) const O_APPEND: i32 = 0x0008;
pub(crate) const O_RANDOM: i32 = 0x0010;
pub(crate) const O_SEQUENTIAL: i32 = 0x0020;
pub(crate) const O_CREAT: i32 = 0x0100;
pub(crate) const O_TRUNC: i32 = 0x0200;
pub(crate) const O_EXCL: i32 = 0x0400;
/// No caching of the file's data, with the alignment that this asks for.
pub(crate) const O_DIRECT: i32 = 0x0200_0000;
/// Every write is on the medium before it is done. So is it with `O_SYNC`.
pub(crate) const O_DSYNC: i32 = 0x0400_0000;
pub(crate) const O_SYNC: i32 = 0x0800_0000;

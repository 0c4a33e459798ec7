//! The open flags on Windows: the numbers of the C runtime, and libuv's for flags that the runtime does not have. So a program
//! can pass the numbers in Node's `fs.constants` unchanged.

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
/// The file's data is not cached, and transfers must be aligned.
pub(crate) const O_DIRECT: i32 = 0x0200_0000;
/// Every write is on the medium before it is done, as with `O_SYNC`.
pub(crate) const O_DSYNC: i32 = 0x0400_0000;
pub(crate) const O_SYNC: i32 = 0x0800_0000;

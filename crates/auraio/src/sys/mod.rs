//! The platform: raw calls, the errno numbers, wake-ups. The only part of the core that talks to the operating system
//! on its own account, and one of the few that may use `unsafe`.

mod call;

pub(crate) use call::*;

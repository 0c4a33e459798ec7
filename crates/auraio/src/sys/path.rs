//! A path in the form that the platform's calls take, at an address that does not change.
//!
//! The kernel reads the path when it performs the call, which may be long after the submission. So the text lies on the heap,
//! and stays there when the value is moved. A path with a NUL inside is refused, because the kernel would read it only up to
//! the NUL.

use std::path::{Path, PathBuf};

/// The first address of a path's text; a NUL ends it.
#[cfg(unix)]
pub(crate) type PathPtr = *const std::ffi::c_char;
/// The first address of a path's text, in UTF-16; a NUL ends it.
#[cfg(windows)]
pub(crate) type PathPtr = *const u16;

/// The bytes of a path's text, with the NUL at its end.
///
/// # Safety
/// `path` is a text that ends in a NUL.
#[cfg(feature = "sim")]
#[expect(unsafe_code, reason = "looks for the end of a text behind an address")]
pub(crate) unsafe fn text_len(path: PathPtr) -> usize {
    #[cfg(unix)]
    {
        // SAFETY: the caller's promise.
        unsafe { std::ffi::CStr::from_ptr(path) }.count_bytes() + 1
    }
    #[cfg(windows)]
    {
        let mut units = 0;
        // SAFETY: the caller's promise: no unit before the end is past the text.
        while unsafe { path.wrapping_add(units).read() } != 0 {
            units += 1;
        }
        2 * (units + 1)
    }
}

/// The path has a NUL character inside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NulInPath;

/// An owned path, ready to be handed to the kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SysPath {
    #[cfg(unix)]
    text: std::ffi::CString,
    #[cfg(windows)]
    text: Box<[u16]>,
}

#[cfg(unix)]
impl SysPath {
    pub(crate) fn new(path: &Path) -> Result<Self, NulInPath> {
        use std::os::unix::ffi::OsStrExt;
        let text = std::ffi::CString::new(path.as_os_str().as_bytes()).map_err(|_| NulInPath)?;
        Ok(Self { text })
    }

    /// Good for as long as this value lives, wherever it is moved to.
    pub(crate) fn as_ptr(&self) -> PathPtr {
        self.text.as_ptr()
    }

    pub(crate) fn to_path_buf(&self) -> PathBuf {
        use std::os::unix::ffi::OsStrExt;
        PathBuf::from(std::ffi::OsStr::from_bytes(self.text.to_bytes()))
    }
}

#[cfg(windows)]
impl SysPath {
    /// The path is passed on unchanged: a path of more than 260 characters must be given in the `\\?\` form.
    pub(crate) fn new(path: &Path) -> Result<Self, NulInPath> {
        use std::os::windows::ffi::OsStrExt;
        let mut text: Vec<u16> = path.as_os_str().encode_wide().collect();
        if text.contains(&0) {
            return Err(NulInPath);
        }
        text.push(0);
        Ok(Self { text: text.into_boxed_slice() })
    }

    /// Good for as long as this value lives, wherever it is moved to.
    pub(crate) fn as_ptr(&self) -> PathPtr {
        self.text.as_ptr()
    }

    pub(crate) fn to_path_buf(&self) -> PathBuf {
        use std::os::windows::ffi::OsStringExt;
        let text = self.text.strip_suffix(&[0]).unwrap_or(&self.text);
        PathBuf::from(std::ffi::OsString::from_wide(text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_comes_back_as_it_was_and_a_nul_is_refused() {
        let path = Path::new("dir/ü file.bin");
        assert_eq!(SysPath::new(path).unwrap().to_path_buf(), path);
        assert_eq!(SysPath::new(Path::new("")).unwrap().to_path_buf(), Path::new(""));
        assert_eq!(SysPath::new(Path::new("a\0b")), Err(NulInPath));
    }

    #[test]
    fn the_address_stays_the_same_when_the_path_is_moved() {
        let path = SysPath::new(Path::new("some/path")).unwrap();
        let before = path.as_ptr();
        let moved = Box::new(path);
        assert_eq!(moved.as_ptr(), before);
    }
}

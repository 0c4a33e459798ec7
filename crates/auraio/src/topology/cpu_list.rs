//! Reads the kernel's notation for a set of numbers: `0-3,8,10-11`.
//!
//! The lists in `/sys` and `/proc` are ascending and without repetition. Any other list is refused and not guessed at: if it
//! were misread, a ring would be put on a core that does not exist.

use std::{error, fmt};

/// The highest CPU or node number that a list may have. Linux is built for at most 8,192 CPUs, so a file with a larger number
/// is damaged; and `0-4294967295` must not become 16 GiB of numbers.
const NUMBER_MAX: u32 = 65_535;

/// Why a list of CPUs was refused, and at which byte of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CpuListError {
    /// A number was expected: `1,,2`, `1-`, `x`, `+1`, `0-7:2/4`.
    NotANumber {
        /// Where, in bytes from the start.
        at: usize,
    },
    /// A number above 65,535.
    TooLarge {
        /// Where, in bytes from the start.
        at: usize,
    },
    /// A number that is not above the one before it: `3-1`, `4,2`, `1,1`, `0-3,2`.
    NotAscending {
        /// Where, in bytes from the start.
        at: usize,
    },
}

impl fmt::Display for CpuListError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotANumber { at } => write!(f, "a number was expected at byte {at}"),
            Self::TooLarge { at } => write!(f, "the number at byte {at} is above {NUMBER_MAX}"),
            Self::NotAscending { at } => write!(f, "the number at byte {at} is not above the one before it"),
        }
    }
}

impl error::Error for CpuListError {}

/// The numbers of a list in the kernel's syntax, ascending. White space around the list is ignored; an empty list is the
/// empty set, which is how the kernel prints a NUMA node without CPUs.
///
/// # Errors
/// [`CpuListError`] for anything that the kernel would not print.
///
/// ```
/// use auraio::topology::{CpuListError, parse_cpu_list};
///
/// assert_eq!(parse_cpu_list("0-3,8,10-11\n"), Ok(vec![0, 1, 2, 3, 8, 10, 11]));
/// assert_eq!(parse_cpu_list("\n"), Ok(vec![]));
/// assert_eq!(parse_cpu_list("0-"), Err(CpuListError::NotANumber { at: 2 }));
/// ```
pub fn parse_cpu_list(text: &str) -> Result<Vec<u32>, CpuListError> {
    let list = text.trim();
    let mut numbers = Vec::new();
    if list.is_empty() {
        return Ok(numbers);
    }
    let mut at = text.len() - text.trim_start().len();
    for item in list.split(',') {
        let (first, last) = item.split_once('-').unwrap_or((item, ""));
        let ranged = first.len() < item.len();
        let from = number(first, at)?;
        if numbers.last().is_some_and(|before| *before >= from) {
            return Err(CpuListError::NotAscending { at });
        }
        let last_at = at + first.len() + 1;
        let to = if ranged { number(last, last_at)? } else { from };
        if to < from || (ranged && to == from) {
            return Err(CpuListError::NotAscending { at: last_at });
        }
        numbers.extend(from..=to);
        at += item.len() + 1;
    }
    Ok(numbers)
}

fn number(digits: &str, at: usize) -> Result<u32, CpuListError> {
    // `u32::from_str` would accept a sign.
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(CpuListError::NotANumber { at });
    }
    // There are only digits, so parsing can fail only because the number is too large.
    digits.parse().ok().filter(|number| *number <= NUMBER_MAX).ok_or(CpuListError::TooLarge { at })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_as_the_kernel_prints_them_are_read() {
        assert_eq!(parse_cpu_list("0"), Ok(vec![0]));
        assert_eq!(parse_cpu_list("0-1\n"), Ok(vec![0, 1]));
        assert_eq!(parse_cpu_list("1,3,5"), Ok(vec![1, 3, 5]));
        assert_eq!(parse_cpu_list("0-2,65535"), Ok(vec![0, 1, 2, 65_535]));
        assert_eq!(parse_cpu_list(""), Ok(vec![]));
    }

    #[test]
    fn lists_that_the_kernel_would_not_print_are_refused() {
        use CpuListError::{NotANumber, NotAscending, TooLarge};
        let refused = [
            (",", NotANumber { at: 0 }),
            ("1,", NotANumber { at: 2 }),
            ("1,,2", NotANumber { at: 2 }),
            ("-1", NotANumber { at: 0 }),
            ("-", NotANumber { at: 0 }),
            ("1-", NotANumber { at: 2 }),
            ("1-2-3", NotANumber { at: 2 }),
            ("+1", NotANumber { at: 0 }),
            ("1, 2", NotANumber { at: 2 }),
            ("0x3", NotANumber { at: 0 }),
            ("ff", NotANumber { at: 0 }),
            ("0-7:2/4", NotANumber { at: 2 }),
            ("all", NotANumber { at: 0 }),
            ("\u{0663}", NotANumber { at: 0 }),
            ("1\x002", NotANumber { at: 0 }),
            ("65536", TooLarge { at: 0 }),
            ("0-4294967295", TooLarge { at: 2 }),
            ("99999999999999999999", TooLarge { at: 0 }),
            (" 3-1", NotAscending { at: 3 }),
            ("3-3", NotAscending { at: 2 }),
            ("4,2", NotAscending { at: 2 }),
            ("1,1", NotAscending { at: 2 }),
            ("0-3,2", NotAscending { at: 4 }),
        ];
        for (text, why) in refused {
            assert_eq!(parse_cpu_list(text), Err(why), "{text:?}");
        }
    }
}

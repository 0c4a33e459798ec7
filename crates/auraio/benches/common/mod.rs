//! The file that benches read.

use std::{
    fs,
    path::{Path, PathBuf},
};

pub(crate) const BLOCK: usize = 4096;
pub(crate) const FILE_BYTES: u64 = 1 << 30;

/// A file of which each block begins with its own number.
pub(crate) struct DataFile {
    pub(crate) path: PathBuf,
}

impl DataFile {
    pub(crate) fn make(dir: &Path) -> Self {
        let path = dir.join(format!("auraio-bench-{}", std::process::id()));
        let mut bytes = vec![0u8; 1 << 20];
        let file = fs::File::create(&path).expect("the directory is writable");
        // From here on the file is removed even if a later step panics.
        let made = Self { path };
        for chunk in 0..FILE_BYTES / bytes.len() as u64 {
            for block in 0..bytes.len() / BLOCK {
                let number = chunk * (bytes.len() / BLOCK) as u64 + block as u64;
                bytes[block * BLOCK..][..8].copy_from_slice(&number.to_le_bytes());
            }
            std::io::Write::write_all(&mut &file, &bytes).expect("there is room for 1 GiB");
        }
        file.sync_all().expect("syncs");
        made
    }
}

impl Drop for DataFile {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

/// xorshift64 (Marsaglia 2003), for offsets.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn block(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % (FILE_BYTES / BLOCK as u64)
    }
}

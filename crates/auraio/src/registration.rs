//! Registers the program's own memory with the kernel, so that operations on it are cheaper.
//!
//! It refuses memory of the pool, which the rings register by themselves, and memory that overlaps a registration, because an
//! address must name one registration only.
#![expect(unsafe_code, reason = "registered memory is an address that somebody promises to keep")]

use std::{
    fmt,
    ops::{Deref, DerefMut},
    sync::Arc,
};

use crate::{
    Engine, Error, IoBuf, IoBufMut, Result,
    backend::registry::{self, BUFFER_BYTES_MAX, BUFFERS_MAX, Pin},
    engine::Shared,
    sys::errno,
};

/// A buffer that the engine's rings have registered. For an operation on it the kernel need not pin its pages. It is
/// unregistered when it is dropped, or taken out with [`RegisteredBuffer::into_inner`].
///
/// Blocks of the pool ([`Engine::acquire`]) need not be registered: the rings do it by themselves.
///
/// ```
/// use auraio::{Engine, OpenOptions};
///
/// let engine = Engine::builder().build()?;
/// let buffer = engine.register_buffer(vec![0; 65_536])?;
/// let (read, buffer) = engine.block_on(async {
///     let file = engine.open("Cargo.toml", OpenOptions::new().read(true)).await?;
///     Ok::<_, auraio::Error>(file.read_at(buffer, 0).await)
/// })?;
/// assert!(buffer[..read?].starts_with(b"[package]"));
/// let plain: Vec<u8> = buffer.into_inner();
/// # drop(plain);
/// # Ok::<(), auraio::Error>(())
/// ```
pub struct RegisteredBuffer<B> {
    // Dropped in this order: the memory must be unregistered before it is freed.
    registration: Registration,
    buffer: B,
}

/// The registration of memory, which lasts as long as this value lives. See [`Engine::register_memory`].
///
/// ```
/// let engine = auraio::Engine::builder().build()?;
/// let mut memory = vec![0u8; 65_536];
/// // SAFETY: the vector outlives the registration, and nothing resizes it meanwhile.
/// let registration = unsafe { engine.register_memory(memory.as_mut_ptr(), memory.len()) }?;
/// assert!(registration.bytes() <= memory.len());
/// # Ok::<(), auraio::Error>(())
/// ```
pub struct Registration {
    engine: Arc<Shared>,
    pin: Arc<Pin>,
}

impl Registration {
    /// How many bytes from the start on are registered. It is less than all if the limit of locked memory (RLIMIT_MEMLOCK) was
    /// too low, and 0 on a backend without registration.
    ///
    /// ```
    /// let engine = auraio::Engine::builder().backend(auraio::BackendChoice::Threads).build()?;
    /// let buffer = engine.register_buffer(vec![0; 4096])?;
    /// assert_eq!(buffer.registration().bytes(), 0);
    /// # Ok::<(), auraio::Error>(())
    /// ```
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.pin.len
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.engine.unregister(&self.pin);
    }
}

impl Engine {
    /// Registers a buffer with the kernel.
    ///
    /// If the limit of locked memory (RLIMIT_MEMLOCK, 8 MiB for ordinary users) is too low, only a part of the buffer is
    /// registered, or nothing ([`Registration::bytes`] says how much). Operations on the rest work as on any memory.
    ///
    /// # Errors
    /// - [`Error::InvalidInput`] for 0 bytes, more than 1 GiB, memory that overlaps registered memory, and memory of the pool.
    /// - [`Error::TooManyBuffers`] if 16,384 buffers are registered already.
    /// - [`Error::NotRegistrable`] for memory that the kernel cannot pin.
    ///
    /// ```
    /// use auraio::{Engine, Error};
    ///
    /// let engine = Engine::builder().build()?;
    /// let buffer = engine.register_buffer(vec![0; 4096])?;
    /// assert_eq!(buffer.len(), 4096);
    /// assert!(matches!(engine.register_buffer(vec![0; 0]), Err(Error::InvalidInput(_))));
    /// # Ok::<(), auraio::Error>(())
    /// ```
    pub fn register_buffer<B: IoBufMut>(&self, mut buffer: B) -> Result<RegisteredBuffer<B>> {
        let memory = buffer.as_mut_slice();
        let (address, len) = (memory.as_mut_ptr(), memory.len());
        // SAFETY: the buffer's address and length do not change while the `RegisteredBuffer` owns it (`IoBuf`), and the
        // registration is dropped before the buffer.
        let registration = unsafe { self.register_memory(address, len) }?;
        Ok(RegisteredBuffer { registration, buffer })
    }

    /// Registers memory that the caller keeps alive.
    ///
    /// # Safety
    /// Until the `Registration` is dropped, the `len` bytes from `address` on stay mapped to the same pages: nobody frees,
    /// unmaps or remaps them.
    ///
    /// # Errors
    /// As [`Engine::register_buffer`].
    ///
    /// ```
    /// use auraio::{Engine, Error};
    ///
    /// let engine = Engine::builder().build()?;
    /// let mut memory = [0u8; 8192];
    /// // SAFETY: the array outlives both registrations.
    /// let (first, second) = unsafe {
    ///     let first = engine.register_memory(memory.as_mut_ptr(), 8192)?;
    ///     (first, engine.register_memory(memory.as_mut_ptr(), 4096))
    /// };
    /// assert!(matches!(second, Err(Error::InvalidInput(_)))); // it overlaps
    /// # drop(first);
    /// # Ok::<(), auraio::Error>(())
    /// ```
    pub unsafe fn register_memory(&self, address: *mut u8, len: usize) -> Result<Registration> {
        let engine = self.shared();
        let pin = engine.register(address as usize, len)?;
        Ok(Registration { engine, pin })
    }
}

impl Shared {
    fn register(&self, address: usize, len: usize) -> Result<Arc<Pin>> {
        const OVERLAPS: Error =
            Error::InvalidInput("the memory overlaps memory that is registered already: drop that registration first");
        if len == 0 || len > BUFFER_BYTES_MAX || address.checked_add(len).is_none() {
            return Err(Error::InvalidInput("a registered buffer must have 1 byte to 1 GiB"));
        }
        let pool = self.pool();
        if pool.slab_of(address).is_some() || pool.slab_of(address + len - 1).is_some() {
            return Err(Error::InvalidInput(
                "memory of the pool need not be registered: the rings do it by themselves",
            ));
        }
        let regions = self.regions();
        if regions.len() >= BUFFERS_MAX {
            return Err(Error::TooManyBuffers { max: BUFFERS_MAX });
        }
        if regions.overlaps(address, len) {
            return Err(OVERLAPS);
        }
        let pin = if self.registers() {
            registry::pin_memory(address, len).map_err(|error| match error.raw_os_error() {
                Some(errno::EFAULT | errno::EOPNOTSUPP | errno::EINVAL) => Error::NotRegistrable,
                other => Error::os(other.unwrap_or(errno::EINVAL), "io_uring_register"),
            })?
        } else {
            registry::unpinned_memory(address, len)
        };
        if regions.add(&pin, address, len) { Ok(pin) } else { Err(OVERLAPS) }
    }

    fn unregister(&self, pin: &Arc<Pin>) {
        self.regions().remove(pin);
        self.rings().iter().for_each(|ring| ring.tidy());
    }
}

impl<B> RegisteredBuffer<B> {
    /// Its registration, which says how many bytes are registered.
    ///
    /// ```
    /// let engine = auraio::Engine::builder().build()?;
    /// let buffer = engine.register_buffer(vec![0; 4096])?;
    /// assert!(buffer.registration().bytes() <= 4096);
    /// # Ok::<(), auraio::Error>(())
    /// ```
    #[must_use]
    pub const fn registration(&self) -> &Registration {
        &self.registration
    }

    /// Unregisters the buffer and gives it back.
    ///
    /// ```
    /// let engine = auraio::Engine::builder().build()?;
    /// assert_eq!(engine.register_buffer(vec![7; 3])?.into_inner(), [7, 7, 7]);
    /// # Ok::<(), auraio::Error>(())
    /// ```
    pub fn into_inner(self) -> B {
        let Self { registration, buffer } = self;
        drop(registration);
        buffer
    }
}

// SAFETY: the memory is that of the inner buffer.
unsafe impl<B: IoBufMut> IoBuf for RegisteredBuffer<B> {
    fn as_slice(&self) -> &[u8] {
        self.buffer.as_slice()
    }
}

// SAFETY: as above.
unsafe impl<B: IoBufMut> IoBufMut for RegisteredBuffer<B> {
    fn as_mut_slice(&mut self) -> &mut [u8] {
        self.buffer.as_mut_slice()
    }
}

impl<B: IoBufMut> Deref for RegisteredBuffer<B> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.buffer.as_slice()
    }
}

impl<B: IoBufMut> DerefMut for RegisteredBuffer<B> {
    fn deref_mut(&mut self) -> &mut [u8] {
        self.buffer.as_mut_slice()
    }
}

impl<B> fmt::Debug for RegisteredBuffer<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RegisteredBuffer").field("registration", &self.registration).finish_non_exhaustive()
    }
}

impl fmt::Debug for Registration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registration").field("bytes", &self.bytes()).finish_non_exhaustive()
    }
}

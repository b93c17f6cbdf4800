//! The limits of cells that an attempt tries to break.

/// Processes and threads at once.
pub(crate) const PROCESSES_MAX: u64 = 40;
/// What a cap on process numbers grants on top: the kernel keeps them for the beginning.
pub(crate) const RESERVED_NUMBERS: u64 = 320;
/// Memory of all processes, or of each.
pub(crate) const MEMORY_BYTES_MAX: u64 = 96 << 20;
/// The most that is seen of it: programs and libraries on disk are counted from outside as well.
pub(crate) const MEMORY_BYTES_SEEN_MAX: u64 = MEMORY_BYTES_MAX + (64 << 20);
/// The size of a file, and of the private folders.
pub(crate) const FILE_BYTES_MAX: u64 = 8 << 20;
/// Open files of one process.
pub(crate) const OPEN_FILES_MAX: u64 = 64;
/// Everything it leaves on disk, in bytes.
pub(crate) const DISK_BYTES_MAX: u64 = 16 << 20;
/// The most that is seen of it: the meter looks fifty times a second, and ends what it finds.
pub(crate) const DISK_BYTES_SEEN_MAX: u64 = 192 << 20;
/// Everything it leaves on disk, in files.
pub(crate) const DISK_FILES_MAX: u64 = 500;
/// The most that is seen of them.
pub(crate) const DISK_FILES_SEEN_MAX: u64 = 20_000;

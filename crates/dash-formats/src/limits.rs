//! How much memory a packed file may ask for.

/// The limit for small files; that of larger ones is a multiple of their size.
const SMALL_FILE_LIMIT: u64 = 64 << 20;

/// The number of bytes that a packed file of `packed` bytes may unpack to in memory at once. The limit stops
/// decompression bombs; the densest published data set that was measured needs a third of it.
pub(crate) fn unpack_limit(packed: u64) -> u64 {
    packed.saturating_mul(16).max(SMALL_FILE_LIMIT)
}

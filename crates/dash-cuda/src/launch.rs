//! Describes launches of kernels, and the limits that hold on every GPU.

use crate::error::Error;

/// An argument of a kernel.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum KernelArg {
    /// The address of elements in the GPU's memory.
    Address(u64),
    /// `int`
    I32(i32),
    /// `long long`
    I64(i64),
    /// `double`
    F64(f64),
}

/// The grid, the blocks and the shared memory of a launch.
#[derive(Clone, Copy, Debug)]
pub struct LaunchDims {
    /// Blocks along each axis.
    pub grid: [u32; 3],
    /// Threads of a block along each axis.
    pub block: [u32; 3],
    /// Bytes of shared memory of a block.
    pub shared: u32,
}

/// Threads of a block by default.
pub const THREADS: u32 = 256;

/// A number of blocks that occupies any GPU.
const BLOCKS: u32 = 4096;

/// Bytes of shared memory that a block may have on every GPU without opting in.
pub const SHARED: usize = 48 << 10;

/// The most threads of a block, by `LARGE_KERNEL` of `dash.h`.
pub const MOST_THREADS: usize = 512;

/// The most blocks along each axis, on any GPU.
const MOST_BLOCKS: [u32; 3] = [i32::MAX as u32, 65_535, 65_535];

impl LaunchDims {
    /// Checks that every GPU with enough shared memory can start this.
    pub(crate) fn check(&self, kernel: &'static str) -> Result<(), Error> {
        let threads = self.block.iter().try_fold(1_usize, |all, &n| all.checked_mul(n as usize));
        let blocks = self.grid.iter().zip(MOST_BLOCKS).all(|(&n, most)| n > 0 && n <= most);
        if blocks && threads.is_some_and(|threads| (1..=MOST_THREADS).contains(&threads)) {
            return Ok(());
        }
        Err(Error::Operands { operation: kernel, what: format!("no GPU can start these blocks: {self:?}") })
    }

    /// A launch of a kernel whose threads together iterate over `count` items.
    pub fn over(count: usize) -> LaunchDims {
        let blocks = u32::try_from(count.div_ceil(THREADS as usize)).unwrap_or(BLOCKS).clamp(1, BLOCKS);
        LaunchDims { grid: [blocks, 1, 1], block: [THREADS, 1, 1], shared: 0 }
    }

    /// A launch of a kernel whose blocks each reduce `doubles` sums.
    pub fn sums(grid: [u32; 3], doubles: u32) -> LaunchDims {
        LaunchDims { grid, block: [THREADS, 1, 1], shared: 8 * doubles * THREADS }
    }
}

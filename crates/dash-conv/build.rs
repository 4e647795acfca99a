//! Compiles the kernels of the algorithms for GPUs.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    dash_cuda_build::compile("dash_conv_emulator", dash_cuda_build::emulated())
}
